"""Each fault of the fake of GitHub does what its name says, once, and the server keeps running."""

import contextlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from fake_github import KINDS
from fake_github.client import Client

pytest_plugins = ["fake_github.fixtures"]
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


STATUSES = {"500": 500, "502": 502, "503": 503, "502_starter": 502, "401": 401, "404": 404, "422_immutable": 422}
STATUSES |= {"403_secondary": 403, "403_primary": 403, "403_denied": 403, "429": 429, "lost_502": 502}


@pytest.mark.parametrize(("kind", "status"), STATUSES.items())
def test_a_fault_answers_once(fake, client, draft, kind, status) -> None:
    """The next request passes."""
    fake.fail("POST", "/assets", kind)

    assert [client.upload(draft, name).status_code for name in ("a", "b")] == [status, 201]


def upload_head(fake, draft, *, length):
    """Return the head of an upload."""
    head = f"POST /repos/acme/models/releases/{draft['id']}/assets?name=a HTTP/1.1\r\nHost: x\r\nUser-Agent: x\r\n"
    auth = f"Authorization: token {fake.token}\r\nContent-Type: text/plain\r\n"
    return f"{head}{auth}Content-Length: {length}\r\n\r\n".encode()


@pytest.mark.parametrize("kind", ["reset", "reset_after", "lost"])
def test_a_fault_resets_the_connection(fake, draft, kind) -> None:
    """The client sees ECONNRESET, not an end of the stream."""
    fake.fail("POST", "/assets", kind)
    with socket.create_connection(("127.0.0.1", fake.origins["uploads"].server_port)) as connection:
        connection.sendall(upload_head(fake, draft, length=5) + b"hello")
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


LEFT = [("reset", {}, []), ("reset_after", {}, ["starter"]), ("reset_after", {"leaves": "nothing"}, [])]
LEFT += [("502", {}, []), ("502_starter", {}, ["starter"]), ("lost", {}, ["uploaded"]), ("lost_502", {}, ["uploaded"])]


@pytest.mark.parametrize(("kind", "details", "states"), LEFT)
def test_a_failed_upload_leaves_what_the_fault_defines(fake, client, draft, kind, details, states) -> None:
    """Nothing, an incomplete asset, or a complete one whose answer is lost."""
    fake.fail("POST", "/assets", kind, **details)
    with contextlib.suppress(requests.ConnectionError):
        client.upload(draft)

    assert [asset["state"] for asset in client.assets(draft)] == states


@pytest.mark.parametrize(("leaves", "states"), [("starter", ["starter"]), ("nothing", [])])
def test_a_killed_client_leaves_what_the_setting_defines(fake, client, draft, leaves, states) -> None:
    """The server meets the end of an incomplete body."""
    fake.repo.cut_leaves = leaves
    with socket.create_connection(("127.0.0.1", fake.origins["uploads"].server_port)) as connection:
        connection.sendall(upload_head(fake, draft, length=10) + b"hello")
    while sum(e.received for e in fake.requests if e.origin == "uploads") < 5:
        time.sleep(0.005)
    for _ in range(100):
        if [asset["state"] for asset in client.assets(draft)] == states:
            break
        time.sleep(0.005)

    assert [asset["state"] for asset in client.assets(draft)] == states


def test_uploads_run_at_the_same_time(fake, client, draft) -> None:
    """None is lost."""
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda name: client.upload(draft, name, b"x" * 300_000).status_code, "abcdefgh"))

    assert (answers, len(fake.digests(fake.releases[0]))) == ([201] * 8, 8)


def test_an_incomplete_upload_keeps_its_name_until_deleted(fake, client, draft) -> None:
    """A repeated upload gets already_exists."""
    fake.fail("POST", "/assets", "502_starter")
    answers = [
        client.upload(draft),
        client.upload(draft),
        client.delete(client.assets(draft)[0]["url"]),
        client.upload(draft),
    ]

    assert [answer.status_code for answer in answers] == [502, 422, 204, 201]


