"""Windows cut elsewhere: .npy files, declared by the metadata JSON beside them (records.data.NpyMetadata).

Nothing is guessed. Every array's type, shape and values are held against the declaration; every header is
read before any content, nothing is unpickled, and no file lies outside the folder. All problems are found in
one go: first of the files, then of what is in them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg import files
from modelreg.data.cache import map_npy
from modelreg.data.memory_map import sha256_arrays
from modelreg.data.recording import Dataset, Recording, Signal
from modelreg.errors import InputError, Problem
from modelreg.records.base import parse
from modelreg.records.data import NpyFiles, NpyMetadata, PartName, SourceRecord

WHY_SUBJECTS = "subject ids are needed: modelreg reports numbers on unseen subjects only"
SUBJECT_LENGTH = 100  # characters, as everywhere a name goes
FILE_LIMIT = 4 * 2**30  # bytes of one array


class Arrays(NamedTuple):
    """One part as it was read: mapped, not loaded."""

    x: NDArray[Any]  # (N, C, D, T), (N, C, T) or (N, T, C)
    y: NDArray[Any]  # (N,)
    subject: NDArray[Any]  # (N,)

    @property
    def rows(self) -> tuple[int, ...]:
        """The shape of one value for each window."""
        return self.x.shape[:1] or (0,)


def read(path: Path) -> Dataset:
    """Read the windows that a metadata JSON declares, each as one recording. Raises InputError."""
    metadata = _load_metadata(path)
    parts = _open_parts(path.parent, metadata)
    problems = [
        problem for part, names in metadata.parts.items() for problem in _find_problems(parts[part], names, metadata)
    ]
    if problems:
        raise InputError(f"the data are not what {path.name} declares", problems)
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
    """Add the reason where subject ids are missing."""
    if problem.message.startswith("'subject' is a required") or problem.where.endswith(".subject"):
        return Problem(problem.where, "todo.npy", f"{problem.message} ({WHY_SUBJECTS})")
    return problem


def _open_parts(folder: Path, metadata: NpyMetadata) -> dict[str, Arrays]:
    """Map every declared file. Raises InputError with all that cannot be."""
    parts: dict[str, Arrays] = {}
    problems: list[Problem] = []
    for part, names in metadata.parts.items():
        opened = [_open(folder, name) for name in (names.x, names.y, names.subject)]
        problems += [found for found in opened if isinstance(found, Problem)]
        parts[part] = Arrays(*opened)  # type: ignore[arg-type]  # no Problem gets past the next line
    if problems:
        raise InputError("cannot read", problems)
    return parts


def _open(folder: Path, name: str) -> NDArray[Any] | Problem:
    """Map an .npy file after its header was read, or say why not."""
    path = folder / name
    if path.resolve() != folder.resolve() / name:
        return Problem(str(path), "todo.npy", "a symbolic link: the files must lie in the folder of the metadata")
    try:
        return map_npy(path, FILE_LIMIT)
    except InputError as error:
        return error.problems[0]
    except (OSError, ValueError) as error:
        return Problem(str(path), "todo.npy", f"must be an .npy array of plain numbers or text, not objects: {error}")


def _find_problems(arrays: Arrays, names: NpyFiles, metadata: NpyMetadata) -> Iterator[Problem]:
    yield from _find_x_problems(arrays.x, names.x, metadata)
    yield from _find_y_problems(arrays, names.y, len(metadata.classes))
    yield from _find_subject_problems(arrays, names.subject)


def _find_x_problems(x: NDArray[Any], name: str, metadata: NpyMetadata) -> Iterator[Problem]:
    if x.dtype.kind not in "iu" and x.dtype.newbyteorder("=") not in (np.float32, np.float64):
        yield Problem(name, "todo.npy", f"is {x.dtype}: must be float32, float64 or an integer type")
    sizes = {"C": len(metadata.channels), "D": len(metadata.devices), "T": metadata.timesteps}
    expected = tuple(sizes[axis] for axis in metadata.layout[1:])
    if x.shape[1:] != expected or not x.shape[0]:
        wanted = ", ".join(map(str, ("N", *expected)))
        yield Problem(name, "todo.npy", f"has shape {x.shape}: layout {metadata.layout} declares ({wanted}) with N ≥ 1")


def _find_y_problems(arrays: Arrays, name: str, classes: int) -> Iterator[Problem]:
    y = arrays.y
    if y.dtype.kind not in "iu":
        yield Problem(name, "todo.npy", f"is {y.dtype}: labels must be integers, indices into classes")
    elif y.shape != arrays.rows:
        yield Problem(name, "todo.npy", _wrong_length(arrays, y))
    elif (outside := np.flatnonzero((y < 0) | (y >= classes))).size:
        first = outside[0]
        yield Problem(
            name, "todo.npy", f"{outside.size} labels lie outside 0…{classes - 1}, the first at row {first}: {y[first]}"
        )


def _find_subject_problems(arrays: Arrays, name: str) -> Iterator[Problem]:
    subject = arrays.subject
    if subject.dtype.kind not in "iuU":
        yield Problem(name, "todo.npy", f"is {subject.dtype}: must be integers or unicode text ({WHY_SUBJECTS})")
    elif subject.shape != arrays.rows:
        yield Problem(name, "todo.npy", _wrong_length(arrays, subject))
    else:
        for value in np.unique(subject):
            text = str(value)
            if not (0 < len(text) <= SUBJECT_LENGTH and text.isprintable() and text == text.strip()):
                rule = f"1 to {SUBJECT_LENGTH} printable characters, no blank at either end"
                yield Problem(name, "todo.npy", f"{text!r} is no subject id: {rule}")


def _wrong_length(arrays: Arrays, array: NDArray[Any]) -> str:
    return f"has shape {array.shape}: x has {arrays.rows} windows, and each needs one value"


def _recordings(part: str, arrays: Arrays, metadata: NpyMetadata) -> Iterator[Recording]:
    x = _to_windows_of_samples(arrays.x, metadata.layout)
    divided: Mapping[str, PartName] = {"train": "train", "validation": "validation", "test": "test"}
    labels = [np.full(metadata.timesteps, label, dtype=np.int32) for label in range(len(metadata.classes))]
    people = {subject: str(subject) for subject in np.unique(arrays.subject).tolist()}
    for number, (window, label, subject) in enumerate(zip(x, arrays.y, arrays.subject.tolist(), strict=True)):
        yield Recording(
            name=f"{part}/{number:05d}",
            subject=people[subject],
            session=part,
            signals={device: Signal(window[:, d], metadata.rate_hz) for d, device in enumerate(metadata.devices)},
            labels=labels[label],
            part=divided.get(part),
        )


def _to_windows_of_samples(x: NDArray[Any], layout: str) -> NDArray[np.float32]:
    """Return x as (N, T, D, C); what float32 cannot hold becomes Inf, which counts as missing."""
    with np.errstate(over="ignore"):
        values = x.astype(np.float32, copy=False).view(np.ndarray)  # views of a memmap weigh several times as much
    if layout == "NTC":
        return values[:, :, None, :]
    windows = values[:, :, None, :] if layout == "NCT" else values
    return windows.transpose(0, 3, 2, 1)
