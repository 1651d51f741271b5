"""Graphs and bundles in a version: every contradiction and every damage is found without onnx or torch."""

import io

import numpy as np
import pytest
from example_export import SPEC, calibration, graph, write_export
from example_run import data_record
from places import places

from modelreg import files
from modelreg.artifacts import bundle_archive, exports, graph_interface, onnx_file
from modelreg.errors import Problem
from modelreg.records.base import load
from modelreg.records.export import BundleRecord, ParityRecord
from modelreg.records.int8 import Int8Estimate
from modelreg.registry import filenames
from modelreg.registry.filenames import ARCHIVE, BUNDLE, INT8, PARITY, VECTORS
from modelreg.verification import exports as export_checks
from modelreg.verification.exports import find_calibration_problems
from modelreg.verification.version_files import VersionFiles

VERSION = "0.2.0"
WEIGHTS, SCALE = "c" * 64, files.sha256_bytes(b"{}")
KNOWN = graph_interface.metadata(SPEC, {filenames.CHECKPOINT: WEIGHTS, filenames.NORMALIZATION: SCALE})


@pytest.fixture
def run(tmp_path):
    """A run with graphs and a bundle."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / filenames.NORMALIZATION).write_bytes(b"{}")
    return write_export(tmp_path / "run", WEIGHTS)


class Stored:
    """A version's folder, whose documents can be replaced."""

    def __init__(self, run) -> None:
        self.folder = run.parent / "version"
        for target in ("onnx", "hailo8"):
            for name, data in exports.for_version(run, target, VERSION).items():
                self.put(name, data)

    def put(self, name: str, data: bytes) -> None:
        """Write a file."""
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(data)

    def change(self, name: str, record, **changes) -> None:
        """Change a document."""
        document = load(self.folder / name, record)
        self.put(name, document.model_copy(update=changes).to_bytes())

    def problems(self, absent=()) -> list[Problem]:
        """Return the problems of the version."""
        paths = [p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file()]
        digests = {path: files.sha256(self.folder / path) for path in paths}
        known = {**digests, filenames.CHECKPOINT: WEIGHTS, filenames.NORMALIZATION: SCALE}
        here = VersionFiles(self.folder, VERSION, known, frozenset(paths) - set(absent))
        bundles = export_checks.find_bundle_problems(here, SPEC, data_record())
        return [*export_checks.find_graph_problems(here, SPEC), *bundles]

    def places(self) -> list[tuple[str, str]]:
        """Return the place and the rule of each problem."""
        return places(self.problems())


@pytest.fixture
def stored(run):
    """A version of the run."""
    return Stored(run)


def test_a_version_of_a_run_has_no_problem(stored) -> None:
    """The other tests change one value each."""
    assert stored.problems() == []


def test_a_complete_export_has_no_problem(run) -> None:
    """For both targets."""
    assert [*exports.find_changed(run, "onnx"), *exports.find_changed(run, "hailo8")] == []


@pytest.mark.parametrize("name", ["onnx/head.onnx", "hailo8/calibration.npy"])
def test_a_missing_file_of_an_export_is_named(run, name) -> None:
    """With its rule."""
    (run / name).unlink()

    assert places(exports.find_changed(run, name.split("/")[0])) == [(name, "export.file-missing")]


@pytest.mark.parametrize("name", ["onnx/head.onnx", "hailo8/calibration.npy"])
def test_a_changed_file_of_an_export_is_named(run, name) -> None:
    """With its rule."""
    (run / name).write_bytes(b"other")

    assert places(exports.find_changed(run, name.split("/")[0])) == [(name, "export.file-changed")]


@pytest.mark.parametrize(("target", "name"), [("onnx", PARITY), ("hailo8", BUNDLE)])
def test_a_record_that_cannot_be_read_is_named(run, target, name) -> None:
    """An export needs its record."""
    (run / target / name).write_bytes(b"{}")

    assert list(exports.find_changed(run, target))


@pytest.mark.parametrize("name", [f"onnx/{PARITY}", f"hailo8/{BUNDLE}"])
def test_a_record_of_a_version_that_cannot_be_read_is_a_problem(stored, name) -> None:
    """The problem names the document."""
    stored.put(name, b"{}")

    assert name.split("/")[1] in {problem.where for problem in stored.problems()}


