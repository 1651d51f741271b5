"""Draft the configuration of a folder: survey it, recognize known formats, decide, and say why."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from modelreg import config, strict_yaml
from modelreg.config_errors import FILL_IN
from modelreg.data.draft import (
    annotations,
    commented,
    proposal,
    recipes,
    recording_keys,
    set_source,
    table_source,
    tables,
    unused,
    words,
)
from modelreg.data.draft import groups as grouping
from modelreg.data.draft import parts as describing
from modelreg.data.draft.commented import Noted, plain
from modelreg.data.draft.groups import Group
from modelreg.data.draft.parts import Part
from modelreg.data.draft.proposal import Proposal
from modelreg.data.draft.recipes import Match
from modelreg.data.draft.table_source import Drafted, Survey
from modelreg.data.draft.tables import Heads
from modelreg.data.message_lists import and_others
from modelreg.data.sources import file_formats
from modelreg.data.sources.containers import Tree
from modelreg.errors import InputError, Problem
from modelreg.records.draft import DataDraft, DraftBlank, DraftDecision, DraftDevice
from modelreg.records.source import CsvSource

NOTHING = "nothing was drafted"
DROPPED = 20  # recordings that are left out by name
LISTED = 3  # paths in a message


class Place(NamedTuple):
    """The folder of the recordings."""

    path: str  # as the configuration has it
    name: str  # of the folder


def draft(tree: Tree, place: Place, as_: str | None = None) -> Proposal:
    """Return the configuration of the files of a tree; `as_` is the name of the only format to try.

    Raises InputError if there is nothing that can be read, or if the files are not of the format.
    """
    known = recipes.named(as_)
    if match := recipes.find_set(known, tree.paths, lambda paths: tables.read(tree, paths, place.path).tables):
        return _of_set(match, tree, place)
    paths = [path for path in tree.paths if tables.suffix(path) in words.vocabulary().texts]
    binary = [path for path in tree.paths if tables.suffix(path) in words.vocabulary().tables]
    heads = tables.read(tree, [*tables.choose(paths), *tables.choose(binary, tables.WHOLE)], place.path)
    _refuse_nothing(tree, place, heads)
    grouped = grouping.make(heads.tables, [*paths, *binary])
    survey, name = _survey(tree, place, grouped, known, as_)
    if not survey.signals:
        raise InputError(NOTHING, [_no_signal(place, grouped)])
    return _of_tables(survey, place, name, heads, grouped)


def _refuse_nothing(tree: Tree, place: Place, heads: Heads) -> None:
    """Raise InputError if no file is a table: with the formats of the files, and how to export them."""
    if heads.tables:
        return
    problems = list(dict.fromkeys([*tree.problems, *heads.problems, *_find_foreign(tree, place)]))
    if not problems:
        there = f"found {', '.join(map(repr, tree.paths[:LISTED]))}" if tree.paths else "the folder is empty"
        problems.append(Problem(place.path, "draft.nothing-found", f"no text file with rows and columns ({there})"))
    raise InputError(NOTHING, problems)


def _find_foreign(tree: Tree, place: Place) -> Iterator[Problem]:
    """Yield a problem for each suffix whose files are of a format that is not read, by the first of them."""
    by_suffix: dict[str, list[str]] = defaultdict(list)
    for path in tree.paths:
        by_suffix[PurePosixPath(path).suffix.lower()].append(path)
    for _, same in sorted(by_suffix.items()):
        where = f"{place.path}/{same[0]}"
        try:
            with tree.open(same[0]) as stream:
                found = file_formats.name_format(stream.read(file_formats.FIRST), same[0])
        except InputError as error:
            yield from error.problems
            continue
        if found:
            message = f"this is {found.what}{and_others(len(same), 'file')}"
            yield Problem(where, "draft.foreign", message, found.next)


def _no_signal(place: Place, grouped: Sequence[Group]) -> Problem:
    first = grouped[0]
    names = ", ".join(map(repr, first.first.names[:8]))
    message = f"no columns that are three axes of an accelerometer or a gyroscope ({first.paths[0]!r} has {names})"
    return Problem(place.path, "draft.no-signal", message)


def _survey(
    tree: Tree, place: Place, grouped: Sequence[Group], known: dict[str, recipes.Recipe], as_: str | None
) -> tuple[Survey, str | None]:
    """Return the signals, by a known export or by their columns, and the name of the export."""
    found = recipes.find_export(known, grouped)
    if found is None and as_ not in (None, recipes.NONE):
        expected = ", ".join(recipes.expected(known[str(as_)]))
        message = f"no files of {known[str(as_)].title} (expected {expected})"
        raise InputError(NOTHING, [Problem(place.path, "draft.format-mismatch", message)])
    if found:
        name, fits = found
        signals = [describing.of_fit(fit, known[name]) for fit in fits]
        used = {fit.group.paths for fit in fits}
        others = [g for g in grouped if g.paths not in used and not recipes.is_ignored(known[name], g.paths[0])]
        return Survey(tree, tuple(signals), tuple(others)), name
    marked = annotations.find(grouped)
    dates = marked is not None and marked.is_dated
    parts = [part for group in grouped for part in describing.of_group(group, dates=dates)]
    signals = [part for part in parts if part.sensors] or [part for part in parts if part.may_have_signals][:1]
    used = {part.group.paths for part in signals}
    return Survey(tree, tuple(signals), tuple(group for group in grouped if group.paths not in used)), None


def _of_tables(survey: Survey, place: Place, name: str | None, heads: Heads, grouped: Sequence[Group]) -> Proposal:
    """Return the configuration of text tables."""
    drafted = table_source.draft(survey, place.path, place.name)
    source = drafted.source
    without = unused.without(drafted.used, grouped)
    _drop_incomplete(source, survey.tree.paths, without)
    data: dict[str, Any] = {"sources": [source]}
    if drafted.rates_differ and drafted.rate_hz:
        data["rate_hz"] = Noted(drafted.rate_hz, "the devices have different rates; the lowest one")
    data |= proposal.window(drafted.rate_hz)
    document = {"data": data, "split": _split(drafted), **proposal.training()}
    title = recipes.load()[name].title if name else "text tables"
    head = f"Drafted by `modelreg data init`. Format: {title}{'' if name else ', by their columns'}."
    matched = len({path for part in survey.signals for path in part.group.paths})
    return Proposal(
        document=document,
        head=head,
        name=name,
        title=title,
        devices=drafted.devices,
        subjects=drafted.subjects,
        labels=drafted.labels,
        recordings=drafted.recordings,
        hours=_hours(survey.signals),
        matched=matched,
        opened=len(heads.tables) + len(heads.not_tables),
        left_out=tuple(unused.lines(survey.tree, heads, drafted.used, drafted.left_out, without)),
    )


def _split(drafted: Drafted) -> Any:
    return proposal.split(None if drafted.subjects is None else len(drafted.subjects))


def _drop_incomplete(
    source: dict[str, Any], paths: Sequence[str], without: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Leave out the recordings that have no file of some device, if a source is whole.

    `without` has the files that exist without some columns, by what is missing.
    """
    document = {"data": {"sources": [plain(source)]}}
    if any(config_blanks(document)):
        return
    settled = config.settle(document, config.TrainConfig, "draft").data.sources[0]
    if not isinstance(settled, CsvSource) or settled.lookup is not None:
        return
    found = recording_keys.incomplete(settled, paths)
    if found and len(found) <= DROPPED:
        patterns = [proposal.escaped(key) for key in found]
        absent = ", ".join(sorted({name for names in found.values() for name in names}))
        files = [f"{own[0]}{and_others(len(own), 'file')} {text}" for text, own in (without or {}).items()]
        reason = f"they have no file of {absent} with its columns: {'; '.join(files)}" if files else ""
        source["drop"] = Noted(patterns, reason or f"they have no file of {absent}")


