"""Whatever a server lists, links to or sends slowly, a command ends: bytes, seconds and pages are counted."""

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from delivering import MODEL, TAG, make_parcel, publish, pull, session
from hypothesis import given
from hypothesis import strategies as st
from places import places

from modelreg.errors import InputError, ModelregError, RemoteError, VerificationFailed
from modelreg.records.manifest import FileEntry, Manifest, Tool
from modelreg.registry import filenames
from modelreg.release.github import answers, http_client, plan
from modelreg.release.github.answers import Retry
from modelreg.release.github.client import Client
from modelreg.release.github.http_client import Download, Secret, Server
from modelreg.release.github.plan import RemoteAsset
from modelreg.release.github.time_limits import Budget, Limits, Pace
from modelreg.verification.integrity import find_unsafe_paths

pytest_plugins = ["delivery_fixtures"]
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
HASTY = Limits(answer_s=0.2, window_s=0.3, pages=5)
CHECKPOINT = plan.asset_name(MODEL, TAG[1:], filenames.CHECKPOINT)


def hasty(address: str, token: str = "", **settings) -> Client:
    """Return a session by the real clock, with short limits and without pauses."""
    given = {"limits": HASTY, "jitter": lambda *_: 0.0} | settings
    return Client(Server("acme/models", Secret(token), time.monotonic, lambda _: None, address, **given))


