"""pseudonyms.json: which pseudonym each subject has. It is never part of a run, a version or a report."""

from typing import Literal

from modelreg.records.base import Name, Record


class PseudonymMap(Record):
    """.modelreg/pseudonyms.json of a registry repository."""

    schema_version: Literal[1] = 1
    subjects: dict[Name, Name]  # id -> pseudonym
