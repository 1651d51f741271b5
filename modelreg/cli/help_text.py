"""Help as plain text: commands in groups, examples that can be pasted, and no line broken inside a word.

Typer's own formatter breaks words at hyphens, wraps examples into the paragraph, and ignores groups without rich.
"""

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from shutil import get_terminal_size
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from modelreg.cli.wrapping import wrap

WIDEST = 100  # columns: longer lines are hard to read
NAMES = 26  # columns for the names of options; the help of a longer one begins on the next line
INDENT = "  "
EXAMPLE = "Example:"
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
UNBROKEN = "\xa0"  # a space that no line is wrapped at
TYPED = re.compile(r"<(path|text|integer|float)(?: range)?>")  # how Typer names the value of an option

DATA, TRAIN, RELEASE, REGISTRY, DEVICE, OTHER = GROUPS = (
    "Data",
    "Train and evaluate",
    "Release",
    "Registry",
    "Device",
    "Other",
)  # in the order of the help

Rows = Sequence[tuple[str, str]]  # a name and its help


class _PlainHelp:
    """What a command and a group override of Typer's help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help of this command."""
        formatter.write("\n".join(_lines(self, ctx, _width())) + "\n")

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        """Write the usage of this command, as usage errors show it."""
        formatter.write("\n".join(_usage(self, ctx, _width())) + "\n")


class _Command(_PlainHelp, TyperCommand):
    """A command with plain help."""


class _Group(_PlainHelp, TyperGroup):
    """A group of commands with plain help."""


def apply(app: typer.Typer) -> None:
    """Give every command and group of an app this help."""
    app.info.cls = _Group
    for command in app.registered_commands:
        command.cls = _Command
    for group in app.registered_groups:
        if group.typer_instance:
            apply(group.typer_instance)


def _width() -> int:
    return min(get_terminal_size().columns, WIDEST)


def _lines(command: Any, ctx: Any, width: int) -> Iterator[str]:
    """Yield the lines of a command's help."""
    paragraphs, examples = _parts(command.help or "")
    yield from _usage(command, ctx, width)
    for paragraph in paragraphs:
        yield from ("", *wrap(paragraph, width, first=INDENT, rest=INDENT))
    if examples:
        title = EXAMPLE if len(examples) == 1 else "Examples:"
        yield from ("", title, *(line for example in examples for line in _pasteable(example, width)))
    groups = _groups(command)
    longest = max((len(name) for rows in groups.values() for name, _ in rows), default=0)
    for title, rows in groups.items():
        yield from _section(title, rows, width, longest)
    for title, kind in (("Arguments", "argument"), ("Options", "option")):
        records = [each.get_help_record(ctx) for each in command.get_params(ctx) if each.param_type_name == kind]
        yield from _section(title, [(_named(name), text) for name, text in filter(None, records)], width)


def _parts(text: str) -> tuple[list[str], list[str]]:
    """Return the paragraphs of a docstring, and the commands of its examples."""
    paragraphs, examples = [], []
    for part in inspect.cleandoc(text).split("\n\n"):
        if part.startswith(EXAMPLE):
            examples += [line.strip() for line in part.removeprefix(EXAMPLE).splitlines() if line.strip()]
        elif part:
            paragraphs.append(" ".join(part.split()))
    return paragraphs, examples


def _usage(command: Any, ctx: Any, width: int) -> list[str]:
    pieces = [piece.strip("{}") for piece in command.collect_usage_pieces(ctx)]  # Typer writes {CONFIG} if required
    return wrap(" ".join(["Usage:", ctx.command_path, *pieces]), width, rest=INDENT * 2)


def _pasteable(example: str, width: int) -> list[str]:
    """Return the lines of an example; a long one is continued as a shell expects it."""
    whole = QUOTED.sub(lambda found: found[0].replace(" ", UNBROKEN), example)  # a break would be part of the argument
    lines = wrap(whole, width - len(" \\"), first=INDENT, rest=INDENT * 3)
    return [line.replace(UNBROKEN, " ") for line in (*(f"{line} \\" for line in lines[:-1]), *lines[-1:])]


def _groups(command: Any) -> dict[str, Rows]:
    """Return the rows of each group of commands by its title, in the order of `GROUPS`."""
    found: dict[str, list[tuple[str, str]]] = {title: [] for title in (*GROUPS, "Commands")}
    for name, each in getattr(command, "commands", {}).items():
        title = each.rich_help_panel if isinstance(each.rich_help_panel, str) else "Commands"
        found[title] += _summaries(name, each)
    return {title: rows for title, rows in found.items() if rows}


def _summaries(name: str, command: Any) -> Iterator[tuple[str, str]]:
    """Yield the name and the summary of a command, or of each command of a group."""
    if inner := getattr(command, "commands", {}):
        for word, each in inner.items():
            yield from _summaries(f"{name} {word}", each)
    else:
        yield name, summary(command.help or "")


def summary(text: str) -> str:
    """Return the first paragraph of a docstring as one line."""
    return " ".join(inspect.cleandoc(text).split("\n\n")[0].split())


def _section(title: str, rows: Rows, width: int, longest: int = 0) -> Iterator[str]:
    """Yield a title and a row for each name, its help in a second column after names of `longest`."""
    if not rows:
        return
    yield from ("", f"{title}:")
    column = min(max(longest, *(len(name) for name, _ in rows)), NAMES) + 2 * len(INDENT)
    for name, text in rows:
        yield from _row(f"{INDENT}{name}", " ".join(text.split()), column, width)


def _named(option: str) -> str:
    """Return an option with a placeholder in capitals where it has that of its type, such as `<path>`."""
    return TYPED.sub(lambda found: {"path": "PATH", "text": "TEXT"}.get(found[1], "N"), option)


def _row(name: str, text: str, column: int, width: int) -> Iterable[str]:
    indent = " " * column
    if len(name) + len(INDENT) > column:
        return [name, *wrap(text, width, first=indent, rest=indent)]
    return wrap(text, width, first=f"{name:{column}}", rest=indent) or [name]
