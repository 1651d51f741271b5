"""The hidden semi-Markov model equals enumeration of all paths, and the plain recursions in log space."""

import subprocess
import sys

import numba
import numpy as np
import pytest
from hsmm_enumeration import KINDS, paths, random_model, shares, small, stream, total
from hsmm_sampling import sample
from hypothesis import given, settings
from hypothesis import strategies as st
from places import places

from modelreg import files
from modelreg.errors import InputError
from modelreg.hsmm import inference, kernels
from modelreg.hsmm.durations import Durations
from modelreg.hsmm.model import Hsmm, Tables, from_spec, of_posterior, tables, to_spec
from modelreg.hsmm.online_filter import filter_start, filter_step
from modelreg.records import base
from modelreg.records.hsmm import CategoricalEmission, HsmmSpec, PosteriorEmission

COMPILED = [name for name in vars(kernels) if hasattr(getattr(kernels, name), "py_func")]
SEEDS = range(30)
either = pytest.mark.parametrize("censored", [True, False], ids=["censored", "whole"])


@pytest.fixture(params=["compiled", "plain"])
def either_kernel(request, monkeypatch) -> None:
    """Run a test with the kernels compiled by numba, and with the same code in plain Python."""
    if request.param == "plain":
        for name in COMPILED:
            monkeypatch.setattr(kernels, name, getattr(kernels, name).py_func)


def possible(censored: bool) -> list[int]:
    """Return the seeds of small streams that have a path."""
    return [seed for seed in SEEDS if paths(seed, censored)]


def plain_log_space(model: Tables, log_b: np.ndarray) -> tuple[float, np.ndarray]:
    """Return log likelihood and marginals by the published recursions, with a log-sum-exp for each sum.

    It uses long doubles, because log p of a whole stream would lose digits in doubles; the kernels avoid that.
    """
    (T, S), D = log_b.shape, model.log_duration.shape[1]
    model, log_b = Tables(*(part.astype(np.longdouble) for part in model)), log_b.astype(np.longdouble)
    starts, ends, begins, after = np.full((4, T + 1, S), -np.inf, dtype=np.longdouble)  # α*, α, β*, β around t windows
    starts[0] = model.log_initial
    after[T] = 0
    for t in range(1, T + 1):
        d = np.arange(1, min(D, t) + 1)
        lasting = np.cumsum(log_b[t - d], axis=0)  # (d, S)
        table = model.log_survivor if t == T else model.log_duration
        ends[t] = np.logaddexp.reduce(starts[t - d] + lasting + table[:, d - 1].T, axis=0)
        starts[t] = np.logaddexp.reduce(ends[t][:, None] + model.log_transition, axis=0)
    for t in range(T - 1, -1, -1):
        d = np.arange(1, min(D, T - t) + 1)
        lasting = np.cumsum(log_b[t + d - 1], axis=0)
        table = np.where((t + d == T)[:, None], model.log_survivor[:, d - 1].T, model.log_duration[:, d - 1].T)
        begins[t] = np.logaddexp.reduce(after[t + d] + lasting + table, axis=0)
        after[t] = np.logaddexp.reduce(begins[t] + model.log_transition, axis=1)
    log_likelihood = np.logaddexp.reduce(ends[T])
    change = np.exp(starts[:T] + begins[:T] - log_likelihood) - np.exp(ends[:T] + after[:T] - log_likelihood)
    return float(log_likelihood), np.cumsum(change, axis=0).astype(float)


# Inference equals enumeration


@either
def test_log_likelihood_equals_enumeration(censored, either_kernel) -> None:
    """It is the sum over all paths, or −∞ without a path."""
    ours = [inference.log_likelihood(*small(seed)[1:], censored=censored) for seed in SEEDS]

    np.testing.assert_allclose(ours, [total(paths(seed, censored)) for seed in SEEDS], rtol=1e-12, atol=1e-9)


