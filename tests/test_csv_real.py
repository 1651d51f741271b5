"""The source csv on two real sets: phones and watches with one clock each, and a native set written as CSV."""

import io
import tarfile
from pathlib import Path

import pytest
from csv_folder import device, source
from native_sets import shipped

from modelreg.data import windows
from modelreg.data.cache import Reading
from modelreg.data.sources import csv, dsads

REAL = Path(__file__).parents[2] / "shared" / "data"


def spsw(folder: Path):
    """The source of the shipped configuration, on another folder."""
    return shipped("spsw_csv.yaml", folder).data.sources[0]


def test_the_shipped_configuration_is_valid() -> None:
    """Two devices, each with a clock."""
    assert [bool(device.time) for device in spsw(Path("x")).devices] == [True, True]


@pytest.mark.skipif(not (REAL / "spsw").is_dir(), reason="the recordings under ../shared/data are not here")
def test_phone_and_watch_are_read_whole(tmp_path) -> None:
    """23 subjects, 223 executions, two clocks each."""
    with tarfile.open(next((REAL / "spsw").glob("*.tar.xz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    dataset = csv.read(spsw(tmp_path / "DATA"), Reading(tmp_path))
    stamped = sum(signal.time is not None for r in dataset.recordings for signal in r.signals.values())

    assert (len(dataset.recordings), len({r.subject for r in dataset.recordings}), stamped) == (223, 23, 446)


@pytest.mark.skipif(not (REAL / "dsads").is_dir(), reason="the recordings under ../shared/data are not here")
def test_the_native_files_as_text_are_the_same(tmp_path) -> None:
    """Windows and labels equal those of the source dsads to the bit."""
    native = dsads.read(REAL / "dsads" / "p1.tar.xz", ("RA", "LA"), Reading(tmp_path))
    header = [f"{unit}_{channel.name}" for unit in ("RA", "LA") for channel in native.channels]
    with tarfile.open(REAL / "dsads" / "p1.tar.xz") as archive:
        members = {member.name: member for member in archive}
        for activity in (1, 9, 19):
            pieces = sorted(name for name in members if f"a{activity:02d}/" in name and name.endswith(".txt"))
            lines = [",".join([*header, "label"])]
            for name in pieces:
                text = io.TextIOWrapper(archive.extractfile(members[name]))
                lines += [",".join([*row.split(",")[9:27], dsads.CLASSES[activity - 1]]) for row in text if row.strip()]
            (tmp_path / f"p1_a{activity:02d}.csv").write_text("\n".join(lines))
    columns = {
        unit: device(
            rate_hz=25, channels={c.name: {"column": f"{unit}_{c.name}", "unit": c.unit} for c in native.channels}
        )
        for unit in ("RA", "LA")
    }
    found = csv.read(source(devices=columns), Reading(tmp_path))
    known = {r.name: r for r in native.recordings}
    mine, theirs = (
        windows.cut(recordings, classes=dataset.classes, window=100, hop=50, labels="pure")
        for dataset, recordings in ((found, found.recordings), (native, [known[r.name] for r in found.recordings]))
    )

    assert (mine.x.tobytes(), [found.classes[y] for y in mine.y], mine.start.tolist()) == (
        theirs.x.tobytes(),
        [native.classes[y] for y in theirs.y],
        theirs.start.tolist(),
    )
