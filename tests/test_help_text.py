"""The help: every command in its group, with an example that can be pasted; no line breaks a word. Completion."""

import re
import shlex
import subprocess
import sys

import pytest
import typer

from modelreg.cli import help_text
from modelreg.cli.main import app, main

SUMMARY = 80 - len("  data check   ")  # columns that the root's help leaves for a summary


def commands(group=None, prefix=()):
    """Yield the words and the function of every command."""
    for info in (group or app).registered_commands:
        yield (*prefix, info.name or info.callback.__name__), info.callback
    for info in (group or app).registered_groups:
        yield from commands(info.typer_instance, (*prefix, info.name))


WORDS = [words for words, _ in commands()]
EVERY = pytest.mark.parametrize("words", WORDS, ids=" ".join)


def help_of(words, monkeypatch, capsys, width: int = 80) -> str:
    """Return the help of a command at a width in columns."""
    monkeypatch.setenv("COLUMNS", str(width))
    assert main([*words, "--help"]) == 0
    return capsys.readouterr().out


def words_of(text: str) -> list[str]:
    """Return the words of a help, without the backslashes of continued examples."""
    return [word for word in text.split() if word != "\\"]


def examples_of(words, monkeypatch, capsys, width: int = 80) -> list[str]:
    """Return the examples of a command as a shell reads them."""
    block = re.search(r"^Examples?:\n((?:  .+\n)+)", help_of(words, monkeypatch, capsys, width), re.MULTILINE)
    return block[1].replace("\\\n", " ").splitlines() if block else []


def parse(arguments: list[str]) -> None:
    """Parse a command line without running it; raises Typer's usage error."""
    command, name = typer.main.get_command(app), "modelreg"
    while getattr(command, "commands", None):
        context = command.make_context(name, list(arguments))
        name, command, arguments = command.resolve_command(context, list(arguments))
    command.make_context(name, arguments)


@EVERY
def test_every_command_has_an_example_that_parses(words, monkeypatch, capsys) -> None:
    """Its options exist, and it is a line that a shell understands."""
    examples = [shlex.split(line) for line in examples_of(words, monkeypatch, capsys)]
    for example in examples:
        parse(example[1:])

    assert {(example[0], *example[1 : len(words) + 1]) for example in examples} == {("modelreg", *words)}


@pytest.mark.parametrize("width", [30, 60])
@EVERY
def test_a_continued_example_is_the_same_command(words, width, monkeypatch, capsys) -> None:
    """No line is continued inside a quoted argument."""
    narrow, wide = (examples_of(words, monkeypatch, capsys, columns) for columns in (width, 120))

    assert list(map(shlex.split, narrow)) == list(map(shlex.split, wide))


def test_an_option_that_is_not_there_does_not_parse() -> None:
    """Or the test above could not fail."""
    with pytest.raises(Exception, match="--nothing"):
        parse(["data", "check", "--nothing"])


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("words", [(), ("data",), ("hef",), *WORDS], ids=" ".join)
def test_no_word_is_broken(words, width, monkeypatch, capsys) -> None:
    """A reader finds every option and path whole."""
    monkeypatch.setattr(help_text, "WIDEST", 1000)
    narrow = help_of(words, monkeypatch, capsys, width)

    assert words_of(narrow) == words_of(help_of(words, monkeypatch, capsys, 1000))


@pytest.mark.parametrize("words", [(), *WORDS], ids=" ".join)
def test_lines_fit_the_terminal(words, monkeypatch, capsys) -> None:
    """80 columns."""
    assert max(map(len, help_of(words, monkeypatch, capsys).splitlines())) <= 80


@pytest.mark.parametrize(("words", "callback"), list(commands()), ids=lambda value: str(value)[:20])
def test_every_summary_fits_a_line(words, callback) -> None:
    """In the list of commands, at 80 columns."""
    assert 0 < len(help_text.summary(callback.__doc__)) <= SUMMARY


def test_commands_are_listed_in_their_groups(monkeypatch, capsys) -> None:
    """In the order of the architecture page, each once."""
    text = help_of((), monkeypatch, capsys)
    lines = text[text.index("\nData:") : text.index("\nOptions:")].splitlines()
    titles = [line[:-1] for line in lines if line.endswith(":") and line[0] != " "]
    listed = [tuple(re.split(r"  +", line.strip())[0].split()) for line in lines if re.match(r"  \w", line)]

    assert (titles, sorted(listed)) == (list(help_text.GROUPS), sorted(WORDS))


@EVERY
def test_every_command_is_on_its_page(words, root) -> None:
    """A command that is not documented does not exist."""
    assert f"modelreg {' '.join(words)}" in (root / "docs" / "commands.md").read_text()


@EVERY
def test_metavars_name_what_is_expected(words, monkeypatch, capsys) -> None:
    """No placeholder of Typer, such as <path>."""
    assert not re.findall(r"<(?:path|text|integer|float)[\w ]*>", help_of(words, monkeypatch, capsys))


def test_no_command_shows_the_help(capsys) -> None:
    """As other programs do."""
    main([])

    assert "Usage: " in "".join(capsys.readouterr())


def test_a_usage_error_shows_the_usage(capsys) -> None:
    """Exit 2, with the option that does not exist."""
    code, stderr = main(["verify", "--nothing"]), capsys.readouterr().err

    assert (code, "--nothing" in stderr, stderr.startswith("Usage: ")) == (2, True, True)


def ask_completion(**environment: str) -> str:
    """Return what completion prints for a shell."""
    code = "import sys; sys.argv = ['modelreg']; from modelreg.__main__ import run; run()"
    variables = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path), **environment}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("shell", "registered"),
    [
        ("bash", "complete -o default -F _modelreg_completion modelreg"),
        ("zsh", "compdef _modelreg_completion modelreg"),
        ("fish", "complete --command modelreg --no-files"),
    ],
)
def test_completion_is_offered(shell, registered) -> None:
    """The script that each shell evaluates."""
    assert registered in ask_completion(_MODELREG_COMPLETE=f"source_{shell}")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(("typed", "found"), [("ver", ["verify"]), ("i", ["init", "import"]), ("zzz", [])])
def test_completion_knows_the_commands(shell, typed, found) -> None:
    """The commands that start with the typed text, and no others."""
    words = f"modelreg {typed}"
    asked = {"COMP_WORDS": words, "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": words}
    completed = ask_completion(_MODELREG_COMPLETE=f"complete_{shell}", _TYPER_COMPLETE_FISH_ACTION="get-args", **asked)
    first = r'"([\w-]+)":' if shell == "zsh" else r"(?m)^([\w-]+)"

    assert [name for name in re.findall(first, completed) if name != "_arguments"] == found
