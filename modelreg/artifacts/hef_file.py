"""Read the metadata of a Hailo Executable Format file (HEF), without Hailo's software.

The layout is defined by hef_internal.hpp, hef.cpp and hef.proto (github.com/hailo-ai/hailort, MIT): a header in network
byte order, a description in Protocol Buffers, then configuration for the chip. The lengths and the checksum are
verified before the description is parsed.

The format is not ours. A file is refused if its bytes contradict each other or cannot be interpreted. What a record can
do without is optional. Memory and time are bounded by the size of the file and by limits of the format.
"""

import hashlib
import io
import math
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, TypeVar

from pydantic import ValidationError

from modelreg import files
from modelreg.artifacts.protobuf_wire import Message
from modelreg.errors import InputError, Problem
from modelreg.records.hef import Checksum, HefArch, HefGroup, HefInfo, HefTensor, HostOperation, Order

MAGIC = b"\x01HEF"
LFS = b"version https://git-lfs"  # first bytes of a Git LFS pointer
READ_LIMIT = 512 * 2**20  # bytes; a bundle cannot hold a larger file
_DESCRIPTION_LIMIT = READ_LIMIT  # it is read into memory
CANNOT_READ = "cannot read the HEF"

_PIECE = 2**20  # bytes hashed at a time
_ITEMS = 2**16  # groups, contexts, inputs and outputs of a file: HailoRT numbers contexts with 16 bits, streams with 8
_NESTED = 100  # messages: other readers of Protocol Buffers refuse more
_YEAR_10000 = 253_402_300_800_000  # milliseconds

_COMMON = struct.Struct(">4sII")  # magic, version, bytes of the description
_REST: dict[int, tuple[Checksum, struct.Struct]] = {
    0: ("md5", struct.Struct(">I16s")),  # reserved, MD5
    1: ("crc32", struct.Struct(">IQI")),  # CRC, bytes of configuration, reserved
    2: ("xxh3", struct.Struct(">QQQQ")),  # XXH3, bytes of configuration, 2 reserved
    3: ("xxh3", struct.Struct(">QQIQQQ")),  # XXH3, configuration with padding, padding, more, XXH3 of the description
}
_LONGEST = _COMMON.size + max(form.size for _, form in _REST.values())

# Field numbers of hef.proto
_HEADER, _GROUPS, _EXTENSIONS = 1, 2, 5  # of ProtoHEFHef
_ARCH, _TIMESTAMP, _SDK = 1, 2, 3  # of ProtoHEFHeader
_METADATA, _CONTEXTS, _PARTIAL, _OPS, _NAME = 1, 3, 7, 8, 10  # of ProtoHEFNetworkGroup and, but the last two, CoreOp
_CORE_OP, _NMS_OP, _LOGITS_OP = 4, 5, 6  # of ProtoHEFOp
_FPS = 4  # of ProtoHEFNetworkGroupMetadata
_CONTEXT_METADATA, _EDGES = 3, 2  # of ProtoHEFContext, of its metadata
_DIRECTION, _EDGE_TYPE, _INFO, _MUX, _SWITCH = 1, 2, 3, 4, 5  # of ProtoHEFEdgeLayer
_PLANES = 8  # of ProtoHEFEdgeLayer
_CONNECTION = 3  # of ProtoHEFContextSwitchInformation; 0 is the boundary of the chip
_LAYER, _BASE, _NUMERIC, _PREDECESSORS = 1, 2, 3, 5  # of ProtoHEFEdgeLayerInfo and Mux
_HEIGHT, _WIDTH, _FEATURES, _FORMAT, _BYTES = 1, 3, 5, 7, 12  # of ProtoHEFEdgeLayerBase
_PLANES_FORMAT, _EACH_PLANE, _PLANES_SHAPE = 2, 3, (4, 5, 6)  # of ProtoHEFEdgeLayerPlanes
_ZERO, _SCALE, _LOW, _HIGH, _ZEROS, _SCALES = 1, 2, 3, 4, 5, 6  # of ProtoHEFEdgeLayerNumericInfo
_SCALE_PER_FEATURE = 25  # of ProtoHEFExtensionType

