"""GitHub Releases: client, plan, uploads, publish, pull."""
