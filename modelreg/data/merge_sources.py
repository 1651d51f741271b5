"""Join sources under common names: labels become classes, channels and devices those of the first source.

A list of channels or devices keeps those that it names, in its order; without a list, all are kept. Classes are in the
order of the labels that first become them, unless `data.classes` sets another one. Samples of a dropped label are
unlabelled; a recording without any other sample is left out.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.config import DataSettings
from modelreg.data import alignment
from modelreg.data.memory_map import Store
from modelreg.data.message_lists import and_others, did_you_mean, quoted
from modelreg.data.recording import UNLABELLED, Dataset, Recording, Signal
from modelreg.errors import InputError, Problem
from modelreg.records.base import is_name
from modelreg.records.model import Channel
from modelreg.records.source import ChannelMap, DeviceMap, LabelledSource, MappedSource


def _keep(array: NDArray[Any]) -> NDArray[Any]:
    return array


class _Names(NamedTuple):
    """The common name of every name of a source."""

    labels: Mapping[str, str | None]
    channels: Mapping[str, ChannelMap]
    devices: Mapping[str, str]

    def classes(self, labels: Iterable[str]) -> tuple[str, ...]:
        """Return the classes, in the order of the labels."""
        return tuple(dict.fromkeys(name for label in labels if (name := self.labels[label]) is not None))

    def channel(self, theirs: Channel) -> Channel:
        """Return a channel under its common name and unit."""
        ours = self.channels[theirs.name]
        return Channel(name=ours.name or theirs.name, unit=ours.unit or theirs.unit, gravity=theirs.gravity)


def join(datasets: Sequence[Dataset], settings: DataSettings, store: Store = _keep) -> Dataset:
    """Return the recordings of all sources as one data set; `datasets` are in the order of `settings.sources`.

    Each new array goes through `store` before the next recording is read. Raises InputError with every name that does
    not fit: an unknown label, class, channel or device, a recording that two sources have, different rates without
    `data.rate_hz`.
    """
    pairs = [(d, s, f"data.sources.{n}") for n, (d, s) in enumerate(zip(datasets, settings.sources, strict=True))]
    if problems := [problem for pair in pairs for problem in _find_unfit(*pair)]:
        raise InputError("cannot map the sources", problems)
    renamed = [rename(dataset, source, store) for dataset, source, _ in pairs]
    if problems := list(_find_differences(renamed, settings)):
        raise InputError("cannot join the sources", problems)
    classes = settings.classes or _classes(renamed)
    return replace(
        renamed[0],
        sources=tuple(source for dataset in renamed for source in dataset.sources),
        channels=_common(renamed),
        classes=classes,
        rate_hz=settings.rate_hz or _rates(renamed)[0],
        recordings=tuple(
            replace(
                _relabelled(recording, [classes.index(name) for name in dataset.classes], store),
                domain=dataset.sources[0].name,
            )
            for dataset in renamed
            for recording in dataset.recordings
        ),
        findings=tuple(finding for dataset in renamed for finding in dataset.findings),
    )


def rename(dataset: Dataset, source: LabelledSource, store: Store = _keep) -> Dataset:
    """Return a data set under common names; it must have every name in the maps of its source."""
    names = _names(dataset, source)
    classes = names.classes(dataset.classes)
    codes = [UNLABELLED if (name := names.labels[x]) is None else classes.index(name) for x in dataset.classes]
    kept = _in_order(dataset, names)
    columns = [dataset.channels.index(channel) for channel in kept]
    scales = np.array([channel.scale for channel in names.channels.values()])
    recordings = (
        _relabelled(recording, codes, store) for recording in dataset.recordings if not source.drops(recording.name)
    )
    return replace(
        dataset,
        channels=tuple(map(names.channel, kept)),
        devices=tuple(names.devices.values()),
        classes=classes,
        recordings=tuple(
            replace(
                recording,
                name=f"{source.prefix}{recording.name}",
                subject=f"{source.prefix}{recording.subject}",
                signals={
                    new: _select(recording.signals[old], columns, scales, store) for old, new in names.devices.items()
                },
                labels=_labels(recording, next(iter(names.devices)), store),
            )
            for recording in recordings
            if UNLABELLED not in codes or (recording.labels != UNLABELLED).any()
        ),
    )


def _names(dataset: Dataset, source: LabelledSource) -> _Names:
    """Return the maps of a source; one that is left out maps every name to itself."""
    maps = source if isinstance(source, MappedSource) else MappedSource()
    channels = maps.channels or [ChannelMap(channel=channel.name) for channel in dataset.channels]
    devices = maps.devices or [DeviceMap(device=name, name=name) for name in dataset.devices]
    return _Names(
        source.labels or {name: name for name in dataset.classes},
        {channel.channel: channel for channel in channels},
        {device.device: device.name for device in devices},
    )


def _in_order(dataset: Dataset, names: _Names) -> list[Channel]:
    """Return the kept channels of a source in the order of the map."""
    known = {channel.name: channel for channel in dataset.channels}
    return [known[name] for name in names.channels]


def _relabelled(recording: Recording, codes: Sequence[int], store: Store) -> Recording:
    """Return the recording with each label replaced by its code; the same object if nothing changes."""
    if list(codes) == list(range(len(codes))):
        return recording
    table = np.array([*codes, UNLABELLED], dtype=np.int32)  # the last entry is for UNLABELLED, -1
    return replace(recording, labels=store(table[recording.labels]))


def _labels(recording: Recording, device: str, store: Store) -> NDArray[np.int32]:
    """Return the labels on the clock of a device; the same array if nothing changes."""
    labels = alignment.labels_by(recording, device)
    return labels if labels is recording.labels else store(labels)


def _select(signal: Signal, columns: Sequence[int], scales: NDArray[np.float64], store: Store) -> Signal:
    """Return the chosen channels times their scales; the same object if nothing changes."""
    if list(columns) == list(range(signal.values.shape[1])) and (scales == 1).all():
        return signal
    with np.errstate(over="ignore"):
        return replace(signal, values=store((signal.values[:, columns] * scales).astype(np.float32)))


def _common(datasets: Sequence[Dataset]) -> tuple[Channel, ...]:
    """Return the channels; whether gravity is part of one is stated if all data sets state it."""
    same = zip(*(dataset.channels for dataset in datasets), strict=True)
    return tuple(
        first if all(other.gravity for other in others) else first.model_copy(update={"gravity": None})
        for first, *others in same
    )


def _classes(datasets: Iterable[Dataset]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for dataset in datasets for name in dataset.classes))


def _rates(datasets: Iterable[Dataset]) -> list[float]:
    return sorted({s.rate_hz for dataset in datasets for r in dataset.recordings for s in r.signals.values()})


def _find_unfit(dataset: Dataset, source: LabelledSource, where: str) -> Iterator[Problem]:
    """Yield every name in the maps of a source that it does not have, and every label without a class."""
    names = _names(dataset, source)
    known = {
        "labels": dataset.classes,
        "channels": [channel.name for channel in dataset.channels],
        "devices": dataset.devices,
    }
    for part, mapping in names._asdict().items():
        for name in mapping:
            if name not in known[part]:
                step = did_you_mean(name, known[part])
                message = f"the source does not have {name!r} (it has {quoted(known[part])})"
                yield Problem(f"{where}.{part}.{name}", "sources.name-unknown", message, step)
    if unmapped := [name for name in dataset.classes if name not in names.labels]:
        message = f"no class for {quoted(unmapped)}"
        yield Problem(f"{where}.labels", "sources.label-unmapped", message)
    yield from _find_twice([c.name or c.channel for c in names.channels.values()], f"{where}.channels")
    yield from _find_twice(names.devices.values(), f"{where}.devices")
    if isinstance(source, MappedSource):
        yield from _find_listed_twice([channel.channel for channel in source.channels or ()], f"{where}.channels")
        yield from _find_listed_twice([device.device for device in source.devices or ()], f"{where}.devices")
    if all(source.drops(recording.name) for recording in dataset.recordings):
        yield Problem(f"{where}.drop", "sources.all-dropped", "`drop` matches every recording")
    yield from _find_long_names(dataset, source, where)


def _find_listed_twice(theirs: Iterable[str], where: str) -> Iterator[Problem]:
    for name, count in Counter(theirs).items():
        if count > 1:
            yield Problem(f"{where}.{name}", "sources.name-twice", f"{name!r} is listed twice")


def _find_long_names(dataset: Dataset, source: LabelledSource, where: str) -> Iterator[Problem]:
    """Yield the first name that is not valid with its prefix."""
    kept = (recording for recording in dataset.recordings if source.prefix and not source.drops(recording.name))
    for name in (name for recording in kept for name in (recording.name, recording.subject)):
        if not is_name(f"{source.prefix}{name}"):
            message = f"{source.prefix + name!r} is not a valid name: 1 to 100 characters, no blank at either end"
            yield Problem(f"{where}.prefix", "sources.prefix", message)
            return


def _find_twice(names: Iterable[str], where: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield Problem(where, "sources.name-twice", f"two have the name {name!r}")
        seen.add(name)


def _find_differences(datasets: Sequence[Dataset], settings: DataSettings) -> Iterator[Problem]:
    """Yield why renamed data sets cannot be joined."""
    empty = [number for number, dataset in enumerate(datasets) if not dataset.recordings]
    yield from (
        Problem(f"data.sources.{number}.labels", "sources.all-dropped", "no recording has a label that is kept")
        for number in empty
    )
    first, *others = datasets
    for number, other in enumerate(others, 1):
        for part, ours, theirs in (
            ("channels", _with_units(first), _with_units(other)),
            ("devices", first.devices, other.devices),
        ):
            if ours != theirs:
                message = f"must be those of the first source, {', '.join(ours)}, found {', '.join(theirs)}"
                yield Problem(f"data.sources.{number}.{part}", "sources.differ", message)
    yield from _find_mixed_gravity(datasets)
    names = Counter(recording.name for dataset in datasets for recording in dataset.recordings)
    if twice := [name for name, count in names.items() if count > 1]:
        message = f"two recordings have the name {twice[0]!r}{and_others(len(twice), 'name')}"
        yield Problem("data.sources", "sources.recording-twice", message)
    yield from _find_class_problems(_classes(datasets), settings.classes)
    rates = _rates(datasets)
    if len(rates) > 1 and settings.rate_hz is None:
        message = f"recordings have {', '.join(f'{rate:g}' for rate in rates)} Hz"
        yield Problem("data.rate_hz", "sources.rates-differ", message)
    ready = {source.kind == "npy" for dataset in datasets for source in dataset.sources}
    if len(ready) > 1:
        message = "windows of a source `npy` cannot be joined with recordings"
        yield Problem("data.sources", "sources.npy-mixed", message)


def _find_mixed_gravity(datasets: Sequence[Dataset]) -> Iterator[Problem]:
    """Yield a problem if gravity is part of a channel in some data sets, and removed in others."""
    stated = {(c.name, c.gravity) for dataset in datasets for c in dataset.channels if c.gravity}
    mixed = sorted(name for name, count in Counter(name for name, _ in stated).items() if count > 1)
    if mixed:
        message = f"gravity is part of {mixed[0]!r} in one source only{and_others(len(mixed), 'channel')}"
        step = "read an acceleration with gravity from every source, or one without"
        yield Problem("data.sources", "sources.differ", message, step)


def _with_units(dataset: Dataset) -> list[str]:
    return [f"{channel.name} in {channel.unit}" for channel in dataset.channels]


def _find_class_problems(found: Sequence[str], configured: Sequence[str] | None) -> Iterator[Problem]:
    if len(found) == 1:
        yield Problem("data.sources", "sources.single-class", f"every label becomes {found[0]!r}")
    if configured is not None:
        if missing := [name for name in found if name not in configured]:
            message = f"{quoted(missing)} missing, expected every class of the sources"
            yield Problem("data.classes", "sources.classes-differ", message)
        if unknown := [name for name in configured if name not in found]:
            message = f"no source has {quoted(unknown)} (they have {quoted(found)})"
            yield Problem("data.classes", "sources.classes-differ", message)
        yield from _find_twice(configured, "data.classes")