def test_a_release_is_published_though_the_answer_is_lost(fake, client, draft) -> None:
    """The next read shows it."""
    fake.fail("PATCH", r"/releases/\d+$", "lost")
    with contextlib.suppress(requests.ConnectionError):
        client.patch(draft["url"], json={"draft": False})

    assert client.get(draft["url"]).json()["draft"] is False


@pytest.mark.parametrize(
    ("kind", "details", "header", "value"),
    [
        ("403_secondary", {"retry_after": 7}, "Retry-After", "7"),
        ("403_secondary", {"retry_after": None}, "Retry-After", None),
        ("429", {}, "Retry-After", "1"),
        ("403_primary", {}, "X-RateLimit-Remaining", "0"),
    ],
)
def test_a_rate_limit_states_its_end(fake, client, kind, details, header, value) -> None:
    """With the headers of GitHub."""
    fake.fail("GET", "/models$", kind, **details)

    assert client.get(client.base).headers.get(header) == value


def download(fake, kind, **details):
    """Download 100 bytes through a fault of the store; return the bytes and the seconds."""
    release = fake.add_release("v1", {"a.bin": b"x" * 100})
    fake.fail("GET", ".", kind, origin="objects", **details)
    start, got = time.monotonic(), b""
    with Client(fake, token=None) as client, contextlib.suppress(requests.RequestException):
        for block in client.get(fake.shapes.download(release, release.find("a.bin")), stream=True).iter_content(1):
            got += block
    return got, time.monotonic() - start


@pytest.mark.parametrize(
    ("kind", "size"), [("truncated", 30), ("reset_download", 30), ("corrupt", 100), ("stall", 100)]
)
def test_a_download_breaks_as_planned(fake, kind, size) -> None:
    """It ends early, is cut, differs, or is slow."""
    got, _ = download(fake, kind, **({} if kind == "corrupt" else {"bytes": 30, "seconds": 0.01}))

    assert (len(got) <= size, got == b"x" * 100) == (True, kind == "stall")


def test_a_held_upload_is_read_later(fake, client, draft) -> None:
    """Completely."""
    held, start = fake.fail("POST", "/assets", "hold", seconds=0.1), time.monotonic()
    status = client.upload(draft, data=b"x" * 3_000_000).status_code

    assert (held.hits, status, time.monotonic() - start >= 0.1) == (1, 201, True)


@pytest.mark.parametrize(("kind", "details"), [("slow", {"seconds": 0.2}), ("stall", {"seconds": 0.05, "bytes": 25})])
def test_a_slow_server_answers_late(fake, kind, details) -> None:
    """The answer is correct."""
    got, seconds = download(fake, kind, **details)

    assert (got, seconds >= 0.2) == (b"x" * 100, True)


def test_the_nth_request_fails(fake, client) -> None:
    """It may be of any kind."""
    fake.fail_nth(2, "500")
    urls = [client.base, f"{client.base}/releases", client.base]

    assert [client.get(url).status_code for url in urls] == [200, 500, 200]


def test_two_faults_for_one_request_meet_two_requests(fake, client) -> None:
    """None is lost."""
    fake.fail("GET", "", "500")
    fake.fail("GET", "", "502")

    assert [client.get(client.base).status_code for _ in range(3)] == [500, 502, 200]


@pytest.mark.parametrize("kind", sorted(KINDS - {"status"}))
def test_every_fault_can_meet_every_request(fake, client, kind) -> None:
    """Also one without a body; the server keeps running."""
    fake.fail_nth(1, kind, seconds=0.01)
    with contextlib.suppress(requests.RequestException):
        client.get(client.base)

    assert client.get(client.base).status_code == 200


def test_an_unknown_fault_is_an_error(fake) -> None:
    """Otherwise it would never happen."""
    with pytest.raises(ValueError, match="no such fault: resett"):
        fake.fail("GET", "", "resett")


def test_the_log_has_every_request(fake, client, draft) -> None:
    """With its token and its bytes."""
    client.upload(draft)
    last = fake.requests[-1]

    assert (last.method, last.origin, last.path, last.authorization, last.received, last.status) == (
        "POST",
        "uploads",
        f"/repos/acme/models/releases/{draft['id']}/assets",
        f"Bearer {fake.token}",
        5,
        201,
    )
