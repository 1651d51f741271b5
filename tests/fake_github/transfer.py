"""The origins that carry bytes: uploads, the object store, and the downloads of the web pages."""

import hashlib
import re
import uuid
from email.utils import format_datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlencode

from fake_github import access
from fake_github.exchange import Refusal, Request, Response, failure, json_response, not_found
from fake_github.shapes import Shapes
from fake_github.state import LARGEST, MOST_ASSETS, START, Asset, Release, Repository, User, safe_name
from fake_github.wire import BLOCK, Body, ClientGone, Cut

ZEROS = bytes(BLOCK)
OCTETS = (
    "application/octet-stream"  # what the store says of every asset, whatever its content_type (seen in many links)
)
NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")


class Uploads:
    """The origin of uploads: it stores assets on disk, block by block."""

    def __init__(self, repository: Repository, users: dict[str, User], folder: Path) -> None:
        self.repository, self.users, self.folder = repository, users, folder
        self.shapes: Shapes

    def answer(self, request: Request, body: Body) -> Response:
        """Store one asset. Whatever is wrong is said before a byte of the body is read."""
        with self.repository.lock:
            user = access.identify(request, self.users)
            release = self._release(request, user)
            self._check(request, release)
            asset = self._begin(request, release)
        try:
            self._store(asset, body)
        except (Cut, ClientGone):
            self._end_half(release, asset, request.leaves or self.repository.cut_leaves)
            raise
        with self.repository.lock:
            asset.state, asset.updated_at = "uploaded", self.repository.now()
            headers = {"X-OAuth-Scopes": user.scopes} if user else {}
            return json_response(201, self.shapes.asset(release, asset), **headers)

    def abandon(self, request: Request) -> None:
        """Leave an incomplete asset, as a 502 may."""
        with self.repository.lock:
            try:
                release = self._release(request, access.identify(request, self.users))
                self._check(request, release)
            except Refusal:
                return
            self._begin(request, release)

    def _release(self, request: Request, user: User | None) -> Release:
        inside = access.locate(request, self.repository, user, self.shapes.uploads)
        found = re.fullmatch(r"/releases/(\d+)/assets", inside)
        if request.method != "POST" or not found:
            raise not_found()
        access.need_push(self.repository, user)
        if (release := self.repository.releases.get(int(found[1]))) is None:
            raise not_found()
        return release

    def _check(self, request: Request, release: Release) -> None:
        if request.length is None:
            raise Refusal(failure(400, "Bad Content-Length: " + request.headers.get("content-length", "")))
        if release.immutable:
            raise Refusal(failure(422, "Cannot upload assets to an immutable release."))
        bounds = {
            "size must be greater than or equal to 1": request.length < 1,
            f"size must be less than {LARGEST}": request.length >= LARGEST,
        }
        wrong = [_error("custom", "size", text) for text, broken in bounds.items() if broken]
        wrong += [_error("missing_field", "name")] * (not request.query.get("name"))
        wrong += [_error("missing_field", "content_type")] * ("content-type" not in request.headers)
        wrong += [_error("custom", "base", f"Too many assets: {MOST_ASSETS}")] * (len(release.assets) >= MOST_ASSETS)
        if release.find(safe_name(request.query.get("name", ""))):
            wrong.append(_error("already_exists", "name"))
        if wrong:
            refusal = failure(422, "Validation Failed", request_id="FAKE:UPLOAD", errors=wrong)
            raise Refusal(refusal)

    def _begin(self, request: Request, release: Release) -> Asset:
        number = next(self.repository.numbers)
        asset = Asset(
            id=number,
            name=safe_name(request.query["name"]),
            label=request.query.get("label", ""),
            content_type=request.headers["content-type"],
            created_at=self.repository.now(),
            file=self.folder / str(number),
        )
        release.assets[number] = asset
        return asset

    @staticmethod
    def _store(asset: Asset, body: Body) -> None:
        digest = hashlib.sha256()
        with asset.file.open("wb") as file:
            for block in body.blocks():
                digest.update(block)
                if bytes(block) == ZEROS[: len(block)]:  # bytes are compared at once, views one by one
                    file.seek(len(block), 1)
                else:
                    file.write(block)
            file.truncate()
            asset.size = file.tell()
        asset.sha256 = digest.hexdigest()

    def _end_half(self, release: Release, asset: Asset, leaves: str) -> None:
        with self.repository.lock:
            asset.file.unlink(missing_ok=True)
            asset.size, asset.sha256 = 0, None
            if leaves == "nothing":
                release.assets.pop(asset.id, None)


