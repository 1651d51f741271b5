"""Read text files of rows and columns, described column by column.

Every file below a folder whose path matches a device's pattern holds one device, or one sensor of it. The groups of the
pattern, columns, or a lookup file name the recordings. Problems of paths and names are found before any file is opened,
then those of all contents. Parsed arrays are kept under the digest of the file's bytes and of every setting that the
parsing depends on.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg import files
from modelreg.data.cache import Parsed, Reading, combine
from modelreg.data.message_lists import leave_out
from modelreg.data.recording import UNREADABLE, Dataset, Recording, Signal, natural
from modelreg.data.sources import csv_annotations, csv_plan, csv_recordings, csv_texts, file_formats
from modelreg.data.sources.annotation_matching import Target
from modelreg.data.sources.binary_tables import SUFFIXES, read_table
from modelreg.data.sources.containers import COMPRESSED, Tree, asked_by, open_tree
from modelreg.data.sources.csv_annotations import Interval
from modelreg.data.sources.csv_layout import Layout
from modelreg.data.sources.csv_plan import FIRST, Key, Use
from modelreg.data.sources.csv_recordings import Labels, Piece
from modelreg.data.sources.csv_table import COUNTS, parse, parse_table
from modelreg.data.sources.csv_times import PER_SECOND
from modelreg.data.sources.source_notes import find_unmapped
from modelreg.errors import InputError, Notice, Problem
from modelreg.records.csv_device import CsvPart
from modelreg.records.data import QualityFinding, RowCounts, SourceRecord
from modelreg.records.model import Channel
from modelreg.records.source import CsvSource

PARSER = "csv-3"  # part of the cache's keys; a new number when the parsing changes
FAR = 3  # a rate this many times off the declared one is not jitter, but another unit
OF_LABELS = {"codes", "labels", "lines"}  # arrays of the first part only
NOT_SAMPLES = {"lines", "counts", "groups", "ends", "rate"}  # arrays that a source's digest does not cover

_Arrays = Mapping[str, Parsed]  # of one file, by name


COLUMN = "csv.column-missing"


class _Job(NamedTuple):
    """A file to parse, and the devices or parts that it holds."""

    path: str
    layout: Layout
    uses: tuple[Use, ...]


class _Texts(NamedTuple):
    """The contents of other files: names of recordings, and intervals of labels."""

    lookup: dict[str, csv_texts.Row]
    intervals: tuple[Interval, ...]
    digests: dict[str, str]


def read(source: CsvSource, reading: Reading) -> Dataset:
    """Read the folder or archive. Raises InputError with file and line of every problem."""
    with open_tree(reading.base / source.path, source.path, asked_by(_patterns(source)), reading.scratch) as tree:
        _raise(tree.problems)
        texts = _read_texts(source, tree)
        plan = csv_plan.make(source, tree.paths, texts.lookup)
        jobs = _jobs(plan.uses, source)
        found, rows = _read_all(jobs, source, tree, reading)
    pieces = _pieces(found, source)
    dropped = _dropped(found, plan.dropped, source)
    labels, findings = _label(pieces, texts.intervals, dropped, source, reading)
    record = SourceRecord(
        kind="csv",
        name=source.name,
        digest=combine(_digests(found, source) | texts.digests),
        license=source.license,
        citation=source.citation,
        rows=rows,
    )
    left_out = [f"{', '.join(names)} of {device}" for device, names in source.left_out.items()]
    notes = [*(rows.notes() if rows else ())]
    notes += [f"channels that not every device has are left out: {'; '.join(left_out)}"] if left_out else []
    for notice in [*plan.notices, *(Notice(source.path, note) for note in notes)]:
        reading.remark(notice)
    classes = tuple(source.labels or sorted({name for track in labels.values() for name in track.present}))
    return Dataset(
        sources=(record,),
        channels=tuple(Channel(name=c.name, unit=c.unit, gravity=c.gravity) for c in source.channels),
        devices=tuple(device.name for device in source.devices),
        classes=classes,
        rate_hz=source.devices[0].rate_hz,
        recordings=_recordings(pieces, labels, source, classes, reading),
        findings=findings,
    )


def _patterns(source: CsvSource) -> Iterator[str]:
    """Yield the patterns of all paths that are read."""
    yield from (part.files for part in source.by_name.values())
    if source.annotations:
        yield source.annotations.files
    if source.lookup:
        yield re.escape(source.lookup.file)


def _read_texts(source: CsvSource, tree: Tree) -> _Texts:
    """Return what the lookup file and the files of annotations say. Raises InputError."""
    lookup: dict[str, csv_texts.Row] = {}
    digests: dict[str, str] = {}
    if settings := source.lookup:
        where = str(Path(source.path, settings.file))
        if settings.file not in tree.paths:
            raise InputError(UNREADABLE, [Problem(where, "csv.lookup-missing", "no such file")])
        columns = {"key": settings.key} | {name: getattr(settings, name) for name in settings.given}
        with tree.open(settings.file) as stream:
            lookup = csv_plan.by_id(csv_texts.read(stream, where, settings, columns), where)
        digests[f"lookup/{settings.file}"] = tree.sha256(settings.file)
    if source.annotations is None:
        return _Texts(lookup, (), digests)
    intervals, paths = _read_annotations(source, tree, lookup)
    digests |= {f"annotations/{path}": tree.sha256(path) for path in paths}
    return _Texts(lookup, intervals, digests)


def _read_annotations(
    source: CsvSource, tree: Tree, lookup: Mapping[str, csv_texts.Row]
) -> tuple[tuple[Interval, ...], list[str]]:
    """Return the intervals of all files of annotations, and their paths. Raises InputError with every problem."""
    settings = source.annotations
    matches = csv_plan.matching(settings.files, tree.paths) if settings else {}
    if settings is None or not matches:
        message = f"no path matches the pattern of the annotations, {settings.files!r}" if settings else ""
        raise InputError(UNREADABLE, [Problem(source.path, "csv.files-missing", message)])
    found: list[Interval] = []
    problems: list[Problem] = []
    for path, names in matches.items():
        where = str(Path(source.path, path))
        row = lookup.get(names.get("id", ""))
        groups = names | (dict(row.texts) if row else {})
        try:
            with tree.open(path) as stream:
                rows = csv_texts.read(stream, where, settings, csv_annotations.columns(settings))
            found += csv_annotations.intervals(rows, settings, where, groups)
        except InputError as error:
            problems += error.problems
    if not found and not problems:
        problems.append(
            Problem(str(Path(source.path, next(iter(matches)))), "csv.empty", "no annotation below the header")
        )
    _raise(problems)
    return tuple(found), list(matches)


def _jobs(uses: Sequence[Use], source: CsvSource) -> list[_Job]:
    """Return the files to parse: each once for all devices in it, unless they differ in clock or rows."""
    layouts = {name: Layout.of(source, name) for name in source.by_name}
    together: dict[tuple[str, Layout], list[Use]] = defaultdict(list)
    for use in uses:
        together[use.path, layouts[use.part].apart].append(use)
    jobs = [
        _Job(path, Layout.merged([layouts[use.part] for use in same]), tuple(same))
        for (path, _), same in together.items()
    ]
    return sorted(jobs, key=lambda job: job.path)


def _read_all(
    jobs: Sequence[_Job], source: CsvSource, tree: Tree, reading: Reading
) -> tuple[dict[Use, _Arrays], RowCounts | None]:
    """Return the arrays of each device or part, and what was done to the rows of all files, read one at a time.

    Raises InputError with the problems of all of them.
    """
    found: dict[tuple[Use, ...], dict[str, Parsed]] = {}
    failed: dict[_Job, Sequence[Problem]] = {}
    for done, job in enumerate(jobs):
        reading.tell(done, len(jobs), job.path)
        where = str(Path(source.path, job.path))
        try:
            found[job.uses] = _recall(tree, job, where, reading)
        except InputError as error:
            failed[job] = error.problems
    reading.tell(len(jobs), len(jobs), (reading.base / source.path).name)
    uses = _by_use(found, source)
    problems = [*_point_at_few(failed, uses, source)]
    problems += _find_unknown_labels(uses, source)
    rates, parts = _rates(source), source.by_name
    for use, arrays in uses.items():
        place = str(Path(source.path, use.path))
        problems += _find_rate_problems(arrays, parts[use.part], rates[use.part], place)
    _raise(problems)
    return uses, _count_rows(found.values())


def _point_at_few(
    failed: Mapping[_Job, Sequence[Problem]], read: Iterable[Use], source: CsvSource
) -> Iterator[Problem]:
    """Yield the problems. If most files of a part have the columns, the step is about the few files without them."""
    sound = Counter(use.part for use in read)
    lacking = [job for job, problems in failed.items() if any(problem.rule == COLUMN for problem in problems)]
    without = Counter(use.part for job in lacking for use in job.uses)
    few = [job for job in lacking if all(without[use.part] < sound[use.part] for use in job.uses)]
    names = list(dict.fromkeys(use.key.name for job in few for use in job.uses))
    again = "export this file again as the others" if len(few) == 1 else "export these files again as the others"
    leaving = "match only the others with `files`" if csv_plan.is_by_columns(source) else leave_out(names)
    for job, problems in failed.items():
        for problem in problems:
            of_few = job in few and problem.rule == COLUMN
            yield problem._replace(next=f"{again}, or {leaving}") if of_few else problem


def _by_use(found: Mapping[tuple[Use, ...], _Arrays], source: CsvSource) -> dict[Use, _Arrays]:
    """Return the arrays of each device or part; labels are those of the first one."""
    first = source.first
    made: dict[Use, _Arrays] = {}
    for uses, arrays in found.items():
        shared = {name: parsed for name, parsed in arrays.items() if not name.startswith("values")}
        for number, use in enumerate(uses):
            values = arrays["values"] if len(uses) == 1 else arrays[f"values.{number}"]
            kept = {name: parsed for name, parsed in shared.items() if use.part == first or name not in OF_LABELS}
            made[use] = kept | {"values": values}
    return made


def _find_unknown_labels(found: Mapping[Use, _Arrays], source: CsvSource) -> Iterator[Problem]:
    """Yield the first place of each label of a column or path that `labels` does not map."""
    first = source.first
    labels = [
        (name, f"{Path(source.path, use.path)}{place}")
        for use, arrays in found.items()
        if use.part == first
        for name, place in _labels_of(use, arrays, source).items()
    ]
    yield from find_unmapped(labels, source)


def _labels_of(use: Use, arrays: _Arrays, source: CsvSource) -> dict[str, str]:
    """Return the labels of a file, and the first line of each: `:12`, or nothing."""
    if source.label is None:
        return {use.key.label: ""} if use.key.label and use.key.label not in source.missing else {}
    labels, lines = (arrays[name].values.tolist() for name in ("labels", "lines"))
    return {label: f":{line}" for label, line in zip(labels, lines, strict=True)}


def _recall(tree: Tree, job: _Job, where: str, reading: Reading) -> dict[str, Parsed]:
    """Return the arrays of one file, parsed now or earlier."""

    def parse_file() -> Iterator[tuple[str, NDArray[Any]]]:
        try:
            with tree.open(job.path) as stream:
                yield from _parse(stream, job, where)
        except InputError as error:
            if foreign := _find_foreign(tree, job.path, where):
                raise InputError(UNREADABLE, [foreign]) from error
            raise

    steering = files.to_line({"file": tree.sha256(job.path), **job.layout.to_document()})
    return reading.recall(f"{PARSER}-{files.sha256_bytes(steering)}", parse_file)


def _parse(stream: IO[bytes], job: _Job, where: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the arrays of one file. Raises InputError."""
    stored = PurePosixPath(job.path)
    suffix = (stored.with_suffix("") if stored.suffix.lower() in COMPRESSED else stored).suffix.lower()
    if suffix in SUFFIXES:
        yield from parse_table(read_table(stream, where, suffix, job.layout.table), where, job.layout)
    else:
        yield from parse(stream, where, job.layout)


