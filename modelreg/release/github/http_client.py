"""Send HTTP requests, interpret the answers, and decide what is tried again. The only user of `requests`.

Reads are repeated after connection errors, server errors and rate limits, within a total time. A request that changes
something is sent once. It raises `Retry` if another attempt may succeed, so that the caller reads the state first. The
token is sent in a header to addresses of the API and nowhere else: not with a redirect, not in an error.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from modelreg import files
from modelreg.errors import InputError, Problem, RemoteError

if TYPE_CHECKING:
    from requests import PreparedRequest, RequestException, Response, Session

API = "https://api.github.com"
API_VERSION = "2022-11-28"
JSON, BYTES = "application/vnd.github+json", "application/octet-stream"
INSTALLATION = "ghs_"  # prefix of the tokens of GitHub Actions and of apps
CHUNK = 2**20  # bytes read at once
CONNECT_S, READ_S = 10.0, 60.0
FIRST_WAIT_S, LONGEST_WAIT_S, LIMIT_WAIT_S = 1.0, 60.0, 60.0  # the last: for a limit without a time
TRIES = 6
MESSAGE_LENGTH = 300  # characters of a server's message
JSON_LIMIT = 16 * 2**20  # bytes of one answer

Progress = Callable[[str, int, int], None]  # file, bytes so far, bytes in total
Found = TypeVar("Found")


def host(url: str) -> str:
    """Return the host and port of an address, without user and password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def ignore_progress(name: str, done: int, of: int) -> None:
    """Report nothing."""


class Secret:
    """A token that is never printed."""

    def __init__(self, value: str) -> None:
        self._value = value
        self.of_installation = value.startswith(INSTALLATION)

    def __repr__(self) -> str:
        return "Secret(…)"

    def sign(self, request: "PreparedRequest") -> "PreparedRequest":
        """Add the token to a request's headers."""
        request.headers["Authorization"] = f"Bearer {self._value}"
        return request


@dataclass(frozen=True)
class Server:
    """The server of a repository, and how long its answers are waited for."""

    repository: str  # owner/name
    token: Secret | None
    clock: Callable[[], float]  # monotonic seconds
    sleep: Callable[[float], None]
    api: str = API
    total_s: float = 900.0  # after it nothing is tried again
    certificates: str | None = None  # a file of trusted CAs; None: those of requests
    jitter: Callable[[float, float], float] = random.uniform


class Retry(Exception):
    """A failure after which another attempt may succeed."""

    def __init__(self, problem: Problem, wait_s: float | None = None) -> None:
        self.problem, self.wait_s = problem, wait_s
        super().__init__(str(problem))


class NotFound(RemoteError):
    """The server does not have what a request names (404)."""


@dataclass(frozen=True)
class Answer:
    """A server's answer to a request, with its whole body."""

    method: str  # of the request
    url: str
    status: int
    headers: Mapping[str, str]  # by name, case-insensitive
    body: bytes = b""
    is_redirect: bool = False
    next: str | None = None  # address of the next page of a list


class Page(NamedTuple):
    """One page of an answer."""

    status: int
    document: Any
    next: str | None  # address of the next page
    scopes: str | None = None  # of a classic token, as the server lists them


class Download(NamedTuple):
    """A file to download."""

    url: str
    name: str
    size: int  # bytes
    target: Path


class Body:
    """An open file that requests sends in chunks, with progress."""

    def __init__(self, file: IO[bytes], name: str, size: int, progress: Progress) -> None:
        self.file, self.name, self.size, self._progress, self.done = file, name, size, progress, 0

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:  # by this method requests recognizes a stream
        while piece := self.read():
            yield piece

    def read(self, size: int = -1) -> bytes:
        """Return the next chunk."""
        piece = self.file.read(min(size, CHUNK) if size > 0 else CHUNK)
        self.done += len(piece)
        if piece:
            self._progress(self.name, self.done, self.size)
        return piece


