"""Read windows from .npy files that a metadata JSON in the same folder declares (records.data.NpyMetadata).

Nothing is guessed. The type, shape and values of every array are compared with the declaration. Every header is read
before any content, nothing is unpickled, and files outside the folder are refused. All problems are listed at
once: first those of the files, then those of their contents.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg import files
from modelreg.data.cache import map_npy
from modelreg.data.memory_map import sha256_arrays
from modelreg.data.message_lists import and_others
from modelreg.data.recording import UNREADABLE, Dataset, Recording, Signal
from modelreg.errors import InputError, Problem
from modelreg.records.base import parse
from modelreg.records.data import NpyFiles, NpyMetadata, PartName, SourceRecord

WHY_SUBJECTS = "metrics are reported on unseen subjects only"
SUBJECT_LENGTH = 100  # characters, as of every name
FILE_LIMIT = 4 * 2**30  # bytes of one array


class Arrays(NamedTuple):
    """The arrays of one split: mapped, not loaded."""

    x: NDArray[Any]  # (N, C, D, T), (N, C, T) or (N, T, C)
    y: NDArray[Any]  # (N,)
    subject: NDArray[Any]  # (N,)

    @property
    def rows(self) -> tuple[int, ...]:
        """The shape of an array with one value for each window."""
        return self.x.shape[:1] or (0,)


def read(path: Path) -> Dataset:
    """Read the windows that a metadata JSON declares, each as one recording. Raises InputError."""
    metadata = _load_metadata(path)
    parts = _open_parts(path.parent, metadata)
    problems = [
        problem for part, names in metadata.parts.items() for problem in _find_problems(parts[part], names, metadata)
    ]
    if problems:
        raise InputError(UNREADABLE, problems)
    digest = sha256_arrays({f"{part}/{key}": array for part in parts for key, array in parts[part]._asdict().items()})
    source = SourceRecord(
        kind="npy", name=metadata.name, digest=digest, license=metadata.license, citation=metadata.citation
    )
    return Dataset(
        sources=(source,),
        channels=metadata.channels,
        devices=metadata.devices,
        classes=metadata.classes,
        rate_hz=metadata.rate_hz,
        recordings=tuple(recording for part in parts for recording in _recordings(part, parts[part], metadata)),
    )


def _load_metadata(path: Path) -> NpyMetadata:
    try:
        return parse(files.read_bytes(path), NpyMetadata, str(path))
    except InputError as error:
        raise InputError(error.summary, map(_explain, error.problems)) from error


def _explain(problem: Problem) -> Problem:
    """Give a problem of subject ids its own rule, which has the reason why they are required."""
    if problem.message.startswith("'subject' is a required") or problem.where.endswith(".subject"):
        return Problem(problem.where, "npy.subject-missing", problem.message)
    return problem


def _open_parts(folder: Path, metadata: NpyMetadata) -> dict[str, Arrays]:
    """Map every declared file. Raises InputError with every file that cannot be mapped."""
    parts: dict[str, Arrays] = {}
    problems: list[Problem] = []
    for part, names in metadata.parts.items():
        opened = [_open(folder, name) for name in (names.x, names.y, names.subject)]
        problems += [found for found in opened if isinstance(found, Problem)]
        parts[part] = Arrays(*opened)  # type: ignore[arg-type]  # an error is raised below if there is a Problem
    if problems:
        raise InputError(UNREADABLE, problems)
    return parts


def _open(folder: Path, name: str) -> NDArray[Any] | Problem:
    """Map an .npy file after its header was read, or return the problem."""
    path = folder / name
    if path.resolve() != folder.resolve() / name:
        return Problem(str(path), "npy.link", "symbolic link: the file must be in the folder of the metadata")
    try:
        return map_npy(path, FILE_LIMIT)
    except InputError as error:
        return error.problems[0]
    except (OSError, ValueError) as error:
        return Problem(str(path), "npy.invalid", str(error))


def _find_problems(arrays: Arrays, names: NpyFiles, metadata: NpyMetadata) -> Iterator[Problem]:
    yield from _find_x_problems(arrays.x, names.x, metadata)
    yield from _find_y_problems(arrays, names.y, len(metadata.classes))
    yield from _find_subject_problems(arrays, names.subject)


def _find_x_problems(x: NDArray[Any], name: str, metadata: NpyMetadata) -> Iterator[Problem]:
    if x.dtype.kind not in "iu" and x.dtype.newbyteorder("=") not in (np.float32, np.float64):
        yield Problem(name, "npy.dtype", f"must be float32, float64 or an integer type, found {x.dtype}")
    sizes = {"C": len(metadata.channels), "D": len(metadata.devices), "T": metadata.timesteps}
    expected = tuple(sizes[axis] for axis in metadata.layout[1:])
    if x.shape[1:] != expected or not x.shape[0]:
        shape = ", ".join(map(str, ("N", *expected)))
        message = f"must have shape ({shape}) with N ≥ 1 by layout {metadata.layout}, found {x.shape}"
        yield Problem(name, "npy.shape", message)


def _find_y_problems(arrays: Arrays, name: str, classes: int) -> Iterator[Problem]:
    y = arrays.y
    if y.dtype.kind not in "iu":
        yield Problem(name, "npy.dtype", f"labels must be integers, indices into classes, found {y.dtype}")
    elif y.shape != arrays.rows:
        yield _shape_problem(name, arrays, y)
    elif (outside := np.flatnonzero((y < 0) | (y >= classes))).size:
        first = outside[0]
        message = f"{outside.size:,} labels are outside of 0 to {classes - 1}, the first in row {first}: {y[first]}"
        yield Problem(name, "npy.label-range", message)


def _find_subject_problems(arrays: Arrays, name: str) -> Iterator[Problem]:
    subject = arrays.subject
    if subject.dtype.kind not in "iuU":
        message = f"subjects must be integers or unicode text, found {subject.dtype} ({WHY_SUBJECTS})"
        yield Problem(name, "npy.dtype", message)
    elif subject.shape != arrays.rows:
        yield _shape_problem(name, arrays, subject)
    elif invalid := [text for text in map(str, np.unique(subject)) if not _is_subject(text)]:
        rule = f"1 to {SUBJECT_LENGTH} printable characters, without a blank at either end"
        message = f"a subject must be {rule}, found {invalid[0][:40]!r}{and_others(len(invalid), 'subject')}"
        yield Problem(name, "npy.subject-invalid", message)


def _is_subject(text: str) -> bool:
    return 0 < len(text) <= SUBJECT_LENGTH and text.isprintable() and text == text.strip()


def _shape_problem(name: str, arrays: Arrays, array: NDArray[Any]) -> Problem:
    return Problem(name, "npy.shape", f"must have shape {arrays.rows}, one value for each window, found {array.shape}")


def _recordings(part: str, arrays: Arrays, metadata: NpyMetadata) -> Iterator[Recording]:
    x = _to_windows_of_samples(arrays.x, metadata.layout)
    divided: Mapping[str, PartName] = {"train": "train", "validation": "validation", "test": "test"}
    labels = [np.full(metadata.timesteps, label, dtype=np.int32) for label in range(len(metadata.classes))]
    subjects = {subject: str(subject) for subject in np.unique(arrays.subject).tolist()}
    for number, (window, label, subject) in enumerate(zip(x, arrays.y, arrays.subject.tolist(), strict=True)):
        yield Recording(
            name=f"{part}/{number:05d}",
            subject=subjects[subject],
            session=part,
            signals={device: Signal(window[:, d], metadata.rate_hz) for d, device in enumerate(metadata.devices)},
            labels=labels[label],
            part=divided.get(part),
        )


def _to_windows_of_samples(x: NDArray[Any], layout: str) -> NDArray[np.float32]:
    """Return x as (N, T, D, C); what float32 cannot hold becomes Inf, a missing value."""
    with np.errstate(over="ignore"):
        values = x.astype(np.float32, copy=False).view(np.ndarray)  # views of a memmap take several times the memory
    if layout == "NTC":
        return values[:, :, None, :]
    windows = values[:, :, None, :] if layout == "NCT" else values
    return windows.transpose(0, 3, 2, 1)
