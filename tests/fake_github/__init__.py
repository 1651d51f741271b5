"""A fake of GitHub Releases: three origins on loopback (and the web pages' downloads), real rules, faults on demand.

It is tested against GitHub's OpenAPI description (openapi.json, see `contract`) and against recordings of the real API
(recordings/). Where the real behaviour is not known, the harder case is the default, and a setting of `Repository`
selects the other one.
"""

from fake_github.exchange import Exchange, Request, Response
from fake_github.faults import KINDS, Fault
from fake_github.server import FakeGitHub
from fake_github.state import Asset, Release, Repository, User

__all__ = ["KINDS", "Asset", "Exchange", "FakeGitHub", "Fault", "Release", "Repository", "Request", "Response", "User"]
