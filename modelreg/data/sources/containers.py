"""Interim: replaced by the helper's module."""

import gzip, os, zlib
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast
from modelreg import files
from modelreg.data.recording import UNREADABLE
from modelreg.errors import InputError, Problem


class Tree:
    def __init__(self, place, shown):
        self.place, self.shown = place, shown
        self.paths = tuple(sorted(self._walk()))

    def _walk(self):
        for parent, folders, names in os.walk(self.place):
            folders[:] = [n for n in folders if not n.startswith(".")]
            yield from (Path(parent, n).relative_to(self.place).as_posix() for n in names if not n.startswith("."))

    @contextmanager
    def open(self, path):
        where = str(Path(self.shown, path))
        if not (self.place / path).resolve().is_relative_to(self.place.resolve()):
            raise InputError(UNREADABLE, [Problem(where, "csv.link", "link")])
        with files.open_regular(self.place / path, where) as stream:
            if not path.endswith(".gz"):
                yield stream
                return
            try:
                with gzip.open(stream) as text:
                    yield text
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise InputError(UNREADABLE, [Problem(where, "recordings.archive-damaged", str(error))]) from error

    def sha256(self, path):
        return files.sha256(self.place / path, str(Path(self.shown, path)))


@contextmanager
def open_tree(place, shown):
    yield Tree(place, shown)
