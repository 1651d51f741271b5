"""The home of torch: networks, layers, training loop, prediction, checkpoints. It knows no registry and no console."""
