"""A model as it runs on a device: raw windows in, answers out; or raw samples in, events out.

What is loaded was hashed first (`bundle_loader.py`), and must answer its own test vectors before it answers anybody
(`self_test.py`).
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from modelreg import files
from modelreg.errors import InputError, Problem, VerificationFailed
from modelreg.evaluation.sequences import MAX_GAP
from modelreg.runtime import backends, bundle_loader, self_test
from modelreg.runtime.backends import Backend, BackendName, Floats
from modelreg.runtime.bundle_loader import Package
from modelreg.runtime.normalization import Scale
from modelreg.runtime.postprocess import Answer, Host, calibration
from modelreg.runtime.smoothing import Smoother
from modelreg.runtime.streaming import ClockJump, Cut, Cutter, Gap, Late, Missing, Times, Window


class Prediction(NamedTuple):
    """What a window of a stream gave."""

    start: int  # step of its first sample, since the grid began
    time: float | None  # of its last sample; None without time stamps
    answer: Answer
    state: int | None  # the class after smoothing; None without


class Refused(NamedTuple):
    """A window of a stream with values that no sensor can give, or no network can take."""

    start: int
    problems: tuple[Problem, ...]


Event = Prediction | Refused | Missing | Gap | ClockJump | Late


class Pipeline(AbstractContextManager["Pipeline"]):
    """One model on one backend; one caller at a time."""

    def __init__(self, loaded: Package, backend: Backend) -> None:
        """Raises VerificationFailed where the backend does not answer the test vectors."""
        self.package, self.backend = loaded, backend
        self.spec = loaded.spec
        self._scale = Scale(loaded.normalization)
        self._on_chip = backend.name == "hailo" and loaded.bundle is not None and loaded.bundle.normalization == "chip"
        calibrate = calibration(loaded.calibration) if loaded.calibration else None
        self._host = Host(loaded.spec, loaded.graphs["head"], calibrate)
        with ExitStack() as failing:
            failing.callback(backend.close)
            if problems := list(self_test.find_problems(loaded, self.answer, on_chip=backend.name == "hailo")):
                what = f"{self.name} does not answer as it was exported; nothing was started"
                raise VerificationFailed(what, problems)
            failing.pop_all()

    @classmethod
    def load(cls, path: Path, backend: BackendName = "onnxruntime", threads: int = 1) -> "Pipeline":
        """Load a bundle (folder or .tar.gz), a version or a run.

        Raises VerificationFailed where a file was changed or the backend answers otherwise, InputError where there is
        nothing to run, BackendError where the backend cannot be had.
        """
        loaded = bundle_loader.read_export(path, compiled=backend == "hailo")
        return cls(loaded, open_backend(loaded, backend, threads))

    @property
    def name(self) -> str:
        """The model, with its version where it was released."""
        model, version = self.spec.settings.name, self.package.version
        return f"{model}@v{version}" if version else model

    @property
    def sha256(self) -> str:
        """The digest of what the backend runs: the HEF, or encoder.onnx."""
        return sha256_of(self.package, self.backend.name)

    def find_problems(self, window: Floats) -> Iterator[Problem]:
        """Yield what keeps a raw window from being answered: its shape, a missing value, a value out of limits."""
        if window.shape != self.spec.input.shape:
            what = f"is of shape {window.shape}, must be {self.spec.input.shape}: channels, device rows, timesteps"
            yield Problem("window", "todo.pipeline", what)
        elif not np.isfinite(window).all():
            channel, row, step = (int(place[0]) for place in np.nonzero(~np.isfinite(window)))
            place = f"{self.spec.input.channels[channel].name}, row {row}, step {step}"
            yield Problem("window", "todo.pipeline", f"has a missing value at {place}")
        else:
            yield from self._scale.find_out_of_limits(window)

    def infer(self, window: Floats) -> Answer:
        """Return the answer to a raw window (C, D, T), float32. Raises InputError, BackendError."""
        if problems := list(self.find_problems(window)):
            raise InputError("not a window of this model", problems)
        return self.answer(window)

    def answer(self, window: Floats) -> Answer:
        """Return the answer to a raw window in which `find_problems` finds none. Raises BackendError, InputError."""
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked at
            projection = self.backend.project(self.fed(window))
            answer = self._host.answer(projection)
        if not (np.isfinite(projection).all() and np.isfinite(answer.logits).all()):
            what = "holds numbers so large that the network's own overflow"
            raise InputError("not a window of this model", [Problem("window", "todo.pipeline", what)])
        return answer

    def fed(self, window: Floats) -> Floats:
        """Return a raw window as the backend takes it: normalized, unless the chip does that."""
        return window if self._on_chip else self._scale.normalize(window)

    def stream(self, hop: int, smoother: Smoother | None = None) -> "Stream":
        """Return a stream that answers a window every `hop` samples; durations are counted in the hop of training."""
        cutter = Cutter(self.spec.input, hop, self.package.normalization.limits)
        return Stream(self, cutter, smoother, (MAX_GAP + 1) * hop)

    def close(self) -> None:
        """Give the device back."""
        self.backend.close()

    def __exit__(self, *_: object) -> None:
        self.close()


class Stream:
    """One stream of samples through a pipeline."""

    def __init__(self, pipeline: Pipeline, cutter: Cutter, smoother: Smoother | None, longest: int) -> None:
        """`longest`: as many samples may lie between the starts of two windows that are smoothed together."""
        self._pipeline, self._cutter, self._smoother, self._longest = pipeline, cutter, smoother, longest
        self._last: int | None = None  # start of the last window that was answered
        self._state = smoother.start() if smoother else None

    def push(self, samples: Floats, device: str | None = None, time: Times | None = None) -> list[Event]:
        """Return what samples (n, C) of a device, in raw units, bring about; `time` is (n,) seconds.

        Raises InputError where they are not samples of this model, and takes none of them; BackendError.
        """
        return [self._event(cut) for cut in self._cutter.push(samples, device, time)]

    def _event(self, cut: Cut) -> Event:
        if isinstance(cut, Window):
            try:
                answer = self._pipeline.infer(cut.x)
            except InputError as error:
                return Refused(cut.start, tuple(error.problems))
            return Prediction(cut.start, cut.time, answer, self._smooth(cut.start, answer))
        if isinstance(cut, ClockJump):
            self._last = None
        return cut

    def _smooth(self, start: int, answer: Answer) -> int | None:
        if self._smoother is None:
            return None
        if self._last is None or start - self._last > self._longest:  # a hole that nothing is known of
            self._state = self._smoother.start()
        self._last = start
        self._state, shown = self._smoother.step(self._state, answer)
        return shown


def sha256_of(loaded: Package, backend: BackendName) -> str:
    """Return the digest of what a backend runs of a package."""
    return files.sha256_bytes((backend == "hailo" and loaded.hef) or loaded.graphs["encoder"])


def open_backend(loaded: Package, name: BackendName, threads: int = 1) -> Backend:
    """Return the backend of a package. Raises BackendError where it cannot be had, InputError where there is no HEF."""
    if name == "onnxruntime":
        return backends.OnnxRuntime(loaded.graphs["encoder"], threads)
    if loaded.hef is None:
        what = "holds no .hef; compile it (docs/hailo.md) and take it in with `modelreg hef attach`"
        raise InputError("nothing to run on a Hailo device", [Problem("bundle", "todo.pipeline", what)])
    shapes = backends.Shapes(loaded.spec.input.shape, loaded.spec.projection)
    return backends.Hailo(loaded.hef, shapes)
