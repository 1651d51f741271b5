"""Progress of reading and of training: a bar and a live table on a terminal, plain lines otherwise."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TextIO

from modelreg.cli.console import note, table
from modelreg.escaping import one_line

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from modelreg.config import TrainingSettings
    from modelreg.records.run import Epoch

SILENT_S, LINE_S = 0.5, 5.0  # time before reading is shown; time between two plain lines
SHOWN = 8  # epochs in the live table


@contextmanager
def show_reading(stream: TextIO, clock: Callable[[], float]) -> Iterator[Callable[[int, int, str], None]]:
    """Yield a function that shows the progress of reading: number done, total, and the next name."""
    with ExitStack() as shown:
        show = _bar(stream, shown) if stream.isatty() else _lines(stream, clock)
        begun = clock()
        yield lambda done, of, what: show(done, of, what) if clock() - begun > SILENT_S else None


def _bar(stream: TextIO, shown: ExitStack) -> Callable[[int, int, str], None]:
    """Return a function that moves a bar. The first step creates the bar, and leaving `shown` removes it."""
    made: list[tuple[Progress, TaskID]] = []

    def show(done: int, of: int, what: str) -> None:
        if not made:
            made.append(_new_bar(stream, shown))
        bar, task = made[0]
        bar.update(task, completed=done, total=of, description=f"reading {one_line(what)[-40:]}")

    return show


def _new_bar(stream: TextIO, shown: ExitStack) -> "tuple[Progress, TaskID]":
    from rich import progress
    from rich.console import Console

    console = Console(file=stream, markup=False, highlight=False, emoji=False)
    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
    )
    bar = shown.enter_context(progress.Progress(*columns, console=console, transient=True))
    return bar, bar.add_task("reading", total=None)


def _lines(stream: TextIO, clock: Callable[[], float]) -> Callable[[int, int, str], None]:
    """Return a function that prints a line every `LINE_S` seconds."""
    last = clock()

    def show(done: int, of: int, what: str) -> None:
        nonlocal last
        if done < of and clock() - last >= LINE_S:
            last = clock()
            stream.write(f"reading {one_line(what)} ({done} of {of} read)\n")

    return show


@contextmanager
def show_transfer(stream: TextIO) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that shows the bytes transferred: a bar for each file, or a line when it is complete."""
    if not stream.isatty():

        def show_line(name: str, done: int, of: int) -> None:
            if done == of:
                stream.write(f"{one_line(name)}: {of:,} bytes\n")

        yield show_line
        return
    from rich import progress
    from rich.console import Console

    console = Console(file=stream, markup=False, highlight=False, emoji=False)
    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with progress.Progress(*columns, console=console) as bars:

        def show(name: str, done: int, of: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(one_line(name)[-40:], total=of)
            bars.update(tasks[name], completed=done)

        yield show


def show_training(epochs: Iterator["Epoch"], settings: "TrainingSettings", folder: str | None) -> None:
    """Draw each epoch on stderr. On Ctrl-C, print the command that resumes the run in `folder`."""
    try:
        show_epochs(epochs, settings)
    except KeyboardInterrupt:
        note(f"stopped; resume with: modelreg train --resume {folder}" if folder else "stopped")
        raise


def show_epochs(epochs: Iterator["Epoch"], settings: "TrainingSettings") -> None:
    """Draw each epoch on stderr."""
    for _ in live(epochs, settings.epochs, sys.stderr) if sys.stderr.isatty() else _plain(epochs, settings):
        pass


def show_folds(folds: Iterator[str], done: int, total: int, stream: TextIO) -> None:
    """Show each finished fold: a bar with the remaining time on a terminal, else a line with the name of the fold."""
    if not stream.isatty():
        for number, name in enumerate(folds, done + 1):
            note(f"fold {number} of {total} finished: {name}")
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left:"),
        progress.TimeRemainingColumn(),
    )
    console = Console(file=stream, markup=False, highlight=False, emoji=False)
    with progress.Progress(*columns, console=console) as bar:
        task = bar.add_task(_fold(done, total), total=total, completed=done)
        for number, _ in enumerate(folds, done + 1):
            bar.update(task, completed=number, description=_fold(number, total))


def _fold(done: int, total: int) -> str:
    return f"fold {min(done + 1, total)} of {total}"


def _plain(epochs: Iterator["Epoch"], settings: "TrainingSettings") -> Iterator["Epoch"]:
    """Print a line for each epoch; `*` marks the best so far."""
    for epoch in epochs:
        mark = "*" if epoch.best else " "
        loss = f"loss {epoch.train_loss:.4f}{_beside(epoch.validation_loss, '.4f')}"
        accuracy = f"accuracy {epoch.train_accuracy:.3f}{_beside(epoch.validation_accuracy, '.3f')}"
        codes = "".join(f"; {name} {text}" for name, text in _codes(epoch).items())
        note(f"epoch {epoch.number:3}/{settings.epochs}{mark} {loss}; {accuracy}{codes}")
        yield epoch


def _beside(value: float | None, form: str) -> str:
    """Return a number of the validation split, after that of the train split; empty without a validation split."""
    return "" if value is None else f", val {value:{form}}"


def live(epochs: Iterator["Epoch"], total: int, stream: TextIO) -> Iterator["Epoch"]:
    """Draw the last epochs and a bar with the remaining time, for a terminal of 80 columns or more."""
    from rich import progress
    from rich.console import Console, Group
    from rich.live import Live

    console = Console(file=stream, markup=False, highlight=False, emoji=False)
    bar = progress.Progress(
        progress.TextColumn("epoch"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left:"),
        progress.TimeRemainingColumn(),
        console=console,
    )
    task = bar.add_task("", total=total)
    rows: list[tuple[str, ...]] = []
    with Live(bar, console=console, refresh_per_second=4) as live:
        for epoch in epochs:
            cells = _cells(epoch)
            rows = [*rows, tuple(cells.values())][-SHOWN:]
            bar.update(task, completed=epoch.number)
            live.update(Group(table(tuple(cells), rows, right=tuple(cells)), bar))
            yield epoch


def _cells(epoch: "Epoch") -> dict[str, str]:
    """Return the cells of an epoch in the live table by column; columns that do not fit 80 columns are left out."""
    steps = {"rate": f"{epoch.learning_rate:.1e}", "grad": f"{epoch.gradient_norm:.2f}"}
    codes = _codes(epoch)
    return {
        "epoch": f"{epoch.number}{'*' if epoch.best else ' '}",
        "loss": f"{epoch.train_loss:.4f}",
        **({} if epoch.validation_loss is None else {"val loss": f"{epoch.validation_loss:.4f}"}),
        "acc": f"{epoch.train_accuracy:.3f}",
        **({} if epoch.validation_accuracy is None else {"val acc": f"{epoch.validation_accuracy:.3f}"}),
        **(steps if len(codes) <= 2 else {}),
        **codes,
    }


def _codes(epoch: "Epoch") -> dict[str, str]:
    """Return the statistics of codes, clusters and durations that the model has."""
    values = {
        "codes": (epoch.used_share, ".1%"),
        "perpl.": (epoch.perplexity, ".1f"),
        "clusters": (epoch.active_clusters, ""),
        "duration": (epoch.mean_duration, ".1f"),
    }
    return {name: format(value, form) for name, (value, form) in values.items() if value is not None}
