"""The only HTTP client: reads releases, changes drafts, downloads.

Reading is repeated after connection errors, server errors and limits, within a total time. What changes something on
the server is sent once and raises `Retry` where it may go well another time: its caller looks first. The token goes
into a header of requests to the API and to the upload address that the API gave, and nowhere else: not with a
redirect, not into an error.
"""

import io
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit

from modelreg import files
from modelreg.errors import InputError, Problem, RemoteError
from modelreg.publishing import Asset, RemoteAsset, RemoteRelease, Wanted

if TYPE_CHECKING:
    from requests import PreparedRequest, Response, Session

API = "https://api.github.com"
API_VERSION = "2022-11-28"
JSON, BYTES = "application/vnd.github+json", "application/octet-stream"
CHUNK = 2**20  # bytes read at once
CONNECT_S, READ_S = 10.0, 60.0
FIRST_WAIT_S, LONGEST_WAIT_S, LIMIT_WAIT_S = 1.0, 60.0, 60.0  # the last: a limit that names no time
TRIES = 6
MESSAGE_LENGTH = 300  # characters of a server's words
JSON_LIMIT = 16 * 2**20  # bytes of one answer

Tell = Callable[[str, int, int], None]  # file, bytes so far, of how many


def tell_nobody(name: str, done: int, of: int) -> None:
    """Take no notice."""


class Secret:
    """A token that nothing prints."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "Secret(…)"

    def sign(self, request: "PreparedRequest") -> "PreparedRequest":
        """Put the token into a request's header."""
        request.headers["Authorization"] = f"Bearer {self._value}"
        return request


@dataclass(frozen=True)
class Server:
    """Where a repository's releases are, and how patiently it is asked."""

    repository: str  # owner/name
    token: Secret | None
    clock: Callable[[], float]  # monotonic seconds
    sleep: Callable[[float], None]
    api: str = API
    total_s: float = 900.0  # after which nothing is tried again
    certificates: str | None = None  # a file of them; None: those that requests knows
    jitter: Callable[[float, float], float] = random.uniform


class Retry(Exception):
    """Something that may go well another time."""

    def __init__(self, problem: Problem, wait_s: float | None = None) -> None:
        self.problem, self.wait_s = problem, wait_s
        super().__init__(str(problem))


class _Page(NamedTuple):
    """A document that was read."""

    status: int
    document: Any
    next: str | None  # where the list goes on


