"""Tables on a terminal: wrapped between words, or wider than the terminal."""

import io

import pytest

from modelreg.cli import console

ROWS = [
    ("conv2d_fsq_hsmm@v0.1.0-rc.1", "the temporal smoothing of well-separated classes", 0.7406),
    ("tcn_vae@v0.2.0", "none", 12345.0),
]


def drawn(width: int, monkeypatch, **options) -> str:
    """Return a table as it is drawn at a width."""
    monkeypatch.setenv("COLUMNS", str(width))
    stream = io.StringIO()
    console.draw(console.table(("version", "what was found", "value"), ROWS, right=("value",), **options), stream)
    return stream.getvalue()


@pytest.mark.parametrize("width", [10, 40, 60, 80, 120])
def test_no_word_of_a_table_is_broken(width, monkeypatch) -> None:
    """Every word of a cell is found whole."""
    words = {word for row in ROWS for cell in row for word in str(cell).split()}

    assert words <= set(drawn(width, monkeypatch).split())


def test_a_table_fits_the_terminal_if_its_words_do(monkeypatch) -> None:
    """The longest column is wrapped."""
    assert max(map(len, drawn(60, monkeypatch).rstrip().splitlines())) <= 60


def test_a_whole_column_is_not_wrapped(monkeypatch) -> None:
    """Such as one of commands to paste."""
    assert ROWS[0][1] in drawn(40, monkeypatch, whole=("what was found",))
