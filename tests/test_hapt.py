"""The source hapt: native folders and archives, spans of labels, transitions dropped; every problem with its place."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_sets import faults, shipped, write_archive, write_folder

from modelreg.data import preparation
from modelreg.data.cache import Reading
from modelreg.data.recording import UNLABELLED
from modelreg.data.sources import hapt
from modelreg.data.sources import registry as sources
from modelreg.errors import InputError
from modelreg.records.source import HaptSource

REAL = Path(__file__).parents[2] / "shared" / "data" / "hapt"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the recordings under ../shared/data are not here")
SAMPLES = 40
LABELS = b"1 1 5 3 10\n1 1 7 11 12\n2 2 12 1 40\n"


def text(seed: int, samples: int = SAMPLES) -> bytes:
    """One sensor's file as the set writes it: made up, for tests only."""
    rows = np.random.default_rng(seed).normal(size=(samples, 3))
    return "".join(" ".join(map(repr, row)) + "\n" for row in rows.tolist()).encode()


def native() -> dict[str, bytes]:
    """Two experiments of two subjects, by their native names."""
    names = [f"{sensor}_exp{n:02d}_user{n:02d}" for n in (1, 2) for sensor in ("acc", "gyro")]
    return {f"RawData/{name}.txt": text(seed) for seed, name in enumerate(names)} | {"RawData/labels.txt": LABELS}


def read(path: Path):
    """Read without a cache, as a configuration names it."""
    return sources.read(HaptSource(kind="hapt", path=str(path)), Reading(Path()))


@pytest.mark.parametrize("inner", ["", "RawData"])
def test_folder_and_archive_are_the_same(tmp_path, inner) -> None:
    """The digest is over the arrays, not over the files; RawData/ may be named, too."""
    folder = write_folder(tmp_path / "native", native() | {"activity_labels.txt": b"1 WALKING\n"}) / inner
    write_archive(tmp_path / "p.tar.xz", native())

    assert read(folder).sources == read(tmp_path / "p.tar.xz").sources


def test_a_recording_is_both_sensors_of_an_experiment(tmp_path) -> None:
    """Acceleration, then rotation, with the values of the files."""
    recording = read(write_folder(tmp_path, native())).recordings[1]
    pieces = [np.loadtxt(tmp_path / f"RawData/{sensor}_exp02_user02.txt") for sensor in ("acc", "gyro")]

    np.testing.assert_array_equal(recording.signals["waist"].values, np.hstack(pieces).astype(np.float32))


def test_a_recording_is_named_by_subject_and_experiment(tmp_path) -> None:
    """The split is by subject."""
    first = read(write_folder(tmp_path, native())).recordings[0]

    assert (first.name, first.subject, first.session) == ("user01-exp01", "user01", "exp01")


def test_spans_count_from_one_and_include_their_end(tmp_path) -> None:
    """Samples 3 to 10 are the third to the tenth; samples outside of every span are unlabelled."""
    labels = read(write_folder(tmp_path, native())).recordings[0].labels

    assert labels.tolist() == [UNLABELLED] * 2 + [4] * 8 + [6] * 2 + [UNLABELLED] * 28


@given(cuts=st.sets(st.integers(1, SAMPLES - 1), max_size=8), data=st.data())
def test_labels_are_those_of_the_lines_in_any_order(tmp_path_factory, cuts, data) -> None:
    """The order of the lines does not matter."""
    edges = [0, *sorted(cuts), SAMPLES]
    wanted = [data.draw(st.integers(0, 11)) for _ in edges[1:]]
    spans = list(zip(edges, edges[1:], wanted, strict=False))
    lines = data.draw(st.permutations([f"1 1 {label + 1} {start + 1} {end}\n" for start, end, label in spans]))
    found = native() | {"RawData/labels.txt": "".join([*lines, "2 2 1 1 1\n"]).encode()}
    folder = write_folder(tmp_path_factory.mktemp("native"), found)

    expected = np.repeat(wanted, np.diff(edges))
    np.testing.assert_array_equal(read(folder).recordings[0].labels, expected)


def lines(text: bytes):
    """Put other lines into labels.txt."""
    return lambda found: found.update({"RawData/labels.txt": text})


def acc(text: bytes):
    """Put another text into the first file."""
    return lambda found: found.update({"RawData/acc_exp01_user01.txt": text})


