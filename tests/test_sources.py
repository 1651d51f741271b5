"""The sources: the embedded sample is the original, and npy files are compared with their declaration."""

import errno
import os
import pickle
import runpy
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import places
from two_device import (
    CHANNELS,
    CLASSES,
    DEVICES,
    GIVEN,
    TIMESTEPS,
    two_device_arrays,
    two_device_metadata,
    write_metadata,
    write_two_device,
)

from modelreg import files
from modelreg.artifacts import npz
from modelreg.data.cache import Reading
from modelreg.data.recording import Dataset
from modelreg.data.sources import npy, sample
from modelreg.data.sources import registry as sources
from modelreg.errors import InputError, Problem
from modelreg.records.data import NpyMetadata
from modelreg.records.source import NpySource, SampleSource

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="session")
def script(root: Path) -> dict[str, Any]:
    """The names in scripts/make_sample.py."""
    return runpy.run_path(str(root / "scripts" / "make_sample.py"))


@pytest.fixture(scope="session")
def original() -> Path:
    """The file that the sample was made of, where seglearn 1.2.5 is installed or on PYTHONPATH."""
    found = find_spec("seglearn")
    for folder in (found.submodule_search_locations if found else None) or ():
        return Path(folder) / "data" / "watch_dataset.npy"
    pytest.skip("seglearn 1.2.5 is not installed: the sample cannot be rebuilt here")


@pytest.fixture(scope="session")
def watch() -> Dataset:
    """The embedded sample."""
    return sources.read(SampleSource(), Reading(Path()))


def problems_of(read: Callable[[], object]) -> list[Problem]:
    """Return the problems of the InputError that a call raises."""
    with pytest.raises(InputError) as caught:
        read()
    return list(caught.value.problems)


def test_sample_is_complete(watch: Dataset) -> None:
    """Ten subjects did seven exercises with each arm."""
    assert Counter((r.subject, r.session) for r in watch.recordings) == {
        (f"s{number:02d}", side): 7 for number in range(1, 11) for side in ("left", "right")
    }


def test_sample_recordings_are_sorted_and_named(watch: Dataset) -> None:
    """Recordings come by subject, then exercise, then side."""
    assert [r.name for r in watch.recordings] == [
        f"s{number:02d}-{name}-{side}"
        for number in range(1, 11)
        for name in watch.classes
        for side in ("left", "right")
    ]


def test_sample_shapes(watch: Dataset) -> None:
    """Every recording is float32 (samples, 6) with a label for each sample; together 244,102 samples."""
    shapes = [
        (r.signals["watch"].values.shape, r.signals["watch"].values.dtype, r.labels.dtype) for r in watch.recordings
    ]

    assert shapes == [((len(r.labels), 6), np.float32, np.int32) for r in watch.recordings]
    assert sum(len(r.labels) for r in watch.recordings) == 244_102


def test_sample_labels_are_its_names(watch: Dataset) -> None:
    """A recording is labelled from end to end with the class in its name."""
    assert all(watch.classes[label] == r.name.split("-")[1] for r in watch.recordings for label in {*r.labels})


def test_sample_measures_gravity(watch: Dataset) -> None:
    """Acceleration is in g: the median of its norm is near 1."""
    acc = np.concatenate([r.signals["watch"].values[:, :3] for r in watch.recordings])

    assert np.median(np.linalg.norm(acc, axis=1)) == pytest.approx(1, abs=0.1)


def test_sample_has_its_licence() -> None:
    """The license file of the sample names the holder and the citation."""
    text = sample.FILE.with_name("sample.LICENSE").read_text()

    assert all(part in text for part in ("Copyright (c) 2018, David M. Burns", "10.1088/1361-6579/aacfd9"))


def test_changed_sample_is_refused(tmp_path: Path) -> None:
    """One changed sample is found by the digest."""
    arrays = npz.read_npz(sample.FILE)
    arrays["samples"][1000, 3] += 1
    path = tmp_path / "sample.npz"
    path.write_bytes(npz.npz_bytes(arrays))

    assert places(problems_of(lambda: sample.read(path))) == [(str(path), "sample.changed")]


