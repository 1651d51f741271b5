"""What `verify` checks: integrity, consistency, exports, calibration, signatures."""
