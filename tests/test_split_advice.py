"""What a split cannot show is said before a training, with a setting that helps."""

from itertools import product

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modelreg.config import GivenSplit, Split, SubjectSplit, TimeSplit
from modelreg.data import quality, split_advice, splits
from modelreg.data.recording import Dataset, Recording, Signal
from modelreg.errors import InputError
from modelreg.records.data import PARTS, Limits, PartName, QualityFinding, SourceRecord
from modelreg.records.model import Channel

CLASSES = ("rest", "walk", "run")
SOURCE = SourceRecord(kind="csv", name="drawn", digest="0" * 64, license="", citation="")


def recording(subject: str, labels: list[int], part: PartName | None = None) -> Recording:
    """Return a recording of 100 samples for each label."""
    values = np.random.default_rng(0).normal(size=(100 * len(labels), 1)).astype(np.float32)
    found = np.repeat(labels, 100).astype(np.int32)
    return Recording(f"{subject}-1", subject, "1", {"watch": Signal(values, 50.0)}, found, part=part)


def dataset(*recordings: Recording) -> Dataset:
    """Return a set of three classes."""
    return Dataset((SOURCE,), (Channel(name="c", unit="V"),), ("watch",), CLASSES, 50.0, recordings)


def advice(split: Split, *recordings: Recording) -> list[QualityFinding]:
    """Return what is said of a split."""
    found = dataset(*recordings)
    present = split_advice.presence(found, split, 10)
    return list(split_advice.advise(quality.check_quality(found, Limits()), split, present))


def rules(found: list[QualityFinding]) -> list[str]:
    """Return their rules."""
    return [finding.rule for finding in found]


FOUR = [recording(f"s{n}", [0, 1, 2]) for n in range(4)]


def test_a_sound_split_needs_no_advice() -> None:
    """Every split has every class."""
    assert advice(SubjectSplit(test=1, validation=1), *FOUR) == []


def test_one_subject_is_said() -> None:
    """With the split that is possible."""
    (found,) = split_advice.advise(
        quality.check_quality(dataset(recording("anna", [0, 1]), recording("anna", [0])), Limits()), SubjectSplit(), {}
    )

    assert (found.rule, "split={by: time}" in found.next) == ("split.one-subject", True)


def test_one_recording_is_said_also_of_a_split_by_time() -> None:
    """Its metrics are those of one subject on one day."""
    found = advice(TimeSplit(by="time"), recording("anna", [0] * 6))

    assert rules(found) == ["split.one-recording"]


def test_a_class_of_one_subject_is_said() -> None:
    """It cannot be tested on another subject, and is not said to be missing as well."""
    (found,) = advice(SubjectSplit(test=1, validation=1), *[recording(f"s{n}", [0, 1]) for n in range(3)], FOUR[3])

    assert (found.rule, "'run'" in found.message) == ("split.class-one-subject", True)


def test_a_class_that_is_missing_in_a_split_is_said_with_a_better_split() -> None:
    """The setting can be pasted, and helps."""
    recordings = [recording(f"s{n}", [0, 1] if n > 2 else [0, 1, 2]) for n in range(6)]
    found = advice(SubjectSplit(test=2, validation=1), *recordings)
    better = SubjectSplit.model_validate(yaml.safe_load(found[0].next.split("'split=")[1][:-1]), strict=False)

    assert [finding.message for finding in found] == ["no validation sample of 'run'", "no test sample of 'run'"]
    assert advice(better, *recordings) == []


def test_a_split_by_time_that_misses_a_class() -> None:
    """The class is at the beginning only."""
    found = advice(TimeSplit(by="time"), *[recording(f"s{n}", [2, 0, 0, 0, 0, 0]) for n in range(3)])

    assert [finding.message for finding in found] == ["no validation sample of 'run'", "no test sample of 'run'"]
    assert '"by": "subject"' in found[0].next


def test_a_given_split_that_misses_a_class() -> None:
    """There is no other setting for it."""
    given_parts = [recording(part, [0, 1], part) for part in PARTS]
    found = advice(GivenSplit(by="given"), recording("s9", [2], "train"), *given_parts, recording("x", [2]))

    assert [finding.message for finding in found] == ["no validation sample of 'run'", "no test sample of 'run'"]


def test_two_subjects_can_be_split_by_time_only() -> None:
    """No split by subject has three parts."""
    with pytest.raises(InputError) as caught:
        split_advice.presence(dataset(*FOUR[:2]), SubjectSplit(test=1, validation=1), 10)
    (found,) = split_advice.findings_of(caught.value)

    assert (found.rule, found.next) == ("split.no-training", "--set 'split={by: time}'")


def test_recordings_that_are_too_short_for_a_split_by_time_are_one_cause() -> None:
    """It names all of them."""
    with pytest.raises(InputError) as caught:
        split_advice.presence(dataset(*FOUR), TimeSplit(by="time"), 100)
    (found,) = split_advice.findings_of(caught.value)

    assert (found.rule, found.recordings) == ("split.recording-too-short", ("s0-1", "s1-1", "s2-1", "s3-1"))


def test_a_gap_that_is_too_short_is_said_before_a_training() -> None:
    """As the training would refuse it."""
    with pytest.raises(InputError) as caught:
        split_advice.presence(dataset(*FOUR), TimeSplit(by="time", gap=5), 10)

    assert [problem.rule for problem in caught.value.problems] == ["split.gap-too-short"]


def test_three_subjects_need_small_splits() -> None:
    """One for each."""
    with pytest.raises(InputError) as caught:
        splits.assign({"a", "b", "c"}, SubjectSplit())

    assert caught.value.problems[0].next == "--set 'split={by: subject, test: 1, validation: 1}'"


HELD = st.dictionaries(
    st.integers(0, 30).map(str), st.sets(st.sampled_from(CLASSES), min_size=1), min_size=1, max_size=6
)


def complete(held: dict[str, set[str]], test: set[str], validation: set[str]) -> bool:
    """Return whether each split has each class of enough subjects; the definition."""
    train = held.keys() - test - validation
    for name in CLASSES:
        owners = {subject for subject in held if name in held[subject]}
        needed = [part for part, least in ((train, 1), (test, 2), (validation, 3)) if len(owners) >= least]
        if not all(part & owners for part in needed):
            return False
    return bool(train)


@given(held=HELD)
def test_a_better_split_is_found_if_there_is_one(held) -> None:
    """All splits with one test and one validation subject are tried."""
    found = split_advice.better_split(held, 1, 1)
    possible = [(a, b) for a, b in product(held, held) if a != b and complete(held, {a}, {b})]

    assert (found is None) == (not possible)
    if found:
        assert complete(held, set(found.test), set(found.validation))