@pytest.mark.parametrize(
    ("changes", "place", "rule", "named"),
    [
        ({"model": "other"}, "parity.json: model", "verify.record-mismatch", "found other"),
        ({"checkpoint_sha256": "0" * 64}, "parity.json: checkpoint_sha256", "verify.record-mismatch", "found 0000"),
        ({"normalization_sha256": "0" * 64}, "parity.json: normalization_sha256", "verify.record-mismatch", "0000"),
        ({"opset": 18}, "encoder.onnx: opset", "verify.record-mismatch", "found 17, expected 18"),
        ({"graphs": {}}, "parity.json: graphs", "verify.record-mismatch", "'encoder', 'head', 'model'"),
        ({"windows": 99}, "parity.json: whole.argmax_compared", "export.parity-not-proven", "99"),
    ],
)
def test_a_changed_value_of_the_parity_record_is_found(stored, changes, place, rule, named) -> None:
    """It is compared with the version and the graphs."""
    stored.change(f"onnx/{PARITY}", ParityRecord, **changes)

    assert any(
        (found.where, found.rule) == (f"onnx/{place}", rule) and named in found.message for found in stored.problems()
    )


@pytest.mark.parametrize(("key", "value"), [("model", "other"), ("checkpoint_sha256", "0" * 64), ("windows", 59)])
def test_a_changed_value_of_the_estimate_is_found(stored, key, value) -> None:
    """It is compared with the version and with the bundle."""
    stored.change(f"hailo8/{INT8}", Int8Estimate, **{key: value})

    assert set(stored.places()) == {
        ("hailo8/bundle.json: files: int8.json", "verify.record-mismatch"),
        (f"hailo8/int8.json: {key}", "verify.record-mismatch"),
        ("hailo8/int8.json: int8 of bundle.json", "verify.record-mismatch"),
    }


def test_other_test_vectors_are_found(stored) -> None:
    """Their digest is in parity.json."""
    stored.put(f"onnx/{VECTORS}", b"other")

    assert stored.places() == [("onnx/parity.json: vectors_sha256", "verify.record-mismatch")]


def test_more_different_codes_than_boundary_codes_are_found(stored) -> None:
    """The record does not prove parity."""
    way = load(stored.folder / "onnx" / PARITY, ParityRecord).whole.model_copy(update={"codes_different": 1})
    stored.change(f"onnx/{PARITY}", ParityRecord, whole=way)

    assert stored.places() == [("onnx/parity.json: whole.codes_different", "export.parity-not-proven")]


def test_a_graph_of_another_version_is_found(stored) -> None:
    """By its metadata."""
    stored.put("onnx/head.onnx", onnx_file.stamp(graph("head", KNOWN), "0.3.0"))

    assert ("onnx/head.onnx", "export.version-missing") in stored.places()


def test_a_graph_without_measured_parity_is_found(stored) -> None:
    """Its digest is not the one in parity.json."""
    stored.put("onnx/head.onnx", onnx_file.stamp(graph("head", KNOWN, opset=16), VERSION))

    assert ("onnx/head.onnx", "export.graph-mismatch") in stored.places()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"stub", ("onnx/head.onnx", "onnx.unreadable")),
        (graph("model", KNOWN), ("onnx/head.onnx: inputs", "verify.record-mismatch")),
        (graph("head", metadata={}), ("onnx/head.onnx: metadata", "verify.record-mismatch")),
    ],
    ids=["stub", "another graph", "no metadata"],
)
def test_a_wrong_graph_with_a_matching_digest_is_found(stored, data, problem) -> None:
    """Its digest is written into parity.json."""
    record = load(stored.folder / "onnx" / PARITY, ParityRecord)
    head = record.graphs["head"].model_copy(update={"sha256": files.sha256_bytes(data)})
    stored.change(f"onnx/{PARITY}", ParityRecord, graphs={**record.graphs, "head": head})
    stored.put("onnx/head.onnx", onnx_file.stamp(data, VERSION))

    assert problem in stored.places()


@pytest.mark.parametrize("name", [f"onnx/{PARITY}", "onnx/model.onnx", f"hailo8/{BUNDLE}", f"hailo8/{ARCHIVE}"])
def test_an_incomplete_export_is_found(stored, name) -> None:
    """The manifest must list every file of it."""
    (stored.folder / name).unlink()
    found = [each for each in stored.problems() if each.rule == "manifest.file-unlisted"]

    assert [each.where for each in found if name in each.message] == ["manifest.json"]


def test_absent_assets_are_not_checked(stored) -> None:
    """A release asset may be missing on this machine."""
    absent = {"onnx/encoder.onnx", "onnx/head.onnx", "onnx/model.onnx", f"hailo8/{ARCHIVE}"}

    assert stored.problems(absent) == []


def test_damaged_records_are_not_compared(stored) -> None:
    """Their digest is reported elsewhere."""
    assert stored.problems({f"onnx/{PARITY}", f"hailo8/{BUNDLE}"}) == []


