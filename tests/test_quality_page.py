"""The page of `data check`: it shows what the report says, literally, with pictures of bounded size."""

import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from example_records import example_quality_report
from hypothesis import given
from hypothesis import strategies as st
from test_foreign_text import FOREIGN
from test_physics import SOURCE, made
from test_report_html import NAMES, Reader

from modelreg.data import excerpts, quality
from modelreg.data.recording import Dataset, Recording, Signal
from modelreg.documents.report import quality_pictures
from modelreg.documents.report.quality_page import quality_documents
from modelreg.documents.report.quality_pictures import (
    DARK,
    LIGHT,
    ROWS,
    decades,
    heat_map,
    label,
    linear,
    signals,
    strip,
)
from modelreg.escaping import one_line
from modelreg.records.data import ClassQuality, Excerpt, Limits, QualityFinding, QualityReport
from modelreg.records.model import Channel

SVG = "{http://www.w3.org/2000/svg}"
FULL = Limits()


def page_of(report: QualityReport, shown: tuple[Excerpt, ...] = (), title: str = "t") -> str:
    """Return the page."""
    return quality_documents(report, title, shown)["quality.html"].decode()


def drawn(picture: bytes) -> ET.Element:
    """Read a picture."""
    return ET.fromstring(picture)  # noqa: S314 our own


def excerpt(name: str = "walk", **changes: Any) -> Excerpt:
    """Return five seconds of three channels."""
    made = {"name": name, "recording": "r1", "device": "watch", "channels": ("ax", "ay", "az"), "unit": "g"}
    values = ((0.0, 1.0, None, 2.0), (1.0, 1.0, 1.0, 1.0), (-1.0, 0.0, 1.0, 0.5))
    return Excerpt(**{**made, "start_s": 2.0, "seconds": 5.0, "values": values, **changes})


def checked(dataset: Dataset) -> tuple[QualityReport, tuple[Excerpt, ...]]:
    """Return the report and the excerpts of recordings."""
    return quality.check_quality(dataset, FULL), excerpts.choose(dataset)


def test_no_recordings() -> None:
    """An empty source gives an empty page, not an error."""
    assert "No recordings found." in page_of(example_quality_report(0))


def test_the_page_and_its_record() -> None:
    """A page for readers, and the record for programs."""
    report = example_quality_report()
    written = quality_documents(report, "Data of <x>")

    assert QualityReport.model_validate_json(written["quality.json"]) == report
    assert Reader(written["quality.html"].decode()).texts["h1"] == ["Data of <x>"]


def test_the_page_needs_no_matplotlib() -> None:
    """A light installation checks data, too."""
    code = (
        "import sys; from example_records import example_quality_report; "
        "from modelreg.documents.report import quality_page;"
        "quality_page.quality_documents(example_quality_report(), 't'); print('matplotlib' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
    )

    assert answer.stdout == "False\n"


def test_the_same_recordings_give_the_same_bytes() -> None:
    """Twice."""
    assert quality_documents(*_twice()[0]) == quality_documents(*_twice()[1])


def _twice() -> list[tuple[QualityReport, str, tuple[Excerpt, ...]]]:
    return [(report, "t", shown) for report, shown in (checked(made(0)), checked(made(0)))]


def test_every_part_is_on_the_page() -> None:
    """For recordings with clocks, missing values and a fault."""

    def broken(number: int, values: np.ndarray) -> np.ndarray:
        values[:50, 0] = np.nan
        return values / np.repeat([9.81, 1, 1], 3)

    dataset = made(0, broken)
    timed = tuple(
        Recording(r.name, r.subject, "1", {"wrist": Signal(s.values, 50.0, np.arange(len(s.values)) / 50)}, r.labels)
        for r in dataset.recordings
        for s in r.signals.values()
    )
    read = Reader(page_of(*checked(Dataset(**{**vars(dataset), "recordings": timed}))))
    headings = [
        "What is wrong",
        "Classes by subject",
        "Signals of each class",
        "Gravity",
        "Durations",
        "Clocks",
        "Missing values",
        "Data quality",
    ]

    assert read.texts["h2"] == headings
    assert len(read.all("img")) == 10


def test_a_large_set_has_a_page_of_bounded_size() -> None:
    """300 recordings, 100 subjects, 25 classes, 4 devices: a few megabytes."""
    random = np.random.default_rng(0)
    channels = tuple(Channel(name=f"{s}_{a}", unit=u) for s, u in (("acc", "g"), ("gyro", "deg/s")) for a in "xyz")
    names = tuple(f"class {n}" for n in range(25))
    recordings = tuple(
        Recording(
            f"r{n}",
            f"s{n % 100}",
            "1",
            {f"d{d}": Signal(random.normal(size=(300, 6)).astype(np.float32), 50.0) for d in range(4)},
            np.full(300, n % 25, np.int32),
        )
        for n in range(300)
    )
    devices = tuple(f"d{d}" for d in range(4))
    text = page_of(*checked(Dataset((SOURCE,), channels, devices, names, 50.0, recordings)))

    assert len(text) < 3_000_000
    assert "Shown are the first 20 of 25 classes." in text
    assert "the first 40 of 100 subjects and the first 20 of 25 classes" in text


