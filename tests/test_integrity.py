"""integrity: whatever is wrong with a version is found, all of it at once."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from example_run import write_registry, write_run
from example_version import drop_bom, edit, make_version, reseal, reseal_sums
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as save_tensors

from modelreg import files
from modelreg.artifacts import npz, safetensors_file
from modelreg.errors import InputError
from modelreg.registry import filenames
from modelreg.verification import integrity


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A released version, made once."""
    root = write_registry(tmp_path_factory.mktemp("registry"))
    return make_version(root, write_run(root / "runs" / "conv2d_fsq-001"))


@pytest.fixture
def version(made, tmp_path):
    """A copy of it that a test may break."""
    return shutil.copytree(made, tmp_path / "conv2d_fsq" / "v0.1.0")


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


@pytest.mark.no_cover
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


@pytest.mark.parametrize("name", sorted(filenames.DOCUMENTS))
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
        (lambda files_: files_.pop(1), "does not list checkpoint.safetensors"),
        (lambda files_: files_.append({**files_[-1]}), "is listed 2 times"),
        (lambda files_: files_.append({**files_[-1], "path": "PREDICTIONS.npz"}), "differs only by case"),
        (lambda files_: files_.append({**files_[-1], "path": "manifest.json"}), "lists manifest.json"),
        (lambda files_: files_[0].update(stored="asset"), "bom.cdx.json must be stored in git"),
        (lambda files_: files_[2].update(stored="asset"), "data.json must be stored in git"),
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


# What a version cannot prove: which commit it was released at, when it was looked at, why training ended.
FREE = (
    "manifest.json: git",
    "run.json: stopped",
    "run.json: evaluations.0.at",
    "run.json: evaluations.0.environment",
)


