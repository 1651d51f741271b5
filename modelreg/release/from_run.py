"""A version out of a run: what a run must be for that, and what the version has of it."""

from collections.abc import Iterator
from pathlib import Path

from modelreg import files
from modelreg.artifacts import exports
from modelreg.config import TrainConfig
from modelreg.documents import model_card, provenance
from modelreg.errors import Failure, InputError, Problem
from modelreg.records.base import load
from modelreg.records.data import DataRecord
from modelreg.records.gates import GateReport
from modelreg.records.metrics import EvalMetrics
from modelreg.records.run import RunRecord
from modelreg.registry import filenames, runs
from modelreg.registry.version_documents import VersionDocuments

COPIED = (filenames.CHECKPOINT, filenames.PREDICTIONS, filenames.NORMALIZATION, filenames.DATA, filenames.RUN)


def find_failures(folder: Path, run: RunRecord) -> Iterator[Failure]:
    """Yield what forbids to make a version of a run."""
    if run.status != "trained":
        what = f"was not trained to the end; go on with `modelreg train --resume {folder}`"
        yield InputError, Problem(str(folder), "todo.from-run", what)
        return
    yield from ((InputError, problem) for problem in runs.find_changed(folder, run))
    if not (folder / filenames.METRICS).is_file():
        what = f"has no metrics; make them with `modelreg evaluate {folder}`"
        yield InputError, Problem(str(folder), "todo.from-run", what)
        return
    yield from _metrics_failures(folder, run)
    yield from ((InputError, problem) for problem in _export_problems(folder))


def _metrics_failures(folder: Path, run: RunRecord) -> Iterator[Failure]:
    """Yield where the metrics are not those of the run's last look at its test part."""
    measured = load(folder / filenames.METRICS, EvalMetrics)
    looks = [look for look in run.evaluations if look.part == measured.protocol.part]
    digests = [look.predictions_sha256 for look in looks[-1:]]
    if measured.protocol.evaluations != len(looks) or digests != [measured.predictions_sha256]:
        what = f"was looked at since its metrics were written; run `modelreg evaluate {folder}` again"
        yield InputError, Problem(str(folder), "todo.from-run", what)


def _export_problems(run: Path) -> Iterator[Problem]:
    """Yield where a run's exports are damaged, or of other weights."""
    for target in exports.exported(run):
        yield from exports.find_changed(run, target)
        if exports.checkpoint_of(run, target) != files.sha256(run / filenames.CHECKPOINT):
            yield Problem(
                f"{run}/{target}", "todo.from-run", "was exported from other weights; run `modelreg export` again"
            )
    if (run / filenames.LATENCY).is_file():
        yield from exports.find_latency_problems(run, runs.load_run(run).model.settings.name)


def stage(
    staged: Path, folder: Path, version: str, license_: str | None, report: GateReport | None
) -> VersionDocuments:
    """Write every file of the version but the manifest and what is made from it; return what its card was made of."""
    run = runs.load_run(folder)
    estimate = exports.estimate_of(folder)
    measured = exports.with_estimate(load(folder / filenames.METRICS, EvalMetrics), estimate)
    data = load(folder / filenames.DATA, DataRecord)
    measured_here = [filenames.LATENCY] if (folder / filenames.LATENCY).is_file() else []
    for name in (*COPIED, *runs.parts(folder), *runs.calibrated(folder), *measured_here):
        files.copy_atomic(folder / name, staged / name)
    files.write_atomic(staged / filenames.METRICS, measured.to_bytes())
    if report:
        files.write_atomic(staged / filenames.GATES, report.to_bytes())
    documents = VersionDocuments(
        model=run.model.settings.name,
        version=version,
        license=license_,
        spec=run.model,
        metrics=measured,
        data=data,
        run=run,
        graphs=exports.has(folder, filenames.ONNX),
        gates=report,
        estimate=estimate,
    )
    files.write_atomic(staged / filenames.CARD, model_card.render(documents).encode())
    files.write_atomic(staged / filenames.MODEL_CONFIG, run.model.to_bytes())
    config = load(folder / filenames.CONFIG, TrainConfig).to_document()
    origin = provenance.statement(config, run, data, _digests(staged, run), filenames.CHECKPOINT)
    files.write_atomic(staged / filenames.PROVENANCE, origin.to_bytes())
    for target in exports.exported(folder):
        for name, content in exports.for_version(folder, target, version).items():
            (staged / name).parent.mkdir(exist_ok=True)
            files.write_atomic(staged / name, content)
    return documents


def _digests(staged: Path, run: RunRecord) -> dict[str, str]:
    """Return the digests of what a run gave, by name."""
    made = (filenames.CHECKPOINT, filenames.NORMALIZATION, filenames.METRICS, filenames.PREDICTIONS)
    return {filenames.HISTORY: run.files[filenames.HISTORY], **{name: files.sha256(staged / name) for name in made}}
