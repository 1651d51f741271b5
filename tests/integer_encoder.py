"""A quantized encoder in integers, written out from ONNX's definitions: what every processor would get without rounding
sums. Layers take and give integers with a scale and a zero point; a sum of products is exact in int64."""

from typing import Any, NamedTuple

import numpy as np
from onnx import ModelProto, helper, numpy_helper

BOUNDS = {np.dtype(np.uint8): (0, 255), np.dtype(np.int8): (-128, 127)}


class Quantized(NamedTuple):
    """Integers, zero point taken off, and what one step is worth: scale is one number, or one for each of `axis`."""

    steps: np.ndarray  # int64
    scale: np.ndarray  # float64

    @property
    def real(self) -> np.ndarray:
        """What the integers stand for; a scale for each channel belongs to the first axis."""
        return self.steps * self.scale.reshape(-1, *[1] * (self.steps.ndim - 1))


def answer(model: ModelProto, windows: np.ndarray) -> dict[str, Any]:
    """Return every inner tensor of a quantized encoder for windows (N, C, D, T): float64, or Quantized."""
    values: dict[str, Any] = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    values[model.graph.input[0].name] = windows.astype(np.float64)
    for node in model.graph.node:
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        values[node.output[0]] = LAYERS[node.op_type](*[values[name] for name in node.input], **given)
    return values


def _quantize(x: np.ndarray | Quantized, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
    """q = saturate(round half to even(x / scale) + zero)."""
    real = x.real if isinstance(x, Quantized) else x
    low, high = BOUNDS[zero.dtype]
    return np.clip(np.rint(real / np.float64(scale)) + zero, low, high).astype(zero.dtype)


def _dequantize(q: np.ndarray, scale: np.ndarray, zero: np.ndarray, axis: int = 1) -> Quantized:
    """x = (q - zero) scale; of a scale for each channel, that of the first axis: weights have no other."""
    assert scale.size == 1 or axis == 0
    steps = q.astype(np.int64) - zero.astype(np.int64).reshape(-1, *[1] * (q.ndim - 1))
    return Quantized(steps, np.atleast_1d(scale).astype(np.float64))


def _conv(x: Quantized, w: Quantized, bias: Quantized, **given: Any) -> np.ndarray:
    """y[n, o, d, t] = sum over c, k of w[o, c, 0, k] x[n, c, d, t stride + k dilation - pad], plus bias[o]."""
    (_, before, _, after), stride, dilation = given["pads"], given["strides"][1], given["dilations"][1]
    assert (given["group"], w.steps.shape[2]) == (1, 1)
    padded = np.pad(x.steps, ((0, 0), (0, 0), (0, 0), (before, after)))
    reach = (w.steps.shape[3] - 1) * dilation + 1
    views = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=3)[:, :, :, ::stride, ::dilation]
    sums = np.einsum("ncdtk,ock->nodt", views, w.steps[:, :, 0])
    return _scaled(sums, x, w, bias, (1, -1, 1, 1))


def _gemm(x: Quantized, w: Quantized, bias: Quantized, **given: Any) -> np.ndarray:
    """y = x w' + bias."""
    assert (given["transB"], given.get("transA", 0)) == (1, 0)
    return _scaled(x.steps @ w.steps.T, x, w, bias, (1, -1))


def _scaled(sums: np.ndarray, x: Quantized, w: Quantized, bias: Quantized, shape: tuple[int, ...]) -> np.ndarray:
    return sums * (x.scale * w.scale).reshape(shape) + bias.real.reshape(shape)


def _maxpool(x: Quantized, **given: Any) -> Quantized:
    """The largest of each window, of which none reaches over the end."""
    assert not any((*given.get("pads", ()), given.get("ceil_mode", 0)))
    height, width = given["kernel_shape"]
    assert height == 1
    views = np.lib.stride_tricks.sliding_window_view(x.steps, width, axis=3)[:, :, :, :: given["strides"][1]]
    return Quantized(views.max(axis=4), x.scale)


LAYERS = {
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "Conv": _conv,
    "Gemm": _gemm,
    "MaxPool": _maxpool,
    "Add": lambda a, b: a.real + b.real,
    "GlobalAveragePool": lambda x: x.steps.mean(axis=(2, 3), keepdims=True) * x.scale,
    "Flatten": lambda x, axis=1: Quantized(x.steps.reshape(len(x.steps), -1), x.scale),
}