def leaves(document, path=()):
    """Yield the path of every value that is no container."""
    for key, value in document.items() if isinstance(document, dict) else enumerate(document):
        if isinstance(value, dict | list):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def lie(value):
    """Return another value of the same kind, as one would who improves a document."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1 if isinstance(value, int) else value * 0.9 + 0.01
    return "0" * 64 if len(value) == 64 else f"{value}x"


def change(document, path):
    """Put a lie in place of the value at a path."""
    for key in path[:-1]:
        document = document[key]
    document[path[-1]] = "x" if document[path[-1]] is None else lie(document[path[-1]])


@pytest.mark.no_cover
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.data())
def test_a_lie_in_any_place_of_any_document_is_found(version, made, data) -> None:
    """One who changes a single value and makes manifest and sums fit again contradicts another document."""
    documents = ("manifest.json", "bom.cdx.json", *sorted(set(filenames.DOCUMENTS) - {"model_card.md"}))
    name = data.draw(st.sampled_from(documents))
    places = [path for path in leaves(json.loads((made / name).read_text())) if not is_free(name, path)]
    path = data.draw(st.sampled_from(places))
    edit(version / name, lambda document: change(document, path))
    try_reseal(version)
    found = problems(version)
    shutil.copytree(made, version, dirs_exist_ok=True)

    assert found, (name, path)


def is_free(name, path):
    """Say whether a place is one of those that a version cannot prove."""
    resealed = name == "manifest.json" and path[-1] in ("sha256", "size")
    return resealed or f"{name}: {'.'.join(map(str, path))}".startswith(FREE)


def try_reseal(version):
    """Make the digests fit, unless the manifest itself cannot be read any more."""
    try:
        reseal(version)
    except (InputError, FileNotFoundError):
        return


@pytest.mark.no_cover
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.data())
def test_another_digit_anywhere_in_the_card_is_found(version, made, data) -> None:
    """Numbers, subjects, looks, prose: the card is what the records render to."""
    text = (made / "model_card.md").read_text()
    place = data.draw(st.sampled_from([n for n, character in enumerate(text) if character.isdigit()]))
    other = data.draw(st.sampled_from("0123456789").filter(lambda digit: digit != text[place]))
    (version / "model_card.md").write_text(f"{text[:place]}{other}{text[place + 1 :]}")
    reseal(version)
    found = problems(version)
    shutil.copytree(made, version, dirs_exist_ok=True)

    assert found


@pytest.mark.parametrize(
    ("name", "change_", "problem"),
    [
        ("eval_metrics.json", lambda d: d["protocol"].update(part="train"), "protocol.part"),
        ("eval_metrics.json", lambda d: d["protocol"]["parts"].pop("test"), "'test' is a required property"),
        ("eval_metrics.json", lambda d: d.update(surprise=1), "surprise"),
        ("eval_metrics.json", lambda d: d.update(codes=None), "codes"),
        ("eval_metrics.json", lambda d: d["classes"].append("extra"), "per_class and confusion must have every class"),
        ("data.json", lambda d: d["parts"]["train"].update(subjects=["s4"]), "data.json"),
        ("data.json", lambda d: d["parts"]["train"].update(subjects=[]), "subjects"),
        ("data.json", lambda d: d["parts"]["test"].update(windows=999), "not the sum of class_windows"),
        ("normalization.json", lambda d: d.update(mean=[[0.0]]), "normalization.json: mean"),
        ("normalization.json", lambda d: d.update(per="device_channel", mean=[[0.0] * 2] * 2), "must have 1 rows of 2"),
        ("model_config.json", lambda d: d["classes"].append("extra"), "host_part.head.3.weight has shape"),
        ("model_config.json", lambda d: d["quantizer"].update(shift=[0.0]), "atanh"),
        ("provenance.json", lambda d: d["predicate"]["runDetails"].update(byproducts=[]), "byproducts"),
        ("provenance.json", lambda d: d.pop("predicate"), "'predicate' is a required property"),
        ("run.json", lambda d: d.update(evaluations=[]), "protocol.evaluations"),
        ("run.json", lambda d: d.update(status="training"), "run.json: status"),
    ],
)
def test_a_resealed_lie_is_named(version, name, change_, problem) -> None:
    """The message says which document, and what."""
    edit(version / name, change_)
    reseal(version)

    assert any(problem in found for found in problems(version)), problems(version)


def test_shared_subjects_are_named(version) -> None:
    """Numbers on people who were trained on, unless the split is by time, are no release."""
    for name, parts in (("data.json", lambda d: d["parts"]), ("eval_metrics.json", lambda d: d["protocol"]["parts"])):
        edit(version / name, lambda d, parts=parts: parts(d)["train"].update(subjects=["s4"]))
    reseal(version)

    assert any("s4 of the test part stand in another part too" in found for found in problems(version))


@pytest.mark.parametrize(
    ("change_", "problem"),
    [
        (lambda t: t.pop("device_part.bn1.weight"), "device_part.bn1.weight is missing"),
        (lambda t: t.update(extra=np.zeros(1, np.float32)), "extra is not a tensor of this network"),
        (
            lambda t: t.update({"host_part.head.0.bias": np.full(5, np.nan, np.float32)}),
            "host_part.head.0.bias holds NaN",
        ),
        (lambda t: t.update({"host_part.head.0.bias": np.zeros(5, np.float64)}), "the number format F64"),
        (
            lambda t: t.update({"host_part.head.0.bias": np.zeros((5, 1), np.float32)}),
            "has shape (5, 1), must have (5,)",
        ),
    ],
)
def test_weights_of_another_network_are_found(version, change_, problem) -> None:
    """Every name and shape is that of the network that model_config.json describes; every number is finite."""
    changed = {
        name: array.copy()
        for name, array in safetensors_file.read_safetensors(version / "checkpoint.safetensors").items()
    }
    change_(changed)
    (version / "checkpoint.safetensors").write_bytes(save_tensors(changed))
    reseal(version)

    assert any(problem in found for found in problems(version)), problems(version)


def test_the_same_window_many_times_is_found(version) -> None:
    """Predictions must be of distinct windows."""
    arrays = npz.read_npz(version / "predictions.npz")
    arrays["start"][:] = 0
    (version / "predictions.npz").write_bytes(npz.npz_bytes(arrays))
    reseal(version)

    assert any("distinct windows: is 2" in found for found in problems(version))


def test_predictions_without_codes_are_found(version) -> None:
    """The network has a quantizer, so its codes are part of what it answered."""
    arrays = npz.read_npz(version / "predictions.npz")
    del arrays["code"]
    (version / "predictions.npz").write_bytes(npz.npz_bytes(arrays))
    edit(version / "eval_metrics.json", lambda d: d.update(codes=None))
    reseal(version)

    assert "predictions.npz: holds no codes" in problems(version)


def test_a_front_matter_that_is_no_yaml_is_found(version) -> None:
    """With its place."""
    card = version / "model_card.md"
    card.write_text(card.read_text().replace("library_name: modelreg", "library_name: [", 1))
    reseal(version)

    assert any(found.startswith("front matter: line") for found in problems(version))


def test_a_configuration_of_an_older_modelreg_is_itself(version) -> None:
    """A key that came later is not part of what was sealed."""
    edit(version / "provenance.json", without_evaluation)
    config = json.loads((version / "provenance.json").read_text())["predicate"]["buildDefinition"]["externalParameters"]
    digest = files.sha256_bytes(files.to_json(config["config"]))
    edit(version / "run.json", lambda d: d["files"].update({"config.json": digest}))
    reseal(version)

    assert not [found for found in problems(version) if "provenance" in found and "evaluation" not in found]


def without_evaluation(document):
    """Take a part out of the stated configuration."""
    del document["predicate"]["buildDefinition"]["externalParameters"]["config"]["evaluation"]


def test_a_configuration_that_is_none_is_found(version) -> None:
    """With its dotted path."""
    edit(version / "provenance.json", lambda d: set_config(d, {"data": {"sources": []}}))
    reseal(version)

    assert any("provenance.json: config: data.sources" in found for found in problems(version))


def test_an_empty_configuration_is_found(version) -> None:
    """It is valid, as every key has a default, and not the one of the run."""
    edit(version / "provenance.json", lambda d: set_config(d, {}))
    reseal(version)

    assert any("provenance.json: config's sha256" in found for found in problems(version))


def set_config(document, config):
    """Replace the stated configuration."""
    document["predicate"]["buildDefinition"]["externalParameters"]["config"] = config


def test_a_version_behind_a_link_is_found(version) -> None:
    """The folder itself may not be a link."""
    moved = version.rename(version.parent / "elsewhere")
    version.symlink_to(moved)

    assert "v0.1.0: is a symbolic link" in problems(version)


def test_an_empty_folder_is_found(version) -> None:
    """Git would lose it."""
    (version / "empty").mkdir()

    assert problems(version) == ["empty: is not a regular file"]


@pytest.mark.parametrize("with_bom", [False, True])
def test_the_licence_stands_in_the_card_and_in_the_bill_of_materials(version, with_bom) -> None:
    """In a version without one, the card alone states it."""
    if not with_bom:
        drop_bom(version)
    card = version / "model_card.md"
    card.write_text(card.read_text().replace("library_name", "license: mit\nlibrary_name", 1))
    reseal(version)

    assert any("licenses" in found for found in problems(version)) is with_bom


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
    arrays = npz.read_npz(version / "predictions.npz")
    arrays["y"] = arrays["logits"].argmax(axis=1)
    (version / "predictions.npz").write_bytes(npz.npz_bytes(arrays))
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


def test_predictions_of_a_stranger_are_no_surprise_to_numpy(version) -> None:
    """Arrays of wrong shape are named, not crashed on."""
    arrays = npz.read_npz(version / "predictions.npz")
    arrays["logits"] = np.zeros((60, 7), dtype=np.float32)
    (version / "predictions.npz").write_bytes(npz.npz_bytes(arrays))
    edit(
        version / "eval_metrics.json", lambda d: d.update(predictions_sha256=files.sha256(version / "predictions.npz"))
    )
    reseal(version)

    assert any("logits" in found for found in problems(version))
