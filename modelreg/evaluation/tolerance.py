"""Whether recorded numbers are those that were computed again, up to the last bits."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from modelreg.errors import Problem

Keys: TypeAlias = tuple[str | int, ...]


def differences(keys: Keys, theirs: Any, ours: Any, tolerance: float) -> Iterator[Problem]:
    """Yield the dotted place of every value of two JSON documents that differs, with both values.

    Counts and words must be equal; other numbers may differ by `tolerance`, relative or absolute.
    """
    if isinstance(theirs, dict) and isinstance(ours, dict):
        yield from _part_differences(keys, theirs, ours, tolerance)
    elif isinstance(theirs, list) and isinstance(ours, list):
        yield from _part_differences(keys, dict(enumerate(theirs)), dict(enumerate(ours)), tolerance)
    elif not _are_close(theirs, ours, tolerance):
        yield Problem(".".join(map(str, keys)), f"is {_shown(theirs)}, but the predictions give {_shown(ours)}")


def _part_differences(
    keys: Keys, theirs: Mapping[Any, Any], ours: Mapping[Any, Any], tolerance: float
) -> Iterator[Problem]:
    for key in [*theirs, *(key for key in ours if key not in theirs)]:
        yield from differences((*keys, key), theirs.get(key), ours.get(key), tolerance)


def _are_close(theirs: Any, ours: Any, tolerance: float) -> bool:
    if isinstance(theirs, float) and isinstance(ours, float):
        return math.isclose(theirs, ours, rel_tol=tolerance, abs_tol=tolerance)
    return type(theirs) is type(ours) and bool(theirs == ours)


def _shown(value: Any) -> str:
    return "absent" if value is None else str(value)
