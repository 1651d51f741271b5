"""No client holds the HTTP server: not by what it leaves unsent or unread, nor by the number of its connections."""

import http.client
import json
import random
import socket
import time
from contextlib import ExitStack, contextmanager, suppress

import pytest
from example_bundle import VERSION
from serving import served, serving

from modelreg.runtime import bundle_loader
from modelreg.runtime.connections import ClientLimits
from modelreg.runtime.pipeline import Pipeline

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

HEAD = b"POST /infer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n"
PROBE = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
UNFINISHED = {"nothing": b"", "a head": PROBE[:-2], "a body": HEAD + b"{", "a second head": PROBE + PROBE[:-2]}
WINDOW = {"x": [[0.0] * 6] * 100}
SHORT = 0.3  # seconds


@contextmanager
def limited(**limits: float):
    """A server of the released example with other limits."""
    package = bundle_loader.read_export(VERSION)
    with serving(served(package, first=Pipeline.load(VERSION), limits=ClientLimits(**limits))) as client:
        yield client


def connect(stack: ExitStack, port: int, data: bytes, address: str = "127.0.0.1") -> socket.socket:
    """Open a connection from an address, and send some bytes."""
    made = socket.create_connection(("127.0.0.1", port), 10, source_address=(address, 0))
    stack.enter_context(made).sendall(data)
    return made


def closed_after(connection: socket.socket, data: bytes = b"") -> float:
    """Return the seconds until the server closes a connection that gets one byte of `data` every 10 ms."""
    start, left = time.perf_counter(), list(data)
    connection.settimeout(0.01)
    while time.perf_counter() - start < 5:
        try:
            connection.sendall(bytes([left.pop(0)]) if left else b"")
            if not connection.recv(65536):
                break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    return time.perf_counter() - start


@pytest.mark.parametrize("sent", UNFINISHED.values(), ids=UNFINISHED)
def test_300_unfinished_requests_do_not_keep_a_probe_out(sent) -> None:
    """From the same address, with the limits that users have: no answer waits until one of them ends."""
    with limited() as client, ExitStack() as stack:
        for _ in range(300):
            connect(stack, client.port, sent)
        start = time.perf_counter()
        statuses = [client.ask("GET", path)[0] for path in ("/healthz", "/metrics")]
        taken = time.perf_counter() - start

    assert (statuses, taken < ClientLimits().head_s) == ([200, 200], True)


def test_windows_are_answered_among_unfinished_requests() -> None:
    """The answer is the one without them."""
    with limited(per_address=20) as client, ExitStack() as stack:
        alone = client.infer(WINDOW)
        answers = []
        for _ in range(30):
            connect(stack, client.port, HEAD)
            answers.append(client.infer(WINDOW))

    assert (alone[0], answers) == (200, [alone] * 30)


SLOW = {
    "a head": (b"", PROBE[:-2] + b"X: " + b"x" * 300),
    "a second head": (PROBE, PROBE[:-2] + b"X: " + b"x" * 300),
    "a body": (HEAD, b" " * 300),
    "a body that is not read": (HEAD.replace(b"/infer", b"/x"), b" " * 300),
}


@pytest.mark.parametrize(("sent", "slowly"), SLOW.values(), ids=SLOW)
def test_a_request_that_arrives_slowly_is_closed(sent, slowly) -> None:
    """One byte every 10 ms does not extend its time."""
    with limited(head_s=SHORT, body_s=SHORT) as client, ExitStack() as stack:
        taken = closed_after(connect(stack, client.port, sent), slowly)

    assert SHORT * 0.9 <= taken < 2.0


@pytest.mark.parametrize("sent", [b"", PROBE], ids=["new", "after a request"])
def test_a_connection_without_a_request_is_closed(sent) -> None:
    """After the time for a head, or between requests."""
    with limited(head_s=SHORT, idle_s=SHORT) as client, ExitStack() as stack:
        taken = closed_after(connect(stack, client.port, sent))

    assert SHORT * 0.9 <= taken < 2.0


