"""Networks, layers, training loop, prediction and checkpoints: the only package that imports torch."""
