"""Simultaneous uploads: one session each, stopped together, finished files kept."""

import signal
import threading

import pytest
from delivering import TAG, make_parcel, session, stored

from modelreg.errors import InputError, RemoteError
from modelreg.release.github.answers import Retry
from modelreg.release.github.uploads import Uploads

pytest_plugins = ["delivery_fixtures"]
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
LARGE = {"a.bin": (bytes(8 << 20), "asset"), "b.bin": (b"b", "asset"), "c.bin": (b"c", "asset")}


@pytest.fixture
def large(tmp_path):
    """A version whose first file has several chunks."""
    return make_parcel(tmp_path / "large" / TAG, content=LARGE)


def send(github, parcel, jobs, tell=None, sent=None) -> list[str]:
    """Upload all files of a version to a draft; return the names of those that arrived."""
    sent = [] if sent is None else sent
    with session(github) as client:
        draft = client.create(parcel.expected)
        work = Uploads(client, draft, parcel.folder, lambda *what: tell and tell(work, *what))
        work.send(parcel.expected.assets, jobs, sent)
    return sent


@pytest.mark.parametrize(("jobs", "most"), [(1, 1), (2, 2), (16, 5)])
def test_uploads_run_at_the_same_time(github, parcel, jobs, most) -> None:
    """As many as asked for, or as there are files."""
    together, running, counts = threading.Barrier(most), set(), []

    def tell(work, name, done, of):
        running.add(name)
        counts.append(len(running))
        if len(counts) <= most:
            together.wait(10)  # broken, unless so many come
        running.discard(name)

    assert (len(send(github, parcel, jobs, tell)), max(counts)) == (5, most)


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_a_retryable_failure_lets_running_uploads_finish(github, large, jobs) -> None:
    """No further upload starts, and a file that has arrived counts."""
    github.fail("POST", "b.bin", "502")
    sent: list[str] = []
    with pytest.raises(Retry):
        send(github, large, jobs, sent=sent)

    assert ("conv2d_fsq-v0.1.0-a.bin" in sent, sorted(sent)) == (True, sorted(stored(github.requests)))


def test_the_longest_wait_is_kept(github, parcel) -> None:
    """If two rate limits are met."""
    for seconds, name in ((50, "checkpoint"), (5, "bundle")):
        github.fail("POST", name, "429", retry_after=seconds)
    both = threading.Barrier(2)
    with pytest.raises(Retry) as caught:
        send(github, parcel, 2, lambda *_: both.wait(10))

    assert caught.value.wait_s == 50


def test_a_refusal_stops_the_other_uploads(github, large) -> None:
    """At their next chunk."""
    github.fail("POST", "b.bin", "403_denied")
    with pytest.raises(RemoteError) as caught:
        send(github, large, 2, lambda work, name, *_: "a.bin" in name and work._stop.wait(10))

    (problem,) = caught.value.problems
    assert (problem.rule, "Resource not accessible" in problem.message) == ("github.request-refused", True)
    assert stored(github.requests).keys() == set()


def test_ctrl_c_stops_the_uploads(github, large, heeds_ctrl_c) -> None:
    """At their next chunk."""

    def tell(work, name, done, of):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        work._stop.wait(10)

    with pytest.raises(KeyboardInterrupt):
        send(github, large, 1, tell)

    assert stored(github.requests).keys() == set()


def test_an_unreadable_file_stops_the_uploads(github, large) -> None:
    """As any other failure."""
    (large.folder / "b.bin").unlink()
    with pytest.raises(InputError, match="cannot read"):
        send(github, large, 2)
