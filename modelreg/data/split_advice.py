"""Say before a training whether a split can test every class on other subjects, and which setting helps."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations, islice

import numpy as np

from modelreg.config import Split, SubjectSplit, TimeSplit
from modelreg.data import splits
from modelreg.data.message_lists import quoted
from modelreg.data.recording import Dataset, Recording, natural, passing
from modelreg.errors import InputError, Problem
from modelreg.records.data import PARTS, PartName, QualityFinding, QualityReport

TRIED = 20_000  # splits that are compared before the search for a better one ends
BY_TIME = "--set 'split={by: time}'"

Presence = Mapping[PartName, Collection[str]]  # the classes of each split
Holdings = Mapping[str, Collection[str]]  # the classes of each subject


def advise(report: QualityReport, split: Split, present: Presence) -> Iterator[QualityFinding]:
    """Yield what a split cannot show, each with the setting that helps; `present` is empty if it cannot be made."""
    subjects = sorted({recording.subject for recording in report.recordings}, key=natural)
    if len(subjects) == 1:
        yield _one_subject(subjects[0], len(report.recordings), split)
    by_subject = split.by == "subject" and len(subjects) > 1
    single = [found.name for found in report.classes or () if found.subjects == 1 and by_subject]
    if single:
        step = f"record it with another subject, drop it with `labels` of its source (null), or {BY_TIME}"
        message = f"only one subject has {quoted(single)}: it is in one split only, and is not tested on new subjects"
        yield _finding("split.class-one-subject", "a class of one subject", message, step)
    expected = [found.name for found in report.classes or () if found.subjects and found.name not in single]
    for part, classes in present.items():
        if absent := [name for name in expected if name not in classes]:
            message = f"no {part} sample of {quoted(absent)}"
            step = step_for(holdings(report), split)
            yield _finding("split.class-missing", f"classes are missing in {part}", message, step)


def presence(dataset: Dataset, split: Split, window: int) -> Presence:
    """Return the classes of which each split has a sample. Raises InputError if the split cannot be made."""
    if isinstance(split, TimeSplit):
        samples = {r.name: _resampled(r, dataset.rate_hz) for r in dataset.recordings}
        if problems := list(splits.find_short(samples, split, window)):
            raise InputError("cannot split by time", problems)
    classes: dict[PartName, set[int]] = {part: set() for part in PARTS}
    subjects = (
        splits.assign({r.subject for r in dataset.recordings}, split) if isinstance(split, SubjectSplit) else None
    )
    for recording in passing(dataset.recordings):
        for part, start, stop in _pieces(recording, dataset, split, window, subjects):
            classes[part] |= set(np.unique(recording.labels[start:stop]).tolist())
    return {part: [dataset.classes[n] for n in sorted(found) if n >= 0] for part, found in classes.items()}


def _resampled(recording: Recording, rate_hz: float) -> int:
    """Return the samples of a recording at the common rate, as its first device has them."""
    return round(len(recording.labels) * rate_hz / next(iter(recording.signals.values())).rate_hz)


def _pieces(
    recording: Recording,
    dataset: Dataset,
    split: Split,
    window: int,
    subjects: Mapping[PartName, Collection[str]] | None,
) -> Iterator[tuple[PartName, int, int]]:
    """Yield the part, the first sample and the end of each piece of a recording."""
    size = len(recording.labels)
    if isinstance(split, TimeSplit):
        rate = next(iter(recording.signals.values())).rate_hz
        gap, start = round(splits.gap_of(split, window) * rate / dataset.rate_hz), 0
        for part, length in zip(PARTS, splits.lengths_of(size, split, gap), strict=True):
            yield part, start, start + length
            start += length + gap
    elif subjects is not None:
        yield from ((part, 0, size) for part in PARTS if recording.subject in subjects[part])
    elif recording.part is not None:
        yield recording.part, 0, size


def findings_of(error: InputError) -> Iterator[QualityFinding]:
    """Yield the causes for which a split cannot be made; one of recordings names all of them."""
    by_rule: dict[str, list[Problem]] = {}
    for problem in error.problems:
        by_rule.setdefault(problem.rule, []).append(problem)
    for rule, problems in by_rule.items():
        first = problems[0]
        found = _finding(rule, first.message, first.message, first.next)
        if rule == "split.recording-too-short":
            yield found.model_copy(update={"recordings": tuple(problem.where for problem in problems)})
        else:
            yield found.model_copy(update={"where": first.where})


def holdings(report: QualityReport) -> dict[str, set[str]]:
    """Return the classes of each subject."""
    found: dict[str, set[str]] = {}
    for recording in report.recordings:
        found.setdefault(recording.subject, set()).update(recording.class_seconds or ())
    return found


def step_for(held: Holdings, split: Split) -> str:
    """Return the setting of a split in which every part has every class that enough subjects have."""
    test, validation = (_size(split.test), _size(split.validation)) if isinstance(split, SubjectSplit) else (1, 1)
    better = better_split(held, test, validation) or better_split(held, 1, 1)
    if better is None:
        return f"record the class with more subjects, or {BY_TIME}" if split.by == "subject" else ""
    return f"--set 'split={json.dumps(better.to_document())}'"


def better_split(held: Holdings, test: int, validation: int) -> SubjectSplit | None:
    """Return a split by subject in which test and validation miss no class that train can spare, or None.

    Every part needs each class of three subjects or more; test and train need one of two subjects; train needs one of
    a single subject. Subjects with the highest ids are tried first, as a number of subjects takes them.
    """
    subjects = sorted(held, key=natural, reverse=True)
    count = {name: sum(name in classes for classes in held.values()) for classes in held.values() for name in classes}
    tried = (
        (tested, validated)
        for tested in combinations(subjects, test)
        for validated in combinations([name for name in subjects if name not in tested], validation)
    )
    for tested, validated in islice(tried, TRIED):
        trained = [name for name in subjects if name not in tested and name not in validated]
        parts = ((trained, 1), (tested, 2), (validated, 3))
        if all(_has(held, names, {name for name in count if count[name] >= least}) for names, least in parts):
            return SubjectSplit(test=_ordered(tested), validation=_ordered(validated))
    return None


def _size(subjects: int | tuple[str, ...]) -> int:
    return subjects if isinstance(subjects, int) else len(subjects)


def _has(held: Holdings, subjects: Sequence[str], classes: Collection[str]) -> bool:
    return bool(subjects) and set(classes) <= {name for subject in subjects for name in held[subject]}


def _ordered(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=natural))


def _one_subject(subject: str, recordings: int, split: Split) -> QualityFinding:
    what = "one recording" if recordings == 1 else "one subject"
    rule = "split.one-recording" if recordings == 1 else "split.one-subject"
    if split.by == "subject":
        message = f"only {what} (subject {subject}): a split by subject needs three subjects"
        return _finding(rule, f"only {what}", message, f"{BY_TIME}, or record more subjects")
    message = f"only {what} (subject {subject}): the metrics will say nothing about new subjects"
    return _finding(rule, f"only {what}", message, "record at least three subjects, and split by subject")


def _finding(rule: str, cause: str, message: str, step: str) -> QualityFinding:
    return QualityFinding(rule=rule, level="advice", where="split", cause=cause, message=message, next=step)
