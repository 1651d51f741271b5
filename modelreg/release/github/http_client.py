"""HTTP: one request, what its answer means, and when it is tried again. The only user of requests.

Reading is repeated after connection errors, server errors and limits, within a total time. What changes something on
the server is sent once and raises `Retry` where it may go well another time: its caller looks first. The token goes
into a header of requests to addresses that the API gave, and nowhere else: not with a redirect, not into an error.
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
INSTALLATION = "ghs_"  # how the tokens of GitHub Actions and of apps begin
CHUNK = 2**20  # bytes read at once
CONNECT_S, READ_S = 10.0, 60.0
FIRST_WAIT_S, LONGEST_WAIT_S, LIMIT_WAIT_S = 1.0, 60.0, 60.0  # the last: a limit that names no time
TRIES = 6
MESSAGE_LENGTH = 300  # characters of a server's words
JSON_LIMIT = 16 * 2**20  # bytes of one answer

Tell = Callable[[str, int, int], None]  # file, bytes so far, of how many
Found = TypeVar("Found")


def host(url: str) -> str:
    """Return the host and port of an address, without a user and password before them."""
    return urlsplit(url).netloc.rpartition("@")[2]


def tell_nobody(name: str, done: int, of: int) -> None:
    """Take no notice."""


class Secret:
    """A token that nothing prints."""

    def __init__(self, value: str) -> None:
        self._value = value
        self.of_installation = value.startswith(INSTALLATION)

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


@dataclass(frozen=True)
class Answer:
    """What the server said to a request, with its whole body."""

    method: str  # of the request
    url: str
    status: int
    headers: Mapping[str, str]  # by name, in capitals or not
    body: bytes = b""
    is_redirect: bool = False
    next: str | None = None  # where a list goes on


class Page(NamedTuple):
    """A document that was read."""

    status: int
    document: Any
    next: str | None  # where the list goes on
    scopes: str | None = None  # of a classic token, as the server tells them


class Download(NamedTuple):
    """A file that is to come."""

    url: str
    name: str
    size: int  # bytes
    target: Path


class Body:
    """An open file on its way, told of as it goes; requests reads it piece by piece."""

    def __init__(self, file: IO[bytes], name: str, size: int, tell: Tell) -> None:
        self.file, self.name, self.size, self._tell, self.done = file, name, size, tell, 0

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:  # by which requests knows a stream
        while piece := self.read():
            yield piece

    def read(self, size: int = -1) -> bytes:
        """Return the next piece."""
        piece = self.file.read(min(size, CHUNK) if size > 0 else CHUNK)
        self.done += len(piece)
        if piece:
            self._tell(self.name, self.done, self.size)
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
        """End the connections."""
        self.session.close()

    def read(self, url: str, allow: tuple[int, ...] = ()) -> Page:
        """Read a document, again and again while it may go well; `allow`: errors that the caller understands."""

        def once() -> Page:
            answer = self._send("GET", url, headers={"Accept": JSON})
            _refuse(answer, allow)
            return Page(answer.status, parse(answer), answer.next, answer.headers.get("X-OAuth-Scopes"))

        return self._again(once)

    def items(self, url: str) -> Iterator[Any]:
        """Yield every document of a list, page by page. Raises RemoteError where a page leads to another server."""
        following: str | None = url
        while following:
            page = self.read(following)
            if not isinstance(page.document, list):
                raise RemoteError(
                    "cannot read the answer", [Problem(urlsplit(url).path, "todo.http-client", "is no list")]
                )
            yield from page.document
            following = page.next
            if following and urlsplit(following).netloc != urlsplit(url).netloc:
                what = f"goes on at {host(following)}, which gets no token"
                raise RemoteError(
                    "the server refers elsewhere", [Problem(urlsplit(url).path, "todo.http-client", what)]
                )

    def change(self, method: str, url: str, *, allow: tuple[int, ...] = (), **parts: Any) -> Answer:
        """Change something, once."""
        answer = self._send(method, url, **{**parts, "headers": {"Accept": JSON, **parts.get("headers", {})}})
        _refuse(answer, allow)
        return answer

    def fetch(self, wanted: Download, tell: Tell = tell_nobody) -> None:
        """Download a file, going on where an earlier attempt ended; the digest is the caller's to check."""
        self._again(lambda: self._fetch(wanted, tell))

    def _fetch(self, wanted: Download, tell: Tell) -> None:
        have = _size(wanted.target)
        if have >= wanted.size:
            wanted.target.unlink(missing_ok=True)
            have = 0
        headers = {"Accept": BYTES, **({"Range": f"bytes={have}-"} if have else {})}
        with self._open("GET", wanted.url, headers=headers) as response:
            if response.is_redirect:
                with self._open("GET", response.headers["Location"], headers=headers, plain=True) as moved:
                    _store(moved, wanted, tell)
            else:
                _store(response, wanted, tell)

    def wait(self, attempt: int, retry: Retry) -> None:
        """Wait as long as the server asked, or twice as long as before. Raises RemoteError where it is enough."""
        pause = retry.wait_s
        if pause is None:
            longest = min(FIRST_WAIT_S * 2**attempt, LONGEST_WAIT_S)
            pause = longest * self.server.jitter(0.5, 1)
        if attempt + 1 >= TRIES or self.server.clock() + pause > self.deadline:
            raise RemoteError(f"gave up after {attempt + 1} attempts", [retry.problem]) from retry
        self.server.sleep(pause)

    def _again(self, once: Callable[[], Found]) -> Found:
        """Do something until it goes well; a `Retry` that came too often becomes a RemoteError."""
        attempt = 0
        while True:
            try:
                return once()
            except Retry as retry:
                self.wait(attempt, retry)  # raises in the end
                attempt += 1

    def _send(self, method: str, url: str, **parts: Any) -> Answer:
        """Send one request, and read its answer whole."""
        with self._open(method, url, **parts) as response:
            return _answer(response, _read_bounded(response))

    @contextmanager
    def _open(self, method: str, url: str, *, plain: bool = False, **parts: Any) -> Iterator["Response"]:
        """Send one request, and yield its answer unread; `plain`: without the token, to wherever a redirect leads."""
        import requests

        def sign(request: "PreparedRequest") -> "PreparedRequest":  # also keeps a .netrc out
            return request if plain or self.server.token is None else self.server.token.sign(request)

        trust = self.server.certificates or True  # said here: a session's own word yields to REQUESTS_CA_BUNDLE
        parts |= {"timeout": (CONNECT_S, READ_S), "allow_redirects": False, "stream": True, "verify": trust}
        try:
            with self.session.request(method, url, auth=sign, **parts) as response:
                yield response
        except requests.RequestException as error:
            raise _failure(host(url) or url, error) from error


