"""Texts that `verify` renders again: one module for each document and template version."""
