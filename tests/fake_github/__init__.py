"""A fake of GitHub Releases: three origins on loopback (and the web pages' downloads), real rules, faults on demand.

What it does was read in shared/reference/github.md (sources there) and is held against GitHub's own OpenAPI
(openapi.json, see `contract`) and recordings of the real API (recordings/). Where the real behaviour is not known, the
harder case is the default and a knob of `Repository` chooses the other.
"""

from fake_github.exchange import Exchange, Request, Response
from fake_github.faults import KINDS, Fault
from fake_github.server import FakeGitHub
from fake_github.state import Asset, Release, Repository, User

__all__ = ["KINDS", "Asset", "Exchange", "FakeGitHub", "Fault", "Release", "Repository", "Request", "Response", "User"]
