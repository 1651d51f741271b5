"""Return the training configuration of a run or a version, with the paths of its data on this machine."""

from pathlib import Path

from modelreg.config import TrainConfig
from modelreg.data.cache import Reading
from modelreg.documents.provenance import config_of
from modelreg.errors import InputError, Problem
from modelreg.records.base import load
from modelreg.records.provenance import Provenance
from modelreg.records.source import TextSource
from modelreg.registry import filenames


def configuration(folder: Path, reading: Reading) -> TrainConfig:
    """Return the configuration of a training; that of a version comes from its provenance, which has no data paths.

    Raises InputError if the recordings of a version are not found.
    """
    if not (folder / filenames.MANIFEST).is_file():
        return load(folder / filenames.CONFIG, TrainConfig)
    return _placed(config_of(load(folder / filenames.PROVENANCE, Provenance)), reading)


def _placed(config: TrainConfig, reading: Reading) -> TrainConfig:
    """Return a version's configuration with its recordings found in `reading.base`, or as `reading.base` itself.

    A version records the last component of each path only. Raises InputError if nothing has that name.
    """
    sources, problems = [], []
    for source in config.data.sources:
        path = getattr(source, "path", None)
        if path is None or (reading.base / path).exists():
            sources.append(source)
        elif len(config.data.sources) == 1 and isinstance(source, TextSource) and reading.base.name:
            sources.append(source.model_copy(update={"path": "."}))
        else:
            problems.append(Problem(str(reading.base / path), "recordings.not-found", "not found"))
    if problems:
        raise InputError("cannot find the recordings", problems)
    return config.model_copy(update={"data": config.data.model_copy(update={"sources": tuple(sources)})})