def _find_foreign(tree: Tree, path: str, where: str) -> Problem | None:
    """Return the problem of a file of a format that is not read, by its name."""
    try:
        with tree.open(path) as stream:
            return file_formats.find_foreign(stream.read(file_formats.FIRST), path, where)
    except InputError:
        return None  # it cannot be opened at all, which the first error says


def _rates(source: CsvSource) -> dict[str, float]:
    """Return the nominal rate of every part."""
    return {
        name: part.rate_hz or device.rate_hz
        for device in source.devices
        for name, part in source.parts_of(device).items()
    }


def _digests(found: Mapping[Use, _Arrays], source: CsvSource) -> dict[str, str]:
    """Return the digests of all samples by recording, or by file if its columns name the recordings."""
    by_columns = csv_plan.is_by_columns(source)
    return {
        f"{use.path if by_columns else use.key.name}/{use.part}/{name}": parsed.digest
        for use, arrays in found.items()
        for name, parsed in arrays.items()
        if name not in NOT_SAMPLES or (by_columns and name in {"groups", "ends"})
    }


def _count_rows(found: Iterable[_Arrays]) -> RowCounts | None:
    """Return what was done to the rows of all files; None if all were read as they are."""
    counts = np.array([arrays["counts"].values for arrays in found]).reshape(-1, len(COUNTS))
    total = dict(zip(COUNTS, counts.sum(axis=0).tolist(), strict=True))
    packets = int(np.count_nonzero(counts[:, COUNTS.index("packet")]))
    made = RowCounts(**{name: total[name] for name in COUNTS if name != "packet"}, packets=packets)
    return made if any(count for name, count in made if name != "rows") else None


