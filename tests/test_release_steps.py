"""release as an operation: the steps of a plan are taken through ports, in order, and can be resumed anywhere."""

from dataclasses import dataclass, field

import pytest
from example_export import write_export
from example_release import FakeGit, carry_out, now, planned
from example_run import write_registry, write_run

from modelreg import files
from modelreg.config import ProjectConfig
from modelreg.errors import InputError, RegistryError
from modelreg.records.base import load
from modelreg.records.gates import Gate, GateReport
from modelreg.registry import filenames
from modelreg.release import steps
from modelreg.release.plan import Request
from modelreg.release.steps import Ports
from modelreg.verification import integrity

RUN, VERSION = "runs/conv2d_fsq-001", "registry/conv2d_fsq/v0.1.0"
PROJECT = ProjectConfig(targets=("onnx", "hailo8"))
LOCAL = ("export", "version", "sign", "changelog", "table", "commit", "tag")


@dataclass
class Hub:
    """A server that takes a version whose tag it knows, once."""

    git: FakeGit
    published: list[str] = field(default_factory=list)

    def publish(self, reference: str) -> None:
        """Publish a version."""
        if reference.partition("@")[2] not in self.git.pushed:
            raise RegistryError("the tag is not here")
        self.published.append(reference)


def export(run, targets) -> None:
    """Export what the example has."""
    write_export(run, files.sha256(run / filenames.CHECKPOINT), tuple(set(targets) - {"onnx"}))


def sign(folder) -> None:
    """Write a signature of a version that verifies."""
    assert integrity.inspect(folder, complete=True).problems == ()
    files.write_atomic(folder / filenames.SIGNATURE, b"signed")


@pytest.fixture
def root(tmp_path):
    """A registry with one run, which lacks the exports of the project."""
    write_run(write_registry(tmp_path / "r") / RUN)
    return tmp_path / "r"


@pytest.fixture
def git(root):
    """The registry's repository."""
    return FakeGit(root)


@pytest.fixture
def hub(git):
    """Where it is published."""
    return Hub(git)


@pytest.fixture
def ports(git, hub):
    """All that a release may need."""
    return Ports(now, git.port(), export=export, sign=sign, publish=hub.publish)


def everything(root) -> Request:
    """Ask for every step."""
    return Request("v0.1.0", root / RUN, roll_changelog=True, sign=True, publish=True)


def tree(root) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_a_published_version_is_committed_and_tagged_first(root, ports) -> None:
    """Though only the publishing was asked for."""
    assert planned(root, everything(root), PROJECT, ports).steps == (*LOCAL, "push", "publish")


def test_the_steps_that_are_done_are_those_of_the_plan(root, ports) -> None:
    """Each is told once, in the plan's order."""
    told: list[object] = []
    plan = carry_out(root, everything(root), PROJECT, ports, told.append)

    assert told == list(plan.steps)


def test_a_step_is_told_when_it_is_done(root, ports) -> None:
    """The version is there when it is told, and the table is still to come."""
    seen = {}
    carry_out(root, everything(root), PROJECT, ports, lambda step: seen.update({step: tree(root)}))

    assert (f"{VERSION}/manifest.json" in seen["export"], f"{VERSION}/manifest.json" in seen["version"]) == (
        False,
        True,
    )


def test_the_version_carries_what_the_release_exported(root, ports) -> None:
    """The run got it first."""
    carry_out(root, everything(root), PROJECT, ports)

    assert (root / RUN / "onnx/head.onnx").is_file()
    assert (root / VERSION / "hailo8/bundle.tar.gz").is_file()


def test_the_signature_is_part_of_the_commit(root, ports, git) -> None:
    """It is made before."""
    carry_out(root, everything(root), PROJECT, ports)

    assert git.committed[f"{VERSION}/model.sig"] == b"signed"


def test_the_commit_holds_the_release_and_nothing_else(root, ports, git) -> None:
    """With its message."""
    carry_out(root, everything(root), PROJECT, ports)

    assert git.log[1:] == [("Release conv2d_fsq v0.1.0", (VERSION, "CHANGELOG.md", "RELEASES.md"))]
    assert git.changes(root) == ()


def test_the_tag_is_pushed_before_the_version_is_published(root, ports, git, hub) -> None:
    """The server takes no version whose tag it does not know."""
    carry_out(root, everything(root), PROJECT, ports)

    assert (git.pushed, hub.published) == ({"v0.1.0"}, ["conv2d_fsq@v0.1.0"])


def test_a_push_that_fails_leaves_the_version_and_publishes_nothing(root, ports, git, hub) -> None:
    """All that is done on this machine stands."""
    git.remote = False
    told: list[object] = []
    with pytest.raises(RegistryError, match="git refused"):
        carry_out(root, everything(root), PROJECT, ports, told.append)

    assert (tuple(told), hub.published, integrity.inspect(root / VERSION).problems) == (LOCAL, [], ())


@pytest.mark.parametrize(
    ("port", "step"),
    [
        ("export", "export"),
        ("sign", "sign"),
        ("publish", "publish"),
        ("git", "commit"),
        ("git", "tag"),
        ("git", "push"),
    ],
)
def test_a_plan_that_needs_an_absent_port_is_refused(root, ports, port, step) -> None:
    """Before anything is written, even the export that comes first; the step is named."""
    plan = planned(root, everything(root), PROJECT, ports)
    before = tree(root)
    given = {"export": export, "sign": sign, "publish": ports.publish, "git": ports.git} | {port: None}
    with pytest.raises(InputError, match=f"{step}: is a step of this release, but is not available here"):
        steps.run(plan, Ports(now, **given))

    assert tree(root) == before