class Client:
    """A session with one server. Use it as a context."""

    def __init__(self, server: Server) -> None:
        import requests

        self.server = server
        self.session: Session = requests.Session()
        for scheme in ("http://", "https://"):
            adapter = requests.adapters.HTTPAdapter()
            adapter.init_poolmanager(1, 2, blocksize=CHUNK)  # sent at once; 16 KiB by default cost half the speed
            self.session.mount(scheme, adapter)
        self.session.verify = server.certificates or True
        self.session.headers.update({"User-Agent": "modelreg", "X-GitHub-Api-Version": API_VERSION})
        self.deadline = server.clock() + server.total_s

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    # Reading

    def releases(self) -> list[RemoteRelease]:
        """Return every release, drafts included where the token may see them."""
        return list(map(_release, self._list("releases")))

    def release(self, release_id: int) -> RemoteRelease:
        """Return one release, with all of its assets."""
        return self._whole(f"releases/{release_id}")

    def published(self, tag: str) -> RemoteRelease:
        """Return the published release of a tag. Raises RemoteError where there is none."""
        return self._whole(f"releases/tags/{quote(tag, safe='')}")

    def _whole(self, path: str) -> RemoteRelease:
        release = _release(self._read(self._url(path)).document)
        return release._replace(assets=tuple(map(_asset, self._list(f"releases/{release.id}/assets"))))

    def repository(self) -> Mapping[str, Any]:
        """Return what the server says of the repository."""
        found: Mapping[str, Any] = self._read(self._url("")).document
        return found

    def has_tag(self, tag: str) -> str | None:
        """Return the commit or tag object that a tag names there; None where it is unknown."""
        page = self._read(self._url(f"git/ref/tags/{quote(tag, safe='/')}"), allow=(HTTPStatus.NOT_FOUND,))
        return None if page.status == HTTPStatus.NOT_FOUND else str(page.document["object"]["sha"])

    # Changing

    def create(self, wanted: Wanted) -> RemoteRelease:
        """Make a draft."""
        body = {
            "tag_name": wanted.tag,
            "name": wanted.title,
            "body": wanted.body,
            "draft": True,
            "prerelease": wanted.prerelease,
        }
        return _release(_json(self._change("POST", self._url("releases"), json=body)))

    def delete(self, asset: RemoteAsset) -> None:
        """Take an asset out of a draft; one that is gone already is no error."""
        self._change("DELETE", self._url(f"releases/assets/{asset.id}"), allow=(HTTPStatus.NOT_FOUND,))

    def upload(self, release: RemoteRelease, asset: Asset, folder: Path, tell: Tell) -> None:
        """Send a file, streamed from disk."""
        address = release.upload_url.partition("{")[0]
        query = f"?name={quote(asset.name, safe='')}&label={quote(asset.label, safe='')}"
        with _Body(asset, folder, tell) as body:
            headers = {"Content-Type": asset.content_type, "Content-Length": str(asset.size)}
            self._change("POST", address + query, data=body, headers=headers)

    def publish(self, release: RemoteRelease, wanted: Wanted) -> RemoteRelease:
        """Make a draft public."""
        body = {"draft": False, "prerelease": wanted.prerelease, "make_latest": "true" if wanted.latest else "false"}
        return _release(_json(self._change("PATCH", self._url(f"releases/{release.id}"), json=body)))

    # Downloading

    def download(self, asset: RemoteAsset, target: Path, tell: Tell = tell_nobody) -> None:
        """Download an asset, going on where an earlier attempt ended; the digest is the caller's to check."""
        self._again(lambda: self._download(asset, target, tell))

    def _download(self, asset: RemoteAsset, target: Path, tell: Tell) -> None:
        have = target.stat().st_size if target.exists() else 0
        if have >= asset.size:
            target.unlink(missing_ok=True)
            have = 0
        headers = {"Accept": BYTES, **({"Range": f"bytes={have}-"} if have else {})}
        answer = self._send("GET", self._url(f"releases/assets/{asset.id}"), headers=headers, stream=True)
        with answer:
            if answer.is_redirect:
                with self._send("GET", answer.headers["Location"], headers=headers, stream=True, plain=True) as moved:
                    self._store(moved, asset, target, have, tell)
            else:
                self._store(answer, asset, target, have, tell)

    def _store(self, answer: "Response", asset: RemoteAsset, target: Path, have: int, tell: Tell) -> None:
        import requests

        if answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            target.unlink(missing_ok=True)
            raise Retry(Problem(asset.name, f"ended before its {asset.size} bytes; once more from the start"))
        _refuse(answer, ())
        partial = answer.status_code == HTTPStatus.PARTIAL_CONTENT
        done = have if partial else 0
        try:
            with target.open("ab" if partial else "wb") as file:
                for chunk in answer.iter_content(CHUNK):
                    done += len(chunk)
                    if done > asset.size:
                        raise RemoteError("cannot download", [Problem(asset.name, "is longer than GitHub lists it")])
                    file.write(chunk)
                    tell(asset.name, done, asset.size)
        except requests.RequestException as error:
            raise Retry(Problem(asset.name, _words(error))) from error
        if done < asset.size:
            raise Retry(Problem(asset.name, f"ended after {done} of {asset.size} bytes"))

    # One request

    def _url(self, path: str) -> str:
        place = f"{self.server.api.rstrip('/')}/repos/{self.server.repository}"
        return f"{place}/{path}" if path else place

    def _list(self, path: str) -> Iterator[Any]:
        """Yield every document of a list, page by page."""
        url: str | None = self._url(f"{path}?per_page=100")
        while url:
            page = self._read(url)
            yield from page.document
            url = page.next

    def _read(self, url: str, allow: tuple[int, ...] = ()) -> "_Page":
        """Read a document, again and again while it may go well."""

        def once() -> _Page:
            answer = self._send("GET", url, headers={"Accept": JSON})
            _refuse(answer, allow)
            return _Page(answer.status_code, _json(answer), answer.links.get("next", {}).get("url"))

        page: _Page = self._again(once)
        return page

    def _change(self, method: str, url: str, *, allow: tuple[int, ...] = (), **parts: Any) -> "Response":
        """Change something, once."""
        answer = self._send(method, url, **{**parts, "headers": {"Accept": JSON, **parts.get("headers", {})}})
        _refuse(answer, allow)
        return answer

    def _send(self, method: str, url: str, *, plain: bool = False, **parts: Any) -> "Response":
        """Send one request; `plain`: without the token, to wherever a redirect leads."""
        import requests

        def sign(request: "PreparedRequest") -> "PreparedRequest":  # also keeps a .netrc out
            return request if plain or self.server.token is None else self.server.token.sign(request)

        download = parts.pop("stream", False)
        try:
            answer = self.session.request(
                method, url, auth=sign, timeout=(CONNECT_S, READ_S), allow_redirects=False, stream=True, **parts
            )
            if not download or answer.status_code >= HTTPStatus.BAD_REQUEST:
                _read_bounded(answer)
        except requests.RequestException as error:
            raise Retry(Problem(_host(url), _words(error))) from error
        return answer

    def _again(self, once: Callable[[], Any]) -> Any:
        """Do something until it goes well; a `Retry` that came too often becomes a RemoteError."""
        attempt = 0
        while True:
            try:
                return once()
            except Retry as retry:
                self.wait(attempt, retry)  # raises in the end
                attempt += 1

    def wait(self, attempt: int, retry: "Retry") -> None:
        """Wait as long as the server asked, or twice as long as before. Raises RemoteError where it is enough."""
        pause = retry.wait_s
        if pause is None:
            longest = min(FIRST_WAIT_S * 2**attempt, LONGEST_WAIT_S)
            pause = longest * self.server.jitter(0.5, 1)
        if attempt + 1 >= TRIES or self.server.clock() + pause > self.deadline:
            raise RemoteError(f"gave up after {attempt + 1} attempts", [retry.problem]) from retry
        self.server.sleep(pause)


