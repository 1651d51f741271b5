"""Files that lost their first rows and got another subject's name: refused by `train`, found by the audit."""

import json
from pathlib import Path

import numpy as np
import pytest
from csv_folder import described

from modelreg import config
from modelreg.cli.main import main
from modelreg.config import TrainConfig
from modelreg.data import preparation
from modelreg.data.cache import Reading
from modelreg.data.sources import sample

LOST = 5  # rows
COPIED = ("s03", "s04")  # copies of s01 and s02


def write(folder: Path) -> Path:
    """Write real recordings of two subjects as files, and without their first rows as those of two others."""
    folder.mkdir()
    for found in sample.read().recordings:
        number = int(found.subject[1:])
        name = found.name.split("-")[1]
        if number <= 2 and name in ("PEN", "ROW") and found.session == "left":
            values = found.signals["watch"].values[:600]
            _write(folder / f"s0{number}_{name}.csv", values, name)
            _write(folder / f"s0{number + 2}_{name}.csv", values[LOST:], name)
    return folder


def _write(path: Path, values: np.ndarray, label: str) -> None:
    rows = [f"{','.join(map(str, row))},{label}" for row in values[:, :2].tolist()]
    path.write_text("\n".join(["a,b,label", *rows, ""]))


def document(folder: Path) -> dict:
    """A configuration whose test and validation subjects are the copies."""
    return {
        "data": {"sources": [{**described(), "path": str(folder)}], "window": 50, "hop": 25},
        "split": {"by": "subject", "test": ["s04"], "validation": ["s03"]},
    }


@pytest.fixture
def settings(tmp_path) -> TrainConfig:
    """The configuration, its files written."""
    return config.settle(document(write(tmp_path / "files")), TrainConfig, "mine")


def test_no_window_is_equal(settings) -> None:
    """So a comparison of windows finds nothing."""
    prepared = preparation.prepare(settings, Reading(Path()))

    assert {part: len(found.y) for part, found in prepared.windows.items()} == {
        "train": 92,
        "validation": 44,
        "test": 44,
    }


@pytest.mark.needs("torch")
def test_training_is_refused(tmp_path, monkeypatch, capsys) -> None:
    """One cause, with the first recordings and their origins."""
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(json.dumps(document(write(tmp_path / "files"))))
    code = main(["train", "mine.yaml"])
    err = capsys.readouterr().err

    assert (code, err.count("[split.windows-shared]"), err.count("from sample 5")) == (3, 1, 3)
    assert not Path("runs").exists()


def test_the_audit_counts_the_windows(settings) -> None:
    """All of both splits, at the right place."""
    _, audit = preparation.prepare_and_audit(settings, Reading(Path()))
    found = [(finding.parts, finding.count) for finding in audit.leaks if finding.kind == "exact_copy"]

    assert found == [(("train", "validation"), 44), (("train", "test"), 44)]
    assert audit.leaks[0].examples[0] == "s03-PEN, samples 0 to 594 = s01-PEN from sample 5"


def test_the_audit_states_what_it_cannot_find(settings) -> None:
    """And how much it searched."""
    _, audit = preparation.prepare_and_audit(settings, Reading(Path()))

    assert audit.copies is not None
    assert audit.copies.cannot_find
    assert audit.copies.hours["train"] == pytest.approx(4 * 600 / 50 / 3600)
