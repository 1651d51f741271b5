"""Create a run from a legacy checkpoint: its weights under modelreg's names and the data of a configuration.

Nothing is trained and no value is invented. A setting that the checkpoint does not determine, such as the levels of a
quantizer, comes from the configuration. If the two contradict each other, no run is created.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modelreg import config as settings
from modelreg import files
from modelreg.config import TrainConfig
from modelreg.data import normalization, preparation
from modelreg.data.cache import Reading
from modelreg.data.preparation import Prepared
from modelreg.data.windows import spread
from modelreg.errors import InputError, Problem
from modelreg.files import Json
from modelreg.ml import checkpoint, dead_units, factory, legacy_checkpoint, legacy_conversion
from modelreg.ml.legacy_conversion import Adopted, Needs
from modelreg.records.base import is_name
from modelreg.records.data import Normalization
from modelreg.records.model import ModelSpec, TcnVaeSettings
from modelreg.records.run import Environment, ImportRecord, RunRecord
from modelreg.registry import filenames, runs
from modelreg.verification import derived_models
from modelreg.workflows import run_checks

WATCHED = 512  # windows used to find dead units


class Older(NamedTuple):
    """A legacy checkpoint, converted to a model system of modelreg."""

    file: str
    sha256: str
    model: str
    layout: str
    adopted: Adopted
    beside: dict[str, str]  # values that the file stores with the weights, as text


class Inputs(NamedTuple):
    """The inputs of a new run."""

    older: Older
    config: TrainConfig
    normalization: Path | None  # its file; None: fitted on the train split


def read_legacy(path: Path, model: str) -> Older:
    """Read a legacy checkpoint as a model system. Raises InputError with every mismatch."""
    if not is_name(path.name):
        what = "its file name cannot be recorded, expected letters, digits, `-`, `_` and `.`"
        raise InputError("no run was created", [Problem(str(path), "import.file-name", what)])
    found = legacy_checkpoint.read_legacy_checkpoint(path)
    recognised = legacy_conversion.recognise(found.tensors)
    adopted = legacy_conversion.adopt(recognised, model)
    return Older(path.name, found.sha256, model, recognised.layout.name, adopted, found.others)


class Shape(NamedTuple):
    """The shape of data."""

    channels: int  # of each device
    devices: int
    classes: int


def find_misfits(needs: Needs, found: Shape, subject: str = "the data have") -> Iterator[Problem]:
    """Yield where data do not have the shape that the weights need; `subject` begins what they have."""
    channels = found.channels * found.devices if needs.merged else found.channels
    stated = needs.described()
    for name, needed, there in (
        ("channels", needs.channels, channels),
        ("devices", needs.devices, found.devices),
        ("classes", needs.classes, found.classes),
    ):
        if needed not in (None, there):
            yield Problem(name, "import.data-mismatch", f"the checkpoint needs {stated[name]}, {subject} {there}")


def unsaid(place: str, meaning: str) -> Problem:
    """Return the problem of a setting that a checkpoint does not determine."""
    return Problem(place, "import.setting-missing", f"the checkpoint does not determine it: {meaning}")


def settle(older: Older, document: Json, where: str, text: str | None = None) -> TrainConfig:
    """Return a configuration with the model settings of the checkpoint. Raises InputError if they contradict.

    `text` is the YAML text of the document, for the line of each problem.
    """
    stated = document.get("model", {}) if isinstance(document, dict) else None
    if not isinstance(stated, dict):
        return settings.settle(document, TrainConfig, where, text=text)  # raises InputError
    known = {"name": older.model, **older.adopted.settings}
    problems = [
        Problem(
            f"{where}: model.{name}", "import.setting-mismatch", f"is {stated[name]}, but the checkpoint has {value}"
        )
        for name, value in known.items()
        if name in stated and stated[name] != value
    ]
    problems += [
        unsaid(f"{where}: model.{name}", what.meaning)
        for name, what in older.adopted.unsaid.items()
        if name not in stated
    ]
    if problems:
        raise InputError(f"cannot import {older.file} with this configuration", problems)
    return settings.settle({**document, "model": {**stated, **known}}, TrainConfig, where, text=text)


def missing_heads(older: Older) -> str:
    """Return the heads that are missing in a checkpoint, in words."""
    return ", ".join(f"{legacy_conversion.HEADS[part]} ({part})" for part in older.adopted.lacks)


def start(folder: Path, inputs: Inputs, reading: Reading, environment: Environment, now: str) -> tuple[Problem, ...]:
    """Create the run's folder; return warnings about the weights on real windows. Raises InputError.

    The run's status is `trained`, with 0 epochs. It has no metrics until it is evaluated.
    """
    run_checks.refuse_existing(folder)
    older, config = inputs.older, inputs.config
    if config.evaluation.crossfitted:
        what = f"is {config.evaluation.protocol}, but an import trains no folds: its weights are tested as they are"
        step = "--set evaluation.protocol=holdout"
        raise InputError("no run was created", [Problem("evaluation.protocol", "import.cross-fitted", what, step)])
    prepared = preparation.prepare(config, reading)
    channels, rows, _ = prepared.input.shape
    if misfits := list(find_misfits(older.adopted.needs, Shape(channels, rows, len(prepared.classes)))):
        raise InputError(f"no run was created: the data do not fit {older.file}", misfits)
    spec = factory.spec(config.model, prepared.input, prepared.classes)
    scale = _normalization(inputs, prepared)
    some = normalization.apply(spread(prepared.windows["train"].x, WATCHED), scale)
    tensors = _fitted(spec, older.adopted)
    odd = tuple(_find_dead_units(spec, tensors, older.adopted.lacks, some))
    documents = {
        filenames.CONFIG: config.model_copy(update={"split": prepared.split}).to_bytes(),
        filenames.DATA: prepared.record.to_bytes(),
        filenames.NORMALIZATION: scale.to_bytes(),
        filenames.QUALITY: prepared.quality.to_bytes(),
        filenames.CHECKPOINT: checkpoint.checkpoint_bytes(tensors),
        filenames.HISTORY: b"",  # a line for each epoch
        **_parts(spec, tensors),
    }
    record = RunRecord(
        model=spec,
        seed=config.training.seed,
        status="trained",
        started=now,
        finished=now,
        environment=environment,
        epochs=0,
        best_epoch=None,
        best_validation_loss=None,
        stopped=None,
        files={name: files.sha256_bytes(data) for name, data in documents.items()},
        imported=_origin(older, scale),
    )
    runs.create(folder, documents, record)
    return odd


def _origin(older: Older, scale: Normalization) -> ImportRecord:
    return ImportRecord(
        file=older.file,
        sha256=older.sha256,
        layout=older.layout,
        lacks=older.adopted.lacks,
        notes=older.adopted.notes,
        normalization_sha256=scale.data_digest if scale.fitted_on == "elsewhere" else None,
    )


def _normalization(inputs: Inputs, prepared: Prepared) -> Normalization:
    path = inputs.normalization
    if path is None:
        return prepared.normalization
    data = files.read_bytes(path)
    return normalization.stated(
        files.parse_json(data, path.name),
        prepared.input,
        limits=inputs.config.quality.limits,
        digest=files.sha256_bytes(data),
        where=path.name,
    )


def _fitted(spec: ModelSpec, adopted: Adopted) -> dict[str, Tensor]:
    """Return the tensors that the network expects. Raises InputError if they do not fit it."""
    with torch.device("meta"):
        network = factory.of_spec(spec, seed=0)
    expected = {name: t for name, t in network.state_dict().items() if not name.startswith(adopted.lacks)}
    tensors = legacy_conversion.with_rows(adopted.tensors, expected)
    if problems := list(checkpoint.mismatches(expected, tensors)):
        raise InputError("no run was created: the weights do not fit the configuration", problems)
    return tensors


def _parts(spec: ModelSpec, tensors: dict[str, Tensor]) -> dict[str, bytes]:
    """Return the files that a run keeps of parts of its weights: for a tcn_vae, the device part."""
    if not isinstance(spec.settings, TcnVaeSettings):
        return {}
    prefix = derived_models.ENCODER_PREFIX
    alone = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    return {filenames.ENCODER: checkpoint.checkpoint_bytes(alone)}


def _find_dead_units(
    spec: ModelSpec, tensors: dict[str, Tensor], missing: tuple[str, ...], windows: NDArray[np.float32]
) -> Iterator[Problem]:
    """Yield the units that are constant on normalized windows; units without weights in the file are left out."""
    network = factory.of_spec(spec, seed=0)
    network.load_state_dict(tensors, strict=not missing)
    dead = dead_units.find_dead_units(network, torch.from_numpy(windows))
    return (problem for problem in dead if not problem.where.startswith(missing))
