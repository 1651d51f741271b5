"""Progress of a training: a live table on a terminal, plain lines elsewhere."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from modelreg.cli.console import err, table
from modelreg.errors import InputError, Problem

if TYPE_CHECKING:
    from modelreg.config import TrainingSettings
    from modelreg.records.run import Epoch

SHOWN = 8  # epochs in the live table
COLUMNS = ("epoch", "loss", "val loss", "acc", "val acc", "rate", "gradient", "codes", "perplexity")


def show_training(epochs: Iterator["Epoch"], settings: "TrainingSettings", folder: str) -> "Epoch":
    """Draw each epoch as it comes; return the best. On Ctrl-C, say how to go on."""
    best: Epoch | None = None
    try:
        for epoch in _live(epochs, settings) if err.is_terminal else _plain(epochs, settings):
            best = epoch if epoch.best else best
    except KeyboardInterrupt:
        err.print(f"stopped; go on with: modelreg train --resume {folder}")
        raise
    if best is None:
        what = "no epoch was better than the ones before the interruption; evaluate it"
        raise InputError("nothing was trained", [Problem(folder, what)])
    return best


def _plain(epochs: Iterator["Epoch"], settings: "TrainingSettings") -> Iterator["Epoch"]:
    """Print a line an epoch; `*` marks the best so far."""
    for epoch in epochs:
        mark = "*" if epoch.best else " "
        loss = f"loss {epoch.train_loss:.4f}, val {epoch.validation_loss:.4f}"
        accuracy = f"accuracy {epoch.train_accuracy:.3f}, val {epoch.validation_accuracy:.3f}"
        err.print(f"epoch {epoch.number:3}/{settings.epochs}{mark} {loss}; {accuracy}; codes {epoch.used_share:.1%}")
        yield epoch


def _live(epochs: Iterator["Epoch"], settings: "TrainingSettings") -> Iterator["Epoch"]:
    bar = Progress(
        TextColumn("epochs"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=err,
    )
    task = bar.add_task("epochs", total=settings.epochs)
    rows: list[tuple[str, ...]] = []
    with Live(bar, console=err, refresh_per_second=4) as live:
        for epoch in epochs:
            rows = [*rows, _cells(epoch)][-SHOWN:]
            bar.update(task, completed=epoch.number)
            live.update(Group(table(COLUMNS, rows, right=COLUMNS), bar))
            yield epoch


def _cells(epoch: "Epoch") -> tuple[str, ...]:
    return (
        f"{epoch.number}{'*' if epoch.best else ' '}",
        f"{epoch.train_loss:.4f}",
        f"{epoch.validation_loss:.4f}",
        f"{epoch.train_accuracy:.3f}",
        f"{epoch.validation_accuracy:.3f}",
        f"{epoch.learning_rate:.1e}",
        f"{epoch.gradient_norm:.2f}",
        f"{epoch.used_share:.1%}",
        f"{epoch.perplexity:.1f}",
    )
