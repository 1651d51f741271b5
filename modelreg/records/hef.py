"""What a compiled network (HEF) says of itself: what `hef inspect` prints and a bundle's bundle.json keeps."""

from typing import Annotated, Literal

from pydantic import Field

from modelreg.records.base import Count, LongName, Name, Record, Sha256, Timestamp

HefArch = Literal["hailo8", "hailo8l", "hailo10h or 15", "hailo15l", "hailo12l", "unknown"]
Order = Literal["NHWC", "NHCW", "NC", "FCR", "BAYER_RGB", "ARGMAX", "NMS", "F8CR", "unknown"]
Checksum = Literal["md5", "crc32", "xxh3"]
HostOperation = Literal["nms", "argmax", "softmax"]


class HefTensor(Record):
    """An input or output of the chip; a value x travels as q = round(clip(x, low, high) / scale + zero_point)."""

    name: LongName
    shape: tuple[Count, ...]  # H, W, C; in order NC: C
    order: Order  # on the wire: the host's buffers are (H, W, C), HailoRT reorders
    type: Literal["uint8", "uint16", "unknown"]
    scale: Annotated[tuple[float, ...], Field(min_length=1)]  # one, or one for each feature
    zero_point: Annotated[tuple[float, ...], Field(min_length=1)]
    low: float  # both 0: not stated
    high: float


class HefGroup(Record):
    """A network group: what a device loads and runs as one."""

    name: LongName
    contexts: Count  # parts that the chip takes turns in; more than one where the network does not fit at once
    inputs: tuple[HefTensor, ...]
    outputs: tuple[HefTensor, ...]
    host_operations: tuple[HostOperation, ...]  # which HailoRT adds behind the outputs
    estimated_bottleneck_fps: float | None  # the compiler's, of the slowest layer: nothing measured, and no latency


class HefInfo(Record):
    """What a HEF holds: its header and the fields that its description (protobuf) begins with."""

    schema_version: Literal[1] = 1
    header_version: Annotated[int, Field(ge=0, le=3)]
    checksum: Checksum  # which the bytes were found to have
    checksum_of: Literal["everything", "description"]  # what it covers, the header aside
    hw_arch: HefArch
    hw_arch_code: Count  # as the file has it
    compiler: Name | None  # version of the Dataflow Compiler
    created: Timestamp | None
    network_groups: Annotated[tuple[HefGroup, ...], Field(min_length=1)]
    size: Count  # bytes
    sha256: Sha256  # of the file
