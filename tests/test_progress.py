"""Progress: a live table that fits a terminal of 80 columns, plain lines elsewhere."""

import io
import re
from contextlib import suppress

import pytest
from example_run import epoch

from modelreg.cli import progress
from modelreg.config import TrainingSettings
from modelreg.errors import InputError

WIDE = {"train_loss": 1234.56789, "validation_loss": 1234.56789, "gradient_norm": 1234.5, "perplexity": 10000.0}


class Terminal(io.StringIO):
    """A stream that says it is a terminal, and keeps what is written to it."""

    def isatty(self) -> bool:
        """Return true."""
        return True

    def frames(self) -> list[str]:
        """Return what was drawn one over the other, without control sequences."""
        frames = re.split(r"(?:\r?\x1b\[1A|\x1b\[2K|\r)+", self.getvalue())
        return [text for frame in frames if (text := re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame)).strip()]


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 80 columns."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "25")
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def epochs(count, **changes):
    """Yield made-up epochs."""
    for number in range(1, count + 1):
        yield epoch().model_copy(update={"number": number, **changes})


def interrupted(count):
    """Yield made-up epochs, then Ctrl-C."""
    yield from epochs(count)
    raise KeyboardInterrupt


def show(made, total, stderr) -> None:
    """Draw epochs as `train` does."""
    with pytest.MonkeyPatch.context() as patch:  # not in a fixture: pytest sets its own streams after those
        patch.setattr("sys.stderr", stderr)
        progress.show_training(made, TrainingSettings(epochs=total), "runs/m-001")


def test_folds_are_a_bar_on_a_terminal(terminal) -> None:
    """The fold that is trained now, out of all; after the last one, the last one."""
    progress.show_folds(iter(["runs/m-001/folds/loso-02", "runs/m-001/folds/loso-03"]), 1, 3, terminal)
    said = " ".join(terminal.frames())

    assert ("fold 2 of 3" in said, "fold 3 of 3" in terminal.frames()[-1], "fold 4" in said) == (True, True, False)


def test_folds_are_lines_elsewhere(capsys) -> None:
    """One for each finished fold, with its name."""
    progress.show_folds(iter(["runs/m-001/folds/loso-02"]), 1, 3, io.StringIO())

    assert capsys.readouterr().err == "fold 2 of 3 finished: runs/m-001/folds/loso-02\n"


def test_epochs_without_a_validation_split_have_no_such_columns(terminal) -> None:
    """Those of the final model of a cross-fitted run."""
    show(epochs(1, validation_loss=None, validation_accuracy=None), 1, terminal)

    assert "val" not in terminal.frames()[-1]


def test_the_last_epochs_are_drawn(terminal) -> None:
    """Eight of them, under their heading."""
    show(epochs(12), 12, terminal)
    rows = [line.split()[0] for line in terminal.frames()[-1].splitlines()[:-1]]

    assert rows == ["epoch", *(f"{number}*" for number in range(5, 13))]


def test_the_bar_reaches_the_end(terminal) -> None:
    """All epochs done, nothing left."""
    show(epochs(12), 12, terminal)

    assert re.search(r"epoch \S+ 12/12 0:00:0\d left: 0:00:00", terminal.frames()[-1])


@pytest.mark.parametrize("total", [12, 1000, 100_000])
def test_no_line_is_wider_than_the_terminal(terminal, total) -> None:
    """Of 80 columns, with long numbers too: a line that wraps is drawn over wrongly."""
    show(epochs(12, **WIDE), total, terminal)

    assert max(len(line) for frame in terminal.frames() for line in frame.splitlines()) <= 80


@pytest.mark.parametrize("total", [12, 1000, 100_000])
def test_no_row_is_broken_into_two(terminal, total) -> None:
    """Heading, eight epochs, bar: ten lines."""
    show(epochs(12, **WIDE), total, terminal)

    assert len(terminal.frames()[-1].strip().splitlines()) == 10


def test_ctrl_c_names_the_command_that_resumes(terminal) -> None:
    """Below the table, which stays."""
    with pytest.raises(KeyboardInterrupt):
        show(interrupted(3), 12, terminal)

    assert terminal.getvalue().endswith("stopped; resume with: modelreg train --resume runs/m-001\n")


def test_without_a_terminal_each_epoch_is_a_line() -> None:
    """On stderr; `*` marks the best so far."""
    stderr = io.StringIO()
    show(epochs(2), 2, stderr)

    assert [line[:10] for line in stderr.getvalue().splitlines()] == ["epoch   1/", "epoch   2/"]


def clock(*times):
    """Return a clock that shows one time after the other, the last one for ever."""
    left = list(times)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_short_reading_shows_nothing() -> None:
    """Less than half a second is not worth a line."""
    stream = io.StringIO()
    with progress.show_reading(stream, clock(0, 0, 0.4)) as tell:
        tell(1, 2, "a.csv")

    assert stream.getvalue() == ""


def test_long_reading_prints_lines() -> None:
    """One in five seconds, without a terminal."""
    stream = io.StringIO()
    with progress.show_reading(stream, clock(0, 0, 3, 3, 6)) as tell:
        tell(1, 3, "a.csv")
        tell(2, 3, "b.csv")
        tell(3, 3, "")

    assert stream.getvalue() == "reading b.csv (2 of 3 read)\n"


def test_long_reading_draws_a_bar(terminal) -> None:
    """On a terminal."""
    with progress.show_reading(terminal, clock(0, 1)) as tell:
        tell(1, 3, "a.csv")
        tell(2, 3, "b.csv")

    assert any("reading b.csv" in frame and "2/3" in frame for frame in terminal.frames())


def test_the_bar_is_gone_in_the_end(terminal) -> None:
    """What follows starts on a clean line, also where reading fails."""
    with suppress(InputError), progress.show_reading(terminal, clock(0, 1)) as tell:
        tell(1, 3, "a.csv")
        raise InputError("a.csv is damaged")

    assert terminal.getvalue().endswith("\x1b[2K")