def _raise(problems: Sequence[Problem]) -> None:
    """Raise InputError with the problems, each once, if there are any."""
    if problems:
        raise InputError(UNREADABLE, dict.fromkeys(problems))


def _find_rate_problems(arrays: _Arrays, part: CsvPart, rate_hz: float, where: str) -> Iterator[Problem]:
    """Yield a problem if the time stamps are far from the nominal rate, with the unit in which they are near it.

    Also if the lines before the header state another rate.
    """
    if "rate" in arrays and (stated := float(arrays["rate"].values[0])) != rate_hz:
        message = f"the lines before the header state {stated:g} Hz, but rate_hz is {rate_hz:g}"
        yield Problem(where, "csv.rate-mismatch", message, f"set `rate_hz` to {stated:g}")
    if part.time is None:
        return
    intervals = np.diff(arrays["time"].values)
    rising = intervals[intervals > 0]
    if not len(rising) or _is_near(rate := 1 / float(np.median(rising)), rate_hz):
        return
    declared = PER_SECOND.get(part.time.unit)
    fitting = [u for u, n in PER_SECOND.items() if declared and _is_near(rate * n / declared, rate_hz)]
    step = f"set `time.unit` to '{fitting[0]}'" if fitting else ""
    message = f"time stamps give {rate:.3g} Hz, but rate_hz is {rate_hz:g}"
    yield Problem(where, "csv.rate-mismatch", message, step)


