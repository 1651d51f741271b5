"""Readers of recordings, one module per format; registry.py chooses by the configured `kind`."""
