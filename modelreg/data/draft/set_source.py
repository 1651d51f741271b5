"""Draft the configuration of a known data set: that of its recipe, for the folder and the subjects that are there."""

import io
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from modelreg.data.draft import scan
from modelreg.data.draft.commented import Noted
from modelreg.data.draft.proposal import FEWEST_SUBJECTS, split, training
from modelreg.data.draft.recipes import ANYWHERE, Match, Subjects
from modelreg.data.sources.containers import Tree
from modelreg.errors import InputError
from modelreg.records.csv_device import CsvForm

PATTERNS = ("files", "subject_files", "label_files")  # settings that match paths
READ = 2**20  # bytes of a file with subjects


class SetDraft(NamedTuple):
    """The configuration of a data set."""

    document: dict[str, Any]
    subjects: tuple[str, ...] | None
    absent: tuple[str, ...]  # devices without a file


def draft(match: Match, tree: Tree, path: str) -> SetDraft:
    """Return the configuration; `path` is that of the folder."""
    document = match.recipe.document()
    source = document["data"]["sources"][0]
    source = document["data"]["sources"][0] = {"kind": source["kind"], "path": path, **_without(source, "kind", "path")}
    _move(source, match.below)
    absent = _remove_absent(source, tree.paths)
    subjects = _subjects(match, source, tree)
    document["split"] = _split(document.get("split"), subjects, source["kind"])
    usual = {key: value for key, value in training().items() if key not in document}
    return SetDraft({**document, **usual}, subjects, absent)


def _without(source: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in source.items() if key not in keys}


def _move(source: dict[str, Any], below: str) -> None:
    """Put the folder of the set in front of every pattern, or of the path where a set has no patterns."""
    if source["kind"] not in {"csv", "windows"}:
        source["path"] = f"{source['path']}/{below}".rstrip("/") if below else source["path"]
    elif below:
        _prefix(source, re.escape(below).replace(r"\-", "-").replace(r"\ ", " "))


def _prefix(node: Any, text: str) -> None:
    if isinstance(node, dict):
        for key, value in node.items():
            if key in PATTERNS:
                node[key] = text + value.removeprefix(ANYWHERE)
            else:
                _prefix(value, text)
    elif isinstance(node, list):
        for value in node:
            _prefix(value, text)


def _remove_absent(source: dict[str, Any], paths: Sequence[str]) -> tuple[str, ...]:
    """Remove the devices of tables that have no file, if others have some; return their names."""
    if source["kind"] != "csv":
        return ()
    there = [device for device in source["devices"] if all(_some(pattern, paths) for pattern in _patterns(device))]
    absent = tuple(device["name"] for device in source["devices"] if device not in there)
    source["devices"] = there
    return absent


def _patterns(device: dict[str, Any]) -> Iterator[str]:
    for part in device.get("parts", [device]):
        yield part["files"]


def _some(pattern: str, paths: Sequence[str]) -> bool:
    compiled = re.compile(pattern)
    return any(compiled.fullmatch(path) for path in paths)


def _subjects(match: Match, source: dict[str, Any], tree: Tree) -> tuple[str, ...] | None:
    """Return the subjects that are there; None if that is not known."""
    found = match.recipe.subjects
    if found is None and source["kind"] == "csv" and source.get("subject") is None:
        found = Subjects(files=next(_patterns(source["devices"][0])))
    elif found is None:
        return _of_column(source, tree)
    else:
        found = found.model_copy(update={"files": ANYWHERE + found.files})
    matches = [each for each in map(re.compile(found.files).fullmatch, tree.paths) if each]
    if found.column is None:
        return tuple(sorted({each["subject"] for each in matches}))
    texts = {text for each in matches for text in _column(tree, each[0], found.column)}
    return tuple(sorted(texts)) or None


def _of_column(source: dict[str, Any], tree: Tree) -> tuple[str, ...] | None:
    """Return the subjects of a set whose rows name them in a numbered column."""
    form = CsvForm.model_validate({key: source[key] for key in CsvForm.model_fields if key in source})
    compiled = re.compile(next(_patterns(source["devices"][0])))
    paths = [path for path in tree.paths if compiled.fullmatch(path)]
    texts = scan.read(tree, paths, form, int(source["subject"]) - 1)
    return tuple(sorted(texts.rows)) if texts.complete else None


def _column(tree: Tree, path: str, number: int) -> Iterator[str]:
    """Yield the texts of a column of a small file, whose cells are divided by blanks."""
    try:
        with tree.open(path) as stream:
            text = io.BytesIO(stream.read(READ)).read().decode("utf-8", "replace")
    except InputError:
        return
    for line in text.splitlines():
        cells = line.split()
        if len(cells) >= number:
            yield cells[number - 1]


def _split(given: dict[str, Any] | None, subjects: Sequence[str] | None, kind: str) -> Any:
    """Return the split of the recipe if its subjects are there, else one of the subjects that are."""
    if subjects is None:
        return given or split(None)
    if given and _has_subjects(given, subjects):
        return Noted(given, "the split that modelreg uses for this set")
    found = split(len(subjects))
    if len(subjects) < FEWEST_SUBJECTS and kind == "windows":
        value = {"by": "subject", "test": 1, "validation": 1}
        return Noted(value, f"{found.why}. Windows that overlap cannot be split by time: add subjects before training")
    return found


def _has_subjects(given: dict[str, Any], subjects: Sequence[str]) -> bool:
    named = [given.get("test"), given.get("validation")]
    lists = [each for each in named if isinstance(each, list)]
    if len(lists) == len(named):
        return {text for each in lists for text in each} < set(subjects)
    return sum(each for each in named if isinstance(each, int)) < len(subjects)
