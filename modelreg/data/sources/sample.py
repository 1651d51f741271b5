"""Read the recordings that come with modelreg: a smart watch, 10 subjects, 7 shoulder exercises.

scripts/make_sample.py makes the file; sample.LICENSE is its license. The authors recorded acceleration in g and
angular velocity in rad/s with an Apple Watch at 50 Hz; every sample of a recording has the recording's label.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelreg import files
from modelreg.artifacts import npz
from modelreg.data.recording import Dataset, Recording, Signal
from modelreg.errors import InputError, Problem
from modelreg.records.data import SourceRecord
from modelreg.records.model import Channel

FILE = Path(__file__).with_name("sample.npz")
DIGEST = "b0ddd8ae951556ace081b0e4be32605fb759221c252d0b3ee0b3df2bd0d2ab6b"  # over its arrays
CITATION = (
    "Burns D, Leung N, Hardisty M, Whyne C, Henry P, McLachlin S. Shoulder physiotherapy exercise "
    "recognition: machine learning the inertial signals from a smartwatch. Physiological Measurement 39(7) "
    "075007, 2018. "
    "doi:10.1088/1361-6579/aacfd9, arXiv:1802.01489"
)
CHANNELS = (
    *(Channel(name=name, unit="g") for name in ("ax", "ay", "az")),
    *(Channel(name=name, unit="rad/s") for name in ("wx", "wy", "wz")),
)
CLASSES = ("PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW")
SIDES = ("left", "right")
DEVICE = "watch"
RATE_HZ = 50.0
STEPS = 1000  # of the stored integers, per unit


def read(path: Path = FILE) -> Dataset:
    """Read the sample. Raises InputError if an array differs from the released one."""
    arrays = npz.read_npz(path)
    digest = files.sha256_arrays(arrays)
    if digest != DIGEST:
        message = f"digest {digest}, expected {DIGEST}"
        raise InputError("cannot read the sample", [Problem(str(path), "sample.changed", message)])
    return Dataset(
        sources=(
            SourceRecord(
                kind="sample", name="seglearn-watch", digest=digest, license="BSD-3-Clause", citation=CITATION
            ),
        ),
        channels=CHANNELS,
        devices=(DEVICE,),
        classes=CLASSES,
        rate_hz=RATE_HZ,
        recordings=tuple(_recordings(arrays)),
    )


def _recordings(arrays: dict[str, NDArray[Any]]) -> Iterator[Recording]:
    ends = np.cumsum(arrays["lengths"])[:-1]
    pieces = np.split(arrays["samples"], ends)
    for samples, label, number, side in zip(pieces, arrays["label"], arrays["subject"], arrays["side"], strict=True):
        subject, session = f"s{number:02d}", SIDES[side]
        yield Recording(
            name=f"{subject}-{CLASSES[label]}-{session}",
            subject=subject,
            session=session,
            signals={DEVICE: Signal((samples / np.float64(STEPS)).astype(np.float32), RATE_HZ)},
            labels=np.full(len(samples), label, dtype=np.int32),
        )
