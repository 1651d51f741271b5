"""What `verify` checks: files, documents against each other, exports, calibration; and signatures."""
