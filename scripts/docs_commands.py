"""Run the commands of the documentation, and write their real output into the pages: `make outputs`.

Every ```sh block of README.md and docs/ is run, page by page, in a registry of the embedded sample. A comment before
a block changes that: `<!-- not run: reason -->`, or `<!-- exit 4 -->` where the command is expected to fail. A ```text
block after it is its output; `<!-- output: first 3, last 5 -->` between both shortens it.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
WALK = "getting-started.md"  # makes the registry that the commands of the other pages run in
NEW = (WALK, "README.md", "index.md")  # start in an empty folder
NAME = "my-models"  # the registry that the walk makes
BLOCK = re.compile(
    r"(?:^<!-- (?P<marker>not run: [^\n]+|exit \d+) -->\n+)?^```sh\n(?P<code>.*?)^```\n", re.MULTILINE | re.DOTALL
)
OUTPUT = re.compile(
    r"\n+(?:<!-- output: first (?P<first>\d+), last (?P<last>\d+) -->\n+)?```text\n(?P<shown>.*?)```\n", re.DOTALL
)
GIT = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "You"), ("EMAIL", "you@example.org"))
}
GENERATED = "<!-- Written by "  # a page of scripts/write_reference.py, which writes the output too
CALM = {"GIT_CONFIG_GLOBAL": "/dev/null", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
SMALL = "--set training.epochs=1 --set training.threads=1 --set data.hop=200 --set evaluation.replicates=100"
# A model of one epoch meets no gate: where a command makes a registry, the gates of the model are waived.
WAIVED = "".join(
    f"  - {{gate: {gate}, reason: trained for one epoch}}\\n"
    for gate in ("above_baseline", "accuracy", "int8.accuracy_drop")
)
FAST = f"""case "$1 $*" in
"train "*--resume*) ;;
"train "*) set -- "$@" {SMALL} ;;
"init "*)
  "{sys.executable}" -m modelreg "$@" || exit
  for last; do :; done
  case "$last" in init|-*) last=. ;; esac
  grep -q "^waivers" "$last/modelreg.yaml" || printf 'waivers:\\n{WAIVED}' >>"$last/modelreg.yaml"
  exit 0 ;;
esac"""


class Block(NamedTuple):
    """A block of commands: its text, what a comment says about it, and where it starts and ends in the page."""

    code: str
    marker: str
    start: int
    end: int

    @property
    def is_run(self) -> bool:
        """Whether the block is run."""
        return not self.marker.startswith("not run: ")

    @property
    def exit_code(self) -> int:
        """The exit code that the page expects."""
        return int(self.marker.removeprefix("exit ")) if self.marker.startswith("exit ") else 0


class Done(NamedTuple):
    """A block that was run: its exit code and everything that it printed."""

    block: Block
    exit_code: int
    printed: str


def pages() -> list[Path]:
    """Return README.md and every page of docs/ but the decisions, which name commands of their day."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(text: str) -> list[Block]:
    """Return the blocks of commands of a page."""
    return [Block(found["code"], found["marker"] or "", *found.span()) for found in BLOCK.finditer(text)]


def environment(folder: Path, inherited: Mapping[str, str], *, fast: bool) -> dict[str, str]:
    """Make a home in `folder` with `modelreg` on the path; `fast`: a training has one epoch, few windows."""
    command = folder / "bin" / "modelreg"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\n{FAST if fast else ""}\nexec "{sys.executable}" -m modelreg "$@"\n')
    command.chmod(0o755)
    own = {"HOME": str(folder), "MODELREG_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    path = f"{command.parent}:{Path(sys.executable).parent}:{inherited['PATH']}"
    return {**inherited, **own, **GIT, **CALM, "PATH": path}


def run(text: str, folder: Path, variables: Mapping[str, str]) -> Iterator[Done]:
    """Run the blocks of a page in their order, each in the folder in which the one before it ended."""
    state = folder.parent / "state"
    here = str(folder)
    for block in blocks(text):
        if block.is_run:
            script = f"trap 'pwd >\"{state}\"' EXIT\nset -euo pipefail\n{block.code}"
            done = subprocess.run(
                ["bash", "-c", script], cwd=here, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            here = state.read_text().strip()
            yield Done(block, done.returncode, done.stdout.replace(str(folder.parent), "/home/you"))


def prepare(walk: Path, page: str, folder: Path) -> Path:
    """Make the folder in which a page's commands run, and return it."""
    if page in NEW:
        folder.mkdir()
    else:
        shutil.copytree(walk / NAME, folder)
    return folder


def shortened(printed: str, first: int, last: int) -> str:
    """Return the first and the last lines, with `...` between them."""
    lines = printed.splitlines()
    kept = lines if len(lines) <= first + last else [*lines[:first], "...", *lines[len(lines) - last :]]
    return "".join(f"{line.rstrip()}\n" for line in kept)


def with_outputs(text: str, done: list[Done]) -> str:
    """Return the page with each shown output replaced by what was printed."""
    for block, _, printed in reversed(done):
        if shown := OUTPUT.match(text, block.end - 1):
            first, last = (int(shown["first"]), int(shown["last"])) if shown["first"] else (10_000, 0)
            text = text[: shown.start("shown")] + shortened(printed, first, last) + text[shown.end("shown") :]
    return text


def main(names: list[str]) -> None:
    """Run the pages that are named, or all, with the default training, and write their outputs."""
    work = Path(tempfile.mkdtemp())
    variables = environment(work, os.environ, fast=False)
    texts = {page: page.read_text("utf-8") for page in pages()}
    shown = [page for page, text in texts.items() if OUTPUT.search(text) and not text.startswith(GENERATED)]
    chosen = [page for page in shown if not names or page.name in names]
    for page in dict.fromkeys([ROOT / "docs" / WALK, *chosen]):
        folder = prepare(work / "walk", page.name, work / ("walk" if page.name == WALK else page.stem))
        done = list(run(texts[page], folder, variables))
        print(f"{page.name}: {len(done)} blocks", flush=True)
        for block, code, printed in done:
            if code != block.exit_code:
                print(f"{page.name}: exit {code}, expected {block.exit_code}:\n{block.code}{printed}", flush=True)
        if page in chosen:
            page.write_text(with_outputs(texts[page], done), "utf-8")
    shutil.rmtree(work)


if __name__ == "__main__":
    main(sys.argv[1:])
