"""Predict windows with a network; the result does not depend on the order or size of batches."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from modelreg.errors import InputError, Problem
from modelreg.evaluation import tolerance
from modelreg.ml import checkpoint, factory
from modelreg.ml.network import Network, Output
from modelreg.records.model import FsqSpec, ModelSpec


class Predictions(NamedTuple):
    """The predictions for N windows, as stored in predictions.npz."""

    logits: NDArray[np.float32]  # (N, K)
    code_index: NDArray[np.int64] | None  # (N,); None without a quantizer
    cluster: NDArray[np.int64] | None  # (N,); None without a mixture


def predict(network: Network, x: torch.Tensor | NDArray[np.float32], batch_size: int = 512) -> Predictions:
    """Return the predictions for normalized windows (N, C, D, T). Raises InputError for another shape."""
    windows = torch.as_tensor(x, dtype=torch.float32)
    if windows.shape[1:] != network.shape:
        what = f"{tuple(windows.shape)}, must be (N, {', '.join(map(str, network.shape))})"
        raise InputError("cannot classify the windows", [Problem("windows", "model.window-shape-mismatch", what)])
    device = next(network.parameters()).device
    training = network.training
    network.eval()
    with torch.inference_mode():
        outputs: list[Output] = [network(batch.to(device)) for batch in windows.split(batch_size)]
    network.train(training)
    clusters = [output.cluster for output in outputs if output.cluster is not None]
    return Predictions(
        torch.cat([output.logits for output in outputs]).cpu().numpy(),
        None if network.levels is None else torch.cat([output.code_index for output in outputs]).cpu().numpy(),
        torch.cat(clusters).cpu().numpy() if clusters else None,
    )


def load_network(spec: ModelSpec, weights: Path) -> Network:
    """Build the network of a record and load its checkpoint, in eval mode. Raises InputError."""
    network = _build(spec)
    checkpoint.load_weights(network, weights)
    return network.eval()


def fill_network(spec: ModelSpec, weights: bytes, where: str) -> Network:
    """Build the network of a record and load the bytes of its checkpoint, in eval mode. Raises InputError."""
    network = _build(spec)
    checkpoint.fill(network, weights, where)
    return network.eval()


def _build(spec: ModelSpec) -> Network:
    expected = factory.spec(spec.settings, spec.input, spec.classes, spec.domains, spec.sessions)
    if problems := list(_differences(spec, expected)):
        raise InputError("cannot build the network of the model record", problems)
    return factory.of_spec(spec, seed=0)


def _differences(found: ModelSpec, expected: ModelSpec) -> Iterator[Problem]:
    """Yield each value of a record that differs from the value that its settings give."""
    if found.parameters != expected.parameters:
        yield _mismatch("parameters", found.parameters, expected.parameters)
    if found.tensors != expected.tensors:
        yield Problem("tensors", "model.record-mismatch", "names or shapes differ from those that the settings give")
    if not isinstance(found.quantizer, FsqSpec) or not isinstance(expected.quantizer, FsqSpec):
        if found.quantizer != expected.quantizer:
            yield _mismatch("quantizer", found.quantizer, expected.quantizer)
        return
    for name in FsqSpec.model_fields:
        value, rule = getattr(found.quantizer, name), getattr(expected.quantizer, name)
        if not _equal(value, rule):
            yield _mismatch(f"quantizer.{name}", value, rule)


def _mismatch(where: str, found: object, expected: object) -> Problem:
    return Problem(where, "model.record-mismatch", f"{found}, but the settings give {expected}")


def _equal(a: Any, b: Any) -> bool:
    """Return whether two numbers or tuples agree; atanh may differ in the last bit between machines."""
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    return math.isclose(a, b, rel_tol=tolerance.QUANTIZER)