def test_many_subjects_are_cut_to_the_lowest() -> None:
    """A picture has at most forty rows, and the page states this."""
    one = example_quality_report(1, 0).recordings[0]
    recordings = tuple(one.model_copy(update={"subject": f"p{i}", "score": float(i)}) for i in range(60))

    assert "The picture shows the 40 of 60 subjects with the lowest means." in page_of(
        QualityReport(sources=(), recordings=recordings)
    )


def test_many_findings_are_cut() -> None:
    """The record has all."""
    found = tuple(
        QualityFinding(
            rule="quality.unit", level="problem", where=f"d{n}", cause="c", message="m", recordings=("r",) * 9
        )
        for n in range(60)
    )
    text = page_of(example_quality_report(1, 0).model_copy(update={"findings": found}))

    assert ("10 more are in quality.json." in text, "and 4 others" in text) == (True, True)


def test_settings_in_a_next_step_are_code() -> None:
    """As in the documentation."""
    finding = QualityFinding(
        rule="quality.unit", level="problem", where="d", cause="c", message="`m`", next="set `unit: g`, `<b>`"
    )
    read = Reader(page_of(example_quality_report(1, 0).model_copy(update={"findings": (finding,)})))

    assert ("unit: g" in read.texts["code"], "set unit: g, `<b>`" in read.texts["td"]) == (True, True)


@given(FOREIGN)
def test_foreign_text_is_shown_literally(text) -> None:
    """Title, recordings, subjects, classes, devices and channels, also in the pictures."""
    one = example_quality_report(1, 1).recordings[0]
    named = {"recording": text, "subject": text, "problems": (text,), "class_seconds": {text: 1.0}, "seconds": 1.0}
    numbers = {"seconds": 1.0, "subjects": 1, "recordings": 1, "stretches": 1}
    classes = ClassQuality.model_construct(name=text, shortest_s=1.0, median_s=1.0, longest_s=1.0, **numbers)
    finding = QualityFinding.model_construct(
        rule="quality.unit",
        level="problem",
        where=text,
        cause=text,
        message=text,
        next="",
        recordings=(text,),
        device=text,
    )
    report = QualityReport(sources=(), recordings=()).model_copy(
        update={"recordings": (one.model_copy(update=named),), "classes": (classes,), "findings": (finding,)}
    )
    shown = excerpt().model_copy(update={"name": text, "recording": text, "device": text, "channels": (text,) * 3})
    read = Reader(page_of(report, (shown,), text))
    picture = drawn(signals([shown], LIGHT))

    assert (read.texts["title"], read.texts["h1"]) == ([one_line(text)], [one_line(text)])
    assert read.texts["td"].count(one_line(text)) >= 5
    assert label(text) in "".join(picture.itertext())
    assert not {"script", "iframe", "link", "object"} & {tag for tag, _ in read.tags}


# Pictures


@pytest.mark.parametrize("use", [LIGHT, DARK])
@given(NAMES, st.lists(st.floats(0, 100), min_size=1, max_size=20))
def test_dots_are_inside_the_picture(use, name, scores) -> None:
    """For any name and values; equal values are one dot."""
    scale = linear("score", 0, 100)
    picture = drawn(strip({name: scores}, scale, use))
    dots = [float(dot.attrib["cx"]) for dot in picture.iter(f"{SVG}circle")]

    assert len(dots) == len({round(quality_pictures.BINS * scale.at(score)) for score in scores})
    assert all(0 < x < float(picture.attrib["width"]) for x in dots)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=5), NAMES)
def test_a_heat_map_shows_every_value(values, name) -> None:
    """In its cell."""
    picture = drawn(heat_map({name: values}, [name] * len(values), lambda x: f"v{x:g}", LIGHT))
    texts = [text.text for text in picture.iter(f"{SVG}text")]

    assert [text for text in texts if text and text.startswith("v")][-len(values) :] == [f"v{x:g}" for x in values]


def test_an_empty_heat_map_is_drawn() -> None:
    """Without rows."""
    assert drawn(heat_map({}, [], str, LIGHT)).tag == f"{SVG}svg"


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_a_scale_covers_its_values(low, span) -> None:
    """Its ends are ticks outside of them, about five apart."""
    scale = linear("x", low, low + span)

    near = 1e-6 * max(abs(low), abs(low + span)) + 1e-9
    assert scale.low <= low + near
    assert low + span <= scale.high + near
    assert 2 <= len(scale.ticks) <= 8


