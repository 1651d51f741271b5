"""Paths are divided into what they share and what varies, and roles are given to what varies."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.data.draft import paths, roles

NAMED = {
    "a folder of a name, an activity and a date": (
        ["anna/walk-2024-05-07_08-30-00/Acc.csv", "ben/rest-2024-05-07_08-30-00/Acc.csv"],
        r"(?P<subject>[a-z]+)/(?P<label>[a-z]+)-[^/]+/Acc\.csv",
    ),
    "a number after the name": (
        ["walk/anna1.csv", "rest/ben1.csv"],
        r"(?P<label>[a-z]+)/(?P<subject>[a-z]+)(?P<session>\d+)\.csv",
    ),
    "words without marks between them": (
        ["Anna/WalkFrontPocket.csv", "Ben/RestFrontPocket.csv"],
        r"(?P<subject>[A-Za-z]+)/(?P<label>[A-Za-z]+)FrontPocket\.csv",
    ),
    "numbers after words that name them": (
        ["wlk_7/sub_1.csv", "sit_5/sub_2.csv"],
        r"(?P<label>[a-z]+)_(?P<session>\d+)/sub_(?P<subject>\d+)\.csv",
    ),
    "an activity of several words": (
        ["anna_walking_upstairs.csv", "anna_sitting.csv", "ben_sitting.csv"],
        r"(?P<subject>[a-z]+)_(?P<label>[^/]+)\.csv",
    ),
    "an activity of several words in front": (
        ["walking_upstairs_anna.csv", "sitting_anna.csv", "sitting_ben.csv"],
        r"(?P<label>[^/]+)_(?P<subject>[a-z]+)\.csv",
    ),
    "an activity of two capitalized words": (
        ["a/WalkFast.csv", "b/RunSlow.csv"],
        r"(?P<subject>[a-z]+)/(?P<label>[A-Za-z]+)\.csv",
    ),
    "a letter before a number": (
        ["s01/run_e1.csv", "s02/run_e2.csv", "s02/walk_e1.csv"],
        r"(?P<subject>s\d+)/(?P<label>[a-z]+)_(?P<session>e\d+)\.csv",
    ),
    "a group follows from its members": (
        ["left/anna/walk.csv", "left/ben/run.csv", "right/cleo/walk.csv"],
        r"[a-z]+/(?P<subject>[a-z]+)/(?P<label>[a-z]+)\.csv",
    ),
    "one subject, by a word": (["sub_1/walk.csv", "sub_1/run.csv"], r"sub_(?P<subject>\d+)/(?P<label>[a-z]+)\.csv"),
    "dates tell sessions apart": (
        ["s1/walk_2024-05-07.csv", "s1/walk_2024-05-08.csv", "s2/run_2024-05-08.csv"],
        r"(?P<subject>s\d+)/(?P<label>[a-z]+)_(?P<session>[^/]+)\.csv",
    ),
    "names that are not ASCII": (["José/walk.csv", "Ann/run.csv"], r"(?P<subject>[^\W\d_]+)/(?P<label>[a-z]+)\.csv"),
    "a code of an activity": (
        ["p1_task3.csv", "p2_task1.csv"],
        r"(?P<subject>p\d+)_task(?P<label>\d+)\.csv",
    ),
    "capitals": (["AB/walk.csv", "CD/run.csv"], r"(?P<subject>[A-Z]+)/(?P<label>[a-z]+)\.csv"),
    "letters and digits": (["a1b/walk.csv", "c/run.csv"], r"(?P<subject>[^\W_]+)/(?P<label>[a-z]+)\.csv"),
    "a text that files share": (
        ["s1/alpha.csv", "s2/alpha.csv", "s1/beta.csv", "s2/beta.csv"],
        r"(?P<subject>s\d+)/(?P<label>[a-z]+)\.csv",
    ),
    "two parts that together are a session": (
        ["s1/walk/a/x.csv", "s1/walk/a/y.csv", "s1/walk/b/x.csv", "s1/walk/b/y.csv", "s2/run/a/x.csv"],
        r"(?P<subject>s\d+)/(?P<label>[a-z]+)/(?P<session>[a-z]+/[a-z]+)\.csv",
    ),
}


@pytest.mark.parametrize(("found", "pattern"), NAMED.values(), ids=NAMED)
def test_the_pattern_of_paths(found, pattern) -> None:
    """With the groups that the reader of recordings expects."""
    shape = paths.shapes(found)[0]

    assert shape.pattern(roles.assign(shape, ["subject", "label"], {}).roles) == pattern


UNKNOWN = {
    "numbers in one file each": (["1.csv", "2.csv"], "subject", "each in one file only"),
    "several texts": (["ab/foo.csv", "ab/bar.csv", "cd/foo.csv", "cd/bar.csv"], "subject", "may be the subject"),
    "nothing": (["all.csv"], "subject", "differs between subjects"),
    "no activity": (["annaRAW.csv", "benRAW.csv"], "label", "known as an activity"),
}


@pytest.mark.parametrize(("found", "role", "text"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_paths_do_not_say(found, role, text) -> None:
    """A sentence for the user instead of a guess."""
    names = roles.assign(paths.shapes(found)[0], ["subject", "label"], {})

    assert text in names.unknown[role]


def test_known_subjects_are_found_again() -> None:
    """As annotations name them."""
    shape = paths.shapes(["xy/ab.csv", "xy/cd.csv", "zz/ab.csv"])[0]
    names = roles.assign(shape, ["subject"], {"subject": frozenset({"ab", "cd"})})

    assert names.roles[1] == "subject"


def test_numbers_that_files_share_are_a_subject() -> None:
    """As the only ones."""
    shape = paths.shapes(["12/walk.csv", "12/run.csv", "13/walk.csv"])[0]

    assert roles.assign(shape, ["subject", "label"], {}).roles == {0: "subject", 1: "label"}


def test_parts_that_tell_recordings_apart_only_together_and_not_side_by_side() -> None:
    """A group of a pattern cannot have both without the part between them: no session is named."""
    shape = paths.shapes([f"{a}/s{n}/{b}.csv" for a in ("foo", "bar") for n in (1, 2) for b in ("left", "right")])[0]

    assert roles.assign(shape, ["subject"], {}).roles == {1: "subject"}


def test_the_most_common_depth_comes_first() -> None:
    """Files in other depths are other shapes."""
    found = paths.shapes(["a.csv", "s1/a.csv", "s2/a.csv"])

    assert [len(shape.paths) for shape in found] == [2, 1]


@pytest.mark.parametrize("path", ["data/walk.csv", "walk.csv"])
def test_a_folder_without_a_meaning_is_no_subject(path) -> None:
    """`data` names nobody."""
    shape = paths.shapes([path, path.replace("walk", "run")])[0]

    assert paths.with_folder(shape) is None


WORDS = st.sampled_from(
    ["anna", "Ben", "s01", "P7", "walk", "RUN", "2024-05-07", "a.b", "x (1)", "+", "{}", "é", "日本", "\u202e"]
)
PATHS = st.lists(
    st.lists(st.builds("_".join, st.lists(WORDS, min_size=1, max_size=3)), min_size=1, max_size=3).map("/".join),
    min_size=1,
    max_size=8,
    unique=True,
)


@given(PATHS, st.lists(st.sampled_from(["subject", "label"]), unique=True))
def test_a_pattern_matches_every_path(found, needed) -> None:
    """Whatever they are called; and each group has what its slots have."""
    for shape in paths.shapes(found):
        names = roles.assign(shape, needed, {})
        compiled = re.compile(shape.pattern(names.roles))

        for row, path in enumerate(shape.paths):
            match = compiled.fullmatch(path)
            assert match
            for number, role in names.roles.items():
                assert shape.slots[number].values[row] in match[role]
        assert set(compiled.groupindex) == set(names.roles.values())
