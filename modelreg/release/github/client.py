"""Read and change the releases of a GitHub repository, as the values of release/github/plan.py.

Addresses start with the API's, which GITHUB_API_URL sets. `upload_url` and the targets of redirects are used as GitHub
sends them, so that GitHub Enterprise works too.
"""

import io
import os
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar
from urllib.parse import quote, urlsplit

from modelreg import files
from modelreg.errors import InputError, Problem, PublishConflict, RemoteError
from modelreg.release.github.answers import NotFound, host, parse, split
from modelreg.release.github.http_client import (
    Body,
    Download,
    Page,
    Progress,
    Server,
    Transport,
    ignore_progress,
)
from modelreg.release.github.plan import Asset, ExpectedRelease, RemoteAsset, RemoteRelease
from modelreg.release.github.time_limits import Budget

TAG_USED = "was used by an immutable release"  # in GitHub's message
Value = TypeVar("Value")


class Repository(NamedTuple):
    """What the token allows in a repository."""

    archived: bool
    push: bool
    scopes: str | None = None  # of a classic token; None: a fine-grained token, or no token


class Client:
    """A session with one repository, for one thread. Use it as a context manager."""

    def __init__(self, server: Server, budget: Budget | None = None) -> None:
        self.server, self.http = server, Transport(server, budget)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    # Reading

    def releases(self) -> list[RemoteRelease]:
        """Return every release, including drafts if the token may see them."""
        return [_valid(_release, document) for document in self.http.items(self._url("releases?per_page=100"))]

    def release(self, release_id: int) -> RemoteRelease | None:
        """Return one release, with all of its assets; None if it does not exist."""
        try:
            return self._whole(self.http.read(self._url(f"releases/{release_id}")))
        except NotFound:  # also between the two requests
            return None

    def published(self, tag: str) -> RemoteRelease:
        """Return the published release of a tag. Raises RemoteError if there is none."""
        page = self.http.read(self._url(f"releases/tags/{quote(tag, safe='')}"), allow=(HTTPStatus.NOT_FOUND,))
        if page.status == HTTPStatus.NOT_FOUND:
            message = (
                f"{self.server.repository} has no published release of this tag, or the token may not see it (404)"
            )
            problem = Problem(tag, "github.release-not-found", message)
            raise RemoteError("cannot read the release", [problem])
        return self._whole(page)

    def _whole(self, page: Page) -> RemoteRelease:
        release = _valid(_release, page.document)
        listed = self.http.items(self._url(f"releases/{release.id}/assets?per_page=100"))
        return release._replace(assets=tuple(_valid(_asset, document) for document in listed))

    def repository(self) -> Repository:
        """Return what the token allows in the repository. Raises RemoteError for a refused token or an unknown name."""
        page = self.http.read(self._url(""), allow=(HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND))
        if page.status == HTTPStatus.UNAUTHORIZED:
            problem = Problem("token", "github.token-refused", "GitHub refused the token (401): it is wrong or expired")
            raise RemoteError("cannot read the repository", [problem])
        if page.status == HTTPStatus.NOT_FOUND:
            message = f"not found on {self.server.api}, or the token may not see it (404)"
            problem = Problem(self.server.repository, "github.repository-not-found", message)
            raise RemoteError("cannot read the repository", [problem])
        return _valid(_repository, page.document)._replace(scopes=page.scopes)

    def commit(self, name: str) -> str | None:
        """Return the commit that `tags/v1.0.0` or a commit's SHA names on GitHub; None if GitHub does not know it."""
        unknown = (HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY)
        page = self.http.read(self._url(f"commits/{quote(name, safe='/')}"), allow=unknown)
        return None if page.status in unknown else _valid(lambda found: str(found["sha"]), page.document)

    # Changing

    def create(self, expected: ExpectedRelease) -> RemoteRelease:
        """Create a draft."""
        body = _stated(expected, draft=True)
        return _valid(_release, parse(self.http.change("POST", self._url("releases"), json=body)))

    def withdraw(self, draft: RemoteRelease) -> None:
        """Delete a draft. A draft that is already deleted is not an error."""
        self.http.change("DELETE", self._url(f"releases/{draft.id}"), allow=(HTTPStatus.NOT_FOUND,))

    def delete(self, asset: RemoteAsset) -> None:
        """Delete an asset of a release. An asset that is already deleted is not an error."""
        self.http.change("DELETE", self._url(f"releases/assets/{asset.id}"), allow=(HTTPStatus.NOT_FOUND,))

    def upload(self, release: RemoteRelease, asset: Asset, folder: Path, progress: Progress = ignore_progress) -> None:
        """Upload a file, streamed from disk. Raises InputError if its size is not the one in the manifest."""
        address = release.upload_url.partition("{")[0]
        if urlsplit(self.server.api).scheme == "https" and split(address, asset.name).scheme != "https":
            problem = Problem(asset.name, "github.redirect-without-tls", f"to be sent to {host(address)} without TLS")
            raise RemoteError("cannot upload", [problem])
        query = f"?name={quote(asset.name, safe='')}&label={quote(asset.label, safe='')}"
        headers = {"Content-Type": asset.content_type, "Content-Length": str(asset.size)}
        with _opened(asset, folder) as file:
            self.http.change(
                "POST", address + query, data=Body(file, asset.name, asset.size, progress), headers=headers
            )

    def publish(self, release: RemoteRelease, expected: ExpectedRelease) -> RemoteRelease:
        """Make a draft public. Raises PublishConflict if an immutable release has used the tag before.

        The texts and the tag are sent again: a draft that is changed without its tag loses it.
        """
        body = _stated(expected, draft=False)
        try:
            answer = self.http.change("PATCH", self._url(f"releases/{release.id}"), json=body)
        except RemoteError as error:
            if TAG_USED in str(error):
                message = "an immutable release used this tag before, and GitHub does not accept it again"
                remove = f"release a new version, and delete the draft {release.html_url}"
                problem = Problem(expected.tag, "github.tag-used", message, remove)
                raise PublishConflict("the draft cannot be made public", [problem]) from error
            raise
        return _valid(_release, parse(answer))

    # Downloading

    def download(self, asset: RemoteAsset, folder: Path, progress: Progress = ignore_progress) -> Path:
        """Download an asset into a folder, resuming an interrupted download, and return its path.

        The file is named by the asset's number on GitHub: the bytes of a number never change. The caller checks the
        digest.
        """
        target = folder / f"{asset.id}.part"
        self.http.fetch(Download(self._url(f"releases/assets/{asset.id}"), asset.name, asset.size, target), progress)
        return target

    def download_small(
        self, asset: RemoteAsset, folder: Path, progress: Progress = ignore_progress, limit: int = files.DOCUMENT_LIMIT
    ) -> Path:
        """Download an asset whose size only GitHub states. Raises RemoteError if it is over `limit` bytes."""
        if asset.size > limit:
            message = f"has {asset.size:,} bytes, expected at most {limit:,}"
            raise RemoteError("cannot download", [Problem(asset.name, "github.asset-too-large", message)])
        return self.download(asset, folder, progress)

    def _url(self, path: str) -> str:
        place = f"{self.server.api.rstrip('/')}/repos/{self.server.repository}"
        return f"{place}/{path}" if path else place


