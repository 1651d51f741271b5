"""Measure seconds from text to arrays: the sources `dsads` and `csv`, and plain loops of numpy.loadtxt and
pandas.read_csv.

    python benchmarks/reading.py DSADS [SPSW]

DSADS contains p1.tar.xz or its native files, aAA/pN/sSS.txt; SPSW the sNN/sNN_EE_sp.csv of SP-SW-HAR. The native
files of one subject are read directly, and again as nineteen CSV files with a header and labels, with their numbers
copied as text. All run in one process, alternately; the best round counts. The sources also check every row, count
problems, compute a digest of every array, and read labels and clocks; the plain loops only parse numbers.
"""

import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from modelreg import config
from modelreg.config import TrainConfig
from modelreg.data.cache import Reading
from modelreg.data.sources import csv, dsads
from modelreg.records.base import shared_folder
from modelreg.records.csv_device import CsvChannel, CsvDevice
from modelreg.records.source import CsvSource

ROUNDS = 3


def loadtxt(paths: list[Path], header: int, columns: int) -> list[np.ndarray]:
    """Read the first columns of every file, as tutorials do."""
    return [
        np.loadtxt(path, delimiter=",", skiprows=header, usecols=range(columns)).astype(np.float32) for path in paths
    ]


def read_csv(paths: list[Path], header: int, columns: int) -> list[np.ndarray]:
    """Read the same with pandas."""
    frames = (pd.read_csv(path, header=0 if header else None, usecols=range(columns)) for path in paths)
    return [frame.to_numpy().astype(np.float32) for frame in frames]


def seconds(step: Callable[[], object]) -> float:
    """Return how long one call takes."""
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


def compare(what: str, ways: Mapping[str, Callable[[], object]]) -> None:
    """Print the seconds of each implementation and their ratios to the first."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            times[name].append(seconds(way))
    best = {name: min(took) for name, took in times.items()}
    ours = next(iter(best.values()))
    print(what)
    for name, took in best.items():
        print(f"  {name:26} {took:7.3f} s  {took / ours:6.2f} times modelreg's")


def unpack(folder: Path, into: Path) -> Path | None:
    """Return a folder of native text files, unpacked if they are in an archive; None if there are none."""
    if any(folder.glob("a*/p*/s*.txt")):
        return folder
    if not (folder / "p1.tar.xz").is_file():
        return None
    with tarfile.open(folder / "p1.tar.xz") as archive:
        archive.extractall(into, filter="data")
    return next(into.rglob("a01")).parent


def write_tables(native: Path, folder: Path) -> list[Path]:
    """Write the native files as one CSV file for each subject and activity, and return their paths."""
    folder.mkdir()
    names = [f"{unit}_{channel.name}" for unit in dsads.UNITS for channel in dsads.CHANNELS]
    for person in sorted(native.glob("a*/p*")):
        label = dsads.CLASSES[int(person.parent.name[1:]) - 1]
        rows = [row for path in sorted(person.glob("s*.txt")) for row in path.read_text().split()]
        lines = [",".join([*names, "label"]), *(f"{row},{label}" for row in rows)]
        (folder / f"{person.name}_{person.parent.name}.csv").write_text("\n".join(lines))
    return sorted(folder.iterdir())


def describe(folder: Path) -> CsvSource:
    """Return the source of those CSV files: five devices in one file."""
    devices = tuple(
        CsvDevice(
            name=unit,
            files=r"(?P<subject>p\d)_(?P<session>a\d\d)\.csv",
            rate_hz=dsads.RATE_HZ,
            channels=tuple(CsvChannel(name=c.name, column=f"{unit}_{c.name}", unit=c.unit) for c in dsads.CHANNELS),
        )
        for unit in dsads.UNITS
    )
    return CsvSource(
        kind="csv", path=str(folder), name="dsads", license="", citation="", devices=devices, label="label"
    )


def one_device(source: CsvSource) -> CsvSource:
    """Return a source of the same files with all columns as channels of one device."""
    channels = tuple(
        channel.model_copy(update={"name": f"{device.name}_{channel.name}"})
        for device in source.devices
        for channel in device.channels
    )
    return source.model_copy(update={"devices": (source.devices[0].model_copy(update={"channels": channels}),)})


def main(folder: Path, other: Path | None, scratch: Path) -> None:
    """Print the seconds and their ratios."""
    cached = Reading(scratch, scratch / "cache")
    plain = Reading(scratch)
    if native := unpack(folder, scratch / "native"):
        paths = sorted(native.glob("a*/p*/s*.txt"))
        ways: dict[str, Callable[[], object]] = {
            "modelreg dsads": lambda: dsads.read(native, dsads.UNITS, plain),
            "modelreg dsads, cached": lambda: dsads.read(native, dsads.UNITS, cached),
            "pandas.read_csv": lambda: read_csv(paths, 0, 45),
            "numpy.loadtxt": lambda: loadtxt(paths, 0, 45),
        }
        compare(f"{len(paths)} native files of DSADS", ways)
        tables = write_tables(native, scratch / "tables")
        source = describe(scratch / "tables")
        ways = {
            "modelreg csv, one device": lambda: csv.read(one_device(source), plain),
            "modelreg csv, five devices": lambda: csv.read(source, plain),
            "modelreg csv, cached": lambda: csv.read(one_device(source), cached),
            "pandas.read_csv": lambda: read_csv(tables, 1, 45),
            "numpy.loadtxt": lambda: loadtxt(tables, 1, 45),
        }
        compare(f"the same in {len(tables)} CSV files", ways)
    else:
        print(f"skipped: {folder} holds neither p1.tar.xz nor aAA/pN/sSS.txt")
    if other and (clocked := sorted(other.glob("s*/s*_s[pw].csv"))):
        document = config.parse_yaml((shared_folder("configs") / "spsw_csv.yaml").read_text("utf-8"), "spsw_csv.yaml")
        shipped = config.settle(document, TrainConfig, "spsw_csv.yaml").data.sources[0]
        spsw = CsvSource.model_validate(shipped.model_dump() | {"path": str(other.absolute())})
        ways = {
            "modelreg csv": lambda: csv.read(spsw, plain),
            "modelreg csv, cached": lambda: csv.read(spsw, cached),
            "pandas.read_csv": lambda: read_csv(clocked, 1, 7),
            "numpy.loadtxt": lambda: loadtxt(clocked, 1, 7),
        }
        compare(f"{len(clocked)} files of SP-SW-HAR", ways)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(str(__doc__))
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None, Path(temporary))
