"""A release takes the steps of its plan through ports, in order, and can be resumed after any of them."""

from dataclasses import dataclass, field

import pytest
from example_export import write_export
from example_release import FakeGit, carry_out, now, planned
from example_run import write_registry, write_run
from places import places

from modelreg import files
from modelreg.config import ProjectConfig
from modelreg.errors import InputError, Problem, RegistryError
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
    """A server that publishes a version once its tag is pushed."""

    git: FakeGit
    published: list[str] = field(default_factory=list)

    def publish(self, reference: str) -> None:
        """Publish a version."""
        if reference.partition("@")[2] not in self.git.pushed:
            raise RegistryError("not published", [Problem(reference, "publish.tag-not-pushed", "no tag")])
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
    """A registry with one run that has none of the exports of the project."""
    write_run(write_registry(tmp_path / "r") / RUN)
    return tmp_path / "r"


@pytest.fixture
def git(root):
    """The registry's repository."""
    return FakeGit(root)


@pytest.fixture
def hub(git):
    """The server that versions are published to."""
    return Hub(git)


@pytest.fixture
def ports(git, hub):
    """Every port that a release may need."""
    return Ports(now, git.port(), export=export, sign=sign, publish=hub.publish)


def everything(root) -> Request:
    """Return a request for every step."""
    return Request("v0.1.0", root / RUN, roll_changelog=True, sign=True, publish=True)


