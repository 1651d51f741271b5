"""integrity: whatever is wrong with a version is found, all of it at once."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from example_run import NOW, write_registry, write_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelreg import files, integrity, registry, release
from modelreg.config import ProjectConfig


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A released version, made once."""
    root = write_registry(tmp_path_factory.mktemp("registry"))
    return make_version(root, write_run(root / "runs" / "conv2d_fsq-001"))


@pytest.fixture
def version(made, tmp_path):
    """A copy of it that a test may break."""
    return shutil.copytree(made, tmp_path / "conv2d_fsq" / "v0.1.0")


def make_version(root, run):
    """Release v0.1.0 of a run."""
    situation = release.Situation(now=NOW, git=None)
    request = release.Request("v0.1.0", run, roll_changelog=True)
    plan = release.plan(root, request, ProjectConfig(), situation)
    release.make_version(plan, ProjectConfig(), situation)
    return plan.folder


def edit(path, change):
    """Change a JSON document in place."""
    document = json.loads(path.read_text())
    change(document)
    path.write_bytes(files.to_json(document))


def reseal(version):
    """Make manifest and sums fit the files again, as one who tampers would."""

    def update(document):
        for entry in document["files"]:
            path = version / entry["path"]
            entry["sha256"], entry["size"] = files.sha256(path), path.stat().st_size

    edit(version / "manifest.json", update)
    reseal_sums(version)


def reseal_sums(version):
    """Make sha256sum.txt fit the manifest again."""
    manifest = registry.load(version / "manifest.json", registry.Manifest)
    sums = registry.sums_text(manifest, files.sha256(version / "manifest.json"))
    (version / "sha256sum.txt").write_text(sums)


def problems(version, **options):
    """What inspect finds, as text."""
    return [str(problem) for problem in integrity.inspect(version, **options).problems]


def test_a_released_version_has_no_problem(version) -> None:
    """What release made, verify accepts, assets included."""
    assert problems(version, complete=True) == []


def test_sha256sum_agrees(version) -> None:
    """The list satisfies coreutils, strictly."""
    done = subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "sha256sum.txt"], cwd=version, check=False)

    assert done.returncode == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
@given(st.data())
def test_any_flipped_bit_is_found(version, data) -> None:
    """In any file, at any place."""
    path = data.draw(st.sampled_from(sorted(version.iterdir())))
    original = path.read_bytes()
    position, bit = data.draw(st.integers(0, len(original) - 1)), data.draw(st.integers(0, 7))
    broken = bytearray(original)
    broken[position] ^= 1 << bit
    path.write_bytes(broken)
    found = problems(version)
    path.write_bytes(original)

    assert found


@pytest.mark.parametrize("name", sorted(registry.DOCUMENTS))
def test_a_missing_document_is_found(version, name) -> None:
    """A document that lives in git must be there."""
    (version / name).unlink()

    assert f"{name}: is missing" in problems(version)


@pytest.mark.parametrize("complete", [False, True])
def test_an_absent_asset_is_a_notice_unless_complete(version, complete) -> None:
    """An asset may be elsewhere, unless all of them are asked for."""
    (version / "checkpoint.safetensors").unlink()

    assert bool(problems(version, complete=complete)) is complete


def test_an_absent_asset_is_noticed(version) -> None:
    """The notice names the file."""
    (version / "predictions.npz").unlink()

    assert [notice.where for notice in integrity.inspect(version).notices] == ["predictions.npz"]


def test_an_extra_file_is_found(version) -> None:
    """What the manifest does not list is a problem, also in a folder."""
    (version / "sub").mkdir()
    (version / "sub" / "x").write_text("x")

    assert problems(version) == ["sub/x: is not in the manifest"]


def test_a_signature_may_join_later(version) -> None:
    """The one file that the manifest does not list."""
    (version / "model.sig").write_text("{}")

    assert problems(version) == []


def test_only_one_name_is_that_of_a_signature(version) -> None:
    """Any other file is an extra file."""
    (version / "payload.sig").write_text("{}")

    assert problems(version) == ["payload.sig: is not in the manifest"]


def test_a_link_is_found(version) -> None:
    """A symbolic link is refused even where it leads to the right bytes."""
    (version / "eval_metrics.json").rename(version.parent / "elsewhere.json")
    (version / "eval_metrics.json").symlink_to(version.parent / "elsewhere.json")

    assert "eval_metrics.json: is a symbolic link" in problems(version)


