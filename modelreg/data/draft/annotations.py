"""Find the files that say when each label begins and ends, and how their times relate to the recordings."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data.draft import headers, words
from modelreg.data.draft.groups import Group
from modelreg.data.draft.tables import Column
from modelreg.data.message_lists import counted
from modelreg.data.sources import annotation_matching, csv_times
from modelreg.records.csv_device import CsvForm, CsvTime, TimeUnit

MOST = 0.5  # share of the texts of a column that are files or subjects of recordings
DAY_S = 86_400
TOLERANCE = 1.5  # annotations may reach beyond the rows that were read, by this factor

Floats = NDArray[np.float64]


class Marks(NamedTuple):
    """The columns of a file of annotations, from 0."""

    begin: int
    label: int
    end: int | None = None
    duration: int | None = None
    status: int | None = None
    subject: int | None = None
    session: int | None = None
    file: int | None = None
    tier: int | None = None


class Span(NamedTuple):
    """The time of a recording's rows, as far as they were read."""

    first: float  # seconds
    last: float
    is_absolute: bool


class Annotations(NamedTuple):
    """The annotations of all recordings."""

    group: Group
    marks: Marks
    time: CsvTime  # its column is that of the beginning, from 1
    labels: Mapping[str, int]  # how often each occurs
    why: str

    @property
    def form(self) -> CsvForm:
        """The form of the files."""
        return self.group.first.form

    @property
    def is_dated(self) -> bool:
        """Whether their times are dates."""
        return self.time.unit in {"iso8601", "strptime", "excel"}

    def texts(self, place: int | None) -> frozenset[str]:
        """Return the texts of a column."""
        if place is None:
            return frozenset()
        return frozenset(text for table in self.group.tables for text in table.columns[place].texts.tolist() if text)

    def column(self, place: int) -> Any:
        """Return how the configuration names a column."""
        return self.group.reference(place)


def find(groups: Sequence[Group]) -> Annotations | None:
    """Return the annotations in groups of files without signals; of several, those with the most files."""
    for group in groups:
        marks = _named(group) if group.first.form.header else _unnamed(group)
        if marks is None:
            continue
        time = _moment(group, marks)
        if time is None:
            continue
        labels: dict[str, int] = {}
        for table in group.tables:
            for text in table.columns[marks.label].texts.tolist():
                labels[text] = labels.get(text, 0) + 1
        kind = "START and STOP" if marks.status is not None else "an end" if marks.end is not None else "a duration"
        why = f"{counted(len(group.paths), 'file')} with a label, a beginning and {kind} in each row"
        return Annotations(group, marks, time, dict(sorted(labels.items())), why)
    return None


def _named(group: Group) -> Marks | None:
    """Return the columns of annotations by the names in the header."""
    names = group.first.names
    roles: dict[str, int] = {}
    order = ("begin", "end", "duration", "status", "file", "subject", "session", "label", "time")
    for place, name in enumerate(names):
        role = words.role_of(name, order)
        if role is not None:
            roles.setdefault(role, place)
    begin = roles.get("begin", roles.get("time"))
    status = roles.get("status") if _has_events(group, roles.get("status")) else None
    ended = [role for role in ("end", "duration") if role in roles]
    if begin is None or "label" not in roles or not (ended or status is not None):
        return None
    chosen = {} if status is not None else {ended[0]: roles[ended[0]]}
    others = {role: roles[role] for role in ("subject", "session", "file") if role in roles}
    return Marks(begin, roles["label"], status=status, **chosen, **others)


def _has_events(group: Group, place: int | None) -> bool:
    """Return whether a column says that a label starts or stops."""
    if place is None:
        return False
    texts = {text.lower() for table in group.tables for text in table.columns[place].texts.tolist()}
    known = words.vocabulary()
    return bool(texts & known.starts) and bool(texts & known.stops)


def _unnamed(group: Group) -> Marks | None:
    """Return the columns of a file without a header, as ELAN exports it: tier, begin, end, duration, annotation."""
    table = group.first
    numbers = [place for place, column in enumerate(table.columns) if column.is_numeric]
    clocks = [place for place, column in enumerate(table.columns) if place not in numbers and _is_time(column)]
    texts = [n for n, column in enumerate(table.columns) if n not in {*numbers, *clocks} and not column.is_empty]
    times = numbers if len(numbers) >= len(clocks) else clocks
    if len(times) < 2 or not texts:
        return None
    begin, end = times[0], times[1]
    starts, ends = (_quick(table.columns[place]) for place in (begin, end))
    if not np.all(ends >= starts):
        return None
    label = texts[-1]
    return Marks(begin, label, end=end, tier=texts[0] if len(texts) > 1 else None)


def _is_time(column: Column) -> bool:
    return bool(np.all(np.isfinite(_quick(column))))


