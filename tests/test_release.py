"""A release reports every problem at once, is made completely or not at all, and can be resumed."""

import contextlib
import json
import os
import subprocess
import sys
from subprocess import PIPE

import pytest
from example_release import FakeGit, carry_out, now, planned
from example_run import write_registry, write_run
from places import places

from modelreg import files
from modelreg.cli import github_session
from modelreg.config import ProjectConfig
from modelreg.documents import releases_table
from modelreg.errors import GateFailed, InputError, ModelregError, RegistryError, VerificationFailed
from modelreg.records.base import load
from modelreg.records.gates import Gate
from modelreg.records.manifest import Manifest
from modelreg.records.provenance import Provenance
from modelreg.registry import filenames, runs
from modelreg.release.plan import Request, Situation, draft, tag_of
from modelreg.release.steps import Ports
from modelreg.rules import catalogue

PROJECT = ProjectConfig()


@pytest.fixture
def root(tmp_path):
    """A registry with one run."""
    write_run(write_registry(tmp_path / "r") / "runs" / "conv2d_fsq-001")
    return tmp_path / "r"


def request_for(root, version="v0.1.0", run="conv2d_fsq-001", **options):
    """Return a request for a release with `--roll-changelog`."""
    return Request(version, root / "runs" / run, **{"roll_changelog": True, **options})


def under_git(root, **settings):
    """Return ports with a git repository in which every file is committed."""
    return Ports(now, FakeGit(root, **settings).port())


def tree(root):
    """Return every file below a folder with its bytes."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_a_release_writes_version_changelog_and_table(root) -> None:
    """Every other file is unchanged."""
    before = tree(root)
    carry_out(root, request_for(root))
    changed = {path for path, data in tree(root).items() if before.get(path) != data}

    names = {*filenames.DOCUMENTS, *filenames.ASSETS, "bom.cdx.json", "manifest.json", "sha256sum.txt"}
    assert changed == {"CHANGELOG.md", "RELEASES.md", *(f"registry/conv2d_fsq/v0.1.0/{name}" for name in names)}


def test_the_same_inputs_give_the_same_bytes(tmp_path) -> None:
    """Two registries are equal, byte for byte."""
    for name in "ab":
        write_run(write_registry(tmp_path / name) / "runs" / "conv2d_fsq-001")
        carry_out(tmp_path / name, request_for(tmp_path / name))

    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_the_table_lists_the_version(root) -> None:
    """RELEASES.md shows its accuracy."""
    carry_out(root, request_for(root))
    accuracy = json.loads((root / "registry/conv2d_fsq/v0.1.0/eval_metrics.json").read_text())["accuracy"]

    assert (
        f"[conv2d_fsq@v0.1.0](registry/conv2d_fsq/v0.1.0/model_card.md) | 2026-11-21 | {accuracy:.4f}"
        in (root / "RELEASES.md").read_text()
    )


@pytest.mark.parametrize("assets", ["external", "committed"])
def test_the_manifest_states_where_binaries_are_stored(root, assets) -> None:
    """The project sets `assets`."""
    plan = carry_out(root, request_for(root), ProjectConfig(assets=assets))
    stored = {entry.path: entry.stored for entry in load(plan.folder / "manifest.json", Manifest).files}

    assert stored["checkpoint.safetensors"] == {"external": "asset", "committed": "git"}[assets]


def test_provenance_names_its_inputs(root) -> None:
    """The commit, the source and every split of the data."""
    plan = carry_out(root, request_for(root), ProjectConfig(repository="owner/name"), under_git(root))
    inputs = load(plan.folder / "provenance.json", Provenance).predicate.build_definition.resolved_dependencies

    names = ["repository of the working directory", "source/planted", "data/train", "data/validation", "data/test"]
    assert [i.name for i in inputs] == names


def rules(error) -> list[str]:
    """Return the rules of an error's problems."""
    return [problem.rule for problem in error.problems]


