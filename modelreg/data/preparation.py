"""Prepare the windows of each split from the settings of a training.

read → join → align → split → fill missing values → cut → fit the normalization on train. Nothing here mixes splits:
quality and alignment depend on one recording alone; filled values and the normalization depend on train alone.

Of a cross-fitted run, these are the data of its final model: train has all subjects, and there is no other split. A
fold is a run, whose data are prepared from its configuration.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

import numpy as np

from modelreg.config import Split, TrainConfig
from modelreg.data import (
    alignment,
    copied_samples,
    filling,
    leakage_audit,
    merge_sources,
    normalization,
    pseudonyms,
    quality,
    split_advice,
    splits,
    windows,
)
from modelreg.data.cache import Reading
from modelreg.data.copied_samples import CopiedSamples
from modelreg.data.memory_map import sha256_arrays
from modelreg.data.message_lists import and_others, quoted
from modelreg.data.recording import Dataset, Recording, Windows, natural
from modelreg.data.sources import registry as sources
from modelreg.errors import InputError, Notice, Problem
from modelreg.records.audit import AuditRecord
from modelreg.records.data import (
    PARTS,
    DataRecord,
    FoldSplit,
    Normalization,
    PartName,
    PartRecord,
    PartRecords,
    QualityFinding,
    QualityReport,
)
from modelreg.records.metrics import DEFAULT_FOLDS, ProtocolName
from modelreg.records.model import InputSpec
from modelreg.records.source import WindowsSource


@dataclass(frozen=True)
class Prepared:
    """The input of a training and of an evaluation."""

    windows: dict[PartName, Windows]  # in the units of the channels, before normalization
    normalization: Normalization
    record: DataRecord
    quality: QualityReport  # of the recordings before alignment and filling
    input: InputSpec
    classes: tuple[str, ...]
    split: Split  # of the configuration, its subjects named as the recordings name them

    @property
    def domains(self) -> tuple[str, ...]:
        """The names of the data sets, if there are several."""
        names = tuple(dict.fromkeys(source.name for source in self.record.sources))
        return names if len(names) > 1 else ()


class _Made(NamedTuple):
    """The prepared windows, and the recordings that they were made of."""

    prepared: Prepared
    parts: splits.Parts  # after filling
    originals: tuple[Recording, ...]  # as they were read


def prepare(config: TrainConfig, reading: Reading, *, refuse_copies: bool = False) -> Prepared:
    """Read, align, split, fill and cut the recordings of a configuration.

    Raises InputError: unreadable recordings, sources that cannot be joined, clocks that cannot be aligned, a split that
    cannot be made, a split without windows, a class without a window in train, a constant channel, equal windows in two
    splits; with `refuse_copies` also equal samples in two splits, at any offset; with `quality.strict` also an exceeded
    threshold.
    """
    return _prepare(config, reading, refuse_copies=refuse_copies).prepared


def prepare_and_audit(config: TrainConfig, reading: Reading) -> tuple[Prepared, AuditRecord]:
    """Return what `prepare` returns, and the leakage audit of its splits; of a cross-fitted run, of its folds."""
    made = _prepare(config, reading)
    recordings: dict[str, Sequence[Recording]] = dict(made.parts.items())
    found: dict[str, Windows] = dict(made.prepared.windows.items())
    together = None
    if folds := made.prepared.record.folds:
        together = made.parts["train"], made.prepared.windows["train"]
        groups = {fold.name: fold.test for fold in folds}
        recordings = {name: [r for r in together[0] if r.subject in group] for name, group in groups.items()}
        found = {name: windows.of_subjects(together[1], group, reading.gather) for name, group in groups.items()}
    evidence = leakage_audit.Evidence(
        recordings=recordings,
        windows=found,
        normalization=made.prepared.normalization,
        split=config.split.by,
        window=config.data.window,
        originals=made.originals,
        together=together,
    )
    return made.prepared, leakage_audit.examine(evidence, reading)


def _prepare(config: TrainConfig, reading: Reading, *, refuse_copies: bool = False) -> _Made:
    dataset = read_dataset(config, reading)
    _remark_other_windows(config, reading)
    split = _named_split(config, reading)
    _refuse_time_split(dataset, config)
    windows.refuse_fold(len(dataset.devices), config.data.fold)
    judged = quality.check_quality(dataset, config.quality.limits)
    if config.quality.strict:
        quality.refuse_broken(judged)
    recordings = _all_stored(_align(dataset, config), dataset.recordings, reading)
    protocol = config.evaluation.crossfitted
    divided: splits.Parts = {"train": recordings} if protocol else splits.split(recordings, split, config.data.window)
    parts = {
        part: _all_stored(pieces, divided[part], reading) for part, pieces in _correct(divided, dataset, config).items()
    }
    cut = {part: _cut(recordings, dataset, config, reading) for part, recordings in parts.items()}
    step = "" if protocol else split_advice.step_for(split_advice.holdings(judged), split)
    compared = _compared(parts, cut, reading, protocol, refuse_copies=refuse_copies)
    copied = (
        copied_samples.find_exact(dataset.recordings, compared.recordings, dataset.rate_hz) if refuse_copies else []
    )
    if problems := [*_find_problems(cut, dataset, step), *_find_copies(compared.windows, copied)]:
        raise InputError("cannot train on these recordings", problems)
    spec = _input_spec(dataset, config)
    records = PartRecords(**{part: _part_record(cut[part], dataset.classes) for part in cut})
    folds = _folds(protocol, config, cut["train"], dataset.classes, reading) if protocol else None
    prepared = Prepared(
        windows=cut,
        normalization=normalization.fit(
            parts["train"],
            spec,
            per=config.normalization.per,
            limits=config.quality.limits,
            data_digest=records.train.digest,
        ),
        record=_data_record(dataset, config, records, folds),
        quality=judged,
        input=spec,
        classes=dataset.classes,
        split=split,
    )
    return _Made(prepared, parts, dataset.recordings)


class _Compared(NamedTuple):
    """What must not have equal samples or windows: the splits; of a cross-fitted run, the subjects."""

    recordings: dict[str, Sequence[Recording]]
    windows: dict[str, Windows]


def _compared(
    parts: splits.Parts,
    cut: Mapping[PartName, Windows],
    reading: Reading,
    protocol: ProtocolName | None,
    *,
    refuse_copies: bool,
) -> _Compared:
    """Return what is compared. Subjects are compared before a training; later, the data must be those of that time."""
    if protocol is None:
        return _Compared(dict(parts.items()), dict(cut.items()))
    if not refuse_copies:
        return _Compared({}, {})
    every = cut["train"]
    return _Compared(
        {name: [recording for recording in parts["train"] if recording.subject == name] for name in every.subjects},
        {name: windows.of_subjects(every, [name], reading.gather) for name in every.subjects},
    )


def _folds(
    protocol: ProtocolName, config: TrainConfig, every: Windows, classes: Sequence[str], reading: Reading
) -> tuple[FoldSplit, ...]:
    """Return the folds of the subjects with windows.

    Raises InputError for too few subjects, and for a class without a window in the train split of a fold.
    """
    held = {number: every.subjects[number] for number in sorted(set(every.subject.tolist()))}
    validating = splits.validating(config.split)
    divided = splits.named_folds(protocol, config.evaluation.folds or DEFAULT_FOLDS, held.values(), validating)
    found, problems = [], []
    for name, split in divided.items():
        tested, validated = splits.named(split.test), splits.named(split.validation)
        trained = [subject for subject in held.values() if subject not in {*tested, *validated}]
        own = windows.of_subjects(every, tested, reading.gather)
        learnt = np.isin(every.subject, [number for number, subject in held.items() if subject in trained])
        present = set(every.y[learnt].tolist())
        if absent := [each for number, each in enumerate(classes) if number not in present]:
            what = f"no window of {quoted(absent)} in train: too few subjects have it"
            step = "record the class with more subjects, or drop it with `labels` of its source (null)"
            problems.append(Problem(name, "split.class-missing", what, step))
        found.append(
            FoldSplit(
                name=name,
                train=tuple(sorted(trained, key=natural)),
                validation=validated,
                test=tested,
                windows=len(own.y),
                digest=sha256_arrays(own.arrays()),
            )
        )
    if problems:
        raise InputError("cannot train on these folds of subjects", problems)
    return tuple(found)


def check(config: TrainConfig, reading: Reading) -> tuple[QualityReport, Dataset]:
    """Read the recordings of a configuration, and report whether they are fit for a training with its split.

    Raises InputError: unreadable recordings, sources that cannot be joined, a limit of an unknown channel.
    """
    dataset = read_dataset(config, reading)
    report = quality.check_quality(dataset, config.quality.limits)
    split = _named_split(config, reading)
    present: split_advice.Presence = {}
    impossible: list[QualityFinding] = []
    try:
        if config.evaluation.crossfitted:
            _refuse_few_subjects(dataset, config, config.evaluation.crossfitted)
        else:
            _refuse_time_split(dataset, config)
            present = split_advice.presence(dataset, split, config.data.window)
    except InputError as error:
        impossible = list(split_advice.findings_of(error))
    advice = list(split_advice.advise(report, split, present)) or impossible
    found = report.findings or ()
    problems = [finding for finding in found if finding.level == "problem"]
    return report.model_copy(update={"findings": (*problems, *advice, *found[len(problems) :])}), dataset


def _refuse_few_subjects(dataset: Dataset, config: TrainConfig, protocol: ProtocolName) -> None:
    """Raise InputError if the subjects cannot be divided into the folds of a configuration."""
    subjects = {recording.subject for recording in dataset.recordings}
    splits.named_folds(protocol, config.evaluation.folds or DEFAULT_FOLDS, subjects, splits.validating(config.split))


def advise(prepared: Prepared) -> list[QualityFinding]:
    """Return what the split of prepared recordings cannot show, each with the setting that helps."""
    parts = prepared.record.parts.items()
    present = {part: [name for name, count in record.class_windows.items() if count] for part, record in parts}
    return list(split_advice.advise(prepared.quality, prepared.split, present))


def dealt(prepared: Prepared, seed: int) -> Prepared:
    """Return the same windows in splits that leak: dealt out at random, with equal sizes and normalization.

    Raises InputError if a class has no window in train.
    """
    parts = windows.deal(prepared.windows, seed)
    if problems := list(_find_absent_classes(parts["train"], prepared.classes)):
        raise InputError("cannot train on a random split of these recordings", problems)
    records = PartRecords(**{part: _part_record(parts[part], prepared.classes) for part in PARTS})
    record = prepared.record.model_copy(update={"split": "random", "gap": 0, "parts": records})
    return replace(prepared, windows=parts, record=record)


def read_dataset(config: TrainConfig, reading: Reading) -> Dataset:
    """Read the sources of a configuration and join them. Raises InputError."""
    found = [sources.read(source, reading) for source in config.data.sources]
    dataset = merge_sources.join(found, config.data, reading.store)
    if config.subjects != "pseudonyms":
        return dataset
    subjects = {recording.subject for recording in dataset.recordings}
    dropped = {recording.subject for source in found for recording in source.recordings}
    if problems := list(pseudonyms.find_ids(config, dataset.classes, {*subjects, *dropped, *_pseudonyms((), reading)})):
        raise InputError("nothing was written", problems)
    return pseudonyms.rename_subjects(dataset, _pseudonyms(subjects, reading))


def _remark_other_windows(config: TrainConfig, reading: Reading) -> None:
    """Remark each source of overlapping windows whose windows are not those that will be cut."""
    for number, source in enumerate(config.data.sources):
        if isinstance(source, WindowsSource) and source.shared:
            theirs, ours = (source.window, source.hop), (config.data.window, config.data.hop)
            if theirs != ours:
                message = (
                    f"the windows of the files have {theirs[0]} samples, one every {theirs[1]}; "
                    f"the joined recordings are cut into windows of {ours[0]} samples, one every {ours[1]}"
                )
                reading.remark(Notice(f"data.sources.{number}", message))


def _named_split(config: TrainConfig, reading: Reading) -> Split:
    """Return the split of a configuration, its subjects named as `read_dataset` names them."""
    return pseudonyms.rename_split(config.split, _pseudonyms((), reading)) if config.subjects else config.split


def _pseudonyms(subjects: Collection[str], reading: Reading) -> Mapping[str, str]:
    if reading.pseudonyms is None:
        what = "the configuration replaces subject ids by pseudonyms, and there is no map here"
        raise InputError("cannot read the recordings", [Problem("subjects", "pseudonyms.map-missing", what)])
    return reading.pseudonyms(subjects)


def _refuse_time_split(dataset: Dataset, config: TrainConfig) -> None:
    """Raise InputError for windows without a known time, and for a gap shorter than the filter of resampling."""
    if config.split.by != "time":
        return
    problems = []
    if any(source.kind == "npy" for source in dataset.sources):
        problems.append(Problem("split.by", "split.time-unknown", "windows of a source `npy` have no known time"))
    if any(isinstance(source, WindowsSource) and not source.shared for source in config.data.sources):
        message = "windows of a source `windows` with `overlap: 0` have no known time"
        problems.append(Problem("split.by", "split.time-unknown", message))
    gap = splits.gap_of(config.split, config.data.window)
    reach = 2 * max(alignment.reach(r, dataset.rate_hz, config.quality.limits) for r in dataset.recordings)
    if gap < reach:
        message = f"must be at least {reach} samples, because recordings are resampled, found {gap}"
        problems.append(Problem("split.gap", "split.gap-too-short", message, f"--set split.gap={reach}"))
    if problems:
        raise InputError("cannot split by time", problems)


def _all_stored(
    recordings: Iterable[Recording], already: Iterable[Recording], reading: Reading
) -> tuple[Recording, ...]:
    """Store the arrays of each recording that is not among those stored `already`."""
    known = {id(recording) for recording in already}
    return tuple(found if id(found) in known else _stored(found, reading) for found in recordings)


def _stored(recording: Recording, reading: Reading) -> Recording:
    signals = {
        device: replace(signal, values=reading.store(signal.values)) for device, signal in recording.signals.items()
    }
    return replace(recording, signals=signals, labels=reading.store(recording.labels))


def _align(dataset: Dataset, config: TrainConfig) -> Iterator[Recording]:
    if problems := list(alignment.find_problems(dataset.recordings)):
        raise InputError(alignment.UNALIGNED, problems)
    yield from (alignment.align(r, dataset.rate_hz, config.quality.limits) for r in dataset.recordings)


def _correct(parts: splits.Parts, dataset: Dataset, config: TrainConfig) -> splits.Parts:
    """Fill missing values of every split in one call, so that one error lists all of them."""
    recordings = [recording for part in parts.values() for recording in part]
    fill = filling.fit(parts["train"], config.quality)
    corrected = iter(filling.correct(recordings, dataset.channels, config.quality, fill))
    return {part: tuple(islice(corrected, len(pieces))) for part, pieces in parts.items()}


def _cut(recordings: tuple[Recording, ...], dataset: Dataset, config: TrainConfig, reading: Reading) -> Windows:
    cut = windows.cut(
        recordings,
        classes=dataset.classes,
        window=config.data.window,
        hop=config.data.hop,
        labels=config.data.labels,
        gather=reading.gather,
    )
    return windows.fold(cut, config.data.fold)


def _find_problems(cut: Mapping[PartName, Windows], dataset: Dataset, step: str) -> Iterator[Problem]:
    for part, found in cut.items():
        if not len(found.y):
            longest = max(len(recording.labels) for recording in dataset.recordings)
            message = f"no window ({found.dropped} dropped; the longest recording has {longest} samples)"
            yield Problem(part, "windows.none", message)
    yield from _find_absent_classes(cut["train"], dataset.classes, step)


def _find_absent_classes(train: Windows, classes: Sequence[str], step: str = "") -> Iterator[Problem]:
    """Yield one problem with every class that has no window in train."""
    present = set(train.y.tolist())
    if absent := [name for number, name in enumerate(classes) if number not in present]:
        yield Problem("train", "split.class-missing", f"no window of {quoted(absent)}", step)


def _find_copies(cut: Mapping[str, Windows], copied: Iterable[CopiedSamples]) -> Iterator[Problem]:
    """Yield one problem for each recording with samples or windows that a recording of an earlier split has, too."""
    samples: dict[tuple[str, str], list[CopiedSamples]] = {}
    for copy in copied:
        key = f"{copy.part}: {copy.recording}", f"{copy.earlier}: {copy.earlier_recording}"
        samples.setdefault(key, []).append(copy)
    for (where, other), places in samples.items():
        first = places[0]
        message = f"{first.where} are also in {other} from sample {first.earlier_start}"
        yield Problem(where, "split.windows-shared", f"{message}{and_others(len(places), 'place')}")
    windows: dict[tuple[str, str], list[int]] = {}
    for equal in leakage_audit.copies(cut) if cut else ():
        name, other = cut[equal.part].recording_of(equal.row), cut[equal.earlier].recording_of(equal.earlier_row)
        key = f"{equal.part}: {name}", f"{equal.earlier}: {other}"
        windows.setdefault(key, []).append(int(cut[equal.part].start[equal.row]))
    for (where, other), starts in windows.items():
        if (where, other) not in samples:
            message = f"window from sample {starts[0]} is also in {other}{and_others(len(starts), 'window')}"
            yield Problem(where, "split.windows-shared", message)


def _input_spec(dataset: Dataset, config: TrainConfig) -> InputSpec:
    return InputSpec(
        channels=dataset.channels,
        devices=dataset.devices,
        timesteps=config.data.window,
        rate_hz=dataset.rate_hz,
        fold=config.data.fold,
    )


def _part_record(part: Windows, classes: Sequence[str]) -> PartRecord:
    counts = Counter(part.y.tolist())
    return PartRecord(
        subjects=tuple(
            sorted({part.subjects[n] for n in part.subject.tolist()}, key=natural)
        ),  # only those with a window
        recordings=len(part.recordings),
        windows=len(part.y),
        dropped=part.dropped,
        class_windows={name: counts[number] for number, name in enumerate(classes)},
        digest=sha256_arrays(part.arrays()),
    )


def _data_record(
    dataset: Dataset, config: TrainConfig, parts: PartRecords, folds: tuple[FoldSplit, ...] | None
) -> DataRecord:
    return DataRecord(
        sources=dataset.sources,
        classes=dataset.classes,
        channels=dataset.channels,
        devices=dataset.devices,
        rate_hz=dataset.rate_hz,
        window=config.data.window,
        hop=config.data.hop,
        labels=config.data.labels,
        fold=config.data.fold,
        split=config.split.by,
        gap=splits.gap_of(config.split, config.data.window),
        parts=parts,
        folds=folds,
    )
