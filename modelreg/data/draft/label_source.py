"""Draft where the labels come from: a column, the paths, or files of annotations; and the class of each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from modelreg.config_errors import FILL_IN
from modelreg.data.draft import annotations as annotation_files
from modelreg.data.draft import assembly, words
from modelreg.data.draft import labels as label_names
from modelreg.data.draft import paths as path_shapes
from modelreg.data.draft import roles as path_roles
from modelreg.data.draft import scan as scanning
from modelreg.data.draft.annotations import Annotations
from modelreg.data.draft.assembly import Devices
from modelreg.data.draft.commented import Noted
from modelreg.data.draft.groups import Group
from modelreg.data.draft.naming import Named
from modelreg.data.draft.paths import Role
from modelreg.data.draft.proposal import form
from modelreg.data.draft.tables import Table
from modelreg.data.sources.containers import Tree
from modelreg.records.base import is_name

MANY = 100  # labels; more are a column of something else, or free text
NO_LABEL = (
    "put the recordings of each activity into a folder of its name, then run `modelreg data init` again; or write the "
    "name of a column here"
)
UNLINKED = (
    "write `file: COLUMN` or `subject: COLUMN` in its place; remove this line only if every recording has the same "
    "labels at the same times"
)


class Labelled(NamedTuple):
    """The settings of labels, and the labels."""

    settings: dict[str, Any]
    labels: tuple[str, ...] | None  # None: not known


def scan(tree: Tree, group: Group, place: int) -> scanning.Texts:
    """Return the texts of a column in all files of a group."""
    return scanning.read(tree, group.paths, group.first.form, place, group.tables)


def draft(tree: Tree, found: Devices, named: Named, marked: Annotations | None, others: Sequence[Group]) -> Labelled:
    """Return the settings of labels."""
    keys = [table for group in others for table in group.tables]
    if marked:
        kept = {label: count for label, count in marked.labels.items() if label}
        return _mapped({}, kept, keys, "annotations")
    part = found.every[0]
    if named.label is not None and part.columns.label is not None:
        texts = scan(tree, part.group, part.columns.label)
        column = {"label": Noted(named.label, part.columns.because("label"))}
        if texts.complete and len(texts.rows) <= MANY:
            return _mapped(column, dict(sorted(texts.rows.items())), keys, "rows")
        listed = ", ".join(sorted(texts.rows)[:10])
        why = f"the files were not read to their ends, so `labels` does not list the classes; some are {listed}"
        return Labelled({"label": Noted(named.label, f"{part.columns.because('label')}\n{why}")}, None)
    if named.lookup and "label" in named.lookup.places:
        return _mapped({}, dict(sorted(Counter(named.lookup.texts("label").values()).items())), keys, "recordings")
    if numbers := [number for number, role in named.names.roles.items() if role == "label"]:
        counts = Counter(named.shapes[0].slots[numbers[0]].values)
        return _mapped({}, dict(sorted(counts.items())), keys, "recordings")
    return Labelled({"label": f"{FILL_IN}: {named.names.unknown.get('label', 'no label')}; {NO_LABEL}"}, None)


def _mapped(settings: Mapping[str, Any], counts: Mapping[str, int], keys: Sequence[Table], unit: str) -> Labelled:
    if len(counts) == 1:
        only = next(iter(counts))
        why = f"one label only, {only!r}: a model needs recordings of two classes or more"
        return Labelled({key: Noted(value.value, f"{value.why}\n{why}") for key, value in settings.items()}, (only,))
    if not all(map(is_name, counts)):
        why = "`labels` is left out: the text of some labels is not a valid name"
        return Labelled({key: Noted(value.value, f"{value.why}\n{why}") for key, value in settings.items()}, None)
    mapping = label_names.mapping(counts, keys, unit)
    classes = tuple(str(noted.value) for noted in mapping.values() if noted.value is not None)
    settings = {**settings, "labels": Noted(mapping, "every label of the files, and its class; null leaves it out")}
    return Labelled(settings, tuple(name for name in dict.fromkeys(classes) if not name.startswith(FILL_IN)))


def marks(found: Annotations | None, devices: Devices, subjects: Sequence[str]) -> dict[str, Any]:
    """Return the settings of the annotations."""
    if found is None:
        return {}
    unit, clock, why_clock = annotation_files.on_clock(found, assembly.spans(devices))
    pattern, link, why_link = _linked(found, devices, frozenset(subjects))
    settings: dict[str, Any] = {"files": pattern, **form(found.form), **link}
    place = found.marks
    settings["begin"] = found.column(place.begin)
    if place.status is not None:
        settings["events"] = _events(found, place.status)
    ends = {"end": place.end, "duration": place.duration}
    settings |= {role: found.column(own) for role, own in ends.items() if own is not None}
    settings["label"] = found.column(place.label)
    settings["unit"] = unit
    if found.time.format:
        settings["format"] = found.time.format
    if clock and clock != "recording":
        settings["clock"] = Noted(clock, why_clock)
    if place.tier is not None:
        settings["rows"] = _tier(found, place.tier)
    return {"annotations": Noted(settings, "\n".join(filter(None, (found.why, why_link))))}


def _events(found: Annotations, place: int) -> dict[str, Any]:
    """Return the column of starts and stops, with its texts if they are not the usual ones."""
    texts = {text.lower(): text for text in sorted(found.texts(place))}
    known = words.vocabulary()
    start = next(text for lower, text in texts.items() if lower in known.starts)
    stop = next(text for lower, text in texts.items() if lower in known.stops)
    own = {} if (start, stop) == ("START", "STOP") else {"start": start, "stop": stop}
    return {"column": found.column(place), **own}


def _tier(found: Annotations, place: int) -> dict[str, Any]:
    texts = sorted(found.texts(place))
    only = texts[0] if len(texts) == 1 else f"{FILL_IN}: the tier with the labels, one of {', '.join(texts[:10])}"
    return {"column": found.column(place), "text": only}


def _linked(found: Annotations, devices: Devices, subjects: frozenset[str]) -> tuple[str, dict[str, Any], str]:
    """Return the pattern of the files, the column that names recordings, and the reason."""
    paths = [part.group.paths for part in devices.every]
    link, why = annotation_files.linked(found, paths, subjects)
    shape = path_shapes.shapes(found.group.paths)[0]
    if link:
        return shape.pattern({}), link, why
    needed: list[Role] = ["subject"]
    names = path_roles.assign(shape, needed, {"subject": subjects}) if subjects else None
    if names and "subject" in names.roles.values():
        return shape.pattern(names.roles), {}, f"subject: {names.why['subject']}"
    if len(subjects) <= 1 and not _needs_names(found, devices):
        return shape.pattern({}), {}, ""
    left = annotation_files.columns_left(found)
    there = f"the columns left are {', '.join(left)}" if left else "there is no column left that says it"
    return shape.pattern({}), {"subject": f"{FILL_IN}: which recording a row is for: {there}; {UNLINKED}"}, ""


def _needs_names(found: Annotations, devices: Devices) -> bool:
    """Return whether one file has the annotations of several recordings, and its times do not tell them apart."""
    several = any(len(part.group.paths) > 1 for part in devices.every)
    dated = found.is_dated or any(span.is_absolute for span in assembly.spans(devices))
    return several and len(found.group.paths) == 1 and not dated
