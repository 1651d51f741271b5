"""Read columns of names to the end of their files: every label and subject, not only those of the first rows."""

from collections import Counter
from collections.abc import Sequence
from typing import IO, NamedTuple, cast

from modelreg.data.draft.tables import Table
from modelreg.data.sources.containers import Tree
from modelreg.data.sources.text_rows import Block, Form, open_table
from modelreg.errors import InputError
from modelreg.records.csv_device import CsvForm

BYTES = 2**26  # of all files that are read to their ends


class Texts(NamedTuple):
    """The texts of one column, and the rows of each."""

    rows: Counter[str]
    complete: bool  # every row of every file was read


class _Bounded:
    """A stream that ends after some bytes, and knows whether it was longer."""

    def __init__(self, stream: IO[bytes], left: int) -> None:
        self._stream, self.left, self.cut = stream, left, False

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes."""
        data = self._stream.read(min(size, self.left))
        self.left -= len(data)
        if not self.left and data:
            self.cut = True
        return data


def read(tree: Tree, paths: Sequence[str], form: CsvForm, place: int, tables: Sequence[Table] = ()) -> Texts:
    """Return the texts of a column in files of one form; `tables` are the beginnings of some that were read."""
    heads = {table.path: table for table in tables if table.whole}
    found: Counter[str] = Counter()
    left, complete = BYTES, True
    for path in paths:
        if head := heads.get(path):
            found.update(head.columns[place].texts.tolist())
        elif left:
            texts, used = _scan(tree, path, Form.of(form), place, left)
            found += texts.rows
            left, complete = left - used, complete and texts.complete
        else:
            complete = False
    found.pop("", None)
    return Texts(found, complete)


def _scan(tree: Tree, path: str, form: Form, place: int, most: int) -> tuple[Texts, int]:
    """Return the texts of one file, and how many bytes of it were read."""
    found: Counter[str] = Counter()
    try:
        with tree.open(path) as stream:
            bounded = _Bounded(stream, most)
            for block in open_table(cast("IO[bytes]", bounded), path, form).blocks:
                if isinstance(block, Block):
                    rows = block.text.decode().split("\n")[:-1]
                    found.update(row.split(block.separator)[place].strip() for row in rows)
            return Texts(found, not bounded.cut), most - bounded.left
    except InputError:  # a file that cannot be read is named when recordings are read
        return Texts(found, complete=False), 0
