"""Joined sources: labels, channels and devices under common names; every wrong name with its place."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import places

from modelreg import config
from modelreg.config import DataSettings, TrainConfig
from modelreg.data import merge_sources, splits
from modelreg.data.recording import UNLABELLED, Dataset, Recording, Signal
from modelreg.errors import InputError, Problem
from modelreg.records.data import QualityFinding, SourceRecord
from modelreg.records.model import Channel, Gravity

CHANNELS = (Channel(name="x", unit="g"), Channel(name="y", unit="g"), Channel(name="z", unit="g"))


def dataset(kind: str = "dsads", subjects=("p1", "p2"), rate: float = 25.0) -> Dataset:
    """Two subjects, three classes in a row, two devices."""
    recordings = tuple(
        Recording(
            name=f"{subject}-1",
            subject=subject,
            session="1",
            signals={d: Signal(np.arange(18, dtype=np.float32).reshape(6, 3) + n, rate) for n, d in enumerate("AB")},
            labels=np.array([0, 0, 1, 1, 2, UNLABELLED], np.int32),
        )
        for subject in subjects
    )
    source = SourceRecord(kind=kind, name=kind, digest="a" * 64, license="", citation="")
    return Dataset((source,), CHANNELS, ("A", "B"), ("sit", "stand", "walk"), rate, recordings)


def settings(*sources: dict, **parts) -> DataSettings:
    """Data settings of sources that are read as given."""
    listed = [{"kind": "dsads", "path": "p", **source} for source in sources or [{}]]
    return config.settle({"data": {"sources": listed, **parts}}, TrainConfig, "c").data


def joined(*sources: dict, datasets: list[Dataset] | None = None, **parts) -> Dataset:
    """Join the example once for each source."""
    return merge_sources.join(datasets or [dataset() for _ in sources or [{}]], settings(*sources, **parts))


def problems_of(*sources: dict, datasets: list[Dataset] | None = None, **parts) -> list[Problem]:
    """The problems of sources that are refused."""
    with pytest.raises(InputError) as caught:
        joined(*sources, datasets=datasets, **parts)
    return list(caught.value.problems)


def test_without_maps_nothing_changes() -> None:
    """The arrays are the same objects."""
    made = dataset()
    found = merge_sources.join([made], settings())

    assert all(
        new.signals[d].values is old.signals[d].values
        for new, old in zip(found.recordings, made.recordings, strict=True)
        for d in "AB"
    )


def test_what_every_reader_found_is_kept() -> None:
    """Of all sources, in their order."""
    one, two = (
        QualityFinding(rule="csv.annotation-unused", level="problem", where="annotations", cause=name, message=name)
        for name in ("one", "two")
    )
    made = [replace(dataset(subjects=(name,)), findings=(each,)) for name, each in (("p1", one), ("p2", two))]

    assert joined({}, {}, datasets=made).findings == (one, two)


def test_labels_merge_and_drop() -> None:
    """Two labels become one class; samples of a null label are unlabelled."""
    made = replace(dataset(), classes=("sit", "stand", "walk", "run"))
    found = joined({"labels": {"sit": "rest", "stand": "rest", "walk": None, "run": "go"}}, datasets=[made])

    assert (found.classes, found.recordings[0].labels.tolist()) == (("rest", "go"), [0, 0, 0, 0, -1, -1])


def test_a_recording_without_a_label_left_is_left_out() -> None:
    """It would have no window."""
    made = dataset()
    silent = replace(made.recordings[0], labels=np.full(6, 2, np.int32))
    made = replace(made, recordings=(silent, made.recordings[1]))
    found = joined({"labels": {"sit": "rest", "stand": "up", "walk": None}}, datasets=[made])

    assert [recording.subject for recording in found.recordings] == ["p2"]


def test_channels_are_chosen_renamed_scaled_and_ordered() -> None:
    """In the order of the list."""
    up = {"channel": "z", "name": "up", "unit": "m/s2", "scale": 9.80665}
    found = joined({"channels": [up, {"channel": "x", "scale": -1.0}]})

    np.testing.assert_allclose(found.recordings[0].signals["A"].values[:2], [[2 * 9.80665, 0], [5 * 9.80665, -3]])


def test_channels_have_their_new_names_and_units() -> None:
    """A name or unit that is left out is unchanged."""
    found = joined({"channels": [{"channel": "z", "name": "up", "unit": "m/s2"}, {"channel": "x"}]})

    assert found.channels == (Channel(name="up", unit="m/s2"), Channel(name="x", unit="g"))


def stating(gravity: Gravity | None, subject: str) -> Dataset:
    """The example with one subject, of which it is stated whether gravity is part of x and y."""
    x, y, z = CHANNELS
    channels = (*(c.model_copy(update={"gravity": gravity}) for c in (x, y)), z)
    return replace(dataset(subjects=(subject,)), channels=channels)


def test_a_channel_under_a_new_name_keeps_its_gravity() -> None:
    """Also in another unit."""
    up = {"channel": "x", "name": "up", "unit": "m/s2", "scale": 9.80665}
    found = joined({"channels": [up]}, datasets=[stating("included", "p1")])

    assert found.channels == (Channel(name="up", unit="m/s2", gravity="included"),)


@pytest.mark.parametrize(
    ("stated", "expected"),
    [(("included", "included"), "included"), (("included", None), None), ((None, "removed"), None)],
)
def test_gravity_is_stated_if_every_source_states_it(stated, expected) -> None:
    """Nothing is known of the recordings of a source that does not."""
    found = joined({}, {}, datasets=[stating(gravity, f"p{n}") for n, gravity in enumerate(stated)])

    assert [channel.gravity for channel in found.channels] == [expected, expected, None]


@pytest.mark.parametrize("stated", [("included", "removed"), (None, "included", "removed")])
def test_accelerations_with_and_without_gravity_are_not_joined(stated) -> None:
    """They are two quantities of one name and unit."""
    datasets = [stating(gravity, f"p{n}") for n, gravity in enumerate(stated)]

    assert places(problems_of(*[{}] * len(stated), datasets=datasets)) == [("data.sources", "sources.differ")]


def test_devices_are_chosen_and_renamed() -> None:
    """In the order of the list."""
    found = joined({"devices": [{"device": "B", "name": "collar"}, {"device": "A", "name": "phone"}]})

    assert (found.devices, list(found.recordings[0].signals)) == (("collar", "phone"), ["collar", "phone"])


def test_recordings_are_dropped_by_their_whole_name() -> None:
    """A part of the name is not enough."""
    found = joined({"drop": ["p1", "p2-."]})

    assert [recording.name for recording in found.recordings] == ["p1-1"]


def test_two_sources_become_one() -> None:
    """Under common names; classes in the order in which they are first named."""
    other = replace(dataset(subjects=("s1",)), classes=("gehen", "sitzen", "stehen"))
    maps = {"labels": {"gehen": "walk", "sitzen": "sit", "stehen": "stand"}}
    found = joined({}, maps, datasets=[dataset(), other])

    assert (found.classes, found.recordings[-1].labels.tolist(), len(found.sources)) == (
        ("sit", "stand", "walk"),
        [2, 2, 0, 0, 1, -1],
        2,
    )


def test_the_order_of_classes_can_be_given() -> None:
    """Labels follow it."""
    found = joined(classes=["walk", "stand", "sit"])

    assert found.recordings[0].labels.tolist() == [2, 2, 1, 1, 0, -1]


def test_a_prefix_keeps_subjects_apart() -> None:
    """Equal ids of two sources are different subjects."""
    found = joined({"prefix": "a-"}, {"prefix": "b-"})

    assert [recording.subject for recording in found.recordings] == ["a-p1", "a-p2", "b-p1", "b-p2"]


def test_one_subject_of_two_sources_is_in_one_split() -> None:
    """Without a prefix, equal ids are one subject."""
    other = replace(
        dataset(subjects=("p1", "p3", "p4")),
        recordings=tuple(replace(r, name=f"other {r.name}") for r in dataset(subjects=("p1", "p3", "p4")).recordings),
    )
    found = joined({}, {}, datasets=[dataset(), other])
    parts = splits.split(found.recordings, config.SubjectSplit(test=("p1",), validation=1), 2)

    assert {recording.name for recording in parts["test"]} == {"p1-1", "other p1-1"}


def test_the_rate_is_that_of_the_settings() -> None:
    """Recordings are resampled to it."""
    assert joined({}, {"prefix": "x"}, datasets=[dataset(), dataset(rate=50.0)], rate_hz=20.0).rate_hz == 20.0


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ({"labels": {"sit": "a", "stand": "b", "wlak": "c"}}, ("labels.wlak", "name-unknown")),
        ({"labels": {"sit": "a", "stand": "b"}}, ("labels", "label-unmapped")),
        ({"channels": [{"channel": "w"}]}, ("channels.w", "name-unknown")),
        ({"devices": [{"device": "C", "name": "c"}]}, ("devices.C", "name-unknown")),
        ({"channels": [{"channel": "x", "name": "a"}, {"channel": "y", "name": "a"}]}, ("channels", "name-twice")),
        ({"devices": [{"device": "A", "name": "a"}, {"device": "B", "name": "a"}]}, ("devices", "name-twice")),
        ({"drop": [".*"]}, ("drop", "all-dropped")),
    ],
)
def test_a_name_that_does_not_fit_has_its_place(source, problem) -> None:
    """As the first of the problems."""
    where, rule = problem

    assert places(problems_of(source))[0] == (f"data.sources.0.{where}", f"sources.{rule}")


def test_an_unknown_name_has_the_nearest_one() -> None:
    """In the next step; the message has those of the source."""
    problem, *_ = problems_of({"labels": {"sit": "a", "stand": "b", "wlak": "c"}})

    assert (problem.next, "'stand'" in problem.message) == ("did you mean 'walk'?", True)


@pytest.mark.parametrize(
    ("other", "parts", "problem"),
    [
        (
            {"prefix": "x", "devices": [{"device": "A", "name": "a"}, {"device": "B", "name": "B"}]},
            {},
            ("data.sources.1.devices", "sources.differ"),
        ),
        ({"prefix": "x", "channels": [{"channel": "x"}]}, {}, ("data.sources.1.channels", "sources.differ")),
        ({}, {}, ("data.sources", "sources.recording-twice")),
        ({"prefix": "x"}, {"classes": ["sit", "stand"]}, ("data.classes", "sources.classes-differ")),
        ({"prefix": "x"}, {"classes": ["sit", "stand", "walk", "run"]}, ("data.classes", "sources.classes-differ")),
        ({"prefix": "x"}, {"classes": ["sit", "stand", "walk", "sit"]}, ("data.classes", "sources.name-twice")),
    ],
)
def test_sources_that_do_not_fit_together_are_refused(other, parts, problem) -> None:
    """With the setting that differs."""
    assert places(problems_of({}, other, **parts)) == [problem]


def test_unequal_rates_need_a_common_one() -> None:
    """Recordings are not resampled without a setting."""
    (problem,) = problems_of({}, {"prefix": "x"}, datasets=[dataset(), dataset(rate=50.0)])

    assert (problem.where, problem.rule, "25, 50 Hz" in problem.message) == (
        "data.rate_hz",
        "sources.rates-differ",
        True,
    )


def test_windows_do_not_join_recordings() -> None:
    """Their time is not known."""
    found = problems_of({}, {"prefix": "x"}, datasets=[dataset(), dataset(kind="npy")])

    assert places(found) == [("data.sources", "sources.npy-mixed")]


def test_the_problems_of_all_sources_come_at_once() -> None:
    """Each with its number."""
    found = problems_of({"devices": [{"device": "C", "name": "c"}]}, {"devices": [{"device": "D", "name": "d"}]})

    assert [problem.where for problem in found] == ["data.sources.0.devices.C", "data.sources.1.devices.D"]


def test_a_bad_pattern_is_refused_in_the_configuration() -> None:
    """Before any recording is read."""
    with pytest.raises(InputError) as caught:
        settings({"drop": ["("]})

    assert places(caught.value.problems) == [("c: data.sources.0.drop.0", "config.invalid-value")]


def test_a_scale_of_zero_is_refused() -> None:
    """Every value would be 0."""
    with pytest.raises(InputError) as caught:
        settings({"channels": [{"channel": "x", "scale": 0.0}]})

    assert places(caught.value.problems) == [("c: data.sources.0.channels.0.scale", "config.invalid-value")]


def test_the_sample_joins_under_its_own_names() -> None:
    """End to end, by a configuration."""
    from modelreg.data import preparation
    from modelreg.data.cache import Reading

    maps = {"labels": {name: "move" if name in ("PEN", "ABD") else "other" for name in _sample_classes()}}
    chosen = config.settle({"data": {"sources": [{"kind": "sample", **maps}]}}, TrainConfig, "c")

    assert preparation.prepare(chosen, Reading(Path())).classes == ("move", "other")


def _sample_classes() -> tuple[str, ...]:
    from modelreg.data.sources import sample

    return sample.CLASSES


@pytest.mark.parametrize("devices", [["B", "A"], ["B"]])
def test_labels_stay_with_the_time_at_which_they_were_given(devices) -> None:
    """They are on the first device's clock: if another device is first, they are moved to its clock."""
    time = np.arange(6) / 25
    made = dataset()
    late = {"A": replace(made.recordings[0].signals["A"], time=time), "B": Signal(np.ones((6, 3)), 25.0, time + 0.08)}
    made = replace(made, recordings=(replace(made.recordings[0], signals=late),))
    maps = {"devices": [{"device": name, "name": name} for name in devices]}

    assert joined(maps, datasets=[made]).recordings[0].labels.tolist() == [1, 1, 2, -1, -1, -1]


