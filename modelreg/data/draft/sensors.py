"""Find the accelerometers and gyroscopes in the columns of a group of files: by names, and by their values."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data.draft import headers, norms, words
from modelreg.data.draft.groups import Group
from modelreg.data.draft.headers import AXES, Axis, Triple
from modelreg.data.draft.words import Quantity
from modelreg.data.sensors import one_g
from modelreg.records.model import Gravity

QUANTITIES: tuple[Quantity, ...] = ("acc", "gyro")  # that a model gets
WIDEST = 60  # columns of a table without names; more are rows of windows or features
MOVES = 0.1  # g: an accelerometer whose axes together deviate more is moved

UNKNOWN = "not known what it measures"
NEXT_TO = "three numbers after those of an accelerometer"

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


class Sensor(NamedTuple):
    """The columns of one sensor: of three axes, or of those that its files have."""

    quantity: Quantity
    unit: str | None  # None: not known
    gravity: Gravity | None
    places: tuple[int, ...]  # of the axes
    added: tuple[int, ...] | None  # columns that are added: gravity
    device: str  # words of the columns' names that are left
    why: str
    event: str | None = None  # the text of the rows of this sensor
    axes: tuple[Axis, ...] = AXES


class Found(NamedTuple):
    """The sensors that a model gets, and the others."""

    kept: tuple[Sensor, ...]
    left_out: tuple[str, ...]  # the columns of each, with the reason


def find(group: Group, taken: set[int], event: int | None = None) -> Found:
    """Return the sensors of a group. `taken` are columns that are something else; `event` says whose a row is."""
    if event is not None:
        return Found(tuple(_of_events(group, taken, event)), ())
    triples = [each for each in headers.triples(_names(group)) if not taken & {*each.places}]
    if not triples:
        triples = list(_unnamed(group, taken))
    judged = [_judge(group, triple) for triple in triples]
    kept: list[Sensor] = []
    for device in dict.fromkeys(sensor.device for sensor in judged):
        own = [sensor for sensor in judged if sensor.device == device]
        for quantity in QUANTITIES:
            kept += _best([sensor for sensor in own if sensor.quantity == quantity], own)
    partly = list(_partly(group, taken))
    devices = {sensor.device for sensor in kept}
    for sensor in partly:
        known = {(each.device, each.quantity) for each in kept}
        has_device = sensor.device in devices or not devices
        if has_device and sensor.quantity in QUANTITIES and (sensor.device, sensor.quantity) not in known:
            kept.append(sensor)
    order = list(dict.fromkeys(sensor.device for sensor in kept))
    kept.sort(key=lambda sensor: (order.index(sensor.device), sensor.quantity))
    return Found(tuple(kept), tuple(_left_out(group, [*judged, *partly], kept)))


def unused(group: Group, used: Sequence[Sensor]) -> Iterator[str]:
    """Yield the columns of each further sensor in the files that an export describes, with what they measure."""
    taken = {place for sensor in used for place in (*sensor.places, *(sensor.added or ()))}
    found: list[tuple[Quantity | None, tuple[int, ...]]] = [
        (each.quantity, each.places) for each in headers.triples(_names(group))
    ]
    found += [(each.quantity, tuple(each.places.values())) for each in headers.partials(_names(group))]
    for quantity, places in found:
        if not taken & {*places} and _are_numeric(group, places):
            yield f"{_named(group, places)} ({quantity or UNKNOWN})"


def _left_out(group: Group, every: Sequence[Sensor], kept: Sequence[Sensor]) -> Iterator[str]:
    """Yield the columns of each sensor that is not used, with the reason."""
    used = {place for sensor in kept for place in (*sensor.places, *(sensor.added or ()))}
    for sensor in every:
        if not used & {*sensor.places}:
            yield f"{_named(group, sensor.places)} ({sensor.why})"


def _named(group: Group, places: Sequence[int]) -> str:
    return ", ".join(group.first.names[place] for place in places)


def _are_numeric(group: Group, places: Sequence[int]) -> bool:
    return all(group.first.columns[place].is_numeric for place in places)


def _partly(group: Group, taken: set[int]) -> Iterator[Sensor]:
    """Yield the sensors without columns of some axes. The norm of an acceleration says nothing then."""
    for found in headers.partials(_names(group)):
        places = tuple(found.places.values())
        if taken & {*places} or not _are_numeric(group, places):
            continue
        said = group.sensor
        quantity = found.quantity or (said.quantity if said else None)
        gravity = found.gravity or (said.gravity if said and said.quantity == quantity else None)
        absent = [axis for axis in AXES if axis not in found.places]
        which = f"{' and '.join(absent)} {'axis' if len(absent) == 1 else 'axes'}"
        source = "the names of the columns" if found.quantity else "the path" if quantity else UNKNOWN
        unit, why = found.unit, f"{source}; no column of its {which} was found"
        if unit is None and quantity == "gyro":
            unit, reason = norms.rotation_unit(values(group, places), moves=_moves(group))
            why = f"{why}; {reason}"
        axes = tuple(found.places)
        yield Sensor(quantity or "other", unit, gravity, places, None, found.rest, why, axes=axes)


def values(group: Group, places: Sequence[int], rows: Sequence[Rows] | None = None) -> list[Floats]:
    """Return some columns of each table (n, number of places), of all rows or of some."""
    found = []
    for number, table in enumerate(group.tables):
        stacked = np.stack([table.columns[place].numbers for place in places], axis=1)
        found.append(stacked if rows is None else stacked[rows[number]])
    return found


def _names(group: Group) -> Sequence[str]:
    return group.first.names if group.first.form.header else [""] * len(group.first.columns)


def _judge(group: Group, triple: Triple, event: str | None = None, rows: Sequence[Rows] | None = None) -> Sensor:
    """Return what three columns measure, and the reason."""
    arrays = values(group, triple.places, rows)
    said = group.sensor
    named = "the names of the columns" if group.first.form.header and event is None else NEXT_TO
    quantity, gravity, source = triple.quantity, triple.gravity, named
    if quantity is None and said is not None:
        quantity, gravity, source = said.quantity, said.gravity, "the path"
    elif quantity == "acc" and gravity is None and said is not None and said.quantity == "acc":
        gravity = said.gravity
    if quantity in (None, "acc"):
        verdict = norms.judge(norms.rest(arrays), triple.unit)
        if quantity is None and verdict.gravity == "included":
            quantity, source = "acc", "the values"
        if quantity == "acc":
            settled = verdict.gravity or gravity
            return Sensor(
                "acc", verdict.unit, settled, triple.places, None, triple.rest, f"{source}; {verdict.why}", event
            )
    if quantity == "gyro":
        unit, why = (triple.unit, "") if triple.unit else norms.rotation_unit(arrays, moves=_moves(group))
        return Sensor(
            "gyro", unit, None, triple.places, None, triple.rest, "; ".join(filter(None, (source, why))), event
        )
    why = f"{quantity}, by {source}" if quantity else UNKNOWN
    unit = norms.judge(norms.rest(arrays), triple.unit).unit if quantity == "gravity" else triple.unit
    return Sensor(quantity or "other", unit, gravity, triple.places, None, triple.rest, why, event)


def _moves(group: Group) -> bool:
    """Return whether an accelerometer in the same files moves; without one, whether the paths name activities."""
    for triple in headers.triples(_names(group)):
        if triple.quantity == "acc":
            found = norms.rest(values(group, triple.places))
            unit = norms.judge(found, triple.unit).unit
            return found is not None and found.motion > MOVES * (one_g(unit or "g") or 1.0)
    return True


def _best(found: Sequence[Sensor], every: Sequence[Sensor]) -> list[Sensor]:
    """Return the sensor of one quantity that a model gets: an acceleration with gravity if that can be had."""
    if not found:
        return []
    with_gravity = [sensor for sensor in found if sensor.gravity == "included"]
    gravity = [sensor for sensor in every if sensor.quantity == "gravity"]
    removed = [sensor for sensor in found if sensor.gravity == "removed"]
    if not with_gravity and gravity and removed:
        why = "gravity and the rest of the acceleration are in separate columns, which are added"
        unit = removed[0].unit or gravity[0].unit
        return [removed[0]._replace(added=gravity[0].places, gravity="included", unit=unit, why=why)]
    return [(with_gravity or list(found))[0]]


def _unnamed(group: Group, taken: set[int]) -> Iterator[Triple]:
    """Yield three columns next to each other that measure 1 g at rest, and the three after the first of them."""
    numeric = [column.is_numeric for column in group.first.columns if len(group.first.columns) <= WIDEST]
    free = [place for place, is_number in enumerate(numeric) if is_number and place not in taken]
    place, found = 0, 0
    while place + 2 < len(free):
        three = (free[place], free[place + 1], free[place + 2])
        if three[2] - three[0] == 2 and _is_sensor(group, three, last=len(free) == place + 3, found=found):
            quantity: Quantity | None = "gyro" if found == 1 and not _has_gravity(group, three) else None
            yield Triple(quantity, None, None, "", three)
            found += 1
            place += 3
        else:
            place += 1


def _has_gravity(group: Group, three: tuple[int, int, int]) -> bool:
    return norms.judge(norms.rest(values(group, three))).gravity == "included"


def _is_sensor(group: Group, three: tuple[int, int, int], *, last: bool, found: int) -> bool:
    """Return whether columns without names are those of a sensor: they have gravity, or the path names them."""
    alone = last and (group.sensor is not None or found == 1)
    return _has_gravity(group, three) or alone


def _of_events(group: Group, taken: set[int], event: int) -> Iterator[Sensor]:
    """Yield the sensor of each text of a column: the three columns after it, in the rows with this text."""
    places = [p for p in range(event + 1, len(group.first.columns)) if p not in taken][:3]
    if len(places) < 3:
        return
    three = (places[0], places[1], places[2])
    texts = sorted({text for table in group.tables for text in table.columns[event].texts.tolist() if text})
    for text in texts:
        rows = [np.flatnonzero(table.columns[event].texts == text) for table in group.tables]
        name = words.vocabulary().android.get(text, text)
        known = words.measured(words.split(name), letters=False)
        entry = known[0] if known else None
        triple = Triple(entry.quantity if entry else None, entry.gravity if entry else None, None, "", three)
        sensor = _judge(group._replace(sensor=None), triple, text, rows)
        if sensor.quantity in QUANTITIES:
            source = f"sensor {text} is the {name} of Android" if name != text else f"rows of {text!r}"
            yield sensor._replace(why=f"{source}; {sensor.why.removeprefix(f'{NEXT_TO}; ')}")
