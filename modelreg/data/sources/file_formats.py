"""Name the format of a file by its first bytes, and what to export or convert it to."""

import codecs
import re
from pathlib import PurePosixPath
from typing import NamedTuple

from modelreg.errors import Problem

CONTROL = 0.1  # share of control characters from which bytes are not text
_CONTROL = bytes({*range(32)} - {*b"\t\n\r\f"})
FIRST = 4096  # bytes that tell a format

_TEXT = "convert it to a text table with one row for each sample"
_OTHER = "name only files of recordings with `files`"
_WORKBOOK = (
    "save it as CSV from Excel; or rename it to .xlsx, for which `files` must match, and install modelreg[formats]"
)
_UNPACK = "unpack it, and name the folder"


class Format(NamedTuple):
    """The format of a file that is not read."""

    what: str
    next: str  # how to get a file that is read


class _Magic(NamedTuple):
    first: re.Pattern[bytes]
    what: str
    next: str = ""
    suffixes: tuple[str, ...] = ()  # a file with one of these is read


def _magic(first: bytes, what: str, step: str = "", suffixes: tuple[str, ...] = ()) -> _Magic:
    return _Magic(re.compile(first, re.DOTALL), what, step, suffixes)


_GT3X = Format("an ActiGraph GT3X recording", "export its raw data as CSV with ActiLife")
_BINARY = Format("a binary file of an unknown format", _TEXT)
_KNOWN = (  # the first one that fits
    _magic(rb"version https://git-lfs\.github\.com/", "a pointer of Git LFS, not the file", "run `git lfs pull`"),
    _magic(rb"\s*<(?i:!doctype html|html)", "a web page", "download the file itself; that may require a login"),
    _magic(rb"MD\xfc\x03", "an Axivity CWA recording", "export it as raw CSV with OmGui or omconvert"),
    _magic(rb"Device Identity\s", "a GENEActiv recording", "export it as raw CSV with the GENEActiv PC Software"),
    _magic(rb"[\x0c\x0e].{7}\.FIT", "a FIT recording (Garmin)", f"{_TEXT}, for example with FitCSVTool of the FIT SDK"),
    _magic(rb"\s*(\{\s*[\"}]|\[\s*[{\[])", "JSON", f"{_TEXT}: a packet of Movesense has several samples and one stamp"),
    _magic(rb"\s*<\?xml", "XML", _TEXT),
    _magic(rb"PAR1[^\t\r\n -~]", "a Parquet file", suffixes=(".parquet",)),
    _magic(rb"PARE[^\t\r\n -~]", "an encrypted Parquet file", "write it again without encryption"),
    _magic(rb"ARROW1\x00", "a Feather file", suffixes=(".feather",)),
    _magic(rb"FEA1\x00", "a Feather file of version 1", "write it again as version 2, with pyarrow or R"),
    _magic(rb"\x93NUMPY", "a NumPy array", suffixes=(".npy",)),
    _magic(rb"MATLAB (5\.0|7\.3) MAT-file", "a MATLAB file", suffixes=(".mat",)),
    _magic(rb"\x89HDF\r\n\x1a\n", "an HDF5 file", f"{_TEXT}, or to Parquet", (".mat",)),
    _magic(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an .xls workbook, or one with a password", "save it as plain .xlsx"),
    _magic(rb"PK\x03\x04.{26}(xl/|_rels/|docProps/|\[Content_Types\])", "a workbook", _WORKBOOK, (".xlsx",)),
    _magic(rb"PK(\x03\x04|\x05\x06)", "a zip archive", suffixes=(".zip", ".xlsx")),
    _magic(rb"\x1f\x8b", "compressed by gzip", suffixes=(".gz", ".tgz")),
    _magic(rb"BZh[1-9]1AY&SY", "compressed by bzip2", suffixes=(".bz2",)),
    _magic(rb"\xfd7zXZ\x00", "compressed by xz", suffixes=(".xz",)),
    _magic(rb".{257}ustar[\x00 ]", "a tar archive", suffixes=(".tar",)),
    _magic(rb"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    _magic(rb"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    _magic(rb"\x28\xb5\x2f\xfd", "compressed by Zstandard", _UNPACK),
    _magic(rb"SQLite format 3\x00", "an SQLite database", _TEXT),
    _magic(rb"\x80[\x02-\x05]", "a Python pickle, which can run code", "write it with `to_csv` or `to_parquet`"),
    _magic(rb"RD[AX][23]\n", "R data", "write it with `write.csv`"),
    _magic(rb"\x89PNG\r\n\x1a\n", "a PNG image", _OTHER),
    _magic(rb"\xff\xd8\xff", "a JPEG image", _OTHER),
    _magic(rb"GIF8[79]a", "a GIF image", _OTHER),
    _magic(rb"%PDF-", "a PDF document", _OTHER),
    _magic(rb"\x00.{3}ftyp", "an MP4 video or another media file", _OTHER),
    _magic(rb"RIFF.{4}(WAVE|AVI )", "a WAV or AVI file", _OTHER),
    _magic(rb"\x7fELF", "a program", _OTHER),
)


def name_format(first: bytes, name: str) -> Format | None:
    """Return the format of a file that is not read; None for text, and for a format that its suffix states.

    `first` is the beginning of the file, FIRST bytes or the whole file.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".gt3x":
        return _GT3X
    for magic in _KNOWN:
        if magic.first.match(first):
            step = magic.next or f"name it with its suffix, {magic.suffixes[0]}"
            return None if suffix in magic.suffixes else Format(magic.what, step)
    return _BINARY if _is_binary(first) and not _is_utf16(first) else None


def find_foreign(first: bytes, name: str, where: str) -> Problem | None:
    """Return the problem of a file that is not read, as `name_format` names it."""
    found = name_format(first, name)
    return Problem(where, "tables.foreign-format", f"this is {found.what}", found.next) if found else None


def _is_binary(first: bytes) -> bool:
    """Return whether bytes are not text: a few control characters are a damaged text."""
    return b"\0" in first and len(first.translate(None, _CONTROL)) < (1 - CONTROL) * len(first)


def _is_utf16(first: bytes) -> bool:
    """Return whether bytes are UTF-16: by the byte order mark, or because nearly all characters are Latin ones."""
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return True
    texts = [first[: len(first) // 2 * 2].decode(order, "replace") for order in ("utf-16-le", "utf-16-be")]
    return any(sum(map(_is_latin, text)) > 0.9 * len(text) for text in texts)


def _is_latin(character: str) -> bool:
    return character < "\u0250" and (character.isprintable() or character.isspace())