def tree(root) -> dict[str, bytes]:
    """Return every file below a folder with its bytes."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_a_published_version_is_committed_and_tagged_first(root, ports) -> None:
    """`publish` implies both."""
    assert planned(root, everything(root), PROJECT, ports).steps == (*LOCAL, "push", "publish")


def test_each_step_of_the_plan_is_taken_once(root, ports) -> None:
    """In the order of the plan."""
    taken: list[object] = []
    plan = carry_out(root, everything(root), PROJECT, ports, taken.append)

    assert taken == list(plan.steps)


def test_a_step_is_reported_after_it_is_done(root, ports) -> None:
    """The version exists when its step is reported, and not before."""
    seen = {}
    carry_out(root, everything(root), PROJECT, ports, lambda step: seen.update({step: tree(root)}))

    assert (f"{VERSION}/manifest.json" in seen["export"], f"{VERSION}/manifest.json" in seen["version"]) == (
        False,
        True,
    )


def test_the_version_contains_what_the_release_exported(root, ports) -> None:
    """The export is written into the run first."""
    carry_out(root, everything(root), PROJECT, ports)

    assert (root / RUN / "onnx/head.onnx").is_file()
    assert (root / VERSION / "hailo8/bundle.tar.gz").is_file()


def test_the_signature_is_part_of_the_commit(root, ports, git) -> None:
    """Signing comes before the commit."""
    carry_out(root, everything(root), PROJECT, ports)

    assert git.committed[f"{VERSION}/model.sig"] == b"signed"


def test_the_commit_contains_the_release_and_nothing_else(root, ports, git) -> None:
    """Its message names the version."""
    carry_out(root, everything(root), PROJECT, ports)

    assert git.log[1:] == [("Release conv2d_fsq v0.1.0", (VERSION, "CHANGELOG.md", "RELEASES.md"))]
    assert git.changes(root) == ()


def test_the_tag_is_pushed_before_the_version_is_published(root, ports, git, hub) -> None:
    """The server refuses a version without a tag."""
    carry_out(root, everything(root), PROJECT, ports)

    assert (git.pushed, hub.published) == ({"v0.1.0"}, ["conv2d_fsq@v0.1.0"])


def test_a_push_that_fails_leaves_the_version_and_publishes_nothing(root, ports, git, hub) -> None:
    """All steps on this machine are done."""
    git.remote = False
    taken: list[object] = []
    with pytest.raises(RegistryError) as caught:
        carry_out(root, everything(root), PROJECT, ports, taken.append)

    assert places(caught.value.problems) == [("git push", "git.command-failed")]
    assert (tuple(taken), hub.published, integrity.inspect(root / VERSION).problems) == (LOCAL, [], ())


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
def test_a_plan_that_needs_a_missing_port_is_refused(root, ports, port, step) -> None:
    """Nothing is written, not even the export that comes first. The step is named."""
    plan = planned(root, everything(root), PROJECT, ports)
    before = tree(root)
    given = {"export": export, "sign": sign, "publish": ports.publish, "git": ports.git} | {port: None}
    with pytest.raises(InputError) as caught:
        steps.run(plan, Ports(now, **given))

    assert (step, "release.step-unavailable") in places(caught.value.problems)
    assert tree(root) == before


def test_a_plan_needs_the_ports_of_its_steps_only(root) -> None:
    """A release that neither exports nor signs nor commits needs the time."""
    assert carry_out(root, Request("v0.1.0", root / RUN, roll_changelog=True)).steps == (
        "version",
        "changelog",
        "table",
    )


class Killed(BaseException):
    """A death that no `except` catches."""


@pytest.mark.parametrize("last", LOCAL[1:-1])
def test_a_release_that_was_killed_after_a_step_is_finished_by_the_same_request(root, ports, git, hub, last) -> None:
    """Only the remaining steps are planned, and the result is that of an uninterrupted release."""

    def die(step: object) -> None:
        if step == last:
            raise Killed

    with pytest.raises(Killed):
        carry_out(root, everything(root), PROJECT, ports, die)
    rest = carry_out(root, everything(root), PROJECT, ports).steps

    assert rest == (*LOCAL[LOCAL.index(last) + 1 :], "push", "publish")
    assert (git.changes(root), git.tags, hub.published) == ((), {"v0.1.0": 1}, ["conv2d_fsq@v0.1.0"])


def test_a_release_that_only_has_to_be_published_is_finished(root, ports, git, hub) -> None:
    """The same request pushes the tag and publishes."""
    git.remote = False
    with pytest.raises(RegistryError):
        carry_out(root, everything(root), PROJECT, ports)
    git.remote = True
    left = planned(root, everything(root), PROJECT, ports)
    steps.run(left, ports)

    assert (left.steps, hub.published) == (("push", "publish"), ["conv2d_fsq@v0.1.0"])


# The gates


@pytest.fixture
def second(root):
    """A registry with v0.1.0, which has its exports, and another run without exports."""
    carry_out(root, Request("v0.1.0", root / RUN, roll_changelog=True), PROJECT, Ports(now, export=export))
    write_run(root / "runs/conv2d_fsq-002", seed=1)
    (root / "CHANGELOG.md").write_text("## [Unreleased]\n\n- more\n")
    return root


@pytest.fixture
def reads(monkeypatch):
    """The paths of the files that are read, in order."""
    seen = []
    read = files.read_bytes

    def reading(path, *limit):
        seen.append(path)
        return read(path, *limit)

    monkeypatch.setattr(files, "read_bytes", reading)
    return seen


@pytest.mark.parametrize("exported", [False, True], ids=["exported by the release", "exported before"])
def test_gates_are_checked_twice_in_a_release(second, reads, exported) -> None:
    """Before the plan and after the export. Each time, a document that only gates need is read once."""
    if exported:
        export(second / "runs/conv2d_fsq-002", ("onnx", "hailo8"))
    gated = PROJECT.model_copy(update={"gates": {"accuracy": Gate(min=0, not_above="v0.1.0", tolerance=1)}})
    request = Request("v0.2.0", second / "runs/conv2d_fsq-002", roll_changelog=True)
    taken: list[object] = []
    carry_out(second, request, gated, Ports(now, export=export), lambda step: taken.append((step, checks(reads))))

    expected = [("version", 2), ("changelog", 2), ("table", 2)]
    assert taken == (expected if exported else [("export", 1), *expected])


def checks(reads) -> int:
    """Count the reads of a document of v0.1.0 that only gates need."""
    return sum(path.parts[-3:] == ("v0.1.0", "hailo8", "int8.json") for path in reads)


def test_the_plan_uses_the_outcomes_that_are_shown(second, reads) -> None:
    """Gates are not checked again in between."""
    gated = PROJECT.model_copy(update={"gates": {"accuracy": Gate(min=0, not_above="v0.1.0", tolerance=1)}})
    request = Request("v0.2.0", second / "runs/conv2d_fsq-002", roll_changelog=True)
    plan = planned(second, request, gated, Ports(now, export=export))

    assert ([o.path for o in plan.outcomes], checks(reads)) == (["accuracy"], 1)


def test_a_version_records_the_outcomes_for_its_exports(second) -> None:
    """The plan is made before the export."""
    gated = PROJECT.model_copy(update={"gates": {"int8.accuracy_drop": Gate(max=0.5)}})
    request = Request("v0.2.0", second / "runs/conv2d_fsq-002", roll_changelog=True)
    plan = carry_out(second, request, gated, Ports(now, export=export))

    assert plan.outcomes == ()
    assert [o.value for o in load(plan.folder / filenames.GATES, GateReport).outcomes] == [0.1]


@pytest.mark.parametrize(
    "path", ["registry/conv2d_fsq/.v0.1.0.staged/run.json", ".CHANGELOG.md.tmp", ".RELEASES.md.tmp"]
)
def test_temporary_files_of_a_killed_release_do_not_block_the_next(root, path) -> None:
    """Git lists them as new; the next write replaces them."""
    git = FakeGit(root)
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(b"half a file")
    request = Request("v0.1.0", root / "runs" / "conv2d_fsq-001", roll_changelog=True, tag=True)
    carry_out(root, request, ports=Ports(now, git=git.port()))

    assert "v0.1.0" in git.tags
