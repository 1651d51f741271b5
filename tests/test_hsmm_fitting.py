"""Durations equal those of scipy; parameters are fitted to counts and to labels."""

import numpy as np
import pytest
from hsmm_em import fit
from hsmm_enumeration import KINDS, random_durations, random_model, stream
from hsmm_sampling import sample
from hypothesis import given, settings
from hypothesis import strategies as st
from places import places
from scipy import stats

from modelreg.errors import InputError
from modelreg.hsmm import durations, fitting
from modelreg.hsmm.duration_fit import fit_durations
from modelreg.hsmm.durations import Durations
from modelreg.hsmm.model import tables

either = pytest.mark.parametrize("censored", [True, False], ids=["censored", "whole"])
each_kind = pytest.mark.parametrize("kind", KINDS)


# Durations


@given(st.sampled_from(KINDS), st.integers(0, 2**32), st.integers(1, 60))
def test_durations_sum_to_one(kind, seed, longest) -> None:
    """This holds for every truncation."""
    drawn = random_durations(np.random.default_rng(seed), kind, 3, longest)

    np.testing.assert_allclose(np.exp(durations.log_pmf(drawn)).sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize(
    ("kind", "parameters", "published"),
    [
        ("negative_binomial", [[2.5, 0.2]], stats.nbinom(2.5, 0.2, loc=1).pmf),
        ("poisson", [[7.5]], stats.poisson(7.5, loc=1).pmf),
        ("gaussian", [[12.0, 4.0]], stats.norm(12, 4).pdf),
    ],
)
def test_durations_equal_scipy_after_truncation(kind, parameters, published) -> None:
    """Probabilities, survivor function and mean are those of the distribution on 1 … 30, normalized."""
    ours = Durations(kind, np.array(parameters), 30)
    d = np.arange(1, 31)
    p = published(d) / published(d).sum()
    log_p = durations.log_pmf(ours)

    np.testing.assert_allclose(np.exp(log_p[0]), p, rtol=1e-9)
    np.testing.assert_allclose(np.exp(durations.log_survivor(log_p)[0]), p[::-1].cumsum()[::-1], rtol=1e-9)
    np.testing.assert_allclose(durations.mean(ours), [(p * d).sum()], rtol=1e-9)


@each_kind
def test_durations_have_the_requested_moments(kind) -> None:
    """This holds far from both ends, where truncation has no effect."""
    found = durations.of_moments(kind, np.array([40.0, 60.0]), np.array([90.0, 64.0]), 400)

    np.testing.assert_allclose(durations.mean(found), [40, 60], rtol=1e-4)


# Fitting


def drawn_counts(kind: str, seed: int, n: int, longest: int = 40) -> tuple[Durations, np.ndarray]:
    """Return parameters and the counts of n durations drawn from them."""
    true = random_durations(np.random.default_rng(seed), kind, 1, longest)
    p = np.exp(durations.log_pmf(true))[0]
    return true, np.random.default_rng(seed).multinomial(n, p)[None].astype(float)


def fit_log_likelihood(model: Durations, ended: np.ndarray, cut: np.ndarray) -> float:
    """Return the log likelihood of counts."""
    log_p = durations.log_pmf(model)
    return float((ended * log_p).sum() + (cut * durations.log_survivor(log_p)).sum())


@given(st.sampled_from(KINDS), st.integers(0, 2**32), st.booleans())
@settings(max_examples=15)
def test_fitted_durations_are_as_likely_as_the_true_ones(kind, seed, cuts) -> None:
    """Their likelihood is at least that of the true parameters and that of the initial ones."""
    true, counts = drawn_counts(kind, seed, 200)
    ended, cut = (counts * 0.7, counts * 0.3) if cuts else (counts, counts * 0)
    begin = random_durations(np.random.default_rng(seed + 1), kind, 1, 40)
    fitted = fit_log_likelihood(fit_durations(begin, ended, cut), ended, cut)

    assert fitted >= max(fit_log_likelihood(begin, ended, cut), fit_log_likelihood(true, ended, cut) - 1e-6)


@each_kind
def test_parameters_are_recovered_from_many_durations(kind) -> None:
    """There are 100,000 segments, of which up to a third are censored at a random age."""
    parameters = {"negative_binomial": [[4.0, 0.3]], "poisson": [[9.0]], "gaussian": [[14.0, 5.0]]}[kind]
    true = Durations(kind, np.array(parameters), 50)
    rng = np.random.default_rng(0)
    d = rng.choice(50, 100_000, p=np.exp(durations.log_pmf(true))[0]) + 1
    ages = rng.integers(1, 51, size=len(d))
    is_cut = (ages < d) & (np.arange(len(d)) % 3 == 0)
    ended, cut = (np.bincount(part, minlength=51)[None, 1:] for part in (d[~is_cut], ages[is_cut]))
    fitted = fit_durations(Durations(kind, np.array(parameters) * 0.5, 50), ended, cut)

    assert is_cut.sum() > 1000
    np.testing.assert_allclose(fitted.parameters, true.parameters, rtol=0.1)


def test_poisson_durations_match_the_mean() -> None:
    """The most likely rate of a truncated Poisson distribution reproduces the mean of the counts."""
    counts = np.array([[3.0, 1, 4, 1, 5, 9, 2, 6]])
    fitted = fit_durations(Durations("poisson", np.ones((1, 1)), 8), counts, counts * 0)

    np.testing.assert_allclose(durations.mean(fitted), counts @ np.arange(1, 9) / counts.sum(), rtol=1e-5)


@each_kind
def test_parameters_stay_bounded_for_a_single_duration(kind) -> None:
    """With segments of one length, the likelihood has no maximum at finite parameters."""
    counts = np.zeros((2, 30))
    counts[:, 11] = 5
    fitted = fit_durations(random_durations(np.random.default_rng(0), kind, 2, 30), counts, counts * 0)

    assert np.isfinite(durations.log_pmf(fitted)).all()
    assert (fitted.parameters >= 1e-4).all()
    assert (fitted.parameters <= 1000.001).all()


def test_a_state_without_a_segment_keeps_its_durations() -> None:
    """Counts of 0 do not change its parameters."""
    begin = Durations("poisson", np.array([[3.0], [5.0]]), 10)
    counts = np.zeros((2, 10))
    counts[0, 6] = 1
    fitted = fit_durations(begin, counts, counts * 0)

    assert fitted.parameters[1] == 5
    assert fitted.parameters[0] != 3


@either
@each_kind
def test_expected_counts_never_lower_the_likelihood(kind, censored) -> None:
    """With expected counts, `maximise` is the M-step of expectation maximisation."""
    log_b = stream(KINDS.index(kind), 150, spread=2)[1]
    begin = fitting.start(kind, 4, 20, mean=6, random=np.random.default_rng(0))
    reached = fit(begin, [log_b[:100], log_b[100:]], 8, censored=censored).log_likelihood

    assert (np.diff(reached) >= -1e-9).all()
    assert reached[-1] > reached[0] + 1


LABELS = [np.array([0, 0, 1, 1, 1, 0, 2]), np.array([2, 2, 2, 2, 2, 2])]


def test_labels_are_counted_segment_by_segment() -> None:
    """The last segment of each stream is censored. A segment longer than the longest counts as the longest."""
    counts = fitting.count_labels([*LABELS, np.zeros(0, dtype=np.int64)], 3, 4)

    assert counts.initial.tolist() == [1, 0, 1]
    assert counts.transition.tolist() == [[0, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert counts.duration.tolist() == [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert counts.cut.tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 1]]


def test_the_last_segment_is_whole_without_censoring() -> None:
    """It counts like the other segments."""
    counts = fitting.count_labels(LABELS, 3, 4, censored=False)

    assert counts.duration[2].tolist() == [1, 0, 0, 1]
    assert not counts.cut.any()


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_out_of_range_is_reported(label) -> None:
    """A window has no label (-1), or a class that the model does not have."""
    with pytest.raises(InputError) as caught:
        fitting.count_labels([LABELS[0], np.array([0, label])], 3, 4)

    assert places(caught.value.problems) == [("stream 1", "train.label-out-of-range")]


@each_kind
def test_a_model_is_recovered_from_its_labels(kind) -> None:
    """Transitions and durations are those of the model that the labels were drawn from."""
    rng = np.random.default_rng(5)
    true = random_model(rng, kind, 3, 15)
    labels = [sample(tables(true), 500, rng) for _ in range(20)]
    fitted = fitting.fit_counts(kind, fitting.count_labels(labels, 3, 15))

    np.testing.assert_allclose(fitted.transition, true.transition, atol=0.05)
    np.testing.assert_allclose(durations.mean(fitted.durations), durations.mean(true.durations), rtol=0.05)


def test_a_class_without_segments_gets_the_pooled_durations() -> None:
    """Its transitions come from the pseudo-counts."""
    fitted = fitting.fit_counts("gaussian", fitting.count_labels(LABELS, 4, 10))

    assert fitted.transition[3].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert fitted.durations.parameters[3, 0] == pytest.approx(13 / 5)


def test_without_pseudo_counts_unseen_transitions_are_impossible() -> None:
    """A state without a count keeps its transitions."""
    fitted = fitting.fit_counts("poisson", fitting.count_labels(LABELS, 3, 10), pseudo_count=0)

    assert fitted.transition.tolist() == [[0, 0.5, 0.5], [1, 0, 0], [0.5, 0.5, 0]]


def test_drawn_states_have_the_durations_of_the_model() -> None:
    """The frequencies of whole segments are within four standard errors."""
    model = stream(0, 1, states=3, longest=6)[0]
    states = sample(model, 30_000, np.random.default_rng(0))
    counts = fitting.count_labels([states], 3, 6)
    n = counts.duration.sum(axis=1, keepdims=True)
    p = np.exp(model.log_duration)

    assert (abs(counts.duration / n - p) <= 4 * np.sqrt(p * (1 - p) / n)).all()
