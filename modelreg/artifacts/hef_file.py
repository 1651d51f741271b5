"""Hailo Executable Format, read without Hailo's software: what a compiled network (HEF) says of itself.

The layout is that of hef_internal.hpp, hef.cpp and hef.proto (github.com/hailo-ai/hailort, MIT): a header in network
byte order, a description in Protocol Buffers, then configuration that only the chip understands. Nothing is believed
before the lengths add up to the file and the checksum is right.
"""

import hashlib
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from pydantic import ValidationError

from modelreg import files
from modelreg.artifacts.protobuf_wire import Message
from modelreg.errors import InputError, Problem
from modelreg.records.hef import Checksum, HefArch, HefGroup, HefInfo, HefTensor, HostOperation, Order

MAGIC = b"\x01HEF"
READ_LIMIT = 512 * 2**20  # bytes; what is larger is not opened

_FIELDS = 100_000  # looked at in one file; each takes two or three microseconds
_ITEMS = 1024  # groups, contexts, inputs and outputs
_MUXES = 4  # one inside the other
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
_CONNECTION = 3  # of ProtoHEFContextSwitchInformation; 0 is the boundary of the chip
_LAYER, _BASE, _NUMERIC, _PREDECESSORS = 1, 2, 3, 5  # of ProtoHEFEdgeLayerInfo and Mux
_HEIGHT, _WIDTH, _FEATURES, _FORMAT, _BYTES = 1, 3, 5, 7, 12  # of ProtoHEFEdgeLayerBase
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
_TYPES: dict[int, Literal["uint8", "uint16"]] = {1: "uint8", 2: "uint16"}

_Each = TypeVar("_Each")


class HefFile(NamedTuple):
    """A HEF: its bytes, and what they say."""

    data: bytes
    info: HefInfo


class _Header(NamedTuple):
    """What the header promises."""

    version: int
    size: int  # bytes of the header itself
    description: int  # bytes
    checksum: Checksum
    covered: slice  # of the file
    expected: str  # hexadecimal


def read_hef(path: Path, limit: int = READ_LIMIT) -> HefFile:
    """Read a HEF of at most `limit` bytes. Raises InputError, for what is none after a look at its first bytes."""
    with files.open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        with _refusing(str(path)):
            _header(file.read(_LONGEST), size)
            if size > limit:
                raise ValueError(f"has {size} bytes, more than the {limit} that are read")
        file.seek(0)
        data = file.read(size)
    return HefFile(data, parse_hef(data, str(path)))


def parse_hef(data: bytes, where: str) -> HefInfo:
    """Return what a HEF says of itself. Raises InputError where it is none, is damaged, or says what cannot be."""
    with _refusing(where):
        header = _header(data[:_LONGEST], len(data))
        _verify(header, data)
        steps = iter(range(_FIELDS))
        description = Message(memoryview(data)[header.size : header.size + header.description], steps)
        about = description.message(_HEADER)
        arch = about.number(_ARCH)
        per_feature = any(each.number(1) == _SCALE_PER_FEATURE for each in description.messages(_EXTENSIONS))
        return HefInfo(
            header_version=header.version,
            checksum=header.checksum,
            checksum_of="description" if header.covered.stop else "everything",
            hw_arch=_ARCHS.get(arch, "unknown"),
            hw_arch_code=arch,
            compiler=about.text(_SDK) or None,
            created=_timestamp(about.number(_TIMESTAMP)),
            network_groups=tuple(_group(each, per_feature=per_feature) for each in _few(description.messages(_GROUPS))),
            size=len(data),
            sha256=files.sha256_bytes(data),
        )


@contextmanager
def _refusing(where: str) -> Iterator[None]:
    """Turn what a damaged file leads to into InputError."""
    try:
        yield
    except ValidationError as error:
        found = [
            Problem(where, "todo.hef-file", f"{'.'.join(map(str, each['loc']))}: {each['msg']}")
            for each in error.errors()
        ]
        raise InputError("not a HEF that can be read", found) from error
    except ValueError as error:
        raise InputError("not a HEF that can be read", [Problem(where, "todo.hef-file", str(error))]) from error


def _header(head: bytes, size: int) -> _Header:
    """Read the header of a file of `size` bytes, which must be what it says. Raises ValueError."""
    if not head.startswith(MAGIC):
        raise ValueError(_what_else(head))
    if len(head) < _COMMON.size:
        raise ValueError("is cut off in its header")
    _, version, description = _COMMON.unpack_from(head)
    if version not in _REST:
        raise ValueError(f"has a header of version {version}; 0 to 3 are known")
    checksum, form = _REST[version]
    end = _COMMON.size + form.size
    if len(head) < end:
        raise ValueError("is cut off in its header")
    expected, others, whole = _sums(version, form.unpack_from(head, _COMMON.size))
    if end + description + others != size:
        what = f"has {size} bytes, but its header speaks of {end + description + others}"
        raise ValueError(f"{what}: it is cut off, or something was added")
    return _Header(version, end, description, checksum, slice(end, None if whole else end + description), expected)


def _sums(version: int, values: tuple[Any, ...]) -> tuple[str, int, bool]:
    """Return the checksum, the bytes behind the description, and whether the checksum covers them too."""
    if version == 0:
        return values[1].hex(), 0, True
    if version == 3:
        everything, configuration, _, more, description, _ = values
        return f"{description or everything:016x}", configuration + more, not description
    return f"{values[0]:0{16 if version == 2 else 8}x}", values[1], True