def test_sample_is_the_original(watch: Dataset, original: Path, script: dict[str, Any]) -> None:
    """Every value is within half a step of what the authors published for the same subject and exercise."""
    source = script["read_objects"](original.read_bytes())
    published = {
        (f"s{source['subject'][i]:02d}", source["y"][i], ("left", "right")[int(source["side"][i])]): values
        for i, values in enumerate(source["X"])
    }
    worst = [
        np.abs(published[r.subject, r.labels[0], r.session] - r.signals["watch"].values).max() for r in watch.recordings
    ]

    assert max(worst) < 0.000502  # half a step, and the rounding of float32


def test_sample_is_rebuilt_byte_for_byte(original: Path, script: dict[str, Any], tmp_path: Path) -> None:
    """The script gives the bytes and the digest that modelreg carries."""
    digest = script["make"](original, tmp_path / "sample.npz")

    assert digest == sample.DIGEST
    assert (tmp_path / "sample.npz").read_bytes() == sample.FILE.read_bytes()


def test_script_knows_its_source(script: dict[str, Any], tmp_path: Path) -> None:
    """Another file than the known one is refused, and nothing is written."""
    (tmp_path / "watch_dataset.npy").write_bytes(b"something else")

    problems = problems_of(lambda: script["make"](tmp_path / "watch_dataset.npy", tmp_path / "sample.npz"))

    assert [problem.rule for problem in problems] == ["sample.source-changed"]
    assert not (tmp_path / "sample.npz").exists()


