"""Metrics, bootstrap, temperature scaling, conformal sets, gates, paired comparison."""
