"""What a command does from start to end, over data, ml and a run's folder."""
