"""Vector quantization with a moving codebook (van den Oord 2017, arXiv:1711.00937; Razavi 2019, arXiv:1906.00446).

A vector z is replaced by the nearest of K codes e_k. The codes are learned without gradient, as moving averages
of the vectors that chose them; the encoder is held to its codes by the commitment β · mean (z − sg e)². For the
n_k vectors of a batch that chose k and their sum Σz:

    N_k ← γ N_k + (1 − γ) n_k,   m_k ← γ m_k + (1 − γ) Σz,   Ñ_k = (N_k + ε) / (ΣN + Kε) · ΣN,   e_k = m_k / Ñ_k

All start as N = 1, m = e: with N = 0 the first steps would throw unused codes far away, where no vector ever
finds them. How much of a codebook an epoch uses tells `fsq_layer.usage(index, (K,))`.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modelreg.ml import kmeans


class Codebook(NamedTuple):
    """The codes, and the moving sums that they are made of."""

    codes: Tensor  # (K, d), e
    counts: Tensor  # (K,), N: vectors of a batch that choose each
    sums: Tensor  # (K, d), m: of those vectors


class Quantized(NamedTuple):
    """What a codebook makes of vectors."""

    code: Tensor  # (…, d); in training its gradient goes straight through to z
    code_index: Tensor  # (…), int64
    commitment: Tensor  # ()


def start(codes: Tensor) -> Codebook:
    """Return the codebook of codes (K, d) before the first step."""
    return Codebook(codes, torch.ones_like(codes[:, 0]), codes.clone())


def nearest(z: Tensor, codes: Tensor) -> Tensor:
    """Return the index (…), int64, of the code (K, d) nearest to each vector (…, d); the lowest of equals.

    It is the least of ‖z‖² − 2 z·e + ‖e‖², without ‖z‖², which is the same for every code.
    """
    score = torch.addmm(codes.square().sum(1), z.reshape(-1, z.shape[-1]), codes.T, alpha=-2)
    return score.argmin(1).reshape(z.shape[:-1])


def margin(z: Tensor, e: Tensor) -> Tensor:
    """Return how far each vector z (N, d) may move before another of the codes e (K, d) is as near as its own (N,).

    Half way to code k lies (d_k² − d₁²) / (2 ‖e₁ − e_k‖) away, d₁ the least distance. The least of these need not be
    that of the second nearest code. Where codes are equal it is 0.
    """
    z, e = z.double(), e.double()
    squares = torch.cdist(z, e).square()  # (N, K)
    own = squares.argmin(1)
    apart = torch.cdist(e[own], e)  # (N, K)
    to_half_way = (squares - squares.gather(1, own[:, None])) / (2 * apart)
    others = F.one_hot(own, len(e)) == 0
    found: Tensor = to_half_way.nan_to_num(nan=0.0).masked_fill(~others, torch.inf).amin(1)
    return found


def moved(book: Codebook, z: Tensor, index: Tensor, decay: float = 0.99, epsilon: float = 1e-5) -> Codebook:
    """Return the codebook one step γ = `decay` on, after vectors z (n, d) chose `index` (n,)."""
    n = torch.zeros_like(book.counts).index_add_(0, index, torch.ones_like(z[:, 0]))
    total = torch.zeros_like(book.sums).index_add_(0, index, z)
    counts = decay * book.counts + (1 - decay) * n
    sums = decay * book.sums + (1 - decay) * total
    smoothed = (counts + epsilon) / (counts.sum() + len(counts) * epsilon) * counts.sum()
    return Codebook(sums / smoothed[:, None], counts, sums)


def restarted(book: Codebook, z: Tensor, order: Tensor, threshold: float) -> Codebook:
    """Return the codebook with its dead codes moved to vectors of z (n, d), each to another, in `order` (n,).

    A code is dead where fewer than `threshold` vectors per batch choose it; where a batch has fewer vectors
    than there are codes, fewer than that share of the mean. What n vectors cannot serve waits for the next.
    """
    dead = book.counts < threshold * book.counts.mean().clamp(max=1)
    turn = dead.cumsum(0) - 1
    served = dead & (turn < len(z))
    fresh = z[order[turn.clamp(0, len(z) - 1)]]
    return Codebook(
        codes=torch.where(served[:, None], fresh, book.codes),
        counts=torch.where(served, 1.0, book.counts),
        sums=torch.where(served[:, None], fresh, book.sums),
    )


class VQ(nn.Module):
    """The quantizer as a layer. In training each batch moves the codebook; in evaluation nothing does.

    Its random draws (k-means++ on the first batch, the order of restarts) come from torch's own generator in
    main memory; with its buffers and that state a training resumes bit by bit.
    """

    codes: Tensor
    counts: Tensor
    sums: Tensor
    initialised: Tensor

    def __init__(
        self,
        codes: int = 512,
        dimensions: int = 64,
        *,
        commitment: float = 0.25,
        decay: float = 0.99,
        threshold: float = 0.1,
        kmeans_start: bool = True,
    ) -> None:
        super().__init__()
        self.commitment = commitment
        self.decay = decay
        self.threshold = threshold
        for name, tensor in start(torch.randn(codes, dimensions))._asdict().items():
            self.register_buffer(name, tensor)
        self.register_buffer(
            "initialised", torch.tensor(int(not kmeans_start))
        )  # int64: a checkpoint has no truth values

    @property
    def book(self) -> Codebook:
        """The codebook as it is."""
        return Codebook(self.codes, self.counts, self.sums)

    def forward(self, z: Tensor) -> Quantized:
        """Return codes, indices and β · mean (z − sg e)² of vectors (…, d), by the codebook before this step."""
        vectors = z.detach().reshape(-1, z.shape[-1])
        if self.training and not self.initialised:
            self._keep(start(kmeans.plus_plus(vectors, len(self.codes))))
            self.initialised.fill_(1)
        index = nearest(vectors, self.codes)
        e = self.codes[index].view_as(z)
        if self.training:
            book = moved(self.book, vectors, index, self.decay)
            self._keep(restarted(book, vectors, torch.randperm(len(vectors)).to(z.device), self.threshold))
        code = e + (z - z.detach()) if self.training else e  # straight through: + exactly 0
        return Quantized(code, index.view(z.shape[:-1]), self.commitment * F.mse_loss(z, e))

    def _keep(self, book: Codebook) -> None:
        for buffer, tensor in zip(self.book, book, strict=True):
            buffer.copy_(tensor)
