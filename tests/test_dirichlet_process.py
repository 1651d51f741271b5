"""Mixtures: formulae equal their definitions, the bound is below the evidence, and known clusters are found."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Beta, Dirichlet, MultivariateNormal, kl_divergence

from modelreg.ml import dirichlet_process as mx

SEEDS = st.integers(0, 10_000)
CORNERS = torch.tensor([[0.0, 0], [8, 0], [0, 8], [8, 8]])


def generator(seed: int = 0) -> torch.Generator:
    """Return a seeded generator."""
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Return standard normal numbers, float64."""
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def sticks(K: int, seed: int) -> mx.Sticks:
    """Return a random q(v)."""
    return mx.Sticks(*torch.empty(2, K - 1, dtype=torch.float64).uniform_(0.3, 5, generator=generator(seed)))


def sample_weights(v: Tensor) -> Tensor:
    """Return β (S, K) of v (S, K − 1) by the sequential definition of stick breaking."""
    left, pieces = torch.ones(len(v)), []
    for share in v.T:
        pieces.append(left * share)
        left = left * (1 - share)
    return torch.stack([*pieces, left], 1)


def planted(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return n points around the four corners, and their clusters."""
    label = torch.randint(4, (n,), generator=generator(seed))
    return CORNERS[label] + normal(n, 2, seed=seed), label


def active(found: mx.Mixture) -> int:
    """Return how many clusters hold at least a hundredth of the points."""
    mass = found.responsibilities.sum(0)
    return int((mass >= 0.01 * mass.sum()).sum())


def assert_same_partition(found: Tensor, label: Tensor) -> None:
    """Assert that at most 1 % of the pairs of points share a cluster in only one of two partitions."""
    together = (found[:, None] == found) == (label[:, None] == label)
    assert together.float().mean() > 0.99


def rises(x: Tensor, model: mx.Model, seed: int) -> Tensor:
    """Return the relative increase of the bound in each sweep of a fit."""
    bounds = torch.tensor([state.elbo for state in mx.climb(x, model, generator=generator(seed))])
    return bounds.double().diff() / (1 + bounds[1:].abs())


@given(st.integers(2, 20), SEEDS)
def test_weights_in_log_space_are_the_broken_stick(K: int, seed: int) -> None:
    """The weights are those of the sequential definition and sum to one."""
    v = torch.rand(7, K - 1, generator=generator(seed), dtype=torch.float64)
    weights = mx.log_weights(v.log(), (1 - v).log()).exp()

    torch.testing.assert_close(weights, sample_weights(v))
    torch.testing.assert_close(weights.sum(1), torch.ones(7, dtype=torch.float64))


def test_expected_weights_are_the_means_of_draws() -> None:
    """E β and E log β are means over samples of the sticks."""
    q = sticks(6, seed=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        beta = sample_weights(Beta(*q).sample((100_000,)))

    torch.testing.assert_close(mx.expected_weights(q), beta.mean(0), atol=0.005, rtol=0)
    torch.testing.assert_close(mx.expected_log_weights(q), beta.log().mean(0), atol=0.1, rtol=0)


@given(SEEDS, st.floats(0.1, 20))
def test_stick_divergence_is_that_of_torch(seed: int, gamma: float) -> None:
    """It is the sum of KL(Beta(a, b) ‖ Beta(1, γ)) ≥ 0."""
    q = sticks(8, seed)
    prior = Beta(torch.ones(7, dtype=torch.float64), torch.full((7,), gamma, dtype=torch.float64))

    torch.testing.assert_close(mx.stick_divergence(q, gamma), kl_divergence(Beta(*q), prior).sum())
    assert mx.stick_divergence(q, gamma) >= 0


@given(SEEDS, st.floats(0.1, 20), st.integers(2, 8))
def test_group_divergence_bounds_that_of_torch(seed: int, alpha: float, K: int) -> None:
    """For a concentrated q(v), it is above KL(Dir(θ) ‖ Dir(αβ)), and close to it for small α."""
    q = mx.Sticks(*(1e7 * part for part in sticks(K, seed)))
    theta = normal(3, K, seed=seed).exp()
    exact = kl_divergence(Dirichlet(theta), Dirichlet(alpha * mx.expected_weights(q).expand(3, K)))
    over = mx.group_divergence(theta, q, alpha) - exact

    assert (over > -1e-3).all()
    assert (over < 0.13 * K if alpha <= 1 else over < 20 * K).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("alpha", "slack"), [(0.5, 0.2), (3.0, 2.0)])
def test_group_divergence_bounds_the_mean_over_the_sticks(seed: int, alpha: float, slack: float) -> None:
    """For a wide q(v), it is slightly above the mean of KL(Dir(θ) ‖ Dir(αβ)) over samples of the sticks."""
    q, theta = sticks(4, seed), normal(3, 4, seed=seed).exp()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        beta = sample_weights(Beta(*q).sample((20_000,))).clamp(min=1e-12)
    exact = kl_divergence(Dirichlet(theta), Dirichlet(alpha * beta[:, None])).mean(0)
    over = mx.group_divergence(theta, q, alpha) - exact

    assert ((over > 0) & (over < slack)).all()


def test_expected_likelihood_is_the_mean_over_centres() -> None:
    """E log N(x | μ, σ²) is the mean over samples of μ."""
    c = mx.Components(normal(3, 2), normal(3, 2, seed=1).exp(), normal(2, seed=2).exp())
    x, mu = normal(4, 2, seed=3), c.mean + c.variance.sqrt() * normal(20_000, 1, 3, 2, seed=4)
    log_p = torch.distributions.Normal(mu, c.noise.sqrt()).log_prob(x[:, None]).sum(3).mean(0)

    torch.testing.assert_close(mx.expected_log_likelihood(x, c), log_p, atol=0.1, rtol=0.02)


@settings(max_examples=25)
@given(
    n=st.integers(1, 60),
    d=st.integers(1, 4),
    K=st.integers(2, 8),
    concentration=st.floats(0.1, 10),
    noise=st.sampled_from(["isotropic", "diagonal", "fixed"]),
    seed=SEEDS,
)
def test_the_bound_of_a_dp_mixture_never_decreases(n, d, K, concentration, noise, seed) -> None:
    """This holds for each sweep and each merge."""
    sigma = torch.full((d,), 0.5) if noise == "fixed" else noise
    x = 3 * normal(n, d, seed=seed) + torch.randint(3, (n, 1), generator=generator(seed))

    assert (rises(x, mx.Model(concentration, 1.0, K, sigma), seed) > -1e-10).all()


SIGMA = torch.tensor([0.5], dtype=torch.float64)
FIVE = torch.tensor([[-1.1], [-0.9], [0.2], [1.8], [2.1]], dtype=torch.float64)
ASSIGNMENTS = torch.tensor(list(itertools.product(range(2), repeat=5)))  # (32, 5)


def log_evidence_of_points(assignment: Tensor) -> float:
    """Return log p(x | c) of the five points, integrated over the centres."""
    m0, s0, total = FIVE.mean(), FIVE.var(correction=0), 0.0
    for k in range(2):
        x = FIVE[assignment == k, 0]
        if len(x):
            covariance = SIGMA * torch.eye(len(x), dtype=x.dtype) + s0
            total += float(MultivariateNormal(m0.expand(len(x)), covariance).log_prob(x))
    return total


def log_evidence(gamma: float) -> float:
    """Return log p(x) of the five points, summed over all assignments and a grid of the stick."""
    v = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    log_p = torch.tensor([log_evidence_of_points(c) for c in ASSIGNMENTS])
    counts = torch.nn.functional.one_hot(ASSIGNMENTS, 2).sum(1).double()  # (32, 2)
    given_v = counts @ torch.stack([v, 1 - v]).log()
    joint = log_p[:, None] + given_v + math.log(gamma) + (gamma - 1) * (1 - v).log()
    return float(joint.flatten().logsumexp(0)) - math.log(len(v))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 4.0])
def test_the_bound_of_a_dp_mixture_is_below_the_evidence(gamma: float) -> None:
    """The evidence is summed over all 32 assignments of five points; the bound is less than 2 nats lower."""
    model = mx.Model(gamma, 1.0, 2, SIGMA)
    gap = log_evidence(gamma) - mx.dp_mixture_fit(FIVE, model, generator=generator()).elbo

    assert 0 < gap < 2


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("noise", ["isotropic", "diagonal"])
def test_known_clusters_are_found(seed: int, noise: mx.Noise) -> None:
    """Of 20 clusters, exactly the 4 known ones are active."""
    x, label = planted(200, seed)
    found = mx.dp_mixture_fit(x, mx.Model(noise=noise), generator=generator(seed))

    assert active(found) == 4
    assert_same_partition(found.responsibilities.argmax(1), label)
    torch.testing.assert_close(found.components.noise, torch.ones(2, dtype=torch.float64), atol=0.25, rtol=0)


def test_the_order_of_points_does_not_matter() -> None:
    """The same centres give the same mixture for points in another order."""
    x, _ = planted(60)
    order, model = torch.randperm(60, generator=generator()), mx.Model(truncation=6)
    one = mx.dp_mixture_fit(x, model, centres=x[:6])
    other = mx.dp_mixture_fit(x[order], model, centres=x[:6])

    torch.testing.assert_close(other.responsibilities, one.responsibilities[order], atol=1e-6, rtol=0)
    assert other.elbo == pytest.approx(one.elbo)


def test_a_fixed_noise_is_not_changed() -> None:
    """A given σ² is not learned."""
    x, _ = planted(20)
    sigma = torch.tensor([2.0, 3.0])

    assert mx.dp_mixture_fit(x, mx.Model(noise=sigma), generator=generator()).components.noise.tolist() == [2, 3]


def test_identical_points_are_one_cluster() -> None:
    """The bound is finite for data without variance."""
    found = mx.dp_mixture_fit(torch.full((50, 3), 7.0), generator=generator())

    assert math.isfinite(found.elbo)
    assert active(found) == 1