def test_a_plan_needs_the_ports_of_its_steps_only(root) -> None:
    """A release that neither exports nor signs nor commits needs the time."""
    assert carry_out(root, Request("v0.1.0", root / RUN, roll_changelog=True)).steps == (
        "version",
        "changelog",
        "table",
    )


class Killed(BaseException):
    """The end of the process, which no `except` of ours catches."""


@pytest.mark.parametrize("last", LOCAL[1:-1])
def test_a_release_that_was_killed_after_a_step_is_finished_by_the_same_request(root, ports, git, hub, last) -> None:
    """The rest of the steps is planned, and the result is that of a release that nothing interrupted."""

    def die(step: object) -> None:
        if step == last:
            raise Killed

    with pytest.raises(Killed):
        carry_out(root, everything(root), PROJECT, ports, die)
    rest = carry_out(root, everything(root), PROJECT, ports).steps

    assert rest == (*LOCAL[LOCAL.index(last) + 1 :], "push", "publish")
    assert (git.changes(root), git.tags, hub.published) == ((), {"v0.1.0": 1}, ["conv2d_fsq@v0.1.0"])


def test_a_release_that_is_finished_here_is_not_made_again(root, ports, git) -> None:
    """Where only the publishing is left, `modelreg publish` goes on."""
    git.remote = False
    with pytest.raises(RegistryError, match="git refused"):
        carry_out(root, everything(root), PROJECT, ports)
    git.remote = True
    with pytest.raises(RegistryError, match="exists, and a version never changes"):
        carry_out(root, everything(root), PROJECT, ports)


# The gates


@pytest.fixture
def second(root):
    """The registry with v0.1.0, which carries its exports, and another run, which lacks them."""
    carry_out(root, Request("v0.1.0", root / RUN, roll_changelog=True), PROJECT, Ports(now, export=export))
    write_run(root / "runs/conv2d_fsq-002", seed=1)
    (root / "CHANGELOG.md").write_text("## [Unreleased]\n\n- more\n")
    return root


@pytest.fixture
def reads(monkeypatch):
    """The files that are read, in order."""
    seen = []
    read = files.read_bytes

    def reading(path, *limit):
        seen.append(path)
        return read(path, *limit)

    monkeypatch.setattr(files, "read_bytes", reading)
    return seen


@pytest.mark.parametrize("exported", [False, True], ids=["exported by the release", "exported before"])
def test_gates_are_judged_twice_in_a_release(second, reads, exported) -> None:
    """Before the plan and after the export; what only gates read, of an older version, is read once each time."""
    if exported:
        export(second / "runs/conv2d_fsq-002", ("onnx", "hailo8"))
    gated = PROJECT.model_copy(update={"gates": {"accuracy": Gate(min=0, not_above="v0.1.0", tolerance=1)}})
    request = Request("v0.2.0", second / "runs/conv2d_fsq-002", roll_changelog=True)
    told: list[object] = []
    carry_out(second, request, gated, Ports(now, export=export), lambda step: told.append((step, judgements(reads))))

    expected = [("version", 2), ("changelog", 2), ("table", 2)]
    assert told == (expected if exported else [("export", 1), *expected])


def judgements(reads) -> int:
    """Count the reads of an older version's document that nothing but gates asks for."""
    return sum(path.parts[-3:] == ("v0.1.0", "hailo8", "int8.json") for path in reads)


def test_the_plan_is_made_of_the_outcomes_that_are_shown(second, reads) -> None:
    """No gate is judged between what the user sees and what the plan says."""
    gated = PROJECT.model_copy(update={"gates": {"accuracy": Gate(min=0, not_above="v0.1.0", tolerance=1)}})
    request = Request("v0.2.0", second / "runs/conv2d_fsq-002", roll_changelog=True)
    plan = planned(second, request, gated, Ports(now, export=export))

    assert ([o.path for o in plan.situation.outcomes], judgements(reads)) == (["accuracy"], 1)


def test_a_version_keeps_the_outcomes_of_what_was_exported(second) -> None:
    """The plan could not know them."""
    gated = PROJECT.model_copy(update={"gates": {"int8.accuracy_drop": Gate(max=0.5)}})
    request = Request("v0.2.0", second / "runs/conv2d_fsq-002", roll_changelog=True)
    plan = carry_out(second, request, gated, Ports(now, export=export))

    assert plan.situation.outcomes == ()
    assert [o.value for o in load(plan.folder / filenames.GATES, GateReport).outcomes] == [0.1]


@pytest.mark.parametrize(
    "path", ["registry/conv2d_fsq/.v0.1.0.staged/run.json", ".CHANGELOG.md.tmp", ".RELEASES.md.tmp"]
)
def test_what_a_killed_release_left_does_not_block_the_next(root, path) -> None:
    """Git lists it as new; the next write replaces it."""
    git = FakeGit(root)
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(b"half a file")
    request = Request("v0.1.0", root / "runs" / "conv2d_fsq-001", roll_changelog=True, tag=True)
    carry_out(root, request, ports=Ports(now, git=git.port()))

    assert "v0.1.0" in git.tags
