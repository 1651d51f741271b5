"""`python -m modelreg`."""

from modelreg.cli import run

run()
