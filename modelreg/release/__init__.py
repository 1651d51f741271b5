"""Plan and carry out releases, and create registry repositories."""
