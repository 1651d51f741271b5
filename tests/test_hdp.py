"""The mixture as a layer: its assignments, its training, and signs that were wrong in legacy code."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Independent, Normal

from modelreg.ml import dirichlet_process, hdp

CENTRES = torch.tensor([[0.0, 0, 0], [8, 0, 0], [0, 8, 0], [0, 0, 8]])


def planted(n: int = 400, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return points around four centres with shares 0.4, 0.3, 0.2, 0.1, and their clusters."""
    generator = torch.Generator().manual_seed(seed)
    cluster = torch.multinomial(torch.tensor([4.0, 3, 2, 1]), n, replacement=True, generator=generator)
    return CENTRES[cluster] + torch.randn(n, 3, generator=generator), cluster


def layer(clusters: int = 20, groups: int = 0, seed: int = 0) -> hdp.HDP:
    """Return a layer initialized with these points; it depends on the seed only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = hdp.HDP(3, clusters, groups)
        made(planted()[0], torch.arange(400) % groups if groups else None)
    return made


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 1000))
def test_equal_weights_assign_to_the_nearest_centre(n: int, K: int, seed: int) -> None:
    """With equal weights, the nearest centre has the largest logit (legacy code chose the farthest)."""
    generator = torch.Generator().manual_seed(seed)
    z, centres = torch.randn(n, 3, generator=generator), torch.randn(K, 3, generator=generator)
    logits = hdp.assignment_logits(z, torch.zeros(K), centres, torch.tensor(2.0))
    distance = (z[:, None] - centres).norm(dim=2)

    chosen = distance.gather(1, logits.argmax(1, keepdim=True))[:, 0]
    torch.testing.assert_close(chosen, distance.min(1).values, atol=1e-5, rtol=0)


def test_logits_are_log_weight_minus_half_the_scaled_square() -> None:
    """The logit is log π_k − ½ ‖z − μ_k‖² / σ²."""
    made, z = layer(), planted(10)[0]
    distance = (z[:, None] - made.centres).square().sum(2) / made.log_noise.exp()
    expected = dirichlet_process.expected_log_weights(made.sticks) - distance / 2

    torch.testing.assert_close(made.eval()(z).logits, expected, atol=1e-3, rtol=1e-4)


def test_the_bound_is_the_density_of_the_mixture() -> None:
    """The contribution of a point is log Σ exp(E log π_k) N(z | μ_k, σ²)."""
    made, z = layer(), planted(10)[0]
    density = Independent(Normal(made.centres, (made.log_noise / 2).exp().expand_as(made.centres)), 1)
    log_p = dirichlet_process.expected_log_weights(made.sticks) + density.log_prob(z[:, None])

    torch.testing.assert_close(made.eval()(z).bound, log_p.logsumexp(1), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("groups", [0, 3])
def test_the_loss_trains_each_parameter_but_not_the_encoder(groups: int) -> None:
    """−ELBO has a gradient for each parameter of the layer, and none for z."""
    made, z = layer(5, groups), planted(60)[0].requires_grad_()
    assigned = made(z, torch.arange(60) % groups if groups else None)
    made.loss(assigned.bound, 400).backward()

    assert all((parameter.grad != 0).all() for parameter in made.parameters())
    assert z.grad is None


@pytest.mark.parametrize("groups", [0, 3])
def test_a_loss_of_the_weights_trains_layer_and_encoder(groups: int) -> None:
    """Its gradient reaches z and each parameter on which the sampled weights depend."""
    made, z = layer(5, groups), planted(60)[0].requires_grad_()
    made.temperature.fill_(10)
    weights = made(z, torch.arange(60) % groups if groups else None).weights
    (weights * torch.arange(5.0)).sum().backward()
    silent = {name for name, parameter in made.named_parameters() if parameter.grad is None}

    assert silent == ({"log_sticks"} if groups else set())
    assert z.grad.abs().sum() > 0


@pytest.mark.parametrize("groups", [0, 3])
def test_the_loss_is_that_of_the_fit(groups: int) -> None:
    """With all windows in one batch, it is the divergence / N minus the mean of the bounds."""
    made, z = layer(groups=groups), planted()[0]
    bound = made(z, torch.arange(400) % groups if groups else None).bound
    divergence = dirichlet_process.stick_divergence(made.sticks, 1.0)
    if groups:
        divergence = divergence + dirichlet_process.group_divergence(made.log_groups.exp(), made.sticks, 1.0).sum()

    torch.testing.assert_close(made.loss(bound, 400), -(bound.sum() - divergence) / 400)


def test_training_finds_the_known_shares() -> None:
    """Minimizing the loss gives the shares 0.4, 0.3, 0.2, 0.1."""
    made, (z, cluster) = layer(seed=2), planted(2000, seed=1)
    optimizer = torch.optim.Adam(made.parameters(), lr=0.02)
    with torch.random.fork_rng(devices=[]):
        for rows in torch.arange(2000).split(200) * 6:
            optimizer.zero_grad()
            made.loss(made(z[rows]).bound, 2000).backward()
            optimizer.step()
    found = made.eval()(z).cluster
    shares = dirichlet_process.expected_weights(made.sticks).sort(descending=True).values

    assert int((found.bincount(minlength=20) >= 20).sum()) == 4  # with at least 1 % of the points
    assert all(len(found[cluster == k].unique()) <= 2 for k in range(4))
    torch.testing.assert_close(shares[:4], torch.tensor([0.4, 0.3, 0.2, 0.1]), atol=0.05, rtol=0)


def test_the_first_batch_initializes_the_clusters() -> None:
    """Of 20 clusters, the 4 of the first batch are active, each near its centre."""
    made = layer()
    held = made.eval()(planted()[0]).cluster.unique()

    assert len(held) == 4
    assert torch.cdist(CENTRES, made.centres[held]).min(1).values.max() < 0.6
    assert made.log_noise.item() == pytest.approx(0, abs=0.2)


def test_each_group_has_its_own_weights() -> None:
    """A known group uses its row of θ; an unknown group uses the common weights."""
    made = layer(5, 3)
    with torch.no_grad():
        made.log_groups[1, 4] = 9
    log_pi = made.log_pi(torch.tensor([1, 0, 1]))

    torch.testing.assert_close(log_pi, dirichlet_process.expected_log_group_weights(made.log_groups.exp())[[1, 0, 1]])
    assert log_pi[0].argmax() == 4
    torch.testing.assert_close(made.log_pi(), dirichlet_process.expected_log_weights(made.sticks))


def test_evaluation_uses_no_random_numbers() -> None:
    """The weights are softmax(logits), and torch's random state does not change."""
    made, z = layer().eval(), planted(50)[0]
    state = torch.get_rng_state()
    assigned = made(z)

    assert torch.equal(assigned.weights, assigned.logits.softmax(1))
    assert torch.equal(assigned.cluster, assigned.logits.argmax(1))
    assert torch.equal(torch.get_rng_state(), state)