def refused(root, request, project=PROJECT, ports=None):
    """Return the error of a release that must be refused, and check that nothing was written."""
    before = tree(root)
    with pytest.raises(ModelregError) as caught:
        carry_out(root, request, project, ports)
    assert tree(root) == before
    return caught.value


def test_an_existing_version_is_refused(root) -> None:
    """A version never changes."""
    carry_out(root, request_for(root))
    write_run(root / "runs" / "conv2d_fsq-002", seed=1)
    error = refused(root, request_for(root, run="conv2d_fsq-002"))

    assert (error.exit_code, places(error.problems)) == (5, [("conv2d_fsq@v0.1.0", "release.version-exists")])


def test_the_same_release_twice_is_refused(root) -> None:
    """No step is left, so the version exists."""
    carry_out(root, request_for(root))

    assert rules(refused(root, request_for(root))) == ["release.version-exists"]


def test_a_lower_version_is_refused(root) -> None:
    """It is usually a typing error."""
    carry_out(root, request_for(root, "v1.0.0"))
    write_run(root / "runs" / "conv2d_fsq-002", seed=1)
    (root / "CHANGELOG.md").write_text("## [Unreleased]\n- x\n")

    (problem,) = refused(root, request_for(root, "0.9.0", "conv2d_fsq-002")).problems
    assert (problem.rule, "v1.0.0" in problem.message) == ("release.version-too-low", True)


def test_a_lower_version_is_released_with_allow_older(root) -> None:
    """The option states the intention."""
    carry_out(root, request_for(root, "v1.0.0"))
    write_run(root / "runs" / "conv2d_fsq-002", seed=1)
    (root / "CHANGELOG.md").write_text("## [Unreleased]\n- x\n")

    assert carry_out(root, request_for(root, "0.9.0", "conv2d_fsq-002", allow_older=True)).folder.is_dir()


@pytest.mark.parametrize("force", [False, True])
def test_the_same_weights_are_refused_unless_forced(root, force) -> None:
    """A new number for the same bytes is usually a mistake."""
    carry_out(root, request_for(root))
    (root / "CHANGELOG.md").write_text("## [Unreleased]\n- x\n")
    request = request_for(root, "v0.2.0", force=force)
    if force:
        assert carry_out(root, request).folder.is_dir()
    else:
        (problem,) = refused(root, request).problems
        assert (problem.rule, "conv2d_fsq@v0.1.0" in problem.message) == ("release.same-weights", True)


@pytest.mark.parametrize("version", ["1.0", "v1.2.3.4", "latest", "v01.0.0", "", "v1.0.0_rc", "../v1.0.0"])
def test_an_invalid_version_number_is_refused(root, version) -> None:
    """Exit 5, nothing written."""
    assert refused(root, request_for(root, version)).exit_code == 5


@pytest.mark.parametrize("version", ["0.1.0", "v0.1.0", "v0.1.0-rc.1", "v0.1.0+build.5"])
def test_a_semantic_version_is_accepted(root, version) -> None:
    """The v is optional; pre-releases are allowed."""
    assert carry_out(root, request_for(root, version)).version == version.removeprefix("v")


def test_a_missing_changelog_section_is_refused(root) -> None:
    """Exit 3, naming the heading."""
    error = refused(root, request_for(root, roll_changelog=False))

    assert (type(error), places(error.problems)) == (InputError, [("CHANGELOG.md", "changelog.section-missing")])
    assert "[v0.1.0]" in error.problems[0].message


def test_an_empty_unreleased_section_is_refused(root) -> None:
    """There is nothing to move."""
    (root / "CHANGELOG.md").write_text("## [Unreleased]\n")

    assert rules(refused(root, request_for(root))) == ["changelog.nothing-new"]


@pytest.mark.parametrize("name", ["CHANGELOG.md", "RELEASES.md"])
def test_a_missing_changelog_or_table_is_refused(root, name) -> None:
    """A registry has both."""
    rule = {"CHANGELOG.md": "changelog.missing", "RELEASES.md": releases_table.NO_TABLE.rule}[name]
    (root / name).unlink()

    assert places(refused(root, request_for(root)).problems) == [(name, rule)]


