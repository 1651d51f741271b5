"""Several uploads at once: a session each, ended together, nothing finished thrown away."""

import signal
import threading

import pytest
from delivering import TAG, make_parcel, session, stored

from modelreg.errors import InputError, RemoteError
from modelreg.release.github.http_client import Retry
from modelreg.release.github.uploads import Uploads

pytest_plugins = ["delivery_fixtures"]
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
LARGE = {"a.bin": (bytes(8 << 20), "asset"), "b.bin": (b"b", "asset"), "c.bin": (b"c", "asset")}


@pytest.fixture
def large(tmp_path):
    """A version whose first file takes several pieces."""
    return make_parcel(tmp_path / "large" / TAG, content=LARGE)


def send(github, parcel, jobs, tell=None, sent=None) -> list[str]:
    """Send all files of a version into a draft; the names of those that arrived."""
    sent = [] if sent is None else sent
    with session(github) as client:
        draft = client.create(parcel.expected)
        work = Uploads(client.server, draft, parcel.folder, lambda *what: tell and tell(work, *what))
        work.send(parcel.expected.assets, jobs, sent)
    return sent


@pytest.mark.parametrize(("jobs", "most"), [(1, 1), (2, 2), (16, 5)])
def test_so_many_are_on_their_way_at_once(github, parcel, jobs, most) -> None:
    """Never more threads than files."""
    together, seen = threading.Barrier(most), set()

    def tell(work, name, done, of):
        if threading.get_ident() not in seen:
            seen.add(threading.get_ident())
            together.wait(10)  # broken, unless so many come

    assert (len(send(github, parcel, jobs, tell)), len(seen)) == (5, most)


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_what_may_go_well_later_lets_the_others_end(github, large, jobs) -> None:
    """Nothing new is begun, and what has arrived counts."""
    github.fail("POST", "b.bin", "502")
    sent: list[str] = []
    with pytest.raises(Retry):
        send(github, large, jobs, sent=sent)

    assert ("conv2d_fsq-v0.1.0-a.bin" in sent, sorted(sent)) == (True, sorted(stored(github.requests)))


def test_the_longest_wait_is_kept(github, parcel) -> None:
    """Where two limits are met at once."""
    for seconds, name in ((50, "checkpoint"), (5, "bundle")):
        github.fail("POST", name, "429", retry_after=seconds)
    both = threading.Barrier(2)
    with pytest.raises(Retry) as caught:
        send(github, parcel, 2, lambda *_: both.wait(10))

    assert caught.value.wait_s == 50


def test_a_refusal_ends_the_others(github, large) -> None:
    """At their next piece: nobody waits for a large file that is of no use."""
    github.fail("POST", "b.bin", "403_denied")
    with pytest.raises(RemoteError, match="Resource not accessible"):
        send(github, large, 2, lambda work, name, *_: "a.bin" in name and work._stop.wait(10))

    assert stored(github.requests).keys() == set()


def test_ctrl_c_ends_them(github, large, heeds_ctrl_c) -> None:
    """It is raised where the program waits; the threads stop at their next piece."""

    def tell(work, name, done, of):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        work._stop.wait(10)

    with pytest.raises(KeyboardInterrupt):
        send(github, large, 1, tell)

    assert stored(github.requests).keys() == set()


def test_a_file_that_cannot_be_read_ends_them(github, large) -> None:
    """As any other failure."""
    (large.folder / "b.bin").unlink()
    with pytest.raises(InputError, match="cannot read"):
        send(github, large, 2)
