"""Seconds for a hidden semi-Markov model with exact durations, beside plain hidden Markov models without any.

    python benchmarks/hsmm.py [WINDOWS]

10 states, durations to 50, a stream of 10,000 windows. All run in one process, in turns; the best of the rounds counts,
in seconds of the processor, all threads together: other processes do not count. hmmlearn is told the same log
emissions and computes in log space too; its states last by self-transitions. With
dynamax: the same semi-Markov model, exact, as a hidden Markov model of 10 x 50 states that count down, in single
precision. The limits are ratios to hmmlearn. pip install hmmlearn; dynamax where it is wanted.
"""

import importlib.util
import sys
import time
from collections.abc import Callable

import numpy as np

from modelreg.hsmm import durations, inference
from modelreg.hsmm.durations import Durations, Floats
from modelreg.hsmm.filter import filter_start, filter_step
from modelreg.hsmm.model import Hsmm, Tables, tables

STATES, LONGEST, ROUNDS = 10, 50, 20
LIMITS = {"forward-backward": 4.5, "best path": 6.0}

Ways = dict[str, Callable[[], object]]


def problem(windows: int) -> tuple[Hsmm, Floats, np.ndarray]:
    """Return a model, log b (T, S) of a stream that it drew, and the states (T,) of that stream."""
    rng = np.random.default_rng(0)
    transition = rng.random((STATES, STATES)) * (1 - np.eye(STATES))
    lasting = Durations(
        "negative_binomial", np.stack([rng.uniform(2, 8, 10), rng.uniform(0.2, 0.4, 10)], axis=1), LONGEST
    )
    model = Hsmm(np.full(STATES, 1 / STATES), transition / transition.sum(axis=1, keepdims=True), lasting)
    states = inference.sample(tables(model), windows, rng)
    means = 0.8 * rng.normal(size=(STATES, 3))
    signal = means[states] + rng.normal(size=(windows, 3))
    return model, -((signal[:, None] - means) ** 2).sum(axis=2) / 2, states


def plain_hmm(model: Hsmm, log_b: Floats) -> tuple[Ways, Ways]:
    """Return forward-backward and best path of hmmlearn, with self-transitions of the same mean durations."""
    from hmmlearn.base import BaseHMM

    class Given(BaseHMM):
        """Emissions are given, not computed."""

        def _check(self) -> None:
            pass

        def _compute_log_likelihood(self, log_b: Floats) -> Floats:
            return log_b

    hmm = Given(n_components=STATES, implementation="log")
    stay = 1 - 1 / durations.mean(model.durations)
    hmm.startprob_ = model.initial
    hmm.transmat_ = np.diag(stay) + (1 - stay)[:, None] * model.transition
    return {"hmmlearn, no durations": lambda: hmm.score_samples(log_b)}, {
        "hmmlearn, no durations": lambda: hmm.decode(log_b)[1]
    }


def counting_down(model: Tables, log_b: Floats) -> tuple[Ways, Ways]:
    """Return forward-backward and best path of dynamax on states (j, windows that are left)."""
    import jax
    import jax.numpy as jnp
    from dynamax.hidden_markov_model import hmm_posterior_mode, hmm_two_filter_smoother

    p = np.exp(model.log_duration)  # (S, D)
    initial = (np.exp(model.log_initial)[:, None] * p).ravel()
    transition = np.zeros((STATES, LONGEST, STATES, LONGEST))
    for left in range(1, LONGEST):
        transition[range(STATES), left, range(STATES), left - 1] = 1
    transition[:, 0] = np.exp(model.log_transition)[:, :, None] * p
    given = (initial, transition.reshape(initial.size, initial.size), np.repeat(log_b, LONGEST, axis=1))
    arrays = [jnp.asarray(array, dtype=jnp.float32) for array in given]
    smooth, decode = jax.jit(hmm_two_filter_smoother), jax.jit(hmm_posterior_mode)
    return {"dynamax, 500 states": lambda: jax.block_until_ready(smooth(*arrays))}, {
        "dynamax, 500 states": lambda: np.asarray(decode(*arrays)) // LONGEST
    }


def seconds(step: Callable[[], object]) -> float:
    """Return how long one call takes."""
    begin = time.process_time()
    step()
    return time.process_time() - begin


def compare(what: str, ways: Ways) -> None:
    """Print the seconds of each way and its ratio to hmmlearn."""
    for way in ways.values():
        way()  # compile
    rounds = [{name: seconds(way) for name, way in ways.items()} for _ in range(ROUNDS)]
    best = {name: min(took[name] for took in rounds) for name in ways}
    print(f"{what}; at most {LIMITS[what]} times hmmlearn")
    for name, took in best.items():
        print(f"  {name:24} {took:9.5f} s  {took / best['hmmlearn, no durations']:7.2f} times hmmlearn")


def main(windows: int) -> None:
    """Print seconds, ratios, the share of states that come out right, and the time of a step of the online filter."""
    model, log_b, states = problem(windows)
    logs = tables(model)
    smooth: Ways = {"modelreg": lambda: inference.posterior(logs, log_b)}
    decode: Ways = {"modelreg": lambda: inference.best_path(logs, log_b).states}
    others = [plain_hmm(model, log_b)]
    if importlib.util.find_spec("dynamax"):
        others.append(counting_down(logs, log_b))
    else:
        print("dynamax is not installed: left out")
    for other in others:
        smooth |= other[0]
        decode |= other[1]
    compare("forward-backward", smooth)
    compare("best path", decode)
    print("states that come out right")
    print(f"  {'each window alone':24} {(log_b.argmax(axis=1) == states).mean():.3f}")
    for name, way in decode.items():
        print(f"  {name:24} {(np.asarray(way()) == states).mean():.3f}")
    begin = time.process_time()
    state = filter_start(logs)
    for window in log_b[:2000]:
        state, _ = filter_step(state, window)
    print(f"online filter: {(time.process_time() - begin) / len(log_b[:2000]) * 1e6:.1f} us a window")


if __name__ == "__main__":
    if not importlib.util.find_spec("hmmlearn"):
        sys.exit("hmmlearn is not installed; pip install hmmlearn")
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
