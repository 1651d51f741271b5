"""Send HTTP requests, and decide what is tried again. The only user of `requests`.

Reads are repeated after connection errors, server errors and rate limits, within a total time. A request that changes
something is sent once. It raises `Retry` if another attempt may succeed, so that the caller reads the state first. The
token is sent in a header to addresses of the API and nowhere else: not with a redirect, not without TLS where the API
has it, not in an error. Bytes, seconds and pages are counted, so that no server can keep a command for good.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urljoin, urlsplit

from modelreg.errors import Problem, RemoteError
from modelreg.release.github.answers import Answer, Retry, host, origin, parse, refuse, split
from modelreg.release.github.time_limits import TOTAL_S, Budget, Limits, Pace, watched

if TYPE_CHECKING:
    from requests import PreparedRequest, RequestException, Response, Session

API = "https://api.github.com"
API_VERSION = "2022-11-28"
JSON, BYTES = "application/vnd.github+json", "application/octet-stream"
INSTALLATION = "ghs_"  # prefix of the tokens of GitHub Actions and of apps
CHUNK = 2**20  # bytes read at once
BLOCK = 2**16  # bytes sent at once: urllib3 allows CONNECT_S for each
CONNECT_S, READ_S = 10.0, 60.0
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
TRIES = 6
JSON_LIMIT = 16 * 2**20  # bytes of one answer

Progress = Callable[[str, int, int], None]  # file, bytes so far, bytes in total
Found = TypeVar("Found")


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
    total_s: float = TOTAL_S  # of API calls and retries; after it nothing is tried again
    whole: bool = False  # the total time bounds transfers too
    certificates: str | None = None  # a file of trusted CAs; None: those of requests
    jitter: Callable[[float, float], float] = random.uniform
    limits: Limits = field(default_factory=Limits)


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
        self._stopped = False

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:  # by this method requests recognizes a stream
        while piece := self.read():
            yield piece

    def stop(self) -> None:
        """Send no further chunk. For another thread."""
        self._stopped = True

    def read(self, size: int = -1) -> bytes:
        """Return the next chunk. Raises Retry once it is stopped."""
        if self._stopped:
            raise _too_slow(self.name)
        piece = self.file.read(min(size, CHUNK) if size > 0 else CHUNK)
        self.done += len(piece)
        if piece:
            self._progress(self.name, self.done, self.size)
        return piece


class Transport:
    """A session with one server, for one thread."""

    def __init__(self, server: Server, budget: Budget | None = None) -> None:
        import requests

        self.server = server
        self.budget = budget or Budget(server.clock, server.total_s, whole=server.whole)
        self.session: Session = requests.Session()
        # requests prepares to follow a redirect even where it must not: it reads its body, without a limit.
        setattr(self.session, "get_redirect_target", lambda _: None)  # noqa: B010 mypy knows no such assignment
        for scheme in ("http://", "https://"):
            adapter = requests.adapters.HTTPAdapter()
            adapter.init_poolmanager(1, 2, blocksize=BLOCK)
            self.session.mount(scheme, adapter)
        self.session.headers.update(
            {"User-Agent": "modelreg", "X-GitHub-Api-Version": API_VERSION, "Accept-Encoding": "identity"}
        )

    def close(self) -> None:
        """Close the connections."""
        self.session.close()

    def read(self, url: str, allow: tuple[int, ...] = ()) -> Page:
        """Read a document, with retries. `allow`: error statuses that the caller handles."""

        def once() -> Page:
            answer = self._send("GET", url, headers={"Accept": JSON})
            refuse(answer, allow)
            return Page(answer.status, parse(answer), answer.next, answer.headers.get("X-OAuth-Scopes"))

        return self._again(once)

    def items(self, url: str) -> Iterator[Any]:
        """Yield every document of a list, page by page.

        Raises RemoteError if a page links to another server, or if there is no end of them.
        """
        path = urlsplit(url).path
        following: str | None = url
        for _ in range(self.server.limits.pages):
            if following is None:
                return
            page = self.read(following)
            if not isinstance(page.document, list):
                problem = Problem(path, "github.answer-unexpected", "expected a list")
                raise RemoteError("cannot read the answer of the server", [problem])
            yield from page.document
            following = page.next
            if following and origin(split(following, path)) != origin(urlsplit(url)):
                message = f"the next page is on another server, {host(following)}, which must not get the token"
                raise RemoteError("cannot read the whole list", [Problem(path, "github.other-server", message)])
        if following is not None:
            message = f"the list has more than {self.server.limits.pages} pages"
            raise RemoteError("cannot read the whole list", [Problem(path, "github.too-many-pages", message)])

    def change(self, method: str, url: str, *, allow: tuple[int, ...] = (), **parts: Any) -> Answer:
        """Send a request that changes something, once."""
        with self.budget.transferring() if "data" in parts else nullcontext():
            answer = self._send(method, url, **{**parts, "headers": {"Accept": JSON, **parts.get("headers", {})}})
        refuse(answer, allow)
        return answer

    def fetch(self, download: Download, progress: Progress = ignore_progress) -> None:
        """Download a file, resuming an interrupted download. The caller checks the digest."""

        def once() -> None:
            with self.budget.transferring():
                self._fetch(download, progress)

        self._again(once)

    def _fetch(self, download: Download, progress: Progress) -> None:
        have = _size(download.target)
        if have >= download.size:
            download.target.unlink(missing_ok=True)
            have = 0
        headers = {"Accept": BYTES, **({"Range": f"bytes={have}-"} if have else {})}
        with self._open("GET", download.url, headers=headers) as response:
            if response.is_redirect:
                target = _target(download, response.headers["Location"])
                with self._open("GET", target, headers=headers, plain=True) as moved:
                    self._store(moved, download, progress)
            else:
                self._store(response, download, progress)

    def _store(self, response: "Response", download: Download, progress: Progress) -> None:
        """Append the rest of a file (status 206), or write the whole file."""
        failed = response.status_code >= HTTPStatus.BAD_REQUEST
        answer = _answer(response, self._read_bounded(response) if failed else b"")
        if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            download.target.unlink(missing_ok=True)
            message = f"the server has fewer than {download.size} bytes of this file"
            raise Retry(Problem(download.name, "github.download-incomplete", message))
        refuse(answer, ())
        partial = answer.status == HTTPStatus.PARTIAL_CONTENT
        done = _size(download.target) if partial else 0
        with download.target.open("ab" if partial else "wb") as file:
            for chunk in self._chunks(response, download.name):
                done += len(chunk)
                if done > download.size:
                    message = f"the server sent more than the expected {download.size} bytes"
                    raise RemoteError("cannot download", [Problem(download.name, "github.download-too-long", message)])
                file.write(chunk)
                progress(download.name, done, download.size)
        if done < download.size:
            message = f"the download ended after {done} of {download.size} bytes"
            raise Retry(Problem(download.name, "github.download-incomplete", message))

    def wait(self, attempt: int, retry: Retry) -> None:
        """Wait as long as the server requests, or twice as long as before. Raises RemoteError after the last try."""
        pause = retry.wait_s
        if pause is None:
            longest = min(FIRST_WAIT_S * 2**attempt, LONGEST_WAIT_S)
            pause = longest * self.server.jitter(0.5, 1)
        if attempt + 1 >= TRIES or pause > self.budget.left:
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
            return _answer(response, self._read_bounded(response))

    def _read_bounded(self, response: "Response") -> bytes:
        """Return an answer's body. Raises RemoteError if it is longer than the limit."""
        body = bytearray()
        for chunk in self._chunks(response, host(response.url)):
            body += chunk
            if len(body) > JSON_LIMIT:
                message = f"the answer is over {JSON_LIMIT} bytes"
                problem = Problem(host(response.url), "github.answer-too-long", message)
                raise RemoteError("cannot read the answer of the server", [problem])
        return bytes(body)

    def _chunks(self, response: "Response", name: str) -> Iterator[bytes]:
        """Yield a body as it arrives. Raises Retry if it stops or hardly moves, RemoteError after the total time."""
        import urllib3

        pace, done = Pace(self.server.clock, self.server.limits), 0
        try:
            while chunk := response.raw.read1(CHUNK):
                yield chunk
                done += len(chunk)
                self._refuse_late(name)
                if pace.is_too_slow(done):
                    raise _too_slow(name)
        except urllib3.exceptions.HTTPError as error:
            raise Retry(Problem(name, "github.connection-failed", _failed(error))) from error

    def _refuse_late(self, where: str) -> None:
        """Raise RemoteError if the time of the command is over."""
        if self.budget.is_over or self.budget.left < 0:
            message = f"no time is left of the {self.server.total_s:,.0f} s"
            raise RemoteError("gave up", [Problem(where, "github.timeout", message)])

    def _watch(self, where: str, body: Body | None) -> Callable[[], None]:
        """Return a function that raises if a request takes too long: first its body, then the answer's headers."""
        clock, limits = self.server.clock, self.server.limits
        pace, since = Pace(clock, limits), clock()

        def look() -> None:
            nonlocal since
            self._refuse_late(where)
            if body is not None and body.done < body.size:
                since = clock()
                if pace.is_too_slow(body.done):
                    raise _too_slow(where)
            elif clock() - since > limits.answer_s:
                message = f"no answer within {limits.answer_s:,.0f} s"
                raise Retry(Problem(where, "github.connection-failed", message))

        return look

    @contextmanager
    def _open(self, method: str, url: str, *, plain: bool = False, **parts: Any) -> Iterator["Response"]:
        """Send one request and yield its answer unread. `plain`: without the token, for the target of a redirect."""
        import requests

        def sign(
            request: "PreparedRequest",
        ) -> "PreparedRequest":  # an explicit auth also keeps requests from reading .netrc
            return request if plain or self.server.token is None else self.server.token.sign(request)

        body = parts.get("data")
        look = self._watch(body.name if body else host(url), body)
        trust = self.server.certificates or True  # per request: REQUESTS_CA_BUNDLE overrides a session's setting
        parts |= {"timeout": (CONNECT_S, READ_S), "allow_redirects": False, "stream": True, "verify": trust}
        try:
            stop = body.stop if body else None
            with watched(lambda: self.session.request(method, url, auth=sign, **parts), look, stop) as response:
                yield response
        except requests.RequestException as error:
            raise _failure(host(url) or url, error) from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


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


