"""`modelreg verify --reproduce` and `--retrain`: compute a version's metrics again."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from modelreg.cli import host

if TYPE_CHECKING:
    from modelreg.verification.verify import CheckResult, Reproduction


def reproducer(data: Path | None) -> "Callable[[Path, Reproduction], CheckResult]":
    """Return the port of `verify` that predicts again, and trains again if requested.

    `data` is the folder of the recordings, or its parent. The default is the path of the configuration.
    """

    def reproduce(folder: Path, how: "Reproduction") -> "CheckResult":
        host.need_extra("train", "torch", "safetensors", "tensorboard", "scipy", "pandas")
        from modelreg.verification.verify import CheckResult
        from modelreg.workflows import reproduce

        with host.reading(data) as reading:
            predicted = reproduce.reproduce(folder, reading)
        if how == "predictions":
            return predicted
        trained = _retrained(folder, data)
        return CheckResult((*predicted.problems, *trained.problems), (*predicted.notices, *trained.notices))

    return reproduce


def _retrained(folder: Path, data: Path | None) -> "CheckResult":
    """Train again in a temporary folder."""
    from modelreg.cli.progress import show_training
    from modelreg.workflows import reproduce, sources, training_run

    with TemporaryDirectory() as scratch:
        place = Path(scratch) / "run"
        with host.reading(data) as reading:
            settings = sources.configuration(folder, reading).training
            here = host.describe(settings)
            prepared = reproduce.restart(folder, place, reading, here, host.now())
        host.ready_to_train(settings)
        show_training(training_run.train(place, prepared, here, host.now), settings, None)
        return reproduce.judge_training(folder, place, prepared, here)