class Malicious:
    """Pickled, it asks the reader to call os.system."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("exit 7",)


@pytest.mark.parametrize("what", [Malicious(), {"X": [Malicious()]}, print, np.float64(1)])
def test_unpickler_refuses_every_other_name(what: object, script: dict[str, Any], tmp_path: Path) -> None:
    """A pickle that names anything but plain arrays is refused before it is called."""
    np.save(tmp_path / "evil.npy", np.array(what, dtype=object), allow_pickle=True)

    problems = problems_of(lambda: script["read_objects"]((tmp_path / "evil.npy").read_bytes()))

    assert [problem.rule for problem in problems] == ["sample.pickle"]


def test_unpickler_reads_plain_arrays(script: dict[str, Any], tmp_path: Path) -> None:
    """What the source holds, a dict of arrays and lists, is read."""
    np.save(tmp_path / "plain.npy", np.array({"y": [np.arange(3)]}, dtype=object), allow_pickle=True)

    np.testing.assert_equal(script["read_objects"]((tmp_path / "plain.npy").read_bytes()), {"y": [np.arange(3)]})


def test_relative_path_starts_at_base(tmp_path: Path) -> None:
    """A path in a configuration is read from the given base."""
    write_two_device(tmp_path)

    assert sources.read(NpySource(kind="npy", path="dataset.json"), Reading(tmp_path)).sources[0].name == "two-device"


def test_each_window_becomes_a_recording(tmp_path: Path) -> None:
    """Recording i holds window i: values by device, label, subject."""
    arrays = two_device_arrays()
    dataset = npy.read(write_two_device(tmp_path))

    for i, recording in enumerate(dataset.recordings):
        for d, device in enumerate(DEVICES):
            np.testing.assert_array_equal(recording.signals[device].values, arrays["x"][i, :, d].T)
        np.testing.assert_array_equal(recording.labels, np.full(TIMESTEPS, arrays["y"][i]))
    assert [r.subject for r in dataset.recordings] == arrays["subject"].tolist()
    assert dataset.recordings[17].name == "all/00017"


def test_given_parts_are_kept(tmp_path: Path) -> None:
    """A recording has the split that its files belong to."""
    dataset = npy.read(write_two_device(tmp_path, given=True))

    assert {(r.part, r.subject) for r in dataset.recordings} == {
        (part, subject) for part, subjects in GIVEN.items() for subject in subjects
    }


def one_device(folder: Path, layout: str, x: np.ndarray[Any, Any]) -> Path:
    """Write the first device of the fixture in a layout."""
    write_two_device(folder)
    np.save(folder / "all_x.npy", x)
    return write_metadata(folder, {**two_device_metadata(), "layout": layout, "devices": ["phone"]})


@pytest.mark.parametrize(("layout", "axes"), [("NCT", (0, 1, 2)), ("NTC", (0, 2, 1))])
def test_layouts_agree(layout: str, axes: tuple[int, ...], tmp_path: Path) -> None:
    """The same windows are read from any layout."""
    x = two_device_arrays()["x"][:, :, 0]
    dataset = npy.read(one_device(tmp_path, layout, x.transpose(axes)))

    np.testing.assert_array_equal(
        np.stack([r.signals["phone"].values for r in dataset.recordings]), x.transpose(0, 2, 1)
    )


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "int16", "uint8"])
def test_number_types_become_float32(dtype: str, tmp_path: Path) -> None:
    """Integers and wider floats are read as float32."""
    x = np.abs(two_device_arrays()["x"]).astype(dtype)
    path = write_two_device(tmp_path)
    np.save(tmp_path / "all_x.npy", x)

    values = npy.read(path).recordings[5].signals["phone"].values
    np.testing.assert_array_equal(values, x[5, :, 0].T.astype(np.float32), strict=True)


def test_too_large_for_float32_is_missing(tmp_path: Path) -> None:
    """A number that float32 cannot hold becomes Inf, without a warning."""
    x = two_device_arrays()["x"].astype(np.float64)
    x[0, 0, 0, 0] = 1e300
    path = write_two_device(tmp_path)
    np.save(tmp_path / "all_x.npy", x)

    assert npy.read(path).recordings[0].signals["phone"].values[0, 0] == np.inf


def test_integer_subjects_become_names(tmp_path: Path) -> None:
    """Subject ids may be numbers."""
    path = write_two_device(tmp_path)
    np.save(tmp_path / "all_subject.npy", np.arange(108))

    assert npy.read(path).recordings[17].subject == "17"


def test_digest_covers_every_array(tmp_path: Path) -> None:
    """Changing any one array changes the digest of the data set."""
    path = write_two_device(tmp_path)
    digests = {npy.read(path).sources[0].digest}
    for key, array in two_device_arrays().items():
        np.save(tmp_path / f"all_{key}.npy", np.roll(array, 1, axis=0))
        digests.add(npy.read(path).sources[0].digest)

    assert len(digests) == 4


def without(*path: str) -> Edit:
    """Return an edit that removes what a path leads to."""

    def edit(document: dict[str, Any]) -> None:
        for key in path[:-1]:
            document = document[key]
        del document[path[-1]]

    return edit


def with_(value: object, *path: str) -> Edit:
    """Return an edit that sets what a path leads to."""

    def edit(document: dict[str, Any]) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return edit


FILES = {"x": "x.npy", "y": "y.npy", "subject": "s.npy"}


@pytest.mark.parametrize(
    ("edit", "where"),
    [
        (with_("../x.npy", "parts", "all", "x"), ": parts.all.x"),
        (with_("/etc/x.npy", "parts", "all", "x"), ": parts.all.x"),
        (with_("NDCT", "layout"), ": layout"),
        (with_("NCT", "layout"), ""),
        (with_(FILES, "parts", "train"), ""),
        (with_({}, "parts"), ""),
        (with_(["a", "b", "a"], "classes"), ""),
        (with_(["phone", "phone"], "devices"), ""),
        (with_(0, "rate_hz"), ": rate_hz"),
        (with_(1, "colour"), ""),
        (without("timesteps"), ""),
    ],
)
def test_bad_metadata(edit: Edit, where: str, tmp_path: Path) -> None:
    """The problem names the place in the metadata."""
    document = two_device_metadata()
    edit(document)
    (problem,) = problems_of(lambda: npy.read(write_metadata(tmp_path, document)))

    assert problem.where.startswith(f"{tmp_path / 'dataset.json'}{where}")


@pytest.mark.parametrize(
    "edit", [without("parts", "all", "subject"), with_(None, "parts", "all", "subject")], ids=["missing", "null"]
)
def test_metadata_without_subjects_has_a_rule_with_the_reason(edit: Edit, tmp_path: Path) -> None:
    """The commonest mistake of a user who has windows alone."""
    document = two_device_metadata()
    edit(document)
    (problem,) = problems_of(lambda: npy.read(write_metadata(tmp_path, document)))

    assert (problem.rule, ": parts.all" in problem.where) == ("npy.subject-missing", True)


def test_metadata_problems_come_together(tmp_path: Path) -> None:
    """Three mistakes give three problems."""
    document = {**two_device_metadata(), "layout": "X", "rate_hz": -1, "timesteps": 0}

    assert len(problems_of(lambda: npy.read(write_metadata(tmp_path, document)))) == 3


def test_metadata_must_exist(tmp_path: Path) -> None:
    """A missing metadata file is an input error."""
    assert os.strerror(errno.ENOENT) in problems_of(lambda: npy.read(tmp_path / "nowhere.json"))[0].message


def test_metadata_round_trip() -> None:
    """A metadata record renders to the document that it was read from."""
    document = two_device_metadata()

    assert NpyMetadata.model_validate_json(files.to_json(document)).to_document() == document


ARRAYS = two_device_arrays()


@pytest.mark.parametrize(
    ("key", "array", "rule", "found"),
    [
        ("x", ARRAYS["x"].astype(np.float16), "npy.dtype", "float16"),
        ("x", ARRAYS["x"] > 0, "npy.dtype", "bool"),
        ("x", ARRAYS["x"].astype("m8[s]"), "npy.dtype", "timedelta64[s]"),
        ("x", ARRAYS["x"][:, :8], "npy.shape", "(108, 8, 2, 100)"),
        ("x", ARRAYS["x"].transpose(0, 2, 1, 3), "npy.shape", "(N, 9, 2, 100)"),
        ("y", ARRAYS["y"].astype(float), "npy.dtype", "float64"),
        ("y", ARRAYS["y"][:-1], "npy.shape", "(107,)"),
        ("y", ARRAYS["y"][:, None], "npy.shape", "(108, 1)"),
        ("y", ARRAYS["y"] + 1, "npy.label-range", "in row 12: 3"),
        ("y", ARRAYS["y"] - 1, "npy.label-range", "in row 0: -1"),
        ("subject", ARRAYS["y"].astype(float), "npy.dtype", "float64"),
        ("subject", ARRAYS["subject"].astype("S"), "npy.dtype", "S"),
        ("subject", ARRAYS["subject"][:5], "npy.shape", "(5,)"),
        ("subject", np.full(108, ""), "npy.subject-invalid", "''"),
        ("subject", np.full(108, "a\nb"), "npy.subject-invalid", "'a\\nb'"),
        ("subject", np.full(108, "x" * 101), "npy.subject-invalid", "100"),
        ("subject", np.full(108, " x"), "npy.subject-invalid", "' x'"),
    ],
)
def test_bad_array(key: str, array: np.ndarray[Any, Any], rule: str, found: str, tmp_path: Path) -> None:
    """The problem names the file and what was found in it."""
    path = write_two_device(tmp_path)
    np.save(tmp_path / f"all_{key}.npy", array)
    (problem,) = problems_of(lambda: npy.read(path))

    assert (problem.where, problem.rule, found in problem.message) == (f"all_{key}.npy", rule, True)


def test_invalid_subjects_are_one_problem(tmp_path: Path) -> None:
    """With their number."""
    path = write_two_device(tmp_path)
    np.save(tmp_path / "all_subject.npy", np.array([f" {number}" for number in range(108)]))
    (problem,) = problems_of(lambda: npy.read(path))

    assert "107 other subjects" in problem.message


def test_empty_part(tmp_path: Path) -> None:
    """A split without windows is refused."""
    path = write_two_device(tmp_path)
    for key, array in ARRAYS.items():
        np.save(tmp_path / f"all_{key}.npy", array[:0])

    assert [problem.where for problem in problems_of(lambda: npy.read(path))] == ["all_x.npy"]


def test_scalars(tmp_path: Path) -> None:
    """Arrays without any axis are three problems, not a crash."""
    path = write_two_device(tmp_path)
    for key in ARRAYS:
        np.save(tmp_path / f"all_{key}.npy", np.int64(7))

    assert len(problems_of(lambda: npy.read(path))) == 3


def test_array_problems_come_together(tmp_path: Path) -> None:
    """A problem in the file of each split is listed."""
    path = write_two_device(tmp_path, given=True)
    for part in GIVEN:
        np.save(tmp_path / f"{part}_y.npy", np.full(7, 5.5))

    assert {problem.where for problem in problems_of(lambda: npy.read(path))} == {
        "train_y.npy",
        "validation_y.npy",
        "test_y.npy",
    }


def truncate(path: Path) -> None:
    """Cut a file short, inside its content."""
    path.write_bytes(path.read_bytes()[:200])


def pickled(path: Path) -> None:
    """Put an array of objects under an .npy name."""
    np.save(path, np.array([Malicious()], dtype=object), allow_pickle=True)


def linked(path: Path) -> None:
    """Move a file out of the folder and leave a link."""
    path.rename(path.parent.parent / "elsewhere.npy")
    path.symlink_to(path.parent.parent / "elsewhere.npy")


def piped(path: Path) -> None:
    """Put a pipe in a file's place: opening it would wait for ever."""
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (Path.unlink, None),
        (piped, None),
        (lambda path: path.write_bytes(path.read_bytes() + b"more"), "npy.invalid"),
        (linked, "npy.link"),
        (truncate, "npy.invalid"),
        (pickled, "npy.invalid"),
        (lambda path: path.write_bytes(pickle.dumps(Malicious())), "npy.invalid"),
        (lambda path: path.write_bytes(b""), "npy.invalid"),
        (lambda path: np.savez(path.open("wb"), x=ARRAYS["x"]), "npy.invalid"),
        (lambda path: os.truncate(path, npy.FILE_LIMIT + 1), "npy.invalid"),
    ],
)
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_bad_file(spoil: Callable[[Path], object], rule: str | None, tmp_path: Path) -> None:
    """A file that is not a plain .npy inside the folder is refused unread; None: by a rule of every file."""
    folder = tmp_path / "data"
    folder.mkdir()
    path = write_two_device(folder)
    spoil(folder / "all_x.npy")
    (problem,) = problems_of(lambda: npy.read(path))

    assert problem.where == str(folder / "all_x.npy")
    assert problem.rule == rule or (rule is None and not problem.rule.startswith("npy."))


@given(position=st.integers(0, 127), value=st.integers(0, 255))
def test_damaged_header_never_crashes(position: int, value: int, tmp_path_factory: Any) -> None:
    """Any byte of a header may be anything: the file is read or it is an input error."""
    folder = tmp_path_factory.mktemp("damaged")
    data = bytearray(npy_bytes(folder))
    data[position] = value
    (folder / "y.npy").write_bytes(data)

    found = npy._open(folder, "y.npy")
    assert isinstance(found, Problem | np.ndarray)


def npy_bytes(folder: Path) -> bytes:
    """Return the bytes of a small .npy file."""
    np.save(folder / "y.npy", ARRAYS["y"])
    return (folder / "y.npy").read_bytes()


def test_fixture_matches_its_metadata(tmp_path: Path) -> None:
    """The fixture that other tests rely on is what it says."""
    dataset = npy.read(write_two_device(tmp_path))

    assert (dataset.channels, dataset.devices, dataset.classes) == (CHANNELS, DEVICES, CLASSES)
