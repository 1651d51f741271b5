"""Limits in time: of a command, of an answer that does not come, and of a transfer that hardly moves.

A socket's own timeout bounds one wait for bytes. A server that sends one byte a second never exceeds it.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TypeVar

Found = TypeVar("Found")
TICK_S = 0.5  # between two looks at a request that runs
TOTAL_S = 900.0  # of API calls and retries


@dataclass(frozen=True)
class Limits:
    """How long a server may take. A transfer may take as long as it moves at this rate."""

    answer_s: float = 60.0  # from the end of a request to the end of the answer's headers
    window_s: float = 60.0  # over which a rate is averaged
    bytes_per_s: float = 10_000.0
    pages: int = 100  # of a list


class Budget:
    """The time that a command has. Thread-safe.

    Without `whole` it is that of API calls and retries: the time in which files are transferred is not counted.
    """

    def __init__(self, clock: Callable[[], float], total_s: float, *, whole: bool) -> None:
        self.whole = whole
        self._clock, self._end = clock, clock() + total_s
        self._lock, self._running, self._since = threading.Lock(), 0, 0.0

    @property
    def left(self) -> float:
        """Seconds until nothing is tried any more; negative when the time is over."""
        with self._lock:
            return self._end - (self._since if self._running and not self.whole else self._clock())

    @property
    def is_over(self) -> bool:
        """Whether a transfer must stop: only where the time bounds the whole command."""
        return self.whole and self.left <= 0

    @contextmanager
    def transferring(self) -> Iterator[None]:
        """Count the block as a transfer of a file."""
        with self._lock:
            self._since = self._since if self._running else self._clock()
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                if not self._running and not self.whole:
                    self._end += self._clock() - self._since


class Pace:
    """The rate of one transfer, averaged over windows of time."""

    def __init__(self, clock: Callable[[], float], limits: Limits) -> None:
        self._clock, self._limits = clock, limits
        self._since, self._before = clock(), 0

    def is_too_slow(self, moved: int) -> bool:
        """Return whether the last whole window moved too few bytes; `moved` is the number of bytes so far."""
        now = self._clock()
        if (elapsed := now - self._since) < self._limits.window_s:
            return False
        slow = (moved - self._before) / elapsed < self._limits.bytes_per_s
        self._since, self._before = now, moved
        return slow


def watched(act: Callable[[], Found], look: Callable[[], None], stop: Callable[[], None] | None = None) -> Found:
    """Return what `act` returns in another thread. `look` is called meanwhile; if it raises, `act` is left behind.

    `stop` is called then. The thread is a daemon: a connection that is left behind does not keep the program alive.
    """
    ended: SimpleQueue[tuple[Found | None, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            ended.put((act(), None))
        except BaseException as error:  # noqa: BLE001 raised again by the thread that waits
            ended.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    while True:
        try:
            found, error = ended.get(timeout=TICK_S)
        except Empty:
            _look(look, stop)
            continue
        if error is not None:
            raise error
        return found  # type: ignore[return-value]


def _look(look: Callable[[], None], stop: Callable[[], None] | None) -> None:
    try:
        look()
    except BaseException:
        if stop:
            stop()
        raise
