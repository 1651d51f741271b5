"""Folders and file names of versions and runs; references and aliases."""
