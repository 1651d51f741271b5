"""Evaluate recorded predictions: metrics, intervals, calibration, prediction sets, gates, paired comparison."""
