"""Splits cannot leak, and planted leaks are found."""

from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from places import places

from modelreg.config import GivenSplit, SubjectSplit, TimeSplit
from modelreg.data import splits
from modelreg.data.recording import Recording, Signal
from modelreg.data.splits import find_leaks, natural, split
from modelreg.data.windows import cut
from modelreg.errors import InputError
from modelreg.records.data import PARTS, PartName

WINDOW = 10


def piece(
    subject: str, name: str = "", *, length: int = 100, start: int = 0, part: PartName | None = None
) -> Recording:
    """Return a recording whose values are its sample numbers."""
    values = np.arange(start, start + length, dtype=np.float32)[:, None]
    labels = np.zeros(length, dtype=np.int32)
    return Recording(name or f"{subject}-r", subject, "", {"watch": Signal(values, 50.0)}, labels, start, part)


def recordings_of(*subjects: str) -> list[Recording]:
    """Return two recordings of each subject."""
    return [piece(subject, f"{subject}-{i}") for subject in subjects for i in range(2)]


def subjects_of(parts: splits.Parts) -> dict[str, set[str]]:
    """Return the subjects of each split."""
    return {part: {recording.subject for recording in recordings} for part, recordings in parts.items()}


def problems_of(recordings: Sequence[Recording], settings: Any) -> list[tuple[str, str]]:
    """Return the problems of a split that cannot be made."""
    with pytest.raises(InputError) as caught:
        split(recordings, settings, WINDOW)
    return places(caught.value.problems)


NAMES = st.sets(st.from_regex("[a-b]?[0-9]{1,3}", fullmatch=True), min_size=1, max_size=9)


@given(names=NAMES, test=st.integers(1, 4), validation=st.integers(1, 4))
def test_by_subject_shares_no_subject(names: set[str], test: int, validation: int) -> None:
    """Splits share no subject, keep every recording, and have the configured number of subjects."""
    assume(len(names) > test + validation)
    recordings = recordings_of(*names)
    parts = split(recordings, SubjectSplit(test=test, validation=validation), WINDOW)
    whose = subjects_of(parts)

    assert not any(whose[one] & whose[other] for one, other in combinations(PARTS, 2))
    assert sorted(r.name for part in PARTS for r in parts[part]) == sorted(r.name for r in recordings)
    assert (len(whose["test"]), len(whose["validation"])) == (test, validation)


@given(names=NAMES)
def test_numbers_take_the_highest_ids(names: set[str]) -> None:
    """Test subjects are last in natural order, validation subjects before them."""
    assume(len(names) > 3)
    ordered = sorted(names, key=natural)

    assert subjects_of(split(recordings_of(*names), SubjectSplit(test=2, validation=1), WINDOW)) == {
        "train": {*ordered[:-3]},
        "validation": {ordered[-3]},
        "test": {*ordered[-2:]},
    }


def test_natural_order() -> None:
    """Numbers in names are compared as numbers."""
    assert sorted(["s10", "s9", "s1", "s01", "10", "9", "a", "s9b"], key=natural) == [
        "9", "10", "a", "s01", "s1", "s9", "s9b", "s10",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "train", "validation", "test"),
    [
        (SubjectSplit(), {"s1"}, {"s2"}, {"s3", "s9", "s10"}),
        (SubjectSplit(test=("s1",), validation=2), {"s2", "s3"}, {"s9", "s10"}, {"s1"}),
        (SubjectSplit(test=1, validation=("s10", "s9")), {"s1", "s2"}, {"s9", "s10"}, {"s3"}),
        (SubjectSplit(test=("s1", "s10"), validation=("s2",)), {"s3", "s9"}, {"s2"}, {"s1", "s10"}),
    ],
)
def test_lists_name_subjects(settings: SubjectSplit, train: set[str], validation: set[str], test: set[str]) -> None:
    """A list takes the subjects that it names; a number takes the highest of the others."""
    parts = split(recordings_of("s10", "s9", "s1", "s3", "s2"), settings, WINDOW)

    assert subjects_of(parts) == {"train": train, "validation": validation, "test": test}


