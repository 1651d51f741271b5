"""Train small behaviour models on inertial recordings; release them versioned and verified."""

__version__ = "0.2.0"