def _quick(column: Column) -> Floats:
    """Return numbers, or the seconds of times of the day."""
    if column.is_numeric:
        return column.numbers
    return csv_times.to_seconds(column.texts, CsvTime(column=1, unit="time-of-day"))


def _moment(group: Group, marks: Marks) -> CsvTime | None:
    """Return the form of the times: numbers of some unit, or dates."""
    columns = [table.columns[marks.begin] for table in group.tables]
    if all(column.is_numeric for column in columns):
        unit = headers.unit_in(columns[0].name)
        return CsvTime.model_validate(
            {"column": marks.begin + 1, "unit": unit if unit in csv_times.PER_SECOND else "s"}
        )
    texts = np.concatenate([column.texts for column in columns])
    for time in _dates(marks.begin):
        if np.isfinite(csv_times.to_seconds(texts, time)).all():
            return time
    return None


def _dates(place: int) -> Iterator[CsvTime]:
    """Yield the forms of dates to try."""
    yield CsvTime(column=place + 1, unit="time-of-day")
    yield CsvTime(column=place + 1, unit="iso8601")
    for form in words.vocabulary().dates:
        yield CsvTime(column=place + 1, unit="strptime", format=form)


def on_clock(found: Annotations, spans: Sequence[Span]) -> tuple[TimeUnit, str | None, str]:
    """Return the unit of the times, the moment that is their zero, and the reason."""
    if found.is_dated or not spans:
        return found.time.unit, "recording" if found.is_dated else "start", "the times are dates" * found.is_dated
    column = [table.columns[found.marks.begin] for table in found.group.tables]
    if found.time.unit == "time-of-day":
        begins = csv_times.to_seconds(np.concatenate([each.texts for each in column]), found.time)
        return "time-of-day", *_relation(begins, spans)
    numbers = np.concatenate([each.numbers for each in column])
    stated = headers.unit_in(column[0].name) in csv_times.PER_SECOND
    units: list[TimeUnit] = [found.time.unit] if stated else ["s", "ms", "us", "ns"]
    for unit in units:
        seconds = numbers / csv_times.PER_SECOND[unit]
        if spans[0].is_absolute and abs(float(np.median(seconds)) - spans[0].first) < 2 * DAY_S:
            return unit, "recording", "the times are those of the recordings, in seconds since 1970"
    longest = max(span.last - span.first for span in spans)
    fitting = [unit for unit in units if float(numbers.max()) / csv_times.PER_SECOND[unit] <= longest * TOLERANCE]
    unit = fitting[0] if fitting else units[0]
    return unit, *_relation(numbers / csv_times.PER_SECOND[unit], spans)


def _relation(begins: Floats, spans: Sequence[Span]) -> tuple[str | None, str]:
    """Return what seconds are counted from: the time stamps of recordings, or their first samples."""
    if any(span.is_absolute for span in spans) or min(span.first for span in spans) > float(begins.max()):
        return "start", "the times begin near 0, and the time stamps of the recordings do not"
    return "recording", "the times and the time stamps of the recordings begin near 0"


def columns_left(found: Annotations) -> list[str]:
    """Return the names of the columns that neither the label nor a time is in; of files without names, the numbers."""
    used = {place for place in found.marks if place is not None}
    every = enumerate(found.group.first.columns)
    return [str(found.column(place)) for place, _ in every if place not in used or place in _recordings(found.marks)]


def linked(found: Annotations, paths: Sequence[Sequence[str]], subjects: frozenset[str]) -> tuple[dict[str, Any], str]:
    """Return the settings that connect rows with recordings, and the reason; nothing if no column does.

    `paths` are those of each part of the recordings.
    """
    files = _known_names(paths)
    for role, known in (("file", files), ("subject", subjects)):
        place = getattr(found.marks, role)
        texts = found.texts(place)
        if texts and len(texts & known) >= MOST * len(texts):
            return {role: found.column(place)}, f"the column has the {role} of each recording"
    used = {place for place in found.marks if place is not None} - _recordings(found.marks)
    for place in sorted(set(range(len(found.group.first.columns))) - used):
        texts = found.texts(place)
        for role, known in (("file", files), ("subject", subjects)):
            if texts and len(texts & known) >= MOST * len(texts):
                return {role: found.column(place)}, f"the column has the {role} of each recording"
    return {}, ""


def _recordings(marks: Marks) -> set[int]:
    """Return the columns that may say which recording a row is for."""
    return {place for place in (marks.subject, marks.session, marks.file) if place is not None}


def _known_names(paths: Sequence[Sequence[str]]) -> frozenset[str]:
    """Return the texts that name one file of a part, and no other of it."""
    counts = [Counter(name for path in own for name in annotation_matching.names_of(path)) for own in paths]
    every = {name for own in counts for name in own}
    return frozenset(name for name in every if all(own[name] <= 1 for own in counts))