def test_a_linked_folder_is_found(version) -> None:
    """A link to a folder is refused and not followed."""
    (version / "sub").symlink_to("/etc")

    assert problems(version) == ["sub: is a symbolic link"]


def test_a_device_is_found(version) -> None:
    """A pipe is no file."""
    import os

    os.mkfifo(version / "pipe")

    assert problems(version) == ["pipe: is not a regular file"]


def test_a_version_in_the_wrong_place_is_found(version) -> None:
    """The folder's name is part of what a version says."""
    moved = version.rename(version.parent / "v0.2.0")

    assert "the folder is that of conv2d_fsq v0.2.0" in problems(moved)[0]


def test_a_broken_manifest_ends_the_search(version) -> None:
    """Without a manifest nothing can be compared."""
    (version / "manifest.json").write_text("{}")

    assert "manifest.json: 'files' is a required property" in problems(version)


def test_missing_sums_are_found(version) -> None:
    """sha256sum.txt belongs to a version."""
    (version / "sha256sum.txt").unlink()

    assert problems(version) == ["sha256sum.txt: is missing"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda files_: files_.reverse(), "not sorted"),
        (lambda files_: files_.pop(0), "does not list checkpoint.safetensors"),
        (lambda files_: files_.append({**files_[-1]}), "is listed 2 times"),
        (lambda files_: files_.append({**files_[-1], "path": "PREDICTIONS.npz"}), "differs only by case"),
        (lambda files_: files_.append({**files_[-1], "path": "manifest.json"}), "lists manifest.json"),
        (lambda files_: files_[1].update(stored="asset"), "eval_metrics.json must be stored in git"),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_found(version, change, problem) -> None:
    """Order, completeness, uniqueness."""
    edit(version / "manifest.json", lambda document: change(document["files"]))
    reseal_sums(version)

    assert any(problem in found for found in problems(version))


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a\\b", "a//b", "./a", "a/../b", "a\x00b", ".hidden", ""])
def test_a_path_cannot_escape(version, path) -> None:
    """Such a manifest is not even read."""
    edit(version / "manifest.json", lambda document: document["files"][0].update(path=path))

    assert "manifest.json: files.0.path" in problems(version)[0]


TAMPERED = [
    ("eval_metrics.json", lambda d: d.update(accuracy=0.9995), "eval_metrics.json: accuracy"),
    ("eval_metrics.json", lambda d: d["per_class"]["walk"].update(f1=0.99), "per_class.walk.f1"),
    ("eval_metrics.json", lambda d: d.update(classes=["a", "b", "c"]), "eval_metrics.json: classes"),
    ("eval_metrics.json", lambda d: d.update(parameters=1), "eval_metrics.json: parameters"),
    ("eval_metrics.json", lambda d: d.update(checkpoint_sha256="0" * 64), "computed from another checkpoint"),
    ("eval_metrics.json", lambda d: d.update(predictions_sha256="0" * 64), "computed from another predictions"),
    (
        "eval_metrics.json",
        lambda d: d["protocol"]["parts"]["test"].update(digest="0" * 64),
        "the test part is not the one",
    ),
    ("eval_metrics.json", lambda d: d["protocol"]["parts"]["train"].update(digest="0" * 64), "was not fitted on"),
    (
        "eval_metrics.json",
        lambda d: d["protocol"]["parts"]["test"].update(subjects=["s4"]),
        "subject s5 is either not in",
    ),
    ("eval_metrics.json", lambda d: d["protocol"]["parts"]["train"].update(subjects=["s4"]), "stand in another part"),
    (
        "eval_metrics.json",
        lambda d: d["protocol"]["parts"]["test"]["class_windows"].update(walk=99),
        "has 20 windows of walk",
    ),
    ("eval_metrics.json", lambda d: d["protocol"]["parts"].pop("test"), "'test' is a required property"),
    ("eval_metrics.json", lambda d: d.update(surprise=1), "surprise"),
    ("normalization.json", lambda d: d["channels"].reverse(), "normalization.json: channels"),
    ("normalization.json", lambda d: d.update(rate_hz=25.0), "normalization.json: rate_hz"),
    ("normalization.json", lambda d: d.update(mean=[[0.0]]), "normalization.json: mean"),
    ("normalization.json", lambda d: d["std"][0].__setitem__(0, 0.0), "std.0.0"),
    ("model_config.json", lambda d: d.update(parameters=80), "checkpoint.safetensors: holds 79 parameters"),
    ("model_config.json", lambda d: d["classes"].append("extra"), "no head of 4 classes"),
    ("model_config.json", lambda d: d["input"]["channels"].append({"name": "az", "unit": "g"}), "3 input channels"),
    ("provenance.json", lambda d: d["subject"][0]["digest"].update(sha256="0" * 64), "its subject is another"),
    ("provenance.json", lambda d: d.pop("predicate"), "'predicate' is a required property"),
]