class Objects:
    """The object store: signed addresses, ranges, and only one way to authenticate."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.url = ""

    def link(self, asset: Asset) -> str:
        """Return the signed address of an asset."""
        disposition = f"attachment; filename={asset.name}"
        query = {"sp": "r", "sv": "2018-11-09", "sr": "b", "se": "2026-12-31T00:00:00Z", "sig": signature(asset)}
        query |= {"rscd": disposition, "rsct": OCTETS}
        return f"{self.url}{place(self.repository, asset)}?{urlencode(query, quote_via=quote)}"

    def answer(self, request: Request, body: Body) -> Response:
        """Give the bytes, or a part of them."""
        body.read()
        if request.authorization is not None:
            text = "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string"
            return _xml(400, "InvalidArgument", f"{text} parameter or the Authorization header should be specified")
        with self.repository.lock:
            assets = [asset for release in self.repository.releases.values() for asset in release.assets.values()]
        asset = next((a for a in assets if place(self.repository, a) == request.path), None)
        if request.method not in {"GET", "HEAD"} or asset is None or asset.state != "uploaded":
            return _xml(404, "BlobNotFound", "The specified blob does not exist.")
        if request.query.get("sig") != signature(asset):
            return _xml(403, "AuthenticationFailed", "Server failed to authenticate the request.")
        return _part(request, asset)

    def abandon(self, request: Request) -> None:
        """Nothing is written here."""


class Web:
    """The downloads of the web pages, for published releases."""

    def __init__(self, repository: Repository, objects: Objects) -> None:
        self.repository, self.objects = repository, objects

    def answer(self, request: Request, body: Body) -> Response:
        """Redirect to the object store."""
        body.read()
        with self.repository.lock:
            found = re.fullmatch(
                rf"/{re.escape(self.repository.full_name)}/releases/download/(.+)/([^/]+)", request.path
            )
            release = self.repository.published(found[1]) if found else None
            asset = release.find(found[2]) if found and release else None
            if asset is None or asset.state != "uploaded" or self.repository.private:
                return Response(404, {"Content-Type": "text/plain"}, b"Not Found")
            asset.downloads += 1
            return Response(302, {"Location": self.objects.link(asset), "Content-Type": "text/html; charset=utf-8"})

    def abandon(self, request: Request) -> None:
        """Nothing is written here."""


class Span(NamedTuple):
    """A part of a file."""

    start: int
    size: int


def find_span(header: str, size: int) -> Span | None:
    """Return the part of a file that a Range header requests; None if the file has no such part."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header)
    if not found or header == "bytes=-":
        return Span(0, size)
    if not found[1]:
        length = min(int(found[2]), size)
        return Span(size - length, length) if length else None
    start, end = int(found[1]), min(int(found[2] or size - 1), size - 1)
    return Span(start, end - start + 1) if start <= end else None


def place(repository: Repository, asset: Asset) -> str:
    """Return the path of an asset in the object store."""
    return f"/github-production-release-asset/{repository.id}/{uuid.uuid5(NAMESPACE, str(asset.id))}"


def signature(asset: Asset) -> str:
    """Return the signature of an address."""
    return hashlib.sha256(f"{asset.id}:{asset.sha256}".encode()).hexdigest()[:32]


def _part(request: Request, asset: Asset) -> Response:
    etag = f'"0x{hashlib.sha256(str(asset.sha256).encode()).hexdigest()[:15].upper()}"'
    headers = {
        "Content-Type": OCTETS,
        "Content-Disposition": f"attachment; filename={asset.name}",
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Last-Modified": format_datetime(START, usegmt=True),
    }
    wanted = request.headers.get("range", "")
    if not wanted or request.headers.get("if-range", etag) != etag:
        return Response(200, headers, file=asset.file, size=asset.size)
    if (span := find_span(wanted, asset.size)) is None:
        return _xml(
            416, "InvalidRange", "The range specified is invalid.", **{"Content-Range": f"bytes */{asset.size}"}
        )
    headers["Content-Range"] = f"bytes {span.start}-{span.start + span.size - 1}/{asset.size}"
    return Response(206, headers, file=asset.file, start=span.start, size=span.size)


def _xml(status: int, code: str, message: str, **headers: str) -> Response:
    text = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Response(status, {"Content-Type": "application/xml", **headers}, text.encode())


def _error(code: str, field: str, message: str = "") -> dict[str, str]:
    named = {"resource": "ReleaseAsset", "code": code, "field": field}
    return {**named, "message": message} if message else named
