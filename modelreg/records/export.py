"""What an export states: how near the graphs come to the checkpoint, and what a compile bundle holds."""

from typing import Annotated, Literal

from pydantic import Field

from modelreg.records.base import LEFT_OUT, Count, ModelName, Name, Record, RelativePath, Sha256, VersionText
from modelreg.records.hef import HefInfo
from modelreg.records.int8 import Int8Summary
from modelreg.records.model import Channel

GraphName = Literal["encoder", "head", "model"]
GRAPHS: tuple[GraphName, ...] = ("encoder", "head", "model")
WINDOWS, PROJECTION, CODE, LOGITS = "windows", "projection", "code", "logits"  # the tensors between and around them
Error = Annotated[float, Field(ge=0)]


class Tensor(Record):
    """An input or output of a graph."""

    name: Name
    shape: tuple[Annotated[int, Field(ge=1)], ...]


class GraphRecord(Record):
    """One ONNX file: float32, static shapes, a batch of one."""

    sha256: Sha256  # before a release adds the version to the metadata
    inputs: Annotated[tuple[Tensor, ...], Field(min_length=1)]
    outputs: Annotated[tuple[Tensor, ...], Field(min_length=1)]
    operators: dict[Name, Count]


class Tolerance(Record):
    """What may lie between torch and ONNX Runtime."""

    absolute: Error = 1e-4
    relative: Error = 1e-5
    boundary: Error = 1e-5  # a bounded value nearer to a rounding boundary may be rounded either way


class PathParity(Record):
    """One way through the graphs held against torch: the whole graph, or the encoder and then the head."""

    projection_error: Error  # largest absolute one
    codes: Count  # digits compared: windows times dimensions
    codes_near_boundary: Count  # of them, those that may differ
    codes_different: Count  # of those near a boundary, those that do
    logits_error: Error  # largest absolute one, over windows whose codes agree
    argmax_compared: Count  # windows whose codes agree
    argmax_different: Count  # of them; only where two classes tie within the tolerance


class ParityRecord(Record):
    """parity.json: the graphs answer as the checkpoint does."""

    schema_version: Literal[1] = 1
    model: ModelName
    checkpoint_sha256: Sha256
    normalization_sha256: Sha256
    opset: Annotated[int, Field(ge=16, le=18)]
    graphs: dict[GraphName, GraphRecord]
    windows: Count  # real ones
    windows_digest: Sha256
    windows_part: Literal["train"] = "train"
    edge_cases: tuple[Name, ...]
    tolerance: Tolerance
    whole: PathParity
    split: PathParity
    vectors_sha256: Sha256 | None = None  # of test_vectors.npz; null: exported before there were any
    packages: dict[Name, Name]


HailoArch = Literal["hailo8", "hailo8l"]
Target = Literal["onnx", "hailo8", "hailo8l"]
HAILO: tuple[HailoArch, ...] = ("hailo8", "hailo8l")
TARGETS: tuple[Target, ...] = ("onnx", *HAILO)


class ExportSettings(Record):
    """What can be chosen about an export; the same choices give the same bytes."""

    opset: Annotated[int, Field(ge=16, le=18)] = 17
    normalization: Literal["chip", "host"] = "host"  # chip: raw channels of unlike ranges share one 8-bit scale
    calibration_windows: Annotated[int, Field(ge=64, le=65536)] = 1024  # below, the compiler lowers its level
    optimization_level: Annotated[int, Field(ge=0, le=4)] = 1  # the highest that needs no GPU
    min_snr_db: Annotated[float, Field(ge=0)] = 10.0
    parity_windows: Annotated[int, Field(ge=256, le=65536)] = 1024
    tolerance: Tolerance = Tolerance()


class Toolchain(Record):
    """The versions of Hailo's software that a bundle is for."""

    dataflow_compiler: Name
    hailort: Name


class CalibrationRecord(Record):
    """calibration.npy: real training windows as the compiler reads them."""

    shape: tuple[Count, Count, Count, Count]  # N, H = device rows, W = timesteps, C = channels
    layout: Literal["NHWC"] = "NHWC"
    dtype: Literal["float32"] = "float32"
    values: Literal["raw", "normalized"]  # raw exactly where the chip normalizes
    part: Literal["train"] = "train"
    class_windows: dict[Name, Count]
    low: tuple[float, ...]  # per channel
    high: tuple[float, ...]
    sha256: Sha256  # of the file


# What a bundle's README says until a HEF is attached.
NOT_COMPILED = "Nothing here was compiled yet: what the compiler makes of it, `compile.py` measures."


class BundleRecord(Record):
    """bundle.json: what the compiler needs to know, and what comes out."""

    schema_version: Literal[1] = 1
    model: ModelName
    version: VersionText | None  # null: of a run that was not released
    hw_arch: HailoArch
    network: Name  # the compiler's name of the network: it prefixes its layers
    toolchain: Toolchain
    checkpoint_sha256: Sha256
    normalization_sha256: Sha256
    cut: Literal["projection"] = "projection"  # the device computes up to here, the host goes on
    classes: Annotated[tuple[Name, ...], Field(min_length=2)]
    channels: tuple[Channel, ...]
    devices: tuple[Name, ...]
    input: Tensor  # of encoder.onnx, NCHW = windows, channels, device rows, timesteps
    output: Tensor  # of encoder.onnx, NC
    device_input: tuple[Count, Count, Count]  # H, W, C as the device takes it
    normalization: Literal["chip", "host"]
    optimization_level: Annotated[int, Field(ge=0, le=4)]
    min_snr_db: float  # of the quantized against the native output, on the test vectors
    calibration: CalibrationRecord
    opset: Annotated[int, Field(ge=16, le=18)]
    files: dict[RelativePath, Sha256]  # every file of the bundle but this one and sha256sum.txt
    int8: Annotated[Int8Summary | None, LEFT_OUT] = None  # of int8.json
    hef: Annotated[HefInfo | None, LEFT_OUT] = None  # of <network>.hef, once it was compiled and attached
