"""The duration layer: its loss equals the numpy model; also its initialization and its record."""

import numpy as np
import pytest
import torch
from hsmm_enumeration import KINDS
from torch import Tensor

from modelreg.hsmm import durations, fitting, inference, model
from modelreg.ml.hsmm_layer import Durations
from modelreg.records.hsmm import HsmmSpec
from modelreg.records.model import HsmmSettings

CLASSES = ("sit", "walk", "run")
STREAMS = (11, 1, 8)
Y = torch.tensor([0, 0, 0, 2, 2, 1, 1, 1, 1, 0, 0, 1, 2, 2, 0, 0, 0, 0, 1, 1])
each_kind = pytest.mark.parametrize("kind", KINDS)


def started(kind: str, y: Tensor = Y, streams: tuple[int, ...] = STREAMS, **changes) -> Durations:
    """Return a duration layer that is initialized from labels."""
    module = Durations(HsmmSettings(durations=kind, max_duration=12, chunk=11, **changes), len(CLASSES))
    module.start(y, streams)
    return module


def logits(seed: int = 0) -> Tensor:
    """Return random logits for the windows."""
    return 2 * torch.randn(len(Y), len(CLASSES), generator=torch.Generator().manual_seed(seed))


def lost(spec: HsmmSpec, log_posterior: Tensor, y: Tensor) -> float:
    """Return −log p(y | x) of one stream, computed by modelreg.hsmm."""
    tables = model.tables(model.from_spec(spec))
    log_b = model.of_posterior(log_posterior.double().numpy(), np.array(spec.emission.prior))
    return inference.log_likelihood(tables, log_b) - inference.path_score(tables, log_b, y.numpy())


@each_kind
def test_the_loss_is_that_of_the_labels_given_the_windows(kind) -> None:
    """It is the weighted −log p(y | x) per window over all streams."""
    module = started(kind, weight=0.7)
    found = module.loss(logits(), Y, STREAMS)
    parts = zip(logits().log_softmax(1).split(STREAMS), Y.split(STREAMS), strict=True)
    expected = 0.7 * sum(lost(module.spec(CLASSES), *part) for part in parts) / len(Y)

    assert found.item() == pytest.approx(expected, rel=1e-4)


@each_kind
def test_the_loss_is_least_where_the_network_is_right(kind) -> None:
    """The loss is near 0 for confident correct logits, large for confident wrong ones, and never below 0."""
    module, right = started(kind), 20 * torch.nn.functional.one_hot(Y, 3).float()
    losses = [module.loss(given, Y, STREAMS).item() for given in (right, logits(), right.roll(1, 1))]

    assert -1e-4 < losses[0] < 0.01 < losses[1] < losses[2]


@each_kind
def test_it_is_initialized_to_the_most_likely_model_of_the_labels(kind) -> None:
    """Initial probabilities, transitions, durations and the class prior are those of the label counts."""
    found, spec = started(kind), started(kind).spec(CLASSES)
    counts = fitting.count_labels([part.numpy() for part in Y.split(STREAMS)], 3, 12)
    expected = fitting.fit_counts(kind, counts)

    np.testing.assert_allclose(spec.transition, expected.transition, atol=1e-5)
    np.testing.assert_allclose(spec.initial, expected.initial, atol=1e-5)
    assert found.mean() == pytest.approx(float(durations.mean(expected.durations).mean()), rel=1e-3)
    np.testing.assert_allclose(spec.emission.prior, [9.5 / 21.5, 7.5 / 21.5, 4.5 / 21.5], rtol=1e-5)


@each_kind
def test_its_record_survives_a_round_trip(kind) -> None:
    """hsmm.json describes the trained model.

    In float32, the gamma functions of a large r have an error of up to 1e-3.
    """
    module = started(kind)
    spec = module.spec(CLASSES)
    again = HsmmSpec.model_validate_json(spec.to_bytes())
    log_duration = module.model.tables().duration.detach()

    assert again == spec
    np.testing.assert_allclose(model.tables(model.from_spec(again)).log_duration, log_duration, atol=2e-3)


@each_kind
@pytest.mark.parametrize(
    "y",
    [torch.arange(20) % 3, torch.zeros(20, dtype=torch.int64), torch.arange(20) // 19, torch.arange(20) // 7],
    ids=["always another", "one class", "a class at the end alone", "equal lengths"],
)
def test_it_can_be_initialized_from_any_labels(kind, y) -> None:
    """Loss and gradients are finite for extreme durations and for a class that never occurs."""
    module = started(kind, y, (10, 10))
    found = module.loss(logits(), y, (10, 10))
    found.backward()

    assert found.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())
    assert module.spec(CLASSES).states == CLASSES
