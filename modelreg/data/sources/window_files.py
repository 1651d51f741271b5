"""Find and parse the text files of windows: a row is one window of one channel, or its subject, or its label.

Files of one part, such as train, belong together: row n of each of them is the same window. Problems of paths are
found before any file is opened, then those of all contents. Parsed arrays are kept under the digest of the file's bytes
and of every setting that the parsing depends on.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg import files
from modelreg.data.cache import Parsed, Reading, combine
from modelreg.data.message_lists import and_others, quoted
from modelreg.data.recording import UNREADABLE, natural
from modelreg.data.sources.containers import Tree, asked_by, open_tree
from modelreg.data.sources.csv_layout import Layout
from modelreg.data.sources.csv_table import COUNTS, parse
from modelreg.data.sources.source_notes import find_unmapped, unmatched
from modelreg.data.sources.text_rows import Form, Misfit, open_table
from modelreg.errors import InputError, Problem
from modelreg.records.base import is_name
from modelreg.records.csv_device import CsvChannel, CsvColumns
from modelreg.records.source import (
    LABEL_FILES,
    PART,
    SUBJECT_FILES,
    WindowChannel,
    WindowsSource,
)

PARSER = "windows-2"  # part of the cache's keys; a new number when the parsing changes
LINE = "\x1f"  # a separator that no text has: a row is one cell
SHOWN = 40  # characters of a text
STEPS = {  # where that of the rule names a setting that this source does not have
    "csv.row-width": "correct the row, or download or write the file again",
    "csv.empty": "download or write the file again",
}

_Plan = dict[str, dict[str, str]]  # part -> name of a pattern -> path below the folder
_Arrays = dict[str, dict[str, Parsed]]  # name of a pattern -> arrays by name


class Part(NamedTuple):
    """The windows of the files that belong together; row n of every array is the same window."""

    windows: dict[str, NDArray[np.float32]]  # by device/channel: (N, W)
    subjects: NDArray[np.str_]  # (N,)
    labels: NDArray[np.str_]  # (N,)
    digest: str


def read_parts(source: WindowsSource, reading: Reading) -> dict[str, Part]:
    """Read every file of a folder or archive. Raises InputError with file and line of every problem."""
    with open_tree(
        reading.base / source.path, source.path, asked_by(source.patterns.values()), reading.scratch
    ) as tree:
        _raise(tree.problems)
        plan = _plan(source, tree.paths, reading)
        found = _read_all(plan, source, tree, reading)
    return {
        part: Part(
            windows={name: arrays[name]["values"].values for name in source.channels},
            subjects=arrays[SUBJECT_FILES]["texts"].values,
            labels=arrays[LABEL_FILES]["texts"].values,
            digest=combine({name: next(iter(parsed.values())).digest for name, parsed in arrays.items()}),
        )
        for part, arrays in found.items()
    }


def _plan(source: WindowsSource, paths: Sequence[str], reading: Reading) -> _Plan:
    """Return the files to read. Raises InputError if a part has no file, or two files, for one pattern."""
    used: dict[str, str] = {}
    plan: _Plan = defaultdict(dict)
    problems: list[Problem] = []
    for name, pattern in source.patterns.items():
        for path in paths:
            if match := re.fullmatch(pattern, path):
                first = plan[match.groupdict("").get(PART, "")].setdefault(name, path)
                other = used.setdefault(path, name)
                problems += _find_twice(str(Path(source.path, path)), path != first and first, (name, other))
    problems += _find_missing(source, plan, paths)
    _raise(problems)
    for notice in unmatched(paths, used, source.path):
        reading.remark(notice)
    return {part: plan[part] for part in sorted(plan, key=natural)}


def _find_twice(where: str, first: str | bool, names: tuple[str, str]) -> Iterator[Problem]:
    """Yield a problem if the pattern has another file of the part, `first`, or if another pattern has this file."""
    name, other = names
    if first:
        yield Problem(where, "windows.file-twice", f"{name} already has {first} for this part")
    if name != other:
        yield Problem(where, "windows.file-twice", f"matches the patterns of {other} and of {name}")


def _find_missing(source: WindowsSource, plan: _Plan, paths: Sequence[str]) -> Iterator[Problem]:
    """Yield a problem for each pattern without a file in some part; a single one if no pattern has any."""
    there = f"found {quoted(paths[:3])}" if paths else "found no file"
    if not plan:
        yield Problem(source.path, "windows.file-missing", f"no path matches a pattern ({there})")
    for name, pattern in source.patterns.items():
        without = [part for part in plan if name not in plan[part]]
        if plan and len(without) == len(plan):
            message = f"no path matches the pattern of {name}, {pattern!r} ({there})"
            yield Problem(source.path, "windows.file-missing", message)
            continue
        for part in without:
            yield Problem(f"{source.path}: {part}", "windows.file-missing", f"this part has no file of {name}")


def _read_all(plan: _Plan, source: WindowsSource, tree: Tree, reading: Reading) -> dict[str, _Arrays]:
    """Return the arrays of all files, read one at a time. Raises InputError with the problems of all of them."""
    uses = [(part, name, path) for part, by_name in plan.items() for name, path in by_name.items()]
    found: dict[str, _Arrays] = defaultdict(dict)
    problems: list[Problem] = []
    for done, (part, name, path) in enumerate(uses):
        reading.tell(done, len(uses), path)
        try:
            found[part][name] = _recall(_File(tree, path, source), name, reading)
        except InputError as error:
            problems += (p._replace(next=p.next or STEPS.get(p.rule, "")) for p in error.problems)
    reading.tell(len(uses), len(uses), source.name)
    _raise(problems)
    for part, arrays in found.items():
        problems += _find_counts(source, plan[part], arrays)
    problems += find_unmapped(_labels(source, plan, found), source)
    _raise(problems)
    return found


def _find_counts(source: WindowsSource, paths: Mapping[str, str], arrays: _Arrays) -> Iterator[Problem]:
    """Yield each file of a part with another number of rows than most of them."""
    counts = {name: len(next(iter(found.values())).values) for name, found in arrays.items()}
    usual = Counter(counts.values()).most_common(1)[0][0]
    other = next(name for name, count in counts.items() if count == usual)
    for name, count in counts.items():
        if count != usual:
            message = f"{count:,} rows, but {paths[other]} has {usual:,}"
            yield Problem(str(Path(source.path, paths[name])), "windows.row-count", message)


def _labels(source: WindowsSource, plan: _Plan, found: Mapping[str, _Arrays]) -> Iterator[tuple[str, str]]:
    """Yield the label of each row, and its place."""
    for part, by_name in found.items():
        texts, lines = (by_name[LABEL_FILES][name].values.tolist() for name in ("texts", "lines"))
        place = Path(source.path, plan[part][LABEL_FILES])
        yield from zip(texts, (f"{place}:{line}" for line in lines), strict=True)


def _raise(problems: Sequence[Problem]) -> None:
    if problems:
        raise InputError(UNREADABLE, problems)


class _File(NamedTuple):
    """One text file of a source."""

    tree: Tree
    path: str
    source: WindowsSource

    @property
    def where(self) -> str:
        return self.tree.where(self.path)

    @property
    def form(self) -> Form:
        return Form(separator=self.source.separator, header=False, encoding=self.source.encoding)

    def open(self) -> AbstractContextManager[IO[bytes]]:
        return self.tree.open(self.path)


def _recall(file: _File, name: str, reading: Reading) -> dict[str, Parsed]:
    """Return the arrays of one file, parsed now or earlier."""
    source = file.source
    document: dict[str, Any] = {"file": file.tree.sha256(file.path), "encoding": source.encoding}
    if channel := source.channels.get(name):
        document |= {"window": source.window, "scale": channel.scale, "missing": list(source.missing)}
        document |= {"separator": source.separator, "decimal": source.decimal}
    key = f"{PARSER}-{files.sha256_bytes(files.to_line(document))}"
    return reading.recall(key, lambda: _parse_windows(file, channel) if channel else _parse_texts(file))


def _parse_windows(file: _File, channel: WindowChannel) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the windows of one channel, float32 (N, W), times its scale. Raises InputError with every problem."""
    window = file.source.window
    with file.open() as stream:
        there = len(open_table(stream, file.where, file.form).names)
    if there != window:
        step = f"set `window: {there}`" if there > 1 else "set `separator` to the character between the numbers"
        message = f"{there:,} numbers in the first row, expected {window:,}"
        raise InputError(UNREADABLE, [Problem(file.where, "windows.row-length", message, step)])
    arrays = _parse_rows(file, channel)
    rows = len(arrays["values"])
    if arrays["counts"][COUNTS.index("cut")]:
        message = f"the last row is cut off, expected {window:,} numbers"
        raise InputError(UNREADABLE, [Problem(f"{file.where}:{rows + 1}", "csv.row-width", message)])
    yield "values", arrays["values"]


