"""Describe each group of signals: its clock, rate and channels, by a known export or by its columns."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data.draft import clock, columns, norms, recipes, sensors, words
from modelreg.data.draft.clock import Clock
from modelreg.data.draft.columns import Columns
from modelreg.data.draft.groups import Group
from modelreg.data.draft.headers import AXES
from modelreg.data.draft.recipes import Fit, Recipe, TableRecipe
from modelreg.data.draft.sensors import Sensor
from modelreg.data.draft.tables import Table
from modelreg.records.csv_device import Column, CsvForm, CsvStart, CsvTime

UNKNOWN_UNIT = "FILL IN: the unit of this channel, as m/s2, g, rad/s or deg/s"
UNKNOWN_COLUMN = "FILL IN: the column of the {} axis; there are {}"
LISTED = 12  # columns
FEWEST_ROWS = 50  # of signals


class Part(NamedTuple):
    """The files of one sensor of a device, or of several in one table."""

    group: Group
    device: str  # empty: nothing names it
    columns: Columns
    clock: Clock | None
    rate_hz: float | None  # None: not known
    why_rate: str
    starts: tuple[CsvStart, ...]
    event: str | None  # the text of the rows of this sensor, if the files have those of several
    sensors: tuple[Sensor, ...]
    left_out: tuple[str, ...]  # sensors in these files that a model does not get

    @property
    def form(self) -> CsvForm:
        """The form of the files."""
        return self.group.first.form

    def reference(self, place: int | None) -> Column | None:
        """Return how the configuration names a column."""
        return None if place is None else self.group.reference(place)

    def time(self) -> dict[str, Any] | None:
        """Return the setting of the time."""
        if self.clock is None:
            return None
        values = self.clock.time.model_dump(exclude_none=True)
        found: dict[str, Any] = {"column": self.group.reference(values.pop("column") - 1), **values}
        if "plus" in found:
            found["plus"] = {**found["plus"], "column": self.group.reference(found["plus"]["column"] - 1)}
        return found

    @property
    def may_have_signals(self) -> bool:
        """Whether there are rows of at least three numbers, although nothing says what they measure."""
        numeric = sum(column.is_numeric for column in self.group.first.columns)
        return numeric >= len(AXES) and self.group.first.rows >= FEWEST_ROWS


def of_group(group: Group, *, dates: bool) -> Iterator[Part]:
    """Yield the parts of a group that no export describes: one for each device that its columns name."""
    found = columns.find(group.tables)
    time = clock.find(group.tables, found.named, _recordings(found), dates=dates)
    taken = found.named | _taken(time)
    signals = sensors.find(group, taken, found.event)
    by_events = sorted({sensor.event for sensor in signals.kept if sensor.event is not None})
    events: list[str | None] = [*by_events] or [None]
    for device, event in [(device, event) for device in _devices(signals.kept) or [""] for event in events]:
        own = tuple(sensor for sensor in signals.kept if (sensor.device, sensor.event) == (device, event))
        timed = time if event is None else _of_event(group, found, event, dates=dates)
        rate, why = _rate(group, timed)
        left = signals.left_out
        yield Part(group, device or group.device, found, timed, rate, why, (), event, own, left)


def of_fit(fit: Fit, recipe: Recipe) -> Part:
    """Return the part that an export describes. The names and values of its columns still decide what they can."""
    group, first = fit.group, fit.recipes[0]
    found = columns.find(group.tables)
    label = recipes.place(group, first.label) if first.label else None
    found = Columns(label=label, why=(("label", "the column of the app"),)) if label is not None else found
    time = _time(group, first, found)
    rate, why = _rate(group, time, first.rate)
    own = tuple(_sensor(group, table, number) for table in fit.recipes for number in range(len(table.sensors)))
    starts = recipe.starts if first.starts else ()
    used = tuple(start for start in starts if any(re.search(start.pattern, t.preamble) for t in group.tables))
    return Part(
        group,
        group.device or recipe.device or "",
        found,
        time,
        rate,
        why,
        used,
        None,
        own,
        tuple(sensors.unused(group, own)),
    )


def _devices(found: Sequence[Sensor]) -> list[str]:
    return list(dict.fromkeys(sensor.device for sensor in found))


def _taken(time: Clock | None) -> set[int]:
    if time is None:
        return set()
    numbers = [time.time.column, *([time.time.plus.column] if time.time.plus else [])]
    return {number - 1 for number in numbers if isinstance(number, int)}


def _recordings(found: Columns) -> Callable[[Table], Sequence[NDArray[np.intp]]]:
    """Return a function that divides the rows of a table by subject and session."""

    def rows(table: Table) -> Sequence[NDArray[np.intp]]:
        places = [place for place in (found.subject, found.session) if place is not None]
        if not places:
            return [np.arange(table.rows)]
        keys = ["\0".join(texts) for texts in zip(*(table.columns[place].texts for place in places), strict=True)]
        names = np.array(keys)
        return [np.flatnonzero(names == name) for name in dict.fromkeys(keys)]

    return rows


def _of_event(group: Group, found: Columns, event: str, *, dates: bool) -> Clock | None:
    """Return the clock of the rows of one sensor."""
    place = found.event if found.event is not None else 0
    every = _recordings(found)

    def rows(table: Table) -> Sequence[NDArray[np.intp]]:
        own = table.columns[place].texts == event
        return [members[own[members]] for members in every(table)]

    return clock.find(group.tables, found.named, rows, dates=dates)


def _rate(group: Group, time: Clock | None, pattern: str | None = None) -> tuple[float | None, str]:
    """Return the nominal rate, and the reason: by the time stamps, or by the lines before the header."""
    preambles = [table.preamble for table in group.tables]
    stated = re.search(pattern or words.vocabulary().rate_before_header, preambles[0])
    if stated and (pattern or time is None):
        return float(stated[1]), "the lines before the header state it"
    if time is not None and time.rate_hz:
        return time.rate_hz, time.why_rate
    return None, "the rows have no time"


def _time(group: Group, table: TableRecipe, found: Columns) -> Clock | None:
    """Return the clock of an export: by its column, and its unit if the export has one only."""
    if table.time is None:
        return None
    place = recipes.place(group, table.time.column) or 0
    others = set(range(len(group.first.columns))) - {place, *_added(group)}
    stated = None
    if table.time.unit:
        stated = CsvTime(column=place + 1, unit=table.time.unit, format=table.time.format)
    return clock.find(group.tables, others, _recordings(found), stated=stated)


def _added(group: Group) -> set[int]:
    """Return the columns that may be the milliseconds of a time."""
    return {place for place, name in enumerate(group.first.names) if words.role_of(name, ["added"])}


def _sensor(group: Group, table: TableRecipe, number: int) -> Sensor:
    """Return a sensor of an export; its values decide on unit and gravity where the rule of the export cannot be true.

    An acceleration without gravity may have any norm while it moves: only 1 g in the unit of the export contradicts it.
    """
    recipe = table.sensors[number]
    positions = [[recipes.place(group, column) or 0 for column in recipe.columns(axis)] for axis in AXES]
    x, y, z = (position[0] for position in positions)
    added = (positions[0][1], positions[1][1], positions[2][1]) if recipe.plus else None
    unit, gravity, why = recipe.unit, recipe.gravity, table.why
    if recipe.name == "acc" and not added:
        verdict = norms.judge(norms.rest(sensors.values(group, (x, y, z))), recipe.unit)
        differs = (verdict.unit == recipe.unit) if gravity == "removed" else (verdict.unit != recipe.unit)
        if verdict.gravity == "included" and differs:
            unit, gravity, why = verdict.unit or unit, "included", f"{why}; but {verdict.why}"
    return Sensor(recipe.name, unit, gravity, (x, y, z), added, "", why)


def channels(part: Part) -> list[dict[str, Any]]:
    """Return the settings of the channels of a part."""
    made = [] if part.sensors else _unknown(part)
    for sensor in part.sensors:
        for number, axis in enumerate(sensor.axes):
            channel: dict[str, Any] = {
                "name": f"{sensor.quantity}_{axis}",
                "column": part.group.reference(sensor.places[number]),
            }
            if sensor.added:
                channel["plus"] = part.group.reference(sensor.added[number])
            channel["unit"] = sensor.unit or UNKNOWN_UNIT
            if sensor.gravity:
                channel["gravity"] = sensor.gravity
            made.append(channel)
    return made


def _unknown(part: Part) -> list[dict[str, Any]]:
    """Return three channels whose columns the user must name."""
    places = range(len(part.group.first.columns))[:LISTED]
    names = ", ".join(str(part.group.reference(place)) for place in places)
    return [
        {"name": f"acc_{axis}", "column": UNKNOWN_COLUMN.format(axis, names), "unit": UNKNOWN_UNIT} for axis in AXES
    ]
