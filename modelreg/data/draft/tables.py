"""Read the beginnings of files as tables: at most OPENED files, and BYTES of all of them."""

import codecs
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data.draft import dialect, words
from modelreg.data.sources import binary_tables
from modelreg.data.sources.containers import Tree
from modelreg.data.sources.text_rows import Block, Form, open_table
from modelreg.errors import InputError, Problem
from modelreg.records.csv_device import CsvForm

OPENED = 200  # files
BYTES = 2**24  # of all files
LEAST, MOST = 2**16, 2**22  # bytes of one file
WHOLE, ROWS = 8, 20_000  # binary tables, which are read whole, and the rows of each that are used

_MARKS: tuple[tuple[bytes, Literal["utf-8", "utf-16"]], ...] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)*(?:[eE][-+]?\d+)?")
_PACKED = (".gz", ".bz2", ".xz")


class Column(NamedTuple):
    """One column of the beginning of a file."""

    name: str  # of the header, or its number from 1
    texts: NDArray[np.object_]
    numbers: NDArray[np.float64]  # NaN: not a number

    @property
    def is_numeric(self) -> bool:
        """Whether nine in ten cells with text are numbers, and there is one."""
        filled = np.count_nonzero(self.texts != "")
        return bool(filled) and bool(np.count_nonzero(~np.isnan(self.numbers)) >= dialect.MOST * filled)

    @property
    def is_empty(self) -> bool:
        """Whether no cell has a text."""
        return not np.any(self.texts != "")


class Table(NamedTuple):
    """The beginning of a file."""

    path: str
    form: CsvForm
    columns: tuple[Column, ...]
    preamble: str  # the lines before the header
    whole: bool  # the file ends here
    bad: int  # rows with another number of columns
    read: int  # bytes
    first_bad: int | None = None  # the line of the first of them

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns; numbers from 1 without a header."""
        return tuple(column.name for column in self.columns)

    @property
    def rows(self) -> int:
        """The number of rows that were read."""
        return len(self.columns[0].texts)


class Heads(NamedTuple):
    """The beginnings of files, and what could not be read."""

    tables: tuple[Table, ...]
    not_tables: tuple[str, ...]  # paths of files that were opened and are not tables
    problems: tuple[Problem, ...]


def suffix(path: str) -> str:
    """Return the suffix of a file, without that of its compression: `.csv` of `all.csv.gz`."""
    name = PurePosixPath(path)
    return (PurePosixPath(name.stem) if name.suffix.lower() in _PACKED else name).suffix.lower()


def shape(path: str) -> str:
    """Return a path with its numbers and names replaced by marks; words of sensors and devices stay."""
    known = words.vocabulary()

    def mark(found: re.Match[str]) -> str:
        if found[0].isdigit():
            return "#"
        parts = words.split(found[0])
        stays = words.measured(parts, letters=False) or any(part in known.devices for part in parts)
        return found[0].lower() if stays else "@"

    stem, end = path.removesuffix(PurePosixPath(path).suffix), PurePosixPath(path).suffix
    return re.sub(r"\d+|[^\W\d_]+", mark, stem) + end.lower()


def choose(paths: Iterable[str], count: int = OPENED) -> list[str]:
    """Return at most `count` paths, of each shape about equally many, spread evenly over its paths."""
    by_shape: dict[str, list[str]] = defaultdict(list)
    for path in sorted(paths):
        by_shape[shape(path)].append(path)
    chosen: list[str] = []
    for left, (_, same) in zip(range(len(by_shape), 0, -1), sorted(by_shape.items(), key=_by_size), strict=True):
        share = min(len(same), (count - len(chosen)) // left)
        chosen += [same[int(place)] for place in np.linspace(0, len(same) - 1, share)]
    return sorted(chosen)


def _by_size(item: tuple[str, list[str]]) -> tuple[int, str]:
    return len(item[1]), item[0]


def read(tree: Tree, paths: Sequence[str], where: str) -> Heads:
    """Read the beginnings of some files. Raises nothing: what cannot be read is in the result."""
    limit = min(MOST, max(LEAST, BYTES // max(len(paths), 1)))
    forms: dict[str, CsvForm | None] = {}
    tables: list[Table] = []
    others: list[str] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            table = _table(tree, path, where, limit, forms)
        except InputError as error:
            problems += error.problems
            continue
        if table is None:
            others.append(path)
        else:
            tables.append(table)
    return Heads(tuple(tables), tuple(others), tuple(problems))


def _table(tree: Tree, path: str, where: str, limit: int, forms: dict[str, CsvForm | None]) -> Table | None:
    if suffix(path) in words.vocabulary().tables:
        return _binary(tree, path, where)
    with tree.open(path) as stream:
        data = stream.read(limit + 1)
    whole = len(data) <= limit
    encoding = _encoding(data)
    if encoding is None:
        return None
    text = _whole_lines(data, encoding, whole=whole)
    if "\0" in text:
        return None
    lines = text.splitlines()
    key = f"{suffix(path)} {encoding} {_signature(lines)}"
    if key not in forms:
        forms[key] = dialect.detect(lines)
    form = forms[key]
    if form is None:
        return None
    return _parsed(path, text, form.model_copy(update={"encoding": encoding}), whole=whole, where=where)


def _signature(lines: Sequence[str]) -> str:
    """Return the first and the last line without their numbers: files of one form share them."""
    filled = [line for line in lines if line.strip()]
    return "\n".join(_NUMBER.sub("0", line) for line in (filled[:1] + filled[-2:-1]))


def _encoding(data: bytes) -> Literal["utf-8", "utf-16", "latin-1"] | None:
    """Return the encoding of a text; None for a binary file."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name
    if b"\0" in data:
        odd = data[1::2].count(0)
        return "utf-16" if odd >= dialect.MOST * len(data[1::2]) and not data[::2].count(0) else None
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _whole_lines(data: bytes, encoding: str, *, whole: bool) -> str:
    """Return the text of the whole lines; that of a file that ends here has its last line too."""
    plain = "utf-16-le" if encoding == "utf-16" and not data.startswith((_MARKS[1][0], _MARKS[2][0])) else encoding
    text = codecs.getincrementaldecoder(plain)(errors="replace").decode(data)
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return text if whole else text[: text.rfind("\n") + 1]


