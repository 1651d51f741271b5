"""Each miniature: the draft of its configuration reads the right subjects, labels, rates, units and values."""

from pathlib import Path
from typing import NamedTuple

import drafts
import numpy as np
import pytest
from test_layouts import LAYOUTS, G, signal

from modelreg.data.cache import Reading
from modelreg.data.draft import recipes
from modelreg.data.draft.recipes import NONE
from modelreg.data.sources import csv
from modelreg.records.source import CsvSource

PEOPLE = ("anna", "ben")
FOUR = tuple(f"{subject}-1-{label}" for subject in PEOPLE for label in ("rest", "walk"))
TWO = ("anna-1", "ben-1")
ACC = ("m/s2", "included")
BOTH = (ACC, ("rad/s", None))


class Oracle(NamedTuple):
    """What a draft finds, and the recordings that it reads."""

    format: str | None
    recordings: tuple[str, ...]
    sensors: tuple[tuple[str, str | None], ...]  # unit and gravity of each
    rate_hz: float = 50.0
    devices: tuple[str, ...] = ("phone",)
    subjects: tuple[str, ...] | None = PEOPLE
    labels: tuple[str, ...] = ("rest", "walk")


MINIATURES = {
    "actigraph": Oracle("actigraph", TWO, (("g", "included"),), 30, ("sensor",)),
    "androsensor": Oracle("androsensor", FOUR, BOTH),
    "axivity": Oracle("axivity", TWO, (("g", "included"),), devices=("sensor",)),
    "boris": Oracle(None, TWO, (ACC,), devices=("device",)),
    "long_format": Oracle(None, FOUR, BOTH, devices=("device",)),
    "mbientlab": Oracle("mbientlab", FOUR, (("g", "included"), ("deg/s", None)), 100, ("sensor",)),
    "mhealth": Oracle(
        "mhealth",
        ("1-1", "2-1"),
        (ACC, ("deg/s", None)),
        devices=("ankle", "arm"),
        subjects=("1", "2"),
        labels=("sitting", "walking"),
    ),
    "motionsense": Oracle(
        "motionsense",
        ("1-5-sit", "1-7-wlk", "2-5-sit", "2-7-wlk"),
        (("g", "included"), ("rad/s", None)),
        subjects=("1", "2"),
        labels=("sitting", "walking"),
    ),
    "one_table": Oracle(
        None,
        tuple(f"{subject}-{session}" for subject in PEOPLE for session in ("1", "1.2", "2", "2.2")),
        BOTH,
        devices=("device",),
    ),
    "pamap2": Oracle(
        "pamap2",
        ("101-1", "102-1"),
        BOTH,
        50,
        ("hand", "chest", "ankle"),
        ("101", "102"),
        ("lying", "walking"),
    ),
    "phyphox_german": Oracle("phyphox", FOUR, BOTH),
    "phyphox_single": Oracle(
        "phyphox",
        tuple(f"{subject}-1-{label}" for subject in ("Anna", "Ben") for label in ("Rest", "Walk")),
        (("m/s2", "removed"),),
        devices=("pocket",),
        subjects=("Anna", "Ben"),
        labels=("Rest", "Walk"),
    ),
    "physics_toolbox": Oracle("physics_toolbox", FOUR, (("g", "included"), ("rad/s", None))),
    "sensor_logger": Oracle("sensor_logger", FOUR, BOTH),
    "sensor_logger_zip": Oracle("sensor_logger", FOUR, BOTH),
    "two_column_clock": Oracle(None, FOUR, (ACC,), devices=("device",)),
    "uci_har": Oracle(
        "uci_har",
        ("1-1", "1-2", "2-1", "2-2"),
        (("g", "included"), ("rad/s", None)),
        devices=("waist",),
        subjects=("1", "2"),
        labels=("WALKING", "WALKING_UPSTAIRS"),
    ),
    "usc_had": Oracle(
        "usc_had",
        ("1-1-1", "1-1-2", "2-1-1", "2-1-2"),
        (("g", "included"), ("deg/s", None)),
        100,
        ("hip",),
        ("1", "2"),
        ("walking forward", "walking left"),
    ),
    "wisdm_v1": Oracle(
        "wisdm_1",
        ("33-Sitting", "33-Walking", "34-Sitting", "34-Walking"),
        (ACC,),
        20,
        subjects=("33", "34"),
        labels=("Sitting", "Walking"),
    ),
    "wisdm_v2": Oracle(
        "wisdm_2",
        ("1600-A", "1600-D", "1601-A", "1601-D"),
        BOTH,
        20,
        ("watch",),
        ("1600", "1601"),
        ("sitting", "walking"),
    ),
}
LAYOUT = pytest.mark.parametrize("layout", MINIATURES)
BY_COLUMNS = {  # without the recipes: what is left to the user
    "actigraph": ["data.sources.0.annotations.clock"],
    "mhealth": ["data.sources.0.labels.0", "data.sources.0.devices.0.rate_hz"],
    "motionsense": ["data.sources.0.devices.0.rate_hz"],
    "pamap2": ["data.sources.0.labels.0"],
    "usc_had": ["data.sources.0.devices.0.rate_hz"],
}


def folder_of(layout: str) -> Path:
    """The folder of a miniature."""
    return LAYOUTS / layout