@pytest.mark.parametrize(("name", "change", "problem"), TAMPERED)
def test_a_resealed_lie_is_found(version, name, change, problem) -> None:
    """One who changes a document and all digests still contradicts the other documents."""
    edit(version / name, change)
    reseal(version)

    assert any(problem in found for found in problems(version)), problems(version)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("  - type: accuracy\n          name: accuracy", None, None),
        ("| accuracy | ", "| accuracy | 9", "table of each metric: accuracy"),
        ("| walk | ", "| walk | 9", "table of each class: walk"),
        ("model-index", "model-indices", "no front matter with a model-index"),
        ("library_name: modelreg", "library_name: [", "front matter"),
    ],
)
def test_a_card_that_lies_is_found(version, old, new, problem) -> None:
    """The card's numbers are held against the metrics."""
    card = version / "model_card.md"
    if new is None:
        text = card.read_text()
        value = json.loads((version / "eval_metrics.json").read_text())["accuracy"]
        old, new, problem = f"value: {value}", "value: 0.9995", "model-index: accuracy"
        assert old in text
    card.write_text(card.read_text().replace(old, new, 1))
    reseal(version)

    assert any(problem in found for found in problems(version))


def test_a_card_that_is_not_text_is_found(version) -> None:
    """A binary under the name of the card."""
    (version / "model_card.md").write_bytes(b"\xff\xfe")
    reseal(version)

    assert "model_card.md: not UTF-8 at byte 0" in problems(version)


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "predictions.npz"])
def test_a_text_stub_under_a_binary_name_is_found(version, name) -> None:
    """A placeholder with all its digests right is still no checkpoint and no predictions."""
    (version / name).write_text("placeholder: the real file is on the share\n")
    reseal(version)

    assert any(found.startswith(f"{name}: ") for found in problems(version))


def test_other_predictions_are_found(version) -> None:
    """Predictions that were improved after the fact contradict the metrics."""
    arrays = files.read_npz(version / "predictions.npz")
    arrays["y"] = arrays["logits"].argmax(axis=1)
    (version / "predictions.npz").write_bytes(files.npz_bytes(arrays))
    edit(
        version / "eval_metrics.json", lambda d: d.update(predictions_sha256=files.sha256(version / "predictions.npz"))
    )
    reseal(version)

    assert any(found.startswith("eval_metrics.json: accuracy: ") for found in problems(version))


def test_all_problems_come_at_once(version) -> None:
    """Three faults, three problems."""
    (version / "model_card.md").unlink()
    (version / "extra").write_text("x")
    with (version / "checkpoint.safetensors").open("ab") as file:
        file.write(b"x")

    assert len(problems(version)) == 3


def test_inspecting_writes_nothing(version) -> None:
    """Names, sizes and times are what they were."""

    def snapshot():
        return {p.name: (p.stat().st_size, p.stat().st_mtime_ns) for p in version.iterdir()}

    before = snapshot()
    integrity.inspect(version)

    assert snapshot() == before


def test_per_device_normalization_needs_a_row_each(version) -> None:
    """With `device_channel` there is one row for each device."""
    edit(version / "normalization.json", lambda d: d.update(per="device_channel", mean=[[0.0, 0.0]] * 2))
    reseal(version)

    assert "normalization.json: mean: must have 1 rows of 2 channels" in problems(version)


def test_predictions_of_a_stranger_are_no_surprise_to_numpy(version) -> None:
    """Arrays of wrong shape are named, not crashed on."""
    arrays = files.read_npz(version / "predictions.npz")
    arrays["logits"] = np.zeros((60, 7), dtype=np.float32)
    (version / "predictions.npz").write_bytes(files.npz_bytes(arrays))
    edit(
        version / "eval_metrics.json", lambda d: d.update(predictions_sha256=files.sha256(version / "predictions.npz"))
    )
    reseal(version)

    assert any("logits" in found for found in problems(version))
