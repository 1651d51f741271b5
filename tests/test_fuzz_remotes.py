"""Whatever a server answers, and whatever address is configured, a value or a ModelregError comes of it.

Addresses and headers are fuzzed by themselves, and whole answers as the bytes that a socket receives.
"""

import itertools
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from fuzzing import folder, fuzz, read_or_refused
from hypothesis import example
from hypothesis import strategies as st
from mutating import altered, altered_json
from requests.structures import CaseInsensitiveDict

from modelreg.cli import github_session, installation
from modelreg.errors import RemoteError
from modelreg.release.github import answers, http_client
from modelreg.release.github.client import Client
from modelreg.release.github.http_client import Download, Secret, Server
from modelreg.release.github.plan import RemoteAsset

__all__ = ["folder"]  # a fixture
pytestmark = [pytest.mark.no_cover, pytest.mark.allow_hosts(["127.0.0.1"])]


@contextmanager
def without_retry() -> Iterator[None]:
    """Turn `Retry`, which a session catches, into the error that it raises in the end."""
    try:
        yield
    except answers.Retry as retry:
        raise RemoteError("gave up", [retry.problem]) from retry


# Addresses

ADDRESSES = (
    b"https://api.github.com/repos/a/b",
    b"http://[::1]:80/x?y#z",
    b"https://user:secret@example.org:8443/api/v3",
    b"//example.org/x",
    b"/relative",
)
PARTS = (b"://", b"[", b"]", b"@", b":", b":99999", b"%", b"?", b"#", b"\\", b"xn--", b"\xe2\x84\x80", b"\t", b"..")


@fuzz(altered(ADDRESSES, PARTS), 200)
@example(data=b"http://[::1")
def test_addresses(data) -> None:
    """That a server sends: of a next page, of a redirect; and the one in GITHUB_API_URL."""
    text = data.decode("utf-8", "replace")
    with read_or_refused("URL"):
        answers.origin(answers.split(text, "x"))
    with read_or_refused("URL"):
        http_client._target(Download("https://api.github.com/x", "a", 1, None), text)
    with read_or_refused("URL"), pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "GITHUB_API_URL", text.replace("\0", ""))
        github_session.hostname(github_session._api())


@fuzz(altered(ADDRESSES, PARTS), 60)
def test_addresses_of_requests(folder, data) -> None:
    """Requests refuses some that Python's own parser accepts. The server of this test is not asked."""
    text = data.decode("utf-8", "replace")
    with read_or_refused("URL"), session(f"http://127.0.0.1:1/{text}") as client:
        client.repository()


# Headers

NAMES = ("Location", "Retry-After", "Date", "x-ratelimit-remaining", "x-ratelimit-reset", "Content-Type")
VALUES = (
    *(b"0", b"7", b"-1", b"9" * 400, b"1e9", b"nan", b"\xb2", b"\xd9\xa3"),
    *(b"Thu, 01 Jan 1970 00:01:30 GMT", b"Thu, 01 Jan 99999 00:00:00 +9999", b"Mon, 30 Feb 2026 25:61:61 GMT"),
    *(b"https://api.github.com/y", b"http://[::1", b"//evil.example", b""),
)
MESSAGES = [{"message": "API rate limit exceeded", "errors": [{"code": "already_exists"}, "x"]}, {"message": None}, []]


@fuzz(
    st.tuples(
        st.sampled_from([200, 301, 302, 304, 307, 400, 401, 403, 404, 409, 422, 429, 500, 503, 599]),
        st.dictionaries(st.sampled_from(NAMES), altered(VALUES, VALUES), max_size=4),
        altered_json(MESSAGES, ["message", "errors", "code"]),
    ),
    200,
)
def test_headers(data) -> None:
    """Of an error, of a redirect, of a rate limit; with the server's message."""
    status, headers, body = data
    named = CaseInsensitiveDict({name: value.decode("latin-1") for name, value in headers.items()})
    redirect = "Location" in named and status in (301, 302, 307)
    with read_or_refused("HTTP headers"), without_retry():
        answers.refuse(answers.Answer("GET", "https://api.github.com/x", status, named, body, redirect), ())


# Bytes of a socket

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
RAW = [
    HEAD + b'Content-Length: 2\r\nLink: <https://127.0.0.1/2>; rel="next"\r\n\r\n[]',
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n",
    HEAD + b"Content-Encoding: gzip\r\nContent-Length: 20\r\n\r\n" + b"\x1f\x8b\x08" + b"\0" * 17,
    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-2/3\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 429 Too Many\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n",
]
TOKENS = (
    *(b"\r\n", b"\r\n\r\n", b": ", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/9.9 ", b"HTTP/1.0 999 x\r\n"),
    *(b"Content-Length: ", b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n", b"ffffffffffffffff\r\n"),
    *(b"Set-Cookie: a=b; Domain=.\r\n", b"X: " + b"y" * 70_000 + b"\r\n", b"X: y\r\n" * 120, b"Location: "),
)


@pytest.fixture(scope="module")
def wire():
    """A server that sends the bytes of `wire.answer` on every connection, then closes it."""
    with Wire() as made:
        yield made


class Wire:
    """Bytes on a port."""

    answer = b""

    def __enter__(self) -> "Wire":
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(1)
                try:
                    connection.recv(65536)
                    connection.sendall(self.answer)
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(65536)
                except OSError:
                    continue


def session(address: str) -> Client:
    """Return a session in which each look at the clock takes a second."""
    ticks = itertools.count()
    clock = lambda: float(next(ticks))  # noqa: E731
    return Client(Server("acme/models", Secret("ghp_s"), clock, lambda _: None, address, total_s=30.0, jitter=max))


@fuzz(st.tuples(st.integers(0, 2), altered(RAW, TOKENS)), 60)
def test_bytes_of_a_server(wire, folder, data) -> None:
    """Status line, headers, chunks and compression, as http.client and urllib3 read them."""
    number, wire.answer = data
    with read_or_refused("HTTP bytes"), session(wire.address) as client:
        (
            client.releases,
            client.repository,
            lambda: client.download(RemoteAsset(2, "a.json", 3, "uploaded", None), folder),
        )[number]()


# What pip recorded

DIRECT = [
    {"url": "https://example.org/r.git", "vcs_info": {"vcs": "git", "commit_id": "a" * 40}, "subdirectory": "x"},
    {"url": "file:///home/x", "dir_info": {"editable": True}},
]


@fuzz(altered_json(DIRECT, ["url", "vcs_info", "vcs", "commit_id"]), 100)
def test_origins_of_an_installation(data) -> None:
    """direct_url.json, in any form: the commands of messages are made of it."""
    found = SimpleNamespace(read_text=lambda _: data.decode("utf-8", "replace"))
    with read_or_refused("JSON"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("importlib.metadata.distribution", lambda _: found)
        installation.command("train", installation.recorded())