_ARCHS: dict[int, HefArch] = {
    **dict.fromkeys((0, 1, 2, 101, 102), "hailo8"),
    3: "hailo8l",
    **dict.fromkeys((4, 5, 103, 104, 105), "hailo10h or 15"),
    **dict.fromkeys((6, 106), "hailo15l"),
    108: "hailo12l",
}
_ORDERS: tuple[Order, ...] = ("NHWC", "NHCW", "NC", "FCR", "BAYER_RGB", "ARGMAX", "NMS", "F8CR")
_PLANES_ORDERS: tuple[Order, ...] = ("NV12", "NV21", "I420")
_TYPES: dict[int, Literal["uint8", "uint16"]] = {1: "uint8", 2: "uint16"}

_Each = TypeVar("_Each")


class HefFile(NamedTuple):
    """A HEF: its bytes and its metadata."""

    data: bytes
    info: HefInfo


class _Header(NamedTuple):
    """The header of a HEF."""

    version: int
    size: int  # bytes of the header itself
    description: int  # bytes
    checksum: Checksum
    checksum_of: Literal["everything", "description"]
    expected: str  # hexadecimal


class _Scope(NamedTuple):
    """What the parts of a file share while they are read."""

    per_feature: bool  # whether numbers of quantization may be listed per feature
    room: Iterator[int]  # has one item for each item that may still be read


def describe_hef(path: Path) -> HefInfo:
    """Return the metadata of a HEF of any size. Raises InputError as `parse_hef` does."""
    with files.open_regular(path) as file:
        return _describe(file, os.fstat(file.fileno()).st_size, str(path))


def read_hef(path: Path, limit: int = READ_LIMIT) -> HefFile:
    """Read a HEF of at most `limit` bytes. Raises InputError; another type of file is detected by its first bytes."""
    where = str(path)
    with files.open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(_LONGEST)
        _refuse_other_types(head, where)
        with _refusing(where):
            _header(head, size)
        if size > limit:
            what = f"{size:,} bytes, but a bundle holds at most {limit:,}"
            fix = "name the `.hef` file that was compiled from this bundle"
            raise InputError(CANNOT_READ, [Problem(where, "hef.too-large", what, next=fix)])
        file.seek(0)
        data = file.read(size)
    return HefFile(data, parse_hef(data, where))


def parse_hef(data: bytes, where: str) -> HefInfo:
    """Return the metadata of a HEF. Raises InputError for another type of file, a damaged file and invalid values."""
    return _describe(io.BytesIO(data), len(data), where)


def _describe(file: BinaryIO, size: int, where: str) -> HefInfo:
    """Return the metadata of an open HEF of `size` bytes. Raises InputError."""
    head = file.read(_LONGEST)
    _refuse_other_types(head, where)
    with _refusing(where):
        header = _header(head, size)
        if header.description > _DESCRIPTION_LIMIT:
            what = f"{header.description:,} bytes of description, more than the limit of {_DESCRIPTION_LIMIT:,}"
            raise ValueError(what)
        file.seek(0)
        sha256, found = _verify(header, file)
        description = Message(found)
        about = description.message(_HEADER)
        arch = about.number(_ARCH)
        per_feature = any(each.number(1) == _SCALE_PER_FEATURE for each in description.messages(_EXTENSIONS))
        scope = _Scope(per_feature, iter(range(_ITEMS)))
        return HefInfo(
            header_version=header.version,
            checksum=header.checksum,
            checksum_of=header.checksum_of,
            hw_arch=_ARCHS.get(arch, "unknown"),
            hw_arch_code=arch,
            compiler=about.text(_SDK) or None,
            created=_timestamp(about.number(_TIMESTAMP)),
            network_groups=tuple(_group(each, scope) for each in _few(description.messages(_GROUPS), scope)),
            size=size,
            sha256=sha256,
        )


@contextmanager
def _refusing(where: str) -> Iterator[None]:
    """Turn the errors of a damaged file into InputError."""
    try:
        yield
    except ValidationError as error:
        found = [
            Problem(where, "hef.invalid", f"{'.'.join(map(str, each['loc']))}: {each['msg']}")
            for each in error.errors()
        ]
        raise InputError(CANNOT_READ, found) from error
    except ValueError as error:
        raise InputError(CANNOT_READ, [Problem(where, "hef.invalid", str(error))]) from error


def _refuse_other_types(head: bytes, where: str) -> None:
    """Raise InputError if the first bytes of a file are not those of a HEF."""
    if not head.startswith(MAGIC):
        fix = "fetch the file with `git lfs pull`" if head.startswith(LFS) else ""
        raise InputError(CANNOT_READ, [Problem(where, "hef.not-a-hef", _other_type(head), next=fix)])