class Transport:
    """A session with one server, for one thread."""

    def __init__(self, server: Server) -> None:
        import requests

        self.server = server
        self.session: Session = requests.Session()
        for scheme in ("http://", "https://"):
            adapter = requests.adapters.HTTPAdapter()
            adapter.init_poolmanager(1, 2, blocksize=CHUNK)  # sent at once; 16 KiB by default cost half the speed
            self.session.mount(scheme, adapter)
        self.session.headers.update({"User-Agent": "modelreg", "X-GitHub-Api-Version": API_VERSION})
        self.deadline = server.clock() + server.total_s

    def close(self) -> None:
        """Close the connections."""
        self.session.close()

    def read(self, url: str, allow: tuple[int, ...] = ()) -> Page:
        """Read a document, with retries. `allow`: error statuses that the caller handles."""

        def once() -> Page:
            answer = self._send("GET", url, headers={"Accept": JSON})
            _refuse(answer, allow)
            return Page(answer.status, parse(answer), answer.next, answer.headers.get("X-OAuth-Scopes"))

        return self._again(once)

    def items(self, url: str) -> Iterator[Any]:
        """Yield every document of a list, page by page. Raises RemoteError if a page links to another server."""
        following: str | None = url
        while following:
            page = self.read(following)
            if not isinstance(page.document, list):
                problem = Problem(urlsplit(url).path, "github.answer-unexpected", "expected a list")
                raise RemoteError("cannot read the answer of the server", [problem])
            yield from page.document
            following = page.next
            if following and urlsplit(following).netloc != urlsplit(url).netloc:
                message = f"the next page is on another server, {host(following)}, which must not get the token"
                problem = Problem(urlsplit(url).path, "github.other-server", message)
                raise RemoteError("cannot read the whole list", [problem])

    def change(self, method: str, url: str, *, allow: tuple[int, ...] = (), **parts: Any) -> Answer:
        """Send a request that changes something, once."""
        answer = self._send(method, url, **{**parts, "headers": {"Accept": JSON, **parts.get("headers", {})}})
        _refuse(answer, allow)
        return answer

    def fetch(self, download: Download, progress: Progress = ignore_progress) -> None:
        """Download a file, resuming an interrupted download. The caller checks the digest."""
        self._again(lambda: self._fetch(download, progress))

    def _fetch(self, download: Download, progress: Progress) -> None:
        have = _size(download.target)
        if have >= download.size:
            download.target.unlink(missing_ok=True)
            have = 0
        headers = {"Accept": BYTES, **({"Range": f"bytes={have}-"} if have else {})}
        with self._open("GET", download.url, headers=headers) as response:
            if response.is_redirect:
                with self._open("GET", response.headers["Location"], headers=headers, plain=True) as moved:
                    _store(moved, download, progress)
            else:
                _store(response, download, progress)

    def wait(self, attempt: int, retry: Retry) -> None:
        """Wait as long as the server requests, or twice as long as before. Raises RemoteError after the last try."""
        pause = retry.wait_s
        if pause is None:
            longest = min(FIRST_WAIT_S * 2**attempt, LONGEST_WAIT_S)
            pause = longest * self.server.jitter(0.5, 1)
        if attempt + 1 >= TRIES or self.server.clock() + pause > self.deadline:
            raise RemoteError(f"gave up after {attempt + 1} attempts", [retry.problem]) from retry
        self.server.sleep(pause)

    def _again(self, once: Callable[[], Found]) -> Found:
        """Repeat an action until it succeeds. Raises RemoteError after the last attempt."""
        attempt = 0
        while True:
            try:
                return once()
            except Retry as retry:
                self.wait(attempt, retry)  # raises after the last attempt
                attempt += 1

    def _send(self, method: str, url: str, **parts: Any) -> Answer:
        """Send one request and read its whole answer."""
        with self._open(method, url, **parts) as response:
            return _answer(response, _read_bounded(response))

    @contextmanager
    def _open(self, method: str, url: str, *, plain: bool = False, **parts: Any) -> Iterator["Response"]:
        """Send one request and yield its answer unread. `plain`: without the token, for the target of a redirect."""
        import requests

        def sign(
            request: "PreparedRequest",
        ) -> "PreparedRequest":  # an explicit auth also keeps requests from reading .netrc
            return request if plain or self.server.token is None else self.server.token.sign(request)

        trust = self.server.certificates or True  # per request: REQUESTS_CA_BUNDLE overrides a session's setting
        parts |= {"timeout": (CONNECT_S, READ_S), "allow_redirects": False, "stream": True, "verify": trust}
        try:
            with self.session.request(method, url, auth=sign, **parts) as response:
                yield response
        except requests.RequestException as error:
            raise _failure(host(url) or url, error) from error


# Answers


def parse(answer: Answer) -> Any:
    """Return an answer's JSON. Raises Retry if it is not JSON, such as a proxy's page."""
    try:
        return files.parse_json(answer.body, "answer")
    except InputError as error:
        raise Retry(Problem(host(answer.url), "github.answer-unexpected", "the answer is not JSON")) from error


