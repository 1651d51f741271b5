"""What a version holds beside its weights that was taken out of them: hsmm.json, and the encoder alone."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from modelreg import agreement, files, metrics, registry, temporal, weights
from modelreg.artifacts import Facts
from modelreg.errors import InputError, Problem
from modelreg.records.base import load
from modelreg.records.hsmm import HsmmSpec
from modelreg.records.metrics import EvalMetrics, TemporalMetrics
from modelreg.records.model import TcnVaeSettings

TOLERANCE = 1e-9  # relative or absolute, of a number computed again
ENCODER_PREFIX = "device_part."  # of its tensors, in the checkpoint


def find_problems(folder: Path, facts: Facts, sealed: Mapping[str, str], measured: EvalMetrics) -> Iterator[Problem]:
    """Yield where a part is missing, is not the run's, or does not give the recorded numbers."""
    wanted = {
        registry.HSMM: facts.spec.smooths,
        registry.ENCODER: isinstance(facts.spec.settings, TcnVaeSettings),
    }
    for name, needed in wanted.items():
        if needed and name not in facts.digests:
            yield Problem(registry.MANIFEST, f"does not list {name}")
        elif needed and sealed.get(name) != facts.digests[name]:
            yield Problem(registry.RUN, f"the run had another {name}")
    if facts.spec.smooths != (measured.temporal is not None):
        what = "is missing" if facts.spec.smooths else "is of a model of durations, which this system has not"
        yield Problem(f"{registry.METRICS}: temporal", what)
    try:
        if facts.spec.smooths and measured.temporal and {registry.HSMM, registry.PREDICTIONS} <= facts.present:
            yield from _find_temporal_problems(folder, facts, measured.temporal)
        if wanted[registry.ENCODER] and {registry.ENCODER, registry.CHECKPOINT} <= facts.present:
            yield from _find_encoder_problems(folder)
    except InputError as error:
        yield from error.problems


def _find_temporal_problems(folder: Path, facts: Facts, stated: TemporalMetrics) -> Iterator[Problem]:
    """Measure again what smoothing is worth, from hsmm.json and the predictions."""
    spec = load(folder / registry.HSMM, HsmmSpec)
    if spec.states != facts.spec.classes:
        yield Problem(f"{registry.HSMM}: states", "are not the classes of the model")
        return
    arrays = files.read_npz(folder / registry.PREDICTIONS)
    predictions = metrics.from_arrays(arrays, registry.PREDICTIONS, len(facts.spec.classes))
    again = temporal.measure(predictions, spec, facts.data.hop)
    for place, what in agreement.differences(("temporal",), stated.to_document(), again.to_document(), TOLERANCE):
        yield Problem(f"{registry.METRICS}: {place}", what)


def _find_encoder_problems(folder: Path) -> Iterator[Problem]:
    """Hold the encoder alone against the same tensors of the checkpoint, bit for bit."""
    alone, whole = weights.read(folder / registry.ENCODER), weights.read(folder / registry.CHECKPOINT)
    own = {name.removeprefix(ENCODER_PREFIX): value for name, value in whole.items() if name.startswith(ENCODER_PREFIX)}
    for name in sorted(alone.keys() ^ own.keys()):
        yield Problem(f"{registry.ENCODER}: {name}", "is in one of encoder and checkpoint only")
    for name in sorted(alone.keys() & own.keys()):
        if not np.array_equal(alone[name], own[name]):
            yield Problem(f"{registry.ENCODER}: {name}", "is not what the checkpoint holds")
