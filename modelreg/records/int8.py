"""int8.json: an estimate of a model's accuracy in 8 bits, made without Hailo's compiler."""

from typing import Annotated, Literal

from pydantic import Field

from modelreg import files
from modelreg.records.base import LEFT_OUT, ModelName, Name, Record, Sha256, Share

Decibels = float
# How the quantized graph was computed. float32: each 8-bit value is a float32, so that every processor gives the same
# result. null: by integer kernels, as before modelreg 0.3; those of some processors saturate.
Arithmetic = Literal["float32"]
UNSTEADY = "estimate that depends on the processor"  # name of an estimate without `arithmetic`


class LayerNoise(Record):
    """The SNR of a layer's output in 8 bits, with all layers before it in 8 bits too, relative to float32.

    The first layer is `windows`, the input.
    """

    layer: Name
    snr_db: Decibels


class Int8Scheme(Record):
    """One scheme of weight scales, and its metrics on the split of the estimate."""

    accuracy: Share
    macro_f1: Share
    accuracy_drop: float  # float32 minus 8 bits; negative if 8 bits are better
    macro_f1_drop: float
    code_agreement: Share | None  # share of windows with the same code as in float32; null: no quantizer
    snr_db: dict[Name, Decibels]  # of each real-valued output of encoder and head
    worst_layers: tuple[LayerNoise, ...]  # noisiest first


class ChannelRange(Record):
    """The range of a channel of the device's input: in the calibration set and in the test split."""

    channel: Name
    low: float  # of the calibration set
    high: float
    usual_low: float  # 0.1 % quantile of the test values
    usual_high: float  # 99.9 % quantile
    clipped: Share  # share of test values outside the range of the calibration set
    covered: bool  # whether the range of the calibration set contains the usual range


class Int8Summary(Record):
    """The part of int8.json that bundle.json and eval_metrics.json repeat."""

    estimate: Literal[True] = True
    windows: Annotated[int, Field(ge=1)]
    accuracy_drop: float
    macro_f1_drop: float
    snr_db: Decibels
    arithmetic: Annotated[Arithmetic | None, LEFT_OUT] = None
    sha256: Sha256  # of int8.json


class Int8Estimate(Record):
    """int8.json: an estimate of the loss in 8 bits, by ONNX Runtime's static quantization.

    Activations are uint8, asymmetric, one scale per tensor, with the range of the calibration set. The input is rounded
    by HailoRT's formula. Weights are int8, symmetric, one scale per channel (optimistic) or per tensor (a lower bound).
    Hailo's compiler also corrects biases. `accuracy_drop` and `snr_db` are those of the lower bound.
    """

    schema_version: Literal[1] = 1
    estimate: Literal[True] = True  # neither the compiler nor a chip was used
    model: ModelName
    checkpoint_sha256: Sha256
    normalization_sha256: Sha256
    calibration_windows: Annotated[int, Field(ge=1)]
    part: Literal["test", "train"] = "test"  # train: of a cross-fitted run, whose final model has no unseen windows
    windows: Annotated[int, Field(ge=1)]
    accuracy: Share  # of the same graphs in float32
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
        """Return the part that other documents repeat."""
        return Int8Summary(
            windows=self.windows,
            accuracy_drop=self.accuracy_drop,
            macro_f1_drop=self.per_tensor.macro_f1_drop,
            snr_db=self.snr_db,
            arithmetic=self.arithmetic,
            sha256=files.sha256_bytes(self.to_bytes()),
        )
