"""Known exports and data sets: each a YAML file of formats/, recognized by the paths and columns of its files.

An export says what the columns of some files are; how its recordings are named is up to the user. A set has one
layout, and its recipe is a whole configuration.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from modelreg import strict_yaml
from modelreg.data.draft.groups import Group
from modelreg.data.draft.headers import AXES, Axis
from modelreg.data.draft.tables import Table, choose
from modelreg.errors import InputError, Problem
from modelreg.records.base import Name, Record, shared_folder
from modelreg.records.csv_device import CsvStart, Pattern, TimeUnit
from modelreg.records.model import Gravity

OPENED = 8  # files of a set, to see their columns
NONE = "tables"  # the name under which no recipe is used
ANYWHERE = "(?:.*/)?"  # what a pattern begins with, for files at any depth
_FOLDER = Path(__file__).with_name("formats")
_ARCHIVE = re.compile(r"[^/]+\.tar\.xz/")


class TimeRecipe(Record):
    """The column of the time; without a unit, its values decide."""

    column: Pattern | Annotated[int, Field(ge=1)]  # a pattern of a whole name, or a number from 1
    unit: TimeUnit | None = None
    format: str | None = None


class SensorRecipe(Record):
    """Three columns: patterns with {axis} or {AXIS} in place of the letter, or numbers from `first`."""

    name: Literal["acc", "gyro"]
    column: str | None = None
    first: Annotated[int, Field(ge=1)] | None = None
    plus: str | None = None
    unit: Name
    gravity: Gravity | None = None

    def columns(self, axis: Axis) -> tuple[str | int, ...]:
        """Return the column of an axis, and the one that is added."""
        if self.column is None:
            return ((self.first or 1) + AXES.index(axis),)
        named = [self.column] if self.plus is None else [self.column, self.plus]
        return tuple(each.replace("{axis}", axis).replace("{AXIS}", axis.upper()) for each in named)


class TableRecipe(Record):
    """The files of one sensor of an export, or of several."""

    files: Pattern  # what their paths end with
    unless: Pattern | None = None  # not used where such a file is
    preamble: Pattern | None = None  # occurs before the header
    columns: tuple[Pattern, ...] = ()  # further names of the header
    width: Annotated[int, Field(ge=1)] | None = None  # columns of files without a header
    cells: dict[str, Pattern] = {}  # of the first row, by the number of the column
    time: TimeRecipe | None = None
    starts: bool = False  # the lines before the header have the date of the first row
    rate: Pattern | None = None  # the rate, in the lines before the header
    label: Pattern | None = None
    sensors: Annotated[tuple[SensorRecipe, ...], Field(min_length=1)]
    why: str

    def needed(self) -> Iterator[str | int]:
        """Yield every column that files of this kind have."""
        yield from self.columns
        if self.time:
            yield self.time.column
        for sensor in self.sensors:
            for axis in AXES:
                yield from sensor.columns(axis)


class Subjects(Record):
    """Where the subjects of a set are: in the paths of files, or in a column of them."""

    files: Pattern
    column: Annotated[int, Field(ge=1)] | None = None


class Recipe(Record):
    """A known format."""

    title: str
    kind: Literal["export", "set"]
    device: Name | None = None  # of an export
    starts: tuple[CsvStart, ...] = ()
    tables: tuple[TableRecipe, ...] = ()
    ignored: Pattern | None = None  # files without signals
    files: tuple[Pattern, ...] = ()  # of a set: what paths of it end with
    width: Annotated[int, Field(ge=1)] | None = None  # columns of its files
    columns: tuple[str, ...] = ()  # names in the header of its files
    config: str | None = None  # a file of configs/ that reads the set
    configuration: dict[str, Any] | None = None  # its configuration, without a path
    subjects: Subjects | None = None
    archives: bool = False  # of a set: its source reads archives in the folder itself
    why: dict[str, str] = {}  # the reasons for settings, by their dotted paths

    @model_validator(mode="after")
    def _is_whole(self) -> "Recipe":
        if (self.kind == "export") != bool(self.tables) or (self.kind == "set") != bool(self.files):
            raise ValueError("an export has tables, a set has files")
        if self.kind == "set" and (self.config is None) == (self.configuration is None):
            raise ValueError("a set has either config or configuration")
        return self

    def document(self) -> dict[str, Any]:
        """Return the configuration of a set."""
        if self.config is None:
            return deepcopy(self.configuration or {})
        text = (shared_folder("configs") / self.config).read_text("utf-8")
        document: dict[str, Any] = strict_yaml.parse(text, self.config)
        return document


class Match(NamedTuple):
    """A set that was found."""

    name: str
    recipe: Recipe
    below: str  # the folder of the set below that of the recordings, with a / at its end; empty: the same
    opened: int  # files that were opened


class Fit(NamedTuple):
    """A group of files that an export describes."""

    group: Group
    recipes: tuple[TableRecipe, ...]  # their sensors are in the same files


@cache
def load() -> dict[str, Recipe]:
    """Return every recipe by its name, sets first."""
    found = {path.stem: _read(path, Recipe) for path in sorted(_FOLDER.glob("*.yaml"))}
    return dict(sorted(found.items(), key=lambda item: (item[1].kind != "set", item[0])))


def _read(path: Path, record: type[Recipe]) -> Recipe:
    return record.model_validate_json(json.dumps(strict_yaml.parse(path.read_text("utf-8"), path.name)))


def named(name: str | None) -> dict[str, Recipe]:
    """Return the recipes to try: all, one, or none. Raises InputError for an unknown name."""
    if name is None:
        return load()
    if name == NONE:
        return {}
    if name not in load():
        known = ", ".join([*load(), NONE])
        raise InputError("nothing was drafted", [Problem(f"--as {name}", "draft.format-unknown", f"expected {known}")])
    return {name: load()[name]}


def find_set(
    recipes: Mapping[str, Recipe], paths: Sequence[str], read: Callable[[Sequence[str]], Sequence[Table]]
) -> Match | None:
    """Return the data set whose layout the paths have, with the most files; `read` reads the beginnings of files."""
    found: list[tuple[int, Match]] = []
    for name, recipe in recipes.items():
        if recipe.kind == "set":
            for below, own in _places(recipe, paths).items():
                opened = read(choose(own, OPENED)) if recipe.width or recipe.columns else ()
                if _has_columns(recipe, opened):
                    found.append((len(own), Match(name, recipe, below, len(opened))))
    return max(found, key=lambda each: each[0])[1] if found else None


def _places(recipe: Recipe, paths: Sequence[str]) -> dict[str, list[str]]:
    """Return the folders in which every pattern of a set matches, and the files that do."""
    every: list[dict[str, list[str]]] = []
    for pattern in recipe.files:
        found: dict[str, list[str]] = {}
        compiled = re.compile(f"(?P<below>{ANYWHERE})(?:{pattern})")
        for match in filter(None, map(compiled.fullmatch, paths)):
            below = _ARCHIVE.sub("", match["below"]) if recipe.archives else match["below"]
            found.setdefault(below, []).append(match[0])
        every.append(found)
    shared = set.intersection(*map(set, every))
    return {below: [path for found in every for path in found[below]] for below in sorted(shared)}


def _has_columns(recipe: Recipe, tables: Sequence[Table]) -> bool:
    """Return whether the files of a set that were opened have its columns."""
    return all(
        (recipe.width is None or len(table.columns) == recipe.width) and set(recipe.columns) <= set(table.names)
        for table in tables
    )


def find_export(recipes: Mapping[str, Recipe], groups: Sequence[Group]) -> tuple[str, tuple[Fit, ...]] | None:
    """Return the export that describes the most files, and how it describes each group."""
    found = [(name, fits) for name, recipe in recipes.items() if (fits := tuple(_fits(recipe, groups)))]
    return max(found, key=lambda each: sum(len(fit.group.paths) for fit in each[1])) if found else None


def _fits(recipe: Recipe, groups: Sequence[Group]) -> Iterator[Fit]:
    for group in groups:
        own: list[TableRecipe] = []
        for table in recipe.tables:
            names = {sensor.name for each in own for sensor in each.sensors}
            if not names & {sensor.name for sensor in table.sensors} and _describes(table, group, groups):
                own.append(table)
        if own:
            yield Fit(group, tuple(own))


def _describes(table: TableRecipe, group: Group, groups: Sequence[Group]) -> bool:
    if table.unless and any(_ends(table.unless, path) for other in groups for path in other.paths):
        return False
    first = group.first
    header = first.form.header
    return (
        all(_ends(table.files, path) for path in group.paths)
        and (table.preamble is None or re.search(table.preamble, first.preamble) is not None)
        and (table.width is None) == header
        and (header or len(first.columns) == table.width)
        and all(place(group, column) is not None for column in table.needed())
        and all(re.fullmatch(text, str(first.columns[int(n) - 1].texts[0])) for n, text in table.cells.items())
    )


def _ends(pattern: str, path: str) -> bool:
    return re.fullmatch(f"{ANYWHERE}(?:{pattern})", path) is not None


def place(group: Group, column: str | int) -> int | None:
    """Return the position of a column in a group's tables; None if they do not have it, or several."""
    if isinstance(column, int):
        return column - 1 if column <= len(group.first.columns) else None
    found = [number for number, name in enumerate(group.first.names) if re.fullmatch(column, name)]
    return found[0] if len(found) == 1 else None


def is_ignored(recipe: Recipe, path: str) -> bool:
    """Return whether an export says that a file has no signal."""
    return recipe.ignored is not None and _ends(recipe.ignored, path)


def expected(recipe: Recipe) -> list[str]:
    """Return the patterns of the files that a format has."""
    return list(recipe.files) or list(dict.fromkeys(table.files for table in recipe.tables))
