"""Parts that cannot leak: recordings are divided before any window is cut.

by subject, by given: no subject is in two parts. by time: each recording is cut into a training, a validation
and a test piece, and a gap of at least one window between them is thrown away, so that no window of one part
shares or adjoins a sample of another. Whatever divided them, `find_leaks` looks at the parts afresh.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Literal, TypeAlias

from modelreg.config import Split, SubjectSplit, TimeSplit
from modelreg.data.recording import Recording, Signal, find_clock_problems, natural
from modelreg.errors import InputError, Problem
from modelreg.records.data import PARTS, PartName

Parts: TypeAlias = dict[PartName, tuple[Recording, ...]]


def split(recordings: Sequence[Recording], settings: Split, window: int) -> Parts:
    """Divide recordings into train, validation and test. Raises InputError with all that stands against it.

    Within a part, recordings keep their order.
    """
    match settings:
        case SubjectSplit():
            parts = _by_subject(recordings, settings)
        case TimeSplit():
            parts = _by_time(recordings, settings, window)
        case _:
            parts = _as_given(recordings)
    if problems := list(find_leaks(parts, settings.by, gap_of(settings, window))):
        raise InputError("the parts would leak into each other", problems)
    return parts


def gap_of(settings: Split, window: int) -> int:
    """Return the samples left out between parts of one recording: one window where nothing else is set."""
    return (settings.gap or window) if isinstance(settings, TimeSplit) else 0


def find_leaks(
    parts: Mapping[PartName, Sequence[Recording]], by: Literal["subject", "time", "given"], gap: int = 0
) -> Iterator[Problem]:
    """Yield what two parts share: subjects, unless split by time; samples nearer than `gap` to each other."""
    for one, other in combinations(parts, 2):
        both = f"{one} and {other}"
        if by != "time":
            shared = {r.subject for r in parts[one]} & {r.subject for r in parts[other]}
            for subject in sorted(shared, key=natural):
                yield Problem(subject, "todo.splits", f"this subject is in {both}")
        pieces = _by_name(parts[other])
        for piece in parts[one]:
            if any(_distance(piece, near) < gap for near in pieces[piece.name]):
                yield Problem(
                    piece.name, "todo.splits", f"{both} share samples of it, or lie nearer than {gap} samples"
                )


def leave_one_out(subjects: Iterable[str], validation: int = 1) -> tuple[SubjectSplit, ...]:
    """Return one split for each subject, who alone is tested; the `validation` subjects after it, in a ring, validate.

    So every subject is tested once and no subject validates every fold. Raises InputError where none would be left
    to train on.
    """
    ring = sorted(set(subjects), key=natural)
    if len(ring) < validation + 2:
        what = f"there are {len(ring)}: one is tested, {validation} validate, and one at least must train"
        raise InputError("cannot leave one subject out", [Problem("subjects", "todo.splits", what)])
    return tuple(
        SubjectSplit(test=(name,), validation=tuple(ring[(n + i) % len(ring)] for i in range(1, validation + 1)))
        for n, name in enumerate(ring)
    )


def by_folds(subjects: Iterable[str], folds: int, validation: int = 1) -> tuple[SubjectSplit, ...]:
    """Return one split for each of `folds` groups of subjects, dealt out in the order of their names.

    The first `validation` subjects of the groups that follow, in a ring, validate. Raises InputError where there are
    fewer subjects than folds, or none would be left to train on.
    """
    ring = sorted(set(subjects), key=natural)
    largest = -(-len(ring) // max(folds, 1))
    if folds < 2 or len(ring) < folds or len(ring) - largest - validation < 1:
        what = f"there are {len(ring)} for {folds} folds, of which each tests one group, validates on {validation}"
        raise InputError(
            "cannot make folds of subjects", [Problem("subjects", "todo.splits", f"{what}, and must train on others")]
        )
    found = []
    for n in range(folds):
        others = [name for i in range(1, folds) for name in ring[(n + i) % folds :: folds]]
        found.append(SubjectSplit(test=tuple(ring[n::folds]), validation=tuple(others[:validation])))
    return tuple(found)


def _by_name(recordings: Sequence[Recording]) -> Mapping[str, list[Recording]]:
    named: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        named[recording.name].append(recording)
    return named


def _distance(one: Recording, other: Recording) -> int:
    """Return the samples between two pieces; negative where they overlap."""
    first, second = sorted((one, other), key=lambda piece: piece.start)
    return second.start - (first.start + len(first.labels))


def _by_subject(recordings: Sequence[Recording], settings: SubjectSplit) -> Parts:
    subjects = sorted({recording.subject for recording in recordings}, key=natural)
    problems = list(_find_named_problems(settings, subjects))
    (test, test_count), (validation, validation_count) = _wanted(settings.test), _wanted(settings.validation)
    free = [subject for subject in subjects if subject not in {*test, *validation}]
    test_from = len(free) - test_count
    validation_from = test_from - validation_count
    if validation_from < 1:
        taken = len(subjects) - validation_from
        problems.append(
            Problem("split", "todo.splits", f"takes {taken} of {len(subjects)} subjects, none is left to train on")
        )
    if problems:
        raise InputError("cannot split by subject", problems)
    chosen: dict[PartName, set[str]] = {
        "train": {*free[:validation_from]},
        "validation": {*validation, *free[validation_from:test_from]},
        "test": {*test, *free[test_from:]},
    }
    return {part: tuple(r for r in recordings if r.subject in chosen[part]) for part in PARTS}


def _wanted(subjects: int | tuple[str, ...]) -> tuple[tuple[str, ...], int]:
    """Return the subjects that a setting names, and how many it takes unnamed."""
    return ((), subjects) if isinstance(subjects, int) else (subjects, 0)


def _find_named_problems(settings: SubjectSplit, subjects: Sequence[str]) -> Iterator[Problem]:
    test, validation = _wanted(settings.test)[0], _wanted(settings.validation)[0]
    for part, names in (("test", test), ("validation", validation)):
        for name in sorted(set(names) - set(subjects), key=natural):
            yield Problem(f"split.{part}", "todo.splits", f"no subject {name}; there are {', '.join(subjects)}")
    for name in sorted(set(test) & set(validation), key=natural):
        yield Problem("split", "todo.splits", f"subject {name} is named for test and for validation")


def _by_time(recordings: Sequence[Recording], settings: TimeSplit, window: int) -> Parts:
    gap = gap_of(settings, window)
    problems = list(find_clock_problems(recordings))
    if gap < window:
        problems.append(Problem("split.gap", "todo.splits", f"is {gap}: must be at least one window, {window} samples"))
    lengths = [_lengths(len(recording.labels), settings, gap) for recording in recordings]
    for recording, (train, validation, test) in zip(recordings, lengths, strict=True):
        if min(train, validation, test) < window:
            pieces = f"train {train}, validation {validation}, test {test}"
            problems.append(
                Problem(recording.name, "todo.splits", f"too short, no window of {window} samples in each of {pieces}")
            )
    if problems:
        raise InputError("cannot split by time", problems)
    return {
        part: tuple(
            _piece(recording, sum(sizes[:i]) + i * gap, sizes[i])
            for recording, sizes in zip(recordings, lengths, strict=True)
        )
        for i, part in enumerate(PARTS)
    }


def _lengths(samples: int, settings: TimeSplit, gap: int) -> tuple[int, int, int]:
    """Return the samples of train, validation and test: shares of what the two gaps leave."""
    usable = max(samples - 2 * gap, 0)
    validation, test = int(usable * settings.validation), int(usable * settings.test)
    return usable - validation - test, validation, test


def _piece(recording: Recording, start: int, length: int) -> Recording:
    kept = slice(start, start + length)
    signals = {device: Signal(signal.values[kept], signal.rate_hz) for device, signal in recording.signals.items()}
    return replace(recording, signals=signals, labels=recording.labels[kept], start=recording.start + start)


def _as_given(recordings: Sequence[Recording]) -> Parts:
    undivided = [recording.name for recording in recordings if recording.part is None]
    if undivided and len(undivided) == len(recordings):
        raise InputError(
            "cannot split as given", [Problem("split.by", "todo.splits", "the source does not divide itself")]
        )
    problems = [Problem(name, "todo.splits", "the source gives it no part") for name in undivided]
    parts: Parts = {part: tuple(r for r in recordings if r.part == part) for part in PARTS}
    problems += [Problem(part, "todo.splits", "no recording") for part in PARTS if not parts[part]]
    if problems:
        raise InputError("cannot split as given", problems)
    return parts