def test_an_untrained_layer_can_be_evaluated() -> None:
    """In evaluation, the first batch does not initialize the layer."""
    made = hdp.HDP(3).eval()
    made(planted(20)[0])

    assert not made.initialised


def test_samples_at_low_temperature_follow_the_probabilities() -> None:
    """Near temperature 0 the weights are one-hot, with frequencies softmax(logits)."""
    logits = torch.tensor([0.0, 1, 2]).expand(20_000, 3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = hdp.gumbel_softmax(logits, 0.01)

    torch.testing.assert_close(weights.mean(0), logits[0].softmax(0), atol=0.02, rtol=0)
    assert (weights.max(1).values > 0.99).float().mean() > 0.97


def test_the_temperature_falls_from_one_to_a_half() -> None:
    """It falls geometrically over the training; `advance` sets it."""
    made = layer()
    made.advance(0.5)

    assert hdp.temperature_at(0) == 1
    assert hdp.temperature_at(1) == 0.5
    assert made.temperature == pytest.approx(math.sqrt(0.5))


@pytest.mark.parametrize("groups", [0, 3])
def test_a_resumed_layer_equals_an_uninterrupted_one(groups: int) -> None:
    """Initialization and samples depend on the seed; parameters, buffers and torch's random state are sufficient."""
    one, other = layer(groups=groups), layer(groups=groups)
    resumed = hdp.HDP(3, groups=groups)
    resumed.load_state_dict(one.state_dict())
    drawn = []
    for made in (one, other, resumed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            drawn.append(made(planted(30)[0]).weights)

    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])
