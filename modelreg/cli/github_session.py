"""The session with GitHub: the address of its API, the token, the repository that versions are published to."""

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
def connect(root: Path, project: "ProjectConfig", total_s: float) -> Iterator["Client"]:
    """Yield a session with the repository's server. Raises InputError where no repository is known."""
    from modelreg.release.github import client as remote
    from modelreg.release.github import http_client

    name = repository(root, project)
    if name is None:
        what = "name it in modelreg.yaml (`repository: owner/name`), or add a git remote `origin` on GitHub"
        raise InputError("no repository to publish to", [Problem(str(root), "todo.github-session", what)])
    api = api_url() or http_client.API
    own = os.environ.get("SSL_CERT_FILE") or os.environ.get("REQUESTS_CA_BUNDLE")
    server = http_client.Server(name, _token(api), monotonic, sleep, api, total_s, own)
    with remote.Client(server) as client:
        yield client


def repository(root: Path, project: "ProjectConfig") -> str | None:
    """Return owner/name of the repository that versions are published to; None where none is known."""
    return project.repository or git.origin_repository(root)


def api_url() -> str | None:
    """Return the address of the server's API, where it is not GitHub's own."""
    return os.environ.get("GITHUB_API_URL")


def token_source() -> str | None:
    """Return where the token would come from, never the token; None where there is none."""
    from modelreg.release.github import http_client

    return _token_found(api_url() or http_client.API)[0]


def _token(api: str) -> "Secret | None":
    """Return the token of GITHUB_TOKEN, GH_TOKEN, or gh's own for the API's host; None where there is none."""
    from modelreg.release.github.http_client import Secret

    _, text = _token_found(api)
    return Secret(text) if text else None


def _token_found(api: str) -> tuple[str, str] | tuple[None, None]:
    for name in ("GITHUB_TOKEN", "GH_TOKEN"):
        if text := os.environ.get(name):
            return name, text
    if which("gh"):
        host = (urlsplit(api).hostname or "").removeprefix("api.")  # that of github.com goes to no other
        command = ["gh", "auth", "token", "--hostname", host]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip():
            return "gh auth token", done.stdout.strip()
    return None, None