def test_the_rate_is_that_of_the_devices_that_stay() -> None:
    """Not that of a device that is left out."""
    made = dataset()
    mixed = tuple(
        replace(r, signals={"A": r.signals["A"], "B": replace(r.signals["B"], rate_hz=50.0)}) for r in made.recordings
    )
    found = joined({"devices": [{"device": "B", "name": "b"}]}, datasets=[replace(made, recordings=mixed)])

    assert found.rate_hz == 50.0


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ({"channels": [{"channel": "x"}, {"channel": "x", "name": "again"}]}, (".0.channels.x", "name-twice")),
        ({"devices": [{"device": "A", "name": "a"}, {"device": "A", "name": "b"}]}, (".0.devices.A", "name-twice")),
        ({"prefix": " "}, (".0.prefix", "prefix")),
        ({"labels": {"sit": None, "stand": None, "walk": None}}, (".0.labels", "all-dropped")),
        ({"labels": {"sit": "a", "stand": "a", "walk": "a"}}, ("", "single-class")),
    ],
)
def test_an_invalid_map_is_refused(source, problem) -> None:
    """One problem, with its place."""
    where, rule = problem

    assert places(problems_of(source)) == [(f"data.sources{where}", f"sources.{rule}")]


def test_a_prefix_may_not_make_names_too_long() -> None:
    """A dropped recording needs no name."""
    made = dataset(subjects=("p" * 90, "q"))

    assert places(problems_of({"prefix": "x" * 40}, datasets=[made])) == [("data.sources.0.prefix", "sources.prefix")]
    assert joined({"prefix": "x" * 40, "drop": ["p+-1"]}, datasets=[made]).recordings[0].subject == "x" * 40 + "q"


