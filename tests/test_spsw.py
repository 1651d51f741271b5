"""The source spsw: a phone and a watch with one clock each, folder or archive; every problem with its place."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from native_sets import faults, shipped, write_archive, write_folder

from modelreg.data import preparation
from modelreg.data.cache import Reading
from modelreg.data.recording import UNLABELLED
from modelreg.data.sources import registry as sources
from modelreg.data.sources import spsw
from modelreg.records.source import SpswSource

REAL = Path(__file__).parents[2] / "shared" / "data" / "spsw"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the recordings under ../shared/data are not here")
HEADER = "x_acc,y_acc,z_acc,x_gyro,y_gyro,z_gyro,timestamp,label\n"
LABELS = ("SEATED", "SEATED", "WALKING", "TURNING")
SECOND = "./DATA/s02/s02_01_sw.csv"


def text(seed: int, labels=LABELS) -> bytes:
    """One device's file as the set writes it: made up, for tests only."""
    rows = np.random.default_rng(seed).normal(size=(len(labels), 6)).tolist()
    stamps = [1_657_533_977_810 + seed + 10 * n for n in range(len(labels))]
    lines = [",".join([*map(repr, row), str(at), label]) for row, at, label in zip(rows, stamps, labels, strict=True)]
    return (HEADER + "\n".join(lines) + "\n").encode()


def native() -> dict[str, bytes]:
    """Two executions of two subjects, by their native names, and a table in the same folder."""
    names = [f"s{subject:02d}/s{subject:02d}_01_{device}" for subject in (1, 2) for device in ("sp", "sw")]
    found = {f"./DATA/{name}.csv": text(seed) for seed, name in enumerate(names)}
    return found | {"./DATA/executions_info.csv": b"execution_id,orientation\ns01_01,back\n"}


def read(path: Path, **settings):
    """Read without a cache, as a configuration names it."""
    return sources.read(SpswSource(kind="spsw", path=str(path), **settings), Reading(Path()))


@pytest.mark.parametrize("inner", ["", "DATA", "DATA/.."])
def test_folder_and_archive_are_the_same(tmp_path, inner) -> None:
    """The digest is over the arrays, not over the files; DATA/ may be named, too."""
    folder = write_folder(tmp_path / "native", native()) / inner
    write_archive(tmp_path / "p.tar.xz", native())

    assert read(folder).sources == read(tmp_path / "p.tar.xz").sources


def test_a_recording_is_named_by_subject_and_execution(tmp_path) -> None:
    """The split is by subject."""
    first = read(write_folder(tmp_path, native())).recordings[0]

    assert (first.name, first.subject, first.session, *first.signals) == ("s01-01", "s01", "01", "watch", "phone")


def test_each_device_keeps_its_clock(tmp_path) -> None:
    """Milliseconds since 1970 become seconds."""
    first = read(write_folder(tmp_path, native())).recordings[0]
    begins = {device: signal.time[0] for device, signal in first.signals.items()}

    assert begins == {"phone": 1_657_533_977.810, "watch": 1_657_533_977.811}


def test_labels_are_those_of_the_watch(tmp_path) -> None:
    """The labels of the phone's file are ignored."""
    found = native() | {"./DATA/s01/s01_01_sp.csv": text(0, ("no", "label", "of", "ours"))}
    first = read(write_folder(tmp_path, found)).recordings[0]

    assert [spsw.CLASSES[label] for label in first.labels] == list(LABELS)


def test_a_row_without_a_label_is_unlabelled(tmp_path) -> None:
    """As in every text file."""
    found = native() | {SECOND: text(3, ("SEATED", "", "SEATED", "SEATED"))}

    assert read(write_folder(tmp_path, found)).recordings[1].labels.tolist() == [0, UNLABELLED, 0, 0]


WATCH = "s02_01_sw.csv"
FAULTS = {
    "unknown label": (text(3, ("SEATED", "RUN", "RUN", "SEATED")), (f"{WATCH}:3", "recordings.label-unknown")),
    "not a number": (text(3).replace(b",1657533977823,", b",noon,"), (f"{WATCH}:3", "csv.not-a-number")),
    "time goes back": (text(3).replace(b"7823,", b"7803,"), (f"{WATCH}:3", "csv.time-goes-back")),
    "short row": (text(3) + b"1,2\n", (f"{WATCH}:6", "csv.row-width")),
    "other columns": (text(3).replace(b"x_gyro", b"gyro_x"), (WATCH, "csv.column-missing")),
    "empty": (b"", (WATCH, "csv.empty")),
    "missing": (None, (WATCH, "recordings.file-missing")),
}


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
@pytest.mark.parametrize(("data", "problem"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named(tmp_path, data, problem, packed) -> None:
    """File, line and rule, in a folder and in an archive."""
    found = native() | {SECOND: data}
    if data is None:
        del found[SECOND]
    path = write_archive(tmp_path / "p.tar.xz", found) if packed else write_folder(tmp_path, found)

    assert faults(lambda: read(path)) == [problem]


def test_a_folder_without_recordings_is_refused(tmp_path) -> None:
    """The folder is named."""
    assert faults(lambda: read(tmp_path)) == [(tmp_path.name, "recordings.none-found")]


def test_a_file_that_is_there_twice_is_refused(tmp_path) -> None:
    """In an archive and in the folder: named once, though it holds several arrays."""
    write_archive(write_folder(tmp_path, {"s01/s01_01_sw.csv": text(1)}) / "p.tar.xz", native())

    assert faults(lambda: read(tmp_path)) == [(f"{tmp_path.name}: s01_01_sw.csv", "recordings.file-twice")]


def test_nothing_is_parsed_twice(tmp_path, monkeypatch) -> None:
    """The second reading uses the cache."""
    path, reading = write_archive(tmp_path / "p.tar.xz", native()), Reading(tmp_path, tmp_path / "cache")
    first = spsw.read(path, reading).sources
    monkeypatch.setattr(spsw, "parse", None)

    assert spsw.read(path, reading).sources == first


@needs_real
def test_both_shipped_configurations_make_the_same_windows(tmp_path) -> None:
    """The native archive, and its text files read by the mapping of csv: 223 executions, two clocks each, aligned."""
    with tarfile.open(next(REAL.glob("*.tar.xz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    reading = Reading(tmp_path, tmp_path / "cache")
    ours, theirs = (
        preparation.prepare(shipped(name, path), reading).record.parts
        for name, path in (("spsw.yaml", REAL), ("spsw_csv.yaml", tmp_path / "DATA"))
    )

    assert ours == theirs
