"""integrity: every fault of a version is found, and all faults are reported at once."""

import json
import re
import shutil
import subprocess
import time

import numpy as np
import pytest
from example_run import write_registry, write_run
from example_version import drop_bom, edit, make_version, reseal, reseal_sums
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import places
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
    """A copy of the version, for tests that change it."""
    return shutil.copytree(made, tmp_path / "conv2d_fsq" / "v0.1.0")


def problems(version, **options):
    """Return the place and the rule of each problem."""
    return places(integrity.inspect(version, **options).problems)


def where(version):
    """Return the places of the problems."""
    return [place for place, _ in problems(version)]


def test_a_released_version_has_no_problem(version) -> None:
    """Verify accepts what release creates, including assets."""
    assert problems(version, complete=True) == []


def test_sha256sum_agrees(version) -> None:
    """coreutils accepts the file in strict mode."""
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
    """A document that is stored in git is required."""
    (version / name).unlink()

    assert (name, "verify.file-missing") in problems(version)


@pytest.mark.parametrize("complete", [False, True])
def test_an_absent_asset_is_a_notice_unless_complete(version, complete) -> None:
    """A release asset may be missing on this machine, unless --complete is set."""
    (version / "checkpoint.safetensors").unlink()
    expected = [("checkpoint.safetensors", "version.asset-missing")] if complete else []

    assert problems(version, complete=complete) == expected


def test_an_absent_asset_is_noticed(version) -> None:
    """The notice names the file."""
    (version / "predictions.npz").unlink()

    assert [notice.where for notice in integrity.inspect(version).notices] == ["predictions.npz"]


def test_an_extra_file_is_found(version) -> None:
    """A file that the manifest does not list is a problem, also in a subfolder."""
    (version / "sub").mkdir()
    (version / "sub" / "x").write_text("x")

    assert problems(version) == [("sub/x", "verify.file-unexpected")]


def test_a_signature_may_be_added_later(version) -> None:
    """The manifest does not list the signature."""
    (version / "model.sig").write_text("{}")

    assert problems(version) == []


def test_a_signature_has_one_file_name(version) -> None:
    """A file with another name is unexpected."""
    (version / "payload.sig").write_text("{}")

    assert problems(version) == [("payload.sig", "verify.file-unexpected")]


def test_a_link_is_found(version) -> None:
    """A symbolic link is refused, also to a file with the right bytes."""
    (version / "eval_metrics.json").rename(version.parent / "elsewhere.json")
    (version / "eval_metrics.json").symlink_to(version.parent / "elsewhere.json")

    assert ("eval_metrics.json", "verify.symlink") in problems(version)


def test_a_linked_folder_is_found(version) -> None:
    """A link to a folder is refused and not followed."""
    (version / "sub").symlink_to("/etc")

    assert problems(version) == [("sub", "verify.symlink")]


def test_a_device_is_found(version) -> None:
    """A pipe is not a regular file."""
    import os

    os.mkfifo(version / "pipe")

    assert problems(version) == [("pipe", "files.not-regular")]


def test_a_version_in_the_wrong_place_is_found(version) -> None:
    """The folder's name must be the version of the manifest."""
    moved = version.rename(version.parent / "v0.2.0")

    assert problems(moved) == [("manifest.json", "manifest.name-mismatch")]


def test_a_broken_manifest_ends_the_search(version) -> None:
    """Without a manifest, nothing can be compared."""
    (version / "manifest.json").write_text("{}")

    assert (set(where(version)), integrity.inspect(version).files) == ({"manifest.json"}, 0)


def pad(version, entries: int, name: str = "extra/{:06d}.json") -> None:
    """Let the manifest list files that are not here: release assets."""
    path = version / filenames.MANIFEST
    document = json.loads(path.read_text())
    found = {"sha256": "a" * 64, "size": 1, "stored": "asset"}
    document["files"] += [{"path": name.format(number), **found} for number in range(entries)]
    document["files"].sort(key=lambda entry: entry["path"])
    path.write_bytes(files.to_json(document))


def test_the_time_of_verify_is_proportional_to_the_entries(version) -> None:
    """Once it grew with their square: 9,000 took more than a minute."""
    pad(version, 9_000)
    began = time.perf_counter()
    found = integrity.inspect(version)

    assert (len(found.absent), time.perf_counter() - began < 15) == (9_000, True)


def test_a_manifest_of_a_hundred_thousand_entries_is_refused_by_its_size(version) -> None:
    """Nothing of it is parsed."""
    pad(version, 100_000, "{}")

    assert problems(version) == [(str(version / filenames.MANIFEST), "files.too-large")]


