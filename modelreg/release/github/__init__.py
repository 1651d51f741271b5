"""Publish versions as GitHub releases, and download them."""
