"""Build tiny HEFs in the documented layout with Google's protobuf, independently of modelreg's reader.

Field numbers and types are those of hef.proto, for the subset in the compiler's output of one small network. The
configuration, which only the chip reads, is noise.
"""

import hashlib
import struct
import zlib
from typing import Any

import xxhash
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

TYPES = {"u32": 13, "u64": 4, "f32": 2, "f64": 1, "text": 9}  # the numbers of FieldDescriptorProto
# message -> field -> number, type; * : repeated
LAYOUT = {
    "Hef": {"header": (1, "Header"), "groups": (2, "*Group"), "extensions": (5, "*Extension")},
    "Header": {"hw_arch": (1, "u32"), "timestamp": (2, "u64"), "sdk_version": (3, "text"), "version": (4, "u64")},
    "Extension": {"type_index": (1, "u32"), "name": (2, "text")},
    "Group": {
        "metadata": (1, "Metadata"),
        "contexts": (3, "*Context"),
        "partial": (7, "*PartialGroup"),
        "ops": (8, "*Op"),
        "name": (10, "text"),
    },
    "PartialGroup": {"network_group": (1, "Group")},
    "Metadata": {"name": (1, "text"), "fps": (4, "f64"), "latency": (6, "f64")},
    "Op": {"name": (1, "text"), "core": (4, "Core"), "nms": (5, "Nms"), "logits": (6, "Logits")},
    "Core": {"metadata": (1, "Metadata"), "contexts": (3, "*Context"), "partial": (7, "*PartialCore")},
    "PartialCore": {"core": (1, "Core")},
    "Nms": {"classes": (4, "u32")},
    "Logits": {"kind": (1, "u32")},
    "Context": {"index": (1, "u32"), "operations": (2, "*text"), "metadata": (3, "ContextMetadata")},
    "ContextMetadata": {"name": (1, "text"), "edges": (2, "*Edge")},
    "Edge": {
        "direction": (1, "u32"),
        "kind": (2, "u32"),
        "info": (3, "Info"),
        "mux": (4, "Mux"),
        "switch": (5, "Switch"),
        "planes": (8, "Planes"),
    },
    "Switch": {"context": (1, "u32"), "connection": (3, "u32")},
    "Info": {"name": (1, "text"), "base": (2, "Base"), "numeric": (3, "Numeric"), "original_names": (5, "*text")},
    "Mux": {"name": (1, "text"), "base": (2, "Base"), "predecessors": (5, "*Predecessor")},
    "Predecessor": {"info": (1, "Info"), "mux": (2, "Mux")},
    "Planes": {
        "name": (1, "text"),
        "format": (2, "u32"),
        "planes": (3, "*Predecessor"),
        "height": (4, "u32"),
        "width": (5, "u32"),
        "features": (6, "u32"),
    },
    "Base": {
        "height": (1, "u32"),
        "padded_height": (2, "u32"),
        "width": (3, "u32"),
        "padded_width": (4, "u32"),
        "features": (5, "u32"),
        "padded_features": (6, "u32"),
        "format": (7, "u32"),
        "data_bytes": (12, "u32"),
    },
    "Numeric": {
        "zero_point": (1, "f32"),
        "scale": (2, "f32"),
        "low": (3, "f32"),
        "high": (4, "f32"),
        "zero_points": (5, "*f64"),
        "scales": (6, "*f64"),
    },
}
MADE_MS = 1_758_500_000_123  # 2025-09-22
FORMATS = {"NHWC": 0, "NHCW": 1, "NC": 2, "FCR": 3, "NMS": 6}
DATA_BYTES = {"uint8": 1, "uint16": 2}


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="hef_of_tests.proto", package="hef_of_tests", syntax="proto3")
    for name, fields in LAYOUT.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            plain = kind.removeprefix("*")
            made = message.field.add(name=field, number=number, label=3 if kind != plain else 1)
            made.type = TYPES.get(plain, 11)
            if plain not in TYPES:
                made.type_name = f".hef_of_tests.{plain}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"hef_of_tests.{name}")) for name in LAYOUT
    }


CLASSES = _classes()