def test_order_is_kept() -> None:
    """Within a split, recordings keep the order of the source."""
    parts = split(recordings_of("s4", "s2", "s9", "s7", "s1"), SubjectSplit(test=1), WINDOW)

    assert [r.name for r in parts["train"]] == ["s4-0", "s4-1", "s2-0", "s2-1", "s1-0", "s1-1"]


@pytest.mark.parametrize(
    ("settings", "problems"),
    [
        (SubjectSplit(test=2), [("split", "no-training")]),
        (SubjectSplit(test=7), [("split", "no-training")]),
        (SubjectSplit(test=("s1", "s2"), validation=("s3",)), [("split", "no-training")]),
        (
            SubjectSplit(test=("x2", "x10", "s1"), validation=("s1", "y")),
            [
                ("split.test", "subject-unknown"),
                ("split.test", "subject-unknown"),
                ("split.validation", "subject-unknown"),
                ("split", "subject-shared"),
            ],
        ),
    ],
)
def test_by_subject_problems(settings: SubjectSplit, problems: list[tuple[str, str]]) -> None:
    """Unknown subjects, subjects in two splits and no training subject are all listed."""
    found = problems_of(recordings_of("s1", "s2", "s3"), settings)

    assert found == [(where, f"split.{rule}") for where, rule in problems]


def test_an_unknown_subject_has_the_nearest_one() -> None:
    """In the next step; the message has all subjects."""
    with pytest.raises(InputError) as caught:
        split(recordings_of("s01", "s02", "s03"), SubjectSplit(test=("s1",)), WINDOW)

    (problem,) = caught.value.problems
    assert (problem.next, "'s02'" in problem.message) == ("did you mean 's01'?", True)


TIMES = {
    "lengths": st.lists(st.integers(1, 400), min_size=1, max_size=3),
    "window": st.integers(1, 40),
    "gap": st.none() | st.integers(1, 80),
    "test": st.floats(0.05, 0.5),
    "validation": st.floats(0.05, 0.45),
}


def split_by_time(
    lengths: list[int], window: int, gap: int | None, test: float, validation: float
) -> tuple[list[Recording], splits.Parts]:
    """Split recordings by time where that can be done."""
    recordings = [piece("s1", f"r{i}", length=length) for i, length in enumerate(lengths)]
    try:
        return recordings, split(recordings, TimeSplit(by="time", test=test, validation=validation, gap=gap), window)
    except InputError:
        smallest = min(int((n - 2 * (gap or window)) * min(test, validation, 1 - test - validation)) for n in lengths)
        assert (gap or window) < window or smallest < window
        assume(False)
        raise


@given(**TIMES)
def test_by_time_shares_no_sample(
    lengths: list[int], window: int, gap: int | None, test: float, validation: float
) -> None:
    """No sample of a window of one part lies within a window's length of a sample of another part's window."""
    recordings, parts = split_by_time(lengths, window, gap, test, validation)
    for number in range(len(recordings)):
        reach = []
        for part in PARTS:
            windows = cut([parts[part][number]], classes="a", window=window, hop=1, labels="pure")
            reach.append((windows.x.min(), windows.x.max(), windows.start.min(), windows.start.max()))
        for earlier, later in pairwise(reach):
            assert later[0] - earlier[1] > window
        assert all(first == start and last == end + window - 1 for first, last, start, end in reach)


@given(**TIMES)
def test_by_time_covers_the_recording(
    lengths: list[int], window: int, gap: int | None, test: float, validation: float
) -> None:
    """Three pieces and two gaps are the recording, in the order train, validation, test."""
    recordings, parts = split_by_time(lengths, window, gap, test, validation)
    for recording, *pieces in zip(recordings, *(parts[part] for part in PARTS), strict=True):
        ends = [each.start + len(each.labels) for each in pieces]

        assert [each.start for each in pieces] == [0, *(end + (gap or window) for end in ends[:2])]
        assert ends[2] == len(recording.labels)