def test_too_many_calibration_windows_of_a_class_are_found(stored) -> None:
    """The training split has 20 windows of each class."""
    record = load(stored.folder / "hailo8" / BUNDLE, BundleRecord)
    counts = record.calibration.model_copy(update={"class_windows": {"rest": 30}})
    stored.change(f"hailo8/{BUNDLE}", BundleRecord, calibration=counts)

    found = [each for each in stored.problems() if each.rule == "bundle.calibration-mismatch"]

    assert [each.where for each in found] == ["hailo8/bundle.json: calibration.class_windows"]
    assert ("30 windows of rest" in found[0].message, "20" in found[0].message) == (True, True)


def test_another_graph_in_the_bundle_is_found(stored) -> None:
    """The graphs of the bundle must be those of the version."""
    record = load(stored.folder / "hailo8" / BUNDLE, BundleRecord)
    stored.change(f"hailo8/{BUNDLE}", BundleRecord, files={**record.files, "head.onnx": "0" * 64})

    assert ("hailo8/bundle.json: files: head.onnx", "verify.record-mismatch") in stored.places()


def packed(stored, **changes: bytes) -> None:
    """Pack the bundle again with other files and unchanged sums."""
    bundle = bundle_archive.unpack(stored.folder / "hailo8" / ARCHIVE)
    stored.put(
        f"hailo8/{ARCHIVE}",
        bundle_archive.pack({**bundle, **{name.replace("__", "."): d for name, d in changes.items()}}),
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"bundle__json": b"{}"}, "of the version"),
        ({"model_script__alls": b"x"}, "sha256sum.txt"),
        ({"extra__txt": b"x"}, "sha256sum.txt"),
    ],
)
def test_an_archive_with_other_files_is_found(stored, changes, named) -> None:
    """It is compared with the version's record and with its own sums."""
    packed(stored, **changes)
    (found,) = stored.problems()

    assert (found.where, found.rule) == (f"hailo8/{ARCHIVE}", "bundle.archive-mismatch")
    assert named in found.message


def test_a_damaged_archive_is_found(stored) -> None:
    """test_bundle_archive.py has all cases."""
    stored.put(f"hailo8/{ARCHIVE}", b"text")

    assert (ARCHIVE, "bundle.archive-invalid") in stored.places()


@pytest.mark.parametrize("bundle", [{"calibration.npy": b"stub"}, {}], ids=["stub", "missing"])
def test_an_unreadable_calibration_set_is_found(stored, bundle) -> None:
    """A placeholder, or no file."""
    record = load(stored.folder / "hailo8" / BUNDLE, BundleRecord)

    assert places(find_calibration_problems(bundle, record, "b")) == [
        ("b: calibration.npy", "bundle.calibration-mismatch")
    ]


def test_a_calibration_set_of_another_shape_is_found(stored) -> None:
    """The compiler reads NHWC, not NCHW."""
    record = load(stored.folder / "hailo8" / BUNDLE, BundleRecord)
    buffer = io.BytesIO()
    np.save(buffer, calibration().transpose(0, 3, 1, 2))
    found = find_calibration_problems({"calibration.npy": buffer.getvalue()}, record, "b")

    assert places(found) == [("b: calibration.npy", "bundle.calibration-mismatch")]


def test_a_bundle_of_other_graphs_is_named(run) -> None:
    """The graphs were exported again without the bundle."""
    record = exports.parity_of(run)
    other = record.graphs["head"].model_copy(update={"sha256": "0" * 64})
    changed = record.model_copy(update={"graphs": {**record.graphs, "head": other}})
    (run / "onnx" / PARITY).write_bytes(changed.to_bytes())

    found = next(exports.find_changed(run, "hailo8"))

    assert (found.where, found.rule) == ("hailo8/bundle.json", "export.other-graphs")
    assert "modelreg export --target hailo8" in found.next


def test_a_script_that_contradicts_the_record_is_found(stored) -> None:
    """The host and the chip would both normalize."""
    record = load(stored.folder / "hailo8" / BUNDLE, BundleRecord)
    bundle = {
        **bundle_archive.unpack(stored.folder / "hailo8" / ARCHIVE),
        "model_script.alls": b"normalization([0], [1])",
    }

    assert places(find_calibration_problems(bundle, record, "b")) == [
        ("b: model_script.alls", "bundle.calibration-mismatch")
    ]


def test_a_bundle_without_an_estimate_has_no_problem(stored) -> None:
    """Bundles of earlier versions do not have one."""
    assert stored.problems(absent=("hailo8/int8.json",)) == []
