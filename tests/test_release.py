"""release: everything in its way at once; all or nothing; finished by running it again."""

import contextlib
import json
import os

import pytest
from example_release import FakeGit, carry_out, now, planned
from example_run import write_registry, write_run

from modelreg import files
from modelreg.config import ProjectConfig
from modelreg.errors import GateFailed, InputError, ModelregError, RegistryError, VerificationFailed
from modelreg.records.base import load
from modelreg.records.gates import Gate
from modelreg.records.manifest import Manifest
from modelreg.records.provenance import Provenance
from modelreg.registry import filenames, runs
from modelreg.release.plan import Request, tag_of
from modelreg.release.steps import Ports

PROJECT = ProjectConfig()


@pytest.fixture
def root(tmp_path):
    """A registry with one run."""
    write_run(write_registry(tmp_path / "r") / "runs" / "conv2d_fsq-001")
    return tmp_path / "r"


def request_for(root, version="v0.1.0", run="conv2d_fsq-001", **options):
    """Ask for a release, the changelog rolled."""
    return Request(version, root / "runs" / run, **{"roll_changelog": True, **options})


def under_git(root, **settings):
    """What a release needs in a repository in which all is committed."""
    return Ports(now, FakeGit(root, **settings).port())


def tree(root):
    """Every file below a folder with its bytes."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_a_release_writes_version_changelog_and_table(root) -> None:
    """What changes is the version's folder, CHANGELOG.md and RELEASES.md."""
    before = tree(root)
    carry_out(root, request_for(root))
    changed = {path for path, data in tree(root).items() if before.get(path) != data}

    names = {*filenames.DOCUMENTS, *filenames.ASSETS, "bom.cdx.json", "manifest.json", "sha256sum.txt"}
    assert changed == {"CHANGELOG.md", "RELEASES.md", *(f"registry/conv2d_fsq/v0.1.0/{name}" for name in names)}


def test_the_same_inputs_give_the_same_bytes(tmp_path) -> None:
    """Two registries, one result."""
    for name in "ab":
        write_run(write_registry(tmp_path / name) / "runs" / "conv2d_fsq-001")
        carry_out(tmp_path / name, request_for(tmp_path / name))

    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_the_table_lists_the_version(root) -> None:
    """RELEASES.md names the version and its accuracy."""
    carry_out(root, request_for(root))
    accuracy = json.loads((root / "registry/conv2d_fsq/v0.1.0/eval_metrics.json").read_text())["accuracy"]

    assert (
        f"[conv2d_fsq@v0.1.0](registry/conv2d_fsq/v0.1.0/model_card.md) | 2026-11-21 | {accuracy:.4f}"
        in (root / "RELEASES.md").read_text()
    )


@pytest.mark.parametrize("assets", ["external", "committed"])
def test_the_manifest_says_where_binaries_are_kept(root, assets) -> None:
    """As the project's settings say."""
    plan = carry_out(root, request_for(root), ProjectConfig(assets=assets))
    stored = {entry.path: entry.stored for entry in load(plan.folder / "manifest.json", Manifest).files}

    assert stored["checkpoint.safetensors"] == {"external": "asset", "committed": "git"}[assets]


def test_provenance_names_what_went_in(root) -> None:
    """Commit, source and every part of the data."""
    plan = carry_out(root, request_for(root), ProjectConfig(repository="owner/name"), under_git(root))
    inputs = load(plan.folder / "provenance.json", Provenance).predicate.build_definition.resolved_dependencies

    names = ["repository of the working directory", "source/planted", "data/train", "data/validation", "data/test"]
    assert [i.name for i in inputs] == names


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

    assert (error.exit_code, "exists" in str(error)) == (5, True)


def test_the_same_release_twice_is_refused(root) -> None:
    """Where nothing is left to do, it exists."""
    carry_out(root, request_for(root))

    assert "exists" in str(refused(root, request_for(root)))


