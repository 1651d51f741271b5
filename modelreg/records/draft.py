"""The result of `modelreg data init --json`: a drafted configuration, and the reason for each setting."""

from typing import Annotated, Any, Literal

from pydantic import Field

from modelreg.records.base import Count, Name, Record


class DraftDevice(Record):
    """A device that was found."""

    name: Name
    channels: tuple[Name, ...]
    units: tuple[str, ...]
    rate_hz: Annotated[float, Field(gt=0)] | None  # null: not known
    clock: str  # the column of the time and its unit; or `none`, or `header`


class DraftDecision(Record):
    """A setting, and the reason for its value."""

    setting: str  # dotted path
    value: Any
    evidence: str


class DraftBlank(Record):
    """A setting that the user has to fill in."""

    setting: str
    line: Annotated[int, Field(ge=1)] | None  # of the YAML
    text: str  # what to write there


class DataDraft(Record):
    """A drafted configuration."""

    schema_version: Literal[1] = 1
    path: str  # of the YAML
    format: Name | None  # the known export or data set; null: the columns were read as they are
    title: str
    devices: tuple[DraftDevice, ...]
    subjects: tuple[str, ...] | None  # null: not known, or not read
    classes: tuple[str, ...] | None
    recordings: Count | None
    hours: Annotated[float, Field(ge=0)] | None
    files: Count  # of the folder
    matched: Count  # files with recordings
    opened: Count  # files that were opened
    left_out: tuple[str, ...] = ()  # sensors, files and rows that are not used: a line for each cause
    decisions: tuple[DraftDecision, ...]
    fill_in: tuple[DraftBlank, ...]
    configuration: dict[str, Any]
