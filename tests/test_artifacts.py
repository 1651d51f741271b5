"""Graphs and bundles in a version: every contradiction and every damage is found without onnx or torch."""

import io

import numpy as np
import pytest
from example_export import SPEC, calibration, graph, write_export
from example_run import data_record

from modelreg import files
from modelreg.artifacts import bundle_archive, exports, graph_interface, onnx_file
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
    """A version's folder and what is known of it; documents may be replaced."""

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

    def problems(self, absent=()) -> list[str]:
        """What is wrong."""
        paths = [p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file()]
        digests = {path: files.sha256(self.folder / path) for path in paths}
        known = {**digests, filenames.CHECKPOINT: WEIGHTS, filenames.NORMALIZATION: SCALE}
        here = VersionFiles(self.folder, VERSION, known, frozenset(paths) - set(absent))
        return list(
            map(
                str,
                [
                    *export_checks.find_graph_problems(here, SPEC),
                    *export_checks.find_bundle_problems(here, SPEC, data_record()),
                ],
            )
        )


@pytest.fixture
def stored(run):
    """A version of that run."""
    return Stored(run)


def test_a_version_of_a_run_is_right(stored) -> None:
    """So that each of the following is found for its lie alone."""
    assert stored.problems() == []


def test_a_whole_run_has_nothing_changed(run) -> None:
    """Of either target."""
    assert [*exports.find_changed(run, "onnx"), *exports.find_changed(run, "hailo8")] == []


@pytest.mark.parametrize("name", ["onnx/head.onnx", "hailo8/calibration.npy"])
def test_a_lost_file_of_an_export_is_named(run, name) -> None:
    """With what to do."""
    (run / name).unlink()

    assert [str(p) for p in exports.find_changed(run, name.split("/")[0])] == [f"{name}: is missing; export again"]


@pytest.mark.parametrize(("target", "name"), [("onnx", PARITY), ("hailo8", BUNDLE)])
def test_a_record_that_cannot_be_read_is_named(run, target, name) -> None:
    """No export without it."""
    (run / target / name).write_bytes(b"{}")

    assert list(exports.find_changed(run, target))


@pytest.mark.parametrize("name", [f"onnx/{PARITY}", f"hailo8/{BUNDLE}"])
def test_a_record_of_a_version_that_cannot_be_read_is_a_problem(stored, name) -> None:
    """It is named with its rule."""
    stored.put(name, b"{}")

    assert any("required" in problem for problem in stored.problems())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"model": "other"}, "onnx/parity.json: model: is other"),
        ({"checkpoint_sha256": "0" * 64}, "onnx/parity.json: checkpoint_sha256: is 0000"),
        ({"normalization_sha256": "0" * 64}, "onnx/parity.json: normalization_sha256: is 0000"),
        ({"opset": 18}, "onnx/encoder.onnx: opset: is 17, must be 18"),
        ({"graphs": {}}, "onnx/parity.json: graphs: must be encoder, head, model"),
        ({"windows": 99}, "onnx/parity.json: whole.argmax_compared: leaves out windows"),
    ],
)
def test_a_lie_in_the_parity_is_found(stored, changes, problem) -> None:
    """Against the version and the graphs."""
    stored.change(f"onnx/{PARITY}", ParityRecord, **changes)

    assert any(found.startswith(problem) for found in stored.problems())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"model": "other"}, "hailo8/int8.json: model: is other"),
        ({"checkpoint_sha256": "0" * 64}, "hailo8/int8.json: checkpoint_sha256: is 0000"),
        ({"windows": 59}, "hailo8/int8.json: windows: is 59, not the whole held-out part"),
    ],
)
def test_a_lie_in_the_estimate_is_found(stored, changes, problem) -> None:
    """Against the version; and it is not what the bundle was sealed with."""
    stored.change(f"hailo8/{INT8}", Int8Estimate, **changes)
    sealed, lie, repeated = sorted(stored.problems(), key=lambda found: "`int8`" in found)

    assert lie.startswith(problem)
    assert (sealed.split(": is")[0], repeated) == (
        "hailo8/bundle.json: files: int8.json",
        "hailo8/int8.json: says something else than `int8` of bundle.json",
    )


def test_other_test_vectors_are_found(stored) -> None:
    """Than parity.json states; also where there are none."""
    stored.put(f"onnx/{VECTORS}", b"other")

    assert stored.problems() == ["onnx/parity.json: states other test vectors than manifest.json"]


def test_more_flips_than_boundaries_are_found(stored) -> None:
    """No parity was there."""
    way = load(stored.folder / "onnx" / PARITY, ParityRecord).whole.model_copy(update={"codes_different": 1})
    stored.change(f"onnx/{PARITY}", ParityRecord, whole=way)

    assert stored.problems() == ["onnx/parity.json: whole.codes_different: is more than lie near a rounding boundary"]


def test_a_graph_of_another_version_is_found(stored) -> None:
    """By the end of its metadata."""
    stored.put("onnx/head.onnx", onnx_file.stamp(graph("head", KNOWN), "0.3.0"))

    assert "onnx/head.onnx: does not end with version 0.2.0 in its metadata" in stored.problems()