def _is_near(rate: float, nominal: float) -> bool:
    return nominal / FAR <= rate <= nominal * FAR


def _pieces(found: Mapping[Use, _Arrays], source: CsvSource) -> dict[Key, dict[str, Piece]]:
    """Return the recordings, of each its parts. Raises InputError if a part is missing or there twice."""
    pieces: dict[Key, dict[str, Piece]] = defaultdict(dict)
    rates, parts = _rates(source), source.by_name
    problems: list[Problem] = []
    for use, arrays in found.items():
        for key, piece in _divided(use, arrays, rates[use.part], timed=parts[use.part].time is not None):
            if source.drops(key.name):
                continue
            if (other := pieces[key].setdefault(use.part, piece)) is not piece:
                problems += csv_plan.find_copies([Use(use.part, p, key) for p in (other.path, use.path)], source)
    if csv_plan.is_by_columns(source):
        plan = {key: {part: piece.path for part, piece in parts.items()} for key, parts in pieces.items()}
        problems += csv_plan.find_gaps(plan, list(source.by_name), source.path)
    if not pieces:
        problems.append(Problem(source.path, "sources.all-dropped", "`drop` matches every recording"))
    _raise(problems)
    return dict(sorted(pieces.items(), key=lambda item: natural(item[0].name)))