@either
def test_marginals_equal_enumeration(censored, either_kernel) -> None:
    """p(state_t = j | x) is the weight of the paths with state j at t."""
    for seed in possible(censored):
        _, model, log_b = small(seed)
        gamma = np.zeros(log_b.shape)
        for path, share in zip(paths(seed, censored), shares(paths(seed, censored)), strict=True):
            gamma[np.arange(len(log_b)), path.states] += share
        np.testing.assert_allclose(inference.posterior(model, log_b, censored=censored).gamma, gamma, atol=1e-9)


@either
def test_expected_counts_equal_enumeration(censored, either_kernel) -> None:
    """First segments, transitions, whole segments and the censored segment are weighted by their paths."""
    for seed in possible(censored):
        _, model, log_b = small(seed)
        counts = inference.posterior(model, log_b, censored=censored).counts
        expected = inference.Counts(*(np.zeros(part.shape) for part in counts))
        for path, share in zip(paths(seed, censored), shares(paths(seed, censored)), strict=True):
            order, lengths = np.array(path.segments).T
            whole = len(order) - censored
            expected.initial[order[0]] += share
            np.add.at(expected.transition, (order[:-1], order[1:]), share)
            np.add.at(expected.duration, (order[:whole], lengths[:whole] - 1), share)
            np.add.at(expected.cut, (order[whole:], lengths[whole:] - 1), share)
        for ours, theirs in zip(counts, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-9)


@either
def test_best_path_equals_enumeration(censored, either_kernel) -> None:
    """Path, segments and score are those of the most probable path."""
    for seed in possible(censored):
        _, model, log_b = small(seed)
        best = max(paths(seed, censored), key=lambda path: path.log_weight)
        ours = inference.best_path(model, log_b, censored=censored)
        assert ours.states.tolist() == best.states
        assert list(zip(ours.states[ours.starts].tolist(), ours.lengths.tolist(), strict=True)) == list(best.segments)
        assert ours.score == pytest.approx(best.log_weight, rel=1e-12, abs=1e-9)


@either
def test_the_score_of_every_path_equals_enumeration(censored) -> None:
    """log p(states, x) of each path, or −∞ for an impossible one."""
    for seed in possible(censored)[:20]:
        _, model, log_b = small(seed)
        ours = [
            inference.path_score(model, log_b, np.array(p.states), censored=censored) for p in paths(seed, censored)
        ]
        np.testing.assert_allclose(ours, [p.log_weight for p in paths(seed, censored)], rtol=1e-12, atol=1e-9)


def test_a_segment_longer_than_the_longest_has_probability_zero() -> None:
    """The model cannot express a longer duration."""
    model, log_b = stream(0, 30, longest=20)

    assert inference.path_score(model, log_b, np.zeros(30, dtype=np.int64)) == -np.inf


# Long streams and extreme emissions


