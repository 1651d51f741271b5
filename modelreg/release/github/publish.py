"""Publish a version as a release on GitHub, and compare the two.

`publish` reads the state, plans and acts until no step is left. After a failure it reads the state again, so that no
request is repeated that succeeded although its answer was lost. It can be interrupted at any moment and run again, and
it can run on two machines at once: after both have ended there is one release, and no draft of theirs.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from modelreg import files
from modelreg.errors import Notice, Problem, PublishConflict, RemoteError
from modelreg.release.github.answers import Retry
from modelreg.release.github.client import Client
from modelreg.release.github.http_client import Progress, ignore_progress
from modelreg.release.github.plan import (
    STARTER,
    UPLOADED,
    Asset,
    Delete,
    ExpectedRelease,
    Plan,
    Publish,
    RemoteAsset,
    RemoteRelease,
    Upload,
    Withdraw,
    concerns,
    find_differences,
    plan_publish,
)
from modelreg.release.github.uploads import Uploads

LIST_TRIES, LIST_WAIT_S = 5, 1.0  # for the list to contain a new draft
FRESH_S = 10.0  # how long an incomplete upload must have been there before it is replaced

Send = Callable[[RemoteRelease, Sequence[Asset]], None]


class Outcome(NamedTuple):
    """The result of a publication."""

    release: RemoteRelease
    sent: tuple[str, ...]  # names of the files that were uploaded
    notices: tuple[Notice, ...]


class View:
    """The releases of a tag on GitHub, with a digest for every file: a missing digest is computed from a download.

    The number of the draft that this process created is kept, because GitHub's list may not contain it for a while.
    """

    def __init__(self, client: Client, expected: ExpectedRelease) -> None:
        self.client, self.expected = client, expected
        self._mine: int | None = None
        self._hashed: dict[int, str] = {}  # an asset's bytes never change under its number
        self._seen: dict[int, float] = {}  # when an incomplete upload was seen first, by the clock of the session

    def plan(self) -> Plan:
        """Return the steps that are left. Raises RemoteError if the server cannot be read."""
        numbers = {release.id for release in self.client.releases() if concerns(self.expected, release)}
        numbers |= {self._mine} if self._mine is not None else set()
        found = list(filter(None, map(self.release, sorted(numbers))))
        now = self.client.server.clock()
        seen = {asset.id: now for release in found for asset in release.assets if asset.state == STARTER}
        self._seen = seen | {number: first for number, first in self._seen.items() if number in seen}
        fresh = {number for number, first in self._seen.items() if now - first < FRESH_S}
        return plan_publish(self.expected, found, self._mine, fresh)

    def create(self) -> None:
        """Create a draft, and wait for a moment until the list contains it, and so any older one."""
        self._mine = self.client.create(self.expected).id
        for _ in range(LIST_TRIES):
            if any(release.id == self._mine for release in self.client.releases()):
                return
            self.client.server.sleep(LIST_WAIT_S)

    def withdraw(self, draft: RemoteRelease) -> None:
        """Delete the draft that this process created."""
        self.client.withdraw(draft)
        self._mine = None

    def release(self, number: int) -> RemoteRelease | None:
        """Return one release with all of its assets: the list of releases omits incomplete uploads.

        None if another process has deleted it since it was listed.
        """
        if (found := self.client.release(number)) is None:
            return None
        sizes = {asset.name: asset.size for asset in self.expected.assets}
        assets = (self._proven(a) if a.size == sizes.get(a.name) else a for a in found.assets)
        return found._replace(assets=tuple(assets))

    def _proven(self, asset: RemoteAsset) -> RemoteAsset:
        if asset.sha256 is not None or asset.state != UPLOADED:
            return asset
        if asset.id not in self._hashed:
            with TemporaryDirectory() as scratch:
                self._hashed[asset.id] = files.sha256(self.client.download(asset, Path(scratch)))
        return asset._replace(sha256=self._hashed[asset.id])


def publish(
    client: Client, expected: ExpectedRelease, folder: Path, progress: Progress = ignore_progress, jobs: int = 1
) -> Outcome:
    """Complete the release of a version from any state; a complete release is not changed.

    `jobs` files are sent at the same time. Raises PublishConflict if other bytes are published, RemoteError if the
    server refuses or does not answer.
    """
    view = View(client, expected)
    sent: list[str] = []
    failures = 0  # in a row, without a file that was not there before

    def send(release: RemoteRelease, assets: Sequence[Asset]) -> None:
        Uploads(client, release, folder, progress).send(assets, jobs, sent)

    while True:
        plan = view.plan()
        if plan.release and not (plan.steps or plan.conflicts or plan.busy):
            return Outcome(plan.release, tuple(sent), plan.notices)
        arrived = len(set(sent))
        try:
            _carry_out(view, plan, send)
        except Retry as retry:
            failures = 0 if len(set(sent)) > arrived else failures
            client.http.wait(failures, retry)
            failures += 1
        except RemoteError:
            if _state(view.plan()) == _state(plan):
                raise  # else another process has published or deleted the release meanwhile
        if plan.conflicts:
            raise PublishConflict(f"{expected.tag} is published with other files; nothing was changed", plan.conflicts)


def _state(plan: Plan) -> tuple[int, bool] | None:
    """Return which release a plan completes, and whether it is a draft."""
    return (plan.release.id, plan.release.draft) if plan.release else None


def _carry_out(view: View, plan: Plan, send: Send) -> None:
    """Take the steps of a plan in their order. Raises Retry if a step may succeed after the state is read again."""
    if plan.release is None:
        view.create()  # the next plan chooses between this draft and one that another process created at this moment
        return
    for step in plan.steps:
        if isinstance(step, Withdraw):
            view.withdraw(step.release)
        if isinstance(step, Delete):
            view.client.delete(step.asset)
    send(plan.release, [step.asset for step in plan.steps if isinstance(step, Upload)])
    if plan.busy:
        message = "the upload of this file is incomplete, or in progress on another machine"
        raise Retry(Problem(plan.busy[0].name, "publish.upload-in-progress", message), FRESH_S)
    if any(isinstance(step, Publish) for step in plan.steps):
        _make_public(view, plan.release)


def _make_public(view: View, draft: RemoteRelease) -> None:
    """Make a draft public if it is complete. Raises Retry if it is not: the next plan replaces what differs."""
    now = view.release(draft.id)
    if now is None:
        raise Retry(Problem(view.expected.tag, "publish.draft-deleted", "another process has deleted the draft"))
    if problems := list(find_differences(view.expected, now)):
        raise Retry(problems[0])
    if now.draft:
        view.client.publish(now, view.expected)


def find_remote_problems(
    client: Client, expected: ExpectedRelease, scratch: Path | None, progress: Progress = ignore_progress
) -> list[Problem]:
    """Return where the published release differs from the version; with `scratch`, every file is downloaded too."""
    release = client.published(expected.tag)
    problems = list(find_differences(expected, release))
    there = {asset.name: asset for asset in release.assets}
    same = [asset for asset in expected.assets if asset.name in there and there[asset.name].size == asset.size]
    unproven = [asset for asset in same if scratch or there[asset.name].sha256 is None]
    if scratch is None:
        message = "the server lists no digest of this file"
        return problems + [Problem(asset.name, "publish.digest-unknown", message) for asset in unproven]
    for asset in unproven:
        target = client.download(there[asset.name], scratch, progress)
        if (digest := files.sha256(target)) != asset.sha256:
            message = f"expected SHA-256 {asset.sha256}, downloaded {digest}"
            problems.append(Problem(asset.name, "publish.digest-mismatch", message))
        target.unlink()
    return problems


def published_file(client: Client, tag: str, name: str, scratch: Path) -> bytes | None:
    """Return a small file of a published release by its asset's name; None if the release does not have it."""
    asset = next((asset for asset in client.published(tag).assets if asset.name == name), None)
    return None if asset is None else files.read_bytes(client.download_small(asset, scratch))
