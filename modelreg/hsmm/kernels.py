"""The loops over time, compiled by numba: forward, backward, and the best path with its backtracking.

Letters: T steps, S states, D longest duration, j a state, d a duration. The age of a segment is the number of its steps
so far. All arguments and results are in log space, as C-contiguous float64.

Each state has a window of its active segments, the oldest first, with log weights M + log_v. The reference M is shared
by the segments and includes the emission of each step, so a step costs one addition instead of D. v = exp(log_v) is
stored together with log_v, so a sum over durations is a dot product instead of D exponentials. If such a sum is so
small that v may have lost precision, it is computed again from log_v. The results therefore equal those of log space up
to the last few bits, for any range of emissions.

Importing this module takes 0.3 s, so it is imported in the functions that use it. numba stores the compiled code in
__pycache__ next to this file, else in the cache of the user, or in NUMBA_CACHE_DIR if that is set. If none of them is
writable, each process compiles again.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numba
import numpy as np

from modelreg.hsmm.durations import Floats
from modelreg.hsmm.model import Ints, Tables

# Underflow of a weight loses at most 5e-324. With v up to e^200 = 7e86, a sum over 50 durations loses less than 2e-235,
# which is negligible for sums above TINY, also after multiplication by e^460.
LARGEST = 200.0  # log of the largest v; a larger weight gives the window a new reference
TINY = 1e-200  # smaller sums are computed in log space
LOG_LARGE = 460.0  # sums with a weight above e^460 are computed in log space


class Oldest(NamedTuple):
    """Duration distributions (S, D), the longest duration first, in the order of the windows."""

    p: Floats
    log_p: Floats
    survivor: Floats
    log_survivor: Floats


def oldest_first(model: Tables) -> Oldest:
    """Return the durations of a model in the form that the kernels expect."""
    tables = (model.log_duration, model.log_survivor)
    log_p, log_survivor = (np.ascontiguousarray(table[:, ::-1]) for table in tables)
    return Oldest(np.exp(log_p), log_p, np.exp(log_survivor), log_survivor)


AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


def _jit(**options: Any) -> Callable[[AnyFunction], AnyFunction]:
    def compiled(function: AnyFunction) -> Any:
        try:
            return numba.njit(cache=True, error_model="numpy", **options)(function)
        except RuntimeError:  # no writable place for the cache
            return numba.njit(error_model="numpy", **options)(function)

    return compiled


@_jit(fastmath={"reassoc", "contract", "nsz"})
def dot(a: Floats, b: Floats) -> float:
    """Return Σ a b of arrays (n,), summed in the fastest order for the processor."""
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@_jit()
def log_sum(a: Floats, b: Floats) -> float:
    """Return log Σ exp(a + b) of arrays (n,)."""
    highest = best(a, b)
    if highest == -np.inf:
        return highest
    total = 0.0
    for i in range(len(a)):
        total += np.exp(a[i] + b[i] - highest)
    return highest + math.log(total)


@_jit()
def best(a: Floats, b: Floats) -> float:
    """Return max (a + b) of arrays (n,)."""
    highest = -np.inf
    for i in range(len(a)):
        highest = max(highest, a[i] + b[i])
    return highest


@_jit(inline="always")
def log_dot(v: Floats, p: Floats, log_v: Floats, log_p: Floats) -> float:
    """Return log Σ v p of arrays (n,), by the dot product, or in log space if that is too small."""
    total = dot(v, p)
    return math.log(total) if total > TINY else log_sum(log_v, log_p)


@_jit()
def rebase(M: float, log_v: Floats, v: Floats, by: float) -> float:
    """Move the reference M of a window (n,) by `by`; return the new one."""
    for i in range(len(v)):
        log_v[i] -= by
        v[i] = np.exp(log_v[i])
    return M + by


@_jit(inline="always")
def step(M: float, log_weight: float, log_b: float, log_v: Floats, v: Floats) -> float:
    """Add a segment of this weight to a window (n,), add the emission of the step, and return the reference."""
    if log_weight - M > LARGEST:
        M = rebase(M, log_v, v, log_weight - M)
    log_v[-1] = log_weight - M
    v[-1] = np.exp(log_weight - M)
    if log_b > -np.inf:
        return M + log_b
    log_v[:] = -np.inf
    v[:] = 0.0
    return 0.0


@_jit()
def expect(total: Floats, log_weight: float, v: Floats, p: Floats, log_v: Floats, log_p: Floats) -> None:
    """Add exp(log_weight) v p to total (n,), in log space if v has too little precision for the weight."""
    if log_weight < LOG_LARGE:
        weight = np.exp(log_weight)
        for i in range(len(total)):
            total[i] += weight * (v[i] * p[i])
    else:
        for i in range(len(total)):
            total[i] += np.exp(log_weight + log_v[i] + log_p[i])


@_jit()
def move_back(M: Floats, log_v: Floats, v: Floats) -> None:
    """Move the younger half of each window (S, 2 D) to the front, with its largest weight as reference, in place."""
    S, D = len(M), log_v.shape[1] // 2
    for j in range(S):
        highest = -np.inf
        for i in range(D):
            log_v[j, i] = log_v[j, D + i]
            highest = max(highest, log_v[j, i])
        M[j] = rebase(M[j], log_v[j, :D], v[j, :D], highest if highest > -np.inf else 0.0)


@_jit()
def through(log_weight: Floats, log_A: Floats, A: Floats, out: Floats) -> None:
    """Write log Σ_i exp(log_weight_i + log A_ji) to out_j (S,); the rows of A are the resulting states."""
    S = len(out)
    highest = -np.inf
    for i in range(S):
        highest = max(highest, log_weight[i])
    if highest == -np.inf:
        return
    log_w, w = np.empty(S), np.empty(S)
    for i in range(S):
        log_w[i] = log_weight[i] - highest
        w[i] = np.exp(log_w[i])
    for j in range(S):
        out[j] = highest + log_dot(w, A[j], log_w, log_A[j])


@_jit()
def forward(log_b: Floats, old: Oldest, log_initial: Floats, log_A: Floats) -> tuple[Floats, Floats, Floats]:
    """Return evidence (T,), starts (T, S) and ends (T, S) of log b (T, S).

    evidence_t = log p(x_t | x_<t), starts_t(j) = log p(a segment of j starts at t | x_<t), ends_t(j) = log p(a
    segment of j ends at t | x_≤t). All are −∞ from the first impossible step on.
    """
    T, S = log_b.shape
    D = old.p.shape[1]
    evidence = np.full(T, -np.inf)
    starts, ends = np.full((T, S), -np.inf), np.full((T, S), -np.inf)
    M, log_v, v = np.zeros(S), np.full((S, 2 * D), -np.inf), np.zeros((S, 2 * D))
    alive, zeros = np.empty(S), np.zeros(S)
    log_A = log_A.T.copy()
    A = np.exp(log_A)
    starts[0] = log_initial
    k = D  # the windows are [k − D, k)
    for t in range(T):
        if k == 2 * D:
            move_back(M, log_v, v)
            k = D
        k += 1
        for j in range(S):
            log_w, w = log_v[j, k - D : k], v[j, k - D : k]
            M[j] = step(M[j], starts[t, j], log_b[t, j], log_w, w)
            ends[t, j] = M[j] + log_dot(w, old.p[j], log_w, old.log_p[j])
            alive[j] = M[j] + log_dot(w, old.survivor[j], log_w, old.log_survivor[j])
        evidence[t] = log_sum(alive, zeros)
        if evidence[t] == -np.inf:
            break
        for j in range(S):
            ends[t, j] -= evidence[t]
            M[j] -= evidence[t]
        if t + 1 < T:
            through(ends[t], log_A, A, starts[t + 1])
    return evidence, starts, ends


@_jit()
def backward(
    log_b: Floats, old: Oldest, log_A: Floats, starts: Floats, last: float
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return begins (T, S), after (T, S), lasting (S, D) and cut (S, D), for log b minus the evidence of each step.

    begins_t(j) = log p(x_≥t | a segment of j starts at t), after_t(j) = log p(x_>t | a segment of j ends at t), both
    minus the evidence of these steps. lasting(j, ·): expected number of whole segments of j, the longest first.
    cut(j, d): probability that a segment of j is censored after d. `last` is the value of after_T for each state: −∞ if
    the last segment is censored.
    """
    T, S = log_b.shape
    D = old.p.shape[1]
    begins, after = np.full((T, S), -np.inf), np.full((T, S), -np.inf)
    lasting, cut = np.zeros((S, D)), np.zeros((S, D))
    M, log_v, v = np.zeros(S), np.full((S, 2 * D), -np.inf), np.zeros((S, 2 * D))
    to_end = np.zeros(S)  # log b of the steps from t to the end
    A = np.exp(log_A)
    after[-1] = last
    k = D
    for t in range(T - 1, -1, -1):
        if k == 2 * D:
            move_back(M, log_v, v)
            k = D
        k += 1
        for j in range(S):
            log_w, w = log_v[j, k - D : k], v[j, k - D : k]
            M[j] = step(M[j], after[t, j], log_b[t, j], log_w, w)
            begins[t, j] = M[j] + log_dot(w, old.p[j], log_w, old.log_p[j])
            expect(lasting[j], starts[t, j] + M[j], w, old.p[j], log_w, old.log_p[j])
        if last == -np.inf and T - t <= D:
            for j in range(S):
                to_end[j] += log_b[t, j]
                log_w = to_end[j] + old.log_survivor[j, D - T + t]
                cut[j, T - t - 1] = np.exp(starts[t, j] + log_w)
                begins[t, j] = np.logaddexp(begins[t, j], log_w)
        if t:
            through(begins[t], log_A, A, after[t - 1])
    return begins, after, lasting, cut


