"""The mixture as a layer: what it assigns, what it learns, and the signs that its predecessors had wrong."""

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
    """Return points around four centres, drawn with shares 0.4, 0.3, 0.2, 0.1, and their clusters."""
    generator = torch.Generator().manual_seed(seed)
    cluster = torch.multinomial(torch.tensor([4.0, 3, 2, 1]), n, replacement=True, generator=generator)
    return CENTRES[cluster] + torch.randn(n, 3, generator=generator), cluster


def layer(clusters: int = 20, groups: int = 0, seed: int = 0) -> hdp.HDP:
    """Return a layer that has seen the planted points; it depends on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = hdp.HDP(3, clusters, groups)
        made(planted()[0], torch.arange(400) % groups if groups else None)
    return made


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 1000))
def test_equal_weights_assign_to_the_nearest_centre(n: int, K: int, seed: int) -> None:
    """Without a preference the largest logit is that of the smallest distance (an older one took the farthest)."""
    generator = torch.Generator().manual_seed(seed)
    z, centres = torch.randn(n, 3, generator=generator), torch.randn(K, 3, generator=generator)
    logits = hdp.assignment_logits(z, torch.zeros(K), centres, torch.tensor(2.0))
    distance = (z[:, None] - centres).norm(dim=2)

    chosen = distance.gather(1, logits.argmax(1, keepdim=True))[:, 0]
    torch.testing.assert_close(chosen, distance.min(1).values, atol=1e-5, rtol=0)


def test_logits_are_log_weight_minus_half_the_scaled_square() -> None:
    """log π_k − ½ ‖z − μ_k‖² / σ², number by number."""
    made, z = layer(), planted(10)[0]
    distance = (z[:, None] - made.centres).square().sum(2) / made.log_noise.exp()
    expected = dirichlet_process.expected_log_weights(made.sticks) - distance / 2

    torch.testing.assert_close(made.eval()(z).logits, expected, atol=1e-3, rtol=1e-4)


def test_the_bound_is_the_density_of_the_mixture() -> None:
    """Each point's share is log Σ exp(E log π_k) N(z | μ_k, σ²)."""
    made, z = layer(), planted(10)[0]
    density = Independent(Normal(made.centres, (made.log_noise / 2).exp().expand_as(made.centres)), 1)
    log_p = dirichlet_process.expected_log_weights(made.sticks) + density.log_prob(z[:, None])

    torch.testing.assert_close(made.eval()(z).bound, log_p.logsumexp(1), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("groups", [0, 3])
def test_the_loss_teaches_every_parameter_and_not_the_encoder(groups: int) -> None:
    """−ELBO has a gradient for each number of the layer; the density it raises is not z's to raise."""
    made, z = layer(5, groups), planted(60)[0].requires_grad_()
    assigned = made(z, torch.arange(60) % groups if groups else None)
    made.loss(assigned.bound, 400).backward()

    assert all((parameter.grad != 0).all() for parameter in made.parameters())
    assert z.grad is None


@pytest.mark.parametrize("groups", [0, 3])
def test_what_follows_the_weights_teaches_all(groups: int) -> None:
    """Through the drawn weights a later loss reaches every parameter that they depend on, and z."""
    made, z = layer(5, groups), planted(60)[0].requires_grad_()
    made.temperature.fill_(10)
    weights = made(z, torch.arange(60) % groups if groups else None).weights
    (weights * torch.arange(5.0)).sum().backward()
    silent = {name for name, parameter in made.named_parameters() if parameter.grad is None}

    assert silent == ({"log_sticks"} if groups else set())
    assert z.grad.abs().sum() > 0


@pytest.mark.parametrize("groups", [0, 3])
def test_the_loss_is_that_of_the_fit(groups: int) -> None:
    """−ELBO per window: where all windows are one batch, divergence over N minus the mean of the bounds."""
    made, z = layer(groups=groups), planted()[0]
    bound = made(z, torch.arange(400) % groups if groups else None).bound
    divergence = dirichlet_process.stick_divergence(made.sticks, 1.0)
    if groups:
        divergence = divergence + dirichlet_process.group_divergence(made.log_groups.exp(), made.sticks, 1.0).sum()

    torch.testing.assert_close(made.loss(bound, 400), -(bound.sum() - divergence) / 400)


def test_learning_finds_the_planted_shares() -> None:
    """Minimizing the loss leads to shares 0.4, 0.3, 0.2, 0.1, not to twenty equal ones."""
    made, (z, cluster) = layer(seed=2), planted(2000, seed=1)
    optimizer = torch.optim.Adam(made.parameters(), lr=0.02)
    with torch.random.fork_rng(devices=[]):
        for rows in torch.arange(2000).split(200) * 6:
            optimizer.zero_grad()
            made.loss(made(z[rows]).bound, 2000).backward()
            optimizer.step()
    found = made.eval()(z).cluster
    shares = dirichlet_process.expected_weights(made.sticks).sort(descending=True).values

    assert int((found.bincount(minlength=20) >= 20).sum()) == 4  # with a hundredth of the points or more
    assert all(len(found[cluster == k].unique()) <= 2 for k in range(4))
    torch.testing.assert_close(shares[:4], torch.tensor([0.4, 0.3, 0.2, 0.1]), atol=0.05, rtol=0)


def test_the_first_batch_is_where_it_starts() -> None:
    """Of twenty clusters those four are active that lie in the first batch, each near its centre."""
    made = layer()
    held = made.eval()(planted()[0]).cluster.unique()

    assert len(held) == 4
    assert torch.cdist(CENTRES, made.centres[held]).min(1).values.max() < 0.6
    assert made.log_noise.item() == pytest.approx(0, abs=0.2)


def test_each_group_has_weights_of_its_own() -> None:
    """A row of θ decides where the group is known; where it is not, the weights are those of all."""
    made = layer(5, 3)
    with torch.no_grad():
        made.log_groups[1, 4] = 9
    log_pi = made.log_pi(torch.tensor([1, 0, 1]))

    torch.testing.assert_close(log_pi, dirichlet_process.expected_log_group_weights(made.log_groups.exp())[[1, 0, 1]])
    assert log_pi[0].argmax() == 4
    torch.testing.assert_close(made.log_pi(), dirichlet_process.expected_log_weights(made.sticks))


def test_evaluation_draws_nothing() -> None:
    """The weights are softmax(logits), torch's generator stays, and so does every buffer."""
    made, z = layer().eval(), planted(50)[0]
    state = torch.get_rng_state()
    assigned = made(z)

    assert torch.equal(assigned.weights, assigned.logits.softmax(1))
    assert torch.equal(assigned.cluster, assigned.logits.argmax(1))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_layer_that_was_never_trained_assigns() -> None:
    """In evaluation nothing is fitted to the first batch."""
    made = hdp.HDP(3).eval()
    made(planted(20)[0])

    assert not made.initialised


def test_cold_draws_choose_clusters_by_their_probability() -> None:
    """Near temperature 0 the weights are one-hot, and each cluster comes as often as softmax(logits) says."""
    logits = torch.tensor([0.0, 1, 2]).expand(20_000, 3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = hdp.gumbel_softmax(logits, 0.01)

    torch.testing.assert_close(weights.mean(0), logits[0].softmax(0), atol=0.02, rtol=0)
    assert (weights.max(1).values > 0.99).float().mean() > 0.97


def test_the_temperature_falls_from_one_to_a_half() -> None:
    """Geometrically over the training; `advance` sets it."""
    made = layer()
    made.advance(0.5)

    assert hdp.temperature_at(0) == 1
    assert hdp.temperature_at(1) == 0.5
    assert made.temperature == pytest.approx(math.sqrt(0.5))


@pytest.mark.parametrize("groups", [0, 3])
def test_same_seed_same_bits_and_resume_is_uninterrupted(groups: int) -> None:
    """What a layer starts from and draws depends on the seed; its state and torch's are all that it remembers."""
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
