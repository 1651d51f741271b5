"""Records of an export: parity of the graphs with the checkpoint, and the contents of a compile bundle."""

from typing import Annotated, Literal

from pydantic import Field

from modelreg.records.base import LEFT_OUT, Count, ModelName, Name, Record, RelativePath, Sha256, VersionText
from modelreg.records.hef import HefInfo
from modelreg.records.int8 import Int8Summary
from modelreg.records.model import Channel

GraphName = Literal["encoder", "head", "model"]
GRAPHS: tuple[GraphName, ...] = ("encoder", "head", "model")
WINDOWS, PROJECTION, CODE, LOGITS = "windows", "projection", "code", "logits"  # tensors of the graphs
Error = Annotated[float, Field(ge=0)]


class Tensor(Record):
    """An input or output of a graph."""

    name: Name
    shape: tuple[Annotated[int, Field(ge=1)], ...]


class GraphRecord(Record):
    """One ONNX file: float32, static shapes, a batch of one."""

    sha256: Sha256  # without the version that a release adds to the metadata
    inputs: Annotated[tuple[Tensor, ...], Field(min_length=1)]
    outputs: Annotated[tuple[Tensor, ...], Field(min_length=1)]
    operators: dict[Name, Count]


class Tolerance(Record):
    """The allowed difference between torch and ONNX Runtime."""

    absolute: Error = 1e-4
    relative: Error = 1e-5
    boundary: Error = 1e-5  # a value this close to a rounding boundary may be rounded either way


class PathParity(Record):
    """The difference between graphs and torch: the whole graph, or the encoder followed by the head."""

    projection_error: Error  # largest absolute difference
    codes: Count  # compared digits: windows times dimensions
    codes_near_boundary: Count  # of these, those that may differ
    codes_different: Count  # of those near a boundary, those that differ
    logits_error: Error  # largest absolute difference, over windows with equal codes
    argmax_compared: Count  # windows with equal codes
    argmax_different: Count  # of these; allowed only if two classes tie within the tolerance


class ParityRecord(Record):
    """parity.json: the graphs compute the same as the checkpoint."""

    schema_version: Literal[1] = 1
    model: ModelName
    checkpoint_sha256: Sha256
    normalization_sha256: Sha256
    opset: Annotated[int, Field(ge=16, le=18)]
    graphs: dict[GraphName, GraphRecord]
    windows: Count  # recorded windows, without edge cases
    windows_digest: Sha256
    windows_part: Literal["train"] = "train"
    edge_cases: tuple[Name, ...]
    tolerance: Tolerance
    whole: PathParity
    split: PathParity
    vectors_sha256: Sha256 | None = None  # of test_vectors.npz; null: exported by a modelreg without test vectors
    packages: dict[Name, Name]


# Windows of a calibration set that Hailo's compiler recommends, in the message with which it lowers its level.
RECOMMENDED_WINDOWS = 1024

HailoArch = Literal["hailo8", "hailo8l"]
Target = Literal["onnx", "hailo8", "hailo8l"]
HAILO: tuple[HailoArch, ...] = ("hailo8", "hailo8l")
TARGETS: tuple[Target, ...] = ("onnx", *HAILO)


class ExportSettings(Record):
    """The settings of an export; the same settings give the same bytes."""

    opset: Annotated[int, Field(ge=16, le=18)] = 17
    normalization: Literal["chip", "host"] = "host"  # chip: raw channels with different ranges share one 8-bit scale
    calibration_windows: Annotated[int, Field(ge=64, le=65536)] = RECOMMENDED_WINDOWS
    optimization_level: Annotated[int, Field(ge=0, le=4)] = 1  # the highest level that does not need a GPU
    min_snr_db: Annotated[float, Field(ge=0)] = 10.0
    parity_windows: Annotated[int, Field(ge=256, le=65536)] = 1024
    tolerance: Tolerance = Tolerance()


class Toolchain(Record):
    """The versions of Hailo's software that a bundle requires."""

    dataflow_compiler: Name
    hailort: Name


class CalibrationRecord(Record):
    """calibration.npy: windows of the train split in the compiler's layout."""

    shape: tuple[Count, Count, Count, Count]  # N, H = device rows, W = timesteps, C = channels
    layout: Literal["NHWC"] = "NHWC"
    dtype: Literal["float32"] = "float32"
    values: Literal["raw", "normalized"]  # raw if and only if the chip normalizes
    part: Literal["train"] = "train"
    class_windows: dict[Name, Count]
    low: tuple[float, ...]  # per channel
    high: tuple[float, ...]
    sha256: Sha256  # of the file


# In the README of a bundle until a HEF is attached. Released bundles have the sentence of 0.2, which must not change.
NOT_COMPILED = "Not compiled yet: `sh compile.sh` compiles the network and measures the quantization loss."
NOT_COMPILED_IN_0_2 = "Nothing here was compiled yet: what the compiler makes of it, `compile.py` measures."


class BundleRecord(Record):
    """bundle.json: the inputs of the compiler, and the attached result."""

    schema_version: Literal[1] = 1
    model: ModelName
    version: VersionText | None  # null: of an unreleased run
    hw_arch: HailoArch
    network: Name  # the compiler's name of the network, the prefix of its layers
    toolchain: Toolchain
    checkpoint_sha256: Sha256
    normalization_sha256: Sha256
    cut: Literal["projection"] = "projection"  # the device computes up to this tensor, the host the rest
    classes: Annotated[tuple[Name, ...], Field(min_length=2)]
    channels: tuple[Channel, ...]
    devices: tuple[Name, ...]
    input: Tensor  # of encoder.onnx, NCHW = windows, channels, device rows, timesteps
    output: Tensor  # of encoder.onnx, NC
    device_input: tuple[Count, Count, Count]  # H, W, C in the device's layout
    normalization: Literal["chip", "host"]
    optimization_level: Annotated[int, Field(ge=0, le=4)]
    min_snr_db: float  # quantized vs. native output, on the test vectors
    calibration: CalibrationRecord
    opset: Annotated[int, Field(ge=16, le=18)]
    files: dict[RelativePath, Sha256]  # every file of the bundle except this one and sha256sum.txt
    int8: Annotated[Int8Summary | None, LEFT_OUT] = None  # of int8.json
    hef: Annotated[HefInfo | None, LEFT_OUT] = None  # of <network>.hef, after it was compiled and attached