def test_missing_sums_are_found(version) -> None:
    """sha256sum.txt is part of a version."""
    (version / "sha256sum.txt").unlink()

    assert problems(version) == [("sha256sum.txt", "verify.file-missing")]


def test_changed_sums_are_found(version) -> None:
    """sha256sum.txt must have the digests of the manifest."""
    (version / "sha256sum.txt").write_text("x")

    assert problems(version) == [("sha256sum.txt", "verify.sums-mismatch")]


def test_sums_that_are_too_large_to_read_are_a_mismatch(version) -> None:
    """Nothing else that is wrong is left out for them."""
    (version / "sha256sum.txt").write_bytes(b"x" * (files.DOCUMENT_LIMIT + 1))
    (version / "other.txt").write_text("x")

    assert set(problems(version)) == {
        ("sha256sum.txt", "verify.sums-mismatch"),
        ("other.txt", "verify.file-unexpected"),
    }


@pytest.mark.parametrize(("data", "rule"), [(b"xx", "verify.size-mismatch"), (None, "verify.digest-mismatch")])
def test_changed_bytes_are_found(version, data, rule) -> None:
    """A size is compared first, then the digest."""
    path = version / "checkpoint.safetensors"
    path.write_bytes(data or bytes(reversed(path.read_bytes())))

    assert problems(version) == [("checkpoint.safetensors", rule)]


