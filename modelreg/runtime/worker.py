"""Run one backend on one thread behind a bounded queue, and keep the smoothed states of a bounded number of sessions.

A device accepts one caller at a time, and HailoRT may block. Windows are therefore computed on a separate thread, in
order of arrival. A backend that fails is closed, and opened again until it is available.
"""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

from modelreg.errors import InputError, ModelregError, Problem, VerificationFailed
from modelreg.runtime.api_schema import Refusal
from modelreg.runtime.backends import BackendError, Floats
from modelreg.runtime.pipeline import Pipeline
from modelreg.runtime.postprocess import Answer
from modelreg.runtime.smoothing import Smoother

Open = Callable[[], Pipeline]
Result = TypeVar("Result")


class Bounds(NamedTuple):
    """The limits on the work of one server."""

    queue: int = 128  # windows that are queued or being computed
    sessions: int = 1024
    answer_s: float = 5.0  # to compute a window, with its time in the queue
    retry_s: float = 5.0  # between two attempts to open the backend


class Answered(NamedTuple):
    """An answer, and the seconds that device part and host part took."""

    answer: Answer
    seconds: float


class Worker:
    """Answers windows. Call its methods on one event loop."""

    def __init__(self, open_pipeline: Open, first: Pipeline | None, bounds: Bounds) -> None:
        """`first` is a pipeline that is already open."""
        self._open, self._pipeline, self._bounds = open_pipeline, first, bounds
        self._thread = ThreadPoolExecutor(1, "modelreg-device")
        self._lost = asyncio.Event()
        self._counting = threading.Lock()
        self.waiting = 0
        self.why_not = "" if first else "the backend is being opened"

    async def keep_open(self) -> None:
        """Open the backend, and open it again after each failure, forever."""
        while True:
            await self._open_once()
            if not self.why_not:
                await self._lost.wait()
                self._lost.clear()
                self._pipeline = None

    async def _open_once(self) -> None:
        """Open the backend if it is not open; if that fails, record why and wait."""
        try:
            self._pipeline = self._pipeline or await self._run(self._open)
        except (BackendError, InputError, VerificationFailed) as error:
            self.why_not = _reason(error)
            await asyncio.sleep(self._bounds.retry_s)
            return
        self.why_not = ""

    async def answer(self, window: Floats) -> Answered | Refusal:
        """Return the answer to a raw window of the model's shape, or why there is none."""
        pipeline = self._pipeline
        if pipeline is None or self.why_not:
            return _unavailable("no backend", Problem("backend", "serve.backend-unavailable", self.why_not))
        if self.waiting >= self._bounds.queue:
            message = f"{self.waiting} windows are queued (limit {self._bounds.queue})"
            return _unavailable("busy", Problem("backend", "serve.queue-full", message))
        try:
            async with asyncio.timeout(self._bounds.answer_s):
                return await self._run(lambda: _timed(pipeline, window))
        except TimeoutError:
            message = f"no result within {self._bounds.answer_s:g} s"
            return _unavailable("too slow", Problem("backend", "serve.answer-timeout", message))
        except InputError as error:
            return Refusal(422, "out of limits", tuple(error.problems))
        except BackendError as error:
            return self._lose(pipeline, error)

    def _lose(self, pipeline: Pipeline, error: BackendError) -> Refusal:
        """Close a backend that failed; requests that waited for it get the same response."""
        if pipeline is self._pipeline and not self.why_not:
            self.why_not = _reason(error)
            self._thread.submit(pipeline.close)
            self._lost.set()
        return _unavailable("no backend", Problem("backend", "serve.backend-unavailable", _reason(error)))

    async def _run(self, work: Callable[[], Result]) -> Result:
        """Run `work` on the device's thread; it counts as waiting until it is done, even after its caller's timeout."""
        self._count(1)
        future = self._thread.submit(work)
        future.add_done_callback(lambda _: self._count(-1))
        return await asyncio.wrap_future(future)

    def _count(self, more: int) -> None:
        """Add to `waiting`, from the event loop or the device's thread; a lock is cheaper than waking the loop."""
        with self._counting:
            self.waiting += more

    def close(self) -> None:
        """Release the device after the queued windows."""
        if self._pipeline is not None:
            self._thread.submit(self._pipeline.close)
        self._thread.shutdown()


def _timed(pipeline: Pipeline, window: Floats) -> Answered:
    start = perf_counter()
    answer = pipeline.infer(window)
    return Answered(answer, perf_counter() - start)


def _reason(error: ModelregError) -> str:
    """Return an error in one line."""
    problems = "; ".join(map(str, error.problems))
    return f"{error.summary}: {problems}" if problems else error.summary


def _unavailable(reason: str, problem: Problem) -> Refusal:
    return Refusal(503, reason, (problem,))


class Sessions:
    """The smoothed state of each session; a new session replaces the least recently used one."""

    def __init__(self, smoother: Smoother, most: int) -> None:
        self._smoother, self._most = smoother, most
        self._states: OrderedDict[str, Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def smooth(self, session: str, answer: Answer) -> int:
        """Return the smoothed class of a session after an answer."""
        state = self._states.pop(session, None)
        state, shown = self._smoother.step(self._smoother.start() if state is None else state, answer)
        self._states[session] = state
        if len(self._states) > self._most:
            self._states.popitem(last=False)
        return shown
