"""The description of a compiled network (HEF): the output of `hef inspect`, stored in bundle.json."""

from typing import Annotated, Literal

from pydantic import Field

from modelreg.records.base import LEFT_OUT, Count, Record, Sha256, Timestamp

HefArch = Literal["hailo8", "hailo8l", "hailo10h or 15", "hailo15l", "hailo12l", "unknown"]
Order = Literal["NHWC", "NHCW", "NC", "FCR", "BAYER_RGB", "ARGMAX", "NMS", "F8CR", "NV12", "NV21", "I420", "unknown"]
Checksum = Literal["md5", "crc32", "xxh3"]
HostOperation = Literal["nms", "argmax", "softmax"]
Numbers = Annotated[tuple[float, ...], Field(min_length=1)]


class HefTensor(Record):
    """An input or output of the chip; a value x is encoded as q = round(clip(x, low, high) / scale + zero_point)."""

    name: str
    shape: tuple[Count, ...]  # H, W, C; in order NC: C
    order: Order  # in the transfer; buffers on the host are (H, W, C), HailoRT reorders them
    type: Literal["uint8", "uint16", "unknown"]
    scale: Annotated[Numbers | None, LEFT_OUT] = None  # one, or one per feature; null: the file does not state it
    zero_point: Annotated[Numbers | None, LEFT_OUT] = None  # null if and only if the scale is
    low: float  # both 0: not stated
    high: float

    @property
    def quantization(self) -> tuple[Numbers, Numbers] | None:
        """Return the scales and the zero points; None if the file does not state them."""
        return None if self.scale is None or self.zero_point is None else (self.scale, self.zero_point)


class HefGroup(Record):
    """A network group: the unit that a device loads and runs."""

    name: str
    contexts: Count  # more than one if the network does not fit on the chip as a whole
    inputs: tuple[HefTensor, ...]
    outputs: tuple[HefTensor, ...]
    host_operations: tuple[HostOperation, ...]  # added by HailoRT after the outputs
    estimated_bottleneck_fps: float | None  # the compiler's estimate for the slowest layer; not measured, not a latency


class HefInfo(Record):
    """The contents of a HEF: its header and the first fields of its description (protobuf).

    The texts are those of the file, of any length and with any characters.
    """

    schema_version: Literal[1] = 1
    header_version: Annotated[int, Field(ge=0, le=3)]
    checksum: Checksum  # verified against the bytes
    checksum_of: Literal["everything", "description"]  # what the checksum covers, without the header
    hw_arch: HefArch
    hw_arch_code: Count  # the code in the file
    compiler: str | None  # version of the Dataflow Compiler
    created: Timestamp | None
    network_groups: Annotated[tuple[HefGroup, ...], Field(min_length=1)]
    size: Count  # bytes
    sha256: Sha256  # of the file
