"""Measure the accuracy that a leaky evaluation of a run would claim, as a reference for its leakage audit.

The run's configuration is trained once more on the same windows and the same normalization, but the windows are
assigned to train, validation and test at random. Every split then has windows of the same subjects, and even
overlapping windows. The accuracy above that of the split by subject is what the model learnt about the subjects.

The number is kept in random_split.json and the audit only, so that it is not mistaken for the model's quality. Its
folder looks like a run, so that an interrupted training can be resumed. Its data.json states the split `random`:
`evaluate` and `export` refuse it, and a run without an evaluation cannot be released.
"""

from pathlib import Path

from modelreg import files
from modelreg.config import TrainConfig
from modelreg.data import preparation
from modelreg.data.cache import Reading
from modelreg.data.preparation import Prepared
from modelreg.errors import InputError, Problem
from modelreg.records.audit import AuditRecord, RandomSplit
from modelreg.records.base import Clock, load
from modelreg.records.metrics import EvalMetrics
from modelreg.records.run import Environment
from modelreg.registry import filenames, runs
from modelreg.workflows import evaluation_run, inference, plausibility, run_checks, training_run

FOLDER = "folds/random"


def measure_random_split(folder: Path, reading: Reading, environment: Environment, clock: Clock) -> RandomSplit:
    """Train or resume on a random split of a run's windows; record its accuracy, and update the run's audit.

    A finished training is not repeated. Raises InputError if the run was not evaluated, is not split by subject, or
    cannot be trained again.
    """
    config = run_checks.repeatable(folder, "train on a random split")
    _refuse_incomparable(folder, config)
    if not _is_finished(folder):
        dealt = preparation.dealt(preparation.prepare(config, reading), config.training.seed)
        _train(folder / FOLDER, config, dealt, environment, clock)
        files.write_atomic(folder / filenames.RANDOM_SPLIT, _score(folder, config, dealt).to_bytes())
    measured, audited = load(folder / filenames.METRICS, EvalMetrics), load(folder / filenames.AUDIT, AuditRecord)
    plausibility.judge(folder, measured, audited)
    evaluation_run.write_report(folder)
    return load(folder / filenames.RANDOM_SPLIT, RandomSplit)


def _refuse_incomparable(folder: Path, config: TrainConfig) -> None:
    run_checks.refuse_crossfitted(folder, config, "nothing was trained")
    if config.split.by != "subject":
        what = f"the run is split by {config.split.by}, expected by subject"
        raise InputError("nothing was trained", [Problem(str(folder), "evaluate.not-split-by-subject", what)])
    missing = [folder / name for name in (filenames.METRICS, filenames.AUDIT) if not (folder / name).is_file()]
    if missing:
        step = f"run `modelreg evaluate {folder}`"
        problems = [
            Problem(str(path), "run.not-evaluated", "missing, so the run has no evaluation", step) for path in missing
        ]
        raise InputError("nothing was trained", problems)


def _is_finished(folder: Path) -> bool:
    checkpoint, found = folder / FOLDER / filenames.CHECKPOINT, plausibility.load_random_split(folder)
    return found is not None and checkpoint.is_file() and files.sha256(checkpoint) == found.checkpoint_sha256


def _train(folder: Path, config: TrainConfig, dealt: Prepared, environment: Environment, clock: Clock) -> None:
    if not folder.exists():
        training_run.begin(config, folder, dealt, environment, clock())
    run_checks.refuse_other_data(folder, dealt)
    if runs.load_run(folder).status == "training":
        for _ in training_run.train(folder, dealt, environment, clock):
            pass
    if changed := list(runs.find_changed(folder, runs.load_run(folder))):
        raise InputError("cannot use the training on a random split", changed)


def _score(folder: Path, config: TrainConfig, dealt: Prepared) -> RandomSplit:
    own, spec = folder / FOLDER, runs.load_run(folder / FOLDER).model
    answers = inference.predict(own, spec, dealt.windows[evaluation_run.HELD_OUT], threads=config.training.threads)
    return RandomSplit(
        model=spec.settings.name,
        seed=config.training.seed,
        windows={part: len(found.y) for part, found in dealt.windows.items()},
        accuracy=float((answers.logits.argmax(axis=1) == answers.y).mean()),
        run_sha256=files.sha256(folder / filenames.CHECKPOINT),
        checkpoint_sha256=files.sha256(own / filenames.CHECKPOINT),
    )