@given(st.floats(1e-4, 1e4), st.floats(1, 1e4))
def test_a_logarithmic_scale_covers_its_values(low, factor) -> None:
    """Its ends are powers of ten."""
    scale = decades("x", low, low * factor)

    assert scale.low <= low * (1 + 1e-9)
    assert low * factor <= scale.high * (1 + 1e-9)
    assert (scale.at(scale.low), scale.at(scale.high)) == (0, 1)


def test_missing_values_interrupt_a_line() -> None:
    """It begins again after them."""
    paths = [path.attrib["d"] for path in drawn(signals([excerpt()], LIGHT)).iter(f"{SVG}path")]

    assert [path.count("M") for path in paths] == [2, 1, 1]


def test_a_constant_excerpt_is_drawn() -> None:
    """Its scale has a height all the same."""
    picture = drawn(signals([excerpt(values=((2.0,), (2.0,), (None,)), seconds=0.0)], LIGHT))

    assert len(list(picture.iter(f"{SVG}path"))) == 3


def test_long_names_are_cut() -> None:
    """A label has at most fourteen characters."""
    assert label("x" * 15) == "x" * 13 + "…"


def test_rows_beyond_the_limit_are_left_out() -> None:
    """A picture stays small."""
    picture = drawn(strip({str(n): [float(n)] for n in range(ROWS + 5)}, linear("x", 0, 50), LIGHT))

    assert len(list(picture.iter(f"{SVG}circle"))) == ROWS


# Excerpts


def recording(labels: list[int], **changes: Any) -> Recording:
    """Return a recording whose values are its sample numbers."""
    values = np.arange(len(labels), dtype=np.float32)[:, None]
    made = {"name": "r", "subject": "s", "session": "1", "signals": {"watch": Signal(values, 10.0)}}
    return Recording(**{**made, "labels": np.array(labels, np.int32), **changes})


def dataset_of(*recordings: Recording, channels: int = 1) -> Dataset:
    """Return a set of two classes."""
    named = tuple(Channel(name=f"c{n}", unit="V") for n in range(channels))
    devices = tuple(recordings[0].signals)
    return Dataset((SOURCE,), named, devices, ("a", "b"), 10.0, recordings)


def test_the_middle_of_the_longest_stretch_is_chosen() -> None:
    """Of each class, over all recordings."""
    one, other = recording([0] * 30 + [1] * 10 + [-1] * 99), recording([1] * 20 + [0] * 100, name="r2")
    found = excerpts.choose(dataset_of(one, other))

    assert [(e.name, e.recording, e.start_s, e.seconds) for e in found] == [
        ("a", "r2", pytest.approx(2.0 + 2.45), pytest.approx(5.0)),
        ("b", "r2", 0.0, pytest.approx(1.9)),
    ]


def test_other_devices_are_shown_at_the_same_moment() -> None:
    """By the clocks of both."""
    labels = [-1] * 20 + [0] * 11
    slow = Signal(np.arange(31, dtype=np.float32)[:, None], 10.0, 100 + np.arange(31) / 10)
    fast = Signal(np.arange(62, dtype=np.float32)[:, None], 20.0, 99 + np.arange(62) / 20)
    (first, second) = excerpts.choose(dataset_of(recording(labels, signals={"slow": slow, "fast": fast})))

    assert (first.start_s, first.values[0][0], second.values[0][0]) == (pytest.approx(2.0), 20.0, 60.0)


def test_fast_signals_are_thinned_out() -> None:
    """To a number of points that a picture can show."""
    signal = Signal(np.zeros((5000, 1), np.float32), 1000.0)
    (found,) = excerpts.choose(dataset_of(recording([0] * 5000, signals={"watch": signal})))

    assert len(found.values[0]) <= excerpts.POINTS


def test_missing_values_are_null() -> None:
    """NaN and Inf."""
    signal = Signal(np.array([[np.nan], [np.inf], [1.0]], np.float32), 10.0)
    (found,) = excerpts.choose(dataset_of(recording([0] * 3, signals={"watch": signal})))

    assert found.values == ((None, None, 1.0),)


def test_few_groups_of_channels_are_shown() -> None:
    """The first ones."""
    signal = Signal(np.zeros((30, 9), np.float32), 10.0)

    assert (
        len(excerpts.choose(dataset_of(recording([0] * 30, signals={"watch": signal}), channels=9))) == excerpts.PANELS
    )


def test_nothing_is_shown_of_unlabelled_recordings() -> None:
    """There is no class."""
    assert excerpts.choose(dataset_of(recording([-1] * 9))) == ()
