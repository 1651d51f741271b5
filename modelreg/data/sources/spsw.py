"""Read SP-SW-HAR: 23 subjects with a phone and a watch, each on its own irregular clock of about 100 Hz.

Native layout: `DATA/sNN/sNN_EE_{sp,sw}.csv`, subject and execution, with the columns x_acc to z_gyro, timestamp in
milliseconds and label; in a folder, or in a `.tar.xz` archive. The labels are those of the watch, whose clock has less
jitter. The devices are aligned by their time stamps later, as with every source.
"""

import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelreg.data.cache import Parsed, Reading, combine
from modelreg.data.recording import UNLABELLED, UNREADABLE, Dataset, Recording, Signal
from modelreg.data.sources import csv_table, text_files
from modelreg.data.sources.csv_layout import Layout
from modelreg.data.sources.text_rows import Form
from modelreg.errors import InputError, Problem
from modelreg.records.csv_device import CsvChannel, CsvColumns, CsvTime
from modelreg.records.data import SourceRecord
from modelreg.records.model import Channel

RATE_HZ = 100.0  # nominal
DEVICES = {"watch": "sw", "phone": "sp"}  # the first gives the labels
SENSORS = {"acc": "m/s2", "gyro": "rad/s"}
CHANNELS = tuple(Channel(name=f"{sensor}_{axis}", unit=unit) for sensor, unit in SENSORS.items() for axis in "xyz")
CLASSES = ("SEATED", "SITTING_DOWN", "STANDING_UP", "TURNING", "WALKING")
CITATION = "Matey-Sanz M et al. Data in Brief 2023, 109809. doi:10.1016/j.dib.2023.109809"
NATIVE = text_files.Native(
    files="sNN/sNN_EE_{sp,sw}.csv",
    parser="spsw-1",
    member=re.compile(r"(?:(?!\.\./)[^/]+/)*(?P<name>s[0-9]{2}_[0-9]{2}_(?:sp|sw))\.csv"),
    suffix=".csv",
    folders=("", "s*/", "DATA/s*/"),
    limit=2**26,
    parse=lambda name, data, where: parse(name, data, where).items(),
)

_LAYOUT = Layout(
    CsvColumns(
        time=CsvTime(column="timestamp", unit="ms"),
        channels=tuple(
            CsvChannel(name=f"{sensor}_{axis}", column=f"{axis}_{sensor}", unit=unit)
            for sensor, unit in SENSORS.items()
            for axis in "xyz"
        ),
    ),
    label=None,
    form=Form(),
    missing=(),
)


def read(path: Path, reading: Reading) -> Dataset:
    """Read a folder or an archive. Raises InputError with file and line of every problem."""
    problems: list[Problem] = []
    found = text_files.read_all(path, NATIVE, reading, problems)
    executions = sorted({name.rpartition("_")[0] for name in found})
    problems = problems or [*_find_gaps(executions, found)]
    if problems:
        raise InputError(UNREADABLE, problems)
    digest = combine({name: parsed.digest for name, parsed in found.items()})
    return Dataset(
        sources=(SourceRecord(kind="spsw", name="spsw", digest=digest, license="CC-BY-4.0", citation=CITATION),),
        channels=CHANNELS,
        devices=tuple(DEVICES),
        classes=CLASSES,
        rate_hz=RATE_HZ,
        recordings=tuple(_recording(name, found) for name in executions),
    )


def parse(name: str, data: bytes, where: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of one device: values, float32 (samples, 6), time, float64 (samples,) seconds since 1970.

    For the watch also labels, int32 (samples,). Raises InputError with file and line.
    """
    layout = _LAYOUT._replace(label="label") if name.endswith(DEVICES["watch"]) else _LAYOUT
    table = dict(csv_table.parse(io.BytesIO(data), where, layout))
    arrays = {f"{name}.{part}": table[part] for part in ("values", "time")}
    return arrays | {f"{name}.labels": _labels(table, where)} if "codes" in table else arrays


def _labels(table: Mapping[str, NDArray[Any]], where: str) -> NDArray[np.int32]:
    """Return the class of each row. Raises InputError with the first line of each unknown label."""
    names = table["labels"].tolist()
    expected = f"expected {', '.join(CLASSES)}"
    problems = [
        Problem(f"{where}:{line}", "recordings.label-unknown", f"unknown label {name!r}, {expected}")
        for name, line in zip(names, table["lines"].tolist(), strict=True)
        if name not in CLASSES
    ]
    if problems:
        raise InputError(UNREADABLE, problems)
    known = np.array([*map(CLASSES.index, names), UNLABELLED], dtype=np.int32)
    labels: NDArray[np.int32] = known[table["codes"]]
    return labels


def _find_gaps(executions: list[str], found: Mapping[str, Parsed]) -> Iterator[Problem]:
    """Yield each file that is missing."""
    for execution in executions:
        for device, short in DEVICES.items():
            if f"{execution}_{short}.values" not in found:
                message = f"missing: an execution needs a file of the {device}"
                yield Problem(f"{execution}_{short}.csv", "recordings.file-missing", message)


def _recording(execution: str, found: Mapping[str, Parsed]) -> Recording:
    subject, _, session = execution.partition("_")
    signals = {
        device: Signal(found[f"{execution}_{short}.values"].values, RATE_HZ, found[f"{execution}_{short}.time"].values)
        for device, short in DEVICES.items()
    }
    return Recording(
        name=f"{subject}-{session}",
        subject=subject,
        session=session,
        signals=signals,
        labels=found[f"{execution}_{DEVICES['watch']}.labels"].values,
    )
