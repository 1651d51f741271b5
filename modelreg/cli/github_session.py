"""Connect to GitHub: the address of its API, the token, the repository that versions are published to."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from time import monotonic, sleep
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modelreg.cli import git
from modelreg.errors import InputError, Problem

if TYPE_CHECKING:
    from modelreg.config import ProjectConfig
    from modelreg.release.github.client import Client
    from modelreg.release.github.http_client import Secret


@contextmanager
def connect(root: Path, project: "ProjectConfig", timeout_s: float | None = None) -> Iterator["Client"]:
    """Yield a session with the repository's server. Raises InputError if no repository is configured.

    `timeout_s` bounds the whole session; None: API calls and retries are bounded, and transfers by their rate.
    """
    from modelreg.release.github import client as remote
    from modelreg.release.github import http_client
    from modelreg.release.github.time_limits import TOTAL_S

    name = repository(root, project)
    if name is None:
        raise InputError("cannot connect to GitHub", [_no_repository(root)])
    api = _api()
    own = os.environ.get("SSL_CERT_FILE") or os.environ.get("REQUESTS_CA_BUNDLE")
    server = http_client.Server(
        repository=name,
        token=_token(api),
        clock=monotonic,
        sleep=sleep,
        api=api,
        total_s=timeout_s or TOTAL_S,
        whole=timeout_s is not None,
        certificates=own,
    )
    with remote.Client(server) as client:
        yield client


def repository(root: Path, project: "ProjectConfig") -> str | None:
    """Return owner/name of the repository that versions are published to; None if none is configured."""
    return project.repository or git.origin_repository(root)


def find_problems(root: Path, project: "ProjectConfig") -> Iterator[Problem]:
    """Yield why nothing can be published from here, without asking the server."""
    if repository(root, project) is None:
        yield _no_repository(root)
    if token_source() is None:
        yield no_token()


def no_token() -> Problem:
    """Return the problem of a missing token."""
    return Problem("token", "github.token-missing", "no token in GITHUB_TOKEN or GH_TOKEN, or from `gh auth token`")


def _no_repository(root: Path) -> Problem:
    message = "modelreg.yaml has no `repository`, and the git remote `origin` is not on a server"
    return Problem(str(root), "github.no-repository", message)


def api_url() -> str | None:
    """Return the address of the API in GITHUB_API_URL; None: that of github.com is used."""
    return os.environ.get("GITHUB_API_URL")


def hostname(url: str) -> str:
    """Return the host of an address, without a secret that may precede it; nothing if the address is invalid."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # http://[::1
        return ""


def _api() -> str:
    """Return the address of the API. Raises InputError if GITHUB_API_URL is not an address."""
    from modelreg.release.github import http_client

    url = api_url() or http_client.API
    try:
        _ = urlsplit(url).port  # reading it checks it
    except ValueError as error:
        problem = Problem("GITHUB_API_URL", "github.address-invalid", f"not a valid address: {url}")
        raise InputError("cannot connect to GitHub", [problem]) from error
    return url


def token_source() -> str | None:
    """Return the name of the source of the token, never the token; None if no source has one."""
    from modelreg.release.github import http_client

    return _token_found(api_url() or http_client.API)[0]


def _token(api: str) -> "Secret | None":
    """Return the token of GITHUB_TOKEN, GH_TOKEN or `gh auth token` for the API's host; None if there is none."""
    from modelreg.release.github.http_client import Secret

    _, text = _token_found(api)
    return Secret(text) if text else None


def _token_found(api: str) -> tuple[str, str] | tuple[None, None]:
    for name in ("GITHUB_TOKEN", "GH_TOKEN"):
        if text := os.environ.get(name):
            return name, text
    host = hostname(api).removeprefix("api.")  # the token of github.com is not sent to another host
    if host and which("gh"):
        command = ["gh", "auth", "token", "--hostname", host]
        done = subprocess.run(command, capture_output=True, check=False, encoding="utf-8", errors="replace")
        if done.returncode == 0 and done.stdout.strip():
            return "gh auth token", done.stdout.strip()
    return None, None
