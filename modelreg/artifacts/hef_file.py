"""Read the metadata of a Hailo Executable Format file (HEF), without Hailo's software.

The layout is defined by hef_internal.hpp, hef.cpp and hef.proto (github.com/hailo-ai/hailort, MIT): a header in network
byte order, a description in Protocol Buffers, then configuration for the chip. The lengths and the checksum are
verified before the description is parsed.
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
LFS = b"version https://git-lfs"  # first bytes of a Git LFS pointer
READ_LIMIT = 512 * 2**20  # bytes
CANNOT_READ = "cannot read the HEF"

_FIELDS = 100_000  # read in one file; each takes 2 to 3 microseconds
_ITEMS = 1024  # groups, contexts, inputs and outputs
_MUXES = 4  # nested
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
    """A HEF: its bytes and its metadata."""

    data: bytes
    info: HefInfo


class _Header(NamedTuple):
    """The header of a HEF."""

    version: int
    size: int  # bytes of the header itself
    description: int  # bytes
    checksum: Checksum
    covered: slice  # of the file
    expected: str  # hexadecimal


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
            what = f"{size:,} bytes, more than the limit of {limit:,}"
            raise InputError(CANNOT_READ, [Problem(where, "hef.too-large", what)])
        file.seek(0)
        data = file.read(size)
    return HefFile(data, parse_hef(data, where))


def parse_hef(data: bytes, where: str) -> HefInfo:
    """Return the metadata of a HEF. Raises InputError for another type of file, a damaged file and invalid values."""
    _refuse_other_types(data[:_LONGEST], where)
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
    return _Header(version, end, description, checksum, slice(end, None if whole else end + description), expected)


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


def _verify(header: _Header, data: bytes) -> None:
    """Raise ValueError if the bytes do not have the checksum of the header."""
    import xxhash  # takes 10 ms, and most versions do not have a HEF

    covered = memoryview(data)[header.covered]
    if header.checksum == "md5":
        found = hashlib.md5(covered, usedforsecurity=False).hexdigest()
    else:
        found = f"{zlib.crc32(covered):08x}" if header.checksum == "crc32" else xxhash.xxh3_64_hexdigest(covered)
    if found != header.expected:
        raise ValueError(f"{header.checksum} mismatch: header says {header.expected}, file has {found}")


def _timestamp(milliseconds: int) -> str | None:
    if milliseconds >= _YEAR_10000:
        raise ValueError(f"invalid creation time: {milliseconds} ms after 1970")
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if milliseconds else None


def _group(group: Message, *, per_feature: bool) -> HefGroup:
    """Read a network group. In a graph of operations, the chip computes one of them and the host the others."""
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
    """Return the message that has the contexts. A network for the 8L repeats them for each cluster layout."""
    partial = (inner for each in core.messages(_PARTIAL) for inner in each.messages(1))
    return core if any(core.messages(_CONTEXTS)) else next(partial, core)


def _boundary(contexts: Iterable[Message]) -> Iterator[tuple[int, Message]]:
    """Yield the input (0) and output (1) layers of the chip. Layers between two contexts are skipped."""
    edges = (edge for context in contexts for edge in context.message(_CONTEXT_METADATA).messages(_EDGES))
    for edge in edges:
        if edge.message(_SWITCH).number(_CONNECTION) == 0:
            kind, side = edge.number(_EDGE_TYPE), edge.number(_DIRECTION)
            if kind > 1:
                raise ValueError("unsupported planar input (NV12, I420)")
            layers = _unmuxed(edge.message(_MUX)) if kind else iter([edge.message(_INFO)])
            yield from ((side, layer) for layer in layers)


def _unmuxed(mux: Message, depth: int = 0) -> Iterator[Message]:
    """Yield the layers of a multiplexed stream."""
    if depth == _MUXES:
        raise ValueError(f"more than {_MUXES} nested multiplexers")
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
            raise ValueError(f"{len(scale)} scales and {len(zero_point)} zero points for {features} features")
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
    """Return the items as a list of limited length. Raises ValueError if there are more."""
    listed = list(islice(found, _ITEMS + 1))
    if len(listed) > _ITEMS:
        raise ValueError(f"more than {_ITEMS} groups, operations, contexts, inputs or outputs")
    return listed
