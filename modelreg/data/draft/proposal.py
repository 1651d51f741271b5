"""The contents of a draft: the configuration with the reason for each decision, and what was found."""

import re
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, NamedTuple

from modelreg.config_errors import FILL_IN
from modelreg.data.draft.commented import Noted, plain
from modelreg.records.csv_device import CsvForm

FEWEST_SUBJECTS = 3  # one for each split
SECONDS = 2.0  # of a window
MULTIPLE = 4  # of the samples of a window: networks halve it twice
SMALLEST = 8  # samples
QUICK = "for a quick try: --set training.epochs=5"


class Device(NamedTuple):
    """A device, for the table that is printed."""

    name: str
    channels: tuple[str, ...]
    units: tuple[str, ...]
    rate_hz: float | None
    clock: str  # where its time is


class Proposal(NamedTuple):
    """A configuration, and the reasons for it."""

    document: dict[str, Any]  # with reasons
    head: str  # the comment at its beginning
    name: str | None  # of the known format
    title: str
    devices: tuple[Device, ...]
    subjects: tuple[str, ...] | None  # None: not known
    labels: tuple[str, ...] | None
    recordings: int | None
    hours: float | None
    matched: int  # files that are read for recordings
    opened: int  # files that were opened
    left_out: tuple[str, ...] = ()  # a line for each cause: sensors, files and rows that are not used

    @property
    def blanks(self) -> list[tuple[str, str]]:
        """The settings that are left to the user, and what to write there."""
        return list(_blanks(plain(self.document)))


def _blanks(node: Any, place: str = "") -> list[tuple[str, str]]:
    if isinstance(node, str):
        return [(place, node.removeprefix(FILL_IN).lstrip(": "))] if node.startswith(FILL_IN) else []
    if isinstance(node, Mapping):
        return [found for key, value in node.items() for found in _blanks(value, f"{place}.{key}".lstrip("."))]
    if isinstance(node, list):
        return [found for number, value in enumerate(node) for found in _blanks(value, f"{place}.{number}")]
    return []


def form(found: CsvForm) -> dict[str, Any]:
    """Return the settings of a form that are not the default."""
    usual = CsvForm().to_document()
    return {key: value for key, value in found.to_document().items() if value != usual[key]}


def window(rate_hz: float | None) -> dict[str, Any]:
    """Return the window and the hop at a rate."""
    if rate_hz is None:
        return {"window": Noted(100, "set about two seconds of samples"), "hop": Noted(50, "half of the window")}
    size = max(SMALLEST, ceil(SECONDS * rate_hz / MULTIPLE) * MULTIPLE)
    return {
        "window": Noted(size, f"{size / rate_hz:.3g} s, a multiple of {MULTIPLE} samples"),
        "hop": Noted(size // 2, "windows overlap by half"),
    }


def split(count: int | None) -> Noted:
    """Return the split of some subjects."""
    if count is not None and count < FEWEST_SUBJECTS:
        who = "1 subject" if count == 1 else f"{count} subjects"
        return Noted(
            {"by": "time", "test": 0.2, "validation": 0.2},
            f"{who}: too few to test on a subject that was not in training. By time, each recording is cut into train, "
            "validation and test, so the metrics say nothing about other subjects. With three subjects or more, set "
            "{by: subject, test: 1, validation: 1}",
        )
    if count is None:
        return Noted({"by": "subject", "test": 1, "validation": 1}, "the number of subjects is not known")
    test, validation = max(1, round(count / 5)), max(1, round(count / 10))
    return Noted(
        {"by": "subject", "test": test, "validation": validation},
        f"of {count} subjects, those with the highest ids; no subject is in two splits",
    )


def training() -> dict[str, Any]:
    """Return the model and the training that `modelreg init` also writes."""
    return {
        "model": {"name": "conv2d_fsq"},
        "training": {
            "epochs": Noted(40, QUICK),
            "scheduler": "onecycle",
            "optimizer": "adamw",
            "learning_rate": 0.002,
            "weight_decay": 0.01,
        },
    }


def source_name(folder: str) -> str:
    """Return the name of a data set, from that of its folder."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", folder).strip("-.")[:60] or "my-recordings"


def with_reasons(document: dict[str, Any], why: Mapping[str, str]) -> dict[str, Any]:
    """Return a document with reasons at some dotted paths."""
    for place, text in sorted(why.items(), key=lambda item: -item[0].count(".")):
        *parents, last = place.split(".")
        node: Any = document
        for part in parents:
            node = node.value if isinstance(node, Noted) else node
            node = node[int(part)] if isinstance(node, Sequence) else node[part]
        node = node.value if isinstance(node, Noted) else node
        key: Any = int(last) if isinstance(node, list) else last
        node[key] = Noted(node[key], text)
    return document


def has(document: Any, place: str) -> bool:
    """Return whether a document has a value at a dotted path."""
    node = document
    for part in place.split("."):
        node = node.value if isinstance(node, Noted) else node
        if isinstance(node, list) and part.isdecimal() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, Mapping) and part in node:
            node = node[part]
        else:
            return False
    return True


def escaped(name: str) -> str:
    """Return a regular expression for a name."""
    return re.escape(name).replace(r"\-", "-")