def test_a_written_section_is_enough(root) -> None:
    """Without --roll-changelog, the section of the tag is used unchanged."""
    (root / "CHANGELOG.md").write_text("## [v0.1.0] - today\n- x\n")

    assert "changelog" not in carry_out(root, request_for(root, roll_changelog=False)).steps


@pytest.mark.parametrize(
    ("path", "gate", "value"),
    [
        ("accuracy", Gate(min=0.99), "0.99"),
        ("calibration.ece", Gate(max=0.0001), "0.0001"),
        ("int8.snr_db", Gate(min=10), "int8.json"),
        ("classes", Gate(min=0), "eval_metrics.json"),
    ],
)
def test_a_failed_gate_is_refused(root, path, gate, value) -> None:
    """Exit 9 with metric and bound; a missing metric fails."""
    error = refused(root, request_for(root), ProjectConfig(gates={path: gate}))

    ((where, rule),) = places(error.problems)
    assert (type(error), where.endswith(f": gates.{path}"), rule) == (GateFailed, True, "gates.failed")
    assert value in error.problems[0].message


def test_a_gate_passes_at_its_bound(root) -> None:
    """Bounds are inclusive, on any path."""
    gates = {"accuracy": Gate(min=0, max=1), "per_class.walk.support": Gate(min=1)}

    assert carry_out(root, request_for(root), ProjectConfig(gates=gates)).folder.is_dir()


def test_refusals_that_cost_nothing_come_at_once_under_the_lowest_code(root) -> None:
    """An existing version (5), a dirty tree (5) and a missing section (3): exit 3, three problems."""
    carry_out(root, request_for(root))
    ports = under_git(root)
    (root / "CHANGELOG.md").write_text("")
    write_run(root / "runs" / "conv2d_fsq-002", seed=1)
    error = refused(root, request_for(root, run="conv2d_fsq-002", roll_changelog=False, commit=True), ports=ports)
    expected = ["changelog.section-missing", "git.uncommitted", "release.version-exists"]

    assert (error.exit_code, rules(error)) == (3, expected)


def test_failures_that_need_a_computation_come_at_once_under_the_lowest_code(root) -> None:
    """A failed gate (9) and a changed history (3)."""
    (root / "runs/conv2d_fsq-001/history.jsonl").write_text("")
    error = refused(root, request_for(root, "v0.2.0"), ProjectConfig(gates={"accuracy": Gate(min=0.99)}))

    assert (error.exit_code, len(error.problems), "run.file-changed" in rules(error)) == (3, 2, True)


def test_a_version_between_two_others_is_too_low(root) -> None:
    """The newest one counts."""
    carry_out(root, request_for(root))
    for number, version in ((2, "v0.3.0"), (3, "v0.2.0")):
        write_run(root / f"runs/conv2d_fsq-00{number}", seed=number)
        (root / "CHANGELOG.md").write_text("## [Unreleased]\n- x\n")
        if version == "v0.3.0":
            carry_out(root, request_for(root, version, "conv2d_fsq-002"))
    error = refused(root, request_for(root, "v0.2.0", "conv2d_fsq-003"))

    assert places(error.problems) == [("v0.2.0", "release.version-too-low")]


def test_a_release_of_other_predictions_is_not_finished(root) -> None:
    """The weights are those of the version, but the run was evaluated again; the changelog was lost."""
    carry_out(root, request_for(root))
    (root / "CHANGELOG.md").write_text("## [Unreleased]\n- x\n")
    (root / "runs/conv2d_fsq-001/predictions.npz").write_bytes(b"other")

    assert "release.version-exists" in rules(refused(root, request_for(root)))


def test_an_evaluated_run_is_not_evaluated_again(root) -> None:
    """Also where a release may evaluate."""
    assert "evaluate" not in planned(root, request_for(root, evaluate=True), PROJECT, Ports(now)).steps


# Refusals that cost nothing come before anything is computed


def not_computed(*_args, **_kwargs):
    """Fail the test: the release must be refused before this call."""
    raise AssertionError("computed before a refusal")