def test_a_lower_version_is_refused(root) -> None:
    """Unless it is meant."""
    carry_out(root, request_for(root, "v1.0.0"))
    write_run(root / "runs" / "conv2d_fsq-002", seed=1)
    (root / "CHANGELOG.md").write_text("## [Unreleased]\n- x\n")

    assert "is lower than the newest, v1.0.0" in str(refused(root, request_for(root, "0.9.0", "conv2d_fsq-002")))


def test_a_lower_version_can_be_meant(root) -> None:
    """--allow-older."""
    carry_out(root, request_for(root, "v1.0.0"))
    write_run(root / "runs" / "conv2d_fsq-002", seed=1)
    (root / "CHANGELOG.md").write_text("## [Unreleased]\n- x\n")

    assert carry_out(root, request_for(root, "0.9.0", "conv2d_fsq-002", allow_older=True)).folder.is_dir()


@pytest.mark.parametrize("force", [False, True])
def test_the_same_weights_are_refused_unless_forced(root, force) -> None:
    """A new number for old bytes is a mistake, mostly."""
    carry_out(root, request_for(root))
    (root / "CHANGELOG.md").write_text("## [Unreleased]\n- x\n")
    request = request_for(root, "v0.2.0", force=force)
    if force:
        assert carry_out(root, request).folder.is_dir()
    else:
        assert "has the very bytes of conv2d_fsq@v0.1.0" in str(refused(root, request))


@pytest.mark.parametrize("version", ["1.0", "v1.2.3.4", "latest", "v01.0.0", "", "v1.0.0_rc", "../v1.0.0"])
def test_no_semantic_version_is_refused(root, version) -> None:
    """Exit 5, nothing written."""
    assert refused(root, request_for(root, version)).exit_code == 5


@pytest.mark.parametrize("version", ["0.1.0", "v0.1.0", "v0.1.0-rc.1", "v0.1.0+build.5"])
def test_a_semantic_version_is_taken(root, version) -> None:
    """The v is optional; pre-releases are allowed."""
    assert carry_out(root, request_for(root, version)).version == version.removeprefix("v")


def test_a_missing_changelog_section_is_refused(root) -> None:
    """Exit 3, naming the heading."""
    error = refused(root, request_for(root, roll_changelog=False))

    assert (type(error), "has no section [v0.1.0]" in str(error)) == (InputError, True)


def test_an_empty_unreleased_is_refused(root) -> None:
    """There must be something to roll."""
    (root / "CHANGELOG.md").write_text("## [Unreleased]\n")

    assert "nothing under [Unreleased]" in str(refused(root, request_for(root)))


@pytest.mark.parametrize("name", ["CHANGELOG.md", "RELEASES.md"])
def test_a_missing_text_is_refused(root, name) -> None:
    """Both belong to a registry."""
    (root / name).unlink()

    assert f"{name}: is missing" in str(refused(root, request_for(root)))


def test_a_written_section_is_enough(root) -> None:
    """Without --roll-changelog a section of the tag is taken as it is."""
    (root / "CHANGELOG.md").write_text("## [v0.1.0] - today\n- x\n")

    assert "changelog" not in carry_out(root, request_for(root, roll_changelog=False)).steps


@pytest.mark.parametrize(
    ("gates", "problem"),
    [
        ({"accuracy": Gate(min=0.99)}, "gate accuracy: 0.* but must be at least 0.99"),
        ({"calibration.ece": Gate(max=0.0001)}, "gate calibration.ece: .* at most 0.0001"),
        ({"int8.snr_db": Gate(min=10)}, "gate int8.snr_db: no such number"),
        ({"classes": Gate(min=0)}, "gate classes: no such number"),
    ],
)
def test_a_failed_gate_is_refused(root, gates, problem) -> None:
    """Exit 9 with metric, value and bound; a missing metric fails."""
    before = tree(root)
    with pytest.raises(GateFailed, match=problem):
        carry_out(root, request_for(root), ProjectConfig(gates=gates))

    assert tree(root) == before


def test_met_gates_pass(root) -> None:
    """Bounds are inclusive, on any path."""
    gates = {"accuracy": Gate(min=0, max=1), "per_class.walk.support": Gate(min=1)}

    assert carry_out(root, request_for(root), ProjectConfig(gates=gates)).folder.is_dir()


