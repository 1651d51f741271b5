"""One backend, one thread, a bounded queue before it; and the smoothed states of sessions, a bounded number of them.

A device takes one caller at a time, and HailoRT may block: so windows are answered on a thread of their own, in the
order in which they came. A backend that fails is given back and opened again, until it is there.
"""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

from modelreg.errors import InputError, Problem, VerificationFailed
from modelreg.runtime.api_schema import Refusal
from modelreg.runtime.backends import BackendError, Floats
from modelreg.runtime.pipeline import Pipeline
from modelreg.runtime.postprocess import Answer
from modelreg.runtime.smoothing import Smoother

Open = Callable[[], Pipeline]
Result = TypeVar("Result")


class Bounds(NamedTuple):
    """What one server does at most."""

    queue: int = 128  # windows that wait or are answered
    sessions: int = 1024
    body_s: float = 10.0  # until a body has come
    answer_s: float = 5.0  # until a window is answered
    retry_s: float = 5.0  # until a backend that failed is opened again
    connections: int = 256


class Answered(NamedTuple):
    """An answer, and how long the backend and the host part took."""

    answer: Answer
    seconds: float


class Worker:
    """Answers windows. Its methods are called on one event loop."""

    def __init__(self, open_pipeline: Open, first: Pipeline | None, bounds: Bounds) -> None:
        """`first` is a pipeline that is open already."""
        self._open, self._pipeline, self._bounds = open_pipeline, first, bounds
        self._thread = ThreadPoolExecutor(1, "modelreg-device")
        self._lost = asyncio.Event()
        self._counting = threading.Lock()
        self.waiting = 0
        self.why_not = "" if first else "the backend is being opened"

    async def keep_open(self) -> None:
        """Open the backend, and open it again wherever it failed, for ever."""
        while True:
            await self._open_once()
            if not self.why_not:
                await self._lost.wait()
                self._lost.clear()
                self._pipeline = None

    async def _open_once(self) -> None:
        """Open the backend if it is not open; where it cannot be had, wait a while."""
        try:
            self._pipeline = self._pipeline or await self._run(self._open)
        except (BackendError, InputError, VerificationFailed) as error:
            self.why_not = str(error)
            await asyncio.sleep(self._bounds.retry_s)
            return
        self.why_not = ""

    async def answer(self, window: Floats) -> Answered | Refusal:
        """Return the answer to a raw window that has the model's shape."""
        pipeline = self._pipeline
        if pipeline is None or self.why_not:
            return _unavailable("no backend", self.why_not)
        if self.waiting >= self._bounds.queue:
            return _unavailable("busy", f"{self.waiting} windows are waiting already; try again")
        try:
            async with asyncio.timeout(self._bounds.answer_s):
                return await self._run(lambda: _timed(pipeline, window))
        except TimeoutError:
            return _unavailable("too slow", f"not answered within {self._bounds.answer_s:g} s")
        except InputError as error:
            return Refusal(422, "out of limits", tuple(error.problems))
        except BackendError as error:
            return self._lose(pipeline, error)

    def _lose(self, pipeline: Pipeline, error: BackendError) -> Refusal:
        """Give a backend that failed back; others that waited for it are told the same."""
        if pipeline is self._pipeline and not self.why_not:
            self.why_not = str(error)
            self._thread.submit(pipeline.close)
            self._lost.set()
        return _unavailable("no backend", str(error))

    async def _run(self, work: Callable[[], Result]) -> Result:
        """Do something on the device's thread; it counts as waiting until it is done, whoever still waits for it."""
        self._count(1)
        future = self._thread.submit(work)
        future.add_done_callback(lambda _: self._count(-1))
        return await asyncio.wrap_future(future)

    def _count(self, more: int) -> None:
        """Keep `waiting`; called on the loop and on the device's thread: waking the loop for it would cost more."""
        with self._counting:
            self.waiting += more

    def close(self) -> None:
        """Give the device back, after what was asked of it."""
        if self._pipeline is not None:
            self._thread.submit(self._pipeline.close)
        self._thread.shutdown()


def _timed(pipeline: Pipeline, window: Floats) -> Answered:
    start = perf_counter()
    answer = pipeline.infer(window)
    return Answered(answer, perf_counter() - start)


def _unavailable(reason: str, what: str) -> Refusal:
    return Refusal(503, reason, (Problem("backend", "todo.worker", what),))


class Sessions:
    """The smoothed state of each session; the one that was silent longest makes room for a new one."""

    def __init__(self, smoother: Smoother, most: int) -> None:
        self._smoother, self._most = smoother, most
        self._states: OrderedDict[str, Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def smooth(self, session: str, answer: Answer) -> int:
        """Return the class that a session shows after an answer."""
        state = self._states.pop(session, None)
        state, shown = self._smoother.step(self._smoother.start() if state is None else state, answer)
        self._states[session] = state
        if len(self._states) > self._most:
            self._states.popitem(last=False)
        return shown
