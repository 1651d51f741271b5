"""`modelreg verify --reproduce` and `--retrain`: compute a version's metrics again."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from modelreg.cli import host

if TYPE_CHECKING:
    from modelreg.verification.verify import CheckResult, Reproduction


def reproducer(data: Path | None, fold: str | None = None) -> "Callable[[Path, Reproduction], CheckResult]":
    """Return the port of `verify` that predicts again, and trains again if requested.

    `data` is the folder of the recordings, or its parent. The default is the path of the configuration. `fold` is the
    fold of a cross-fitted version that is trained again, too, or `all`.
    """

    def reproduce(folder: Path, how: "Reproduction") -> "CheckResult":
        host.need_extra("train", "torch", "safetensors", "tensorboard", "scipy", "pandas")
        from modelreg.verification.verify import CheckResult
        from modelreg.workflows import reproduce

        with host.reading(data) as reading:
            predicted = reproduce.reproduce(folder, reading, _runs_of(folder))
        if how == "predictions":
            return predicted
        found = [predicted, _retrained(folder, data), *(_retrained_folds(folder, data, fold) if fold else ())]
        return CheckResult(
            tuple(problem for each in found for problem in each.problems),
            tuple(notice for each in found for notice in each.notices),
        )

    return reproduce


def _runs_of(version: Path) -> list[Path]:
    """Return the runs on this machine that have the weights of a version, and perhaps its folds."""
    from modelreg import files
    from modelreg.errors import InputError
    from modelreg.registry import filenames, runs

    digest = files.sha256(version / filenames.CHECKPOINT) if (version / filenames.CHECKPOINT).is_file() else ""
    found = []
    for _, run in sorted(runs.numbered(host.workplace() / "runs")):
        with suppress(InputError):  # another run, which the commands that use it report
            if runs.load_run(run).files.get(filenames.CHECKPOINT) == digest:
                found.append(run)
    return found


def _retrained_folds(folder: Path, data: Path | None, name: str) -> "Iterator[CheckResult]":
    """Train and evaluate folds again in a temporary folder."""
    from modelreg.cli.console import note
    from modelreg.cli.crossval import place_of
    from modelreg.workflows import cross_validation, reproduce

    with TemporaryDirectory() as scratch, host.reading(data) as reading:
        for fold in reproduce.chosen_folds(folder, name, Path(scratch), reading):
            note(f"training fold {fold.folder.name} again")
            place = place_of(reading, fold.config.training)
            host.ready_to_train(fold.config.training)
            cross_validation.run_fold(fold, place._replace(refuse_copies=False))
            yield reproduce.judge_fold(folder, fold, place.training)


def _retrained(folder: Path, data: Path | None) -> "CheckResult":
    """Train again in a temporary folder."""
    from modelreg.cli.progress import show_training
    from modelreg.records.base import load
    from modelreg.records.run import RunRecord
    from modelreg.registry import filenames
    from modelreg.workflows import reproduce, sources

    with TemporaryDirectory() as scratch:
        place = Path(scratch) / "run"
        with host.reading(data) as reading:
            settings = sources.configuration(folder, reading).training
            here = host.describe(settings)
            prepared = reproduce.restart(folder, place, reading, here, host.now())
        host.ready_to_train(settings)
        run = load(folder / filenames.RUN, RunRecord)
        final = settings if run.folds is None else settings.model_copy(update={"epochs": run.epochs})
        show_training(reproduce.retrain(place, run, prepared, here, host.now), final, None)
        return reproduce.judge_training(folder, place, prepared, here)