@pytest.fixture
def nothing_is_computed(root, monkeypatch):
    """A registry with v0.1.0 and an unreleased run, where hashing, gates, exports and verification fail the test."""
    carry_out(root, request_for(root))
    write_run(root / "runs" / "conv2d_fsq-002", seed=1)
    (root / "CHANGELOG.md").write_text("## [Unreleased]\n- x\n")
    for name in (
        "modelreg.files.sha256",
        "modelreg.evaluation.gates.check_gates",
        "modelreg.verification.integrity.inspect",
        "modelreg.release.from_run.find_failures",
        "modelreg.release.patch.find_failures",
    ):
        monkeypatch.setattr(name, not_computed)
    return root


@pytest.mark.parametrize(
    ("options", "settings", "rule"),
    [
        ({"version": "v0.1.0"}, {}, "release.version-exists"),
        ({"version": "v0.0.9"}, {}, "release.version-too-low"),
        ({"roll_changelog": False}, {}, "changelog.section-missing"),
        ({"tag": True}, {"tags": {"v0.2.0": 0}}, "git.tag-exists"),
        ({"commit": True}, {"identity": "no name"}, "git.no-identity"),
        ({"commit": True}, {"committed": {"x": b""}}, "git.uncommitted"),
        ({"publish": True}, {}, "github.token-missing"),
    ],
)
def test_a_refusal_that_costs_nothing_comes_before_any_computation(nothing_is_computed, options, settings, rule):
    """No port is called that changes anything, and no file is hashed."""
    root = nothing_is_computed
    git = FakeGit(root)
    for name, value in settings.items():
        setattr(git, name, getattr(git, name) | value if name == "committed" else value)
    ports = Ports(
        now,
        git.port(),
        export=not_computed,
        sign=not_computed,
        publish=not_computed,
        find_publish_problems=lambda: [github_session.no_token()],
    )

    assert rule in rules(
        refused(root, request_for(root, **{"version": "v0.2.0", "run": "conv2d_fsq-002"} | options), ports=ports)
    )


def test_a_bad_version_number_is_refused_before_anything_is_read(tmp_path) -> None:
    """Not even the run."""
    with pytest.raises(RegistryError):
        draft(tmp_path, Request("1.x", tmp_path / "nothing"), PROJECT, Situation(now()))


def test_an_unfinished_run_is_refused(root) -> None:
    """The next step is the command that resumes the training."""
    write_run(root / "runs" / "conv2d_fsq-002", status="training")
    (problem,) = refused(root, request_for(root, run="conv2d_fsq-002")).problems

    assert (problem.rule, "modelreg train --resume" in problem.next) == ("run.not-trained", True)


def test_a_run_without_metrics_is_refused(root) -> None:
    """The next step is the command that writes them."""
    (root / "runs/conv2d_fsq-001/eval_metrics.json").unlink()
    (problem,) = refused(root, request_for(root)).problems

    assert (problem.rule, "modelreg evaluate" in problem.next) == ("run.not-evaluated", True)


def test_forged_metrics_are_refused(root) -> None:
    """A version that does not verify is not written: exit 4."""
    path = root / "runs/conv2d_fsq-001/eval_metrics.json"
    document = json.loads(path.read_text())
    path.write_bytes(files.to_json(document | {"accuracy": 0.9995}))

    assert isinstance(refused(root, request_for(root)), VerificationFailed)


def test_changed_weights_are_refused(root) -> None:
    """They differ from those that the training wrote: exit 3."""
    with (root / "runs/conv2d_fsq-001/checkpoint.safetensors").open("ab") as file:
        file.write(b"x")

    assert "run.file-changed" in rules(refused(root, request_for(root)))


def test_a_broken_version_in_the_registry_is_refused_first(root) -> None:
    """The table cannot be written: exit 5, naming the version and `modelreg verify`."""
    (root / "registry/conv2d_fsq/v0.0.1").mkdir(parents=True)
    error = refused(root, request_for(root))

    assert (error.exit_code, "conv2d_fsq@v0.0.1" in str(error), "modelreg verify" in str(error)) == (5, True, True)


