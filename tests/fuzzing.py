"""Run a reader on damaged inputs: it returns, or raises a ModelregError whose rules exist, in bounded time and memory.

`FUZZ=200 pytest tests/test_fuzz.py` (`make fuzz`) draws 200 times as many examples, other ones in each run. The last
lines (fuzz_counts.py) say for each parser how many it read, and by which rules it refused the others.
"""

import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from fuzz_counts import COUNTS, READ
from hypothesis import HealthCheck, given, note, settings
from hypothesis.strategies import SearchStrategy

from modelreg.errors import ModelregError
from modelreg.rules import catalogue

TIMES = int(os.environ.get("FUZZ", "0"))
SECONDS = 10  # of one example; a slow machine takes milliseconds
FRAMES = 900  # that a reader may use, of the 1000 that Python allows a command
MEMORY = 2**30  # bytes of address space that an example may add

Test = Callable[..., None]
Drawn = TypeVar("Drawn")


class Endless(BaseException):
    """An example took too long. No reader catches this."""


def fuzz(strategy: SearchStrategy[Drawn], examples: int = 60) -> Callable[[Test], Test]:
    """Return the decorator of a test whose argument `data` is drawn from a strategy."""
    chosen = settings(
        max_examples=examples * max(TIMES, 1),
        derandomize=not TIMES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=bool(TIMES),
    )
    return lambda test: chosen(given(data=strategy.map(_noted))(test))


def _noted(data: Drawn) -> Drawn:
    """Show an example that fails as it is, not as it was drawn."""
    note(f"example: {data!r}")
    return data


@contextmanager
def read_or_refused(parser: str) -> Iterator[None]:
    """Count what a parser does with an example, and stop it if it takes too much time, memory or stack."""
    try:
        with _limited():
            yield
    except Endless:
        raise AssertionError(f"not done after {SECONDS} s") from None
    except ModelregError as error:
        first, *_ = [catalogue.find(problem.rule).id for problem in error.problems]
        COUNTS[parser][first] += 1
    else:
        COUNTS[parser][READ] += 1


@contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Endless

    before, frames = signal.signal(signal.SIGALRM, stop), sys.getrecursionlimit()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    sys.setrecursionlimit(_depth() + FRAMES)  # hypothesis raises it
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        sys.setrecursionlimit(frames)
        signal.signal(signal.SIGALRM, before)


def _depth() -> int:
    """Return the number of frames of this thread."""
    frame, count = sys._getframe(), 0
    while frame := frame.f_back:
        count += 1
    return count


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder for the files of all examples."""
    return tmp_path_factory.mktemp("fuzz")


def written(folder: Path, name: str, data: bytes) -> Path:
    """Write a file in place of that of the example before."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return folder / name
