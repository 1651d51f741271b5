"""Every fault at every request, a killed process and any order of interruptions end in one complete release."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from delivering import TAG, Time, make_parcel, publish, pull, stored, tree
from fake_github import FakeGitHub, contract
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from modelreg.errors import ModelregError, RemoteError
from modelreg.release.github.http_client import Transport

pytest_plugins = ["delivery_fixtures"]
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

REFUSALS = ("401", "403_denied", "404", "422_immutable")
LIMITS = ("403_secondary", "403_primary", "429")
FAULTS = ("reset", "reset_after", "lost", "lost_502", "502_starter", "truncated", "slow", "hold", *REFUSALS, *LIMITS)
DOWNLOAD_FAULTS = (
    "reset",
    "lost",
    "truncated",
    "reset_download",
    "corrupt",
    "slow",
    "stall",
    "502",
    "401",
    "404",
    "429",
)
DETAILS = {
    "reset_after": {"bytes": 10},
    "slow": {"seconds": 0.01},
    "hold": {"seconds": 0.01},
    "stall": {"seconds": 0.001},
}


def details(kind: str) -> dict[str, float]:
    """Return the settings of a fault."""
    return DETAILS.get(kind, {})


def forget(github: FakeGitHub) -> None:
    """Remove every release and fault."""
    github.repo.releases.clear()
    github.repo.burnt.clear()
    github.faults.clear()
    github.requests.clear()


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_at_any_request_leaves_no_incomplete_release(github, parcel, kind) -> None:
    """For each request: one or two runs end in one complete release, and no file is stored twice."""
    number, hit = 0, True
    while hit:
        number += 1
        forget(github)
        fault = github.fail_nth(number, kind, **details(kind))
        try:
            publish(github, parcel, jobs=1 + number % 2)
        except RemoteError:
            assert not (half := github.published(TAG)) or github.digests(half) == parcel.digests
            publish(github, parcel)
        hit = bool(fault.hits)
        assert github.digests(github.published(TAG)) == parcel.digests, f"{kind} at request {number}"
        assert set(stored(github.requests).values()) <= {1}, f"{kind} at request {number}: sent twice"
        contract.check_all(github.requests)

    assert number > len(parcel.expected.assets) + 6


@pytest.mark.parametrize("kind", DOWNLOAD_FAULTS)
def test_a_fault_at_any_request_of_a_pull_leaves_no_incomplete_folder(github, parcel, tmp_path, kind) -> None:
    """For each request: the folder is complete or absent, and a second run completes it."""
    publish(github, parcel)
    number, hit = 0, True
    while hit:
        number += 1
        github.faults.clear()
        folder = tmp_path / str(number)
        fault = github.fail_nth(number, kind, **details(kind))
        try:
            pull(github, folder)
        except ModelregError:
            assert not folder.exists()
            pull(github, folder)
        hit = bool(fault.hits)
        assert tree(folder) == parcel.tree, f"{kind} at request {number}"

    assert number > 2 * len(parcel.expected.assets)


BIG = {"big.bin": (bytes(16 << 20), "asset"), "small.bin": (b"x", "asset")}
KILLED = """
import sys
from pathlib import Path
from types import SimpleNamespace
from delivering import make_parcel, publish
from test_github_publish_faults import BIG

