"""HTTP on loopback: read requests, send the answers of a service, and break connections as faults define."""

import io
import os
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from socketserver import TCPServer
from typing import Any, Protocol
from urllib.parse import urlsplit

from fake_github.exchange import Exchange, Refusal, Request, Response, failure
from fake_github.faults import Fault

BLOCK = 1 << 20
PATIENCE = 8 * BLOCK  # how much of an unread body is taken in to keep the connection


class Cut(Exception):
    """The connection must be reset."""


class ClientGone(Exception):
    """The client closed the connection before its body was complete."""


class Body:
    """The body of a request, block by block; raises Cut if a fault resets the connection."""

    def __init__(self, file: BufferedIOBase, request: Request, fault: Fault | None, pause: Callable[[float], object]):
        self._file, self._request, self._fault, self._pause = file, request, fault, pause
        self._cut = fault.details.get("bytes", 1) if fault and fault.kind == "reset_after" else None
        self.left = request.length or 0

    def blocks(self) -> Iterator[memoryview]:
        """Yield the blocks of the body; each is valid until the next one."""
        buffer = memoryview(bytearray(min(BLOCK, max(self.left, 1))))
        while self.left:
            want = min(len(buffer), self.left)
            if self._cut is not None:
                want = min(want, max(self._cut - self._request.received, 0))
            if not want:
                break
            try:
                got = self._file.readinto(buffer[:want])
            except OSError:
                got = 0
            self._request.received += got
            self.left -= got
            self._hold()
            yield buffer[:got]
            if got < want:
                raise ClientGone
        if self._cut is not None:
            raise Cut

    def _hold(self) -> None:
        """Wait if a fault requests it, with the rest of the body unread."""
        if self._fault and self._fault.kind == "hold" and self._request.received >= self._fault.details.get("bytes", 1):
            self._pause(self._fault.details.get("seconds", 1))
            self._fault = None

    def read(self) -> bytes:
        """Return the whole body."""
        return b"".join(bytes(block) for block in self.blocks())


class Service(Protocol):
    """The service that answers the requests of an origin."""

    def answer(self, request: Request, body: Body) -> Response:
        """Answer a request. Raises Refusal, and does not catch Cut and ClientGone."""

    def abandon(self, request: Request) -> None:
        """Leave what a failed upload (502) leaves."""


class Journal(Protocol):
    """The log of requests, which chooses their faults."""

    closing: threading.Event
    errors: list[BaseException]
    apart: bool

    def note(self, request: Request) -> tuple[Exchange, Fault | None]:
        """Log `request` and return the fault that it meets."""


