"""An ablation grid: the variants of a configuration with components switched off, and the summary of their runs."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from modelreg.config import TrainConfig
from modelreg.errors import InputError, Problem
from modelreg.evaluation import metrics
from modelreg.evaluation.metrics import Predictions
from modelreg.records.ablation import AblationOutcome, Trial, Variant
from modelreg.records.metrics import EvalMetrics, EvaluationSettings
from modelreg.records.run import RunRecord

RECORD = "ablation.json"
TABLE = "ablation.md"
FULL, ALL_OFF = "full", "all_off"
COMPONENTS: Mapping[str, Mapping[str, object]] = {  # of each model system, with the value that switches it off
    "conv2d_fsq_hsmm": {"hsmm": False},
    "conv2d_vq": {"vq": False, "reconstruction": 0.0},
    "conv2d_vq_hdp_hsmm": {"vq": False, "hdp": False, "hsmm": False, "reconstruction": 0.0},
    "tcn_vae": {"elbo": 0.0, "domain": 0.0},
}


class Trained(NamedTuple):
    """A finished run of the grid, with its metrics and test-set predictions."""

    folder: str
    run: RunRecord
    measured: EvalMetrics
    predictions: Predictions


def components(config: TrainConfig) -> dict[str, object]:
    """Return the components that a configuration has switched on, with the value that switches each off.

    Raises InputError if there are none.
    """
    settings = config.model
    known = COMPONENTS.get(settings.name, {})
    found = {name: off for name, off in known.items() if getattr(settings, name) != off}
    if not found:
        what = f"{settings.name} has no component that is switched on; these have: {', '.join(COMPONENTS)}"
        raise InputError("nothing was trained", [Problem("model", "ablate.no-components", what)])
    return found


def variants(config: TrainConfig) -> dict[str, TrainConfig]:
    """Return the variants by name: the full system, one with each component off, and one with all off."""
    found = components(config)
    alone = {f"no_{name}": _without(config, {name: off}) for name, off in found.items()}
    return {FULL: config, **alone, **({ALL_OFF: _without(config, found)} if len(found) > 1 else {})}


def off(full: TrainConfig, variant: TrainConfig) -> tuple[str, ...]:
    """Return the components that a variant of a configuration has switched off."""
    return tuple(name for name in components(full) if getattr(variant.model, name) != getattr(full.model, name))


def seeded(config: TrainConfig, seed: int) -> TrainConfig:
    """Return a configuration with another seed."""
    return config.model_copy(update={"training": config.training.model_copy(update={"seed": seed})})


def summarize(name: str, switched_off: Sequence[str], trained: Sequence[Trained]) -> Variant:
    """Summarize the runs of a variant: one for each seed, all tested on the same subjects."""
    trials = tuple(map(_trial, trained))
    return Variant(
        name=name,
        off=tuple(switched_off),
        parameters=trained[0].measured.parameters,
        mean=_mean([trial.outcome for trial in trials]),
        intervals=_intervals([each.predictions for each in trained], trained[0].measured.settings),
        trials=trials,
    )


def _without(config: TrainConfig, changes: Mapping[str, Any]) -> TrainConfig:
    return config.model_copy(update={"model": config.model.model_copy(update=dict(changes))})


def _trial(trained: Trained) -> Trial:
    measured, run = trained.measured, trained.run
    smoothing, codes, clusters = measured.temporal, measured.codes, measured.clusters
    outcome = AblationOutcome(
        accuracy=measured.accuracy,
        macro_f1=measured.macro_f1,
        smoothed_accuracy=smoothing.smoothed.accuracy if smoothing else None,
        perplexity=codes.perplexity if codes else None,
        used_share=codes.used_share if codes else None,
        active_clusters=float(clusters.active) if clusters else None,
        mean_duration=smoothing.mean_duration if smoothing else None,
        seconds=_seconds(run),
    )
    evaluations = measured.protocol.evaluations
    return Trial(seed=run.seed, folder=trained.folder, evaluations=evaluations, outcome=outcome)


def _seconds(run: RunRecord) -> float:
    started, finished = (datetime.fromisoformat(at) for at in (run.started, run.finished or run.started))
    return (finished - started).total_seconds()


def _mean(outcomes: Sequence[AblationOutcome]) -> AblationOutcome:
    documents = [outcome.to_document() for outcome in outcomes]
    return AblationOutcome(
        **{name: _mean_of([document[name] for document in documents]) for name in AblationOutcome.model_fields}
    )


def _mean_of(values: Sequence[float | None]) -> Any:
    numbers = [value for value in values if value is not None]
    return fmean(numbers) if numbers else None


def _intervals(predictions: Sequence[Predictions], settings: EvaluationSettings) -> dict[Any, Any]:
    """Return bootstrap intervals over subjects; a subject is drawn with its windows of all seeds."""
    pooled = np.sum([metrics.confusions(each)[1] for each in predictions], axis=0)  # (S, K, K)
    found = metrics.intervals(pooled, settings)
    return {name: found[name] for name in ("accuracy", "macro_f1")}