def config_blanks(node: Any) -> Iterator[str]:
    """Yield the values that are still to be filled in."""
    if isinstance(node, str) and node.startswith(FILL_IN):
        yield node
    elif isinstance(node, dict | list):
        for value in node.values() if isinstance(node, dict) else node:
            yield from config_blanks(value)


def _hours(signals: Sequence[Part]) -> float | None:
    """Return the time of the recordings: that of the files that were read whole, for all files."""
    first = signals[0]
    if not first.rate_hz or not all(table.whole for table in first.group.tables):
        return None
    rows = [_rows(first, table) for table in first.group.tables]
    return sum(rows) / len(rows) * len(first.group.paths) / first.rate_hz / 3600


def _rows(part: Part, table: tables.Table) -> int:
    """Return the rows of a part in one file."""
    if part.event is None or part.columns.event is None:
        return table.rows
    return int((table.columns[part.columns.event].texts == part.event).sum())


def _of_set(match: Match, tree: Tree, place: Place) -> Proposal:
    """Return the configuration of a known data set."""
    drafted = set_source.draft(match, tree, place.path)
    document = drafted.document
    source = document["data"]["sources"][0]
    classes = tuple(dict.fromkeys(name for name in (source.get("labels") or {}).values() if name))
    if source["kind"] == "csv":
        _drop_incomplete(source, tree.paths)
    if classes:
        document["data"].setdefault("classes", list(classes))  # in the order of the recipe
    absent = f"\nWithout {', '.join(drafted.absent)}, which have no files here." if drafted.absent else ""
    shipped = f" As configs/{match.recipe.config} of modelreg." if match.recipe.config else ""
    why = {key: text for key, text in match.recipe.why.items() if proposal.has(document, key)}
    return Proposal(
        document=proposal.with_reasons(document, why),
        head=f"Drafted by `modelreg data init`. Data set: {match.recipe.title}.{shipped}{absent}",
        name=match.name,
        title=match.recipe.title,
        devices=tuple(_set_devices(plain(source))),
        subjects=drafted.subjects,
        labels=classes or None,
        recordings=None,
        hours=None,
        matched=sum(1 for path in tree.paths if path.startswith(match.below)),
        opened=match.opened,
    )


