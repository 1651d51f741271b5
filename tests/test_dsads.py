"""The source dsads: native folders and archives, joined again; every problem with file and line."""

import io
import lzma
import tarfile
from pathlib import Path

import numpy as np
import pytest
from native_sets import faults, write_archive, write_folder

from modelreg import config
from modelreg.config import TrainConfig
from modelreg.data.cache import Reading
from modelreg.data.preparation import prepare
from modelreg.data.sources import dsads

ARCHIVE = ("p1.tar.xz", "recordings.archive-damaged")
REAL = Path(__file__).parents[2] / "shared" / "data" / "dsads"


def text(seed: int) -> bytes:
    """One segment as the set writes it: made up, for tests only."""
    rows = np.random.default_rng(seed).normal(size=(125, 45)).round(4)
    return "".join(",".join(map(str, row)) + "\n" for row in rows.tolist()).encode()


def members(subjects=(1, 2), activities=(1, 19), segments=(1, 2)) -> dict[str, bytes]:
    """Files by their native names."""
    return {
        f"a{a:02d}/p{p}/s{s:02d}.txt": text(p * 10_000 + a * 100 + s)
        for a in activities
        for p in subjects
        for s in segments
    }


def test_folder_and_archive_are_the_same(tmp_path) -> None:
    """The digest is over the arrays, not over the files."""
    folder = write_folder(tmp_path / "native", members())
    write_archive(tmp_path / "p.tar.xz", members())

    assert (
        dsads.read(folder, ("RA",), Reading(Path())).sources
        == dsads.read(tmp_path / "p.tar.xz", ("RA",), Reading(Path())).sources
    )


def test_pieces_are_joined_in_order(tmp_path) -> None:
    """A recording is the concatenation of its segments, with the columns of its unit."""
    found = members()
    recording = dsads.read(write_folder(tmp_path, found), ("RA", "LL"), Reading(Path())).recordings[0]
    pieces = [np.loadtxt(io.BytesIO(found[f"a01/p1/s{n:02d}.txt"]), delimiter=",") for n in (1, 2)]

    np.testing.assert_array_equal(recording.signals["RA"].values, np.concatenate(pieces)[:, 9:18].astype(np.float32))


def test_labels_are_the_activity(tmp_path) -> None:
    """a19 is the last class."""
    recording = dsads.read(write_folder(tmp_path, members()), ("T",), Reading(Path())).recordings[-1]

    assert (recording.name, set(recording.labels.tolist())) == ("p2-a19", {18})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda f: f.update({"a01/p1/s01.txt": text(0).replace(b"\n", b",x\n", 1)}),
            [("s01.txt:1", "csv.row-width")],
        ),
        (
            lambda f: f.update({"a01/p1/s01.txt": text(0).replace(b",", b"\n", 1)}),
            [("s01.txt", "recordings.row-count"), ("s01.txt:1", "csv.row-width")],
        ),
        (
            lambda f: f.update({"a01/p1/s01.txt": (b"0," * 44 + b"0\n") * 124 + b"1e," + b"0," * 43 + b"x\n"}),
            [("s01.txt:125", "csv.not-a-number")],
        ),
        (lambda f: f.update({"a01/p1/s01.txt": b"1,2\n" * 125}), [("s01.txt:1", "csv.row-width")]),
        (lambda f: f.update({"a01/p1/s01.txt": b""}), [("s01.txt", "recordings.row-count")]),
        (lambda f: f.pop("a01/p1/s01.txt"), [("p1", "recordings.file-missing")]),
        (lambda f: f.update({"a20/p1/s01.txt": text(0)}), [("p1", "recordings.label-unknown")]),
        (lambda f: f.clear(), [("d", "recordings.none-found")]),
    ],
)
def test_a_fault_is_named(tmp_path, change, problem) -> None:
    """File, line and rule."""
    found = members()
    change(found)
    (tmp_path / "d").mkdir()

    assert faults(lambda: dsads.read(write_folder(tmp_path / "d", found), ("T",), Reading(Path()))) == problem