@contextmanager
def dripping(head: bytes) -> Iterator[str]:
    """Serve an answer that never ends: `head`, then a byte every 50 ms."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ended = threading.Event()

        def drip(connection: socket.socket) -> None:
            with connection:
                connection.sendall(head)
                while not ended.wait(0.05):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=drip, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        ended.set()
        listening.shutdown(socket.SHUT_RDWR)


# Lists


def test_an_address_that_is_none_is_named_as_such() -> None:
    """In messages, which name the host."""
    assert (answers.host("http://[::1"), answers.host("https://user:key@a.example:1/x")) == (
        "an invalid address",
        "a.example:1",
    )


def test_as_many_pages_as_allowed_are_read(github) -> None:
    """The last one has no link."""
    for number in range(5):
        github.add_release(f"v9.{number}.0")
    with hasty(github.api_url, github.token) as client:
        address = client._url("releases?per_page=1")

        assert len(list(client.http.items(address))) == 5


@pytest.mark.parametrize("link", ["itself", "next"])
def test_a_list_without_an_end_is_refused(github, link) -> None:
    """A page that links to itself, or always to another one."""
    service = github.origins["api"].service
    page = service._page

    def endless(request, items):
        response = page(request, items)
        number = "" if link == "itself" else f"&n={len(github.requests)}"
        response.headers["Link"] = f'<{github.api_url}{request.path}?page=1{number}>; rel="next"'
        return response

    service._page = endless
    with hasty(github.api_url, github.token) as client, pytest.raises(RemoteError) as caught:
        client.releases()

    assert [problem.rule for problem in caught.value.problems] == ["github.too-many-pages"]
    assert len(github.requests) == HASTY.pages


@pytest.mark.parametrize(
    ("following", "rule"),
    [
        ("http://127.0.0.1:1/x", "github.other-server"),
        ("https://api.example/x", "github.other-server"),
        ("http://[::1", "github.address-invalid"),
        ("http://a:b/", "github.address-invalid"),
    ],
)
def test_a_next_page_elsewhere_is_not_requested(github, monkeypatch, following, rule) -> None:
    """Another port, another scheme, or no address at all: the token stays here."""
    read = http_client.Transport.read
    monkeypatch.setattr(http_client.Transport, "read", lambda *given: read(*given)._replace(next=following))
    with session(github) as client, pytest.raises(RemoteError) as caught:
        client.releases()

    assert ([problem.rule for problem in caught.value.problems], len(github.requests)) == ([rule], 1)


# Time


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nX-", b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n["], ids=["head", "body"]
)
def test_an_answer_of_one_byte_at_a_time_ends(head) -> None:
    """After six attempts, each a fraction of a second here; by default a minute."""
    began = time.monotonic()
    with dripping(head) as address, hasty(address) as client, pytest.raises(RemoteError) as caught:
        client.releases()

    (problem,) = caught.value.problems
    assert problem.rule in {"github.connection-failed", "github.transfer-too-slow"}
    assert time.monotonic() - began < 15


def test_a_timeout_bounds_the_whole_command(tmp_path) -> None:
    """Also a transfer that would go on."""
    asset = RemoteAsset(1, "a", 10**6, "uploaded", None)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
    with (
        dripping(head) as address,
        hasty(address, total_s=0.3, whole=True, limits=Limits()) as client,
        pytest.raises(RemoteError) as caught,
    ):
        client.download(asset, tmp_path)

    assert places(caught.value.problems) == [("a", "github.timeout")]


def test_an_upload_that_hardly_moves_is_stopped(github, tmp_path) -> None:
    """The server has stopped reading."""
    large = make_parcel(tmp_path / TAG, content={"big.bin": (bytes(64 << 20), "asset")})
    github.fail("POST", "big.bin", "hold", times=9, bytes=1 << 20, seconds=9)
    with session(github) as client:
        draft = client.create(large.expected)
    with hasty(github.api_url, github.token) as client, pytest.raises(Retry) as caught:
        client.upload(draft, large.expected.assets[0], large.folder)

    assert caught.value.problem.rule == "github.transfer-too-slow"


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 100)), max_size=12))
def test_the_time_of_transfers_is_not_that_of_calls(spans) -> None:
    """Only where the time bounds the whole command."""
    now = 0.0
    calls, whole = Budget(lambda: now, 60, whole=False), Budget(lambda: now, 60, whole=True)
    for transfer, seconds in spans:
        if transfer:
            with calls.transferring(), calls.transferring(), whole.transferring():
                now += seconds
        else:
            now += seconds
    called = sum(seconds for transfer, seconds in spans if not transfer)

    assert (calls.left, whole.left) == (pytest.approx(60 - called), pytest.approx(60 - now))


@given(st.lists(st.floats(1, 50), min_size=1, max_size=40), st.floats(0.1, 4))
def test_a_steady_rate_is_too_slow_below_the_limit(steps, factor) -> None:
    """Whatever the moments at which it is looked at."""
    now, limits = 0.0, Limits()
    pace, found = Pace(lambda: now, limits), False
    for seconds in steps:
        now += seconds
        found |= pace.is_too_slow(int(now * limits.bytes_per_s * factor))

    assert found == (now >= limits.window_s and factor < 1) or 0.999 < factor < 1.001


# Addresses


@pytest.mark.parametrize("location", ["http://[::1", "http://a:b/", "//["])
def test_an_invalid_redirect_is_an_error(github, location) -> None:
    """For a document and for a download."""
    github.fail("GET", "releases", "status", status=302, times=9, headers={"Location": location})
    with session(github) as client, pytest.raises(RemoteError) as caught:
        client.releases()

    assert [problem.rule for problem in caught.value.problems] == ["github.address-invalid"]


@pytest.mark.parametrize(
    ("url", "location", "rule"),
    [
        ("https://api.example/1", "http://api.example/2", "github.redirect-without-tls"),
        ("https://api.example/1", "https://objects.example/2", None),
        ("http://127.0.0.1/1", "http://127.0.0.2/2", None),
        ("https://api.example/1", "/2", None),
        ("https://api.example/1", "http://[", "github.address-invalid"),
    ],
)
def test_a_download_does_not_leave_tls(tmp_path, url, location, rule) -> None:
    """Its address is signed."""
    try:
        http_client._target(Download(url, "a", 1, tmp_path / "a"), location)
        found = None
    except RemoteError as error:
        found = error.problems[0].rule

    assert found == rule


def test_an_upload_address_without_tls_does_not_get_the_token(parcel) -> None:
    """The API has TLS."""
    release = plan.RemoteRelease(1, TAG, True, False, "", (), "http://uploads.example/{?name}", "")
    with hasty("https://api.example") as client, pytest.raises(RemoteError) as caught:
        client.upload(release, parcel.expected.assets[0], parcel.folder)

    assert [problem.rule for problem in caught.value.problems] == ["github.redirect-without-tls"]


# Pull


def listed_as(github, name: str, **changes) -> None:
    """Change what the fake lists of an asset."""
    for asset in github.published(TAG).assets.values():
        if asset.name == name:
            vars(asset).update(changes)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"size": 10**13}, "pull.size-mismatch"),
        ({"size": 1}, "pull.size-mismatch"),
        ({"sha256": "0" * 64}, "pull.digest-mismatch"),
    ],
)
def test_the_manifest_decides_about_size_and_digest(github, parcel, tmp_path, changes, rule) -> None:
    """Before the first byte of any file; the manifest alone was downloaded."""
    publish(github, parcel)
    listed_as(github, CHECKPOINT, **changes)
    with pytest.raises(VerificationFailed) as caught:
        pull(github, tmp_path / TAG)
    stored = [e for e in github.requests if e.origin == "objects"]

    assert (places(caught.value.problems), len(stored)) == ([(filenames.CHECKPOINT, rule)], 1)


@pytest.mark.parametrize("name", [filenames.MANIFEST, filenames.SIGNATURE])
def test_a_document_without_a_manifest_entry_has_a_limit(github, tmp_path, name) -> None:
    """The manifest itself, and the signature: nothing else states their size."""
    signed = make_parcel(tmp_path / "here" / TAG, signature=b"{}")
    publish(github, signed)
    asset = plan.asset_name(MODEL, TAG[1:], name)
    listed_as(github, asset, size=10**13)
    with pytest.raises(RemoteError) as caught:
        pull(github, tmp_path / TAG)

    assert places(caught.value.problems) == [(asset, "github.asset-too-large")]


def test_a_version_that_does_not_fit_on_the_disk_is_not_begun(github, parcel, tmp_path, monkeypatch) -> None:
    """The sizes are known from the manifest."""
    publish(github, parcel)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2000))
    with pytest.raises(InputError) as caught:
        pull(github, tmp_path / TAG)

    assert [problem.rule for problem in caught.value.problems] == ["pull.disk-full"]


def listing(*paths: str) -> Manifest:
    """Return a manifest of these files."""
    entries = tuple(FileEntry(path=path, sha256="a" * 64, size=1, stored="asset") for path in paths)
    return Manifest(
        model=MODEL, version="0.1.0", created="2026-11-21T10:00:00Z", tool=Tool(version="0"), git=None, files=entries
    )


@pytest.mark.parametrize(
    ("paths", "rules"),
    [
        (("sha256sum.txt",), ["manifest.file-unexpected"]),
        (("model.sig",), ["manifest.file-unexpected"]),
        (("Manifest.json",), ["manifest.file-unexpected"]),
        (("a.json", "A.json"), ["manifest.path-duplicate"]),
        (("a", "A/b"), ["manifest.path-duplicate"]),
        (("a/b", "a/c", "b"), []),
    ],
)
def test_paths_that_cannot_all_be_files_are_found(paths, rules) -> None:
    """On any file system."""
    assert [problem.rule for problem in find_unsafe_paths(listing(*paths))] == rules


def test_such_a_manifest_is_refused_at_once(github, tmp_path) -> None:
    """No file of it is downloaded."""
    parcel = make_parcel(tmp_path / "here" / TAG, content={"a.bin": (b"1", "asset"), "A.bin": (b"2", "asset")})
    github.add_release(
        TAG, {plan.asset_name(MODEL, TAG[1:], filenames.MANIFEST): (parcel.folder / filenames.MANIFEST).read_bytes()}
    )
    with pytest.raises(ModelregError) as caught:
        pull(github, tmp_path / TAG)

    assert [problem.rule for problem in caught.value.problems] == ["manifest.path-duplicate"]
