"""Replay recordings of the real API (recordings/, from @octokit/fixtures) on the fake."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from fake_github.client import Client
from fake_github.server import FakeGitHub

RECORDINGS = Path(__file__).parent / "recordings"


def keys_of(document: Any) -> set[str]:
    """Return every key of a document, with its path."""
    if isinstance(document, list):
        return {key for item in document for key in keys_of(item)}
    if not isinstance(document, dict):
        return set()
    return document.keys() | {f"{name}.{key}" for name, item in document.items() for key in keys_of(item)}


def replay(name: str, folder: Path) -> Iterator[tuple[dict[str, Any], requests.Response]]:
    """Send recorded requests to a fake in the recorded state; yield each exchange with the answer of the fake."""
    rows = json.loads((RECORDINGS / f"{name}.json").read_text())
    with FakeGitHub(folder, full_name=f"octokit-fixture-org/{name}") as fake, Client(fake) as client:
        release = fake.add_release(
            "v1.0.0", {"test-upload.txt": b"old"} if "conflict" in name else {}, name="V", body="B"
        )
        origins = {"https://api.github.com:443": fake.api_url, "https://uploads.github.com:443": fake.uploads_url}
        for row in rows:
            asset = max(release.assets, default=0)
            path = (
                row["path"].replace("assets/1000", f"assets/{asset}").replace("releases/1000", f"releases/{release.id}")
            )
            body = json.dumps(row["body"]) if isinstance(row["body"], dict) else row["body"]
            yield row, client.request(row["method"], origins[row["scope"]] + path, data=body, headers=row["headers"])
