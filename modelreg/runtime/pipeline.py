"""Run a model on a device: raw windows in, answers out; or raw samples in, events out.

`bundle_loader.py` verifies the digest of each file that is loaded. Before the first answer, the model must reproduce
its test vectors (`self_test.py`).
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
from modelreg.runtime.postprocess import BY_DEFAULT, Answer, Host, SetChoice, calibration
from modelreg.runtime.smoothing import Smoother
from modelreg.runtime.streaming import ClockJump, Cut, Cutter, Gap, Late, Missing, Times, Window


class Prediction(NamedTuple):
    """The answer to a window of a stream."""

    start: int  # step of its first sample, counted from the start of the grid
    time: float | None  # of its last sample; None without time stamps
    answer: Answer
    state: int | None  # the class after smoothing; None without a smoother


class Refused(NamedTuple):
    """A window of a stream with values outside the sensors' limits, or too large for the network."""

    start: int
    problems: tuple[Problem, ...]


Event = Prediction | Refused | Missing | Gap | ClockJump | Late


class Pipeline(AbstractContextManager["Pipeline"]):
    """One model on one backend; not thread-safe."""

    def __init__(self, loaded: Package, backend: Backend, choice: SetChoice = BY_DEFAULT) -> None:
        """Raises VerificationFailed if the backend does not reproduce the test vectors, InputError for `choice`."""
        self.package, self.backend = loaded, backend
        self.spec = loaded.spec
        self._scale = Scale(loaded.normalization)
        self._on_chip = backend.name == "hailo" and loaded.bundle is not None and loaded.bundle.normalization == "chip"
        with ExitStack() as failing:
            failing.callback(backend.close)
            self._host = Host(loaded.spec, loaded.graphs["head"], calibration(loaded.calibration, choice))
            if problems := list(self_test.find_problems(loaded, self.answer, on_chip=backend.name == "hailo")):
                raise VerificationFailed(f"{self.name}: the self-test failed, the model was not loaded", problems)
            failing.pop_all()

    @classmethod
    def load(
        cls, path: Path, backend: BackendName = "onnxruntime", threads: int = 1, choice: SetChoice = BY_DEFAULT
    ) -> "Pipeline":
        """Load a bundle (folder or .tar.gz), a version or a run.

        Raises VerificationFailed if a file was changed or the self-test fails, InputError if no export exists or its
        calibration.json does not have the chosen prediction sets, BackendError if the backend is not available.
        """
        loaded = bundle_loader.read_export(path, compiled=backend == "hailo")
        return cls(loaded, open_backend(loaded, backend, threads), choice)

    @property
    def name(self) -> str:
        """The model's name, with its version for a release."""
        model, version = self.spec.settings.name, self.package.version
        return f"{model}@v{version}" if version else model

    @property
    def sha256(self) -> str:
        """The digest of the file that the backend runs: the HEF or encoder.onnx."""
        return sha256_of(self.package, self.backend.name)

    def find_problems(self, window: Floats) -> Iterator[Problem]:
        """Yield the problems of a raw window: a wrong shape, a missing value, or values outside the limits."""
        if window.shape != self.spec.input.shape:
            expected = f"{self.spec.input.shape} (channels, device rows, timesteps)"
            yield Problem("window", "predict.window-shape", f"shape must be {expected}, but is {window.shape}")
        elif not np.isfinite(window).all():
            channel, row, step = (int(place[0]) for place in np.nonzero(~np.isfinite(window)))
            place = f"channel {self.spec.input.channels[channel].name}, row {row}, step {step}"
            yield Problem("window", "predict.value-missing", f"NaN or infinite value, first at {place}")
        else:
            yield from self._scale.find_out_of_limits(window)

    def infer(self, window: Floats) -> Answer:
        """Return the answer to a raw window (C, D, T), float32. Raises InputError, BackendError."""
        if problems := list(self.find_problems(window)):
            raise InputError("cannot run the model on this window", problems)
        return self.answer(window)

    def answer(self, window: Floats) -> Answer:
        """Return the answer to a raw window without problems (`find_problems`). Raises BackendError, InputError."""
        with np.errstate(over="ignore", invalid="ignore"):  # the results are checked below
            projection = self.backend.project(self.fed(window))
            answer = self._host.answer(projection)
        if not (np.isfinite(projection).all() and np.isfinite(answer.logits).all()):
            message = "values are so large that the network's float32 numbers overflow"
            problem = Problem("window", "predict.overflow", message)
            raise InputError("cannot run the model on this window", [problem])
        return answer

    def fed(self, window: Floats) -> Floats:
        """Return the backend's input for a raw window: normalized, unless the chip normalizes."""
        return window if self._on_chip else self._scale.normalize(window)

    def stream(self, hop: int, smoother: Smoother | None = None) -> "Stream":
        """Return a stream with an answer every `hop` samples; a model of durations assumes the hop of its training."""
        cutter = Cutter(self.spec.input, hop, self.package.normalization.limits)
        return Stream(self, cutter, smoother, (MAX_GAP + 1) * hop)

    def close(self) -> None:
        """Release the device."""
        self.backend.close()

    def __exit__(self, *_: object) -> None:
        self.close()


class Stream:
    """One stream of samples through a pipeline."""

    def __init__(self, pipeline: Pipeline, cutter: Cutter, smoother: Smoother | None, longest: int) -> None:
        """`longest`: windows whose starts lie further apart, in samples, are not smoothed together."""
        self._pipeline, self._cutter, self._smoother, self._longest = pipeline, cutter, smoother, longest
        self._last: int | None = None  # start of the last window that was answered
        self._state = smoother.start() if smoother else None

    def push(self, samples: Floats, device: str | None = None, time: Times | None = None) -> list[Event]:
        """Return the events of new samples (n, C) of a device, in raw units; `time` is (n,) seconds.

        Raises InputError, before it takes any sample, if they do not fit the model; BackendError.
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
        if self._last is None or start - self._last > self._longest:  # a long hole: start again
            self._state = self._smoother.start()
        self._last = start
        self._state, shown = self._smoother.step(self._state, answer)
        return shown


def sha256_of(loaded: Package, backend: BackendName) -> str:
    """Return the digest of the file of a package that a backend runs."""
    return files.sha256_bytes((backend == "hailo" and loaded.hef) or loaded.graphs["encoder"])


def open_backend(loaded: Package, name: BackendName, threads: int = 1) -> Backend:
    """Return the backend of a package. Raises BackendError if it is not available, InputError without a HEF."""
    if name == "onnxruntime":
        return backends.OnnxRuntime(loaded.graphs["encoder"], threads)
    if loaded.hef is None:
        problem = Problem("bundle", "hef.missing", "has no compiled network (.hef)")
        raise InputError("cannot run the model on a Hailo device", [problem])
    shapes = backends.Shapes(loaded.spec.input.shape, loaded.spec.projection)
    return backends.Hailo(loaded.hef, shapes)
