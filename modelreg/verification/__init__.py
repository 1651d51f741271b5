"""Checks of `verify`: files, documents, exports, calibration and signatures."""
