"""What a leaky evaluation of a run would have claimed: a reference for its leak audit, and nothing else.

The run's configuration is trained once more, on the same windows and the same scale, but dealt out by chance, as many
to each part. People and even overlapping windows then stand in all parts: what such a split scores above the one by
subject is what the model knows of the people, not of what they do.

The number is kept where it can be taken for no quality: random_split.json and the audit. Its folder looks like a run
so that a training that was killed goes on, but data.json says `random`: it holds no evaluation, and what prepares the
data anew (`evaluate`, `export`) finds other parts and refuses; without an evaluation there is no release.
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
    """Train on a random split of a run's windows from where it stands; keep what it scores, and judge the run by it.

    A finished one is not trained again. Raises InputError where the run was not evaluated, is not split by subject, or
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
    if config.split.by != "subject":
        what = "there is no number on unseen people to compare a random split with"
        raise InputError(
            "the run is not split by subject", [Problem(f"{filenames.CONFIG}: split.by", "todo.random-split", what)]
        )
    missing = [folder / name for name in (filenames.METRICS, filenames.AUDIT) if not (folder / name).is_file()]
    if missing:
        what = f"is missing; `modelreg evaluate {folder}` first"
        raise InputError(
            "the run was not evaluated", [Problem(str(path), "todo.random-split", what) for path in missing]
        )


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
        raise InputError("the training on a random split is not what it was", changed)


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
