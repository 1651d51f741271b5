"""Split recordings into train, validation and test before any window is cut, so that splits cannot leak.

By subject and as given: no subject is in two splits. By time: each recording is cut into a train, a validation and a
test piece, and at least one window between two pieces is dropped, so that windows of two splits share no sample and
do not adjoin. `find_leaks` checks the result of every kind of split.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Literal, TypeAlias

from modelreg.config import Split, SubjectSplit, TimeSplit
from modelreg.data.message_lists import did_you_mean, quoted
from modelreg.data.recording import Recording, Signal, find_clock_problems, natural
from modelreg.errors import InputError, Problem
from modelreg.records.data import PARTS, PartName
from modelreg.records.metrics import ProtocolName

Parts: TypeAlias = dict[PartName, tuple[Recording, ...]]


def split(recordings: Sequence[Recording], settings: Split, window: int) -> Parts:
    """Split recordings into train, validation and test, in their order. Raises InputError with every problem."""
    match settings:
        case SubjectSplit():
            parts = _by_subject(recordings, settings)
        case TimeSplit():
            parts = _by_time(recordings, settings, window)
        case _:
            parts = _as_given(recordings)
    if problems := list(find_leaks(parts, settings.by, gap_of(settings, window))):
        raise InputError("the splits would leak", problems)
    return parts


def gap_of(settings: Split, window: int) -> int:
    """Return the number of samples dropped between two splits of one recording: by default one window."""
    return (settings.gap or window) if isinstance(settings, TimeSplit) else 0


def find_leaks(
    parts: Mapping[PartName, Sequence[Recording]], by: Literal["subject", "time", "given"], gap: int = 0
) -> Iterator[Problem]:
    """Yield subjects in two splits, unless split by time; and pieces of a recording nearer than `gap` samples."""
    for one, other in combinations(parts, 2):
        both = f"{one} and {other}"
        if by != "time":
            shared = {r.subject for r in parts[one]} & {r.subject for r in parts[other]}
            for subject in sorted(shared, key=natural):
                yield Problem(subject, "split.subject-shared", f"subject is in {both}")
        pieces = _by_name(parts[other])
        for piece in parts[one]:
            if any(_distance(piece, near) < gap for near in pieces[piece.name]):
                message = f"pieces in {both} overlap or are less than {gap} samples apart"
                yield Problem(piece.name, "split.samples-shared", message)


def leave_one_out(subjects: Iterable[str], validation: int = 1) -> tuple[SubjectSplit, ...]:
    """Return one split for each subject as the only test subject; the next `validation` subjects validate.

    The subjects are taken in a ring, so that no subject validates every fold. Raises InputError if no subject is left
    for training.
    """
    ring = sorted(set(subjects), key=natural)
    if len(ring) < validation + 2:
        message = f"needs {validation + 2} subjects (1 test, {validation} validation, 1 train), found {len(ring)}"
        problem = Problem("subjects", "split.too-few-subjects", message, _fewer(len(ring), validation))
        raise InputError("cannot leave one subject out", [problem])
    return tuple(
        SubjectSplit(test=(name,), validation=tuple(ring[(n + i) % len(ring)] for i in range(1, validation + 1)))
        for n, name in enumerate(ring)
    )


def by_folds(subjects: Iterable[str], folds: int, validation: int = 1) -> tuple[SubjectSplit, ...]:
    """Return one split for each of `folds` groups of test subjects, which are dealt out in the order of their names.

    The first `validation` subjects of the next groups, in a ring, validate. Raises InputError if there are fewer
    subjects than folds, or no subject is left for training.
    """
    ring = sorted(set(subjects), key=natural)
    largest = -(-len(ring) // max(folds, 1))
    if folds < 2 or len(ring) < folds or len(ring) - largest - validation < 1:
        message = f"too few for {folds} folds with {validation} for validation and 1 for training, found {len(ring)}"
        problem = Problem("subjects", "split.too-few-subjects", message, _fewer(len(ring), validation))
        raise InputError("cannot make folds of subjects", [problem])
    found = []
    for n in range(folds):
        others = [name for i in range(1, folds) for name in ring[(n + i) % folds :: folds]]
        found.append(SubjectSplit(test=tuple(ring[n::folds]), validation=tuple(others[:validation])))
    return tuple(found)


def _fewer(subjects: int, validation: int) -> str:
    """Return what makes folds of so many subjects possible."""
    most = next((folds for folds in range(subjects, 1, -1) if subjects + -subjects // folds > validation), None)
    if most:
        return f"use at most {most} folds (`--folds {most}`), or record more subjects"
    if validation > 1 and subjects > 2:
        return f"--set split.validation={subjects - 2}"
    return "record more subjects, or evaluate by time: --set evaluation.protocol=holdout --set 'split={by: time}'"


def named_folds(
    protocol: ProtocolName, folds: int, subjects: Iterable[str], validation: int
) -> dict[str, SubjectSplit]:
    """Return the split of each fold by the name of its folder: `loso-01`, `kfold5-01`.

    Raises InputError if there are too few subjects.
    """
    divided = leave_one_out(subjects, validation) if protocol == "loso" else by_folds(subjects, folds, validation)
    named = "loso" if protocol == "loso" else f"kfold{folds}"
    return {f"{named}-{number:02d}": split for number, split in enumerate(divided, 1)}


def validating(settings: Split) -> int:
    """Return the number of validation subjects of a fold: that of the split, or one if it is not by subject."""
    if not isinstance(settings, SubjectSplit):
        return 1
    return settings.validation if isinstance(settings.validation, int) else len(settings.validation)


def _by_name(recordings: Sequence[Recording]) -> Mapping[str, list[Recording]]:
    named: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        named[recording.name].append(recording)
    return named


def _distance(one: Recording, other: Recording) -> int:
    """Return the samples between two pieces; negative where they overlap."""
    first, second = sorted((one, other), key=lambda piece: piece.start)
    return second.start - (first.start + len(first.labels))


def assign(subjects: Iterable[str], settings: SubjectSplit) -> dict[PartName, set[str]]:
    """Return the subjects of each split. Raises InputError if a subject is unknown, or none is left for train."""
    ordered = sorted(set(subjects), key=natural)
    problems = list(_find_named_problems(settings, ordered))
    (test, test_count), (validation, validation_count) = _named(settings.test), _named(settings.validation)
    free = [subject for subject in ordered if subject not in {*test, *validation}]
    test_from = len(free) - test_count
    validation_from = test_from - validation_count
    if validation_from < 1:
        taken = len(ordered) - validation_from
        message = f"test and validation take {taken} of {len(ordered)} subjects"
        step = "{by: subject, test: 1, validation: 1}" if len(ordered) >= 3 else "{by: time}"
        problems.append(Problem("split", "split.no-training", message, f"--set 'split={step}'"))
    if problems:
        raise InputError("cannot split by subject", problems)
    return {
        "train": {*free[:validation_from]},
        "validation": {*validation, *free[validation_from:test_from]},
        "test": {*test, *free[test_from:]},
    }


def _by_subject(recordings: Sequence[Recording], settings: SubjectSplit) -> Parts:
    chosen = assign({recording.subject for recording in recordings}, settings)
    return {part: tuple(r for r in recordings if r.subject in chosen[part]) for part in PARTS}


def _named(subjects: int | tuple[str, ...]) -> tuple[tuple[str, ...], int]:
    """Return the subjects that a setting names, and how many others it takes."""
    return named(subjects), subjects if isinstance(subjects, int) else 0


def named(subjects: int | tuple[str, ...]) -> tuple[str, ...]:
    """Return the subjects that a setting names; a number names none."""
    return () if isinstance(subjects, int) else subjects


def _find_named_problems(settings: SubjectSplit, subjects: Sequence[str]) -> Iterator[Problem]:
    test, validation = _named(settings.test)[0], _named(settings.validation)[0]
    for part, names in (("test", test), ("validation", validation)):
        for name in sorted(set(names) - set(subjects), key=natural):
            step = did_you_mean(name, subjects)
            message = f"no subject {name!r} (the recordings have {quoted(subjects)})"
            yield Problem(f"split.{part}", "split.subject-unknown", message, step)
    for name in sorted(set(test) & set(validation), key=natural):
        yield Problem("split", "split.subject-shared", f"subject {name!r} is in test and validation")


def _by_time(recordings: Sequence[Recording], settings: TimeSplit, window: int) -> Parts:
    gap = gap_of(settings, window)
    samples = {recording.name: len(recording.labels) for recording in recordings}
    if problems := [*find_clock_problems(recordings), *find_short(samples, settings, window)]:
        raise InputError("cannot split by time", problems)
    lengths = [lengths_of(len(recording.labels), settings, gap) for recording in recordings]
    return {
        part: tuple(
            _piece(recording, sum(sizes[:i]) + i * gap, sizes[i])
            for recording, sizes in zip(recordings, lengths, strict=True)
        )
        for i, part in enumerate(PARTS)
    }


def find_short(samples: Mapping[str, int], settings: TimeSplit, window: int) -> Iterator[Problem]:
    """Yield each recording, by name and samples, with a split of less than one window; and a gap that is shorter."""
    gap = gap_of(settings, window)
    if gap < window:
        message = f"must be at least one window, {window} samples, found {gap}"
        yield Problem("split.gap", "split.gap-too-short", message)
    for name, count in samples.items():
        train, validation, test = lengths_of(count, settings, gap)
        if min(train, validation, test) < window:
            pieces = f"train {train}, validation {validation}, test {test} samples"
            message = f"a split has less than one window of {window} samples: {pieces}"
            yield Problem(name, "split.recording-too-short", message)


def lengths_of(samples: int, settings: TimeSplit, gap: int) -> tuple[int, int, int]:
    """Return the samples of train, validation and test: shares of the samples outside of the two gaps."""
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
        problem = Problem("split.by", "split.not-given", "the source does not assign recordings to splits")
        raise InputError("cannot split as given", [problem])
    problems = [Problem(name, "split.not-given", "the source assigns no split") for name in undivided]
    parts: Parts = {part: tuple(r for r in recordings if r.part == part) for part in PARTS}
    problems += [Problem(part, "split.empty", "no recording") for part in PARTS if not parts[part]]
    if problems:
        raise InputError("cannot split as given", problems)
    return parts
