"""A release warns of tracked recordings, of subject ids that are names, and of data of unknown origin."""

import pytest

from modelreg.records.data import NOT_STATED, SourceRecord
from modelreg.release import from_run, privacy

CODES = ["s01", "p1", "subject-7", "user_12", "dog3", "12", "S7", "ab12", "participant 4", "subject-001", "x"]
NAMES = ["anna", "Anna_2", "bob smith", "müller", "s_anna", "李小龙"]


@pytest.mark.parametrize("subject", CODES)
def test_a_code_is_no_name(subject) -> None:
    """A short prefix and a number."""
    assert list(privacy.find_names([subject])) == []


@pytest.mark.parametrize("subject", NAMES)
def test_a_name_is_noticed(subject) -> None:
    """A word of three letters or more that is not a prefix of codes."""
    assert [notice.where for notice in privacy.find_names(["s01", subject])] == ["subject ids"]


@pytest.mark.parametrize("path", ["data/a.csv", "A.NPY", "old/x.tar.xz", "rec.parquet", "sub/b.mat"])
def test_tracked_recordings_are_noticed(path) -> None:
    """By their suffix."""
    assert [notice.where for notice in privacy.find_recordings(["README.md", path])] == [path]


@pytest.mark.parametrize("path", ["registry/m/v0.1.0/predictions.npz", "configs/a.csv", "notes.txt", "src.tar.gz"])
def test_other_files_are_not(path) -> None:
    """The registry's own arrays are checked elsewhere: they hold predictions."""
    assert list(privacy.find_recordings([path])) == []


def test_one_notice_for_all_files() -> None:
    """Ten thousand files are one cause."""
    assert len(list(privacy.find_recordings(f"data/{n}.csv" for n in range(10_000)))) == 1


@pytest.mark.parametrize(
    ("terms", "citation", "said"),
    [(NOT_STATED, NOT_STATED, "license and citation"), ("CC0-1.0", NOT_STATED, "citation"), ("CC0-1.0", "Us", None)],
)
def test_what_a_draft_left_open_is_noticed(terms, citation, said) -> None:
    """By source, before the data are published as somebody's."""
    source = SourceRecord(kind="csv", name="mine", digest="a" * 64, license=terms, citation=citation)
    found = [
        (notice.where, notice.message.partition(f" {NOT_STATED}")[0]) for notice in from_run.find_unstated([source])
    ]

    assert found == ([("data source mine", said)] if said else [])
