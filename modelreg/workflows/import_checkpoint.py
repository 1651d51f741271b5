"""A run out of a checkpoint of older code: its weights under our names, the data of a configuration, no metrics.

Nothing is trained and nothing made up: what the file lacks is not there; what it does not say, as the levels of a
quantizer, the configuration must; where the two contradict each other, the run is refused.
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
from modelreg.ml.legacy_conversion import Adopted
from modelreg.records.base import is_name
from modelreg.records.data import Normalization
from modelreg.records.model import ModelSpec, TcnVaeSettings
from modelreg.records.run import Environment, ImportRecord, RunRecord
from modelreg.registry import filenames, runs
from modelreg.verification import derived_models

WATCHED = 512  # windows that dead units are looked for on


class Older(NamedTuple):
    """A checkpoint of older code as one of a model system here."""

    file: str
    sha256: str
    model: str
    layout: str
    adopted: Adopted
    beside: dict[str, str]  # what stood beside its weights, in words


class Wanted(NamedTuple):
    """What a run is to be made of."""

    older: Older
    config: TrainConfig
    normalization: Path | None  # the file that states it; None: it is fitted on the training part


def read_legacy(path: Path, model: str) -> Older:
    """Read a checkpoint as one of a model system. Raises InputError with all that stands against it."""
    if not is_name(path.name):
        raise InputError(
            "cannot be recorded", [Problem(str(path), "todo.import-checkpoint", "give the file a plain name first")]
        )
    found = legacy_checkpoint.read_legacy_checkpoint(path)
    recognised = legacy_conversion.recognise(found.tensors)
    adopted = legacy_conversion.adopt(recognised, model)
    return Older(path.name, found.sha256, model, recognised.layout.name, adopted, found.others)


def settle(older: Older, document: Json, where: str) -> TrainConfig:
    """Return a configuration with what the checkpoint says of the model. Raises InputError where they contradict."""
    stated = document.get("model", {}) if isinstance(document, dict) else None
    if not isinstance(stated, dict):
        return settings.settle(document, TrainConfig, where)  # which refuses it
    known = {"name": older.model, **older.adopted.settings}
    problems = [
        Problem(
            f"{where}: model.{name}", "todo.import-checkpoint", f"is {stated[name]}, but the checkpoint has {value}"
        )
        for name, value in known.items()
        if name in stated and stated[name] != value
    ]
    problems += [
        Problem(
            f"{where}: model.{name}", "todo.import-checkpoint", f"must be given, the checkpoint does not say it: {what}"
        )
        for name, what in older.adopted.unsaid.items()
        if name not in stated
    ]
    if problems:
        raise InputError(f"the configuration is not that of {older.file}", problems)
    return settings.settle({**document, "model": {**stated, **known}}, TrainConfig, where)


def start(folder: Path, wanted: Wanted, reading: Reading, environment: Environment, now: str) -> tuple[Problem, ...]:
    """Make the run's folder; return what is odd about the weights on real windows. Raises InputError.

    The run counts as trained, in no epoch; it has no metrics until they are computed.
    """
    if folder.exists():
        raise InputError(
            "cannot start a run", [Problem(str(folder), "todo.import-checkpoint", "exists; give another --out")]
        )
    older, config = wanted.older, wanted.config
    prepared = preparation.prepare(config, reading)
    spec = factory.spec(config.model, prepared.input, prepared.classes)
    scale = _normalization(wanted, prepared)
    some = normalization.apply(spread(prepared.windows["train"].x, WATCHED), scale)
    tensors = _fitted(spec, older.adopted)
    odd = tuple(_find_dead_units(spec, tensors, older.adopted.lacks, some))
    documents = {
        filenames.CONFIG: config.to_bytes(),
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


def _normalization(wanted: Wanted, prepared: Prepared) -> Normalization:
    path = wanted.normalization
    if path is None:
        return prepared.normalization
    data = files.read_bytes(path)
    return normalization.stated(
        files.parse_json(data, path.name),
        prepared.input,
        limits=wanted.config.quality.limits,
        digest=files.sha256_bytes(data),
        where=path.name,
    )


def _fitted(spec: ModelSpec, adopted: Adopted) -> dict[str, Tensor]:
    """Return the tensors as the network of a record has them. Raises InputError where they do not fit it."""
    with torch.device("meta"):
        network = factory.of_spec(spec, seed=0)
    expected = {name: t for name, t in network.state_dict().items() if not name.startswith(adopted.lacks)}
    tensors = legacy_conversion.with_rows(adopted.tensors, expected)
    if problems := list(checkpoint.mismatches(expected, tensors)):
        raise InputError("the weights do not fit the data and the model of the configuration", problems)
    return tensors


def _parts(spec: ModelSpec, tensors: dict[str, Tensor]) -> dict[str, bytes]:
    """Return what a run keeps of its weights by itself: of a tcn_vae, the device part."""
    if not isinstance(spec.settings, TcnVaeSettings):
        return {}
    prefix = derived_models.ENCODER_PREFIX
    alone = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    return {filenames.ENCODER: checkpoint.checkpoint_bytes(alone)}


def _find_dead_units(
    spec: ModelSpec, tensors: dict[str, Tensor], lacks: tuple[str, ...], windows: NDArray[np.float32]
) -> Iterator[Problem]:
    """Yield the units that never change on normalized windows; nothing is known of those that a file lacks."""
    network = factory.of_spec(spec, seed=0)
    network.load_state_dict(tensors, strict=not lacks)
    dead = dead_units.find_dead_units(network, torch.from_numpy(windows))
    return (problem for problem in dead if not problem.where.startswith(lacks))
