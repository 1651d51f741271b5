"""Bounds on codes, clusters and durations: configuration, warnings, and gates."""

import pytest
from example_records import example_data_record, example_metrics, example_run_record
from example_run import write_run
from hypothesis import given
from hypothesis import strategies as st

from modelreg.cli import evaluate
from modelreg.config import TrainConfig, settle
from modelreg.documents.report import health, recommendations
from modelreg.documents.templates.gates_v2 import describe
from modelreg.errors import InputError
from modelreg.evaluation import gates
from modelreg.records.base import load
from modelreg.records.gates import Gate
from modelreg.records.metrics import (
    Bounds,
    ClusterUsage,
    EvalMetrics,
    EvaluationSettings,
    HealthBounds,
    SegmentScores,
    TemporalMetrics,
)

SCORES = SegmentScores(accuracy=0.9, edit=80.0, over_segmentation=1.5, f1_at_50=0.8)
NUMBERS = st.floats(-1e6, 1e6)


def ill(active=7, duration=20.0, perplexity=50.0, **bounds) -> EvalMetrics:
    """Return metrics of a system with every part, and other bounds."""
    metrics = example_metrics()
    assert metrics.codes is not None
    return metrics.model_copy(
        update={
            "codes": metrics.codes.model_copy(update={"perplexity": perplexity, "used_share": 0.5}),
            "clusters": ClusterUsage(active=active, perplexity=2.0),
            "temporal": TemporalMetrics(streams=2, mean_duration=duration, alone=SCORES, smoothed=SCORES),
            "settings": EvaluationSettings(health=HealthBounds(**bounds)),
        }
    )


@given(NUMBERS, st.none() | NUMBERS, st.none() | NUMBERS)
def test_bounds_are_inclusive(value, low, high) -> None:
    """Null is no bound."""
    if None not in (low, high) and low > high:
        low, high = high, low
    expected = (low is None or low <= value) and (high is None or value <= high)

    assert Bounds(min=low, max=high).hold(value) is expected


def test_a_minimum_above_the_maximum_is_refused() -> None:
    """It would always warn."""
    with pytest.raises(InputError, match="min is above max"):
        settle({"evaluation": {"health": {"perplexity": {"min": 2, "max": 1}}}}, TrainConfig, "test")


def test_metrics_without_bounds_stay_readable(tmp_path) -> None:
    """Metrics of early versions have no bounds: they get the defaults."""
    run = write_run(tmp_path / "run")
    document = load(run / "eval_metrics.json", EvalMetrics).to_document()
    del document["settings"]["health"]

    assert settle(document, EvalMetrics, "old").settings.health == HealthBounds()


def test_values_within_bounds_give_no_finding() -> None:
    """Missing parts do not, either."""
    assert health.ailments(ill()) == []
    assert health.ailments(example_metrics().model_copy(update={"codes": None})) == []


@pytest.mark.parametrize(
    ("metrics", "finding", "advice"),
    [
        (ill(active=4), "The number of active clusters is 4.000, below the minimum 5", "Increase `model.hdp.gamma`"),
        (ill(active=16), "The number of active clusters is 16.00, above the maximum 15", "Decrease `model.hdp.gamma`"),
        (ill(duration=9.0), "The mean duration (windows) is 9.000, below the minimum 10", "Decrease `data.hop`"),
        (ill(duration=31.0), "The mean duration (windows) is 31.00, above the maximum 30", "Increase `data.hop`"),
        (ill(perplexity=1.0), "The perplexity of the codes is 1.000, below the minimum 2", "`model.vq.restart_below`"),
        (
            ill(used_share=Bounds(max=0.25)),
            "The share of codes used is 0.5000, above the maximum 0.25",
            "Reduce the number of codes",
        ),
    ],
    ids=["few-clusters", "many-clusters", "short", "long", "collapsed", "share"],
)
def test_a_value_outside_its_bounds_gives_a_recommendation(metrics, finding, advice) -> None:
    """It names the setting to change, or the bounds."""
    (found,) = health.ailments(metrics)
    advised = recommendations.recommendations(metrics, example_data_record(), example_run_record(), (), None)

    assert (found.finding, advice in found.advice, "`evaluation.health." in found.advice) == (finding, True, True)
    assert (f"{finding}.", found.advice) in advised


def test_evaluate_warns(capsys) -> None:
    """On stderr."""
    evaluate._warn_of_health(ill(active=4), ())

    assert "The number of active clusters is 4.000, below the minimum 5" in capsys.readouterr().err


def test_null_sets_no_bound() -> None:
    """The bounds are configurable."""
    assert health.ailments(ill(active=1, active_clusters=Bounds(min=None, max=15.0))) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [("codes.perplexity", 50.0), ("codes.used_share", 0.5), ("clusters.active", 7.0), ("temporal.mean_duration", 20.0)],
)
def test_each_number_can_be_a_gate(path, value) -> None:
    """By its path in eval_metrics.json."""
    document = ill().to_document()
    met, missed = (
        gates.check_gates(document, {path: Gate(min=low)}, describe=describe)[0].verdict
        for low in (value, value + 0.01)
    )

    assert (met, missed) == ("met", "FAILS")