def tensor(name: str, shape: tuple[int, ...], low: float, high: float, **settings: Any) -> dict[str, Any]:
    """A layer at the chip's boundary, quantized over [low, high]."""
    height, width, features = shape if len(shape) == 3 else (1, 1, *shape)
    kind, order = settings.get("type", "uint8"), settings.get("order", "NC" if len(shape) == 1 else "NHWC")
    scale = (high - low) / (2 ** (8 * DATA_BYTES.get(kind, 1)) - 1)
    zero_point = -low / scale if scale else 0.0
    base = {
        "height": height,
        "padded_height": height,
        "width": width,
        "padded_width": width + -width % 8,
        "features": features,
        "padded_features": features + -features % 8,
        "format": FORMATS.get(order, order),
        "data_bytes": DATA_BYTES.get(kind, kind),
    }
    per_feature = {"zero_points": [zero_point] * min(features, 64), "scales": [scale] * min(features, 64)}
    numeric = {"zero_point": zero_point, "scale": scale, "low": low, "high": high, **per_feature}
    numeric |= settings.get("numeric", {})
    return {"name": name, "base": base, "numeric": numeric, "original_names": [f"/{name}"]}


def edge(layer: dict[str, Any], direction: int, connection: int = 0) -> dict[str, Any]:
    """A layer of a context: direction 0 is input, 1 is output; only connection 0 leaves the chip."""
    return {"direction": direction, "info": layer, "switch": {"connection": connection}}


def context(*edges: dict[str, Any]) -> dict[str, Any]:
    """A context: the part of the network that is on the chip at one time."""
    return {"operations": ["noise"] * 3, "metadata": {"name": "context_0", "edges": list(edges)}}


def network(
    name: str = "tiny",
    shape: tuple[int, int, int] = (2, 100, 9),
    features: int = 5,
    input_range: tuple[float, float] = (-9.0, 9.0),
    **settings: Any,
) -> dict[str, Any]:
    """A network group of one context, as the compiler writes it."""
    inner = edge(tensor(f"{name}/conv1", shape, -1, 1), 1, connection=1)
    contexts = [
        context(
            edge(tensor(f"{name}/input_layer1", shape, *input_range, **settings.get("input", {})), 0),
            inner,
            edge(tensor(f"{name}/fc1", (features,), -3, 3, **settings.get("output", {})), 1),
        )
    ]
    return {"name": name, "metadata": {"name": name, "fps": 90518.25, "latency": 0.147}, "contexts": contexts}


def description(*groups: dict[str, Any], arch: int = 1, extensions: tuple[int, ...] = (26,), **header: Any) -> bytes:
    """The description, as protobuf."""
    about = {"hw_arch": arch, "timestamp": MADE_MS, "sdk_version": "3.32.0", "version": 2, **header}
    listed = [{"type_index": number, "name": f"extension {number}"} for number in extensions]
    return encode("Hef", {"header": about, "groups": list(groups or [network()]), "extensions": listed})


def encode(kind: str, document: dict[str, Any]) -> bytes:
    """A message, encoded with Google's protobuf."""
    return CLASSES[kind](**document).SerializeToString(deterministic=True)


def sealed(proto: bytes, version: int = 2, configuration: bytes = b"\x5a" * 333, **v3: Any) -> bytes:
    """A file with a valid header: big-endian, packed."""
    common = struct.pack(">III", 0x01484546, version, len(proto))
    body = proto + configuration
    if version == 0:  # everything is in the description
        return common + struct.pack(">I", 0) + hashlib.md5(proto, usedforsecurity=False).digest() + proto
    if version == 1:
        return common + struct.pack(">IQI", zlib.crc32(body), len(configuration), 0) + body
    if version == 2:
        return common + struct.pack(">QQQQ", xxhash.xxh3_64_intdigest(body), len(configuration), 0, 0) + body
    padding, more = v3.get("padding", 64), v3.get("more", b"external")
    body = proto + b"\0" * padding + configuration + more
    digests = (xxhash.xxh3_64_intdigest(body), xxhash.xxh3_64_intdigest(proto) if v3.get("proto_only") else 0)
    sizes = (len(configuration) + padding, padding, len(more))
    return common + struct.pack(">QQIQQQ", digests[0], *sizes, digests[1], 0) + body


def hef(*groups: dict[str, Any], version: int = 2, **header: Any) -> bytes:
    """A complete file, with one default network if none is passed."""
    return sealed(description(*groups, **header), version)