def _stated(expected: ExpectedRelease, *, draft: bool) -> dict[str, object]:
    """Return every property of a release. GitHub makes one the latest whose request does not say whether it is."""
    return {
        "tag_name": expected.tag,
        "name": expected.title,
        "body": expected.body,
        "prerelease": expected.prerelease,
        "draft": draft,
        "make_latest": "true" if expected.latest and not draft else "false",
    }


def _opened(asset: Asset, folder: Path) -> IO[bytes]:
    if asset.path is None:
        return io.BytesIO(asset.content or b"")
    file = files.open_regular(folder / asset.path)
    if (size := os.fstat(file.fileno()).st_size) != asset.size:
        file.close()
        message = f"changed while it was published: expected {asset.size} bytes, found {size}"
        raise InputError("the upload stopped", [Problem(asset.path, "publish.file-changed", message)])
    return file


def _valid(read: Callable[[Any], Value], document: Any) -> Value:
    """Return an answer as `read` converts it. Raises RemoteError if a field is missing or has another type."""
    try:
        return read(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problem = Problem("answer", "github.answer-unexpected", f"not a document of GitHub ({type(error).__name__})")
        raise RemoteError("cannot read the answer of the server", [problem]) from error


def _repository(document: Any) -> Repository:
    return Repository(bool(document.get("archived")), bool((document.get("permissions") or {}).get("push")))


def _release(document: Any) -> RemoteRelease:
    return RemoteRelease(
        id=int(document["id"]),
        tag=str(document["tag_name"]),
        draft=bool(document["draft"]),
        immutable=bool(document.get("immutable", False)),
        body=str(document.get("body") or ""),
        assets=tuple(map(_asset, document.get("assets", []))),
        upload_url=str(document["upload_url"]),
        html_url=str(document["html_url"]),
    )


def _asset(document: Any) -> RemoteAsset:
    digest = document.get("digest")
    return RemoteAsset(
        id=int(document["id"]),
        name=str(document["name"]),
        size=int(document["size"]),
        state=str(document["state"]),
        sha256=str(digest).removeprefix("sha256:") if digest else None,
    )
