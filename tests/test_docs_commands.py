"""Every command of README.md and docs/ runs, or says why it does not; every `modelreg` line is one of the app."""

import fcntl
import os
import re
import shlex
import sys
from pathlib import Path

import pytest
import typer
import untraced

from modelreg.cli.main import app

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import docs_commands

PAGES = {page.name: page.read_text("utf-8") for page in docs_commands.pages()}
RUN = [name for name, text in PAGES.items() if any(block.is_run for block in docs_commands.blocks(text))]
LINES = sorted(
    {
        (name, command)
        for name, text in PAGES.items()
        for block in docs_commands.blocks(text)
        for line in block.code.replace("\\\n", " ").splitlines()
        for command in re.findall(r"(?:^|&& |\|\| |; |bin/)(modelreg .*?)(?=$| \|| &&|;|\s+#)", line.strip())
    }
)


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """A home for the commands: `modelreg` on the path, one epoch a training, the cache of all tests."""
    folder = tmp_path_factory.mktemp("docs")
    variables = docs_commands.environment(folder, untraced.environment(), fast=True)
    return folder, {**variables, "MODELREG_CACHE": os.environ["MODELREG_CACHE"]}


@pytest.fixture(scope="session")
def walk(home, tmp_path_factory) -> Path:
    """The registry that the page of the first steps makes; the commands of the other pages run in copies.

    The workers of pytest-xdist share one: the first makes it, the others wait for it.
    """
    folder, variables = home
    shared = tmp_path_factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    made = shared / "docs_walk" / "walk"
    made.parent.mkdir(exist_ok=True)
    with (made.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made.parent / "done").exists():
            docs_commands.prepare(folder, docs_commands.WALK, made)
            failed = [done for done in docs_commands.run(PAGES[docs_commands.WALK], made, variables) if done.exit_code]
            assert failed == []
            (made.parent / "done").touch()
    return made


@pytest.mark.no_cover
@pytest.mark.needs("torch", "onnx", "onnxsim", "onnxruntime", "tensorboard", "matplotlib", "pandas")
@pytest.mark.parametrize("name", [name for name in RUN if name != docs_commands.WALK])
def test_the_commands_of_a_page_run(name, walk, home) -> None:
    """In the order of the page, with the exit codes that it states."""
    folder, variables = home
    made = docs_commands.prepare(walk, name, folder / name.removesuffix(".md"))
    done = list(docs_commands.run(PAGES[name], made, variables))

    assert [one for one in done if one.exit_code != one.block.exit_code] == []


@pytest.mark.parametrize(("name", "line"), LINES, ids=lambda value: value[:60])
def test_a_command_is_one_of_the_app(name, line) -> None:
    """With its options; what it names need not exist."""
    command, words = typer.main.get_command(app), shlex.split(line)[1:]
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands
        command, words = command.commands[words[0]], words[1:]
    known = {option for part in command.params for option in (*part.opts, *part.secondary_opts)}

    assert {word.partition("=")[0] for word in words if word.startswith("-")} <= known | {
        "--help",
        "--install-completion",
    }


@pytest.mark.parametrize("name", PAGES)
def test_a_block_that_is_not_run_has_a_reason(name) -> None:
    """A reason of two words at least; and no block hides in another notation."""
    reasons = [block.marker for block in docs_commands.blocks(PAGES[name]) if not block.is_run]
    found = len(re.findall(r"^ *```(?:sh|bash|console|shell)\b", PAGES[name], re.MULTILINE))

    assert all(len(reason.removeprefix("not run: ").split()) > 1 for reason in reasons)
    assert found == len(docs_commands.blocks(PAGES[name]))


def test_the_readme_is_short() -> None:
    """Everything else has a page."""
    assert len(PAGES["README.md"].splitlines()) < 100


@pytest.mark.parametrize("name", PAGES)
def test_no_page_installs_modelreg_from_an_index(name) -> None:
    """The package is not on one: a checkout, a wheel or a git address."""
    assert (
        re.findall(r"pip install[^`\n]*\s'?modelreg(?:\[\w+\])?'?(?=[\s`)]|$)(?! @).*", PAGES[name], re.MULTILINE) == []
    )
