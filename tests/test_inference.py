"""inference: a run and a version answer windows in raw units."""

import numpy as np
import pytest
from test_training_run import finished  # noqa: F401 the fixture

from modelreg.artifacts import npz
from modelreg.config import TrainConfig
from modelreg.errors import InputError
from modelreg.records.base import load
from modelreg.registry import filenames
from modelreg.workflows import inference

pytestmark = pytest.mark.needs("torch", "matplotlib")  # they train


def test_the_example_of_the_card_runs(finished, monkeypatch) -> None:  # noqa: F811
    """Copied from the card and run unchanged."""
    monkeypatch.chdir(finished)
    card = (finished / "registry/conv2d_fsq/v0.1.0/model_card.md").read_text()
    space: dict[str, object] = {}
    exec(card.split("```python\n")[1].split("```")[0], space)  # noqa: S102 that is the test

    assert space["probabilities"].shape == (1, len(space["classes"]))


def test_a_run_gives_the_recorded_predictions(finished, monkeypatch) -> None:  # noqa: F811
    """The same windows in raw units give the recorded answers."""
    from modelreg.data import preparation
    from modelreg.data.cache import Reading

    monkeypatch.chdir(finished)
    run = finished / "runs/conv2d_fsq-001"
    windows = preparation.prepare(load(run / filenames.CONFIG, TrainConfig), Reading(finished)).windows["test"]
    _, probabilities = inference.classify(run, windows.x)

    recorded = npz.read_npz(run / filenames.PREDICTIONS)["logits"]
    np.testing.assert_array_equal(probabilities.argmax(1), recorded.argmax(1))


def test_windows_of_another_shape_are_refused(finished) -> None:  # noqa: F811
    """The error names the expected shape."""
    with pytest.raises(InputError):
        inference.classify(finished / "runs/conv2d_fsq-001", np.zeros((1, 9, 1, 100), dtype=np.float32))