@LAYOUT
def test_the_format_is_recognized(layout) -> None:
    """By the paths and columns, whatever the folder is called."""
    assert drafts.draft(folder_of(layout)).name == MINIATURES[layout].format


@LAYOUT
def test_nothing_is_left_to_fill_in(layout) -> None:
    """The draft is a configuration that loads."""
    assert drafts.settings(drafts.draft(folder_of(layout))).data.sources[0].prefix == ""


@LAYOUT
def test_the_recordings_are_those_of_the_miniature(layout) -> None:
    """With their rate, devices and labels."""
    expected = MINIATURES[layout]
    dataset = drafts.read(folder_of(layout), drafts.draft(folder_of(layout)))
    present = {dataset.classes[code] for each in dataset.recordings for code in np.unique(each.labels) if code >= 0}

    assert tuple(sorted(each.name for each in dataset.recordings)) == tuple(sorted(expected.recordings))
    assert (dataset.rate_hz, dataset.devices) == (expected.rate_hz, expected.devices)
    assert present == set(expected.labels)


@LAYOUT
def test_the_channels_have_the_unit_and_gravity_of_the_miniature(layout) -> None:
    """Three axes of each sensor, x first."""
    proposal = drafts.draft(folder_of(layout))
    device = drafts.source(proposal)["devices"][0]
    channels = [channel for part in device.get("parts", [device]) for channel in part["channels"]]

    assert [(c["unit"], c.get("gravity")) for c in channels[::3]] == list(MINIATURES[layout].sensors)
    assert [c["name"][-1] for c in channels] == [*"xyz"] * (len(channels) // 3)


@LAYOUT
def test_the_subjects_are_those_of_the_miniature(layout) -> None:
    """By the paths, a column, or the files of a set."""
    assert drafts.draft(folder_of(layout)).subjects == MINIATURES[layout].subjects


@LAYOUT
def test_every_decision_has_a_reason(layout) -> None:
    """No comment is empty."""
    from modelreg.data.draft import commented

    assert all(decision.why for decision in commented.decisions(drafts.draft(folder_of(layout)).document))


@LAYOUT
def test_a_draft_is_the_same_each_time(layout) -> None:
    """The same bytes."""
    first, second = (drafts.drafting.render(drafts.draft(folder_of(layout)), "a.yaml") for _ in range(2))

    assert first == second


@pytest.mark.parametrize("layout", [layout for layout in MINIATURES if layout != "uci_har"])
def test_without_recipes_only_what_no_column_says_is_left_to_the_user(layout) -> None:
    """Names and values are enough for most layouts."""
    assert drafts.blanks(drafts.draft(folder_of(layout), NONE)) == BY_COLUMNS.get(layout, [])


@pytest.mark.parametrize(
    "layout", sorted({name for name, oracle in MINIATURES.items() if oracle.recordings in (FOUR, TWO)} - {*BY_COLUMNS})
)
def test_without_recipes_the_recordings_are_the_same(layout) -> None:
    """Subjects, labels, sensors and rates of exports follow from their columns and paths."""
    expected = MINIATURES[layout]
    dataset = drafts.read(folder_of(layout), drafts.draft(folder_of(layout), NONE))

    assert tuple(sorted(each.name for each in dataset.recordings)) == expected.recordings
    assert (dataset.rate_hz, dataset.classes) == (expected.rate_hz, expected.labels)
    assert [channel.unit for channel in dataset.channels][::3] == [unit for unit, _ in expected.sensors]


@pytest.mark.parametrize("layout", ["androsensor", "one_table", "physics_toolbox", "two_column_clock"])
def test_the_values_are_those_of_the_miniature(layout) -> None:
    """In m/s²: axes, units and scales are right."""
    dataset = drafts.read(folder_of(layout), drafts.draft(folder_of(layout)))
    walk = next(each for each in dataset.recordings if each.name in ("ben-1-walk", "ben-1"))
    values = next(iter(walk.signals.values())).values[:, :3] * (G if dataset.channels[0].unit == "g" else 1.0)
    seed = 1 if layout == "one_table" else 0

    assert np.allclose(values, signal("ben", "walk", 300, seed=seed)[0][: len(values)], atol=0.01)


def test_local_time_that_is_set_back() -> None:
    """The only zone of the vocabulary whose clocks are set back at that time; one label only."""
    proposal = drafts.draft(folder_of("daylight_saving"))
    source = CsvSource.model_validate(drafts.source(proposal), strict=False)
    dataset = csv.read(source, Reading(LAYOUTS))
    time = dataset.recordings[0].signals["device"].time

    assert source.devices[0].time is not None
    assert source.devices[0].time.zone == "Europe/Berlin"
    assert "a model needs recordings of two classes" in drafts.why(proposal, "data.sources.0.label")
    assert time is not None
    assert np.allclose(time - time[0], np.arange(300) / 50, atol=1e-6)


def test_every_recipe_of_a_miniature_is_tested() -> None:
    """The others are tested on small files, or on real ones where they are present (test_draft_recipes.py)."""
    tested = {oracle.format for oracle in MINIATURES.values()} - {None}

    assert set(recipes.load()) - tested == {
        "dsads",
        "geneactiv",
        "hapt",
        "movesense",
        "opportunity",
        "realworld",
        "sensorlog",
        "sp_sw_har",
    }
