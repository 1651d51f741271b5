"""The fake as tests use it: it starts the origins, keeps the log and chooses the faults."""

import hashlib
import ssl
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fake_github.api import Api
from fake_github.exchange import Exchange, Request
from fake_github.faults import Fault
from fake_github.rules import new_release, publish
from fake_github.shapes import Shapes
from fake_github.state import Asset, Release, Repository, User, safe_name
from fake_github.transfer import Objects, Uploads, Web
from fake_github.wire import Origin, Service

TOKEN = "ghp_" + "F4k3" * 9


class FakeGitHub:
    """GitHub Releases of one repository, on loopback while the `with` block lasts.

    `repo` holds the repository and every knob; `requests` is the log; `fail` and `fail_nth` plan faults. With `tls`
    the origins speak https, with `prefix` the API lies at PREFIX/v3 and uploads at PREFIX/uploads, as on Enterprise.
    `apart` puts the object store on 127.0.0.2 (Linux): Go's client, and so gh, keeps its token for another port.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        token: str = TOKEN,
        prefix: str = "",
        tls: ssl.SSLContext | None = None,
        apart: bool = False,
        **knobs: Any,
    ) -> None:
        self.token, self.apart = token, apart
        self.users: dict[str, User] = {token: User()}
        self.repo = Repository(**knobs)
        self.requests: list[Exchange] = []
        self.faults: list[Fault] = []
        self.errors: list[BaseException] = []
        self.closing = threading.Event()
        self._prefix, self._tls, self._given = prefix, tls, folder
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._temporary = tempfile.TemporaryDirectory(prefix="fake_github.", dir=self._given)
        self.folder = Path(self._temporary.name)
        api, objects = Api(self.repo, self.users), Objects(self.repo)
        uploads, web = Uploads(self.repo, self.users, self.folder), Web(self.repo, objects)
        places = {"api": "/v3", "uploads": "/uploads"} if self._prefix else {}
        services: dict[str, Service] = {"api": api, "uploads": uploads, "objects": objects, "web": web}
        self.origins = {
            name: Origin(name, service, self, self._tls, self._prefix + places[name] if name in places else "")
            for name, service in services.items()
        }
        self.shapes = Shapes(self.api_url, self.uploads_url, self.web_url, self.repo)
        api.shapes = uploads.shapes = self.shapes
        objects.url, api.link = self.objects_url, objects.link
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        for origin in self.origins.values():
            origin.stop()
        self._temporary.cleanup()
        if self.errors and error is None:
            raise self.errors[0]

    # Addresses

    @property
    def api_url(self) -> str:
        """The value for GITHUB_API_URL."""
        return self.origins["api"].url

    @property
    def uploads_url(self) -> str:
        """The address of `upload_url`."""
        return self.origins["uploads"].url

    @property
    def objects_url(self) -> str:
        """The address that downloads are redirected to."""
        return self.origins["objects"].url

    @property
    def web_url(self) -> str:
        """The address of the web pages and of `browser_download_url`."""
        return self.origins["web"].url

    @property
    def repository(self) -> str:
        """The owner and the name."""
        return self.repo.full_name

    # What is inside

    @property
    def releases(self) -> list[Release]:
        """Every release, the oldest first."""
        return list(self.repo.releases.values())

    @property
    def drafts(self) -> list[Release]:
        """The drafts."""
        return [release for release in self.releases if release.draft]

    def published(self, tag: str) -> Release | None:
        """Return the public release of `tag`."""
        return self.repo.published(tag)

    def digests(self, release: Release) -> dict[str, str | None]:
        """Return the SHA-256 of each stored file by name; None for an incomplete upload."""
        return {asset.name: asset.sha256 if asset.state == "uploaded" else None for asset in release.assets.values()}

    def add_token(self, token: str, *, push: bool = True, listed: bool = True, scopes: str = "repo") -> str:
        """Accept another token, and return it."""
        self.users[token] = User("hubot", push, scopes, 1000 + len(self.users), listed)
        return token

    def add_tag(self, name: str, commit: str, *, annotated: bool = False) -> None:
        """Push a tag with its commit."""
        self.repo.tags[name] = commit
        if annotated:
            self.repo.annotated[name] = hashlib.sha1(f"tag {name}".encode(), usedforsecurity=False).hexdigest()

    def add_release(
        self, tag: str, assets: dict[str, bytes] | None = None, *, draft: bool = False, **fields: Any
    ) -> Release:
        """Make a release as if another had; `fields` as the API takes them."""
        with self.repo.lock:
            release = new_release(self.repo, {"tag_name": tag, **fields})
            for name, data in (assets or {}).items():
                self.add_asset(release, name, data)
            if not draft:
                publish(self.repo, release, fields.get("make_latest"))
            self.repo.releases[release.id] = release
            return release

    def add_asset(self, release: Release, name: str, data: bytes | None) -> Asset:
        """Add an asset to a release; without `data` an incomplete one, in state starter."""
        number = next(self.repo.numbers)
        file = self.folder / str(number)
        asset = Asset(number, safe_name(name), "", "application/octet-stream", self.repo.now(), file)
        if data is not None:
            file.write_bytes(data)
            asset.state, asset.size, asset.sha256 = "uploaded", len(data), hashlib.sha256(data).hexdigest()
        release.assets[number] = asset
        return asset

    # The log and the faults

    def fail(
        self,
        method: str,
        pattern: str,
        kind: str,
        times: int = 1,
        after: int = 0,
        *,
        origin: str | None = None,
        **details: Any,
    ) -> Fault:
        """Plan a fault: requests of `method` ("*": any) whose path and query `pattern` is found in.

        The first `after` of them pass, the next `times` meet it. The kinds and their details are in `faults`.
        """
        fault = Fault(kind, method, pattern, times, after, origin, details)
        self.faults.append(fault)
        return fault

    def fail_nth(self, number: int, kind: str, **details: Any) -> Fault:
        """Plan a fault for the `number`-th request from now on (1: the next), of any kind."""
        return self.fail("*", "", kind, after=number - 1, **details)

    def note(self, request: Request) -> tuple[Exchange, Fault | None]:
        """Log `request` and return the first fault that is due; the others wait for the next request."""
        with self._lock:
            exchange = Exchange(len(self.requests) + 1, request)
            self.requests.append(exchange)
            due = [fault for fault in self.faults if fault.is_due(request)]
            for fault in due[:1]:
                fault.hits += 1
                request.leaves = fault.details.get("leaves", "starter") if fault.kind == "reset_after" else None
        return exchange, due[0] if due else None