def test_all_problems_come_at_once_under_the_lowest_code(root) -> None:
    """A failed gate (9), an existing version (5) and a missing section (3): exit 3, three problems."""
    carry_out(root, request_for(root))
    (root / "CHANGELOG.md").write_text("")
    write_run(root / "runs" / "conv2d_fsq-002", seed=1)
    gates = ProjectConfig(gates={"accuracy": Gate(min=0.99)})
    error = refused(root, request_for(root, run="conv2d_fsq-002", roll_changelog=False), gates)

    assert (error.exit_code, len(error.problems)) == (3, 3)


def test_an_unfinished_run_is_refused(root) -> None:
    """The message names the command that goes on."""
    write_run(root / "runs" / "conv2d_fsq-002", status="training")

    assert "modelreg train --resume" in str(refused(root, request_for(root, run="conv2d_fsq-002")))


def test_a_run_without_metrics_is_refused(root) -> None:
    """The message names the command that makes them."""
    (root / "runs/conv2d_fsq-001/eval_metrics.json").unlink()

    assert "modelreg evaluate" in str(refused(root, request_for(root)))


def test_improved_metrics_are_refused(root) -> None:
    """What would not verify is not released: exit 4, nothing written."""
    path = root / "runs/conv2d_fsq-001/eval_metrics.json"
    document = json.loads(path.read_text())
    path.write_bytes(files.to_json(document | {"accuracy": 0.9995}))

    assert isinstance(refused(root, request_for(root)), VerificationFailed)


def test_changed_weights_are_refused(root) -> None:
    """Weights changed after the training: exit 3."""
    with (root / "runs/conv2d_fsq-001/checkpoint.safetensors").open("ab") as file:
        file.write(b"x")

    assert "run.file-changed" in {problem.rule for problem in refused(root, request_for(root)).problems}


def test_a_broken_neighbour_is_refused_before_anything_is_written(root) -> None:
    """The table could not be written: exit 5, naming the version and the command that says more."""
    (root / "registry/conv2d_fsq/v0.0.1").mkdir(parents=True)
    error = refused(root, request_for(root))

    assert (error.exit_code, "conv2d_fsq@v0.0.1" in str(error), "modelreg verify" in str(error)) == (5, True, True)


def test_committed_assets_that_git_ignores_are_refused(root) -> None:
    """The manifest would say `git`, and a clone would lack them."""
    ports = under_git(root, ignored=frozenset({"checkpoint.safetensors"}))
    error = refused(root, request_for(root, commit=True), ProjectConfig(assets="committed"), ports)

    assert "checkpoint.safetensors: is ignored by git" in str(error)


def test_a_commit_needs_an_identity(root) -> None:
    """Git's own words come before anything is staged."""
    error = refused(root, request_for(root, commit=True), ports=under_git(root, identity="tell me who"))

    assert "git: tell me who" in str(error)


@pytest.mark.parametrize("path", ["CHANGELOG.md.orig", "registry/conv2d_fsq/v0.1.0.bak/x"])
def test_a_path_beside_the_release_is_not_part_of_it(root, path) -> None:
    """A finished release stays finished, whatever else lies around."""
    ports = under_git(root)
    carry_out(root, request_for(root, tag=True), PROJECT, ports)
    (root / path).parent.mkdir(exist_ok=True)
    (root / path).write_text("x")

    assert "exists" in str(refused(root, request_for(root, tag=True), ports=ports))


def test_no_run_is_refused(root) -> None:
    """A folder that is not a run."""
    assert [each.rule for each in refused(root, request_for(root, run="nothing")).problems] == ["run.not-a-run"]


@pytest.mark.parametrize("name", ["notes.txt", "CHANGELOG.md"])
def test_a_dirty_tree_is_refused(root, name) -> None:
    """Before anything is staged."""
    ports = under_git(root)
    with (root / name).open("a") as file:
        file.write("more\n")
    error = refused(root, request_for(root, tag=True), ports=ports)

    assert (type(error), f"{name}: is not committed" in str(error)) == (RegistryError, True)


