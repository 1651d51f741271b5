"""The log likelihood of a hidden semi-Markov model with explicit durations, with gradients (Yu 2010).

The formulae are those of modelreg/hsmm, which is faster when no gradient is needed. Letters: N streams, T windows,
S states, D longest duration. FLOOR replaces −∞, because differences of infinities have no gradient.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FLOOR = -1e30

Kind = Literal["negative_binomial", "poisson", "gaussian"]
Range = Literal["positive", "share", "any"]

_RANGES: dict[Kind, tuple[Range, ...]] = {
    "negative_binomial": ("positive", "share"),
    "poisson": ("positive",),
    "gaussian": ("any", "positive"),
}


class Tables(NamedTuple):
    """The log parameters of a model."""

    initial: Tensor  # (S,)
    transition: Tensor  # (S, S), its diagonal FLOOR
    duration: Tensor  # (S, D) log p_j(d), d = 1 … D
    survivor: Tensor  # (S, D) log Σ_{u ≥ d} p_j(u)


class Forward(NamedTuple):
    """The result of the forward pass."""

    log_likelihood: Tensor  # (N,) log p(x); −∞ if no path is possible
    posterior: Tensor  # (N, T, S) p(state_t = j | x_≤t), the online filter; undefined after the end of a stream


def log_durations(kind: Kind, parameters: Sequence[Tensor], longest: int) -> Tensor:
    """Return log p_j(d) (S, D), d = 1 … D, of a family truncated at D, from its parameters (S,).

    `negative_binomial`: r, p; `poisson`: rate; `gaussian`: mean, sd. As in modelreg/hsmm/durations.py.
    """
    d = torch.arange(1, longest + 1, dtype=parameters[0].dtype, device=parameters[0].device)
    first, *rest = (parameter[:, None] for parameter in parameters)
    match kind:
        case "negative_binomial":
            weight = torch.lgamma(d - 1 + first) - torch.lgamma(d) + (d - 1) * torch.log1p(-rest[0])
        case "poisson":
            weight = (d - 1) * torch.log(first) - torch.lgamma(d)
        case _:  # gaussian
            weight = -(((d - first) / rest[0]) ** 2) / 2
    return weight.log_softmax(dim=1)


def log_survivor(log_p: Tensor) -> Tensor:
    """Return log Σ_{u ≥ d} p_j(u) (S, D) of log p_j(d) (S, D)."""
    return log_p.flip(1).logcumsumexp(1).flip(1)


def forward(tables: Tables, log_b: Tensor, lengths: Tensor, *, censored: bool = True) -> Forward:
    """Return the log likelihood (N,) and the filter (N, T, S) of log b (N, T, S).

    Streams are padded at their ends to T with any finite number; `lengths` (N,) are from 1 to T. With `censored`, the
    last segment may continue after the end of the stream. Time and memory with gradients are O(N · T · S · (S + D)).
    """
    N, T, S = log_b.shape
    log_b = log_b.clamp(min=FLOOR)
    window = log_b.new_full((N, S, tables.duration.shape[1]), FLOOR)  # log p(segment of that age, x_≤t | x_<t)
    entry = tables.initial.expand(N, S)
    steps = []
    for t in range(T):
        window = torch.cat([entry[:, :, None], window[:, :, :-1]], dim=2) + log_b[:, t, :, None]
        alive = torch.logsumexp(window + tables.survivor, dim=2)  # (N, S)
        evidence = torch.logsumexp(alive, dim=1, keepdim=True)  # (N, 1) log p(x_t | x_<t)
        window = window - evidence[:, :, None]
        ends = torch.logsumexp(window + tables.duration, dim=2)  # (N, S) log p(segment of j ends at t | x_≤t)
        entry = torch.logsumexp(ends[:, :, None] + tables.transition, dim=1)
        steps.append((evidence[:, 0], torch.logsumexp(ends, dim=1), (alive - evidence).exp()))
    evidences, ending, posterior = (torch.stack(parts, dim=1) for parts in zip(*steps, strict=True))
    within = torch.arange(T, device=lengths.device) < lengths[:, None]
    total = torch.where(within, evidences, 0.0).sum(dim=1)
    if not censored:
        total = total + ending.gather(1, lengths[:, None] - 1)[:, 0]
    return Forward(torch.where(total > FLOOR / 2, total, -math.inf), posterior)


def _inside(values: Tensor, of: Range) -> Tensor:
    """Map any number into a range."""
    match of:
        case "positive":
            return F.softplus(values)
        case "share":
            return torch.sigmoid(values)
        case _:  # any
            return values


def _outside(values: Tensor, of: Range) -> Tensor:
    """Return the numbers that `_inside` maps to `values`."""
    match of:
        case "positive":
            return values + torch.log(-torch.expm1(-values))
        case "share":
            return torch.logit(values)
        case _:  # any
            return values


class Estimates(NamedTuple):
    """The parameters in the form of modelreg/hsmm: probabilities and duration parameters."""

    initial: Tensor  # (S,)
    transition: Tensor  # (S, S)
    durations: Tensor  # (S, P)


class SemiMarkov(nn.Module):
    """A model with unconstrained parameters, mapped into range by softmax, softplus and the logistic function."""

    others: Tensor  # (S, S), False on the diagonal

    def __init__(self, kind: Kind, initial: Tensor, transition: Tensor, durations: Tensor, longest: int) -> None:
        """Initialize to probabilities (S,), (S, S) and duration parameters (S, P); a probability of 0 becomes 1e-6."""
        super().__init__()
        self.kind, self.longest = kind, longest
        others = ~torch.eye(len(initial), dtype=torch.bool)
        self.register_buffer("others", others, persistent=False)
        self.initial_logits = nn.Parameter(initial.clamp(min=1e-6).log())
        self.transition_logits = nn.Parameter(transition[others].view(len(initial), -1).clamp(min=1e-6).log())
        raw = [_outside(column, of) for column, of in zip(durations.T, _RANGES[kind], strict=True)]
        self.durations = nn.Parameter(torch.stack(raw, dim=1))

    def tables(self) -> Tables:
        """Return the log parameters with gradients."""
        S = len(self.initial_logits)
        transition = torch.full((S, S), FLOOR, dtype=self.durations.dtype, device=self.durations.device)
        transition = transition.masked_scatter(self.others, self.transition_logits.log_softmax(dim=1))
        log_p = log_durations(self.kind, self._in_range(), self.longest)
        return Tables(self.initial_logits.log_softmax(dim=0), transition, log_p, log_survivor(log_p))

    def forward(self, log_b: Tensor, lengths: Tensor, *, censored: bool = True) -> Forward:
        """Return log likelihood (N,) and filter (N, T, S) of padded log b (N, T, S)."""
        return forward(self.tables(), log_b, lengths, censored=censored)

    def estimates(self) -> Estimates:
        """Return the parameters without gradients."""
        with torch.no_grad():
            tables = self.tables()
            return Estimates(tables.initial.exp(), tables.transition.exp(), torch.stack(self._in_range(), dim=1))

    def _in_range(self) -> list[Tensor]:
        return [_inside(column, of) for column, of in zip(self.durations.T, _RANGES[self.kind], strict=True)]
