"""The codebook equals its definition and another implementation, and has none of the faults of legacy code."""

import pytest
import torch
import vector_quantize_pytorch as published  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from modelreg.ml import fsq_layer, vq


def vectors(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    """Return random vectors of a shape."""
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def layer(K: int = 16, d: int = 4, seed: int = 0, **settings: float | bool) -> vq.VQ:
    """Return a layer whose codes depend on the seed only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return vq.VQ(K, d, **settings)  # type: ignore[arg-type]


def run(quantizer: vq.VQ, batches: range) -> None:
    """Pass one batch of each seed to a layer, without seeding torch's generator."""
    for seed in batches:
        quantizer(vectors(40, 4, seed=seed))


@given(st.integers(1, 50), st.integers(1, 20), st.integers(1, 8), st.integers(0, 1000))
def test_the_nearest_code_is_found(n: int, K: int, d: int, seed: int) -> None:
    """No code is nearer than the selected one, in double precision."""
    z, codes = vectors(n, d, seed=seed), vectors(K, d, seed=seed + 1)
    distance = (z.double()[:, None] - codes.double()).square().sum(2)
    chosen = distance.gather(1, vq.nearest(z, codes)[:, None])[:, 0]

    assert (chosen <= distance.min(1).values + 1e-5).all()


def test_ties_go_to_the_lowest_index() -> None:
    """Equal codes, and codes at equal distance, give the first index."""
    codes = torch.tensor([[9.0, 9], [1, 0], [-1, 0], [1, 0], [-1, 0]])

    assert vq.nearest(torch.tensor([[1.0, 0], [-1, 0], [0, 5]]), codes).tolist() == [1, 2, 1]


@given(st.integers(1, 30), st.integers(0, 1000), st.floats(0.5, 0.999))
def test_a_step_follows_its_formulae(n: int, seed: int, decay: float) -> None:
    """N, m and e are computed code by code."""
    z, book = vectors(n, 3, seed=seed), vq.start(vectors(5, 3, seed=seed + 1))
    index = vq.nearest(z, book.codes)
    step = vq.moved(book, z, index, decay, epsilon=1e-2)
    N = [decay * 1 + (1 - decay) * int((index == k).sum()) for k in range(5)]
    for k in range(5):
        m = decay * book.codes[k] + (1 - decay) * z[index == k].sum(0)
        e = m / ((N[k] + 1e-2) / (sum(N) + 5e-2) * sum(N))
        torch.testing.assert_close((step.counts[k], step.sums[k], step.codes[k]), (torch.tensor(N[k]), m, e))


def test_steps_equal_the_published_ones() -> None:
    """For ten steps, codes, indices, loss and codebook equal those of another implementation."""
    ours = layer(32, 8, kmeans_start=False, threshold=0.0, decay=0.9)
    theirs = published.VectorQuantize(
        dim=8, codebook_size=32, decay=0.9, commitment_weight=0.25, rotation_trick=False, threshold_ema_dead_code=0
    ).train()
    theirs._codebook.embed.copy_(ours.codes[None])
    theirs._codebook.embed_avg.copy_(ours.codes[None])
    for seed in range(10):
        z = vectors(64, 8, seed=seed)
        code, index, loss = theirs(z[None])
        torch.testing.assert_close(ours(z), vq.Quantized(code[0], index[0], loss))
        torch.testing.assert_close(ours.codes, theirs._codebook.embed[0])


def test_unused_codes_do_not_diverge() -> None:
    """Without restarts, no code moves far away (a legacy codebook: norm 990,000 after one step)."""
    quantizer, z = layer(128, 16, kmeans_start=False, threshold=0.0, decay=0.9), vectors(16, 16)
    longest = quantizer.codes.norm(dim=1).max()
    for _ in range(300):
        quantizer(z)

    assert quantizer.codes.norm(dim=1).max() <= 1.01 * longest


@pytest.mark.parametrize("kmeans_start", [False, True])
def test_active_codes_do_not_collapse(kmeans_start: bool) -> None:
    """The number of used codes does not fall over 20 steps (a legacy codebook: 378, then 3)."""
    quantizer, z = layer(512, 64, kmeans_start=kmeans_start), vectors(1024, 64)
    with torch.random.fork_rng(devices=[]):
        used = [len(quantizer(z).code_index.unique()) for _ in range(20)]

    assert used[1] >= 0.95 * used[0]
    assert used[-1] >= used[0]


def test_codes_reach_the_scale_of_the_vectors() -> None:
    """Vectors of norm 36 get codes of a similar norm."""
    quantizer, z = layer(64, 4, threshold=0.0, decay=0.9), vectors(500, 4, scale=18)
    for _ in range(50):
        code = quantizer(z).code

    assert (code - z).square().mean() < 0.2 * z.square().mean()


def test_the_commitment_has_value_and_gradient_of_its_formula() -> None:
    """The value is β · mean (z − e)², and the gradient is 2β (z − e) / number of elements."""
    quantizer, z = layer(commitment=0.5, kmeans_start=False), vectors(10, 4).requires_grad_()
    e = quantizer.codes[vq.nearest(z, quantizer.codes)].clone()
    loss = quantizer(z).commitment
    loss.backward()

    torch.testing.assert_close(loss, 0.5 * (z - e).square().mean())
    torch.testing.assert_close(z.grad, 2 * 0.5 * (z.detach() - e) / z.numel())


def test_the_gradient_is_passed_straight_through() -> None:
    """z receives the gradient of its code unchanged; the codes have no gradient."""
    quantizer, z, weight = layer(), vectors(10, 4).requires_grad_(), vectors(10, 4, seed=1)
    (quantizer(z).code * weight).sum().backward()

    assert torch.equal(z.grad, weight)
    assert not list(quantizer.parameters())


@pytest.mark.parametrize("shape", [(7, 4), (3, 5, 4), (2, 3, 5, 4)])
def test_evaluation_changes_no_state(shape: tuple[int, ...]) -> None:
    """Codes equal rows of the codebook bit by bit; buffers and random state do not change."""
    quantizer = layer().eval()
    before = {name: tensor.clone() for name, tensor in quantizer.state_dict().items()}
    state = torch.get_rng_state()
    code, index, _ = quantizer(vectors(*shape))

    assert index.dtype == torch.int64
    assert torch.equal(code, quantizer.codes[index])
    assert all(torch.equal(tensor, before[name]) for name, tensor in quantizer.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_training_and_evaluation_give_the_same_bits() -> None:
    """The straight-through form does not change values."""
    quantizer, z = layer(kmeans_start=False), vectors(50, 4)
    code, index, _ = quantizer.eval()(z)
    trained = quantizer.train()(z)

    assert torch.equal(trained.code, code)
    assert torch.equal(trained.code_index, index)


def test_dead_codes_move_to_vectors_of_the_batch() -> None:
    """Each gets a different vector, N = 1 and m = e; other codes do not change."""
    book = vq.start(vectors(6, 2))._replace(counts=torch.tensor([0.0, 5, 0.01, 5, 0.02, 5]))
    z = vectors(3, 2, seed=1)
    after = vq.restarted(book, z, torch.tensor([2, 0, 1]), threshold=0.1)

    assert torch.equal(after.codes[::2], z[[2, 0, 1]])
    assert torch.equal(after.sums[::2], after.codes[::2])
    assert after.counts.tolist() == [1, 5, 1, 5, 1, 5]
    assert torch.equal(after.codes[1::2], book.codes[1::2])


def test_a_small_batch_restarts_some_dead_codes() -> None:
    """Two vectors restart the first two of four dead codes."""
    book = vq.start(vectors(5, 2))._replace(counts=torch.tensor([0.0, 9, 0, 0, 0]))
    after = vq.restarted(book, vectors(2, 2, seed=1), torch.tensor([0, 1]), threshold=0.1)

    assert after.counts.tolist() == [1, 9, 1, 0, 0]


def test_rare_codes_are_not_dead_in_small_batches() -> None:
    """With 8 vectors per batch and 512 codes in equal use, no code is restarted."""
    book = vq.start(vectors(512, 2))._replace(counts=torch.full((512,), 8 / 512))
    after = vq.restarted(book, vectors(8, 2), torch.arange(8), threshold=0.1)

    assert torch.equal(after.codes, book.codes)


def test_the_first_batch_initializes_the_codes() -> None:
    """With k-means++ each code is a vector of the first batch."""
    quantizer, z = layer(decay=1.0), vectors(200, 4) + 30
    quantizer(z)

    torch.testing.assert_close((quantizer.codes[:, None] - z).abs().amax(2).amin(1), torch.zeros(16), atol=1e-3, rtol=0)
    assert quantizer.initialised


def test_a_resumed_codebook_equals_an_uninterrupted_one() -> None:
    """Buffers and torch's random state after three of six batches are sufficient."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        whole = layer(threshold=0.5)
        run(whole, range(3))
        saved, state = {k: v.clone() for k, v in whole.state_dict().items()}, torch.get_rng_state()
        run(whole, range(3, 6))
        resumed = layer(seed=99, threshold=0.5)
        resumed.load_state_dict(saved)
        torch.set_rng_state(state)
        run(resumed, range(3, 6))

    assert all(torch.equal(tensor, whole.state_dict()[name]) for name, tensor in resumed.state_dict().items())


def test_usage_is_computed_over_an_epoch() -> None:
    """Two batches that each use one of 8 codes give perplexity 2 and a used share of 0.25."""
    epoch = torch.cat([torch.full((10,), 3), torch.full((10,), 5)])

    assert fsq_layer.usage(epoch, (8,)) == pytest.approx((2, 0.25))