def test_a_graph_that_was_not_proven_is_found(stored) -> None:
    """Its digest is not the one in parity.json."""
    stored.put("onnx/head.onnx", onnx_file.stamp(graph("head", KNOWN, opset=16), VERSION))

    assert "onnx/head.onnx: is not the graph whose parity parity.json states" in stored.problems()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"stub", "not an ONNX file of ours"),
        (graph("model", KNOWN), "onnx/head.onnx: inputs: is"),
        (graph("head", metadata={}), "onnx/head.onnx: metadata: is"),
    ],
    ids=["stub", "another graph", "no metadata"],
)
def test_a_graph_that_was_proven_and_is_wrong_is_found(stored, data, problem) -> None:
    """Somebody wrote its digest into parity.json."""
    record = load(stored.folder / "onnx" / PARITY, ParityRecord)
    head = record.graphs["head"].model_copy(update={"sha256": files.sha256_bytes(data)})
    stored.change(f"onnx/{PARITY}", ParityRecord, graphs={**record.graphs, "head": head})
    stored.put("onnx/head.onnx", onnx_file.stamp(data, VERSION))

    assert any(problem in found for found in stored.problems())


@pytest.mark.parametrize("name", [f"onnx/{PARITY}", "onnx/model.onnx", f"hailo8/{BUNDLE}", f"hailo8/{ARCHIVE}"])
def test_half_an_export_is_found(stored, name) -> None:
    """The manifest must list all of it."""
    (stored.folder / name).unlink()

    assert f"manifest.json: does not list {name}" in stored.problems()


def test_what_is_not_here_is_not_looked_into(stored) -> None:
    """An asset may travel."""
    absent = {"onnx/encoder.onnx", "onnx/head.onnx", "onnx/model.onnx", f"hailo8/{ARCHIVE}"}

    assert stored.problems(absent) == []


def test_damaged_records_are_left_to_their_digest(stored) -> None:
    """What is not the manifest's is no document."""
    assert stored.problems({f"onnx/{PARITY}", f"hailo8/{BUNDLE}"}) == []


def test_too_many_calibration_windows_of_a_class_are_found(stored) -> None:
    """The training part has twenty of each."""
    record = load(stored.folder / "hailo8" / BUNDLE, BundleRecord)
    counts = record.calibration.model_copy(update={"class_windows": {"rest": 30}})
    stored.change(f"hailo8/{BUNDLE}", BundleRecord, calibration=counts)

    assert "hailo8/bundle.json: calibration.class_windows: 30 windows of rest, but the training part has 20" in (
        stored.problems()
    )


def test_another_graph_in_the_bundle_is_found(stored) -> None:
    """The bundle's graphs are the version's."""
    record = load(stored.folder / "hailo8" / BUNDLE, BundleRecord)
    stored.change(f"hailo8/{BUNDLE}", BundleRecord, files={**record.files, "head.onnx": "0" * 64})

    assert "hailo8/bundle.json: files: its head.onnx is not the version's" in stored.problems()


def packed(stored, **changes: bytes) -> None:
    """Pack the bundle anew with other files, the sums left as they were."""
    bundle = bundle_archive.unpack(stored.folder / "hailo8" / ARCHIVE)
    stored.put(
        f"hailo8/{ARCHIVE}",
        bundle_archive.pack({**bundle, **{name.replace("__", "."): d for name, d in changes.items()}}),
    )


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"bundle__json": b"{}"}, "holds another bundle.json than lies beside it"),
        ({"model_script__alls": b"x"}, "does not hold what its bundle.json and sha256sum.txt state"),
        ({"extra__txt": b"x"}, "does not hold what its bundle.json and sha256sum.txt state"),
    ],
)
def test_an_archive_with_other_files_is_found(stored, changes, problem) -> None:
    """Against the record beside it and its own sums."""
    packed(stored, **changes)

    assert stored.problems() == [f"hailo8/{ARCHIVE}: {problem}"]


def test_a_damaged_archive_is_found(stored) -> None:
    """What else is refused: test_bundle_archive.py."""
    stored.put(f"hailo8/{ARCHIVE}", b"text")

    assert any("not a bundle" in found for found in stored.problems())


def test_a_calibration_set_that_cannot_be_read_is_found(stored) -> None:
    """A stub under its name."""
    record = load(stored.folder / "hailo8" / BUNDLE, BundleRecord)

    assert "cannot be read" in str(list(find_calibration_problems({"calibration.npy": b"stub"}, record, "b")))


def test_a_calibration_set_of_another_shape_is_found(stored) -> None:
    """NCHW is not what the compiler reads."""
    record = load(stored.folder / "hailo8" / BUNDLE, BundleRecord)
    buffer = io.BytesIO()
    np.save(buffer, calibration().transpose(0, 3, 1, 2))
    found = find_calibration_problems({"calibration.npy": buffer.getvalue()}, record, "b")

    assert "has not the shape" in str(next(found))


def test_a_bundle_of_other_graphs_than_the_runs_is_named(run) -> None:
    """The graphs were exported again without it."""
    record = exports.parity_of(run)
    other = record.graphs["head"].model_copy(update={"sha256": "0" * 64})
    changed = record.model_copy(update={"graphs": {**record.graphs, "head": other}})
    (run / "onnx" / PARITY).write_bytes(changed.to_bytes())

    assert "is of other graphs; run `modelreg export --target hailo8` again" in str(
        next(exports.find_changed(run, "hailo8"))
    )


def test_a_script_that_contradicts_the_record_is_found(stored) -> None:
    """The host normalizes, and the chip would again."""
    record = load(stored.folder / "hailo8" / BUNDLE, BundleRecord)
    bundle = {
        **bundle_archive.unpack(stored.folder / "hailo8" / ARCHIVE),
        "model_script.alls": b"normalization([0], [1])",
    }

    assert "contradicts normalization: host" in str(next(find_calibration_problems(bundle, record, "b")))


def test_a_bundle_without_an_estimate_is_right(stored) -> None:
    """Those of before there were any have none."""
    assert stored.problems(absent=("hailo8/int8.json",)) == []
