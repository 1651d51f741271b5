"""The command line. This is the only place that turns errors into exit codes.

Command modules import slow packages inside the command, so that `--help` is fast.
"""

import errno
import os
import sys
from collections.abc import Mapping, Sequence
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
    help_text,
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
from modelreg.cli.console import emit_error, show_error, start_command
from modelreg.cli.help_text import DATA, DEVICE, OTHER, REGISTRY, RELEASE, TRAIN
from modelreg.errors import InputError, ModelregError, Problem

INTERRUPTED = 130  # Typer's exit code for Ctrl-C
STEPS: Mapping[int, str] = {
    errno.ENOSPC: "free disk space, then run the command again",
    errno.EACCES: "change the permissions of the path, or choose another path",
    errno.EPERM: "change the permissions of the path, or choose another path",
}  # of the operating system's errors; others have the step of the rule

app = typer.Typer(
    name="modelreg",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback with locals could print a token
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
        sys.stdout.write(f"modelreg {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train small behaviour models on inertial recordings, and release them versioned and verified.

    Example:
      modelreg init --sample
      modelreg train
      modelreg evaluate
      modelreg release v0.1.0
      modelreg verify
    """


app.add_typer(data.app, name="data", rich_help_panel=DATA)
app.command("train", rich_help_panel=TRAIN)(train.train)
app.command("evaluate", rich_help_panel=TRAIN)(evaluate.evaluate)
app.command("ablate", rich_help_panel=TRAIN)(ablate.ablate)
app.command("compare", rich_help_panel=TRAIN)(compare.compare)
app.command("init", rich_help_panel=RELEASE)(init.init)
app.command("release", rich_help_panel=RELEASE)(release.release)
app.command("verify", rich_help_panel=RELEASE)(verify.verify)
app.command("publish", rich_help_panel=RELEASE)(publish.publish)
app.command("pull", rich_help_panel=RELEASE)(publish.pull)
app.command("keygen", rich_help_panel=RELEASE)(sign.keygen)
app.command("sign", rich_help_panel=RELEASE)(sign.sign)
app.command("list", rich_help_panel=REGISTRY)(show.list_versions)
app.command("show", rich_help_panel=REGISTRY)(show.show)
app.command("promote", rich_help_panel=REGISTRY)(aliases.promote)
app.command("rollback", rich_help_panel=REGISTRY)(aliases.rollback)
app.command("history", rich_help_panel=REGISTRY)(aliases.history)
app.command("export", rich_help_panel=DEVICE)(export.export)
app.add_typer(hef.app, name="hef", rich_help_panel=DEVICE)
app.command("bench", rich_help_panel=DEVICE)(bench.bench)
app.command("serve", rich_help_panel=DEVICE)(serve.serve)
app.command("import", rich_help_panel=OTHER)(import_.import_)
app.command("doctor", rich_help_panel=OTHER)(doctor.doctor)
help_text.apply(app)


class _Interrupted(ModelregError):
    """Ctrl-C."""

    exit_code = INTERRUPTED


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code (docs/exit-codes.md lists them)."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    as_json = "--json" in arguments
    start_command()
    try:
        code = _call(arguments)
        sys.stdout.flush()  # an error of the flush is reported here, not by Python at exit
    except ModelregError as error:
        code = _fail(error, as_json=as_json)
    except BrokenPipeError:  # the reader has closed the pipe, as in `modelreg list | head -1`
        code = 141  # what a shell reports for a program that SIGPIPE ended
    except OSError as error:
        code = _fail(_unavailable(error), as_json=as_json)
    if code == INTERRUPTED:
        problem = Problem("modelreg", "cli.interrupted", "interrupted")
        _fail(_Interrupted("the command did not finish", [problem]), as_json=as_json)
    _settle_output()
    return code


def _call(argv: list[str]) -> int:
    """Run a command line through Typer, which always ends with SystemExit, and return the exit code."""
    code: int | str | None = 0
    try:
        app(args=argv)
    except SystemExit as done:
        if isinstance(done.__context__, BrokenPipeError):  # Typer and rich turn it into exit code 1
            raise done.__context__ from None
        code = done.code
    return code if isinstance(code, int) else int(code is not None)


def _unavailable(error: OSError) -> InputError:
    """Return the error of a file that the operating system cannot read or write."""
    where = str(error.filename) if error.filename else "output"
    problem = Problem(where, "files.unavailable", error.strerror or str(error), STEPS.get(error.errno or 0, ""))
    return InputError("the command did not finish", [problem])


def _fail(error: ModelregError, *, as_json: bool) -> int:
    """Print an error and return its exit code; with `--json` also as a document, if no result was printed."""
    with suppress(OSError):  # a closed or full stream
        show_error(error)
    if as_json:
        with suppress(OSError):
            emit_error(error)
    return error.exit_code


def _settle_output() -> None:
    """Flush the output; redirect to nowhere what cannot be written, so that Python does not report it at exit."""
    for stream in filter(None, (sys.__stdout__, sys.__stderr__)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
