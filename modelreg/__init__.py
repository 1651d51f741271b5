"""Train small behaviour models on inertial recordings; release them versioned and verified."""

__version__ = "0.1.0"