@given(**TIMES)
def test_by_time_gives_the_shares(
    lengths: list[int], window: int, gap: int | None, test: float, validation: float
) -> None:
    """Test and validation have their shares of what the gaps leave."""
    recordings, parts = split_by_time(lengths, window, gap, test, validation)
    for number, recording in enumerate(recordings):
        usable = len(recording.labels) - 2 * (gap or window)
        found = [len(parts[part][number].labels) for part in ("test", "validation")]

        assert found == pytest.approx([usable * test, usable * validation], abs=1)


def test_by_time_cuts_values_with_labels() -> None:
    """A piece of a piece counts from the original recording, and its values are those of its samples."""
    parts = split([piece("s1", length=200, start=1000)], TimeSplit(by="time"), WINDOW)
    test = parts["test"][0]

    assert test.start == 1164
    np.testing.assert_array_equal(test.signals["watch"].values[:, 0], np.arange(1164, 1200))


def test_by_time_problems() -> None:
    """A gap below one window, recordings that are too short and clocks that differ are all listed."""
    recordings = [
        piece("s1", "long", length=900),
        piece("s1", "short", length=60),
        piece("s1", "tiny", length=5),
        Recording("odd", "s1", "", {"watch": Signal(np.zeros((9, 1), np.float32), 50.0)}, np.zeros(900, np.int32)),
    ]

    assert problems_of(recordings, TimeSplit(by="time", gap=9)) == [
        ("odd", "recordings.clocks-differ"),
        ("split.gap", "split.gap-too-short"),
        ("short", "split.recording-too-short"),
        ("tiny", "split.recording-too-short"),
    ]


def test_given_parts() -> None:
    """Recordings are in the splits of their source."""
    recordings = [piece("s1", part="test"), piece("s2", part="train"), piece("s3", part="validation")]

    assert subjects_of(split(recordings, GivenSplit(by="given"), WINDOW)) == {
        "train": {"s2"},
        "validation": {"s3"},
        "test": {"s1"},
    }


def test_given_problems() -> None:
    """Recordings without a split and splits without a recording are all listed."""
    recordings = [piece("s1", part="train"), piece("s2"), piece("s3", part="test"), piece("s4")]

    assert problems_of(recordings, GivenSplit(by="given")) == [
        ("s2-r", "split.not-given"),
        ("s4-r", "split.not-given"),
        ("validation", "split.empty"),
    ]


def test_given_by_a_source_without_splits() -> None:
    """It is one problem for all recordings."""
    assert problems_of(recordings_of("s1", "s2"), GivenSplit(by="given")) == [("split.by", "split.not-given")]


def test_given_shared_subject_is_refused() -> None:
    """A source with one subject in two splits is refused."""
    recordings = [
        piece("s1", "a", part="train"),
        piece("s2", "b", part="validation"),
        piece("s1", "c", part="test"),
        piece("s2", "d", part="test"),
    ]

    assert problems_of(recordings, GivenSplit(by="given")) == [
        ("s1", "split.subject-shared"),
        ("s2", "split.subject-shared"),
    ]


def leaks(by: Any, gap: int = 0, **parts: list[Recording]) -> list[tuple[str, str]]:
    """Return the leaks of splits made by hand."""
    return places(find_leaks(parts, by, gap))  # type: ignore[arg-type]


@pytest.mark.parametrize("by", ["subject", "given"])
def test_planted_subject_is_found(by: str) -> None:
    """One subject in two splits is a leak, also with different recordings."""
    found = leaks(by, train=recordings_of("s1", "s2"), validation=recordings_of("s3"), test=[piece("s2", "other")])

    assert found == [("s2", "split.subject-shared")]


@pytest.mark.parametrize(
    ("start", "leaking"), [(0, True), (99, True), (100, True), (109, True), (110, False), (300, False)]
)
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("origin", [0, 75])
def test_planted_overlap_is_found(start: int, leaking: bool, order: int, origin: int) -> None:
    """Pieces of one recording must be a gap apart, and must not overlap, wherever in it they are."""
    pieces = [piece("s1", start=origin, length=100), piece("s1", start=origin + start, length=50)][::order]
    found = leaks("time", WINDOW, train=pieces[:1], test=pieces[1:])

    assert bool(found) == leaking