def test_committed_assets_that_git_ignores_are_refused(root) -> None:
    """The manifest would state `git`, and a clone would not contain them."""
    ports = under_git(root, ignored=frozenset({"checkpoint.safetensors"}))
    error = refused(root, request_for(root, commit=True), ProjectConfig(assets="committed"), ports)

    assert places(error.problems) == [("checkpoint.safetensors", "git.asset-ignored")]


def test_a_commit_needs_an_author_identity(root) -> None:
    """The message contains git's."""
    error = refused(root, request_for(root, commit=True), ports=under_git(root, identity="empty ident name"))

    assert places(error.problems) == [("git", "git.no-identity")]
    assert "empty ident name" in error.problems[0].message


@pytest.mark.parametrize("path", ["CHANGELOG.md.orig", "registry/conv2d_fsq/v0.1.0.bak/x"])
def test_a_path_with_a_similar_name_is_not_part_of_the_release(root, path) -> None:
    """So a finished release is not seen as interrupted."""
    ports = under_git(root)
    carry_out(root, request_for(root, tag=True), PROJECT, ports)
    (root / path).parent.mkdir(exist_ok=True)
    (root / path).write_text("x")

    assert "release.version-exists" in rules(refused(root, request_for(root, tag=True), ports=ports))


def test_a_folder_without_a_run_is_refused(root) -> None:
    """It has no run.json."""
    assert rules(refused(root, request_for(root, run="nothing"))) == ["run.not-a-run"]


@pytest.mark.parametrize("name", ["notes.txt", "CHANGELOG.md"])
def test_a_dirty_tree_is_refused(root, name) -> None:
    """Nothing is staged before."""
    ports = under_git(root)
    with (root / name).open("a") as file:
        file.write("more\n")
    error = refused(root, request_for(root, tag=True), ports=ports)

    assert (type(error), places(error.problems)) == (RegistryError, [(name, "git.uncommitted")])


def test_a_tag_without_git_is_refused(root) -> None:
    """Exit 5, before anything is staged."""
    error = refused(root, request_for(root, tag=True), ports=Ports(now))

    assert (type(error), rules(error)) == (RegistryError, ["git.not-a-repository"])


def test_a_tag_that_exists_is_refused(root) -> None:
    """Exit 5, before anything is staged."""
    error = refused(root, request_for(root, tag=True), ports=under_git(root, tags={"v0.1.0": 0}))

    assert (type(error), places(error.problems)) == (RegistryError, [("v0.1.0", "git.tag-exists")])


def test_a_dirty_tree_is_accepted_without_commit(root) -> None:
    """Only --commit and --tag need a clean tree."""
    ports = under_git(root)
    (root / "notes.txt").write_text("x")

    assert carry_out(root, request_for(root), ports=ports).folder.is_dir()


def test_tag_implies_commit(root) -> None:
    """A tag must name a commit that contains the version."""
    plan = planned(root, request_for(root, tag=True), PROJECT, under_git(root))

    assert plan.steps == ("version", "changelog", "table", "commit", "tag")


def test_an_interrupted_commit_is_finished(root) -> None:
    """Version, changelog and table exist, so only the rest is planned."""
    ports = under_git(root)
    carry_out(root, request_for(root), ports=ports)
    plan = planned(root, request_for(root, tag=True), PROJECT, ports)

    assert plan.steps == ("commit", "tag")


def test_an_interrupted_tag_is_finished(root) -> None:
    """The commit exists, the tag does not."""
    ports = under_git(root)
    carry_out(root, request_for(root, commit=True), ports=ports)
    plan = planned(root, request_for(root, tag=True), PROJECT, ports)

    assert plan.steps == ("tag",)


@pytest.mark.parametrize(("model", "tag"), [("conv2d_fsq", "v1.0.0"), ("tcn_vae", "tcn_vae-v1.0.0")])
def test_the_tag_of_another_model_contains_its_name(model, tag) -> None:
    """Only the default model's tags are bare versions."""
    assert tag_of(PROJECT, model, "1.0.0") == tag