def _store(response: "Response", download: Download, progress: Progress) -> None:
    """Append the rest of a file (status 206), or write the whole file."""
    import requests

    failed = response.status_code >= HTTPStatus.BAD_REQUEST
    answer = _answer(response, _read_bounded(response) if failed else b"")
    if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        download.target.unlink(missing_ok=True)
        message = f"the server has fewer than {download.size} bytes of this file"
        raise Retry(Problem(download.name, "github.download-incomplete", message))
    _refuse(answer, ())
    partial = answer.status == HTTPStatus.PARTIAL_CONTENT
    done = _size(download.target) if partial else 0
    try:
        with download.target.open("ab" if partial else "wb") as file:
            for chunk in response.iter_content(CHUNK):
                done += len(chunk)
                if done > download.size:
                    message = f"the server sent more than the {download.size} bytes that GitHub lists"
                    raise RemoteError("cannot download", [Problem(download.name, "github.download-too-long", message)])
                file.write(chunk)
                progress(download.name, done, download.size)
    except requests.RequestException as error:
        raise Retry(Problem(download.name, "github.connection-failed", _failed(error))) from error
    if done < download.size:
        message = f"the download ended after {done} of {download.size} bytes"
        raise Retry(Problem(download.name, "github.download-incomplete", message))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _read_bounded(response: "Response") -> bytes:
    """Return an answer's body. Raises RemoteError if it is longer than the limit."""
    body = bytearray()
    for chunk in response.iter_content(CHUNK):
        body += chunk
        if len(body) > JSON_LIMIT:
            problem = Problem(host(response.url), "github.answer-too-long", f"the answer is over {JSON_LIMIT} bytes")
            raise RemoteError("cannot read the answer of the server", [problem])
    return bytes(body)


def _answer(response: "Response", body: bytes) -> Answer:
    return Answer(
        method=response.request.method or "",
        url=response.url,
        status=response.status_code,
        headers=response.headers,
        body=body,
        is_redirect=response.is_redirect,
        next=response.links.get("next", {}).get("url"),
    )


def _refuse(answer: Answer, allow: tuple[int, ...]) -> None:
    """Raise Retry or RemoteError for an answer that is an error or a redirect."""
    status = answer.status
    where = f"{answer.method} {urlsplit(answer.url).path}"
    if status in allow:
        return
    if answer.is_redirect:
        place = urlsplit(answer.headers["Location"])
        message = f"has moved to {host(place.geturl())}{place.path}"
        raise RemoteError("the repository has moved", [Problem(where, "github.repository-moved", message)])
    if status < HTTPStatus.BAD_REQUEST:
        return
    message = f"{status} {_message(answer)}".rstrip()
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise Retry(Problem(where, "github.server-error", message))
    if status in (HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS):
        limit = _limit_wait(answer)
        if limit is not None or status == HTTPStatus.TOO_MANY_REQUESTS:
            raise Retry(Problem(where, "github.rate-limit", message), limit if limit is not None else LIMIT_WAIT_S)
    refused = Problem(where, "github.request-refused", message)
    if "already_exists" in message:  # an earlier attempt arrived, but its answer was lost; or another process was first
        raise Retry(refused)
    kind = NotFound if status == HTTPStatus.NOT_FOUND else RemoteError
    raise kind("the server refused the request", [refused])


def _limit_wait(answer: Answer) -> float | None:
    """Return the seconds to wait until a rate limit ends; None if the answer is not a rate limit."""
    headers = answer.headers
    if "Retry-After" in headers:
        return _number(headers["Retry-After"], LIMIT_WAIT_S)
    if headers.get("x-ratelimit-remaining") == "0":
        now = _date(headers.get("Date", ""))
        return max(_number(headers.get("x-ratelimit-reset", ""), now + LIMIT_WAIT_S) - now, 1.0)
    return LIMIT_WAIT_S if "secondary rate limit" in _message(answer).lower() else None


def _number(text: str, otherwise: float) -> float:
    return float(text) if text.isascii() and text.isdecimal() else otherwise


def _date(text: str) -> float:
    """Return seconds since 1970 by the server's clock; 0 if the text is not a date."""
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _message(answer: Answer) -> str:
    """Return the server's message, without characters that could control a terminal."""
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):  # the latter: nested too deeply
        return ""
    if not isinstance(document, dict):
        return ""
    errors = document.get("errors")
    listed = errors if isinstance(errors, list) else []
    details = [str(e.get("message") or e.get("code") or "") if isinstance(e, dict) else str(e) for e in listed]
    text = "; ".join(part for part in [str(document.get("message", "")), *details] if part)
    return "".join(c for c in text if c.isprintable())[:MESSAGE_LENGTH]


def _failure(where: str, error: "RequestException") -> Retry | RemoteError:
    """Return the error for a request without an answer; usually another attempt may succeed."""
    if isinstance(error, ValueError):  # the base of requests' errors about addresses
        message = f"not a valid address ({type(error).__name__})"
        return RemoteError("cannot reach the server", [Problem(where, "github.address-invalid", message)])
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        message = "TLS certificate is not signed by a trusted CA"
        return RemoteError("cannot reach the server", [Problem(where, "github.certificate-untrusted", message)])
    return Retry(Problem(where, "github.connection-failed", _failed(error)))


def _failed(error: Exception) -> str:
    """Return a message for a failed connection, without the request: its headers contain the token."""
    return f"the connection failed ({type(error).__name__})"
