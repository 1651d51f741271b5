"""The source hapt: native folders and archives, spans of labels, transitions dropped; every fault with its place."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_sets import shipped, write_archive, write_folder

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
    """Two experiments of two people, by their native names."""
    names = [f"{sensor}_exp{n:02d}_user{n:02d}" for n in (1, 2) for sensor in ("acc", "gyro")]
    return {f"RawData/{name}.txt": text(seed) for seed, name in enumerate(names)} | {"RawData/labels.txt": LABELS}


def read(path: Path):
    """Read without a cache, as a configuration names it."""
    return sources.read(HaptSource(kind="hapt", path=str(path)), Reading(Path()))


@pytest.mark.parametrize("inner", ["", "RawData"])
def test_folder_and_archive_are_the_same(tmp_path, inner) -> None:
    """The digest is over the arrays, however they were packed; RawData/ itself may be named."""
    folder = write_folder(tmp_path / "native", native() | {"activity_labels.txt": b"1 WALKING\n"}) / inner
    write_archive(tmp_path / "p.tar.xz", native())

    assert read(folder).sources == read(tmp_path / "p.tar.xz").sources


def test_a_recording_is_both_sensors_of_an_experiment(tmp_path) -> None:
    """Acceleration, then rotation, as they were written."""
    recording = read(write_folder(tmp_path, native())).recordings[1]
    pieces = [np.loadtxt(tmp_path / f"RawData/{sensor}_exp02_user02.txt") for sensor in ("acc", "gyro")]

    np.testing.assert_array_equal(recording.signals["waist"].values, np.hstack(pieces).astype(np.float32))


def test_a_recording_is_named_by_person_and_experiment(tmp_path) -> None:
    """People are what a split goes by."""
    first = read(write_folder(tmp_path, native())).recordings[0]

    assert (first.name, first.subject, first.session) == ("user01-exp01", "user01", "exp01")


def test_spans_count_from_one_and_include_their_end(tmp_path) -> None:
    """Samples 3 to 10 are the third to the tenth; what no span covers has no label."""
    labels = read(write_folder(tmp_path, native())).recordings[0].labels

    assert labels.tolist() == [UNLABELLED] * 2 + [4] * 8 + [6] * 2 + [UNLABELLED] * 28


@given(cuts=st.sets(st.integers(1, SAMPLES - 1), max_size=8), data=st.data())
def test_labels_are_those_of_the_lines_in_any_order(tmp_path_factory, cuts, data) -> None:
    """Spans that touch make a whole; the order of the lines means nothing."""
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


FAULTS = {
    "no number": (acc(b"1 2 3\n1 x 3\n"), "acc_exp01_user01.txt: line 2, column 2: not a number: 'x'"),
    "wide row": (acc(b"1 2 3\n1 2 3 4\n"), "acc_exp01_user01.txt: line 2: has 4 columns, must have 3"),
    "short row": (acc(b"1 2 3\n1 2\n"), "acc_exp01_user01.txt: line 2: has 2 columns, must have 3"),
    "wide file": (acc(b"1 2 3 4\n"), "acc_exp01_user01.txt: line 1: has 4 columns, must have 3"),
    "narrow file": (acc(b"1 2\n"), "acc_exp01_user01.txt: line 1: has no column 3"),
    "empty": (acc(b""), "acc_exp01_user01.txt: is empty"),
    "no text": (acc(b"\x00\x01"), "acc_exp01_user01.txt: line 1: a NUL byte"),
    "lengths differ": (acc(text(0, 39)), "exp01_user01: has 39 samples of acc and 40 of gyro"),
    "no partner": (lambda f: f.pop("RawData/gyro_exp02_user02.txt"), "gyro_exp02_user02.txt: is missing"),
    "no labels": (lambda f: f.pop("RawData/labels.txt"), "labels.txt: is missing"),
    "nothing": (lambda f: f.clear(), "holds neither"),
    "other labels": (lines(LABELS + b"3 1 1 1 2\n"), "labels.txt: line 4: there is no recording exp03_user01"),
    "unlabelled": (lines(b"1 1 5 1 2\n"), "labels.txt: says nothing of exp02_user02"),
    "unknown label": (lines(LABELS + b"1 1 13 20 21"), "labels.txt: line 4: no such label: 13; there are 1 to 12"),
    "label 0": (lines(LABELS + b"1 1 0 20 21"), "line 4: no such label: 0"),
    "beyond the end": (lines(LABELS + b"1 1 1 40 41"), "line 4: from sample 40 to 41: exp01_user01 has 1 to 40"),
    "before the start": (lines(LABELS + b"1 1 1 0 1"), "line 4: from sample 0 to 1"),
    "backwards": (lines(LABELS + b"1 1 1 30 29"), "line 4: from sample 30 to 29"),
    "overlap": (lines(LABELS + b"1 1 1 12 14"), "line 4: sample 12 has a label already, in line 2"),
    "inside another": (lines(LABELS + b"2 2 1 5 6\n2 2 1 8 9"), "line 5: sample 8 has a label already, in line 3"),
    "four numbers": (lines(b"1 1 5 1"), "labels.txt: line 1: must be five whole numbers"),
    "no whole number": (lines(b"1 1 5 1 2.5"), "labels.txt: line 1: must be five whole numbers"),
    "no lines": (lines(b""), "labels.txt: line 1: must be five whole numbers"),
    "blank line": (lines(b"1 1 5 1 2\n\n2 2 1 1 2\n"), "labels.txt: line 2: must be five whole numbers"),
    "huge": (lines(b"1 1 5 1 99999999999999999999"), "labels.txt: line 1: must be five whole numbers"),
}


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
@pytest.mark.parametrize(("change", "problem"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named(tmp_path, change, problem, packed) -> None:
    """File, line and rule, in a folder and in an archive."""
    found = native()
    change(found)
    path = write_archive(tmp_path / "p.tar.xz", found) if packed else write_folder(tmp_path, found)
    with pytest.raises(InputError) as caught:
        read(path)

    assert problem in str(caught.value)


def test_all_faults_are_named_at_once(tmp_path) -> None:
    """Of every file, and every line."""
    found = native() | {"RawData/gyro_exp02_user02.txt": b"x 2 3", "RawData/labels.txt": b"a\nb\n"}
    with pytest.raises(InputError) as caught:
        read(write_archive(tmp_path / "p.tar.xz", found))

    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("name", ["../RawData", "a/../RawData", "/RawData"])
def test_what_leads_out_of_the_archive_is_left_alone(tmp_path, name) -> None:
    """It is no file of the set; that it lacks is said."""
    found = {path.replace("RawData", name) if "gyro_exp01" in path else path: data for path, data in native().items()}
    with pytest.raises(InputError, match=r"gyro_exp01_user01.txt: is missing"):
        read(write_archive(tmp_path / "p.tar.xz", found))


def test_a_link_is_left_alone(tmp_path) -> None:
    """What it names outside is not read."""
    link = tarfile.TarInfo("RawData/labels.txt")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    found = native()
    del found["RawData/labels.txt"]
    with pytest.raises(InputError, match=r"labels.txt: is missing"):
        read(write_archive(tmp_path / "p.tar.xz", found, link))


def test_a_file_over_the_limit_is_refused(tmp_path, monkeypatch) -> None:
    """Whatever it claims of itself."""
    monkeypatch.setattr(hapt, "NATIVE", hapt.NATIVE._replace(limit=100))
    with pytest.raises(InputError, match=r"acc_exp01_user01.txt: larger than 100 bytes"):
        read(write_archive(tmp_path / "p.tar.xz", native()))


def test_a_truncated_archive_is_refused(tmp_path) -> None:
    """Half of a recording is none."""
    path = write_archive(tmp_path / "p.tar.xz", native())
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match="not a whole"):
        read(tmp_path)


def test_a_file_that_is_there_twice_is_refused(tmp_path) -> None:
    """Whose numbers would count? Beside each other, in two archives, in one."""
    twice = native() | {"other/labels.txt": LABELS}
    write_archive(tmp_path / "p.tar.xz", twice)
    with pytest.raises(InputError, match=r"other/labels.txt: is in the archive twice"):
        read(tmp_path)
    write_folder(tmp_path / "d", native() | {"labels.txt": LABELS})
    with pytest.raises(InputError, match=r"labels.txt is there twice"):
        read(tmp_path / "d")


def test_nothing_is_parsed_twice(tmp_path, monkeypatch) -> None:
    """The second reading of a folder and of an archive takes what the first one kept."""
    folder, archive = write_folder(tmp_path / "d", native()), write_archive(tmp_path / "p.tar.xz", native())
    reading = Reading(tmp_path, tmp_path / "cache")
    first = [hapt.read(path, reading).sources for path in (folder, archive)]
    monkeypatch.setattr(hapt, "parse", None)

    assert [hapt.read(path, reading).sources for path in (folder, archive)] == first


def test_progress_names_each_file(tmp_path) -> None:
    """How many of how many, and which."""
    told = []
    hapt.read(write_folder(tmp_path, native()), Reading(tmp_path, tell=lambda *what: told.append(what)))

    assert (told[0], told[-1][:2]) == ((0, 5, "acc_exp01_user01.txt"), (5, 5))


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The whole set, read once."""
    reading = Reading(Path(), tmp_path_factory.mktemp("cache"))
    return sources.read(HaptSource(kind="hapt", path=str(REAL)), reading), reading


@needs_real
def test_the_real_recordings_are_whole(real) -> None:
    """61 recordings of 30 people, 1,122,772 samples, 27 % of them unlabelled."""
    labels = [recording.labels for recording in real[0].recordings]
    people = {recording.subject for recording in real[0].recordings}

    unlabelled = sum(int((some == UNLABELLED).sum()) for some in labels)
    assert (len(labels), len(people), sum(map(len, labels)), unlabelled) == (61, 30, 1_122_772, 307_158)


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