@pytest.mark.parametrize(
    ("change", "rule", "named"),
    [
        (lambda files_: files_.reverse(), "manifest.not-sorted", ""),
        (lambda files_: files_.pop(1), "manifest.file-unlisted", "checkpoint.safetensors"),
        (lambda files_: files_.append({**files_[-1]}), "manifest.path-duplicate", " 2 times"),
        (lambda files_: files_.append({**files_[-1], "path": "PREDICTIONS.npz"}), "manifest.path-duplicate", ""),
        (lambda files_: files_.append({**files_[-1], "path": "manifest.json"}), "manifest.file-unexpected", ""),
        (lambda files_: files_[0].update(stored="asset"), "manifest.stored-invalid", "bom.cdx.json"),
        (lambda files_: files_[2].update(stored="asset"), "manifest.stored-invalid", "data.json"),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_found(version, change, rule, named) -> None:
    """Order, completeness, uniqueness."""
    edit(version / "manifest.json", lambda document: change(document["files"]))
    reseal_sums(version)
    found = integrity.inspect(version).problems

    assert any(each.where == "manifest.json" and each.rule == rule and named in each.message for each in found)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a\\b", "a//b", "./a", "a/../b", "a\x00b", ".hidden", ""])
def test_a_path_cannot_escape(version, path) -> None:
    """A manifest with such a path is refused."""
    edit(version / "manifest.json", lambda document: document["files"][0].update(path=path))

    assert "manifest.json: files.0.path" in str(integrity.inspect(version).problems[0])


# Values that a version cannot prove: the commit of the release, the time of the evaluation, why training stopped.
FREE = (
    "manifest.json: git",
    "run.json: stopped",
    "run.json: evaluations.0.at",
    "run.json: evaluations.0.environment",
)


def leaves(document, path=()):
    """Yield the path of every value that is not a container."""
    for key, value in document.items() if isinstance(document, dict) else enumerate(document):
        if isinstance(value, dict | list):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def lie(value):
    """Return another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1 if isinstance(value, int) else value * 0.9 + 0.01
    return "0" * 64 if len(value) == 64 else f"{value}x"


def change(document, path):
    """Replace the value at a path."""
    for key in path[:-1]:
        document = document[key]
    document[path[-1]] = "x" if document[path[-1]] is None else lie(document[path[-1]])


@pytest.mark.no_cover
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.data())
def test_any_changed_value_of_any_document_is_found(version, made, data) -> None:
    """A changed value contradicts another document, even if the manifest and the sums are made to fit."""
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
    """Return whether a value is one that a version cannot prove."""
    resealed = name == "manifest.json" and path[-1] in ("sha256", "size")
    return resealed or f"{name}: {'.'.join(map(str, path))}".startswith(FREE)


def try_reseal(version):
    """Make the digests fit, unless the manifest can no longer be read."""
    try:
        reseal(version)
    except (InputError, FileNotFoundError):
        return


@pytest.mark.no_cover
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.data())
def test_another_digit_anywhere_in_the_card_is_found(version, made, data) -> None:
    """The card is compared with the text that the records render to."""
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
        ("eval_metrics.json", lambda d: d["protocol"]["parts"].pop("test"), "protocol.parts"),
        ("eval_metrics.json", lambda d: d.update(surprise=1), "surprise"),
        ("eval_metrics.json", lambda d: d.update(codes=None), "codes"),
        ("eval_metrics.json", lambda d: d["classes"].append("extra"), "per_class"),
        ("data.json", lambda d: d["parts"]["train"].update(subjects=["s4"]), "data.json"),
        ("data.json", lambda d: d["parts"]["train"].update(subjects=[]), "subjects"),
        ("data.json", lambda d: d["parts"]["test"].update(windows=999), "class_windows"),
        ("normalization.json", lambda d: d.update(mean=[[0.0]]), "normalization.json: channels in each row of mean"),
        ("normalization.json", lambda d: d.update(per="device_channel", mean=[[0.0] * 2] * 2), "found [2, 2]"),
        ("model_config.json", lambda d: d["classes"].append("extra"), "host_part.head.3.weight: shape"),
        ("model_config.json", lambda d: d["quantizer"].update(shift=[0.0]), "quantizer.shift"),
        ("provenance.json", lambda d: d["predicate"]["runDetails"].update(byproducts=[]), "byproducts"),
        ("provenance.json", lambda d: d.pop("predicate"), "'predicate'"),
        ("run.json", lambda d: d.update(evaluations=[]), "protocol.evaluations"),
        ("run.json", lambda d: d.update(status="training"), "run.json: status"),
    ],
)
def test_a_changed_value_with_matching_digests_is_named(version, name, change_, problem) -> None:
    """The problem names the document and the value."""
    edit(version / name, change_)
    reseal(version)
    found = list(map(str, integrity.inspect(version).problems))

    assert any(problem in text for text in found), found


def test_test_subjects_in_another_split_are_named(version) -> None:
    """Unless the split is by time, a version must not be tested on training subjects."""
    for name, parts in (("data.json", lambda d: d["parts"]), ("eval_metrics.json", lambda d: d["protocol"]["parts"])):
        edit(version / name, lambda d, parts=parts: parts(d)["train"].update(subjects=["s4"]))
    reseal(version)

    found = [each for each in integrity.inspect(version).problems if each.rule == "verify.test-subject-known"]

    assert places(found) == [("eval_metrics.json: protocol.known_subjects", "verify.test-subject-known")]
    assert " s4 " in found[0].message


@pytest.mark.parametrize(
    ("name", "array", "rule"),
    [
        ("device_part.bn1.weight", None, "checkpoint.tensor-missing"),
        ("extra", np.zeros(1, np.float32), "checkpoint.tensor-unexpected"),
        ("host_part.head.0.bias", np.full(5, np.nan, np.float32), "checkpoint.non-finite"),
        ("host_part.head.0.bias", np.zeros(5, np.float64), "checkpoint.tensor-mismatch"),
        ("host_part.head.0.bias", np.zeros((5, 1), np.float32), "checkpoint.tensor-mismatch"),
    ],
)
def test_weights_of_another_network_are_found(version, name, array, rule) -> None:
    """Names and shapes must be those of the network in model_config.json, and every number must be finite."""
    tensors = {**safetensors_file.read_safetensors(version / "checkpoint.safetensors"), name: array}
    changed = {key: tensor.copy() for key, tensor in tensors.items() if tensor is not None}
    (version / "checkpoint.safetensors").write_bytes(save_tensors(changed))
    reseal(version)

    assert (f"checkpoint.safetensors: {name}", rule) in problems(version)


def test_the_same_window_many_times_is_found(version) -> None:
    """Predictions must be of distinct windows."""
    arrays = npz.read_npz(version / "predictions.npz")
    arrays["start"][:] = 0
    (version / "predictions.npz").write_bytes(npz.npz_bytes(arrays))
    reseal(version)

    (found,) = [each for each in integrity.inspect(version).problems if "distinct windows" in each.where]

    assert (found.rule, "found 2," in found.message) == ("verify.record-mismatch", True)


def test_predictions_without_codes_are_found(version) -> None:
    """The network has a quantizer, so that its codes are part of the predictions."""
    arrays = npz.read_npz(version / "predictions.npz")
    del arrays["code"]
    (version / "predictions.npz").write_bytes(npz.npz_bytes(arrays))
    edit(version / "eval_metrics.json", lambda d: d.update(codes=None))
    reseal(version)

    assert ("predictions.npz: codes", "verify.record-mismatch") in problems(version)


def test_front_matter_that_is_not_yaml_is_found(version) -> None:
    """The problem names the line and the column."""
    card = version / "model_card.md"
    card.write_text(card.read_text().replace("library_name: modelreg", "library_name: [", 1))
    reseal(version)

    (found,) = [place for place, rule in problems(version) if rule == "config.yaml-syntax"]

    assert re.fullmatch(r"front matter:\d+:\d+", found)


def test_a_configuration_of_an_earlier_modelreg_keeps_its_digest(version) -> None:
    """Keys that were added later are not part of it."""
    edit(version / "provenance.json", without_evaluation)
    config = json.loads((version / "provenance.json").read_text())["predicate"]["buildDefinition"]["externalParameters"]
    digest = files.sha256_bytes(files.to_json(config["config"]))
    edit(version / "run.json", lambda d: d["files"].update({"config.json": digest}))
    reseal(version)

    assert not [place for place in where(version) if "provenance" in place and "evaluation" not in place]


def without_evaluation(document):
    """Remove a section from the stated configuration."""
    del document["predicate"]["buildDefinition"]["externalParameters"]["config"]["evaluation"]


def test_an_invalid_configuration_is_found(version) -> None:
    """The problem names the dotted path."""
    edit(version / "provenance.json", lambda d: set_config(d, {"data": {"sources": []}}))
    reseal(version)

    assert any("provenance.json: config: data.sources" in str(each) for each in integrity.inspect(version).problems)


def test_an_empty_configuration_is_found(version) -> None:
    """It is valid, because every key has a default, but it differs from the run's."""
    edit(version / "provenance.json", lambda d: set_config(d, {}))
    reseal(version)

    assert ("provenance.json: config's sha256", "verify.record-mismatch") in problems(version)


def set_config(document, config):
    """Replace the stated configuration."""
    document["predicate"]["buildDefinition"]["externalParameters"]["config"] = config


def test_a_version_behind_a_link_is_found(version) -> None:
    """The folder must not be a link."""
    moved = version.rename(version.parent / "elsewhere")
    version.symlink_to(moved)

    assert ("v0.1.0", "verify.symlink") in problems(version)


def test_an_empty_folder_is_found(version) -> None:
    """Git does not store empty folders."""
    (version / "empty").mkdir()

    assert problems(version) == [("empty", "files.not-regular")]


@pytest.mark.parametrize("with_bom", [False, True])
def test_the_license_is_in_the_card_and_in_the_bill_of_materials(version, with_bom) -> None:
    """In a version without a bill of materials, only the card states it."""
    if not with_bom:
        drop_bom(version)
    card = version / "model_card.md"
    card.write_text(card.read_text().replace("library_name", "license: mit\nlibrary_name", 1))
    reseal(version)

    assert any("licenses" in str(found) for found in integrity.inspect(version).problems) is with_bom


def test_a_card_that_is_not_text_is_found(version) -> None:
    """A binary file with the name of the card."""
    (version / "model_card.md").write_bytes(b"\xff\xfe")
    reseal(version)

    assert "model_card.md" in where(version)


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "predictions.npz"])
def test_a_text_stub_under_a_binary_name_is_found(version, name) -> None:
    """A placeholder is refused, even if all digests match."""
    (version / name).write_text("placeholder: the real file is on the share\n")
    reseal(version)

    assert name in where(version)