@pytest.mark.parametrize("spread", [1, 30, 700])
@pytest.mark.parametrize("seed", [0, 1, 2], ids=KINDS)
def test_long_streams_equal_plain_log_space(seed, spread, either_kernel) -> None:
    """The results are exact for emissions of any range, including −∞."""
    model, log_b = stream(seed, 300, spread=spread)
    log_likelihood, gamma = plain_log_space(model, log_b)
    ours = inference.posterior(model, log_b)

    assert ours.log_likelihood == pytest.approx(log_likelihood, rel=1e-12)
    np.testing.assert_allclose(ours.gamma, gamma, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spread", [100, 1000])
def test_sharp_durations_equal_plain_log_space(seed, spread, either_kernel) -> None:
    """States last 15 windows almost surely, while the emissions favour other durations."""
    rng = np.random.default_rng(seed)
    sharp = Durations("gaussian", np.full((3, 2), (15, 0.3)), 20)
    model = tables(random_model(rng, "gaussian", 3, 20)._replace(durations=sharp))
    log_b = rng.normal(scale=spread, size=(200, 3))
    log_likelihood, gamma = plain_log_space(model, log_b)
    ours = inference.posterior(model, log_b)
    lasted = (ours.counts.duration + ours.counts.cut) @ np.arange(1, 21)

    assert ours.log_likelihood == pytest.approx(log_likelihood, rel=1e-12)
    np.testing.assert_allclose(ours.gamma, gamma, atol=1e-9)
    np.testing.assert_allclose(lasted, gamma.sum(axis=0), atol=1e-8)


def test_ten_thousand_windows_do_not_underflow() -> None:
    """The marginals of each window sum to 1, and there are as many transitions as ended segments."""
    model, log_b = stream(1, 10_000, states=10, longest=50, spread=3)
    ours = inference.posterior(model, log_b - 700)

    assert np.isfinite(ours.log_likelihood)
    np.testing.assert_allclose(ours.gamma.sum(axis=1), 1, atol=1e-12)
    assert ours.counts.transition.sum() == pytest.approx(ours.counts.duration.sum(), rel=1e-9)
    assert ours.counts.cut.sum() == pytest.approx(1, rel=1e-9)


def test_marginals_agree_with_the_counts() -> None:
    """The expected number of windows in a state is the sum of the durations of its segments."""
    model, log_b = stream(2, 500)
    ours = inference.posterior(model, log_b)
    lasted = (ours.counts.duration + ours.counts.cut) @ np.arange(1, 21)

    np.testing.assert_allclose(ours.gamma.sum(axis=0), lasted, rtol=1e-9)


def test_no_path_is_more_probable_than_the_best_one() -> None:
    """Compared are random paths, and the best path with one border moved."""
    model, log_b = stream(0, 200, spread=2)
    best = inference.best_path(model, log_b)
    random = np.random.default_rng(0)
    others = [sample(model, 200, random) for _ in range(50)]
    moved = [np.where(np.arange(200) == t, best.states[t - 1], best.states) for t in best.starts[1:]]

    assert all(inference.path_score(model, log_b, other) <= best.score for other in [*others, *moved])


# The online filter


@given(st.integers(0, len(SEEDS) - 1))
def test_the_filter_equals_enumeration(seed) -> None:
    """It is the posterior of the last window over all paths so far."""
    _, model, log_b = small(seed)
    state = filter_start(model)
    for window in log_b[: next((t for t in range(len(log_b)) if dead(model, log_b[: t + 1])), None)]:
        state, posterior = filter_step(state, window)
    if paths(seed, True):
        expected = np.zeros(log_b.shape[1])
        for path, share in zip(paths(seed, True), shares(paths(seed, True)), strict=True):
            expected[path.states[-1]] += share
        np.testing.assert_allclose(posterior, expected, atol=1e-9)
        assert state.log_likelihood == pytest.approx(total(paths(seed, True)), rel=1e-12, abs=1e-9)


def dead(model: Tables, log_b: np.ndarray) -> bool:
    """Return whether these windows have probability 0."""
    return inference.log_likelihood(model, log_b) == -np.inf


@pytest.mark.parametrize("spread", [1, 700])
@pytest.mark.parametrize("seed", [0, 1, 2], ids=KINDS)
def test_the_filter_equals_the_last_marginals_of_every_prefix(seed, spread) -> None:
    """After each window, the filter equals the smoothed posterior of that window."""
    model, log_b = stream(seed, 60, spread=spread)
    state = filter_start(model)
    for t, window in enumerate(log_b, 1):
        state, posterior = filter_step(state, window)
        np.testing.assert_allclose(posterior, inference.posterior(model, log_b[:t]).gamma[-1], atol=1e-9)


def test_the_filter_keeps_its_size_and_changes_no_state() -> None:
    """A filter state can be reused, and its size does not grow over 1,000 windows."""
    model, log_b = stream(0, 1000)
    first = filter_start(model)
    once = filter_step(first, log_b[0])[1]
    state = first
    for window in log_b:
        state, _ = filter_step(state, window)

    assert [np.shape(part) for part in state] == [np.shape(part) for part in first]
    np.testing.assert_array_equal(filter_step(first, log_b[0])[1], once)


def test_the_filter_loads_neither_numba_nor_scipy() -> None:
    """The filter runs on the device with numpy only."""
    probe = (
        "import sys, numpy as np; from modelreg.hsmm.durations import Durations; from modelreg.hsmm.model import *;"
        "from modelreg.hsmm.online_filter import *;"
        "model = Hsmm(np.full(2, 0.5), 1 - np.eye(2), Durations('poisson', np.ones((2, 1)), 5));"
        "filter_step(filter_start(tables(model)), np.zeros(2)); print({'numba', 'scipy', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"


# Invalid input


@pytest.mark.parametrize("infer", [inference.posterior, inference.best_path])
def test_an_impossible_window_is_reported(infer, either_kernel) -> None:
    """The place is the step at which every state has likelihood 0."""
    model, log_b = stream(0, 50)
    log_b[30] = -np.inf

    assert inference.log_likelihood(model, log_b) == -np.inf
    with pytest.raises(InputError) as caught:
        infer(model, log_b)
    assert places(caught.value.problems) == [("step 30", "hsmm.impossible-stream")]


def test_an_impossible_end_is_reported(either_kernel) -> None:
    """Each state lasts exactly 3 windows, so 2 windows cannot be whole segments."""
    model = stream(0, 1, states=2, longest=3)[0]
    model = model._replace(log_duration=np.log([[1e-300, 1e-300, 1]] * 2) + np.array([-np.inf, -np.inf, 0]))

    with pytest.raises(InputError) as caught:
        inference.posterior(model, np.zeros((2, 2)), censored=False)

    assert places(caught.value.problems) == [("the last step", "hsmm.impossible-stream")]


@pytest.mark.parametrize(
    ("log_b", "expected"),
    [
        (np.array([[0.0] * 4, [0.0, np.nan, 0.0, 0.0]]), ("log_b: step 1", "hsmm.emission-not-finite")),
        (np.array([[0.0, np.inf, 0.0, 0.0]]), ("log_b: step 0", "hsmm.emission-not-finite")),
        (np.zeros((5, 3)), ("log_b", "hsmm.emission-mismatch")),
        (np.zeros((0, 4)), ("log_b", "hsmm.emission-mismatch")),
        (np.zeros(4), ("log_b", "hsmm.emission-mismatch")),
        (np.zeros((5, 4), dtype=np.float32), ("log_b", "hsmm.emission-mismatch")),
    ],
    ids=["nan", "infinite", "states", "empty", "axes", "dtype"],
)
def test_invalid_emissions_are_refused(log_b, expected) -> None:
    """NaN, +∞, and arrays of another shape or number format are invalid."""
    with pytest.raises(InputError) as caught:
        inference.log_likelihood(stream(0, 1)[0], log_b)

    assert places(caught.value.problems) == [expected]


@pytest.mark.parametrize(
    ("window", "rule"),
    [
        ([0.0, np.nan, 0.0, 0.0], "hsmm.emission-not-finite"),
        ([0.0, np.inf, 0.0, 0.0], "hsmm.emission-not-finite"),
        ([-np.inf] * 4, "hsmm.impossible-stream"),
    ],
    ids=["nan", "infinite", "impossible"],
)
def test_the_filter_refuses_invalid_windows(window, rule) -> None:
    """NaN, +∞, and a window with likelihood 0 in every state are refused."""
    with pytest.raises(InputError) as caught:
        filter_step(filter_start(stream(0, 1)[0]), np.array(window))

    assert places(caught.value.problems) == [("log_b", rule)]


GOOD = random_model(np.random.default_rng(0), "poisson", 3, 5)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Hsmm(np.ones(1), np.zeros((1, 1)), GOOD.durations), ("initial", "hsmm.too-few-states")),
        (GOOD._replace(transition=np.eye(3)), ("transition", "hsmm.self-transition")),
        (GOOD._replace(transition=GOOD.transition / 2), ("transition", "hsmm.invalid-probability")),
        (GOOD._replace(initial=np.array([1.5, -0.5, 0])), ("initial", "hsmm.invalid-probability")),
        (GOOD._replace(transition=np.zeros((2, 2))), ("transition", "hsmm.shape-mismatch")),
        (GOOD._replace(durations=Durations("gaussian", np.ones((3, 1)), 5)), ("durations", "hsmm.shape-mismatch")),
        (
            GOOD._replace(durations=Durations("poisson", np.full((3, 1), np.nan), 5)),
            ("durations.rate", "hsmm.duration-out-of-range"),
        ),
    ],
    ids=["one state", "diagonal", "half", "negative", "shape", "columns", "nan"],
)
def test_an_invalid_model_is_refused(model, expected) -> None:
    """Shapes, probabilities and duration parameters are checked."""
    with pytest.raises(InputError) as caught:
        tables(model)

    assert places(caught.value.problems) == [expected]