class Killed(BaseException):
    """A death that no `except` catches, as by SIGKILL."""


def kill_at(monkeypatch, number):
    """End the process at the n-th rename or fsync, the moments at which files appear."""
    count = 0

    def dying(real):
        def call(*args, **kwargs):
            nonlocal count
            count += 1
            if count == number:
                os._exit(9)
            return real(*args, **kwargs)

        return call

    monkeypatch.setattr("os.fsync", dying(os.fsync))
    monkeypatch.setattr("modelreg.files.Path.replace", dying(files.Path.replace))
    monkeypatch.setattr("modelreg.files.Path.rename", dying(files.Path.rename))


def run_killed(root, number, monkeypatch) -> bool:
    """Release in a child that dies at the n-th write; return whether it died."""
    child = os.fork()
    if not child:
        kill_at(monkeypatch, number)
        carry_out(root, request_for(root))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.no_cover
def test_a_release_killed_at_any_write_is_finished_by_running_it_again(tmp_path, monkeypatch) -> None:
    """The second run gives the bytes of an uninterrupted one."""
    whole = tmp_path / "whole"
    write_run(write_registry(whole) / "runs" / "conv2d_fsq-001")
    carry_out(whole, request_for(whole))
    expected, number, died = tree(whole), 0, True
    while died:
        number += 1
        root = tmp_path / str(number)
        write_run(write_registry(root) / "runs" / "conv2d_fsq-001")
        died = run_killed(root, number, monkeypatch)
        with contextlib.suppress(RegistryError):  # it had come to its end: the version exists
            carry_out(root, request_for(root))
        assert tree(root) == expected, f"killed at write {number}"

    assert number > 30


def test_a_release_does_not_change_its_run(root) -> None:
    """It only reads the run."""
    before = tree(root / "runs")
    carry_out(root, request_for(root))

    assert tree(root / "runs") == before


def test_the_newest_run_is_the_highest_number(tmp_path) -> None:
    """Numbers count over all models."""
    for name in ("conv2d_fsq-002", "tcn_vae-010", "conv2d_fsq-009", "notes"):
        (tmp_path / name).mkdir()

    assert (runs.newest(tmp_path).name, runs.newest(tmp_path, "conv2d_fsq").name) == ("tcn_vae-010", "conv2d_fsq-009")


def test_an_interrupted_training_is_found(tmp_path) -> None:
    """Only the newest run counts, and only if it can be read and no process trains it."""
    other = "import sys; from modelreg import files; from pathlib import Path\n"
    other += "with files.sole_writer(Path(sys.argv[1]), Path()): print(flush=True); sys.stdin.read()"
    assert runs.interrupted(tmp_path) is None
    run = write_run(tmp_path / "conv2d_fsq-001", status="training")
    assert runs.interrupted(tmp_path) == run
    with subprocess.Popen([sys.executable, "-c", other, run], stdin=PIPE, stdout=PIPE) as running:
        running.stdout.readline()
        assert runs.interrupted(tmp_path) is None
        running.communicate()
    (run / "run.json").write_text("{}")
    assert runs.interrupted(tmp_path) is None
    write_run(tmp_path / "conv2d_fsq-002")

    assert runs.interrupted(tmp_path) is None


def test_the_next_run_has_the_next_number(tmp_path) -> None:
    """Numbers count over all models, from 001."""
    (tmp_path / "tcn_vae-010").mkdir()

    assert runs.next_folder(tmp_path, "conv2d_fsq").name == "conv2d_fsq-011"


def test_no_run_names_the_command_that_makes_one(tmp_path) -> None:
    """The next step is `modelreg train`."""
    with pytest.raises(InputError) as caught:
        runs.newest(tmp_path / "runs", "conv2d_fsq")
    (found,) = caught.value.problems

    assert (found.where, found.rule) == (str(tmp_path / "runs"), "run.none")
    assert "modelreg train" in catalogue.find(found.rule).next
