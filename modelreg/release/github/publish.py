"""Publishing and comparing: a version and its release on GitHub, brought to the same bytes.

`publish` reads, plans and acts until nothing is left to do; after any failure it reads again, so that a lost answer is
found out by looking and nothing is repeated blindly. It can be killed anywhere and run again.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from modelreg import files
from modelreg.errors import Problem, PublishConflict
from modelreg.release.github.client import Client
from modelreg.release.github.http_client import Retry, Tell, tell_nobody
from modelreg.release.github.plan import (
    UPLOADED,
    Asset,
    Delete,
    Plan,
    Publish,
    RemoteAsset,
    RemoteRelease,
    Upload,
    Wanted,
    concerns,
    find_differences,
    plan_publish,
)
from modelreg.release.github.uploads import Uploads

Send = Callable[[RemoteRelease, Sequence[Asset]], None]


class Outcome(NamedTuple):
    """What publishing came to."""

    release: RemoteRelease
    sent: tuple[str, ...]  # names of the files that were uploaded
    notices: tuple[Problem, ...]


class View:
    """The releases of a tag as GitHub has them, every digest known: one that it does not tell is found by a download.

    It remembers the draft that this process made, which GitHub's list may lack for a while.
    """

    def __init__(self, client: Client, wanted: Wanted) -> None:
        self.client, self.wanted = client, wanted
        self._mine: int | None = None
        self._hashed: dict[int, str] = {}  # an asset's bytes never change under its number

    def plan(self) -> Plan:
        """Return what is left to do. Raises RemoteError where the server cannot be read."""
        numbers = {release.id for release in self.client.releases() if concerns(self.wanted, release)}
        numbers |= {self._mine} if self._mine is not None else set()
        return plan_publish(self.wanted, [self.release(number) for number in sorted(numbers)])

    def create(self) -> RemoteRelease:
        """Make the draft."""
        made = self.client.create(self.wanted)
        self._mine = made.id
        return made

    def release(self, number: int) -> RemoteRelease:
        """Return one release with all of its assets: the list of releases leaves out uploads that never ended."""
        found = self.client.release(number)
        sizes = {asset.name: asset.size for asset in self.wanted.assets}
        assets = (self._proven(a) if a.size == sizes.get(a.name) else a for a in found.assets)
        return found._replace(assets=tuple(assets))

    def _proven(self, asset: RemoteAsset) -> RemoteAsset:
        if asset.sha256 is not None or asset.state != UPLOADED:
            return asset
        if asset.id not in self._hashed:
            with TemporaryDirectory() as scratch:
                self._hashed[asset.id] = files.sha256(self.client.download(asset, Path(scratch)))
        return asset._replace(sha256=self._hashed[asset.id])


def publish(client: Client, wanted: Wanted, folder: Path, tell: Tell = tell_nobody, jobs: int = 1) -> Outcome:
    """Bring a release to what is wanted, from wherever it stands; one that is there already is left as it is.

    `jobs` files are on their way at once. Raises PublishConflict where other bytes are published, RemoteError where
    the server cannot be brought to it.
    """
    view = View(client, wanted)
    sent: list[str] = []
    failures = 0  # in a row, without a file that was not there before

    def send(release: RemoteRelease, assets: Sequence[Asset]) -> None:
        Uploads(client.server, release, folder, tell).send(assets, jobs, sent)

    while True:
        plan = view.plan()
        if plan.conflicts:
            raise PublishConflict(f"{wanted.tag} is published already; take a new version", plan.conflicts)
        if plan.release and not plan.steps:
            return Outcome(plan.release, tuple(sent), plan.notices)
        arrived = len(set(sent))
        try:
            _carry_out(view, plan, send)
        except Retry as retry:
            failures = 0 if len(set(sent)) > arrived else failures
            client.http.wait(failures, retry)
            failures += 1


def _carry_out(view: View, plan: Plan, send: Send) -> None:
    """Take the steps of a plan, in their order. Raises Retry where one may go well after another look."""
    release = plan.release or view.create()
    for step in plan.steps:
        if isinstance(step, Delete):
            view.client.delete(step.asset)
    send(release, [step.asset for step in plan.steps if isinstance(step, Upload)])
    if isinstance(plan.steps[-1], Publish):
        if problems := list(find_differences(view.wanted, view.release(release.id))):
            raise Retry(problems[0])  # what is not right is planned anew
        view.client.publish(release, view.wanted)


def find_remote_problems(
    client: Client, wanted: Wanted, scratch: Path | None, tell: Tell = tell_nobody
) -> list[Problem]:
    """Return where the published release differs from the version; with `scratch`, also in the bytes themselves."""
    release = client.published(wanted.tag)
    problems = list(find_differences(wanted, release))
    there = {asset.name: asset for asset in release.assets}
    unproven = [a for a in wanted.assets if a.name in there and (scratch or there[a.name].sha256 is None)]
    if scratch is None:
        what = "the server tells no digest: compare the bytes with --download"
        return problems + [Problem(asset.name, "todo.publish", what) for asset in unproven]
    for asset in unproven:
        target = client.download(there[asset.name], scratch, tell)
        if (digest := files.sha256(target)) != asset.sha256:
            problems.append(Problem(asset.name, "todo.publish", f"holds sha256 {digest}, not {asset.sha256}"))
        target.unlink()
    return problems


def published_file(client: Client, tag: str, name: str, scratch: Path) -> bytes | None:
    """Return a small file of a published release, by its asset's name; None where the release lacks it."""
    asset = next((asset for asset in client.published(tag).assets if asset.name == name), None)
    return None if asset is None else files.read_bytes(client.download(asset, scratch, tell_nobody))
