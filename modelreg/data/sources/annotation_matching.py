"""Find the recordings that an annotation is for, by subject, session and the text of its column `file`.

That text is compared with the files of all parts of a recording. It may be the path of one below the source's folder,
or the end of that path, from the name of any folder on; each with or without the suffix. It may also be the path of the
folder that the file is in, or the end of it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from modelreg.data.message_lists import and_others, quoted
from modelreg.data.recording import UNREADABLE
from modelreg.data.sources.containers import COMPRESSED
from modelreg.data.sources.csv_annotations import Interval
from modelreg.errors import InputError, Problem
from modelreg.records.csv_device import Column, ColumnPattern
from modelreg.records.csv_names import CsvAnnotations

SHOWN = 2  # recordings in a message
PACKED = (".zip", ".tar")  # of a folder that is an archive


class Target(NamedTuple):
    """A recording that annotations may be for."""

    name: str
    subject: str
    session: str
    paths: tuple[str, ...]  # of the files of its parts, below the source's folder; the first part has the labels


class _Fit(NamedTuple):
    rank: int  # how well the text names the path: 0 is best
    number: int  # of the target
    path: str


def match(
    intervals: Sequence[Interval], targets: Sequence[Target], settings: CsvAnnotations
) -> dict[Interval, tuple[int, ...]]:
    """Return the numbers of the targets that each interval is for; none for an interval of no target.

    Raises InputError with each text of the column `file` that fits files of several recordings.
    """
    known = _index(targets)
    asked: dict[tuple[str, str, str], list[Interval]] = defaultdict(list)
    for interval in intervals:
        asked[interval.subject, interval.session, interval.file].append(interval)
    found: dict[Interval, tuple[int, ...]] = {}
    problems: list[Problem] = []
    for same in asked.values():
        fits = list(_fits(same[0], targets, known))
        if same[0].file and _is_ambiguous(fits):
            problems.append(_ambiguous(same, fits, targets, settings))
        found |= dict.fromkeys(same, tuple(dict.fromkeys(fit.number for fit in fits)))
    if problems:
        raise InputError(UNREADABLE, problems)
    return found


def names_of(path: str) -> dict[str, int]:
    """Return every text that names a file, each with its rank: 0 its path, 1 that without the suffix, 2 the others."""
    whole = PurePosixPath(path)
    bare = _without_suffix(whole)
    texts = {path: 0}
    texts.setdefault(str(bare), 1)
    folders = [] if whole.parent == PurePosixPath() else [whole.parent]
    folders += [folder.with_suffix("") for folder in folders if folder.suffix.lower() in PACKED]
    for each in (whole, bare, *folders):
        for ending in _endings(each):
            texts.setdefault(ending, 2)
    return texts


def shortest(path: str, other_paths: Iterable[str]) -> str:
    """Return the shortest text that names a file and none of the others; of equal ones, the first in the alphabet."""
    others = {text for other in other_paths for text in names_of(other)}
    return min(
        (text for text in names_of(path) if text not in others), key=lambda text: (len(text), text), default=path
    )


def unmatched(interval: Interval, targets: Sequence[Target], settings: CsvAnnotations) -> Problem:
    """Return the problem of annotations that are all for no recording; `interval` is the first."""
    shown = targets[:SHOWN]
    known = {
        "file": "; ".join(f"{each.name!r} has {' and '.join(each.paths[:SHOWN])}" for each in shown),
        "subject": quoted(list(dict.fromkeys(each.subject for each in targets))),
        "session": quoted(list(dict.fromkeys(each.session for each in targets))),
    }
    heads = {"file": "files of recordings", "subject": "subjects of recordings", "session": "sessions of recordings"}
    given = [role for role in known if getattr(interval, role)]
    said = [f"{_place(role, settings)} has {getattr(interval, role)[:60]!r}" for role in given]
    compared = [f"{heads[role]}: {known[role]}" for role in given]
    message = f"no annotation is for a recording: {', '.join(said)} (compared with {'; '.join(compared)})"
    return Problem(interval.where, "csv.annotations-unmatched", message, _step(targets) if "file" in given else "")


def described(interval: Interval, settings: CsvAnnotations) -> str:
    """Return the texts that say which recording an interval is for."""
    roles = [role for role in ("file", "subject", "session") if getattr(interval, role)]
    return ", ".join(f"{_place(role, settings)} has {getattr(interval, role)[:60]!r}" for role in roles)


def _step(targets: Sequence[Target]) -> str:
    first, *others = targets
    example = shortest(first.paths[0], [path for other in others for path in other.paths])
    return (
        f"write the path, the name or the folder of a recording's file, as {example!r}, into the column of "
        "`annotations.file`; if the column has subjects, set `annotations.subject` in its place"
    )


def _place(role: str, settings: CsvAnnotations) -> str:
    """Return what has a text: a column, or a group of the path."""
    column: Column | None = getattr(settings, role)
    if column is None:
        return f"group {role!r} of the path"
    if isinstance(column, ColumnPattern):
        return f"column {column.pattern!r}"
    return f"column {column!r}"


def _index(targets: Sequence[Target]) -> dict[str, list[_Fit]]:
    """Return how each text fits the targets."""
    known: dict[str, list[_Fit]] = defaultdict(list)
    for number, target in enumerate(targets):
        for path in dict.fromkeys(target.paths):
            for text, rank in names_of(path).items():
                known[text].append(_Fit(rank, number, path))
    return dict(known)


def _fits(interval: Interval, targets: Sequence[Target], known: Mapping[str, Sequence[_Fit]]) -> Iterator[_Fit]:
    """Yield how an interval fits targets: only the best fits of its file."""
    text = interval.file.replace("\\", "/").removeprefix("./").strip("/")
    every = known.get(text, ()) if interval.file else [_Fit(0, number, "") for number in range(len(targets))]
    fits = [fit for fit in every if _agree(interval, targets[fit.number])]
    best = min((fit.rank for fit in fits), default=0)
    yield from (fit for fit in fits if fit.rank == best)


def _agree(interval: Interval, target: Target) -> bool:
    """Return whether subject and session are those of a target."""
    return interval.subject in {"", target.subject} and interval.session in {"", target.session}


def _is_ambiguous(fits: Sequence[_Fit]) -> bool:
    """Return whether fits are of several targets, and not all of one file that holds all of them."""
    holders: dict[str, set[int]] = defaultdict(set)
    for fit in fits:
        holders[fit.path].add(fit.number)
    every = {fit.number for fit in fits}
    return len(every) > 1 and every not in holders.values()


def _ambiguous(
    same: Sequence[Interval], fits: Sequence[_Fit], targets: Sequence[Target], settings: CsvAnnotations
) -> Problem:
    paths = {fit.number: fit.path for fit in reversed(fits)}
    shown = " and ".join(f"{paths[n]} of {targets[n].name!r}" for n in sorted(paths)[:SHOWN])
    first = same[0]
    text = f"{_place('file', settings)} has {first.file[:60]!r}, which fits {len(paths)} recordings: {shown}"
    return Problem(first.where, "csv.annotation-ambiguous", text + and_others(len(same)))


def _without_suffix(path: PurePosixPath) -> PurePosixPath:
    """Return a path without its suffix, and without that of its compression."""
    stored = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    return stored.with_suffix("")


def _endings(path: PurePosixPath) -> Iterator[str]:
    """Yield a path, and each end of it that begins with the name of a folder or file."""
    yield from ("/".join(path.parts[n:]) for n in range(len(path.parts)))