def _parse_rows(file: _File, channel: WindowChannel) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file whose first row is a window. Raises InputError with every problem."""
    columns = tuple(
        CsvChannel(name=str(number), column=number, unit=channel.unit, scale=channel.scale)
        for number in range(1, file.source.window + 1)
    )
    layout = Layout(
        CsvColumns(channels=columns),
        label=None,
        form=file.form,
        missing=file.source.missing,
        decimal=file.source.decimal,
    )
    with file.open() as stream:
        return dict(parse(stream, file.where, layout))


def _parse_texts(file: _File) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the text of each row, (N,), and its line, (N,). Raises InputError."""
    texts: list[str] = []
    lines: list[int] = []
    with file.open() as stream:
        for block in open_table(stream, file.where, file.form._replace(separator=LINE)).blocks:
            if isinstance(block, Misfit):
                raise InputError(UNREADABLE, [Problem(f"{file.where}:{block.line}", "csv.quotes", block.why)])
            texts += [text.strip() for text in block.text.decode().split("\n")[:-1]]
            lines += block.lines
    if invalid := [(line, text) for text, line in zip(texts, lines, strict=True) if not is_name(text)]:
        line, text = invalid[0]
        message = f"{text[:SHOWN]!r} is not a valid name{and_others(len(invalid))}"
        raise InputError(UNREADABLE, [Problem(f"{file.where}:{line}", "csv.name-invalid", message)])
    yield "texts", np.array(texts, dtype="U")
    yield "lines", np.array(lines, dtype=np.int64)
