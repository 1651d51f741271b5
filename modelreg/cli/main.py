"""The command line: parse, one call, show. The one place that turns errors into exit codes.

Command modules import slow things inside the command, so that `--help` answers at once.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

import typer

from modelreg import __version__
from modelreg.cli import (
    ablate,
    aliases,
    bench,
    compare,
    data,
    doctor,
    evaluate,
    export,
    hef,
    import_,
    init,
    publish,
    release,
    serve,
    show,
    sign,
    train,
    verify,
)
from modelreg.cli.console import show_error, start_command
from modelreg.errors import InputError, ModelregError

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

    A first walk: modelreg init --sample; modelreg train; modelreg evaluate; modelreg release v0.1.0; modelreg verify
    """


app.command("init")(init.init)
app.add_typer(data.app, name="data")
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("ablate")(ablate.ablate)
app.command("export")(export.export)
app.command("import")(import_.import_)
app.command("compare")(compare.compare)
app.add_typer(hef.app, name="hef")
app.command("release")(release.release)
app.command("verify")(verify.verify)
app.command("keygen")(sign.keygen)
app.command("sign")(sign.sign)
app.command("publish")(publish.publish)
app.command("pull")(publish.pull)
app.command("bench")(bench.bench)
app.command("serve")(serve.serve)
app.command("doctor")(doctor.doctor)
app.command("list")(show.list_versions)
app.command("show")(show.show)
app.command("promote")(aliases.promote)
app.command("rollback")(aliases.rollback)
app.command("history")(aliases.history)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code (README.md lists them)."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    start_command()
    try:
        code = _call(arguments)
        sys.stdout.flush()  # an error of the flush is reported here, not by Python at exit
    except ModelregError as error:
        code = _fail(error, as_json="--json" in arguments)
    except BrokenPipeError:  # `modelreg list | head -1`: the reader has what it wants
        code = 141  # what a shell reports of a program that SIGPIPE ended
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        code = _fail(InputError(f"{where}{error.strerror or error}"))
    _settle_output()
    return code


def _call(argv: list[str]) -> int:
    """Run a command line through Typer, which ends with SystemExit whatever happens, and return the exit code."""
    code: int | str | None = 0
    try:
        app(args=argv)
    except SystemExit as done:
        if isinstance(done.__context__, BrokenPipeError):  # of which Typer and rich make an exit 1
            raise done.__context__ from None
        code = done.code
    if code == 130:  # so Typer ends on Ctrl-C
        sys.stderr.write("interrupted\n")
    return code if isinstance(code, int) else int(code is not None)


def _fail(error: ModelregError, *, as_json: bool = False) -> int:
    """Show an error and return its exit code; with `--json` every problem, too, where no result was printed."""
    with suppress(OSError):  # a closed or full stream
        show_error(error, as_json=as_json)
    return error.exit_code


def _settle_output() -> None:
    """Send to nowhere what a reader that has left, or a full disk, did not take: Python would complain at its end."""
    for stream in filter(None, (sys.__stdout__, sys.__stderr__)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def run() -> None:
    """The `modelreg` script."""
    sys.exit(main())
