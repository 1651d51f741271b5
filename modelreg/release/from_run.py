"""Create a version from a run: what a run must have for that, and the files that the version takes from it."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from modelreg import files
from modelreg.artifacts import exports
from modelreg.config import TrainConfig
from modelreg.documents import model_card, provenance
from modelreg.documents.report.formatting import escape
from modelreg.errors import Failure, InputError, Notice, Problem
from modelreg.records.base import load
from modelreg.records.data import NOT_STATED, DataRecord, SourceRecord
from modelreg.records.gates import GateReport
from modelreg.records.metrics import EvalMetrics
from modelreg.records.run import RunRecord
from modelreg.registry import filenames, runs
from modelreg.registry.version_documents import VersionDocuments

FOLD_FILES = (filenames.CHECKPOINT, filenames.NORMALIZATION)
COPIED = (filenames.CHECKPOINT, filenames.PREDICTIONS, filenames.NORMALIZATION, filenames.DATA, filenames.RUN)


def find_refusals(folder: Path, run: RunRecord) -> Iterator[Problem]:
    """Yield what is missing in a run for a version, without reading its files."""
    if run.status != "trained":
        resume = f"finish the training with `modelreg train --resume {folder}`"
        yield Problem(str(folder), "run.not-trained", "the training of this run is not finished", resume)


def find_fold_problems(folder: Path, run: RunRecord) -> Iterator[Problem]:
    """Yield why the weights of a run's folds cannot be released: there are no folds, or their files are not here."""
    if run.folds is None:
        what = "has no folds: it is not a cross-fitted run"
        yield Problem(str(folder), "release.no-folds", what)
    for fold in run.folds or ():
        for name in FOLD_FILES:
            if not (folder / filenames.FOLDS / fold.name / name).is_file():
                place = f"{folder}/{filenames.FOLDS}/{fold.name}/{name}"
                yield Problem(place, "run.file-missing", "missing, so the fold cannot be released")


def find_metrics_problem(folder: Path, run: RunRecord) -> Problem | None:
    """Return why a run's metrics cannot be released: there are none, or they are not of its latest evaluation."""
    if not (folder / filenames.METRICS).is_file():
        return runs.not_evaluated(folder)
    return next(_find_outdated_metrics(folder, run), None)


def changelog_entry(folder: Path, model: str, tag: str) -> str:
    """Return a changelog entry from the documents of an evaluated run: model, data, main metric, digest."""
    measured, data = load(folder / filenames.METRICS, EvalMetrics), load(folder / filenames.DATA, DataRecord)
    protocol = measured.protocol
    names = ", ".join(escape(source.name) for source in data.sources)
    subjects = len(protocol.tested.subjects)
    seen = "subjects that the model was not trained on" if not protocol.known_subjects else "the test split"
    if protocol.folds is not None:
        seen = f"subjects, each predicted by one of {len(protocol.folds)} models that never saw the subject"
    return (
        f"### Added\n\n- {model} {tag}, trained on {names}: accuracy {measured.accuracy:.3f}, macro F1 "
        f"{measured.macro_f1:.3f} on {measured.windows:,} windows of {subjects} {seen}. Checkpoint SHA-256 "
        f"`{measured.checkpoint_sha256[:16]}…`."
    )


def find_unstated(sources: Iterable[SourceRecord]) -> Iterator[Notice]:
    """Yield a notice for each source whose licence or citation is still the one of a draft."""
    for source in sources:
        left = [name for name in ("license", "citation") if getattr(source, name) == NOT_STATED]
        if left:
            step = "write who recorded the data, and who may use them, into the configuration, and train again"
            yield Notice(f"data source {source.name}", f"{' and '.join(left)} {NOT_STATED}; {step}")


def find_failures(folder: Path, run: RunRecord) -> Iterator[Failure]:
    """Yield what prevents a release of a trained and evaluated run: changed files, outdated metrics or exports."""
    yield from ((InputError, problem) for problem in runs.find_changed(folder, run))
    yield from ((InputError, problem) for problem in _find_outdated_metrics(folder, run))
    yield from ((InputError, problem) for problem in _export_problems(folder, run))


def _find_outdated_metrics(folder: Path, run: RunRecord) -> Iterator[Problem]:
    """Yield a problem if the metrics do not belong to the latest evaluation that the run recorded."""
    measured = load(folder / filenames.METRICS, EvalMetrics)
    recorded = [evaluation for evaluation in run.evaluations if evaluation.part == measured.protocol.part]
    digests = [evaluation.predictions_sha256 for evaluation in recorded[-1:]]
    if measured.protocol.evaluations != len(recorded) or digests != [measured.predictions_sha256]:
        message = f"{filenames.METRICS} does not belong to the latest evaluation that {filenames.RUN} records"
        yield Problem(str(folder), "run.metrics-outdated", message, runs.evaluate_step(folder))


def _export_problems(folder: Path, run: RunRecord) -> Iterator[Problem]:
    """Yield each export of a run that is damaged or was made from other weights."""
    for target in exports.exported(folder):
        yield from exports.find_changed(folder, target)
        if exports.checkpoint_of(folder, target) != files.sha256(folder / filenames.CHECKPOINT):
            message = f"was exported from other weights than {filenames.CHECKPOINT}"
            yield Problem(f"{folder}/{target}", "export.weights-mismatch", message)
    if (folder / filenames.LATENCY).is_file():
        yield from exports.find_latency_problems(folder, run.model.settings.name)


def stage(
    staged: Path, folder: Path, version: str, license_: str | None, report: GateReport | None
) -> VersionDocuments:
    """Write every file of the version except the SBOM, the manifest and the checksums; return the facts of its card."""
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


def stage_folds(staged: Path, folder: Path) -> None:
    """Copy the weights of each fold, and the normalization that they need, into the version."""
    for fold in runs.load_run(folder).folds or ():
        for name in FOLD_FILES:
            place = staged / filenames.FOLDS / fold.name
            place.mkdir(parents=True, exist_ok=True)
            files.copy_atomic(folder / filenames.FOLDS / fold.name / name, place / name)


def _digests(staged: Path, run: RunRecord) -> dict[str, str]:
    """Return the SHA-256 of each file that the training and the evaluation produced, by name."""
    made = (filenames.CHECKPOINT, filenames.NORMALIZATION, filenames.METRICS, filenames.PREDICTIONS)
    return {filenames.HISTORY: run.files[filenames.HISTORY], **{name: files.sha256(staged / name) for name in made}}