def test_other_predictions_are_found(version) -> None:
    """Predictions that were changed after the evaluation contradict the metrics."""
    arrays = npz.read_npz(version / "predictions.npz")
    arrays["y"] = arrays["logits"].argmax(axis=1)
    (version / "predictions.npz").write_bytes(npz.npz_bytes(arrays))
    edit(
        version / "eval_metrics.json", lambda d: d.update(predictions_sha256=files.sha256(version / "predictions.npz"))
    )
    reseal(version)

    assert ("eval_metrics.json: accuracy", "verify.value-mismatch") in problems(version)


def test_all_problems_come_at_once(version) -> None:
    """Three faults give three problems."""
    (version / "model_card.md").unlink()
    (version / "extra").write_text("x")
    with (version / "checkpoint.safetensors").open("ab") as file:
        file.write(b"x")

    assert len(problems(version)) == 3


def test_inspecting_writes_nothing(version) -> None:
    """Names, sizes and times do not change."""

    def snapshot():
        return {p.name: (p.stat().st_size, p.stat().st_mtime_ns) for p in version.iterdir()}

    before = snapshot()
    integrity.inspect(version)

    assert snapshot() == before


def test_predictions_with_a_wrong_shape_are_a_problem(version) -> None:
    """The array is named, and nothing crashes."""
    arrays = npz.read_npz(version / "predictions.npz")
    arrays["logits"] = np.zeros((60, 7), dtype=np.float32)
    (version / "predictions.npz").write_bytes(npz.npz_bytes(arrays))
    edit(
        version / "eval_metrics.json", lambda d: d.update(predictions_sha256=files.sha256(version / "predictions.npz"))
    )
    reseal(version)

    assert any("logits" in place for place in where(version))
