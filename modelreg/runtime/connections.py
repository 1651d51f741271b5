"""Limit what the clients of a server can hold: how long it waits for each of them, and how many it waits for.

The server waits for a client that sends a request, sends nothing, or does not read its answer. Each of these waits ends
after a time. A new client beyond the limits replaces the one that the server has waited for the longest, so that a new
client, such as a health probe, is always served. A window that is being computed is never lost: the queue limits those.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple


class ClientLimits(NamedTuple):
    """The limits on the clients of one server."""

    connections: int = 256  # that wait for their clients
    per_address: int = 128  # of them
    head_s: float = 10.0  # to receive the line and the headers of a request, from the connection or the first byte
    body_s: float = 10.0  # to receive a body
    unread_s: float = 10.0  # for the client to read, when more than 64 KiB of answers are unread
    idle_s: float = 30.0  # between two requests


class Waiting:
    """The connections of one server that wait for their clients, the longest wait first."""

    def __init__(self, limits: ClientLimits, closed: Callable[[str], None]) -> None:
        """`closed` is called with the reason why the server closed a connection."""
        self.limits, self.closed = limits, closed
        self._connections: dict[Connection, None] = {}

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: "Connection") -> None:
        """Add a connection, last; if there are too many, close the one that is first."""
        self.remove(connection)
        self._connections[connection] = None
        of_address = [known for known in self._connections if known.address == connection.address]
        if len(of_address) > self.limits.per_address:
            of_address[0].close("replaced")
        elif len(self) > self.limits.connections:
            next(iter(self._connections)).close("replaced")

    def remove(self, connection: "Connection") -> None:
        """Remove a connection if it waits."""
        self._connections.pop(connection, None)


class Connection(asyncio.Protocol):
    """A connection with limits around another protocol, which reads requests and calls the application."""

    def __init__(self, waiting: Waiting, inner: asyncio.Protocol) -> None:
        self._waiting, self._inner, self._limits = waiting, inner, waiting.limits
        self._loop = asyncio.get_running_loop()
        self._reading: asyncio.TimerHandle | None = None  # a request
        self._writing: asyncio.TimerHandle | None = None  # an answer, more than the transport buffers
        self._idle, self._open = False, True

    # The events of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 of a TCP server
        self._transport = transport
        self.address: str = (transport.get_extra_info("peername") or [""])[0]  # none if it is closed already
        self._inner.connection_made(transport)
        self._expect("head", self._limits.head_s)

    def data_received(self, data: bytes) -> None:
        """Start the time limit of a request with its first byte; more bytes do not extend it."""
        if self._idle:
            self._idle = False
            self._expect("head", self._limits.head_s)
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass on the end of the client's data."""
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        self._writing = self._loop.call_later(self._limits.unread_s, self.close, "unread")
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Continue to write."""
        _cancel(self._writing)
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._leave()
        self._inner.connection_lost(exc)

    # The steps of a request, from the application

    @contextmanager
    def request(self) -> Iterator[None]:
        """Handle a request, each part of which has a limit; then wait for the next one."""
        _cancel(self._reading)
        self._wait()
        try:
            yield
        finally:
            self._idle = True
            self._expect("idle", self._limits.idle_s)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Compute, without waiting for the client."""
        self._waiting.remove(self)
        try:
            yield
        finally:
            self._wait()

    def close(self, reason: str) -> None:
        """Close the connection at once, whatever the client has not read."""
        self._leave()
        self._waiting.closed(reason)
        self._transport.abort()

    def _expect(self, reason: str, seconds: float) -> None:
        """Close the connection after a time, unless it is cancelled."""
        _cancel(self._reading)
        if self._open:
            self._reading = self._loop.call_later(seconds, self.close, reason)
        self._wait()

    def _wait(self) -> None:
        if self._open:
            self._waiting.add(self)

    def _leave(self) -> None:
        self._open = False
        self._waiting.remove(self)
        _cancel(self._reading)
        _cancel(self._writing)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer:
        timer.cancel()


def protocol(waiting: Waiting, inner: Callable[..., asyncio.Protocol]) -> Callable[..., Connection]:
    """Return what makes the protocol of a connection, for uvicorn.

    The connection is in the `state` of each request under the name "connection".
    """

    def made(*, app_state: dict[str, Any], **settings: Any) -> Connection:
        state = dict(app_state)
        state["connection"] = connection = Connection(waiting, inner(app_state=state, **settings))
        return connection

    return made
