"""Measure a hidden semi-Markov model with exact durations, compared with plain hidden Markov models without durations.

    python benchmarks/hsmm.py [WINDOWS]

10 states, durations up to 50, a stream of 10,000 windows. All run in one process, alternately. The best round counts,
in CPU seconds over all threads, so that other processes do not matter. hmmlearn gets the same log emissions and also
computes in log space; its states last by self-transitions. dynamax, in single precision, runs the same plain model,
and the exact one as 10 x 50 states that count down. The limits are ratios to hmmlearn.

    pip install hmmlearn dynamax      (dynamax is optional)
"""

import importlib.util
import sys
import time
from collections.abc import Callable

import numpy as np

from modelreg.hsmm import durations, inference
from modelreg.hsmm.durations import Durations, Floats
from modelreg.hsmm.model import Hsmm, Tables, tables
from modelreg.hsmm.online_filter import filter_start, filter_step

STATES, LONGEST, ROUNDS = 10, 50, 20
PATIENCE = 10.0  # seconds, after which an implementation gets no more rounds
SMOOTH, DECODE = "forward-backward", "best path"
LIMITS = {SMOOTH: 4.5, DECODE: 6.0}
REFERENCE = "hmmlearn, no durations"

Way = Callable[[], object]


def problem(windows: int) -> tuple[Hsmm, Floats, np.ndarray]:
    """Return a model, log b (T, S) of a stream drawn from it, and the states (T,) of that stream."""
    rng = np.random.default_rng(0)
    transition = rng.random((STATES, STATES)) * (1 - np.eye(STATES))
    lasting = Durations(
        "negative_binomial", np.stack([rng.uniform(2, 8, 10), rng.uniform(0.2, 0.4, 10)], axis=1), LONGEST
    )
    model = Hsmm(np.full(STATES, 1 / STATES), transition / transition.sum(axis=1, keepdims=True), lasting)
    states = draw(model, windows, rng)
    means = 0.8 * rng.normal(size=(STATES, 3))
    signal = means[states] + rng.normal(size=(windows, 3))
    return model, -((signal[:, None] - means) ** 2).sum(axis=2) / 2, states


def draw(model: Hsmm, windows: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the states (T,) of a stream, segment by segment; the end of the stream cuts the last one."""
    p, states = np.exp(durations.log_pmf(model.durations)), np.zeros(0, dtype=np.int64)
    share = model.initial
    while len(states) < windows:
        state = rng.choice(STATES, p=share)
        states = np.append(states, np.full(rng.choice(LONGEST, p=p[state]) + 1, state))
        share = model.transition[state]
    return states[:windows]


def plain(model: Hsmm) -> tuple[Floats, Floats]:
    """Return initial and transition probabilities of a plain model whose states last as long on average."""
    stay = 1 - 1 / durations.mean(model.durations)
    return model.initial, np.diag(stay) + (1 - stay)[:, None] * model.transition


def counting_down(model: Hsmm) -> tuple[Floats, Floats]:
    """Return those of an equal model without durations, whose states are (j, remaining windows)."""
    p = np.exp(durations.log_pmf(model.durations))  # (S, D)
    transition = np.zeros((STATES, LONGEST, STATES, LONGEST))
    for left in range(1, LONGEST):
        transition[range(STATES), left, range(STATES), left - 1] = 1
    transition[:, 0] = model.transition[:, :, None] * p
    return (model.initial[:, None] * p).ravel(), transition.reshape(p.size, p.size)


def hmmlearn_ways(initial: Floats, transition: Floats, log_b: Floats) -> dict[str, Way]:
    """Return forward-backward and best path of hmmlearn."""
    from hmmlearn.base import BaseHMM

    class Given(BaseHMM):
        """Emissions are given, not computed."""

        def _check(self) -> None:
            pass

        def _compute_log_likelihood(self, log_b: Floats) -> Floats:
            return log_b

    hmm = Given(n_components=len(initial), implementation="log")
    hmm.startprob_, hmm.transmat_ = initial, transition
    return {SMOOTH: lambda: hmm.score_samples(log_b), DECODE: lambda: hmm.decode(log_b)[1]}


def dynamax_ways(initial: Floats, transition: Floats, log_b: Floats) -> dict[str, Way]:
    """Return forward-backward and best path of dynamax; states of a group are adjacent."""
    import jax
    import jax.numpy as jnp
    from dynamax.hidden_markov_model import hmm_posterior_mode, hmm_two_filter_smoother

    group = len(initial) // STATES
    given = (initial, transition, np.repeat(log_b, group, axis=1))
    arrays = [jnp.asarray(array, dtype=jnp.float32) for array in given]
    smooth, decode = jax.jit(hmm_two_filter_smoother), jax.jit(hmm_posterior_mode)
    return {
        SMOOTH: lambda: jax.block_until_ready(smooth(*arrays)),
        DECODE: lambda: np.asarray(decode(*arrays)) // group,
    }


def seconds(step: Callable[[], object]) -> float:
    """Return how long one call takes."""
    begin = time.process_time()
    step()
    return time.process_time() - begin


def compare(what: str, ways: dict[str, Way]) -> None:
    """Print the seconds of each implementation and its ratio to hmmlearn; slow ones get fewer rounds."""
    for way in ways.values():
        way()  # compile
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            if sum(times[name]) < PATIENCE:
                times[name].append(seconds(way))
    print(f"{what}; at most {LIMITS[what]} times hmmlearn")
    for name, took in times.items():
        print(f"  {name:24} {min(took):9.5f} s  {min(took) / min(times[REFERENCE]):7.2f} times hmmlearn")


def main(windows: int) -> None:
    """Print seconds, ratios, the share of correct states, and the time of a step of the online filter."""
    model, log_b, states = problem(windows)
    logs = tables(model)
    ways: dict[str, dict[str, Way]] = {
        "modelreg": {
            SMOOTH: lambda: inference.posterior(logs, log_b),
            DECODE: lambda: inference.best_path(logs, log_b).states,
        },
        REFERENCE: hmmlearn_ways(*plain(model), log_b),
    }
    if importlib.util.find_spec("dynamax"):
        ways["dynamax, no durations"] = dynamax_ways(*plain(model), log_b)
        ways["dynamax, 500 states"] = dynamax_ways(*counting_down(model), log_b)
    else:
        print("dynamax is not installed: left out")
    for what in LIMITS:
        compare(what, {name: both[what] for name, both in ways.items()})
    print("states that come out right")
    print(f"  {'each window alone':24} {(log_b.argmax(axis=1) == states).mean():.3f}")
    for name, both in ways.items():
        print(f"  {name:24} {(np.asarray(both[DECODE]()) == states).mean():.3f}")
    print(f"online filter: {filter_seconds(logs, log_b[:2000]) * 1e6:.1f} us a window")


def filter_seconds(model: Tables, log_b: Floats) -> float:
    """Return how long a step of the online filter takes."""
    state = filter_start(model)
    begin = time.process_time()
    for window in log_b:
        state, _ = filter_step(state, window)
    return (time.process_time() - begin) / len(log_b)


if __name__ == "__main__":
    if not importlib.util.find_spec("hmmlearn"):
        sys.exit("hmmlearn is not installed; pip install hmmlearn")
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