def test_values_beyond_float32_are_missing() -> None:
    """They become infinite, which the quality check finds."""
    found = joined({"channels": [{"channel": "y", "scale": 1e300}]})

    assert np.isposinf(found.recordings[0].signals["A"].values).all()


@given(
    chosen=st.permutations("xyz"),
    count=st.integers(1, 3),
    scales=st.lists(st.sampled_from([-1, 1, 0.5, 2]), min_size=3),
)
def test_any_choice_of_channels_is_numpys(chosen, count, scales) -> None:
    """The columns by name, times their scales."""
    listed = [{"channel": name, "scale": float(scale)} for name, scale in zip(chosen[:count], scales, strict=False)]
    found = joined({"channels": listed})
    values = dataset().recordings[0].signals["B"].values

    expected = np.stack([values[:, "xyz".index(each["channel"])] * each["scale"] for each in listed], axis=1)
    np.testing.assert_array_equal(found.recordings[0].signals["B"].values, expected)


def test_a_source_that_describes_its_channels_itself_needs_no_map() -> None:
    """Of `csv`, only labels, `drop` and `prefix` are mapped."""
    device = {"name": "A", "files": "(?P<subject>.).csv", "rate_hz": 25.0}
    channels = [{"name": "x", "column": "x", "unit": "g"}]
    described = {
        "name": "n",
        "license": "l",
        "citation": "c",
        "label": "y",
        "devices": [{**device, "channels": channels}],
    }
    found = joined({"kind": "csv", **described, "prefix": "c-", "drop": ["p1-1"]}, datasets=[dataset(kind="csv")])

    assert ([r.subject for r in found.recordings], found.devices) == (["c-p2"], ("A", "B"))