api_url, token, folder = sys.argv[1:]
publish(SimpleNamespace(api_url=api_url, token=token), make_parcel(Path(folder), content=BIG))
"""


def test_a_publication_killed_during_an_upload_is_finished_by_running_it_again(github, tmp_path) -> None:
    """The incomplete asset is deleted, and no file is stored twice."""
    big = make_parcel(tmp_path / TAG, content=BIG)
    github.fail("POST", "big.bin", "hold", bytes=1 << 20, seconds=60)
    command = [sys.executable, "-c", KILLED, github.api_url, github.token, str(big.folder)]
    with subprocess.Popen(command, env={"PYTHONPATH": ":".join(sys.path)}) as running:
        while not any("big.bin" in e.request.target and e.received for e in github.requests):
            time.sleep(0.02)
        running.kill()
    before = [github.published(TAG), [a.state for a in github.drafts[0].assets.values() if "big" in a.name]]
    publish(github, big)
    after = [github.digests(github.published(TAG)), set(stored(github.requests).values())]

    assert (before, after) == ([None, ["starter"]], [big.digests, {1}])


class Interrupted(RuleBasedStateMachine):
    """A publication that ends at any request, any number of times, while others create drafts."""

    github: FakeGitHub
    parcel: object

    @initialize()
    def begin(self) -> None:
        """Start without releases."""
        forget(self.github)
        self.theirs = {}

    @rule(kind=st.sampled_from(FAULTS), number=st.integers(1, 16), times=st.integers(1, 3), jobs=st.integers(1, 3))
    def run(self, kind: str, number: int, times: int, jobs: int) -> None:
        """Publish with a fault, which may end the run."""
        self.github.faults.clear()
        self.github.fail("*", "", kind, times, number - 1, **details(kind))
        with suppress(RemoteError):
            publish(self.github, self.parcel, jobs=jobs)

    @rule(number=st.integers(1, 16))
    def lose_the_network(self, number: int) -> None:
        """Lose every request from some number on: the run ends there, as if killed."""
        self.github.faults.clear()
        self.github.fail("*", "", "reset", 999, number - 1)
        with suppress(RemoteError):
            publish(self.github, self.parcel)

    @rule()
    def meet_a_stranger(self) -> None:
        """Create a draft of somebody else for the same tag."""
        made = self.github.add_release(TAG, {"x": b"1"}, draft=True, body="mine")
        self.theirs[made.id] = self.github.digests(made)

    @invariant()
    def nothing_is_half(self) -> None:
        """Check that public releases are complete, other drafts unchanged, and no file stored twice."""
        public = [self.github.digests(release) for release in self.github.releases if not release.draft]
        theirs = {r.id: self.github.digests(r) for r in self.github.drafts if r.body == "mine"}

        assert public in ([], [self.parcel.digests])
        assert theirs == self.theirs
        assert set(stored(self.github.requests).values()) <= {1}

    def teardown(self) -> None:
        """Publish once more: this completes the release."""
        self.github.faults.clear()
        publish(self.github, self.parcel)

        assert self.github.digests(self.github.published(TAG)) == self.parcel.digests
        self.nothing_is_half()


def test_a_publication_can_be_interrupted_at_any_step(github, parcel) -> None:
    """Any number of times."""
    Interrupted.github, Interrupted.parcel = github, parcel
    run_state_machine_as_test(Interrupted, settings=settings(max_examples=30, stateful_step_count=6))


@pytest.fixture
def during(monkeypatch):
    """Return a function that runs an action before the `number`-th request of a thread, and says whether it ran."""

    def prepare(number: int, action) -> list[bool]:
        left, ran = [number], []

        def send(self, method: str, url: str, **parts):
            left[0] -= 1
            if left[0] == 0:
                action()
                ran.append(True)
            return original(self, method, url, **parts)

        monkeypatch.setattr(Transport, "_send", send)
        return ran

    original = Transport._send
    return prepare


@pytest.mark.parametrize(("lag", "immutable"), [(0, False), (3, False), (20, True)])
def test_a_second_publication_at_any_request_leaves_one_release(github, parcel, during, lag, immutable) -> None:
    """Both succeed, and no draft is left, also while the list of releases lags behind."""
    github.repo.list_lag, github.repo.immutable = lag, immutable
    number, ran = 0, [True]
    while ran:
        number += 1
        forget(github)
        ran = during(number, lambda: publish(github, parcel))
        publish(github, parcel, jobs=1)
        found = [(release.draft, github.digests(release)) for release in github.releases]
        assert found == [(False, parcel.digests)], f"at request {number}"

    assert number > len(parcel.expected.assets) + 6


def test_publications_at_the_same_time_leave_one_release(github, parcel) -> None:
    """Two or three of them, which start within a tenth of a second."""
    rng = np.random.default_rng(0)
    for _ in range(12):
        forget(github)
        github.repo.list_lag, github.repo.immutable = int(rng.choice([0, 1, 8])), bool(rng.random() < 0.5)
        delays = [rng.choice([0.0, rng.uniform(0, 0.1)]) for _ in range(rng.choice([2, 2, 3]))]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda delay: time.sleep(delay) or publish(github, parcel, time=Hurried()), delays))
        found = [(release.draft, github.digests(release)) for release in github.releases]
        assert found == [(False, parcel.digests)]


class Hurried(Time):
    """A clock that runs fifty times as fast."""

    def sleep(self, seconds: float) -> None:
        """Sleep."""
        super().sleep(seconds)
        time.sleep(seconds / 50)