def _divided(use: Use, arrays: _Arrays, rate_hz: float, *, timed: bool) -> Iterator[tuple[Key, Piece]]:
    """Yield the recordings of one file."""
    values = {name: parsed.values for name, parsed in arrays.items()}
    begin = 0
    for (subject, stated, run), end in zip(values["groups"].tolist(), values["ends"].tolist(), strict=True):
        session = stated or use.key.session or FIRST
        name = session if run == "1" else f"{session}.{run}"
        rows = slice(begin, end)
        time = values["time"][rows] if timed else None
        if "start" in values:
            passed = np.arange(begin, end) / rate_hz if time is None else time
            time = values["start"][0] + passed
        labels = None
        if "codes" in values:
            labels = Labels(values["codes"][rows], tuple(values["labels"].tolist()))
        yield (
            Key(subject or use.key.subject, name, use.key.label),
            Piece(use.path, Signal(values["values"][rows], rate_hz, time), labels),
        )
        begin = end


def _label(
    pieces: Mapping[Key, Mapping[str, Piece]],
    intervals: Sequence[Interval],
    dropped: Sequence[Target],
    source: CsvSource,
    reading: Reading,
) -> tuple[dict[Key, Labels], tuple[QualityFinding, ...]]:
    """Return the labels of each recording's first part, and what is wrong. Raises InputError if no annotation fits."""
    name = source.first
    if source.annotations is None:
        first = {key: parts[name] for key, parts in pieces.items()}
        return {key: piece.labels or csv_recordings.of_path(key, piece, source) for key, piece in first.items()}, ()
    found, used, notes, findings = csv_recordings.annotate(pieces, name, intervals, source.annotations, dropped)
    _raise(list(find_unmapped([(each.label, each.where) for each in used], source)))
    for note in notes:
        reading.remark(Notice(source.path, note))
    return found, findings


def _dropped(found: Mapping[Use, _Arrays], unread: Sequence[Use], source: CsvSource) -> list[Target]:
    """Return the recordings that `drop` leaves out: of files that are not read, and of parts of files."""
    rates, parts = _rates(source), source.by_name
    divided = [
        (key, use.path)
        for use, arrays in found.items()
        for key, _ in _divided(use, arrays, rates[use.part], timed=parts[use.part].time is not None)
        if source.drops(key.name)
    ]
    paths: dict[Key, list[str]] = defaultdict(list)
    for key, path in [*((use.key, use.path) for use in unread), *divided]:
        paths[key].append(path)
    return [Target(key.name, key.subject, key.session, tuple(own)) for key, own in paths.items()]


def _recordings(
    pieces: Mapping[Key, Mapping[str, Piece]],
    labels: Mapping[Key, Labels],
    source: CsvSource,
    classes: Sequence[str],
    reading: Reading,
) -> tuple[Recording, ...]:
    """Return the recordings, the parts of each device joined. Raises InputError if parts cannot be joined."""
    made: list[Recording] = []
    problems: list[Problem] = []
    shape = csv_recordings.Shape.of(source)
    for key, parts in pieces.items():
        try:
            made += csv_recordings.build(key, parts, labels[key].of(classes), shape, reading)
        except InputError as error:
            problems += error.problems
    _raise(problems)
    return tuple(made)