def _header(head: bytes, size: int) -> _Header:
    """Read the header of a HEF of `size` bytes. Raises ValueError if the lengths do not add up to the size."""
    if len(head) < _COMMON.size:
        raise ValueError("truncated in the header")
    _, version, description = _COMMON.unpack_from(head)
    if version not in _REST:
        raise ValueError(f"unsupported header version {version}, expected 0 to 3")
    checksum, form = _REST[version]
    end = _COMMON.size + form.size
    if len(head) < end:
        raise ValueError("truncated in the header")
    expected, others, whole = _sums(version, form.unpack_from(head, _COMMON.size))
    if end + description + others != size:
        raise ValueError(f"size mismatch: header says {end + description + others:,} bytes, file has {size:,}")
    return _Header(version, end, description, checksum, "everything" if whole else "description", expected)


def _sums(version: int, values: tuple[Any, ...]) -> tuple[str, int, bool]:
    """Return the checksum, the number of bytes after the description, and whether the checksum covers them."""
    if version == 0:
        return values[1].hex(), 0, True
    if version == 3:
        everything, configuration, _, more, description, _ = values
        return f"{description or everything:016x}", configuration + more, not description
    return f"{values[0]:0{16 if version == 2 else 8}x}", values[1], True


def _other_type(head: bytes) -> str:
    """Return a description of a file that is not a HEF, from its first bytes."""
    if not head:
        return "the file is empty"
    if head.startswith(LFS):
        return "a Git LFS pointer, expected the file itself"
    if head.lstrip().startswith((b"{", b"[")):
        return "a JSON file, expected a HEF"
    if head.isascii() and all(byte >= 32 or byte in b"\t\n\r\f" for byte in head):
        return "a text file, expected a HEF"
    return "not a HEF: the first bytes are not 01 48 45 46"