def _set_devices(source: dict[str, Any]) -> Iterator[proposal.Device]:
    """Yield the devices of a set, as far as its configuration names them."""
    listed = source.get("devices") or [{"name": unit} for unit in source.get("units", ())]
    for device in listed:
        parts = device.get("parts", [device])
        channels = [channel for part in parts for channel in part.get("channels", ())]
        time = parts[0].get("time")
        yield proposal.Device(
            device["name"],
            tuple(channel["name"] for channel in channels),
            tuple(dict.fromkeys(channel["unit"] for channel in channels)),
            device.get("rate_hz") or source.get("rate_hz"),
            f"{time['column']} ({time['unit']})" if time else "none",
        )


def render(found: Proposal, where: str) -> str:
    """Return the YAML of a configuration that will be in a file."""
    step = (
        f"Each comment says what a setting is based on. Check the lines with FILL IN, then: modelreg data check {where}"
    )
    return commented.render(found.document, f"{found.head}\n{step}")


def to_record(found: Proposal, text: str, where: str, files: int) -> DataDraft:
    """Return a draft as a record; `text` is its YAML in the file `where`, `files` the number of files in the folder."""
    blanks = [
        DraftBlank(setting=setting, line=strict_yaml.line_of(text, _parts(setting)), text=said)
        for setting, said in found.blanks
    ]
    return DataDraft(
        path=where,
        format=found.name,
        title=found.title,
        devices=tuple(DraftDevice(**device._asdict()) for device in found.devices),
        subjects=found.subjects,
        classes=found.labels,
        recordings=found.recordings,
        hours=found.hours,
        files=files,
        matched=found.matched,
        opened=found.opened,
        left_out=found.left_out,
        decisions=tuple(
            DraftDecision(setting=each.setting, value=each.value, evidence=each.why)
            for each in commented.decisions(found.document)
        ),
        fill_in=tuple(blanks),
        configuration=plain(found.document),
    )


def _parts(setting: str) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in setting.split(".")]