def _what_else(head: bytes) -> str:
    """Say what lies under the name of a HEF, as far as its first bytes tell."""
    if not head:
        return "is empty"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file it stands for; fetch it with `git lfs pull`"
    if head.lstrip().startswith((b"{", b"[")):
        return "is JSON, not a compiled network"
    if head.isascii() and all(byte >= 32 or byte in b"\t\n\r\f" for byte in head):
        return "is text, not a compiled network"
    return "does not begin as a HEF does (bytes 01 48 45 46)"


def _verify(header: _Header, data: bytes) -> None:
    """Raise ValueError where the bytes do not have the checksum that the header states."""
    import xxhash  # 10 ms, and no HEF in most versions

    covered = memoryview(data)[header.covered]
    if header.checksum == "md5":
        found = hashlib.md5(covered, usedforsecurity=False).hexdigest()
    else:
        found = f"{zlib.crc32(covered):08x}" if header.checksum == "crc32" else xxhash.xxh3_64_hexdigest(covered)
    if found != header.expected:
        raise ValueError(f"is damaged: its {header.checksum} is {found}, but its header says {header.expected}")


def _timestamp(milliseconds: int) -> str | None:
    if milliseconds >= _YEAR_10000:
        raise ValueError(f"was made {milliseconds} ms after 1970, which no calendar has")
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if milliseconds else None


def _group(group: Message, *, per_feature: bool) -> HefGroup:
    """Read a network group; where it is a graph of operations, the chip computes one of them and the host the rest."""
    operations = _few(group.messages(_OPS))
    cores = [_laid_out(core) for op in operations for core in op.messages(_CORE_OP)] or [_laid_out(group)]
    about = [each.message(_METADATA) for each in (group, *cores)]
    contexts = _few(context for core in cores for context in core.messages(_CONTEXTS))
    found = [(side, _tensor(layer, per_feature=per_feature)) for side, layer in _few(_boundary(contexts))]
    return HefGroup(
        name=next(filter(None, (group.text(_NAME), *(each.text(1) for each in about))), ""),
        contexts=len(contexts),
        inputs=tuple(each for side, each in found if side == 0),
        outputs=tuple(each for side, each in found if side == 1),
        host_operations=tuple(_host_operations(operations)),
        estimated_bottleneck_fps=next((fps for each in about for fps in each.floats64(_FPS)), None),
    )


def _laid_out(core: Message) -> Message:
    """Return what has the contexts: a network for the 8L has them once for each part of a chip that it may lie on."""
    partial = (inner for each in core.messages(_PARTIAL) for inner in each.messages(1))
    return core if any(core.messages(_CONTEXTS)) else next(partial, core)


def _boundary(contexts: Iterable[Message]) -> Iterator[tuple[int, Message]]:
    """Yield the layers by which data enter (0) or leave (1) the chip; others lead from one context to the next."""
    edges = (edge for context in contexts for edge in context.message(_CONTEXT_METADATA).messages(_EDGES))
    for edge in edges:
        if edge.message(_SWITCH).number(_CONNECTION) == 0:
            kind, side = edge.number(_EDGE_TYPE), edge.number(_DIRECTION)
            if kind > 1:
                raise ValueError("has an input in planes (NV12, I420), which cannot be read here")
            layers = _unmuxed(edge.message(_MUX)) if kind else iter([edge.message(_INFO)])
            yield from ((side, layer) for layer in layers)


def _unmuxed(mux: Message, depth: int = 0) -> Iterator[Message]:
    """Yield the layers that travel as one stream."""
    if depth == _MUXES:
        raise ValueError(f"has more than {_MUXES} multiplexers one inside the other")
    for each in mux.messages(_PREDECESSORS):
        yield from each.messages(1)
        for inner in each.messages(2):
            yield from _unmuxed(inner, depth + 1)


def _tensor(layer: Message, *, per_feature: bool) -> HefTensor:
    base, numeric = layer.message(_BASE), layer.message(_NUMERIC)
    height, width, features = (base.number(each) for each in (_HEIGHT, _WIDTH, _FEATURES))
    order = dict(enumerate(_ORDERS)).get(base.number(_FORMAT), "unknown")
    scale, zero_point = [numeric.float32(_SCALE)], [numeric.float32(_ZERO)]
    if per_feature:
        scale, zero_point = list(numeric.floats64(_SCALES)), list(numeric.floats64(_ZEROS))
        if {len(scale), len(zero_point)} != {features}:
            raise ValueError(f"has {len(scale)} scales and {len(zero_point)} zero points for {features} features")
    return HefTensor(
        name=layer.text(_LAYER),
        shape=(features,) if order == "NC" else (height, width, features),
        order=order,
        type=_TYPES.get(base.number(_BYTES), "unknown"),
        scale=tuple(scale),
        zero_point=tuple(zero_point),
        low=numeric.float32(_LOW),
        high=numeric.float32(_HIGH),
    )


def _host_operations(operations: Iterable[Message]) -> Iterator[HostOperation]:
    for each in operations:
        if any(each.messages(_NMS_OP)):
            yield "nms"
        for logits in each.messages(_LOGITS_OP):
            yield "softmax" if logits.number(1) else "argmax"


def _few(found: Iterator[_Each]) -> list[_Each]:
    """Return what there is of a kind that no real file has many of. Raises ValueError."""
    listed = list(islice(found, _ITEMS + 1))
    if len(listed) > _ITEMS:
        raise ValueError(f"has more than {_ITEMS} groups, operations, contexts, inputs or outputs")
    return listed
