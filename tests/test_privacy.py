"""A release warns of recordings that git tracks and of subject ids that are names."""

import pytest

from modelreg.release import privacy

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
