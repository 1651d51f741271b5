"""Predict windows in raw units with the weights of a run or a version (torch)."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from modelreg.data import normalization
from modelreg.data.recording import Windows
from modelreg.evaluation.metrics import Predictions
from modelreg.records.base import load
from modelreg.records.data import Normalization
from modelreg.records.model import ModelSpec
from modelreg.registry import runs
from modelreg.registry.filenames import CHECKPOINT, MODEL_CONFIG, NORMALIZATION


def classify(folder: Path, windows: NDArray[np.float32]) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """Return the class names, and their probabilities (N, K) for windows (N, C, D, T) in raw units.

    `folder` is a run or a version. Raises InputError if the shape of the windows does not fit.
    """
    from modelreg.ml import prediction

    spec = load_spec(folder)
    network = prediction.load_network(spec, folder / CHECKPOINT)
    scaled = normalization.apply(windows, load(folder / NORMALIZATION, Normalization))
    logits = prediction.predict(network, scaled).logits
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return spec.classes, odds / odds.sum(axis=1, keepdims=True)


def load_spec(folder: Path) -> ModelSpec:
    """Read the model specification of a run or a version."""
    version = folder / MODEL_CONFIG
    return load(version, ModelSpec) if version.is_file() else runs.load_run(folder).model


def predict(folder: Path, spec: ModelSpec, windows: Windows, *, threads: int) -> Predictions:
    """Return the predictions of a run's best weights for windows in raw units.

    `threads` is the number of torch threads: it can change the last bits of a logit.
    """
    import torch

    from modelreg.ml import prediction

    torch.set_num_threads(threads)
    network = prediction.load_network(spec, folder / CHECKPOINT)
    scale = load(folder / NORMALIZATION, Normalization)
    answers = prediction.predict(network, normalization.apply(windows.x, scale))
    arrays = windows.arrays()
    return Predictions(
        logits=answers.logits,
        y=windows.y,
        subject=arrays["subject"],
        recording=arrays["recording"],
        start=windows.start,
        code=answers.code_index,
        cluster=answers.cluster,
    )