def test_a_client_that_does_not_read_is_closed() -> None:
    """It asks for more than the kernel buffers; a client that reads slowly is the same."""
    with limited(unread_s=SHORT, idle_s=60) as client, ExitStack() as stack:
        reader = connect(stack, client.port, b"")
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.settimeout(SHORT / 2)
        with suppress(TimeoutError):
            while True:
                reader.sendall(b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        deadline = time.perf_counter() + 5
        while not client.metric("modelreg_closed_connections_total", reason="unread"):
            assert time.perf_counter() < deadline


def test_a_client_that_reads_again_is_served() -> None:
    """Its time ends when the server can write."""
    count = 1500
    with limited(unread_s=2.0, idle_s=SHORT) as client, ExitStack() as stack:
        reader = connect(stack, client.port, b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n" * count)
        time.sleep(SHORT)
        with reader.makefile("rb") as read:
            answers = read.read().count(b"HTTP/1.1 200 OK")

    assert answers == count


def test_a_client_replaces_the_one_that_waited_the_longest() -> None:
    """Of its own address, even if others waited longer."""
    with limited(per_address=3) as client, ExitStack() as stack:
        other = connect(stack, client.port, b"G", "127.0.0.2")
        own = [connect(stack, client.port, b"G") for _ in range(4)]

        assert closed_after(own[0]) < 1.0
        assert still_open([other, *own[1:]]) == [True] * 4


def test_a_client_of_a_new_address_replaces_one_of_any_address() -> None:
    """If the server has no more connections."""
    with limited(connections=3) as client, ExitStack() as stack:
        made = [connect(stack, client.port, b"G", f"127.0.0.{number}") for number in range(1, 5)]

        assert closed_after(made[0]) < 1.0
        assert still_open(made[1:]) == [True] * 3


def still_open(connections: list[socket.socket]) -> list[bool]:
    """Whether the server keeps each connection open."""
    opened = []
    for connection in connections:
        connection.setblocking(False)
        try:
            opened.append(bool(connection.recv(1)))
        except BlockingIOError:
            opened.append(True)
    return opened


def test_a_window_that_is_being_computed_is_not_replaced() -> None:
    """However many clients wait."""
    package = bundle_loader.read_export(VERSION)
    pipeline = Pipeline.load(VERSION)
    project = pipeline.backend.project
    pipeline.backend.project = lambda fed: (time.sleep(SHORT), project(fed))[1]
    with serving(served(package, first=pipeline, limits=ClientLimits(per_address=2))) as client, ExitStack() as stack:
        body = json.dumps(WINDOW).encode()
        computing = http.client.HTTPConnection("127.0.0.1", client.port, timeout=10)
        computing.request("POST", "/infer", body, {"Content-Type": "application/json"})
        time.sleep(SHORT / 3)
        for _ in range(6):
            connect(stack, client.port, b"G")
        status = computing.getresponse().status
        computing.close()

    assert status == 200


def test_closed_connections_are_counted_by_reason() -> None:
    """In /metrics, with the number that waits."""
    with limited(head_s=SHORT, per_address=5) as client, ExitStack() as stack:
        first = [connect(stack, client.port, b"G") for _ in range(6)]
        for connection in first:
            closed_after(connection)
        counts = {r: client.metric("modelreg_closed_connections_total", reason=r) for r in ("replaced", "head")}
        waiting = client.metric("modelreg_waiting_connections")

    assert (counts, waiting) == ({"replaced": 1, "head": 5}, 1)


def test_any_bytes_leave_the_server_in_service() -> None:
    """Requests cut, repeated and altered at random; every connection is closed."""
    source = random.Random(0)  # noqa: S311 for a test
    with limited(head_s=SHORT, body_s=SHORT, idle_s=SHORT) as client, ExitStack() as stack:
        made = [connect(stack, client.port, altered(HEAD + PROBE + PROBE, source)) for _ in range(100)]
        for connection in made:
            assert closed_after(connection) < 3.0

        assert client.infer(WINDOW)[0] == 200


def altered(data: bytes, source: random.Random) -> bytes:
    """Replace, remove or repeat a part of the data."""
    start, end = sorted(source.choices(range(len(data) + 1), k=2))
    part = source.choice([b"", data[start:end] * 2, source.randbytes(end - start)])
    return data[:start] + part + data[end:]


def test_the_limits_are_documented(root) -> None:
    """docs/device.md states each default."""
    page = (root / "docs/device.md").read_text()
    stated = {name: f"`{name}` | {value:g}" in page for name, value in ClientLimits()._asdict().items()}

    assert stated == dict.fromkeys(ClientLimits._fields, True)
