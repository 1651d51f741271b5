"""A proxy on loopback that opens tunnels (CONNECT) and records their targets."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Handler(BaseHTTPRequestHandler):
    """One tunnel."""

    server: "ConnectProxy"

    def do_CONNECT(self) -> None:
        """Open a connection and carry bytes both ways until one side ends."""
        self.server.places.append(self.path)
        host, _, port = self.path.partition(":")
        with socket.create_connection((host, int(port))) as far:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_carry, args=(far, self.connection))
            back.start()
            _carry(self.connection, far)
            back.join()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


class ConnectProxy(ThreadingHTTPServer):
    """Listens on a free port; `places` are the host:port of every tunnel."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.places: list[str] = []

    @property
    def url(self) -> str:
        """What HTTPS_PROXY holds."""
        return f"http://127.0.0.1:{self.server_address[1]}"


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def connect_proxy() -> Iterator[ConnectProxy]:
    """Run a proxy while the block lasts."""
    with ConnectProxy() as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.005})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
