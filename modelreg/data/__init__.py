"""Recordings in, windows out: clocks, quality, splits, normalization, leakage audit. No torch."""
