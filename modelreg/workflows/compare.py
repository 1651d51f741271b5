"""Read two versions or evaluated runs from their folders and compare them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from modelreg import files
from modelreg.artifacts import npz
from modelreg.config import TrainConfig
from modelreg.documents import provenance
from modelreg.errors import InputError, Problem
from modelreg.evaluation import metrics, paired_comparison
from modelreg.evaluation.paired_comparison import Side
from modelreg.records.base import load
from modelreg.records.comparison import Comparison, Contender, PairedComparison
from modelreg.records.data import DataRecord
from modelreg.records.latency import LatencyRecord
from modelreg.records.metrics import EvalMetrics, Reason
from modelreg.records.provenance import Provenance
from modelreg.registry import filenames, versions


class Candidate(NamedTuple):
    """A version or an evaluated run."""

    contender: Contender
    predictions: metrics.Predictions | Reason
    config: dict[str, Any]  # without the paths of its sources
    data: dict[str, Any]


def read_candidate(folder: Path) -> Candidate:
    """Read a version or an evaluated run. Raises InputError."""
    if problems := list(_find_unusable(folder)):
        raise InputError("cannot compare", problems)
    measured = load(folder / filenames.METRICS, EvalMetrics)
    is_version = (folder / filenames.MANIFEST).is_file()
    latency = folder / filenames.LATENCY
    contender = Contender(
        reference=versions.read_version(folder).reference if is_version else folder.name,
        metrics=measured,
        checkpoint_bytes=_listed_size(folder) if is_version else (folder / filenames.CHECKPOINT).stat().st_size,
        latency=load(latency, LatencyRecord) if latency.is_file() else None,
    )
    config = _stated_config(folder) if is_version else load(folder / filenames.CONFIG, TrainConfig)
    return Candidate(
        contender,
        _predictions(folder / filenames.PREDICTIONS, measured),
        provenance.without_places(config.to_document()),
        load(folder / filenames.DATA, DataRecord).to_document(),
    )


def compare(one: Candidate, other: Candidate) -> Comparison:
    """Return the differences of two candidates; bootstrap intervals use the settings of the second."""
    return Comparison(
        one=one.contender,
        other=other.contender,
        paired=_paired(one, other),
        config=paired_comparison.changes(one.config, other.config),
        data=paired_comparison.changes(one.data, other.data),
    )


def _find_unusable(folder: Path) -> Iterator[Problem]:
    """Yield why a folder is not a version or an evaluated run."""
    if (folder / filenames.MANIFEST).is_file():
        return
    if not (folder / filenames.RUN).is_file():
        yield Problem(str(folder), "reference.not-a-model", "is not a version or a run")
    elif not (folder / filenames.METRICS).is_file():
        yield Problem(
            str(folder),
            "run.not-evaluated",
            f"the run has no {filenames.METRICS}",
            f"run `modelreg evaluate {folder}`",
        )


def _listed_size(version: Path) -> int:
    """Return the size of a version's checkpoint in bytes, from its manifest: the file may not be on this machine."""
    sizes = {entry.path: entry.size for entry in versions.read_version(version).manifest.files}
    if filenames.CHECKPOINT not in sizes:
        place = str(version / filenames.MANIFEST)
        what = f"does not list {filenames.CHECKPOINT}"
        raise InputError("cannot compare", [Problem(place, "manifest.file-unlisted", what)])
    return sizes[filenames.CHECKPOINT]


def _stated_config(version: Path) -> TrainConfig:
    return provenance.config_of(load(version / filenames.PROVENANCE, Provenance))


def _predictions(path: Path, measured: EvalMetrics) -> metrics.Predictions | Reason:
    """Read test-set predictions; an asset may be missing here. Raises InputError if the metrics are of other ones."""
    if not path.is_file():
        return Reason(
            reason=f"{path.parent.name} has no {path.name} on this machine; `modelreg pull` fetches a version's"
        )
    if files.sha256(path) != measured.predictions_sha256:
        what = f"its SHA-256 differs from the one recorded in {filenames.METRICS}"
        raise InputError("cannot compare", [Problem(str(path), "evaluate.predictions-mismatch", what)])
    return metrics.from_arrays(npz.read_npz(path), path.name, len(measured.classes))


def _refuse_other_protocol(
    one: Candidate, other: Candidate, first: metrics.Predictions, second: metrics.Predictions
) -> None:
    """Raise InputError for a cross-fitted and a hold-out run, unless both predicted the same windows."""
    kinds = [each.contender.metrics.protocol for each in (one, other)]
    windows = [set(zip(each.recording.tolist(), each.start.tolist(), strict=True)) for each in (first, second)]
    if (kinds[0].folds is None) == (kinds[1].folds is None) or windows[0] == windows[1]:
        return
    names = [f"{each.contender.reference} ({each.contender.metrics.protocol.kind})" for each in (one, other)]
    what = f"{' and '.join(names)} predicted other windows: one model tests all subjects by folds, the other some"
    problem = Problem("protocol", "compare.other-protocol", what, "compare two runs with the same evaluation protocol")
    raise InputError("cannot compare", [problem])


def _paired(one: Candidate, other: Candidate) -> PairedComparison | Reason:
    if isinstance(one.predictions, Reason):
        return one.predictions
    if isinstance(other.predictions, Reason):
        return other.predictions
    first, second = one.contender.metrics, other.contender.metrics
    _refuse_other_protocol(one, other, one.predictions, other.predictions)
    return paired_comparison.compare(
        Side(one.predictions, first.classes), Side(other.predictions, second.classes), second.settings
    )
