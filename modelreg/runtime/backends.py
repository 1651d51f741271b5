"""Compute the device part, a window to its projection, with ONNX Runtime or on a Hailo chip with HailoRT.

HailoRT's `hailo_platform` comes with the device's system packages, not from PyPI. This module uses the InferModel API
of HailoRT 4.2x: with a scheduler (without one the network must be activated, or it returns zeros), float32 input and
output, and contiguous buffers (H, W, C) without a batch axis. The timeout is a positional argument, because HailoRT
4.20 does not accept it by name.
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
    """A backend that is not available or does not respond."""

    exit_code = 3


class Backend(Protocol):
    """Computes the device part; not thread-safe."""

    name: BackendName

    def project(self, window: Floats) -> Floats:
        """Return the projection (d,) of a window (C, D, T), float32. Raises BackendError."""
        ...

    def close(self) -> None:
        """Release the device."""
        ...


class OnnxRuntime:
    """The encoder on the CPU, with ONNX Runtime."""

    name: BackendName = "onnxruntime"

    def __init__(self, encoder: bytes, threads: int = 1) -> None:
        self._session = ort_session.session(encoder, threads)

    def project(self, window: Floats) -> Floats:
        """Return the projection (d,) of a window (C, D, T)."""
        projection: Floats = self._session.run([PROJECTION], {WINDOWS: window[None]})[0][0]
        return projection

    def close(self) -> None:
        """Do nothing: no device is held."""


class Shapes(NamedTuple):
    """The shapes of a chip's input and output."""

    window: tuple[int, int, int]  # C, D, T
    projection: int  # d

    @property
    def buffer(self) -> tuple[int, int, int]:
        """The window's shape in the chip's layout, (H, W, C) = (D, T, C)."""
        channels, rows, steps = self.window
        return rows, steps, channels


class Hailo:
    """The compiled encoder (HEF) on a Hailo-8 or Hailo-8L."""

    name: BackendName = "hailo"

    def __init__(self, hef: bytes, shapes: Shapes, timeout_ms: int = TIMEOUT_MS) -> None:
        """Raises BackendError if HailoRT or the device is not available, InputError if the HEF's shapes do not fit."""
        try:
            import hailo_platform as hailo
        except ImportError as error:
            problem = Problem("hailo_platform", "hailo.not-installed", f"HailoRT is not installed: {error}")
            raise BackendError("the Hailo backend is not available", [problem]) from error
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
            raise BackendError("cannot open the Hailo device", [_failure(error)]) from error

    def _open(self, hailo: ModuleType, hef: bytes, opening: ExitStack) -> None:
        folder = Path(opening.enter_context(tempfile.TemporaryDirectory(prefix="modelreg-")))
        path = folder / "model.hef"
        path.write_bytes(hef)  # the bytes that were hashed, not the file they came from
        params = hailo.VDevice.create_params()
        params.scheduling_algorithm = hailo.HailoSchedulingAlgorithm.ROUND_ROBIN
        device = opening.enter_context(hailo.VDevice(params))
        model = device.create_infer_model(str(path))
        for end, expected in ((model.input(), self._input.shape), (model.output(), self._output.shape)):
            _refuse_shape(tuple(end.shape), expected)
            end.set_format_type(hailo.FormatType.FLOAT32)
        self._configured = opening.enter_context(model.configure())
        self._bindings = self._configured.create_bindings()
        self._bindings.input().set_buffer(self._input)
        self._bindings.output().set_buffer(self._output)

    def project(self, window: Floats) -> Floats:
        """Return the projection (d,) of a window (C, D, T); the chip takes it with channels last."""
        np.copyto(self._input, window.transpose(1, 2, 0))
        try:
            self._configured.run([self._bindings], self._timeout_ms)
        except self._failures as error:
            raise BackendError("the Hailo device did not respond", [_failure(error)]) from error
        return self._output.copy()

    def close(self) -> None:
        """Release the device."""
        self._opened.close()


def _refuse_shape(found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if tuple(size for size in found if size != 1) != tuple(size for size in expected if size != 1):
        message = f"shape {found} does not match the model's shape {expected}"
        raise InputError("cannot run the HEF", [Problem("HEF", "hef.shape-mismatch", message)])


def _failure(error: BaseException) -> Problem:
    return Problem("HailoRT", "hailo.failed", f"{type(error).__name__}: {error}")
