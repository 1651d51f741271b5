"""What is to be expected of a model in 8 bits, found out without Hailo's compiler: an estimate, and named so."""

from typing import Annotated, Literal

from pydantic import Field

from modelreg import files
from modelreg.records.base import LEFT_OUT, ModelName, Name, Record, Sha256, Share

Decibels = float
# How the quantized graph was computed. float32: each 8-bit value as a float32, so that every processor gives the same
# figure. null: by integer kernels, as before modelreg 0.3; those of some processors saturate.
Arithmetic = Literal["float32"]
UNSTEADY = "estimate that depends on the processor"  # what an estimate without `arithmetic` is called


class LayerNoise(Record):
    """A layer's output in 8 bits against the same in float32, everything before it in 8 bits too.

    The first is `windows`, the input.
    """

    layer: Name
    snr_db: Decibels


class Int8Scheme(Record):
    """One way to scale the weights, and what comes of it on the held-out part."""

    accuracy: Share
    macro_f1: Share
    accuracy_drop: float  # float32 minus this; negative where it happens to be better
    macro_f1_drop: float
    code_agreement: Share | None  # windows that get the code they get in float32; null: nothing is quantized
    snr_db: dict[Name, Decibels]  # of each output of encoder and head that is a quantity
    worst_layers: tuple[LayerNoise, ...]  # the noisiest first


class ChannelRange(Record):
    """A channel of the device's input: what calibration saw, and what the held-out part has."""

    channel: Name
    low: float  # of the calibration set
    high: float
    usual_low: float  # 0.1 % of the held-out values lie below
    usual_high: float  # 0.1 % lie above
    clipped: Share  # held-out values outside of what the calibration set has of this channel
    covered: bool  # whether the usual range lies within that of the calibration set


class Int8Summary(Record):
    """What bundle.json and eval_metrics.json repeat of int8.json."""

    estimate: Literal[True] = True
    windows: Annotated[int, Field(ge=1)]
    accuracy_drop: float
    macro_f1_drop: float
    snr_db: Decibels
    arithmetic: Annotated[Arithmetic | None, LEFT_OUT] = None
    sha256: Sha256  # of int8.json


class Int8Estimate(Record):
    """int8.json: an estimate of the loss in 8 bits, by ONNX Runtime's static quantization.

    Activations are uint8, asymmetric, one scale a tensor, their range that of the calibration set; the input is rounded
    by HailoRT's formula; weights are int8, symmetric, one scale a channel (hopeful) or one a tensor (a bound). Hailo's
    compiler corrects biases beyond that. `accuracy_drop` and `snr_db` are those of the bound.
    """

    schema_version: Literal[1] = 1
    estimate: Literal[True] = True  # no compiler and no chip was asked
    model: ModelName
    checkpoint_sha256: Sha256
    normalization_sha256: Sha256
    calibration_windows: Annotated[int, Field(ge=1)]
    part: Literal["test"] = "test"
    windows: Annotated[int, Field(ge=1)]
    accuracy: Share  # float32, the same graphs
    macro_f1: Share
    accuracy_drop: float
    snr_db: Decibels  # of the projection
    per_channel: Int8Scheme
    per_tensor: Int8Scheme
    input: tuple[ChannelRange, ...]
    arithmetic: Annotated[Arithmetic | None, LEFT_OUT] = None
    packages: dict[Name, Name]

    @property
    def summary(self) -> Int8Summary:
        """What other documents repeat of it."""
        return Int8Summary(
            windows=self.windows,
            accuracy_drop=self.accuracy_drop,
            macro_f1_drop=self.per_tensor.macro_f1_drop,
            snr_db=self.snr_db,
            arithmetic=self.arithmetic,
            sha256=files.sha256_bytes(self.to_bytes()),
        )
