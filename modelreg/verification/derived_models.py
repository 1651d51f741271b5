"""Check the files of a version that are derived from its weights: hsmm.json and encoder.safetensors."""

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
from modelreg.registry.filenames import CHECKPOINT, ENCODER, HSMM, METRICS, PREDICTIONS, RUN
from modelreg.verification.version_files import VersionFiles, equal, unlisted

READ = (CHECKPOINT, PREDICTIONS, HSMM, ENCODER)
ENCODER_PREFIX = "device_part."  # of the encoder's tensors in the checkpoint
HSMM_PREFIX = "durations."


def find_problems(
    here: VersionFiles, spec: ModelSpec, data: DataRecord, run: RunRecord, metrics: EvalMetrics
) -> Iterator[Problem]:
    """Yield where a derived file is missing, differs from the run or the checkpoint, or gives other metrics."""
    for name in required(spec):
        if name not in here.digests:
            yield unlisted(name)
        else:
            yield from equal(RUN, f"files.{name}", run.files.get(name), here.digests[name])
    stated, expected = (
        "present" if each else "missing" for each in (metrics.temporal, spec.smooths and not metrics.protocol.folds)
    )
    yield from equal(METRICS, "temporal", stated, expected)
    present = here.present.intersection(required(spec))
    if ENCODER in present and CHECKPOINT in here.present:
        yield from _find_encoder_problems(here.folder)
    if HSMM in present and CHECKPOINT in here.present:
        yield from _find_hsmm_problems(here.folder, spec)
    if HSMM in present and PREDICTIONS in here.present and metrics.temporal:
        yield from _find_temporal_problems(here.folder, spec, data, metrics.temporal)


def required(spec: ModelSpec) -> tuple[str, ...]:
    """Return the derived files that a version of a system must have."""
    encoder = isinstance(spec.settings, TcnVaeSettings)
    return (*([HSMM] if spec.smooths else []), *([ENCODER] if encoder else []))


def _find_hsmm_problems(folder: Path, spec: ModelSpec) -> Iterator[Problem]:
    """Compare hsmm.json with the same model, made again from the tensors of the checkpoint."""
    stated, tensors = load(folder / HSMM, HsmmSpec), safetensors_file.read_safetensors(folder / CHECKPOINT)
    if any(safetensors_file.find_tensor_problems(tensors, spec, CHECKPOINT)):
        return  # the check of the checkpoint reports them
    theirs, ours = stated.to_document(), hsmm_of(tensors, spec).to_document()
    for key in theirs:
        if any(tolerance.differences((key,), theirs[key], ours[key], tolerance.FLOAT32)):
            yield _mismatch(f"{HSMM}: {key}")


def _mismatch(where: str) -> Problem:
    return Problem(where, "verify.derived-mismatch", f"mismatch: differs from {CHECKPOINT}")


def hsmm_of(tensors: safetensors_file.Arrays, spec: ModelSpec) -> HsmmSpec:
    """Return the duration model of a checkpoint."""
    settings: HsmmSettings = getattr(spec.settings, "hsmm")  # noqa: B009 only systems with durations have it
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
    """Compute the smoothed metrics again, from hsmm.json and the predictions."""
    spec = load(folder / HSMM, HsmmSpec)
    if spec.states != model_spec.classes:
        yield from equal(HSMM, "states", spec.states, model_spec.classes)
        return
    arrays = npz.read_npz(folder / PREDICTIONS)
    predictions = scores.from_arrays(arrays, PREDICTIONS, len(model_spec.classes))
    again = sequences.measure_smoothing(predictions, spec, data.hop)
    found = tolerance.differences(("temporal",), stated.to_document(), again.to_document(), tolerance.RECOMPUTED)
    yield from (problem.under(METRICS) for problem in found)


def _find_encoder_problems(folder: Path) -> Iterator[Problem]:
    """Compare encoder.safetensors with the same tensors of the checkpoint, bit for bit."""
    alone, whole = (safetensors_file.read_safetensors(folder / name) for name in (ENCODER, CHECKPOINT))
    own = {name.removeprefix(ENCODER_PREFIX): value for name, value in whole.items() if name.startswith(ENCODER_PREFIX)}
    for name in sorted(alone.keys() | own.keys()):
        if name not in alone or name not in own or not np.array_equal(alone[name], own[name]):
            yield _mismatch(f"{ENCODER}: {name}")