@pytest.mark.parametrize("data", [b"", b"text", lzma.compress(b"text"), b"\xfd7zXZ\x00broken"])
def test_what_is_not_an_archive_is_refused(tmp_path, data) -> None:
    """Empty, foreign and damaged files."""
    (tmp_path / "p1.tar.xz").write_bytes(data)

    assert faults(lambda: dsads.read(tmp_path, ("T",), Reading(Path()))) == [ARCHIVE]


def test_a_truncated_archive_is_refused(tmp_path) -> None:
    """Nothing of it is read."""
    path = write_archive(tmp_path / "p1.tar.xz", members())
    path.write_bytes(path.read_bytes()[:-5000])

    assert faults(lambda: dsads.read(tmp_path, ("T",), Reading(Path()))) == [ARCHIVE]


def test_other_files_are_ignored(tmp_path) -> None:
    """A file of another name is not a segment."""
    folder = write_folder(tmp_path, members() | {"a01/p1/sxx.txt": b"notes"})

    assert len(dsads.read(folder, ("T",), Reading(Path())).recordings) == 4


def test_other_members_are_ignored(tmp_path) -> None:
    """Links, other files and paths that lead out of the archive are not segments."""
    with tarfile.open(write_archive(tmp_path / "p1.tar.xz", {}), "w:xz") as archive:
        link = tarfile.TarInfo("a01/p1/s03.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("../evil.txt"))

    assert [rule for _, rule in faults(lambda: dsads.read(tmp_path, ("T",), Reading(Path())))] == [
        "recordings.none-found"
    ]


def test_a_unit_is_listed_once() -> None:
    """The same device twice is a mistake."""
    source = {"kind": "dsads", "path": "x", "units": ["RA", "RA"]}
    problems = faults(lambda: config.settle({"data": {"sources": [source]}}, TrainConfig, "x"))

    assert problems == [("x: data.sources.0", "config.inconsistent")]


def test_two_units_are_two_device_rows(tmp_path) -> None:
    """Windows are (N, 9, 2, T)."""
    write_folder(tmp_path, members(subjects=(1, 2, 3), activities=range(1, 20)))
    settings = config.settle(
        {
            "data": {"sources": [{"kind": "dsads", "path": "."}]},
            "split": {"by": "subject", "test": 1, "validation": 1},
        },
        TrainConfig,
        "x",
    )

    assert prepare(settings, Reading(tmp_path)).windows["train"].x.shape == (19 * 4, 9, 2, 100)


@pytest.mark.skipif(not REAL.is_dir(), reason="the recordings under ../shared/data are not here")
def test_the_real_recordings_are_whole() -> None:
    """One subject: 19 activities of five minutes, 149 windows each."""
    dataset = dsads.read(REAL / "p1.tar.xz", ("RA", "RL"), Reading(Path()))

    assert [len(recording.labels) for recording in dataset.recordings] == [7500] * 19


def test_a_recording_in_two_archives_is_refused(tmp_path) -> None:
    """It is not known which one counts."""
    write_archive(tmp_path / "one.tar.xz", members())
    write_archive(tmp_path / "two.tar.xz", members(subjects=(2,)))

    assert faults(lambda: dsads.read(tmp_path, ("T",), Reading(Path()))) == [
        (f"{tmp_path.name}: p2-a{activity}", "recordings.file-twice") for activity in ("01", "19")
    ]


def test_nothing_is_parsed_twice(tmp_path, monkeypatch) -> None:
    """The second reading of a folder and of an archive uses the cache."""
    write_folder(tmp_path / "d", members())
    write_archive(tmp_path / "d" / "p.tar.xz", members(subjects=(3,)))
    reading = Reading(tmp_path, tmp_path / "cache")
    first = dsads.read(tmp_path / "d", ("T",), reading)
    monkeypatch.setattr(dsads, "parse", None)

    assert dsads.read(tmp_path / "d", ("T",), reading).sources == first.sources


def test_progress_names_each_recording(tmp_path) -> None:
    """The number done, the total and the name."""
    calls = []
    dsads.read(write_folder(tmp_path, members()), ("T",), Reading(tmp_path, tell=lambda *what: calls.append(what)))

    assert (calls[0], calls[-1][:2]) == ((0, 4, "p1-a01"), (4, 4))