@_jit()
def paths(log_b: Floats, log_p: Floats, log_initial: Floats, log_A: Floats) -> tuple[Floats, Floats]:
    """Return starts (T, S) and ends (T, S): log weights of the best paths with a segment of j that starts or ends at t.

    log_p (S, D) has the longest duration first.
    """
    T, S = log_b.shape
    D = log_p.shape[1]
    starts, ends = np.empty((T, S)), np.empty((T, S))
    M, log_v = np.zeros(S), np.full((S, 2 * D), -np.inf)
    log_A = log_A.T.copy()
    starts[0] = log_initial
    k = D
    for t in range(T):
        if k == 2 * D:
            for j in range(S):
                log_v[j, :D] = log_v[j, D:] + M[j]
            M[:] = 0.0
            k = D
        k += 1
        for j in range(S):
            log_v[j, k - 1] = starts[t, j] - M[j]
            if log_b[t, j] > -np.inf:
                M[j] += log_b[t, j]
            else:
                log_v[j, k - D : k] = -np.inf
            ends[t, j] = M[j] + best(log_v[j, k - D : k], log_p[j])
        if t + 1 < T:
            for j in range(S):
                starts[t + 1, j] = best(ends[t], log_A[j])
    return starts, ends


@_jit()
def segment(log_b: Floats, log_p: Floats, starts: Floats, t: int, j: int) -> tuple[float, int]:
    """Return weight and duration of the best segment of state j that ends at t; the shortest for ties."""
    highest, duration, weight = -np.inf, 0, 0.0
    for d in range(1, min(log_p.shape[1], t + 1) + 1):
        weight += log_b[t - d + 1, j]
        if starts[t - d + 1, j] + weight + log_p[j, d - 1] > highest:
            highest, duration = starts[t - d + 1, j] + weight + log_p[j, d - 1], d
    return highest, duration


@_jit()
def retrace(
    log_b: Floats, log_p: Floats, log_last: Floats, log_A: Floats, starts: Floats, ends: Floats
) -> tuple[Ints, Ints]:
    """Return states (N,) and durations (N,) of the segments of the best path; N = 0 if no path is possible.

    log_p and log_last (S, D): durations of all segments and of the last one, d = 1 … D.
    """
    T, S = log_b.shape
    states, durations = np.zeros(T, np.int64), np.zeros(T, np.int64)
    t, n, highest = T - 1, T - 1, -np.inf
    for j in range(S):
        weight, d = segment(log_b, log_last, starts, t, j)
        if weight > highest:
            highest, states[n], durations[n] = weight, j, d
    if highest == -np.inf:
        return states[:0], durations[:0]
    while t >= durations[n]:
        t -= durations[n]
        n -= 1
        states[n] = np.argmax(ends[t] + log_A[:, states[n + 1]])
        _, durations[n] = segment(log_b, log_p, starts, t, states[n])
    return states[n:], durations[n:]
