"""Read tables of Parquet, Feather, Excel, MATLAB and NumPy files. They are read whole, so their size is limited."""

import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from modelreg import files
from modelreg.artifacts import npz
from modelreg.data import extras
from modelreg.data.message_lists import did_you_mean, quoted
from modelreg.data.recording import UNREADABLE
from modelreg.data.sources import mat5, mat73, matrices
from modelreg.data.sources.file_formats import FIRST, name_format
from modelreg.data.sources.table_columns import Columns, Found, Unread, columns, of_objects
from modelreg.data.sources.unpacking import find_expansion
from modelreg.errors import InputError, Problem

if TYPE_CHECKING:
    import pyarrow as pa

LIMIT = 2**30  # bytes of a file
UNPACKED = 2**32  # bytes of its contents
CELLS = 2**26  # of a sheet

Errors = tuple[type[Exception], ...]


class _Kind(NamedTuple):
    read: Callable[[bytes, str, str | None], Columns]
    damaged: Errors  # what `read` raises for a damaged file, apart from InputError and MemoryError


def read_table(stream: IO[bytes], where: str, suffix: str, table: str | None) -> Columns:
    """Return the columns of a file with one of SUFFIXES.

    `table` is the sheet of an .xlsx, or the variable or field of a .mat; None is the only one that has rows. A file of
    another format holds one table. Raises InputError.
    """
    data = stream.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise InputError(UNREADABLE, [files.too_large(where, LIMIT)])
    kind = _KINDS[suffix]
    with _explained(data, where, suffix, kind.damaged):
        return kind.read(data, where, table)


@contextmanager
def _explained(data: bytes, where: str, suffix: str, damaged: Errors) -> Iterator[None]:
    """Raise the errors of a library as InputError; a file of another format is named."""
    try:
        yield
    except MemoryError as error:
        problem = Problem(where, "files.too-large", "its contents do not fit into memory")
        raise InputError(UNREADABLE, [problem]) from error
    except damaged as error:
        found = name_format(data[:FIRST], f"x{suffix}")
        message = f"this is {found.what}" if found else str(error).partition("\n")[0] or type(error).__name__
        step = found.next if found else ""
        problem = Problem(where, "tables.invalid", f"not a valid {suffix} file: {message}", step)
        raise InputError(UNREADABLE, [problem]) from error


def _need(package: str, why: str) -> None:
    if missing := extras.find_missing("formats", (package,), why):
        raise InputError(UNREADABLE, [missing])


# Parquet and Feather


def _read_parquet(data: bytes, where: str, _: str | None) -> Columns:
    _need("pyarrow", "it reads Parquet")
    import pyarrow.parquet as pq

    file = pq.ParquetFile(io.BytesIO(data))
    return _of_arrow(file.schema_arrow, file.iter_batches(use_threads=False), where)


def _read_feather(data: bytes, where: str, _: str | None) -> Columns:
    _need("pyarrow", "it reads Feather")
    import pyarrow as pa

    file = pa.ipc.open_file(io.BytesIO(data))
    return _of_arrow(file.schema, map(file.get_batch, range(file.num_record_batches)), where)


def _of_arrow(schema: "pa.Schema", batches: "Iterable[pa.RecordBatch]", where: str) -> Columns:
    import pyarrow as pa

    kept, size = [], 0
    for batch in batches:
        size += batch.nbytes
        if size > UNPACKED:
            raise InputError(UNREADABLE, [files.too_large(where, UNPACKED)])
        kept.append(batch)
    whole = pa.Table.from_batches(kept, schema)
    whole.validate(full=True)  # else bytes of other objects could be read as texts of a damaged file
    return columns(map(_of_column, whole.column_names, whole.columns))


def _of_column(name: str, column: "pa.ChunkedArray") -> Found:
    import pyarrow as pa
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if any(is_kind(kind) for is_kind in (types.is_integer, types.is_floating, types.is_date, types.is_duration)):
        return Found(name, column.to_numpy())
    if types.is_timestamp(kind):
        return Found(name, column.to_numpy(), zoned=kind.tz is not None)
    if types.is_decimal(kind) or types.is_null(kind):
        return Found(name, column.cast(pa.float64()).to_numpy())
    texts = (types.is_string, types.is_large_string, types.is_string_view, types.is_boolean, types.is_time)
    if any(is_kind(kind) for is_kind in texts):
        return Found(name, column.cast(pa.large_string()).fill_null("").to_numpy())
    return Found(name, Unread(f"values of type {kind}"))


