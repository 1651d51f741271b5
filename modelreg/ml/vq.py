"""Vector quantization with moving averages (van den Oord 2017, arXiv:1711.00937; Razavi 2019, arXiv:1906.00446).

A vector z is replaced by the nearest of K codes e_k. The codes are trained without gradient, as moving averages of the
vectors assigned to them. The commitment loss β · mean (z − sg e)² keeps the encoder close to its codes. For the n_k
vectors of a batch assigned to k, and their sum Σz:

    N_k ← γ N_k + (1 − γ) n_k,   m_k ← γ m_k + (1 − γ) Σz,   Ñ_k = (N_k + ε) / (ΣN + Kε) · ΣN,   e_k = m_k / Ñ_k

Initially N = 1 and m = e. With N = 0, the first steps would move unused codes far away from all vectors.
`fsq_layer.usage(index, (K,))` measures the use of the codebook.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modelreg.ml import kmeans


class Codebook(NamedTuple):
    """The codes and the moving sums from which they are computed."""

    codes: Tensor  # (K, d), e
    counts: Tensor  # (K,), N: moving average of n_k
    sums: Tensor  # (K, d), m: moving average of Σz


class Quantized(NamedTuple):
    """Quantized vectors."""

    code: Tensor  # (…, d); in training, z receives its gradient unchanged
    code_index: Tensor  # (…), int64
    commitment: Tensor  # ()


def start(codes: Tensor) -> Codebook:
    """Return the codebook of codes (K, d) before the first step."""
    return Codebook(codes, torch.ones_like(codes[:, 0]), codes.clone())


def nearest(z: Tensor, codes: Tensor) -> Tensor:
    """Return the index (…), int64, of the code (K, d) nearest to each vector (…, d); the lowest index for ties.

    It minimizes ‖z‖² − 2 z·e + ‖e‖² without ‖z‖², which is equal for all codes.
    """
    score = torch.addmm(codes.square().sum(1), z.reshape(-1, z.shape[-1]), codes.T, alpha=-2)
    return score.argmin(1).reshape(z.shape[:-1])


def margin(z: Tensor, e: Tensor) -> Tensor:
    """Return the distance (N,) of each vector z (N, d) from the boundary of the cell of its nearest code e (K, d).

    The boundary to code k is at distance (d_k² − d₁²) / (2 ‖e₁ − e_k‖), where d₁ is the distance of the nearest code.
    The closest boundary may be to another code than the second nearest. For equal codes the distance is 0.
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
    """Return the codebook after one step with γ = `decay`, for vectors z (n, d) assigned to `index` (n,)."""
    n = torch.zeros_like(book.counts).index_add_(0, index, torch.ones_like(z[:, 0]))
    total = torch.zeros_like(book.sums).index_add_(0, index, z)
    counts = decay * book.counts + (1 - decay) * n
    sums = decay * book.sums + (1 - decay) * total
    smoothed = (counts + epsilon) / (counts.sum() + len(counts) * epsilon) * counts.sum()
    return Codebook(sums / smoothed[:, None], counts, sums)


def restarted(book: Codebook, z: Tensor, order: Tensor, threshold: float) -> Codebook:
    """Return the codebook with dead codes moved to vectors of z (n, d), each to a different one, in `order` (n,).

    A code is dead if fewer than `threshold` vectors per batch are assigned to it. If a batch has fewer vectors than
    there are codes, the limit is that share of the mean count. If there are more dead codes than vectors, the remaining
    codes are moved in later batches.
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
    """The quantizer as a layer. Each training batch updates the codebook; evaluation does not.

    Its random numbers (k-means++ on the first batch, the order of restarts) come from torch's CPU generator. Its
    buffers and the state of that generator are sufficient to resume a training bit by bit.
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
        )  # int64: checkpoints have no bool tensors

    @property
    def book(self) -> Codebook:
        """The current codebook."""
        return Codebook(self.codes, self.counts, self.sums)

    def forward(self, z: Tensor) -> Quantized:
        """Return codes, indices and β · mean (z − sg e)² of vectors (…, d), for the codebook before this step."""
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
