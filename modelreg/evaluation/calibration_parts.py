"""What every schema version of calibration.json has: its origin, its fitted windows, and scaled probabilities.

Needs numpy only: devices use it. Letters: N windows, K classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg import files
from modelreg.evaluation import temperature_scaling
from modelreg.evaluation.metrics import Floats, Predictions
from modelreg.records.calibration_parts import FittedWindows


class Origin(NamedTuple):
    """The origin of the predictions that a calibration is fitted on."""

    classes: tuple[str, ...]
    checkpoint_sha256: str  # of the weights that the calibration belongs to
    validation_digest: str  # of the validation split, as in data.json


def digest(predictions: Predictions) -> str:
    """Return the SHA-256 of predictions without their codes, as `FittedWindows` states it."""
    return files.sha256_arrays(predictions._replace(code=None).arrays())


def fitted_on(windows: Predictions, classes: Sequence[str]) -> FittedWindows:
    """Return the description of fitted windows."""
    counts = np.bincount(windows.y, minlength=len(classes)).tolist()
    return FittedWindows(
        subjects=tuple(np.unique(windows.subject).tolist()),
        recordings=tuple(np.unique(windows.recording).tolist()),
        windows=len(windows.y),
        class_windows=dict(zip(classes, counts, strict=True)),
        predictions_sha256=digest(windows),
    )


def probabilities(logits: NDArray[np.float32], temperature: float) -> Floats:
    """Return softmax(logits / temperature), (N, K)."""
    return np.exp(temperature_scaling.log_probabilities(logits, temperature))
