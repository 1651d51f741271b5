"""What a version holds beside its weights that was taken out of them: hsmm.json, and the encoder alone."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from modelreg.artifacts import npz, safetensors_file
from modelreg.errors import Problem
from modelreg.evaluation import metrics as scores
from modelreg.evaluation import sequences, tolerance
from modelreg.hsmm import from_checkpoint, model
from modelreg.records.base import load
from modelreg.records.data import DataRecord
from modelreg.records.hsmm import HsmmSpec, PosteriorEmission
from modelreg.records.metrics import EvalMetrics, TemporalMetrics
from modelreg.records.model import HsmmSettings, ModelSpec, TcnVaeSettings
from modelreg.records.run import RunRecord
from modelreg.registry.filenames import CHECKPOINT, ENCODER, HSMM, MANIFEST, METRICS, PREDICTIONS, RUN
from modelreg.verification.version_files import VersionFiles

READ = (CHECKPOINT, PREDICTIONS, HSMM, ENCODER)
ENCODER_PREFIX = "device_part."  # of its tensors, in the checkpoint
HSMM_PREFIX = "durations."


def find_problems(
    here: VersionFiles, spec: ModelSpec, data: DataRecord, run: RunRecord, metrics: EvalMetrics
) -> Iterator[Problem]:
    """Yield where a part is missing, is not the run's or the checkpoint's, or does not give the recorded numbers."""
    for name in wanted(spec):
        if name not in here.digests:
            yield Problem(MANIFEST, "todo.derived-models", f"does not list {name}")
        elif run.files.get(name) != here.digests[name]:
            yield Problem(RUN, "todo.derived-models", f"the run had another {name}")
    if spec.smooths != (metrics.temporal is not None):
        what = "is missing" if spec.smooths else "is of a model of durations, which this system has not"
        yield Problem(f"{METRICS}: temporal", "todo.derived-models", what)
    present = here.present.intersection(wanted(spec))
    if ENCODER in present and CHECKPOINT in here.present:
        yield from _find_encoder_problems(here.folder)
    if HSMM in present and CHECKPOINT in here.present:
        yield from _find_hsmm_problems(here.folder, spec)
    if HSMM in present and PREDICTIONS in here.present and metrics.temporal:
        yield from _find_temporal_problems(here.folder, spec, data, metrics.temporal)


def wanted(spec: ModelSpec) -> tuple[str, ...]:
    """Return the parts that a version of a system must have."""
    encoder = isinstance(spec.settings, TcnVaeSettings)
    return (*([HSMM] if spec.smooths else []), *([ENCODER] if encoder else []))


def _find_hsmm_problems(folder: Path, spec: ModelSpec) -> Iterator[Problem]:
    """Hold hsmm.json against the same model, made again from the tensors of the checkpoint."""
    stated, tensors = load(folder / HSMM, HsmmSpec), safetensors_file.read_safetensors(folder / CHECKPOINT)
    if any(safetensors_file.find_tensor_problems(tensors, spec)):
        return  # they are reported, and nothing follows from them
    theirs, ours = stated.to_document(), hsmm_of(tensors, spec).to_document()
    for key in theirs:
        if any(tolerance.differences((key,), theirs[key], ours[key], tolerance.FLOAT32)):
            yield Problem(f"{HSMM}: {key}", "todo.derived-models", "is not what the checkpoint holds")


def hsmm_of(tensors: safetensors_file.Arrays, spec: ModelSpec) -> HsmmSpec:
    """Return the model of durations that a checkpoint holds."""
    settings: HsmmSettings = getattr(spec.settings, "hsmm")  # noqa: B009 its systems are those that have it
    own = {
        name.removeprefix(HSMM_PREFIX).removeprefix("model."): tensor.astype(np.float64)
        for name, tensor in tensors.items()
        if name.startswith(HSMM_PREFIX)
    }
    prior = own["prior"] / own["prior"].sum()
    found = from_checkpoint.of_tensors(own, settings.durations, settings.max_duration)
    return model.to_spec(found, spec.classes, PosteriorEmission(prior=tuple(prior.tolist())))


def _find_temporal_problems(
    folder: Path, model_spec: ModelSpec, data: DataRecord, stated: TemporalMetrics
) -> Iterator[Problem]:
    """Measure again what smoothing is worth, from hsmm.json and the predictions."""
    spec = load(folder / HSMM, HsmmSpec)
    if spec.states != model_spec.classes:
        yield Problem(f"{HSMM}: states", "todo.derived-models", "are not the classes of the model")
        return
    arrays = npz.read_npz(folder / PREDICTIONS)
    predictions = scores.from_arrays(arrays, PREDICTIONS, len(model_spec.classes))
    again = sequences.measure_smoothing(predictions, spec, data.hop)
    found = tolerance.differences(("temporal",), stated.to_document(), again.to_document(), tolerance.RECOMPUTED)
    yield from (problem.under(METRICS) for problem in found)


def _find_encoder_problems(folder: Path) -> Iterator[Problem]:
    """Hold the encoder alone against the same tensors of the checkpoint, bit for bit."""
    alone, whole = (
        safetensors_file.read_safetensors(folder / ENCODER),
        safetensors_file.read_safetensors(folder / CHECKPOINT),
    )
    own = {name.removeprefix(ENCODER_PREFIX): value for name, value in whole.items() if name.startswith(ENCODER_PREFIX)}
    for name in sorted(alone.keys() ^ own.keys()):
        yield Problem(f"{ENCODER}: {name}", "todo.derived-models", "is in one of encoder and checkpoint only")
    for name in sorted(alone.keys() & own.keys()):
        if not np.array_equal(alone[name], own[name]):
            yield Problem(f"{ENCODER}: {name}", "todo.derived-models", "is not what the checkpoint holds")