# Excel


def _read_xlsx(data: bytes, where: str, table: str | None) -> Columns:
    _need("openpyxl", "it reads .xlsx files")
    import openpyxl

    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        stated = sum(info.file_size for info in packed.infolist())
    if problems := list(find_expansion(stated, len(data), where)):
        raise InputError(UNREADABLE, problems)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of features of Excel that are not read
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
        try:
            return _of_cells(list(_rows(_choose_sheet(book.worksheets, table, where), where)))
        finally:
            book.close()


def _choose_sheet(sheets: Sequence[Any], table: str | None, where: str) -> Any:
    """Return a sheet by its name, or the only one that has rows below its first one. Raises InputError."""
    if table is not None:
        if found := [sheet for sheet in sheets if sheet.title == table]:
            return found[0]
        names = [sheet.title for sheet in sheets]
        message = f"no sheet {table!r}, found {quoted(names)}"
        raise InputError(UNREADABLE, [Problem(where, "tables.unknown", message, did_you_mean(table, names))])
    found = [sheet for sheet in sheets if _has_rows(sheet, where)]
    if len(found) == 1:
        return found[0]
    if found:
        message = f"{len(found)} sheets have rows: {quoted([sheet.title for sheet in found])}"
        raise InputError(UNREADABLE, [Problem(where, "tables.several", message)])
    raise InputError(UNREADABLE, [Problem(where, "tables.none", "no sheet has rows below its first one")])


def _has_rows(sheet: Any, where: str) -> bool:
    rows = _rows(sheet, where)
    return next(rows, None) is not None and next(rows, None) is not None


def _rows(sheet: Any, where: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows that are not empty."""
    sheet.reset_dimensions()  # some programs state wrong ones
    left = CELLS
    for row in sheet.iter_rows(values_only=True):
        left -= len(row)
        if left < 0:
            raise InputError(UNREADABLE, [Problem(where, "files.too-large", f"more than {CELLS:,} cells")])
        if any(cell is not None for cell in row):
            yield row


def _of_cells(rows: list[tuple[Any, ...]]) -> Columns:
    """Return the columns of a sheet; the first row names them if it has a text, else their numbers do."""
    width = max(map(len, rows), default=0)
    table = [row + (None,) * (width - len(row)) for row in rows]
    header = table.pop(0) if table and any(isinstance(cell, str) for cell in table[0]) else (None,) * width
    names = [str(number) if cell is None else str(cell) for number, cell in enumerate(header, 1)]
    return columns(Found(name, of_objects([row[place] for row in table])) for place, name in enumerate(names))


# MATLAB and NumPy


def _read_mat(data: bytes, where: str, table: str | None) -> Columns:
    if any(data[at : at + 8] == b"\x89HDF\r\n\x1a\n" for at in (0, 512)):
        _need("h5py", "it reads MATLAB files of version 7.3")
        variables = mat73.read(io.BytesIO(data), UNPACKED, where)
    else:
        variables = mat5.read(data, UNPACKED, where)
    first = table.partition(".")[0] if table else None
    loaded = {name: load() if first in {None, name} else Unread("not read") for name, load in variables}
    return matrices.choose(loaded, table, where)


def _read_npy(data: bytes, where: str, _: str | None) -> Columns:
    stream = io.BytesIO(data)
    header = npz.read_header(stream, len(data))
    return matrices.of_array(np.ndarray(header.shape, header.dtype, data, stream.tell(), order=header.order), where)


_ARROW: Errors = (ValueError, KeyError, TypeError, RuntimeError, OSError)
_KINDS = {
    ".parquet": _Kind(_read_parquet, _ARROW),
    ".feather": _Kind(_read_feather, _ARROW),
    ".xlsx": _Kind(
        _read_xlsx,
        (
            *(ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, OSError, EOFError),
            # SyntaxError is that of XML; zipfile raises NotImplementedError for a compression that it does not know
            *(SyntaxError, NotImplementedError, zipfile.BadZipFile, zlib.error, struct.error),
        ),
    ),
    ".mat": _Kind(
        _read_mat, (ValueError, KeyError, TypeError, RuntimeError, OverflowError, OSError, zlib.error, struct.error)
    ),
    ".npy": _Kind(_read_npy, (ValueError,)),
}
SUFFIXES = tuple(_KINDS)
