"""The program itself, as a script starts it."""

import io
import sys

import pytest

from modelreg.__main__ import run


def test_an_output_that_is_no_file_is_used_as_it_is(monkeypatch) -> None:
    """A notebook or a test replaces it by one without an encoding."""
    monkeypatch.setattr(sys, "argv", ["modelreg", "--version"])
    monkeypatch.setattr(sys, "stdout", io.StringIO())

    with pytest.raises(SystemExit) as caught:
        run()

    assert caught.value.code == 0
