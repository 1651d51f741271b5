"""The device part: a window in, its projection out. On ONNX Runtime, or on a Hailo chip through HailoRT.

HailoRT's `hailo_platform` comes with the device's own packages, not from PyPI. What is called of it is the InferModel
API of 4.2x: a scheduler (without one a network must be activated, or answers zeros), float32 at both ends,
contiguous buffers (H, W, C) without a batch axis, and a time-out given by place, for 4.20 does not take it by name.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from modelreg.artifacts import ort_session
from modelreg.errors import InputError, ModelregError, Problem
from modelreg.records.export import PROJECTION, WINDOWS

Floats = NDArray[np.float32]
BackendName = Literal["onnxruntime", "hailo"]
TIMEOUT_MS = 1000


class BackendError(ModelregError):
    """A backend that is not there, or does not answer."""

    exit_code = 3


class Backend(Protocol):
    """What computes the device part; one caller at a time."""

    name: BackendName

    def project(self, window: Floats) -> Floats:
        """Return the projection (d,) of a window (C, D, T), float32. Raises BackendError."""
        ...

    def close(self) -> None:
        """Give the device back."""
        ...


class OnnxRuntime:
    """The encoder on the CPU."""

    name: BackendName = "onnxruntime"

    def __init__(self, encoder: bytes, threads: int = 1) -> None:
        self._session = ort_session.session(encoder, threads)

    def project(self, window: Floats) -> Floats:
        """Return the projection (d,) of a window (C, D, T)."""
        projection: Floats = self._session.run([PROJECTION], {WINDOWS: window[None]})[0][0]
        return projection

    def close(self) -> None:
        """Nothing is held but memory."""


class Shapes(NamedTuple):
    """What goes into a chip and comes out."""

    window: tuple[int, int, int]  # C, D, T
    projection: int  # d

    @property
    def buffer(self) -> tuple[int, int, int]:
        """The window as the chip takes it, (H, W, C) = (D, T, C)."""
        channels, rows, steps = self.window
        return rows, steps, channels


class Hailo:
    """The compiled encoder (HEF) on a Hailo-8 or Hailo-8L."""

    name: BackendName = "hailo"

    def __init__(self, hef: bytes, shapes: Shapes, timeout_ms: int = TIMEOUT_MS) -> None:
        """Raises BackendError where HailoRT, the device or the HEF cannot be had, InputError where it does not fit."""
        try:
            import hailo_platform as hailo
        except ImportError as error:
            what = f"{error}; it comes with HailoRT (on Raspberry Pi OS: apt install hailo-all), not from PyPI"
            raise BackendError("no HailoRT here", [Problem("hailo_platform", "todo.backends", what)]) from error
        self._failures = (hailo.HailoRTException, OSError)
        self._timeout_ms = timeout_ms
        self._input = np.zeros(shapes.buffer, dtype=np.float32)
        self._output = np.zeros(shapes.projection, dtype=np.float32)
        self._opened = ExitStack()
        try:
            with ExitStack() as opening:
                self._open(hailo, hef, opening)
                self._opened = opening.pop_all()
        except self._failures as error:
            raise BackendError(
                "the device cannot be used", [Problem("HailoRT", "todo.backends", _words(error))]
            ) from error

    def _open(self, hailo: ModuleType, hef: bytes, opening: ExitStack) -> None:
        folder = Path(opening.enter_context(tempfile.TemporaryDirectory(prefix="modelreg-")))
        path = folder / "model.hef"
        path.write_bytes(hef)  # those that were hashed
        params = hailo.VDevice.create_params()
        params.scheduling_algorithm = hailo.HailoSchedulingAlgorithm.ROUND_ROBIN
        device = opening.enter_context(hailo.VDevice(params))
        model = device.create_infer_model(str(path))
        for end, wanted in ((model.input(), self._input.shape), (model.output(), self._output.shape)):
            _refuse_shape(tuple(end.shape), wanted)
            end.set_format_type(hailo.FormatType.FLOAT32)
        self._configured = opening.enter_context(model.configure())
        self._bindings = self._configured.create_bindings()
        self._bindings.input().set_buffer(self._input)
        self._bindings.output().set_buffer(self._output)

    def project(self, window: Floats) -> Floats:
        """Return the projection (d,) of a window (C, D, T). The one place where channels go last."""
        np.copyto(self._input, window.transpose(1, 2, 0))
        try:
            self._configured.run([self._bindings], self._timeout_ms)
        except self._failures as error:
            raise BackendError(
                "the device does not answer", [Problem("HailoRT", "todo.backends", _words(error))]
            ) from error
        return self._output.copy()

    def close(self) -> None:
        """Release the device."""
        self._opened.close()


def _refuse_shape(found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if tuple(size for size in found if size != 1) != tuple(size for size in wanted if size != 1):
        what = f"is of shape {found}, but the model has {wanted}: it was compiled of another model"
        raise InputError("the HEF does not fit", [Problem("HEF", "todo.backends", what)])


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
