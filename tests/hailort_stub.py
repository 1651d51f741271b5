"""A stub of HailoRT's Python module `hailo_platform`: its InferModel API, which computes in 8 bits.

It enforces the documented behaviour. Without a scheduler and without activate(), all outputs are silently zero. Without
FLOAT32, a buffer of floats has four times the expected bytes. Buffers are C-contiguous and have no batch axis. The
timeout is a positional argument. Input and output are quantized by the host's formula. The real HailoRT may differ.

Here a HEF is its magic number, one line of JSON with the limits of input and output, and an ONNX encoder.
Faults: no_device, in_use, wrong_arch, hang (at run number n), gone (at run number n and after).
"""

import itertools
import json
import sys
from enum import Enum
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime


class HailoRTException(Exception):
    """The base of HailoRT's exceptions."""


class HailoRTTimeout(HailoRTException):
    """A run took longer than its timeout."""


class HailoRTInvalidArgumentException(HailoRTException):
    """An invalid buffer."""


class FormatType(Enum):
    """The type of a value in a buffer."""

    AUTO = 0
    UINT8 = 1
    UINT16 = 2
    FLOAT32 = 3


class HailoSchedulingAlgorithm(Enum):
    """How networks are activated."""

    NONE = 0
    ROUND_ROBIN = 1


class Params:
    """VDevice.create_params()."""

    def __init__(self) -> None:
        self.scheduling_algorithm = HailoSchedulingAlgorithm.NONE  # the default in Python


def host_formula(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Quantize and dequantize: round_half_even(clip(x, low, high) / scale + zero point)."""
    low, high = limits
    scale = (high - low) / 255
    zero = round(-low / scale)
    integers = np.rint(np.clip(values, low, high) / scale + zero)
    return ((integers - zero) * scale).astype(np.float32)


class Stream:
    """An input or output of a model: its shape and its requested format."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.format = shape, FormatType.UINT8

    def set_format_type(self, kind: FormatType) -> None:
        """Request a format."""
        self.format = kind

    def check(self, buffer: np.ndarray, direction: str) -> None:
        """Refuse a buffer that HailoRT refuses."""
        if not buffer.flags["C_CONTIGUOUS"]:
            raise HailoRTInvalidArgumentException("buffer is not C-contiguous")
        expected = int(np.prod(self.shape)) * (4 if self.format is FormatType.FLOAT32 else 1)
        if buffer.nbytes != expected:
            text = f"{direction} buffer size {buffer.nbytes} is different than expected {expected}"
            raise HailoRTInvalidArgumentException(text)
        if buffer.shape != self.shape:
            raise HailoRTInvalidArgumentException(f"{direction} buffer has shape {buffer.shape}, not {self.shape}")


class Binding:
    """A buffer of an input or output."""

    def __init__(self, stream: Stream, direction: str) -> None:
        self.stream, self.direction, self.buffer = stream, direction, None

    def set_buffer(self, buffer: np.ndarray) -> None:
        """Set a buffer, or refuse it."""
        self.stream.check(buffer, self.direction)
        self.buffer = buffer


class Bindings:
    """The buffers of one run."""

    def __init__(self, model: "InferModel") -> None:
        self._ends = Binding(model.ends[0], "Input"), Binding(model.ends[1], "Output")

    def input(self) -> Binding:
        """The input."""
        return self._ends[0]

    def output(self) -> Binding:
        """The output."""
        return self._ends[1]


class Configured:
    """A model that can be run while its context is open."""

    def __init__(self, model: "InferModel") -> None:
        self.model, self.open = model, False

    def __enter__(self) -> "Configured":
        self.open = True
        return self

    def __exit__(self, *_: object) -> None:
        self.open = False

    def create_bindings(self) -> Bindings:
        """Return the bindings for buffers."""
        return Bindings(self.model)

    def run(self, bindings: list[Bindings], timeout: int, /) -> None:
        """Compute; the timeout is positional, in milliseconds."""
        module = self.model.device.module
        if not self.open or not self.model.device.open:
            raise HailoRTException("HAILO_INVALID_OPERATION(6)")
        number = next(module.runs)
        if number == module.faults.get("hang"):
            raise HailoRTTimeout(f"Timeout of {timeout} ms")
        if number >= module.faults.get("gone", number + 1):
            raise HailoRTException("HAILO_COMMUNICATION_CLOSED(62)")
        for binding in bindings:
            binding.output().buffer[...] = self.model.compute(binding.input().buffer)


class InferModel:
    """A HEF on a device."""

    def __init__(self, device: "VDevice", path: Path) -> None:
        magic, _, rest = path.read_bytes().partition(b"{")
        if magic != b"\x01HEF" or device.module.faults.get("wrong_arch"):
            raise HailoRTException("HAILO_HEF_NOT_COMPATIBLE_WITH_DEVICE(93)")
        limits, _, encoder = rest.partition(b"\n")
        self.device, self.limits = device, json.loads(b"{" + limits)
        self.session = onnxruntime.InferenceSession(encoder)
        _, channels, rows, steps = self.session.get_inputs()[0].shape
        self.ends = Stream((rows, steps, channels)), Stream(tuple(self.session.get_outputs()[0].shape[1:]))

    def input(self) -> Stream:
        """The input."""
        return self.ends[0]

    def output(self) -> Stream:
        """The output."""
        return self.ends[1]

    def configure(self) -> Configured:
        """Configure the model."""
        return Configured(self)

    def compute(self, window: np.ndarray) -> np.ndarray:
        """Compute; return zeros if the network is not activated."""
        if self.device.params.scheduling_algorithm is HailoSchedulingAlgorithm.NONE:
            return np.zeros(self.ends[1].shape, dtype=np.float32)
        fed = host_formula(window, self.limits["input"]).transpose(2, 0, 1)[None]
        projection = self.session.run(None, {"windows": np.ascontiguousarray(fed)})[0][0]
        return host_formula(projection, self.limits["output"])


class VDevice:
    """The device, open inside its context."""

    module: "HailoPlatform"

    def __init__(self, params: Params | None = None) -> None:
        for fault, words in (("no_device", "HAILO_OUT_OF_PHYSICAL_DEVICES(74)"), ("in_use", "HAILO_DEVICE_IN_USE(73)")):
            if self.module.faults.get(fault):
                raise HailoRTException(words)
        self.params, self.open = params or Params(), False

    @staticmethod
    def create_params() -> Params:
        """Return the defaults."""
        return Params()

    def __enter__(self) -> "VDevice":
        self.open, self.module.held = True, self.module.held + 1
        return self

    def __exit__(self, *_: object) -> None:
        self.open, self.module.held = False, self.module.held - 1

    def create_infer_model(self, path: str) -> InferModel:
        """Load a HEF."""
        return InferModel(self, Path(path))


class HailoPlatform(ModuleType):
    """The module, with its faults and the number of open devices."""

    def __init__(self, **faults: int) -> None:
        super().__init__("hailo_platform")
        self.faults, self.runs, self.held, self.__version__ = dict(faults), itertools.count(1), 0, "4.21.0"
        self.HailoRTException, self.FormatType = HailoRTException, FormatType
        self.HailoSchedulingAlgorithm = HailoSchedulingAlgorithm
        self.VDevice = type("VDevice", (VDevice,), {"module": self})


def install(monkeypatch, **faults: int) -> HailoPlatform:
    """Make the module importable in one test."""
    module = HailoPlatform(**faults)
    monkeypatch.setitem(sys.modules, "hailo_platform", module)
    return module
