"""The torch model equals the numpy model and enumeration; its gradients equal finite differences."""

import numpy as np
import pytest
import torch
from hsmm_em import fit
from hsmm_enumeration import KINDS, paths, random_model, small, stream, total
from hsmm_sampling import sample
from torch import Tensor

from modelreg.hsmm import durations, inference
from modelreg.hsmm.model import Hsmm, tables
from modelreg.hsmm.online_filter import filter_start, filter_step
from modelreg.ml import semimarkov
from modelreg.ml.semimarkov import SemiMarkov, Tables

either = pytest.mark.parametrize("censored", [True, False], ids=["censored", "whole"])
each_kind = pytest.mark.parametrize("kind", KINDS)


def to_torch(model: inference.Tables) -> Tables:
    """Return the same logarithms as tensors, with the floor for −∞."""
    return Tables(*(torch.tensor(np.maximum(part, semimarkov.FLOOR)) for part in model))


def module_of(model: Hsmm) -> SemiMarkov:
    """Return a module that is initialized to the parameters of a model."""
    kind, parameters, longest = model.durations
    return SemiMarkov(kind, *map(torch.tensor, (model.initial, model.transition, parameters)), longest)


def everywhere(kind: str, states: int = 3, longest: int = 6, seed: int = 0) -> Hsmm:
    """Return a model without impossible transitions."""
    model = random_model(np.random.default_rng(seed), kind, states, longest)
    transition = model.transition + 0.1 * (1 - np.eye(states))
    return model._replace(transition=transition / transition.sum(axis=1, keepdims=True))