class _Crc32:
    """CRC-32 with the methods of hashlib."""

    def __init__(self, data: bytes) -> None:
        self._value = zlib.crc32(data)

    def update(self, data: bytes) -> None:
        self._value = zlib.crc32(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


def _verify(header: _Header, file: BinaryIO) -> tuple[str, bytes]:
    """Return the SHA-256 of a file and its description. Raises ValueError if the checksum is not that of the header."""
    import xxhash  # takes 10 ms, and most versions do not have a HEF

    whole = hashlib.sha256(file.read(header.size))
    description = file.read(header.description)
    whole.update(description)
    if header.checksum == "md5":
        checksum: Any = hashlib.md5(description, usedforsecurity=False)
    else:
        checksum = _Crc32(description) if header.checksum == "crc32" else xxhash.xxh3_64(description)
    while piece := file.read(_PIECE):
        whole.update(piece)
        if header.checksum_of == "everything":
            checksum.update(piece)
    if (found := checksum.hexdigest()) != header.expected:
        raise ValueError(f"{header.checksum} mismatch: header says {header.expected}, file has {found}")
    return whole.hexdigest(), description


def _timestamp(milliseconds: int) -> str | None:
    """Return a time, or None if the file does not state one that a calendar has."""
    if not 0 < milliseconds < _YEAR_10000:
        return None
    return datetime.fromtimestamp(milliseconds // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _group(group: Message, scope: _Scope) -> HefGroup:
    """Read a network group. In a graph of operations, the chip computes one of them and the host the others."""
    operations = list(_few(group.messages(_OPS), scope))
    cores = [_laid_out(op.message(_CORE_OP)) for op in operations if op.has(_CORE_OP)] or [_laid_out(group)]
    about = [each.message(_METADATA) for each in (group, *cores)]
    contexts = list(_few((context for core in cores for context in core.messages(_CONTEXTS)), scope))
    found = list(_few(_boundary(contexts, scope), scope))
    return HefGroup(
        name=next(filter(None, (group.text(_NAME), *(each.text(1) for each in about))), ""),
        contexts=len(contexts),
        inputs=tuple(each for side, each in found if side == 0),
        outputs=tuple(each for side, each in found if side == 1),
        host_operations=tuple(_host_operations(operations)),
        estimated_bottleneck_fps=next(
            (fps for each in about for fps in each.floats64(_FPS) if math.isfinite(fps)), None
        ),
    )


def _laid_out(core: Message) -> Message:
    """Return the message that has the contexts. A network for the 8L repeats them for each cluster layout."""
    partial = (each.message(1) for each in core.messages(_PARTIAL) if each.has(1))
    return core if core.has(_CONTEXTS) else next(partial, core)


def _boundary(contexts: Iterable[Message], scope: _Scope) -> Iterator[tuple[int, HefTensor]]:
    """Yield the inputs (0) and outputs (1) of the chip. Layers between two contexts are skipped."""
    edges = (edge for context in contexts for edge in context.message(_CONTEXT_METADATA).messages(_EDGES))
    for edge in edges:
        if edge.message(_SWITCH).number(_CONNECTION) == 0:
            if (side := edge.number(_DIRECTION)) > 1:
                raise ValueError(f"unsupported direction {side} of a layer")
            yield from ((side, tensor) for tensor in _tensors(edge, scope))


def _tensors(edge: Message, scope: _Scope) -> Iterator[HefTensor]:
    """Yield what a layer transfers: one tensor, or several that are multiplexed."""
    match edge.number(_EDGE_TYPE):
        case 0:
            yield _tensor(edge.message(_INFO), scope)
        case 1:
            yield from (_tensor(layer, scope) for layer in _unmuxed(edge.message(_MUX)))
        case 2:
            yield _planar(edge.message(_PLANES))
        case kind:
            raise ValueError(f"unsupported kind {kind} of a layer")


def _unmuxed(mux: Message, depth: int = 0) -> Iterator[Message]:
    """Yield the layers of a multiplexed stream."""
    if depth == _NESTED:
        raise ValueError(f"more than {_NESTED} nested multiplexers")
    for each in mux.messages(_PREDECESSORS):
        yield from each.messages(1)
        for inner in each.messages(2):
            yield from _unmuxed(inner, depth + 1)


def _tensor(layer: Message, scope: _Scope) -> HefTensor:
    base, numeric = layer.message(_BASE), layer.message(_NUMERIC)
    height, width, features = (base.number(each) for each in (_HEIGHT, _WIDTH, _FEATURES))
    order = dict(enumerate(_ORDERS)).get(base.number(_FORMAT), "unknown")
    scale, zero_point = _quantization(numeric, scope)
    return HefTensor(
        name=layer.text(_LAYER),
        shape=(features,) if order == "NC" else (height, width, features),
        order=order,
        type=_TYPES.get(base.number(_BYTES), "unknown"),
        scale=scale,
        zero_point=zero_point,
        low=numeric.float32(_LOW),
        high=numeric.float32(_HIGH),
    )


def _quantization(numeric: Message, scope: _Scope) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Return the scales and zero points of a tensor, or None for both if no scale is stated.

    A list that is empty has the same number for each feature, which is stated elsewhere (HefUtils::fill_layer_info).
    """
    scale = tuple(numeric.floats64(_SCALES)) if scope.per_feature else ()
    zero_point = tuple(numeric.floats64(_ZEROS)) if scope.per_feature else ()
    scale, zero_point = scale or (numeric.float32(_SCALE),), zero_point or (numeric.float32(_ZERO),)
    return (scale, zero_point) if any(scale) else (None, None)


def _planar(planes: Message) -> HefTensor:
    """Read an image that is transferred in planes. It is not quantized as a whole."""
    first = next(planes.messages(_EACH_PLANE), Message(b"")).message(1).message(_BASE)
    return HefTensor(
        name=planes.text(_LAYER),
        shape=tuple(planes.number(each) for each in _PLANES_SHAPE),
        order=dict(enumerate(_PLANES_ORDERS)).get(planes.number(_PLANES_FORMAT), "unknown"),
        type=_TYPES.get(first.number(_BYTES), "unknown"),
        low=0.0,
        high=0.0,
    )


def _host_operations(operations: Iterable[Message]) -> Iterator[HostOperation]:
    for each in operations:
        if each.has(_NMS_OP):
            yield "nms"
        if each.has(_LOGITS_OP):
            yield "softmax" if each.message(_LOGITS_OP).number(1) else "argmax"


def _few(found: Iterator[_Each], scope: _Scope) -> Iterator[_Each]:
    """Yield items as long as a file may have more. Raises ValueError for one too many."""
    for each in found:
        if next(scope.room, None) is None:
            raise ValueError(f"more than {_ITEMS:,} groups, operations, contexts, inputs and outputs")
        yield each
