"""The components of the TCN-VAE: each formula, both forms of the encoder, and the decoder."""

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from modelreg.ml import tcn

PLAIN = tcn.Form(batchnorm=False)
MEASURES = st.lists(st.tuples(st.floats(-30, 30), st.floats(-8, 8)), min_size=1, max_size=20)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Return standard normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def latent(measures: list[tuple[float, float]]) -> tcn.Latent:
    """Return q(z|x) of one window from pairs of μ and log σ²."""
    return tcn.Latent(*torch.tensor(measures, dtype=torch.float64).T[:, None])


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Run with a seed for torch's generator, and restore its state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def encoder(form: tcn.Form = PLAIN) -> tcn.Encoder:
    """Return a small encoder of sequences in eval mode, with updated batch statistics."""
    with seeded():
        made = tcn.Encoder(4, 40, (8, 8, 16), form)
        made(3 + 2 * torch.randn(16, 4, 40))
    return made.eval()


def of_windows(made: tcn.Encoder, devices: int, form: tcn.Form = PLAIN) -> tcn.Encoder:
    """Return the encoder of windows, as in tcn_vae, with the weights of an encoder of sequences."""
    flat = tcn.Encoder(4, 40, (8, 8, 16), form._replace(rows=devices))
    shapes = {name: tensor.shape for name, tensor in flat.state_dict().items()}
    flat.load_state_dict({name: tcn.with_rows(tensor, shapes[name]) for name, tensor in made.state_dict().items()})
    return flat.eval()


def test_the_encoder_has_the_published_number_of_parameters() -> None:
    """With 9 channels: the 426,432 parameters of the reference without the 896 gains of its weight norm."""
    assert sum(p.numel() for p in tcn.Encoder(9, 100, form=PLAIN).parameters()) == 426_432 - 896


