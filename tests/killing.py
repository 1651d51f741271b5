"""Kill a command at each change that it makes to a file, and run the same line again: `rounds` does it for each change.

The commands run in children that are forked from one process, which has imported everything and computed nothing, so
that a round takes as long as its command. A child counts what an audit hook sees: a file opened to be written, a
rename, a folder made, a removal, a program started. At the chosen one it ends at once, as SIGKILL would end it:
nothing is cleaned up, and no block is left in order. As a script it reads one `Job` as JSON and writes `Round`s.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

KILLED = 137
ALWAYS = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate")
TESTS = Path(__file__).parent


class Job(NamedTuple):
    """A command line that is killed: the folder it starts from, which stays as it is."""

    template: str
    place: str  # where each round has its copy of the template
    command: tuple[str, ...]
    step: int = 1  # between the changes of one round and the next


class Round(NamedTuple):
    """One round: the number of changes before the kill, and the exit code and output of the second run."""

    changes: int
    code: int
    output: str


def rounds(job: Job, environment: dict[str, str] | None = None) -> list[Round]:
    """Kill the command at every change, in a process of its own. Raises AssertionError where it fails by itself."""
    done = subprocess.run(
        [sys.executable, str(TESTS / "killing.py")],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [Round(*found) for found in json.loads(done.stdout)]


def failed(found: Sequence[Round]) -> list[Round]:
    """The rounds whose second run did not finish."""
    return [each for each in found if each.code != 0]


def _kill_at(number: int, root: str) -> None:
    """End this process at its `number`-th change below `root`."""
    left = number

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if _changes(event, arguments, root):
            left -= 1
            if left == 0:
                os._exit(KILLED)

    sys.addaudithook(watch)


def _changes(event: str, arguments: tuple[object, ...], root: str) -> bool:
    if event == "subprocess.Popen":
        return True
    if event == "open":
        path, _, flags = arguments
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        return bool(writes) and isinstance(path, str | bytes | os.PathLike) and _below(path, root)
    return event in ALWAYS and isinstance(arguments[0], str | bytes | os.PathLike) and _below(arguments[0], root)


def _below(path: "str | bytes | os.PathLike[str]", root: str) -> bool:
    return Path(os.fsdecode(path)).absolute().is_relative_to(root)


def _run(command: Sequence[str], place: Path, output: Path, kill_at: int | None) -> int:
    """Run a command line in a child; return its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with output.open("w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            os.chdir(place)
            from modelreg.cli.main import main

            if kill_at is not None:
                _kill_at(kill_at, str(place.resolve()))
            code = main(list(command))
            sys.stdout.flush()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _rounds(job: Job) -> Iterator[Round]:
    place, output = Path(job.place), Path(job.place).with_suffix(".output")
    number = 1
    while True:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(job.template, place, symlinks=True)
        code = _run(job.command, place, output, number)
        if code != KILLED:
            if code != 0:
                raise AssertionError(f"{job.command} ends with {code} by itself: {output.read_text()}")
            return
        again = _run(job.command, place, output, None)
        yield Round(number, again, output.read_text()[-2000:])
        number += job.step


if __name__ == "__main__":
    given = Job(*json.loads(sys.stdin.read()))
    import modelreg.cli.main
    import modelreg.verification.integrity  # noqa: F401

    json.dump(list(_rounds(given)), sys.stdout)