@pytest.mark.parametrize(
    ("subjects", "step"), [(2, "by: time"), (3, "by: subject, test: 1"), (4, "by: subject, test: 1")]
)
def test_a_split_that_needs_too_many_subjects_names_a_possible_one(subjects: int, step: str) -> None:
    """By subject from three of them on."""
    with pytest.raises(InputError) as caught:
        splits.assign([f"s{n}" for n in range(subjects)], SubjectSplit(test=3, validation=1))

    assert step in caught.value.problems[0].next


def test_planted_overlap_by_subject_is_found() -> None:
    """The same samples under two subjects are found by their recording."""
    found = leaks("subject", train=[piece("s1", "r")], test=[piece("s2", "r", start=99), piece("s2", "q")])

    assert found == [("r", "split.samples-shared")]


@given(names=NAMES, victim=st.randoms(use_true_random=False))
def test_any_planted_recording_is_found(names: set[str], victim: Any) -> None:
    """A recording of one split in another one is found."""
    assume(len(names) > 4)
    parts = split(recordings_of(*names), SubjectSplit(), WINDOW)
    source, target = victim.sample(PARTS, 2)
    planted = victim.choice(parts[source])

    assert leaks("subject", **{**parts, target: [*parts[target], planted]})  # type: ignore[arg-type]


def test_split_checks_for_leaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong split raises instead of returning."""
    shared = {part: tuple(recordings_of("s1")) for part in PARTS}
    monkeypatch.setattr(splits, "_by_subject", lambda *_: shared)

    assert ("s1", "split.subject-shared") in problems_of(recordings_of("s1"), SubjectSplit())


@given(names=NAMES, validation=st.integers(1, 3))
def test_leave_one_out_tests_each_subject_once(names: set[str], validation: int) -> None:
    """Each fold tests one subject, and all folds together test each subject once."""
    assume(len(names) >= validation + 2)

    assert [fold.test for fold in splits.leave_one_out(names, validation)] == [(n,) for n in sorted(names, key=natural)]


@given(names=NAMES, validation=st.integers(1, 3))
def test_every_fold_can_be_split(names: set[str], validation: int) -> None:
    """No fold shares a subject between its splits, and each has the configured number of validation subjects."""
    assume(len(names) >= validation + 2)
    folds = [
        subjects_of(split(recordings_of(*names), fold, WINDOW)) for fold in splits.leave_one_out(names, validation)
    ]

    assert {len(fold["validation"]) for fold in folds} == {validation}


def test_leave_one_out_needs_a_training_subject() -> None:
    """Two subjects are not enough."""
    with pytest.raises(InputError) as caught:
        splits.leave_one_out(["a", "b"])

    assert places(caught.value.problems) == [("subjects", "split.too-few-subjects")]


def test_leave_one_out_by_hand() -> None:
    """The next two in the ring of s1, s2, s10, s11 validate."""
    found = splits.leave_one_out(["s10", "s11", "s2", "s1"], validation=2)

    assert [(fold.test, fold.validation) for fold in found] == [
        (("s1",), ("s2", "s10")),
        (("s2",), ("s10", "s11")),
        (("s10",), ("s11", "s1")),
        (("s11",), ("s1", "s2")),
    ]


@pytest.mark.parametrize(("folds", "validation", "fits"), [(3, 2, True), (3, 3, False), (2, 1, True), (2, 2, False)])
def test_folds_leave_one_subject_for_training(folds, validation, fits) -> None:
    """Of four or five subjects, at the limit."""
    subjects = [f"s{number}" for number in range(5 if folds == 3 else 4)]
    if fits:
        assert len(splits.by_folds(subjects, folds, validation)) == folds
    else:
        with pytest.raises(InputError):
            splits.by_folds(subjects, folds, validation)