@pytest.mark.parametrize("batchnorm", [False, True])
@pytest.mark.parametrize("devices", [1, 2])
def test_both_forms_of_the_encoder_are_equal(devices: int, batchnorm: bool) -> None:
    """Conv2d on windows (N, C, D, T) and Conv1d on sequences agree within 1e-5."""
    form = tcn.Form(batchnorm=batchnorm)
    made, x = encoder(form), normal(5, 4 // devices, devices, 40)
    flat = of_windows(made, devices, form)

    assert {type(layer) for layer in flat.modules()}.isdisjoint({nn.Conv1d, nn.BatchNorm1d})
    torch.testing.assert_close(flat(x), made(tcn.to_sequence(x).transpose(1, 2)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("t", [0, 5, 39])
def test_blocks_are_causal_up_to_the_receptive_field(t: int) -> None:
    """A sample changes the 29 outputs from its time on, and no others."""
    blocks, x = encoder().blocks, normal(1, 4, 40)
    other = x.clone()
    other[:, :, t] += 10
    changed = (blocks(x) != blocks(other)).any(1)[0].nonzero()[:, 0]

    assert changed.tolist() == list(range(t, min(40, t + tcn.receptive_field(3))))


def test_the_receptive_field_is_that_of_the_reference() -> None:
    """Three blocks with kernel length 3 and dilations 1, 2, 4 have a receptive field of 29 samples."""
    assert tcn.receptive_field(3) == 29


def test_sequences_hold_the_channels_of_each_device() -> None:
    """Timestep t has the channels of the first device, then those of the second device."""
    x = normal(2, 3, 2, 5)

    assert torch.equal(tcn.to_sequence(x)[1, 4], torch.cat([x[1, :, 0, 4], x[1, :, 1, 4]]))


def test_the_device_part_is_exported_as_plain_layers() -> None:
    """Left padding is merged into each convolution, and all operators are supported by the NPU."""
    import onnxsim  # slow to import

    flat = of_windows(encoder(tcn.Form()), 2, tcn.Form())
    part, x = nn.Sequential(flat, nn.Linear(16, 3)).eval(), normal(1, 2, 2, 40)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", (FutureWarning, DeprecationWarning))
            program = torch.onnx.export(part, (x,), dynamo=True, opset_version=18, verbose=False)
    finally:
        logging.disable(logging.NOTSET)
    graph = onnxsim.simplify(program.model_proto)[0].graph
    pads = [list(a.ints) for node in graph.node for a in node.attribute if node.op_type == "Conv" and a.name == "pads"]

    assert {node.op_type for node in graph.node} <= {"Conv", "Relu", "Add", "AveragePool", "Reshape", "Gemm"}
    assert [p for p in pads if any(p)] == [[0, left, 0, 0] for left in (2, 2, 4, 4, 8, 8)]


@given(MEASURES)
def test_the_divergence_is_that_of_torch(measures: list[tuple[float, float]]) -> None:
    """It is KL(N(μ, σ²) ‖ N(0, 1)) ≥ 0 of each dimension."""
    q = latent(measures)
    divergence = tcn.kl_divergence(q)
    expected = kl_divergence(Normal(q.mu, (q.log_variance / 2).exp()), Normal(torch.zeros(()), torch.ones(())))

    torch.testing.assert_close(divergence, expected, atol=1e-9, rtol=1e-9)
    assert (divergence >= 0).all()


def test_the_divergence_is_the_mean_over_draws() -> None:
    """It is the mean of log q(z) − log p(z) over samples of z."""
    q = tcn.Latent(torch.full((200_000, 1), 0.7), torch.full((200_000, 1), -1.0))
    with seeded():
        z = tcn.reparametrize(q)
    ratio = Normal(0.7, math.exp(-0.5)).log_prob(z) - Normal(0.0, 1.0).log_prob(z)

    torch.testing.assert_close(ratio.mean(), tcn.kl_divergence(q)[0, 0], atol=0.01, rtol=0)


def test_both_terms_are_sums_over_a_window() -> None:
    """½ Σ (x − x̂)² / σ² and Σ KL are summed over a window, then averaged (legacy code summed over the batch)."""
    x, x_hat, q = normal(7, 100, 9), normal(7, 100, 9, seed=1), tcn.Latent(normal(7, 64), normal(7, 64, seed=1))
    terms = tcn.elbo(x, x_hat, q, variance=2.0)
    squares = sum(float((x[n] - x_hat[n]).square().sum()) / 4 for n in range(7)) / 7
    divergence = sum(float(tcn.kl_divergence(q)[n].sum()) for n in range(7)) / 7

    assert terms == pytest.approx((squares, divergence), rel=1e-5)


@given(st.integers(1, 5))
def test_the_size_of_a_batch_does_not_matter(times: int) -> None:
    """Repeating the windows does not change the terms."""
    x, q = normal(3, 5, 2), tcn.Latent(normal(3, 4), normal(3, 4))
    again = tcn.Latent(q.mu.repeat(times, 1), q.log_variance.repeat(times, 1))

    repeated = tcn.elbo(x.repeat(times, 1, 1), torch.zeros(3 * times, 5, 2), again)
    torch.testing.assert_close(repeated, tcn.elbo(x, torch.zeros_like(x), q))


def test_free_bits_have_no_gradient() -> None:
    """A dimension below the bound has the value of the bound and gradient 0; one above is unchanged."""
    mu = torch.tensor([[0.1, 3.0]], requires_grad=True)
    divergence = tcn.elbo(normal(1, 2), normal(1, 2), tcn.Latent(mu, torch.zeros(1, 2)), free_bits=0.5).divergence
    divergence.backward()

    assert divergence.item() == pytest.approx(0.5 + 4.5)
    assert mu.grad.tolist() == [[0, 3]]


@pytest.mark.parametrize(("progress", "weight"), [(0, 0), (0.1, 1), (0.2, 2), (0.9, 2)])
def test_the_divergence_warms_up(progress: float, weight: float) -> None:
    """Its weight rises linearly to β over the first share of the training; with share 0 it is β."""
    assert tcn.warm_up(progress, share=0.2, beta=2) == pytest.approx(weight)
    assert tcn.warm_up(progress, share=0, beta=2) == 2


def test_the_reversal_grows_over_the_whole_training() -> None:
    """λ(p) = 2 / (1 + e^{−10 p}) − 1 rises from 0 over 0.987 at half of the training to less than 1."""
    strengths = [tcn.reversal_strength(p / 10) for p in range(11)]

    assert strengths[0] == 0
    assert strengths[5] == pytest.approx(0.98661, abs=1e-5)
    assert strengths == sorted(strengths)
    assert strengths[-1] < 1


def test_the_gradient_is_reversed_for_the_encoder_only() -> None:
    """The gradient of the head is unchanged; the gradient of μ is multiplied by −λ."""
    with seeded():
        head = tcn.DomainHead(8, 3)
    mu, plain = normal(5, 8).requires_grad_(), normal(5, 8).requires_grad_()
    head.advance(0.1)
    head(mu).square().sum().backward()
    learned = head.layers[0].weight.grad.clone()
    head.zero_grad()
    head.layers(plain).square().sum().backward()

    torch.testing.assert_close(mu.grad, -tcn.reversal_strength(0.1) * plain.grad)
    torch.testing.assert_close(learned, head.layers[0].weight.grad)
    assert torch.equal(head(mu), head.layers(mu))


def test_latents_are_sampled_in_training_only() -> None:
    """In evaluation z is μ, and torch's random state does not change."""
    heads = tcn.LatentHeads(16, 4)
    q = heads(normal(5, 16))
    state = torch.get_rng_state()
    assert heads.eval().draw(q) is q.mu
    assert torch.equal(torch.get_rng_state(), state)
    with seeded():
        assert not torch.equal(heads.train().draw(q), heads.draw(q))


@pytest.mark.parametrize("size", [1e-3, 1.0, 30.0, 1e6])
def test_the_variance_is_bounded_with_a_gradient(size: float) -> None:
    """e^−8 ≤ σ² ≤ e^8 for features of any size. Unlike a clamp, the bound has a gradient."""
    heads = tcn.LatentHeads(16, 4)
    raw = heads.log_variance(normal(5, 16))
    with torch.no_grad():
        heads.log_variance.weight.mul_(size)
    q = heads(normal(5, 16))
    q.log_variance.sum().backward()

    assert raw.isfinite().all()
    assert q.log_variance.abs().max() <= 8
    assert size > 30 or (heads.log_variance.bias.grad != 0).all()


def test_the_decoder_distinguishes_all_timesteps() -> None:
    """No two timesteps of the output are equal (the legacy decoder was constant from timestep 60)."""
    with seeded():
        made = tcn.Decoder(3, 100, 8, (16, 16)).eval()(normal(2, 8))
    distance = torch.cdist(made, made) + torch.eye(100)

    assert made.shape == (2, 100, 3)
    assert distance.min() > 1e-5


def test_a_few_windows_can_be_overfitted() -> None:
    """Sines of 16 phases are reconstructed with at most a tenth of their power as error."""
    t, phase = torch.arange(32) / 32, torch.arange(16)[:, None] * math.tau / 16
    x = torch.stack([torch.sin(math.tau * t + phase), torch.cos(2 * math.tau * t - phase)], 2)  # (16, 32, 2)
    with seeded():
        parts = nn.ModuleList(
            [
                tcn.Encoder(2, 32, (16, 16), tcn.Form(dropout=0)),
                tcn.LatentHeads(16, 4),
                tcn.Decoder(2, 32, 4, (16, 16), tcn.Form(dropout=0, causal=False)),
            ]
        )
        encode, heads, decode = parts
        optimizer = torch.optim.Adam(parts.parameters(), lr=0.02)
        for step in range(100):
            q = heads(encode(x.transpose(1, 2)))
            terms = tcn.elbo(x, decode(heads.draw(q)), q, variance=0.05)
            optimizer.zero_grad()
            (terms.reconstruction + tcn.warm_up(step / 100, 1.0) * terms.divergence).backward()
            optimizer.step()
        parts.eval()
        made = decode(heads.draw(heads(encode(x.transpose(1, 2)))))

    assert (made - x).square().mean() < 0.1 * x.square().mean()
    assert made.min() < -0.5
