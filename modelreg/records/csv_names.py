"""The mapping of text files: names and labels in separate files."""

from typing import Annotated, Literal

from pydantic import model_validator

from modelreg.records.base import Name, Record, setting
from modelreg.records.csv_device import Column, CsvForm, CsvRows, Moment, Pattern, check_groups, groups_of


class CsvLookup(CsvForm):
    """A file with the names of each recording: its subject, session or label."""

    file: Annotated[Name, setting("Path of the file below the source's folder.", "participants.csv")]
    key: Annotated[Column, setting("The column with the text of the group `id` of the patterns.", "file_id")]
    subject: Annotated[Column | None, setting("The column of the subject.", "participant")] = None
    session: Annotated[Column | None, setting("The column of the session.", "visit")] = None
    label: Annotated[Column | None, setting("The column of the label.", "task")] = None

    @model_validator(mode="after")
    def _names_something(self) -> "CsvLookup":
        if self.subject is None and self.session is None and self.label is None:
            raise ValueError("lookup: set subject, session or label")
        return self

    @property
    def given(self) -> tuple[str, ...]:
        """Return which names the file has."""
        return tuple(name for name in ("subject", "session", "label") if getattr(self, name) is not None)


class CsvEvents(Record):
    """The column that says whether a row starts or stops a label."""

    column: Annotated[Column, setting("Name or number of the column.", "Status")]
    start: Annotated[str, setting("The text of a start.", "START", max_length=100)] = "START"
    stop: Annotated[str, setting("The text of a stop.", "STOP", max_length=100)] = "STOP"


class CsvAnnotations(CsvForm, Moment):
    """Files with the times at which each label begins and ends."""

    files: Annotated[
        Pattern,
        setting(
            "Regular expression for the path below the source's folder. Groups: `subject`, `session`, `id`.",
            "annotations\\.csv",
        ),
    ]
    begin: Annotated[Column, setting("The column of the beginning, or of the time of an event.", "start")]
    end: Annotated[Column | None, setting("The column of the end.", "end")] = None
    duration: Annotated[Column | None, setting("The column of the duration, in place of `end`.", "duration")] = None
    events: Annotated[
        CsvEvents | None,
        setting("Rows that start or stop a label, in place of `end`, as BORIS writes them.", {"column": "Status"}),
    ] = None
    label: Annotated[Column, setting("The column of the label.", "behaviour")]
    subject: Annotated[Column | None, setting("The column of the subject. Null: the group.", "subject")] = None
    session: Annotated[Column | None, setting("The column of the session. Null: the group, or any.", "session")] = None
    file: Annotated[
        Column | None,
        setting(
            "The column with the recording's file: its path below the source's folder or the end of it, without the "
            "suffix or with it; or the path of its folder, or the end of that.",
            "file",
        ),
    ] = None
    rows: Annotated[
        CsvRows | None,
        setting("The rows to read, for instance of one tier. Null: all.", {"column": "tier", "text": "activity"}),
    ] = None
    clock: Annotated[
        Literal["recording", "start"],
        setting("What times are counted from. recording: its time stamps; start: its first sample.", "start"),
    ] = "recording"
    offset_s: Annotated[float, setting("Seconds that are added to every time.", 1.5, "s")] = 0.0
    overlap: Annotated[
        Literal["unlabelled", "later"],
        setting(
            "The label where two intervals of different labels overlap. unlabelled: none; later: that of the interval "
            "that begins later.",
            "later",
        ),
    ] = "unlabelled"

    @model_validator(mode="after")
    def _is_clear(self) -> "CsvAnnotations":
        check_groups(self.files)
        if sum(each is not None for each in (self.end, self.duration, self.events)) != 1:
            raise ValueError("annotations: set one of end, duration or events")
        if "label" in groups_of(self.files):
            raise ValueError("files: a group `label` is not possible here")
        if self.clock == "start" and self.unit in {"iso8601", "strptime", "excel"}:
            raise ValueError("clock: dates cannot be counted from the first sample")
        return self