class Origin(ThreadingHTTPServer):
    """One server: a name, a port, a service."""

    daemon_threads = False  # server_close waits for all of them
    request_queue_size = 128

    def __init__(self, name: str, service: Service, journal: Journal, tls: ssl.SSLContext | None, prefix: str) -> None:
        self.server_name = "127.0.0.2" if name == "objects" and journal.apart else "127.0.0.1"
        self.name, self.service, self.journal, self.tls, self.prefix = name, service, journal, tls, prefix
        self._connections: set[socket.socket] = set()
        super().__init__((self.server_name, 0), Handler)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.005})
        self._thread.start()

    @property
    def url(self) -> str:
        """The address of the origin."""
        return f"{'https' if self.tls else 'http'}://{self.server_name}:{self.server_port}{self.prefix}"

    def server_bind(self) -> None:
        """Bind a free port, without the default's lookup of the host name."""
        TCPServer.server_bind(self)
        self.server_port = self.server_address[1]

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection, and keep it so that `stop` can end it."""
        connection, address = super().get_request()
        if self.tls:
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep an error that a client cannot have caused."""
        error = sys.exc_info()[1]
        if error and not isinstance(error, OSError):
            self.journal.errors.append(error)

    def stop(self) -> None:
        """End every connection and thread."""
        self.shutdown()
        self._thread.join()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "fake_github"
    disable_nagle_algorithm = True
    server: Origin
    exchange: Exchange

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: the journal has it all."""

    def _serve(self) -> None:
        request = self._request()
        self.exchange, fault = self.server.journal.note(request)
        self.exchange.fault = fault.kind if fault else None
        body = Body(self.rfile, request, fault, self.server.journal.closing.wait)
        try:
            response = self._work(request, body, fault)
            self._send(response, fault)
            self._take_rest(body)
        except Cut:
            self._reset()
        except (ClientGone, OSError):
            self.close_connection = True

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = _serve  # noqa: N815

    def _request(self) -> Request:
        parts = urlsplit(self.path)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        headers = {name.lower(): value for name, value in self.headers.items()}
        prefix = self.server.prefix
        inside = target.removeprefix(prefix) if target.startswith(f"{prefix}/") else f"/outside{target}"
        return Request(self.server.name, self.command, inside, headers)

    def _work(self, request: Request, body: Body, fault: Fault | None) -> Response:
        kind = fault.kind if fault else ""
        if kind == "reset":
            raise Cut
        if fault and (replaced := fault.answer()):
            for _ in body.blocks():
                pass
            if kind == "502_starter":
                self.server.service.abandon(request)
            self.exchange.response = replaced
            return replaced
        response = self._served(request, body)
        if kind == "lost":
            raise Cut
        if kind == "lost_502":
            self.exchange.response = response = failure(502, "Server Error")
        if fault and kind == "slow":
            self.server.journal.closing.wait(fault.details.get("seconds", 1))
        return response

    def _served(self, request: Request, body: Body) -> Response:
        try:
            response = self.server.service.answer(request, body)
        except Refusal as refusal:
            response = refusal.response
        self.exchange.response = response
        return response

    def _send(self, response: Response, fault: Fault | None) -> None:
        bare = response.status in {204, 304}
        unread = self.headers.get("transfer-encoding") is not None
        self.close_connection = self.close_connection or unread
        self.send_response(response.status)
        lengths = {} if bare else {"Content-Length": str(response.length)}
        closing = {"Connection": "close"} if self.close_connection else {}
        for name, value in {**lengths, **response.headers, **closing}.items():
            self.send_header(name, value)
        self.end_headers()
        self.exchange.status = response.status
        if self.command != "HEAD" and not bare:
            self._send_body(response, fault)

    def _send_body(self, response: Response, fault: Fault | None) -> None:
        kind, details = (fault.kind, fault.details) if fault else ("", {})
        whole = response.length
        size = fault.part_of(whole) if fault and kind in {"truncated", "reset_download"} else whole
        spoilt = int(details.get("at", whole // 2)) if kind == "corrupt" else None
        block = details.get("bytes", 1024) if kind == "stall" else BLOCK
        for part in self._parts(response, size, block, spoilt):
            if kind == "stall" and self.server.journal.closing.wait(details.get("seconds", 0.05)):
                raise Cut
            self.wfile.write(part)
            self.exchange.sent += len(part)
        if kind == "reset_download":
            raise Cut
        self.close_connection = self.close_connection or size < whole

    def _parts(self, response: Response, size: int, block: int, spoilt: int | None) -> Iterator[bytes]:
        with _opened(response) as read:
            done = 0
            while done < size and (part := read(min(block, size - done))):
                if spoilt is not None and done <= spoilt < done + len(part):
                    flipped = bytearray(part)
                    flipped[spoilt - done] ^= 1
                    part = bytes(flipped)
                yield part
                done += len(part)

    def _take_rest(self, body: Body) -> None:
        """Read the rest of a refused request, so that its answer arrives before the end."""
        if body.left > PATIENCE or self.headers.get("transfer-encoding"):
            self.close_connection = True
            self.connection.settimeout(2)
            self.connection.shutdown(socket.SHUT_WR)
            while self.rfile.read1(BLOCK):
                pass
        for _ in body.blocks():
            pass

    def _reset(self) -> None:
        """Close at once with RST, as a broken network does."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())


@contextmanager
def _opened(response: Response) -> Iterator[Callable[[int], bytes]]:
    """Open the body of an answer and return its `read`."""
    with response.file.open("rb") if response.file else io.BytesIO(response.body) as file:
        file.seek(response.start)
        yield file.read
