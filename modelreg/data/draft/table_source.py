"""Draft the source of text tables: devices, names, clocks and rows, each with the reason. Labels: label_source.py."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from modelreg.config_errors import FILL_IN
from modelreg.data.draft import annotations as annotation_files
from modelreg.data.draft import assembly, label_source, missing, naming, units
from modelreg.data.draft.annotations import Annotations
from modelreg.data.draft.assembly import Devices
from modelreg.data.draft.clock import Clock
from modelreg.data.draft.commented import Noted
from modelreg.data.draft.groups import Group
from modelreg.data.draft.naming import Named
from modelreg.data.draft.parts import Part, channels
from modelreg.data.draft.proposal import Device, form, source_name
from modelreg.data.draft.units import Factors
from modelreg.data.message_lists import counted
from modelreg.data.sources.containers import Tree
from modelreg.records.csv_device import ClockRule, CsvForm
from modelreg.records.data import NOT_STATED

LONGEST_GAP_S = 5.0  # a longer one begins a new recording
RULES: tuple[ClockRule, ...] = ("strict", "sort", "drop", "restart")  # a later one also does for an earlier one
FEW_BAD = 0.01  # the share of bad rows that is skipped by default
AGAIN = "then run `modelreg data init` again; or write the name of a column here"
NO_DATES = f"{FILL_IN}: these times are dates, and the recordings have none; set `time` or `start` of the device"
NO_SUBJECT = (
    "if all recordings are of one subject, write `one_subject: NAME` in place of this line; else put the recordings of "
    f"each subject into a folder of its name, {AGAIN}"
)


class Survey(NamedTuple):
    """What is in a folder, as far as drafting needs it."""

    tree: Tree
    signals: tuple[Part, ...]
    others: tuple[Group, ...]  # files without signals


class Drafted(NamedTuple):
    """A source, and what it has."""

    source: dict[str, Any]
    devices: tuple[Device, ...]
    rate_hz: float | None
    rates_differ: bool
    subjects: tuple[str, ...] | None
    labels: tuple[str, ...] | None
    recordings: int | None
    used: tuple[Part, ...]
    left_out: tuple[str, ...]  # sensors


def draft(survey: Survey, path: str, folder: str) -> Drafted:
    """Return the source of the signals; `path` is that of the configuration, `folder` the name of the folder."""
    found, apart = assembly.joinable(assembly.devices(survey.signals))
    marked = annotation_files.find(survey.others)
    named = naming.name(found, survey.others, survey.tree.paths, _known(marked), labelled=marked is not None)
    subjects = _subjects(survey, found, named)
    undated = marked is not None and marked.is_dated and not any(span.is_absolute for span in assembly.spans(found))
    labelled = label_source.draft(survey.tree, found, named, marked, survey.others)
    source = {
        "kind": "csv",
        "path": path,
        "name": source_name(folder),
        "license": Noted(
            NOT_STATED, "FILL IN before a release: who may use the recordings, as CC-BY-4.0 or proprietary"
        ),
        "citation": Noted(NOT_STATED, "FILL IN before a release: who recorded them, and when"),
        **form(found.every[0].form),
        **_names(found, named),
        **labelled.settings,
        "devices": _noted(_devices(found, named), apart, *_left_out(found)),
        **_rows(found),
        **label_source.marks(marked, found, subjects or ()),
    }
    if undated:
        source["annotations"].value["clock"] = NO_DATES
    rates = {_rate(parts) for parts in found.parts.values()}
    return Drafted(
        source,
        tuple(_shown(name, parts) for name, parts in found.parts.items()),
        min((rate for rate in rates if rate), default=None),
        len(rates) > 1,
        subjects,
        labelled.labels,
        _count(found, named),
        found.every,
        found.left_out,
    )


def _known(marked: Annotations | None) -> dict[Any, frozenset[str]]:
    """Return the subjects that annotations name."""
    return {"subject": marked.texts(marked.marks.subject)} if marked else {}


def _noted(value: Any, *why: str) -> Any:
    """Return a value with the reasons that there are."""
    text = "\n".join(filter(None, why))
    return Noted(value, text) if text else value


# Names


def _names(found: Devices, named: Named) -> dict[str, Any]:
    """Return the settings of subject, session and lookup."""
    settings: dict[str, Any] = {}
    part = found.every[0]
    if named.subject is not None:
        settings["subject"] = Noted(named.subject, part.columns.because("subject"))
    elif "subject" in named.names.unknown:
        settings["subject"] = f"{FILL_IN}: {named.names.unknown['subject']}; {NO_SUBJECT}"
    if named.session is not None:
        settings["session"] = Noted(named.session, part.columns.because("session"))
    if named.lookup:
        settings["lookup"] = Noted(named.lookup.settings(), "its rows have what the paths do not say")
    return settings


def _subjects(survey: Survey, found: Devices, named: Named) -> tuple[str, ...] | None:
    """Return the subjects, if they are known."""
    if named.subject is not None:
        part = found.every[0]
        place = part.columns.subject or 0
        texts = label_source.scan(survey.tree, part.group, place)
        return tuple(sorted(texts.rows))
    if named.lookup and "subject" in named.lookup.places:
        return tuple(sorted(set(named.lookup.texts("subject").values())))
    numbers = [number for number, role in named.names.roles.items() if role == "subject"]
    return named.shapes[0].slots[numbers[0]].distinct if numbers else None


def _count(found: Devices, named: Named) -> int | None:
    """Return how many recordings there are, if paths alone name them."""
    by_rows = named.subject is not None or named.session is not None or _rule(found)[0] == "restart"
    return None if by_rows else len(named.shapes[0].paths)


# Devices


def _devices(found: Devices, named: Named) -> list[Any]:
    numbers = iter(range(len(found.every)))
    shared = found.every[0].form
    made: list[Any] = []
    factors = units.common(found.every)
    for name, parts in found.parts.items():
        own = [_part(part, named.patterns[next(numbers)], shared, factors) for part in parts]
        rate = _rate(parts)
        device: dict[str, Any] = {
            "name": name,
            "rate_hz": Noted(rate, parts[0].why_rate)
            if rate
            else f"{FILL_IN}: samples per second; {parts[0].why_rate}",
        }
        if len(own) == 1:
            made.append({**device, **own[0]})
            continue
        for part, settings in zip(parts, own, strict=True):
            if part.rate_hz and part.rate_hz != rate:
                settings["rate_hz"] = Noted(part.rate_hz, part.why_rate)
        made.append({**device, "parts": own})
    _explain_names(made, named)
    return made


def _part(part: Part, pattern: str, shared: CsvForm, factors: Factors) -> dict[str, Any]:
    """Return the settings of one part."""
    settings: dict[str, Any] = {"files": pattern}
    if part.form.model_copy(update={"encoding": shared.encoding}) != shared:
        settings["form"] = form(part.form)
    if part.clock:
        settings["time"] = Noted(part.time(), _why_time(part.clock))
    if part.starts:
        settings["start"] = Noted(
            [start.model_dump(exclude_none=True) for start in part.starts], "the lines before the header have it"
        )
    if part.event is not None and part.columns.event is not None:
        column = part.reference(part.columns.event)
        settings["rows"] = Noted({"column": column, "text": part.event}, part.columns.because("event"))
    why = "\n".join(dict.fromkeys(f"{sensor.quantity}: {sensor.why}" for sensor in part.sensors))
    settings["channels"] = Noted([units.converted(channel, factors) for channel in channels(part)], why)
    return settings


def _why_time(clock: Clock) -> str:
    time = clock.time
    unzoned = time.unit in {"iso8601", "strptime"} and time.zone is None
    return f"{clock.why}{'; dates that name no zone are in UTC' if unzoned else ''}"


def _explain_names(devices: Sequence[Any], named: Named) -> None:
    """Add the reasons for the groups of the patterns to the first one."""
    first = devices[0]["parts"][0] if "parts" in devices[0] else devices[0]
    why = [f"{role}: {text}" for role, text in named.names.why.items() if role in named.names.roles.values()]
    if named.strays:
        why.append(f"not matched: {counted(named.strays, 'file')} in other depths or of other suffixes")
    if why:
        first["files"] = Noted(first["files"], "\n".join(why))


def _rate(parts: Sequence[Part]) -> float | None:
    """Return the rate of a device: that of its accelerometer."""
    return parts[0].rate_hz


def _left_out(found: Devices) -> list[str]:
    listed = found.left_out[:5]
    more = f", and {len(found.left_out) - len(listed)} others" if len(found.left_out) > len(listed) else ""
    return [f"left out: {', '.join(listed)}{more}"] if listed else []


def _shown(name: str, parts: Sequence[Part]) -> Device:
    sensed = [channel for part in parts for channel in channels(part)]
    units = tuple(dict.fromkeys("?" if c["unit"].startswith(FILL_IN) else str(c["unit"]) for c in sensed))
    time = parts[0].time()
    clock = "none" if time is None else f"{time['column']} ({time['unit']})"
    clock = "header" if time is None and parts[0].starts else clock
    return Device(name, tuple(str(channel["name"]) for channel in sensed), units, _rate(parts), clock)


# Rows


def _rule(found: Devices) -> tuple[ClockRule, str]:
    """Return what to do where the time falls, for all parts, and the reason."""
    clocks = [part.clock for part in found.every if part.clock]
    worst = max(clocks, key=lambda clock: RULES.index(clock.rule), default=None)
    return (worst.rule, worst.why_rule) if worst else ("strict", "")


def _rows(found: Devices) -> dict[str, Any]:
    """Return the settings of clocks, gaps and bad rows, where they are not the default."""
    settings: dict[str, Any] = {}
    rule, why = _rule(found)
    if rule != "strict":
        settings["clock"] = Noted(rule, why)
    timed = all(part.clock for part in found.every)
    if timed and rule != "restart" and (gap := _longest_gap(found)) > LONGEST_GAP_S:
        settings["gap_s"] = Noted(LONGEST_GAP_S, f"the longest gap in what was read is {gap:.4g} s")
    if texts := missing.texts(found.every):
        settings["missing"] = Noted([*missing.USUAL, *texts], f"values in what was read: {', '.join(texts)}")
    tables = [table for part in found.every for table in part.group.tables]
    bad = sum(table.bad for table in tables)
    share = bad / max(sum(table.rows for table in tables) + bad, 1)
    if bad:
        settings["on_bad_row"] = Noted("skip", f"{_said_bad(bad)} another number of columns, in what was read")
    if share > FEW_BAD / 2:
        settings["max_bad_rows"] = Noted(min(1.0, round(2 * share + 0.005, 2)), f"{share:.1%} in what was read")
    return settings


def _said_bad(count: int) -> str:
    return "1 row has" if count == 1 else f"{count:,} rows have"


def _longest_gap(found: Devices) -> float:
    gaps = [
        float(np.nanmax(np.diff(seconds)))
        for part in found.every
        if part.clock
        for seconds in part.clock.seconds
        if len(seconds) > 1 and np.isfinite(np.diff(seconds)).any()
    ]
    return max(gaps, default=0.0)
