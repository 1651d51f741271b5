"""A plain client for tests of the fake, without retries."""

from typing import Any

import requests

from fake_github.server import FakeGitHub


class Client(requests.Session):
    """A client with the token of a fake, independent of the environment."""

    def __init__(self, fake: FakeGitHub, token: str | bool | None = True) -> None:
        super().__init__()
        self.trust_env = False
        self.fake, self.base = fake, f"{fake.api_url}/repos/{fake.repository}"
        if token:
            self.headers["Authorization"] = f"Bearer {fake.token if token is True else token}"

    def create(self, **fields: Any) -> requests.Response:
        """Create a draft for v1.0.0, or with other fields."""
        return self.post(f"{self.base}/releases", json={"tag_name": "v1.0.0", "draft": True, **fields})

    def upload(self, release: Any, name: str = "a.bin", data: Any = b"hello", **headers: str) -> requests.Response:
        """Upload an asset."""
        url = release["upload_url"].partition("{")[0]
        headers = {"Content-Type": "application/octet-stream", **headers}
        return self.post(url, params={"name": name}, data=data, headers=headers)

    def assets(self, release: Any) -> Any:
        """Return the assets as the API lists them."""
        return self.get(release["assets_url"]).json()
