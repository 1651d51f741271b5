"""Read a text file as rows of cells, block by block: encodings, lines before the header, comments, quotes, blank lines.

A block whose rows all have the expected number of cells stays as it is, which costs little. The rows of any other block
are taken apart one by one. A file of any size is read in the memory of a few blocks.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple

from modelreg.data.recording import UNREADABLE
from modelreg.errors import InputError, Problem
from modelreg.records.csv_device import BLANKS, CsvForm

BLOCK = 2**22  # bytes of a block, before its last line is completed
JOINED = "\x1f"  # between the cells of rows that were taken apart; no text has it
PREAMBLE = 1000  # lines before the header that are searched

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


class Form(NamedTuple):
    """How the lines of a file become rows."""

    separator: str = ","  # one character, or BLANKS
    header: bool = True  # the first row names the columns
    encoding: str = "utf-8"  # unless a byte order mark tells another one
    comment: str | None = None  # a line that begins with it is left out
    skip: int = 0  # lines before the first row
    skip_until: str | None = None  # a pattern; the first row is the first line that has it
    row_end: str | None = None  # a text after the last cell of each row

    @classmethod
    def of(cls, form: CsvForm) -> "Form":
        """Return the form that a configuration describes."""
        return cls(**{name: getattr(form, name) for name in cls._fields})


class Block(NamedTuple):
    """Consecutive rows, each with the number of cells of the first one."""

    text: bytes  # UTF-8, `\n` at the end of each row; no quotes
    separator: str  # between the cells
    lines: Sequence[int]  # of the rows in the file, from 1
    cut: bool = False  # the last row has no line end: perhaps its writer was stopped


class Misfit(NamedTuple):
    """A row with another number of cells than the first one, or with a broken quote."""

    line: int
    cells: int  # 0: the quote is broken
    why: str = ""
    cut: bool = False  # it is the last line and has no line end: its writer was stopped


class Table(NamedTuple):
    """The columns of a file, and what is read of it on use."""

    names: tuple[str, ...]  # of the header, or numbers from 1
    blocks: Iterator[Block | Misfit]
    preamble: str = ""  # the lines before the header


def open_table(stream: IO[bytes], where: str, form: Form) -> Table:
    """Return the columns and rows of a file. Raises InputError, also while its blocks are read: not text, no row."""
    lines = _Lines(_decoded(stream, where, form.encoding))
    preamble = _skip_preamble(lines, where, form)
    first = _first_row(lines, where, form)
    names = first if form.header else [str(number + 1) for number in range(len(first))]
    return Table(tuple(names), _blocks(lines, form, len(names)), "".join(preamble))


class _Lines:
    """The lines of a file, from blocks of whole lines; a line knows its number."""

    def __init__(self, blocks: Iterator[tuple[bytes, int]]) -> None:
        self._blocks = blocks  # and the number of lines of each
        self._block, self._at = b"", 0
        self._before = 0  # lines before the block
        self._count = 0  # lines of the block
        self.number = 0  # of the line returned last
        self.complete = True  # whether that line has an end

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        if self._at >= len(self._block):
            self._step(next(self._blocks))
        end = self._block.find(b"\n", self._at) + 1
        self.complete = end > 0
        line = self._block[self._at : end or None]
        self._at += len(line)
        self.number += 1
        return line.decode()

    def _step(self, following: tuple[bytes, int]) -> None:
        self._before += self._count
        (self._block, self._count), self._at = following, 0

    @property
    def is_between_blocks(self) -> bool:
        """Whether the current block has no further line."""
        return self._at >= len(self._block)

    def back(self, line: str) -> None:
        """Return the line that was read last."""
        self._at -= len(line.encode())
        self.number -= 1

    def rest(self) -> bytes:
        """Return the rest of the current block, or the next block; empty at the end of the file."""
        if self._at >= len(self._block):
            self._step(next(self._blocks, (b"", 0)))
        block = self._block[self._at :]
        self._at = len(self._block)
        self.number = self._before + self._count
        return block

    def again(self, block: bytes, first: int) -> None:
        """Return the block of `rest`, which begins at line `first`, to read its lines one by one."""
        self._at = len(self._block) - len(block)
        self.number = first - 1


def _decoded(stream: IO[bytes], where: str, encoding: str) -> Iterator[tuple[bytes, int]]:
    """Yield blocks of whole lines in UTF-8, with `\n` at their ends, and the number of lines of each.

    Raises InputError for what is not text.
    """
    chunk = stream.read(BLOCK)
    plain = "utf-16-le" if encoding == "utf-16" else encoding  # as Windows writes it, without a byte order mark
    named = next((name for mark, name in _MARKS if chunk.startswith(mark)), plain)
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(named)(), translate=True)
    left, line = "", 1
    while True:
        following = stream.read(BLOCK) if chunk else b""
        text = left + _text(decoder, chunk, where, line, last=not following)
        end = text.rfind("\n") + 1 if following else len(text)
        block = text[:end].encode()
        count = block.count(b"\n") + (not block.endswith(b"\n"))
        if end:
            yield block, count
            line += count
        left, chunk = text[end:], following
        if not following:
            return


def _text(decoder: io.IncrementalNewlineDecoder, data: bytes, where: str, line: int, *, last: bool) -> str:
    try:
        text = str(decoder.decode(data, final=last))
    except UnicodeDecodeError as error:
        at = f"{where}:{line + error.object.count(10, 0, error.start)}"
        message = f"not {error.encoding.upper()} at byte {error.start}"
        raise InputError(UNREADABLE, [Problem(at, "csv.encoding", message)]) from error
    if (nul := text.find("\0")) >= 0:
        at = f"{where}:{line + text.count(chr(10), 0, nul)}"
        message = "NUL byte: the file is UTF-16 without a byte order mark, or not a text file"
        raise InputError(UNREADABLE, [Problem(at, "csv.encoding", message)])
    return text


def _skip_preamble(lines: _Lines, where: str, form: Form) -> list[str]:
    """Return the lines before the first row."""
    skipped = [line for _, line in zip(range(form.skip), lines, strict=False)]
    if form.skip_until is None:
        return skipped
    pattern = re.compile(form.skip_until)
    for _ in range(PREAMBLE):
        line = next(lines, None)
        if line is None:
            break
        if pattern.search(line.rstrip("\n")):
            lines.back(line)
            return skipped
        skipped.append(line)
    message = f"no line has {form.skip_until!r}, which `skip_until` names"
    raise InputError(UNREADABLE, [Problem(where, "csv.preamble", message)])


def _first_row(lines: _Lines, where: str, form: Form) -> list[str]:
    """Return the cells of the first row; without a header it is read again as a row of values."""
    for line in lines:
        if not line.strip() or (form.comment and line.startswith(form.comment)):
            continue
        cells = _cells(line, form, f"{where}:{lines.number}")
        if not form.header:
            lines.back(line)
        return cells
    raise InputError(UNREADABLE, [Problem(where, "csv.empty", "the file is empty")])


def _cells(line: str, form: Form, place: str) -> list[str]:
    line = _without_end(line, form)
    if form.separator == BLANKS:
        return line.split()
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=form.separator))]
    except csv.Error as error:  # a name of more characters than the csv module reads
        raise InputError(UNREADABLE, [Problem(place, "csv.quotes", str(error))]) from error


def _blocks(lines: _Lines, form: Form, width: int) -> Iterator[Block | Misfit]:
    separator = " " if form.separator == BLANKS else form.separator
    while True:
        first = lines.number + 1
        if not (block := lines.rest()):
            return
        cut = not block.endswith(b"\n")
        whole = block + b"\n" if cut else block
        if (even := _even(whole, lines.number + 1 - first, form, width)) is not None:
            yield Block(even, separator, range(first, lines.number + 1), cut)
        else:
            lines.again(block, first)
            yield from _apart(lines, form, width)


def _even(block: bytes, count: int, form: Form, width: int) -> bytes | None:
    """Return a block whose `count` rows all have `width` cells; None if its rows must be taken apart to know that."""
    if b'"' in block or (form.comment and b"\n" + form.comment.encode() in b"\n" + block):
        return None
    if form.row_end:
        block = block.replace(form.row_end.encode() + b"\n", b"\n")
    if form.separator == BLANKS:
        block = _with_single_blanks(block)
    separator = b" " if form.separator == BLANKS else form.separator.encode()
    marks = block.translate(None, bytes({*range(256)} - {*separator, *b"\n"}))
    if marks == (separator * width + b"\n") * count and block.count(separator + b"\n") == count:
        block = block.replace(separator + b"\n", b"\n")  # an empty cell after the last column
    elif marks != (separator * (width - 1) + b"\n") * count:
        return None
    return None if width == 1 and _has_blank_line(block) else block


def _with_single_blanks(block: bytes) -> bytes:
    """Return a block without blanks at the edges of its lines, and one between two cells."""
    block = b"\n" + block.replace(b"\t", b" ")
    while b"  " in block:
        block = block.replace(b"  ", b" ")  # halves each run: several times faster than a regular expression
    return block.replace(b"\n ", b"\n").replace(b" \n", b"\n")[1:]


def _has_blank_line(block: bytes) -> bool:
    return any(not line.strip() for line in block.splitlines())


def _apart(lines: _Lines, form: Form, width: int) -> Iterator[Block | Misfit]:
    """Take the rows of the current block apart; a row with quotes may end in the next one."""
    rows: list[str] = []
    numbers: list[int] = []
    misfits: list[Misfit] = []
    cut = False
    while not lines.is_between_blocks:
        line = next(lines)
        number = lines.number
        if not line.strip() or (form.comment and line.startswith(form.comment)):
            continue
        cells = _row(line, lines, form)
        if isinstance(cells, str):
            misfits.append(Misfit(number, 0, cells, cut=not lines.complete))
            continue
        if len(cells) > width and not any(cells[width:]):
            cells = cells[:width]  # empty cells after the last column
        if len(cells) != width:
            misfits.append(Misfit(number, len(cells), cut=not lines.complete))
            continue
        rows.append(JOINED.join(cell.replace("\n", "\x1e") for cell in cells))
        numbers.append(number)
        cut = not lines.complete
    if rows:
        yield Block("\n".join([*rows, ""]).encode(), JOINED, numbers, cut)
    yield from misfits


def _without_end(line: str, form: Form) -> str:
    """Return a line without the text that ends its row."""
    return line.rstrip().removesuffix(form.row_end) + "\n" if form.row_end else line


def _row(line: str, lines: _Lines, form: Form) -> list[str] | str:
    """Return the cells of a row that begins with `line`, or what is wrong with its quotes."""
    line = _without_end(line, form)
    if form.separator == BLANKS:
        return line.split()
    if '"' not in line:
        return [cell.strip() for cell in line.rstrip("\n").split(form.separator)]

    def more() -> Iterator[str]:
        yield line
        yield from lines

    try:
        return [cell.strip() for cell in next(csv.reader(more(), delimiter=form.separator, strict=True))]
    except csv.Error as error:
        return str(error)
