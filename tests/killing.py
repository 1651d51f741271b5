"""Kill a command at changes that it makes to files, and run the same line again: `killer` yields a function for it.

The commands run in children that are forked from one process, which has imported everything and computed nothing, so
that a round takes as long as its command. A child counts what an audit hook sees: a file opened to be written, a
rename, a folder made, a removal, a program started, a request sent. At the chosen one it sends
itself SIGKILL: nothing is cleaned up, and no block is left in order. As a script it reads a `Job` from each line, and
writes a line with its `Round`s.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import count
from pathlib import Path
from typing import NamedTuple, NoReturn

import untraced

KILLED = -signal.SIGKILL
ALWAYS = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate")
TESTS = Path(__file__).parent


class Job(NamedTuple):
    """A command line that is killed: the folder it starts from, which stays as it is."""

    template: str
    place: str  # where each round has its copy of the template
    command: tuple[str, ...]
    before: tuple[str, ...] = ()  # a command line that comes first in each round, and is not killed
    again: tuple[str, ...] = ()  # the second command line; empty: the same
    at: tuple[int, ...] = ()  # the changes at which it is killed; empty: all of them, one in `step`
    step: int = 1
    origin: str = ""  # a bare repository in the template, whose tags a fake of GitHub knows; empty: no fake


class Round(NamedTuple):
    """One round: the number of changes before the kill, and the exit code and output of the second run."""

    changes: int
    code: int
    output: str


@contextmanager
def killer(*, torch: bool = False, **environment: str) -> Iterator[Callable[[Job], list[Round]]]:
    """Yield a function that kills the command of a job. It raises AssertionError if the command fails by itself.

    KILL_STEP replaces the sample of every job by one change in that many.
    """

    def kill(job: Job) -> list[Round]:
        if step := os.environ.get("KILL_STEP"):
            job = job._replace(at=(), step=int(step))
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        found, failure = json.loads(process.stdout.readline())
        assert not failure, failure
        return [Round(*each) for each in found]

    command = [sys.executable, str(TESTS / "killing.py"), *(["torch"] if torch else [])]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**untraced.environment(), **environment}
    ) as process:
        yield kill


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
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def _changes(event: str, arguments: tuple[object, ...], root: str) -> bool:
    if event in ("subprocess.Popen", "http.client.send"):
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
    for number in job.at or count(job.step, job.step):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(job.template, place, symlinks=True)
        with _github(place / job.origin, place.parent) if job.origin else nullcontext():
            if job.before and (code := _run(job.before, place, output, None)):
                raise AssertionError(f"{job.before} ends with {code}: {output.read_text()}")
            code = _run(job.command, place, output, number)
            if code not in (KILLED, 0):
                raise AssertionError(f"{job.command} ends with {code} by itself: {output.read_text()}")
            if code == 0 and job.at:
                raise AssertionError(f"{job.command} has fewer than {number} changes")
            if code == 0:
                return
            again = _run(job.again or job.command, place, output, None)
        yield Round(number, again, output.read_text()[-2000:])


@contextmanager
def _github(origin: Path, folder: Path) -> Iterator[None]:
    """Run a fake of GitHub in a child while the block lasts, and make it the GitHub of the environment."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _serve(origin, folder, writer)
    os.close(writer)
    with os.fdopen(reader) as file:
        address, token = file.readline().split()
    os.environ.update({"GITHUB_API_URL": address, "GITHUB_TOKEN": token})
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _serve(origin: Path, folder: Path, writer: int) -> NoReturn:
    from fake_github import Exchange, FakeGitHub, Request
    from fake_github.faults import Fault

    class Pushed(FakeGitHub):
        def note(self, request: Request) -> tuple[Exchange, Fault | None]:
            """Learn the tags that were pushed."""
            command = [
                "git",
                "-C",
                str(origin),
                "for-each-ref",
                "--format=%(refname:short) %(*objectname)",
                "refs/tags",
            ]
            for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
                self.add_tag(*line.split(), annotated=True)
            return super().note(request)

    with Pushed(folder) as fake:
        os.write(writer, f"{fake.api_url} {fake.token}\n".encode())
        signal.pause()
    os._exit(1)


def _import_torch() -> None:
    """Import what these commands import, so that no child does; nothing may be computed, or a fork would hang."""
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401
    import onnxsim  # noqa: F401
    import pandas as pd  # noqa: F401
    import scipy.signal
    import scipy.stats  # noqa: F401
    import torch
    from matplotlib import pyplot as plt  # noqa: F401

    import modelreg.workflows.evaluation_run
    import modelreg.workflows.export_run
    import modelreg.workflows.training_run  # noqa: F401

    torch.set_num_threads(1)


if __name__ == "__main__":
    import modelreg.cli.main
    import modelreg.verification.integrity  # noqa: F401

    if sys.argv[1:] == ["torch"]:
        _import_torch()
    for line in sys.stdin:
        answer: tuple[list[Round], str]
        try:
            answer = list(_rounds(Job(*json.loads(line)))), ""
        except AssertionError as error:
            answer = [], str(error)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
