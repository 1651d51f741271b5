"""What every source of text files says: files that are not read, and labels without a class."""

from collections.abc import Collection, Iterable, Iterator, Sequence

from modelreg.data.message_lists import quoted
from modelreg.errors import Notice, Problem
from modelreg.records.source import LabelledSource


def unmatched(paths: Sequence[str], read: Collection[str], shown: str) -> Iterator[Notice]:
    """Yield a notice if files match no pattern; `shown` is the name of their folder."""
    if strays := [path for path in paths if path not in read]:
        message = f"{len(strays)} of {len(paths)} files match no pattern and are not read: {', '.join(strays[:3])}"
        yield Notice(shown, message)


def find_unmapped(labels: Iterable[tuple[str, str]], source: LabelledSource) -> Iterator[Problem]:
    """Yield the first place of each label that `labels` does not map, from pairs of a label and its place."""
    known = set(source.labels or ())
    for name, where in labels if source.labels else ():
        if name not in known:
            known.add(name)
            message = f"label {name!r} is not in `labels` (which has {quoted(list(source.labels or ()))})"
            yield Problem(where, "sources.label-unmapped", message)