# Answers


def parse(answer: Answer) -> Any:
    """Return an answer's JSON. Raises Retry where it is none: a proxy's page."""
    try:
        return files.parse_json(answer.body, "answer")
    except InputError as error:
        raise Retry(Problem(host(answer.url), "todo.http-client", "sent no JSON")) from error


def _store(response: "Response", wanted: Download, tell: Tell) -> None:
    """Append the rest of a file to what is there, or write it whole, as the server answered."""
    import requests

    failed = response.status_code >= HTTPStatus.BAD_REQUEST
    answer = _answer(response, _read_bounded(response) if failed else b"")
    if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        wanted.target.unlink(missing_ok=True)
        raise Retry(
            Problem(wanted.name, "todo.http-client", f"ended before its {wanted.size} bytes; once more from the start")
        )
    _refuse(answer, ())
    partial = answer.status == HTTPStatus.PARTIAL_CONTENT
    done = _size(wanted.target) if partial else 0
    try:
        with wanted.target.open("ab" if partial else "wb") as file:
            for chunk in response.iter_content(CHUNK):
                done += len(chunk)
                if done > wanted.size:
                    raise RemoteError(
                        "cannot download", [Problem(wanted.name, "todo.http-client", "is longer than GitHub lists it")]
                    )
                file.write(chunk)
                tell(wanted.name, done, wanted.size)
    except requests.RequestException as error:
        raise Retry(Problem(wanted.name, "todo.http-client", _words(error))) from error
    if done < wanted.size:
        raise Retry(Problem(wanted.name, "todo.http-client", f"ended after {done} of {wanted.size} bytes"))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _read_bounded(response: "Response") -> bytes:
    """Return an answer's body. Raises RemoteError where it is longer than the limit."""
    body = bytearray()
    for chunk in response.iter_content(CHUNK):
        body += chunk
        if len(body) > JSON_LIMIT:
            raise RemoteError(
                "cannot read the answer", [Problem(host(response.url), "todo.http-client", "sent too much")]
            )
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
    """Raise what an answer means: something to try again, or the end."""
    status = answer.status
    where = f"{answer.method} {urlsplit(answer.url).path}"
    if status in allow:
        return
    if answer.is_redirect:
        place = urlsplit(answer.headers["Location"])
        what = f"has moved to {host(place.geturl())}{place.path}: name the repository's new place in modelreg.yaml"
        raise RemoteError("the server refers elsewhere", [Problem(where, "todo.http-client", what)])
    if status < HTTPStatus.BAD_REQUEST:
        return
    problem = Problem(where, "todo.http-client", f"{status} {_message(answer)}")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or "already_exists" in problem.message:  # an earlier try was heard
        raise Retry(problem)
    if status in (HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS):
        limit = _limit_wait(answer)
        if limit is not None or status == HTTPStatus.TOO_MANY_REQUESTS:
            raise Retry(problem, limit if limit is not None else LIMIT_WAIT_S)
    raise RemoteError("the server refused", [problem])


def _limit_wait(answer: Answer) -> float | None:
    """Return for how long a limit asks to wait; None where the answer is no limit."""
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
    """Return seconds since 1970, by the server's clock; 0 where it tells no time."""
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _message(answer: Answer) -> str:
    """Return the server's words, without anything that a terminal would obey."""
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
    """Return what a request without an answer means: usually, that it may go well another time."""
    if isinstance(error, ValueError):  # of which requests makes those about addresses
        return RemoteError(
            "cannot be reached",
            [Problem(where, "todo.http-client", f"is no address ({_words(error)}); see GITHUB_API_URL")],
        )
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        what = "has a certificate that nobody known has signed; name its authority's file in SSL_CERT_FILE"
        return RemoteError("cannot be reached", [Problem(where, "todo.http-client", what)])
    return Retry(Problem(where, "todo.http-client", _words(error)))


def _words(error: Exception) -> str:
    """Return what a failed connection means; never its request, whose headers hold the token."""
    return type(error).__name__