def _parsed(path: str, text: str, form: CsvForm, *, whole: bool, where: str) -> Table | None:
    """Return a text as a table, read as the reader of recordings reads it; None if it has no row."""
    data = text.encode()
    try:
        opened = open_table(io.BytesIO(data), where, Form.of(form)._replace(encoding="utf-8"))
        rows: list[list[str]] = []
        bad: list[int] = []
        for block in opened.blocks:
            if isinstance(block, Block):
                rows += [row.split(block.separator) for row in block.text.decode().split("\n")[:-1]]
            elif not block.cut:
                bad.append(block.line)
    except InputError:
        return None
    columns = tuple(_columns(opened.names, rows, form.decimal)) if rows else ()
    return (
        Table(path, form, columns, opened.preamble, whole, len(bad), len(data), min(bad, default=None))
        if columns
        else None
    )


def _columns(names: Sequence[str], rows: Sequence[Sequence[str]], decimal: str) -> Iterator[Column]:
    import pandas as pd

    for name, cells in zip(names, zip(*rows, strict=True), strict=True):
        texts = np.array([cell.strip() for cell in cells], dtype=object)
        series = pd.Series(texts, dtype=str)
        plain = series.str.replace(decimal, ".", regex=False) if decimal != "." else series
        numbers = pd.to_numeric(plain, errors="coerce").to_numpy(np.float64)
        yield Column(name, texts, numbers)


def _binary(tree: Tree, path: str, where: str) -> Table | None:
    """Return the only table of a binary file; None if it has no row."""
    with tree.open(path) as stream:
        found = binary_tables.read_table(stream, f"{where}/{path}", suffix(path), None)
    columns = tuple(_of_values(name, values[:ROWS]) for name, values in zip(found.names, found.values, strict=True))
    return Table(path, CsvForm(), columns, "", True, 0, 0) if columns and len(columns[0].texts) else None


def _of_values(name: str, values: NDArray[Any]) -> Column:
    """Return numbers, dates or texts as a column."""
    if values.dtype.kind == "M":
        texts = np.datetime_as_string(values).astype(object)
        return Column(name, texts, np.full(len(values), np.nan))
    if values.dtype.kind == "O":
        return Column(name, values, np.full(len(values), np.nan))
    numbers = values.astype(np.float64)
    texts = np.array([f"{number:.15g}" if np.isfinite(number) else "" for number in numbers.tolist()], dtype=object)
    return Column(name, texts, numbers)
