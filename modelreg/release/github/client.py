"""GitHub's releases: what can be asked and changed, as values of release/github/plan.py.

The addresses are the API's, from GITHUB_API_URL on; `upload_url` and the places of redirects are used as GitHub gives
them, so that GitHub Enterprise needs nothing else.
"""

import io
import os
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar
from urllib.parse import quote

from modelreg import files
from modelreg.errors import InputError, Problem, PublishConflict, RemoteError
from modelreg.release.github.http_client import Body, Download, Page, Server, Tell, Transport, parse, tell_nobody
from modelreg.release.github.plan import Asset, RemoteAsset, RemoteRelease, Wanted

BURNT = "was used by an immutable release"  # GitHub's words
Value = TypeVar("Value")


class Repository(NamedTuple):
    """What may be done in a repository."""

    archived: bool
    push: bool
    scopes: str | None = None  # of the token; None: a fine-grained one has none, nor has an absent one


class Client:
    """A session with one repository, for one thread. Use it as a context."""

    def __init__(self, server: Server) -> None:
        self.server, self.http = server, Transport(server)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    # Reading

    def releases(self) -> list[RemoteRelease]:
        """Return every release, drafts included where the token may see them."""
        return [_valid(_release, document) for document in self.http.items(self._url("releases?per_page=100"))]

    def release(self, release_id: int) -> RemoteRelease:
        """Return one release, with all of its assets."""
        return self._whole(self.http.read(self._url(f"releases/{release_id}")))

    def published(self, tag: str) -> RemoteRelease:
        """Return the published release of a tag. Raises RemoteError where there is none."""
        page = self.http.read(self._url(f"releases/tags/{quote(tag, safe='')}"), allow=(HTTPStatus.NOT_FOUND,))
        if page.status == HTTPStatus.NOT_FOUND:
            what = f"has no published release in {self.server.repository}, or the token may not see it (404)"
            raise RemoteError("nothing to read", [Problem(tag, "todo.client", what)])
        return self._whole(page)

    def _whole(self, page: Page) -> RemoteRelease:
        release = _valid(_release, page.document)
        listed = self.http.items(self._url(f"releases/{release.id}/assets?per_page=100"))
        return release._replace(assets=tuple(_valid(_asset, document) for document in listed))

    def repository(self) -> Repository:
        """Return what may be done in the repository. Raises RemoteError for a refused token, an unknown name."""
        page = self.http.read(self._url(""), allow=(HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND))
        if page.status == HTTPStatus.UNAUTHORIZED:
            what = "was refused (401): it is wrong, or too old; set another, or log in with `gh auth login`"
            raise RemoteError("the server refused", [Problem("token", "todo.client", what)])
        if page.status == HTTPStatus.NOT_FOUND:
            what = f"is unknown to {self.server.api}, or the token may not see it (404)"
            raise RemoteError("the server refused", [Problem(self.server.repository, "todo.client", what)])
        return _valid(_repository, page.document)._replace(scopes=page.scopes)

    def commit(self, name: str) -> str | None:
        """Return the commit that `tags/v1.0.0`, or a commit's digest, names there; None where it is unknown."""
        unknown = (HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY)
        page = self.http.read(self._url(f"commits/{quote(name, safe='/')}"), allow=unknown)
        return None if page.status in unknown else _valid(lambda found: str(found["sha"]), page.document)

    # Changing

    def create(self, wanted: Wanted) -> RemoteRelease:
        """Make a draft."""
        body = {**_texts(wanted), "draft": True}
        return _valid(_release, parse(self.http.change("POST", self._url("releases"), json=body)))

    def delete(self, asset: RemoteAsset) -> None:
        """Take an asset out of a release; one that is gone already is no error."""
        self.http.change("DELETE", self._url(f"releases/assets/{asset.id}"), allow=(HTTPStatus.NOT_FOUND,))

    def upload(self, release: RemoteRelease, asset: Asset, folder: Path, tell: Tell = tell_nobody) -> None:
        """Send a file, streamed from disk. Raises InputError where it has another size than the version says."""
        address = release.upload_url.partition("{")[0]
        query = f"?name={quote(asset.name, safe='')}&label={quote(asset.label, safe='')}"
        headers = {"Content-Type": asset.content_type, "Content-Length": str(asset.size)}
        with _opened(asset, folder) as file:
            self.http.change("POST", address + query, data=Body(file, asset.name, asset.size, tell), headers=headers)

    def publish(self, release: RemoteRelease, wanted: Wanted) -> RemoteRelease:
        """Make a draft public. Raises PublishConflict where an immutable release has burnt the tag.

        The texts and the tag are sent again: a draft that is changed without its tag loses it.
        """
        body = {**_texts(wanted), "draft": False, "make_latest": "true" if wanted.latest else "false"}
        try:
            answer = self.http.change("PATCH", self._url(f"releases/{release.id}"), json=body)
        except RemoteError as error:
            if BURNT in str(error):
                what = f"{BURNT}, and GitHub takes it never again: take a new version, delete {release.html_url}"
                raise PublishConflict("cannot be published", [Problem(wanted.tag, "todo.client", what)]) from error
            raise
        return _valid(_release, parse(answer))

    # Downloading

    def download(self, asset: RemoteAsset, folder: Path, tell: Tell = tell_nobody) -> Path:
        """Download an asset into a folder, going on with what an earlier attempt left of it, and return its path.

        Its name there is its number on GitHub, under which bytes never change; their digest is the caller's to check.
        """
        target = folder / f"{asset.id}.part"
        self.http.fetch(Download(self._url(f"releases/assets/{asset.id}"), asset.name, asset.size, target), tell)
        return target

    def _url(self, path: str) -> str:
        place = f"{self.server.api.rstrip('/')}/repos/{self.server.repository}"
        return f"{place}/{path}" if path else place


def _texts(wanted: Wanted) -> dict[str, object]:
    return {"tag_name": wanted.tag, "name": wanted.title, "body": wanted.body, "prerelease": wanted.prerelease}


def _opened(asset: Asset, folder: Path) -> IO[bytes]:
    if asset.path is None:
        return io.BytesIO(asset.content or b"")
    file = files.open_regular(folder / asset.path)
    if (size := os.fstat(file.fileno()).st_size) != asset.size:
        file.close()
        what = f"has {size} bytes, the manifest says {asset.size}: it was changed after it was checked"
        raise InputError("cannot upload", [Problem(asset.path, "todo.client", what)])
    return file


def _valid(read: Callable[[Any], Value], document: Any) -> Value:
    """Return what `read` makes of an answer. Raises RemoteError where it is not what GitHub sends."""
    try:
        return read(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"is not what GitHub sends: {type(error).__name__}"
        raise RemoteError("cannot read the answer", [Problem("answer", "todo.client", what)]) from error


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