def padded(parts: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Return streams of several lengths as one batch (N, T, S), and their lengths (N,)."""
    rows = [torch.tensor(part) for part in parts]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])


def alone(log_b: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return a batch of one stream."""
    return padded([log_b])


@either
def test_log_likelihood_equals_enumeration(censored) -> None:
    """It is the sum over all paths of small streams, or −∞ without a path."""
    ours = [
        semimarkov.forward(to_torch(model), *alone(log_b), censored=censored).log_likelihood.item()
        for _, model, log_b in map(small, range(30))
    ]

    np.testing.assert_allclose(ours, [total(paths(seed, censored)) for seed in range(30)], rtol=1e-12, atol=1e-9)


@either
def test_a_batch_equals_its_streams(censored) -> None:
    """The values of the padding do not change the result."""
    model, log_b = stream(0, 120)
    parts = [log_b[:50], log_b[:1], log_b]
    batch, lengths = padded(parts)
    batch[0, 50:] = 700.0
    expected = [inference.log_likelihood(model, part, censored=censored) for part in parts]
    ours = semimarkov.forward(to_torch(model), batch, lengths, censored=censored).log_likelihood

    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("spread", [1, 700])
def test_the_filter_is_that_of_the_runtime(spread) -> None:
    """Training and the device compute the same posterior."""
    model, log_b = stream(1, 80, spread=spread)
    state, expected = filter_start(model), []
    for window in log_b:
        state, posterior = filter_step(state, window)
        expected.append(posterior)

    np.testing.assert_allclose(semimarkov.forward(to_torch(model), *alone(log_b)).posterior[0], expected, atol=1e-9)


@either
def test_the_gradient_is_the_marginals_of_numpy(censored) -> None:
    """The derivative of log p(x) by log b is p(state_t | x), and 0 after the end of a stream."""
    model, log_b = stream(2, 70)
    batch, lengths = padded([log_b, log_b[:30]])
    total = semimarkov.forward(to_torch(model), batch.requires_grad_(), lengths, censored=censored).log_likelihood
    ours = torch.autograd.grad(total.sum(), batch)[0]

    np.testing.assert_allclose(ours[0], inference.posterior(model, log_b, censored=censored).gamma, atol=1e-9)
    np.testing.assert_allclose(ours[1, :30], inference.posterior(model, log_b[:30], censored=censored).gamma, atol=1e-9)
    assert not ours[1, 30:].any()


@each_kind
def test_durations_are_those_of_numpy(kind) -> None:
    """The truncated family and its survivor function are equal."""
    model = everywhere(kind, longest=50).durations
    ours = semimarkov.log_durations(kind, [torch.tensor(column) for column in model.parameters.T], 50)
    log_p = durations.log_pmf(model)

    np.testing.assert_allclose(ours, log_p, atol=1e-9)
    np.testing.assert_allclose(semimarkov.log_survivor(ours), durations.log_survivor(log_p), atol=1e-9)


@each_kind
def test_the_module_starts_at_the_given_parameters(kind) -> None:
    """Its estimates are these parameters, and its log likelihood is that of numpy."""
    model = everywhere(kind)
    module = module_of(model)
    log_b = stream(0, 60, states=3)[1]

    for ours, theirs in zip(module.estimates(), (*model[:2], model.durations.parameters), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    np.testing.assert_allclose(
        module(*alone(log_b)).log_likelihood.detach(), [inference.log_likelihood(tables(model), log_b)], rtol=1e-12
    )


def test_a_transition_of_zero_can_be_learnt() -> None:
    """It starts at 1e-6. The diagonal stays 0."""
    transition = np.array([[0, 1.0, 0], [0.5, 0, 0.5], [1.0, 0, 0]])
    ours = module_of(everywhere("poisson")._replace(transition=transition)).estimates().transition

    np.testing.assert_allclose(ours, transition, atol=2e-6)
    assert ours[0, 2] > 0
    assert not ours.diagonal().any()


@either
@each_kind
def test_gradients_reach_every_parameter(kind, censored) -> None:
    """Each entry of each parameter has a finite gradient that is not 0."""
    module = module_of(everywhere(kind))
    batch, lengths = padded([stream(0, 60, states=3)[1], stream(1, 25, states=3)[1]])
    (-module(batch, lengths, censored=censored).log_likelihood.sum()).backward()

    assert all((parameter.grad != 0).all() for parameter in module.parameters())
    assert all(torch.isfinite(parameter.grad).all() for parameter in module.parameters())


@either
@each_kind
def test_gradients_equal_differences(kind, censored) -> None:
    """The gradients by parameters and by emissions are checked on two short streams."""
    module = module_of(everywhere(kind, longest=3))
    names = [name for name, _ in module.named_parameters()]
    batch, lengths = padded([stream(0, 5, states=3)[1], stream(1, 3, states=3)[1]])

    def log_likelihood(log_b: Tensor, *values: Tensor) -> Tensor:
        parameters = dict(zip(names, values, strict=True))
        return torch.func.functional_call(module, parameters, (log_b, lengths), {"censored": censored}).log_likelihood

    assert torch.autograd.gradcheck(log_likelihood, (batch.requires_grad_(), *module.parameters()))


def test_impossible_emissions_leave_the_gradient_finite() -> None:
    """log b contains −∞, and one of the two streams has probability 0."""
    module = module_of(everywhere("negative_binomial"))
    log_b = stream(0, 20, states=3)[1]
    dead = log_b.copy()
    log_b[4, 1] = dead[7] = -np.inf
    found = module(*padded([log_b, dead])).log_likelihood
    found[0].backward()

    assert found[1] == -np.inf
    assert all(torch.isfinite(parameter.grad).all() for parameter in module.parameters())


def test_single_precision_holds_over_a_thousand_windows() -> None:
    """The log likelihood is exact to six digits in float32."""
    model, log_b = stream(0, 1000)
    single = Tables(*(part.float() for part in to_torch(model)))
    batch, lengths = alone(log_b)
    ours = semimarkov.forward(single, batch.float(), lengths).log_likelihood.item()

    assert ours == pytest.approx(inference.log_likelihood(model, log_b), rel=1e-6)


@each_kind
def test_the_gradient_climbs_as_high_as_expectation_maximisation(kind) -> None:
    """Both methods reach the same likelihood from the same streams."""
    true, begin = everywhere(kind, seed=3), everywhere(kind, seed=8)
    rng = np.random.default_rng(0)
    parts = [3.0 * np.eye(3)[sample(tables(true), 20, rng)] for _ in range(3)]
    best = fit(begin, parts, 30).log_likelihood[-1]
    module, (batch, lengths) = module_of(begin), padded(parts)
    optimiser = torch.optim.LBFGS(module.parameters(), max_iter=15, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        total = -module(batch, lengths).log_likelihood.sum()
        total.backward()
        return total

    optimiser.step(loss)

    assert -loss().item() >= best - 0.5