def test_without_git_nothing_is_committed(root) -> None:
    """Exit 5, before anything is staged."""
    error = refused(root, request_for(root, tag=True), ports=Ports(now))

    assert (type(error), "is no git repository" in str(error)) == (RegistryError, True)


def test_a_tag_that_exists_is_refused(root) -> None:
    """Exit 5, before anything is staged."""
    error = refused(root, request_for(root, tag=True), ports=under_git(root, tags={"v0.1.0": 0}))

    assert (type(error), "v0.1.0: the tag exists" in str(error)) == (RegistryError, True)


def test_a_dirty_tree_without_commit_is_no_matter(root) -> None:
    """Only --commit and --tag need a clean tree."""
    ports = under_git(root)
    (root / "notes.txt").write_text("x")

    assert carry_out(root, request_for(root), ports=ports).folder.is_dir()


def test_tag_implies_commit(root) -> None:
    """A tag on a commit without the version would lie."""
    plan = planned(root, request_for(root, tag=True), PROJECT, under_git(root))

    assert plan.steps == ("version", "changelog", "table", "commit", "tag")


def test_an_interrupted_commit_is_finished(root) -> None:
    """Version, changelog and table are there, the commit is not: only the rest is planned."""
    ports = under_git(root)
    carry_out(root, request_for(root), ports=ports)
    plan = planned(root, request_for(root, tag=True), PROJECT, ports)

    assert plan.steps == ("commit", "tag")


def test_an_interrupted_tag_is_finished(root) -> None:
    """The commit is there, the tag is not."""
    ports = under_git(root)
    carry_out(root, request_for(root, commit=True), ports=ports)
    plan = planned(root, request_for(root, tag=True), PROJECT, ports)

    assert plan.steps == ("tag",)


@pytest.mark.parametrize(("model", "tag"), [("conv2d_fsq", "v1.0.0"), ("tcn_vae", "tcn_vae-v1.0.0")])
def test_other_models_carry_their_name_in_the_tag(model, tag) -> None:
    """Only the default model's tags are bare versions."""
    assert tag_of(PROJECT, model, "1.0.0") == tag


class Killed(BaseException):
    """What no `except` of ours catches, as SIGKILL."""


def kill_at(monkeypatch, number):
    """Let the process die at the n-th rename or fsync, the moments at which something comes to be."""
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
    """Carry out the release in a child that dies at the n-th write; say whether it died."""
    child = os.fork()
    if not child:
        kill_at(monkeypatch, number)
        carry_out(root, request_for(root))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.no_cover
def test_a_release_killed_at_any_write_is_finished_by_running_it_again(tmp_path, monkeypatch) -> None:
    """Whatever moment it died at, a plain second run gives the bytes of an uninterrupted one."""
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


def test_a_run_is_left_as_it_was(root) -> None:
    """Releasing reads a run and changes nothing in it."""
    before = tree(root / "runs")
    carry_out(root, request_for(root))

    assert tree(root / "runs") == before


def test_the_newest_run_is_the_highest_number(tmp_path) -> None:
    """Numbers count over all models."""
    for name in ("conv2d_fsq-002", "tcn_vae-010", "conv2d_fsq-009", "notes"):
        (tmp_path / name).mkdir()

    assert (runs.newest(tmp_path).name, runs.newest(tmp_path, "conv2d_fsq").name) == ("tcn_vae-010", "conv2d_fsq-009")


def test_the_next_run_has_the_next_number(tmp_path) -> None:
    """Over all models, from 001."""
    (tmp_path / "tcn_vae-010").mkdir()

    assert runs.next_folder(tmp_path, "conv2d_fsq").name == "conv2d_fsq-011"


def test_no_run_names_the_command_that_makes_one(tmp_path) -> None:
    """The next command is part of the message."""
    with pytest.raises(InputError, match="modelreg train"):
        runs.newest(tmp_path / "runs", "conv2d_fsq")