class _Body:
    """A file on its way, told of as it goes; requests reads it piece by piece."""

    def __init__(self, asset: Asset, folder: Path, tell: Tell) -> None:
        self.asset, self.folder, self._tell, self.done = asset, folder, tell, 0

    def __enter__(self) -> "_Body":
        name, content = self.asset.path, self.asset.content
        self.file: IO[bytes] = files.open_regular(self.folder / name) if name else io.BytesIO(content or b"")
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __len__(self) -> int:
        return self.asset.size

    def __iter__(self) -> Iterator[bytes]:  # by which requests knows a stream
        while piece := self.read():
            yield piece

    def read(self, size: int = -1) -> bytes:
        """Return the next piece."""
        piece = self.file.read(min(size, CHUNK) if size > 0 else CHUNK)
        self.done += len(piece)
        self._tell(self.asset.name, self.done, self.asset.size)
        return piece


# Answers


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


def _read_bounded(answer: "Response") -> None:
    """Read an answer's body as requests would, but never more than the limit."""
    body = bytearray()
    for chunk in answer.iter_content(CHUNK):
        body += chunk
        if len(body) > JSON_LIMIT:
            answer.close()
            raise RemoteError("cannot read the answer", [Problem(_host(answer.url), "sent too much")])
    answer._content = bytes(body)  # noqa: SLF001 where requests keeps it


def _json(answer: "Response") -> Any:
    try:
        return files.parse_json(answer.content, "answer")
    except InputError as error:
        raise Retry(Problem(_host(answer.url), "sent no JSON")) from error


def _refuse(answer: "Response", allow: tuple[int, ...]) -> None:
    """Raise what an answer means: something to try again, or the end."""
    status = answer.status_code
    where = f"{answer.request.method} {urlsplit(answer.url).path}"
    if status in allow:
        return
    if answer.is_redirect:
        place = urlsplit(answer.headers["Location"])
        what = f"has moved to {place.netloc}{place.path}: name the repository's new place in modelreg.yaml"
        raise RemoteError("the server refers elsewhere", [Problem(where, what)])
    if status < HTTPStatus.BAD_REQUEST:
        return
    problem = Problem(where, f"{status} {_message(answer)}")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or "already_exists" in problem.what:  # an earlier try was heard
        raise Retry(problem)
    if status in (HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS):
        limit = _limit_wait(answer)
        if limit is not None or status == HTTPStatus.TOO_MANY_REQUESTS:
            raise Retry(problem, limit if limit is not None else LIMIT_WAIT_S)
    raise RemoteError("the server refused", [problem])


def _limit_wait(answer: "Response") -> float | None:
    """Return for how long a limit asks to wait; None where the answer is no limit."""
    headers = answer.headers
    if "Retry-After" in headers:
        return float(headers["Retry-After"]) if headers["Retry-After"].isdecimal() else LIMIT_WAIT_S
    if headers.get("x-ratelimit-remaining") == "0":
        from email.utils import parsedate_to_datetime

        now = parsedate_to_datetime(headers["Date"]).timestamp() if "Date" in headers else 0.0
        return max(float(headers.get("x-ratelimit-reset", now + LIMIT_WAIT_S)) - now, 1.0)
    return LIMIT_WAIT_S if "secondary rate limit" in _message(answer).lower() else None


def _message(answer: "Response") -> str:
    """Return the server's words, without anything that a terminal would obey."""
    try:
        document = answer.json()
    except ValueError:
        return ""
    if not isinstance(document, dict):
        return ""
    errors = document.get("errors") or []
    details = [str(e.get("message") or e.get("code") or "") if isinstance(e, dict) else str(e) for e in errors]
    text = "; ".join(part for part in [str(document.get("message", "")), *details] if part)
    return "".join(c for c in text if c.isprintable())[:MESSAGE_LENGTH]


def _host(url: str) -> str:
    """Return the host and port of an address, without a user and password before them."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _words(error: Exception) -> str:
    """Return what a failed connection means; never its request, whose headers hold the token."""
    return type(error).__name__
