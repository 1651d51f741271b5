"""Recordings in, windows out: numpy and scipy, nothing else."""
