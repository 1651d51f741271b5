"""The home of torch: networks, training, evaluation, weights. It knows no registry and no console."""