def test_kernels_are_compiled_in_memory_without_a_writable_cache(monkeypatch) -> None:
    """Neither the installation nor the cache of the user is writable."""
    compile_ = numba.njit

    def refuses(*functions, cache: bool = False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return compile_(*functions, **options)  # numba decorates its own functions when they are imported

    monkeypatch.setattr(numba, "njit", refuses)

    assert kernels._jit()(lambda x: x + 1)(1) == 2


# Emissions and hsmm.json


def test_emissions_are_posteriors_divided_by_the_prior() -> None:
    """log b = weight · (log p(state | window) − log prior), for one window or many."""
    log_p = np.log([[0.2, 0.8], [0.5, 0.5]])
    expected = 0.5 * np.log([[0.2 / 0.4, 0.8 / 0.6], [0.5 / 0.4, 0.5 / 0.6]])

    np.testing.assert_allclose(of_posterior(log_p, np.array([0.4, 0.6]), 0.5), expected)
    np.testing.assert_allclose(of_posterior(log_p[0], np.array([0.4, 0.6]), 0.5), expected[0])


@given(st.sampled_from(KINDS), st.integers(0, 2**32))
@settings(max_examples=6)
def test_a_model_survives_a_round_trip_through_its_document(kind, seed) -> None:
    """The parameters from hsmm.json are equal bit by bit."""
    model = random_model(np.random.default_rng(seed), kind, 3, 50)
    document = to_spec(model, ("sit", "walk", "run"), PosteriorEmission(prior=(0.2, 0.3, 0.5))).to_bytes()
    back = from_spec(base.parse(document, HsmmSpec, "hsmm.json"))

    for ours, theirs in zip(
        (*back[:2], back.durations.parameters), (*model[:2], model.durations.parameters), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert back.durations[::2] == model.durations[::2]


SPEC = to_spec(GOOD, ("a", "b", "c"), PosteriorEmission(prior=(0.2, 0.3, 0.5))).to_document()
CODED = CategoricalEmission(table=((0.5, 0.5),) * 3).to_document()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"initial": [0.5, 0.4, 0.0]}, "initial: sums to 0.9, must sum to 1"),
        ({"transition": [[0.5, 0.5, 0.0], *SPEC["transition"][1:]]}, "no state may follow itself"),
        ({"transition": SPEC["transition"][:2]}, "must have 3 entries"),
        ({"states": ["a", "b"]}, "must have 2 entries"),
        ({"states": ["a", "b", "b"]}, "occurs twice"),
        ({"states": ["a"]}, "states"),
        ({"durations": {"kind": "poisson", "rate": [1.0, 2.0]}}, "entries, one per state"),
        ({"durations": {"kind": "poisson", "rate": [1.0, 0.0, 2.0]}}, "rate.1"),
        ({"emission": CODED | {"table": [[1.0, 0.0]] * 3}}, "table.0.1"),
        ({"emission": CODED | {"table": [[0.5, 0.5], [0.5, 0.5], [1.0]]}}, "differ in length"),
        ({"longest": 0}, "longest"),
    ],
)
def test_an_invalid_document_is_refused(changes, problem) -> None:
    """The error names the rule and the place."""
    with pytest.raises(InputError, match=problem):
        base.validate(files.to_json(SPEC | changes), HsmmSpec, "hsmm.json")