def _failure(where: str, error: "RequestException") -> Retry | RemoteError:
    """Return the error for a request without an answer; usually another attempt may succeed."""
    if isinstance(error, ValueError):  # the base of requests' errors about addresses
        message = f"not a valid address ({type(error).__name__})"
        return RemoteError("cannot reach the server", [Problem(where, "github.address-invalid", message)])
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        message = "TLS certificate is not signed by a trusted CA"
        return RemoteError("cannot reach the server", [Problem(where, "github.certificate-untrusted", message)])
    return Retry(Problem(where, "github.connection-failed", _failed(error)))


def _too_slow(name: str) -> Retry:
    return Retry(Problem(name, "github.transfer-too-slow", "the transfer hardly moves"))


def _target(download: Download, location: str) -> str:
    """Return the address that a download is redirected to. Raises RemoteError if it leaves TLS."""
    place = split(location, download.name)
    target = urljoin(download.url, place.geturl())
    if urlsplit(download.url).scheme == "https" and urlsplit(target).scheme != "https":
        message = f"redirected to {host(target)} without TLS"
        raise RemoteError("cannot download", [Problem(download.name, "github.redirect-without-tls", message)])
    return target


def _failed(error: Exception) -> str:
    """Return a message for a failed connection, without the request: its headers contain the token."""
    return f"the connection failed ({type(error).__name__})"
