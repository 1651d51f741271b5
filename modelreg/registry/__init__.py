"""Where versions and runs live."""
