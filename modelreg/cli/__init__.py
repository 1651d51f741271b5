"""The command line: parse, one call, show. The one place that turns errors into exit codes.

Command modules import slow things inside the command, so that `--help` answers at once.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from modelreg import __version__
from modelreg.cli import data, evaluate, init, release, show, train, verify
from modelreg.errors import ModelregError

app = typer.Typer(
    name="modelreg",
    help="Train small behaviour models on inertial recordings; release them versioned and verified.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback with locals could print a token
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"modelreg {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train small behaviour models on inertial recordings; release them versioned and verified.

    A first walk: modelreg init; modelreg train; modelreg evaluate; modelreg release v0.1.0; modelreg verify
    """


app.command("init")(init.init)
app.add_typer(data.app, name="data")
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("release")(release.release)
app.command("verify")(verify.verify)
app.command("list")(show.list_versions)
app.command("show")(show.show)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code (design.md section 4)."""
    try:
        app(args=None if argv is None else list(argv))
    except ModelregError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except BrokenPipeError:  # `modelreg list | head -1`: the reader has what it wants
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 lives as long as the process
        return 141
    except SystemExit as done:  # Typer's own: --help, usage errors
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    return 0


def run() -> None:
    """The `modelreg` script."""
    sys.exit(main())