FIRST = "acc_exp01_user01.txt"
FAULTS = {
    "not a number": (acc(b"1 2 3\n1 x 3\n"), (f"{FIRST}:2", "csv.not-a-number")),
    "wide row": (acc(b"1 2 3\n1 2 3 4\n"), (f"{FIRST}:2", "csv.row-width")),
    "short row": (acc(b"1 2 3\n1 2\n"), (f"{FIRST}:2", "csv.row-width")),
    "wide file": (acc(b"1 2 3 4\n"), (f"{FIRST}:1", "csv.row-width")),
    "narrow file": (acc(b"1 2\n"), (FIRST, "csv.column-missing")),
    "empty": (acc(b""), (FIRST, "csv.empty")),
    "not text": (acc(b"\x00\x01"), (f"{FIRST}:1", "csv.encoding")),
    "lengths differ": (acc(text(0, 39)), ("exp01_user01", "recordings.length-mismatch")),
    "no partner": (
        lambda f: f.pop("RawData/gyro_exp02_user02.txt"),
        ("gyro_exp02_user02.txt", "recordings.file-missing"),
    ),
    "no labels": (lambda f: f.pop("RawData/labels.txt"), ("labels.txt", "recordings.file-missing")),
    "other labels": (lines(LABELS + b"3 1 1 1 2\n"), ("labels.txt:4", "recordings.file-missing")),
    "unlabelled": (lines(b"1 1 5 1 2\n"), ("labels.txt: exp02_user02", "recordings.labels-missing")),
    "unknown label": (lines(LABELS + b"1 1 13 20 21"), ("labels.txt:4", "recordings.label-unknown")),
    "label 0": (lines(LABELS + b"1 1 0 20 21"), ("labels.txt:4", "recordings.label-unknown")),
    "beyond the end": (lines(LABELS + b"1 1 1 40 41"), ("labels.txt:4", "recordings.label-range")),
    "before the start": (lines(LABELS + b"1 1 1 0 1"), ("labels.txt:4", "recordings.label-range")),
    "backwards": (lines(LABELS + b"1 1 1 30 29"), ("labels.txt:4", "recordings.label-range")),
    "overlap": (lines(LABELS + b"1 1 1 12 14"), ("labels.txt:4", "recordings.label-overlap")),
    "inside another": (lines(LABELS + b"2 2 1 5 6\n2 2 1 8 9"), ("labels.txt:4", "recordings.label-overlap")),
    "four numbers": (lines(b"1 1 5 1"), ("labels.txt:1", "recordings.labels-line")),
    "not a whole number": (lines(b"1 1 5 1 2.5"), ("labels.txt:1", "recordings.labels-line")),
    "no lines": (lines(b""), ("labels.txt:1", "recordings.labels-line")),
    "blank line": (lines(b"1 1 5 1 2\n\n2 2 1 1 2\n"), ("labels.txt:2", "recordings.labels-line")),
    "huge": (lines(b"1 1 5 1 99999999999999999999"), ("labels.txt:1", "recordings.labels-line")),
}


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
@pytest.mark.parametrize(("change", "problem"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named(tmp_path, change, problem, packed) -> None:
    """File, line and rule, in a folder and in an archive."""
    found = native()
    change(found)
    path = write_archive(tmp_path / "p.tar.xz", found) if packed else write_folder(tmp_path, found)

    assert faults(lambda: read(path)) == [problem]


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_a_set_without_files_is_refused(tmp_path, packed) -> None:
    """The folder or archive is named."""
    path = write_archive(tmp_path / "p.tar.xz", {}) if packed else tmp_path

    assert faults(lambda: read(path)) == [(path.name, "recordings.none-found")]


def test_all_faults_are_named_at_once(tmp_path) -> None:
    """Of every file; lines with the same fault are counted."""
    found = native() | {"RawData/gyro_exp02_user02.txt": b"x 2 3", "RawData/labels.txt": b"a\nb\n"}

    assert faults(lambda: read(write_archive(tmp_path / "p.tar.xz", found))) == [
        ("gyro_exp02_user02.txt:1", "csv.not-a-number"),
        ("labels.txt:1", "recordings.labels-line"),
    ]


def test_a_label_that_overlaps_many_times_is_one_problem(tmp_path) -> None:
    """With the number of lines."""
    with pytest.raises(InputError) as caught:
        read(write_folder(tmp_path, native() | {"RawData/labels.txt": LABELS + b"2 2 1 5 6\n" * 30}))

    (problem,) = caught.value.problems
    assert (problem.rule, "29 other lines" in problem.message) == ("recordings.label-overlap", True)


@pytest.mark.parametrize("name", ["../RawData", "a/../RawData", "/RawData"])
def test_a_path_that_leads_out_of_the_archive_is_ignored(tmp_path, name) -> None:
    """So that its file is missing."""
    found = {path.replace("RawData", name) if "gyro_exp01" in path else path: data for path, data in native().items()}

    assert faults(lambda: read(write_archive(tmp_path / "p.tar.xz", found))) == [
        ("gyro_exp01_user01.txt", "recordings.file-missing")
    ]


def test_a_link_is_ignored(tmp_path) -> None:
    """Its target outside is not read."""
    link = tarfile.TarInfo("RawData/labels.txt")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    found = native()
    del found["RawData/labels.txt"]

    assert faults(lambda: read(write_archive(tmp_path / "p.tar.xz", found, link))) == [
        ("labels.txt", "recordings.file-missing")
    ]


def test_a_file_over_the_limit_is_refused(tmp_path, monkeypatch) -> None:
    """Before it is unpacked."""
    monkeypatch.setattr(hapt, "NATIVE", hapt.NATIVE._replace(limit=100))

    assert faults(lambda: read(write_archive(tmp_path / "p.tar.xz", native()))) == [(FIRST, "files.too-large")]


def test_a_truncated_archive_is_refused(tmp_path) -> None:
    """Nothing of it is read."""
    path = write_archive(tmp_path / "p.tar.xz", native())
    path.write_bytes(path.read_bytes()[:-500])

    assert faults(lambda: read(tmp_path)) == [("p.tar.xz", "recordings.archive-damaged")]


def test_a_file_that_is_there_twice_is_refused(tmp_path) -> None:
    """In one archive, or in two folders: it is not known which one counts."""
    write_archive(tmp_path / "p.tar.xz", native() | {"other/labels.txt": LABELS})
    write_folder(tmp_path / "d", native() | {"labels.txt": LABELS})

    assert [*faults(lambda: read(tmp_path)), *faults(lambda: read(tmp_path / "d"))] == [
        ("labels.txt", "recordings.file-twice"),
        ("d: labels.txt", "recordings.file-twice"),
    ]


def test_nothing_is_parsed_twice(tmp_path, monkeypatch) -> None:
    """The second reading of a folder and of an archive uses the cache."""
    folder, archive = write_folder(tmp_path / "d", native()), write_archive(tmp_path / "p.tar.xz", native())
    reading = Reading(tmp_path, tmp_path / "cache")
    first = [hapt.read(path, reading).sources for path in (folder, archive)]
    monkeypatch.setattr(hapt, "parse", None)

    assert [hapt.read(path, reading).sources for path in (folder, archive)] == first


def test_progress_names_each_file(tmp_path) -> None:
    """The number done, the total and the name."""
    calls = []
    hapt.read(write_folder(tmp_path, native()), Reading(tmp_path, tell=lambda *what: calls.append(what)))

    assert (calls[0], calls[-1][:2]) == ((0, 5, "acc_exp01_user01.txt"), (5, 5))


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The whole set, read once."""
    reading = Reading(Path(), tmp_path_factory.mktemp("cache"))
    return sources.read(HaptSource(kind="hapt", path=str(REAL)), reading), reading


@needs_real
def test_the_real_recordings_are_whole(real) -> None:
    """61 recordings of 30 subjects, 1,122,772 samples, 27 % of them unlabelled."""
    labels = [recording.labels for recording in real[0].recordings]
    subjects = {recording.subject for recording in real[0].recordings}

    unlabelled = sum(int((some == UNLABELLED).sum()) for some in labels)
    assert (len(labels), len(subjects), sum(map(len, labels)), unlabelled) == (61, 30, 1_122_772, 307_158)


@needs_real
def test_every_real_class_occurs(real) -> None:
    """Six activities and six transitions."""
    found = set(np.concatenate([recording.labels for recording in real[0].recordings]).tolist())

    assert found == {UNLABELLED, *range(12)}


@needs_real
def test_the_shipped_configuration_leaves_transitions_out(real) -> None:
    """They are unlabelled there, and six classes remain."""
    dataset = preparation.read_dataset(shipped("hapt.yaml", REAL), real[1])
    as_read = [np.where(recording.labels < 6, recording.labels, UNLABELLED) for recording in real[0].recordings]

    assert dataset.classes == hapt.CLASSES[:6]
    for recording, expected in zip(dataset.recordings, as_read, strict=True):
        np.testing.assert_array_equal(recording.labels, expected)
