"""The clocks of a device with several files: measured as they were read, not on the grid on which they are joined."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from csv_folder import read
from numpy.typing import NDArray

from modelreg.data import alignment, quality
from modelreg.data.recording import PartClock
from modelreg.records.data import Limits, QualityReport

SECONDS = 40
TIMES = np.arange(0, SECONDS, 0.02)


def part(kind: str, quantity: str) -> dict[str, Any]:
    """One channel with time stamps."""
    channel = {"name": quantity, "column": "a", "unit": "g" if kind == "acc" else "rad/s"}
    files = rf"(?P<subject>\w+)_(?P<session>\w+)_{kind}\.csv"
    return {"files": files, "time": {"column": "t", "unit": "s"}, "channels": [channel]}


def text(time: NDArray[np.float64]) -> str:
    """Return a file of noise."""
    drawn = np.random.default_rng(0).normal(size=len(time))
    rows = (f"{at:.3f},{value:.3f},walk\n" for at, value in zip(time, drawn, strict=True))
    return "t,a,label\n" + "".join(rows)


def report(folder: Path, gyroscope: NDArray[np.float64]) -> QualityReport:
    """Return the quality of a phone whose accelerometer has even time stamps."""
    parts = [part("acc", "acc_x"), part("gyro", "gyro_x")]
    texts = {"p_1_acc.csv": text(TIMES), "p_1_gyro.csv": text(gyroscope)}
    dataset = read(folder, texts, devices={"phone": {"rate_hz": 50, "parts": parts}})
    return quality.check_quality(dataset, Limits())


def causes(found: QualityReport) -> list[tuple[str, str]]:
    """Return level and cause of each finding on a clock."""
    return [(each.level, each.cause) for each in found.findings or () if each.where == "phone clock"]


def test_each_part_has_a_clock(tmp_path) -> None:
    """With its number."""
    assert list(report(tmp_path, TIMES).by_clock()) == ["phone part 1", "phone part 2"]


def test_the_clocks_are_those_of_the_files(tmp_path) -> None:
    """On the joined grid both start at once, without jitter and without a gap."""
    jittered = TIMES + np.random.default_rng(1).uniform(-0.008, 0.008, len(TIMES)) + 0.3
    first, second = report(tmp_path, jittered[(TIMES < 10) | (TIMES > 13)]).recordings[0].clocks

    assert (first.jitter, first.gaps, first.offset_s) == (pytest.approx(0, abs=1e-6), 0, 0)
    assert (second.jitter > 0.2, second.gaps, second.offset_s) == (True, 1, pytest.approx(0.3, abs=0.01))


def test_equal_parts_have_no_finding(tmp_path) -> None:
    """Neither is late, nor early."""
    assert causes(report(tmp_path, TIMES)) == []


def test_a_gap_of_one_part_is_located(tmp_path) -> None:
    """By the number of the part."""
    found = causes(report(tmp_path, TIMES[(TIMES < 10) | (TIMES > 13)]))

    assert found == [("problem", "part 2: gaps longer than 0.5 s")]


def test_a_late_part_is_located(tmp_path) -> None:
    """Its start is above the limit of devices, and the time of both ends is lost."""
    assert causes(report(tmp_path, TIMES + 5)) == [
        ("problem", "part 2: starts more than 2 s after the first part"),
        ("advice", "its parts do not begin and end together"),
    ]


@pytest.mark.parametrize("kept", [TIMES > 1.5, TIMES < SECONDS - 1.5])
def test_the_time_that_a_part_does_not_have_is_lost(tmp_path, kept) -> None:
    """At its beginning or at its end."""
    assert causes(report(tmp_path, TIMES[kept])) == [("advice", "its parts do not begin and end together")]


@pytest.mark.parametrize(
    ("seconds", "late", "lost"), [(600, 0.9, False), (600, 1.1, True), (10, 0.4, False), (10, 0.6, True)]
)
def test_lost_time_is_judged_in_seconds_and_by_its_share(seconds, late, lost) -> None:
    """More than 1 s, or more than 5 %."""
    time = np.arange(0, seconds, 0.1)
    clocks = [PartClock(time, 10.0), PartClock(time[time >= late - 1e-9], 10.0)]

    assert bool(list(alignment.judge_parts(clocks))) == lost


def test_lost_time_does_not_lower_the_score(tmp_path) -> None:
    """What both parts share is sound."""
    scores = [report(tmp_path, gyroscope).recordings[0].score for gyroscope in (TIMES, TIMES[TIMES > 1.5])]

    assert scores[0] == pytest.approx(scores[1], abs=0.5)
