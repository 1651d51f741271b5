"""HEFs are read as written. Damaged files and other types of files are refused at a limited cost."""

import itertools
import json
import struct
import tracemalloc

import hef_builder
import pytest
from hef_builder import context, edge, network, sealed, tensor
from hypothesis import given, settings
from hypothesis import strategies as st

from modelreg.artifacts import hef_file, protobuf_wire
from modelreg.cli.main import main
from modelreg.errors import InputError, ModelregError
from modelreg.files import to_json
from modelreg.records.base import parse
from modelreg.records.hef import HefInfo

VERSIONS = range(4)
CHECKSUMS = {0: "md5", 1: "crc32", 2: "xxh3", 3: "xxh3"}
PROTO = hef_builder.description()
WHOLE = {version: sealed(PROTO, version) for version in VERSIONS}
RESERVED = {0: range(12, 16), 1: range(24, 28), 2: range(28, 44), 3: (*range(28, 32), *range(48, 56))}  # or padding
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 802878\n"


def read(data: bytes) -> HefInfo:
    """Read a file of these bytes."""
    return hef_file.parse_hef(data, "x.hef")


def refusal(data: bytes, rule: str = "hef.invalid") -> str:
    """Return why a file is refused, for one rule."""
    with pytest.raises(InputError) as caught:
        read(data)
    assert {(each.where, each.rule) for each in caught.value.problems} == {("x.hef", rule)}
    return "\n".join(each.message for each in caught.value.problems)


def is_refused(data: bytes) -> bool:
    """Return whether a file is refused, by any rule."""
    return outcome(data) == "refused"


def outcome(data: bytes) -> str:
    """Return whether a file is read, into a valid record, or refused; there is no other exception."""
    try:
        info = read(data)
    except ModelregError:
        return "refused"
    assert parse(info.to_bytes(), HefInfo, "x") == info
    return "read"


def group_of(*groups, **header):
    """Return the first network group of a file."""
    return read(hef_builder.hef(*groups, **header)).network_groups[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_header_is_read_and_its_checksum_verified(version) -> None:
    """MD5, CRC32 and XXH3."""
    info = read(WHOLE[version])

    assert (info.header_version, info.checksum, info.size) == (version, CHECKSUMS[version], len(WHOLE[version]))


def test_the_file_is_described() -> None:
    """Chip, compiler, date, group, contexts and the estimate."""
    info = read(WHOLE[2])
    (group,) = info.network_groups
    about = (info.hw_arch, info.hw_arch_code, info.compiler, info.created)

    assert (*about, group.name, group.contexts, group.estimated_bottleneck_fps) == (
        *("hailo8", 1, "3.32.0", "2025-09-22T00:13:20Z"),
        *("tiny", 1, 90518.25),
    )


def test_inputs_and_outputs_are_described() -> None:
    """Only those of the chip, not those between two contexts."""
    group = read(WHOLE[2]).network_groups[0]
    found = [(each.name, each.shape, each.order, each.type, each.low, each.high) for each in group.inputs]

    assert (found, [(each.name, each.shape, each.order) for each in group.outputs]) == (
        [("tiny/input_layer1", (2, 100, 9), "NHWC", "uint8", -9.0, 9.0)],
        [("tiny/fc1", (5,), "NC")],
    )


@given(
    name=st.text(max_size=400),
    shape=st.tuples(*[st.integers(0, 2**32 - 8)] * 3),  # widths are padded to a multiple of 8
    order=st.sampled_from(["NHWC", "NHCW", "FCR", "NMS"]),
    numbers=st.tuples(*[st.floats(width=32, allow_nan=False, allow_infinity=False)] * 4),
    arch=st.sampled_from([(0, "hailo8"), (2, "hailo8"), (3, "hailo8l"), (103, "hailo10h or 15"), (77, "unknown")]),
    version=st.sampled_from(VERSIONS),
)
def test_a_file_written_by_protobuf_is_read(name, shape, order, numbers, arch, version) -> None:
    """Names, shapes, orders, exact numbers, and the family of the chip."""
    numeric = dict(zip(("zero_point", "scale", "low", "high"), numbers, strict=True))
    layer = tensor(name, shape, 0, 1, order=order, numeric=numeric)
    info = read(hef_builder.hef({"name": name, "contexts": [context(edge(layer, 0))]}, arch=arch[0], version=version))
    (found,) = info.network_groups[0].inputs

    zero_point, scale, low, high = numbers
    stated = ((scale,), (zero_point,)) if scale else None

    assert (found.name, found.shape, found.order) == (name, shape, order)
    assert (found.quantization, found.low, found.high) == (stated, low, high)
    assert (info.hw_arch_code, info.hw_arch) == arch


def test_default_values_are_unknown_values() -> None:
    """A default of protobuf means that the date, the compiler or the estimate is not stated."""
    info = read(hef_builder.hef({"name": "a"}, timestamp=0, sdk_version="", arch=0))
    (group,) = info.network_groups

    assert (info.created, info.compiler, info.hw_arch, group.estimated_bottleneck_fps) == (None, None, "hailo8", None)


def test_scales_of_features_are_used_with_extension_25() -> None:
    """Without it, HailoRT uses one scale and ignores the others."""
    many = network(output={"numeric": {"scales": [0.1, 0.2, 0.3, 0.4, 0.5]}})
    found = [group_of(many, extensions=each).outputs[0].scale for each in ((26,), (25, 26))]

    assert (len(found[0]), found[1]) == (1, (0.1, 0.2, 0.3, 0.4, 0.5))


def test_empty_lists_of_scales_mean_one_scale_for_all_features() -> None:
    """Also with extension 25, as HailoRT reads them."""
    one = {"scales": [], "zero_points": [], "scale": 0.5, "zero_point": 7.0}
    found = group_of(network(output={"numeric": one}), extensions=(25, 26)).outputs[0]

    assert found.quantization == ((0.5,), (7.0,))


@pytest.mark.parametrize("extensions", [(26,), (25, 26)])
def test_a_tensor_may_state_no_quantization(extensions) -> None:
    """A scale of 0 is a default of protobuf."""
    nothing = {"scales": [], "zero_points": [], "scale": 0.0, "zero_point": 0.0}
    group = group_of(network(output={"numeric": nothing}), extensions=extensions)

    assert (group.outputs[0].quantization, {"scale", "zero_point"} & group.outputs[0].to_document().keys()) == (
        *(None, set()),
    )
    assert group.inputs[0].quantization


def test_lists_of_scales_are_recorded_as_they_are() -> None:
    """Of any length: that of an NMS output differs from its features. `attach` compares them with the shape."""
    few = network(output={"numeric": {"scales": [0.1, 0.2], "zero_points": [1.0, 2.0]}})

    assert group_of(few, extensions=(25,)).outputs[0].quantization == ((0.1, 0.2), (1.0, 2.0))


def test_a_graph_of_operations_is_read() -> None:
    """The core is in one of them; the others run on the host."""
    inner = {key: value for key, value in network().items() if key != "name"}
    ops = [{"core": inner}, {"nms": {"classes": 3}}, {"logits": {}}, {"logits": {"kind": 1}}]
    group = group_of({"name": "graph", "ops": ops})

    assert (group.name, group.contexts, group.inputs, group.host_operations) == (
        *("graph", 1, group_of(network()).inputs),
        ("nms", "argmax", "softmax"),
    )


@pytest.mark.parametrize(
    "outer",
    [
        {"partial": [{"network_group": network()}, {"network_group": network()}]},
        {"ops": [{"core": {"partial": [{"core": {k: v for k, v in network().items() if k != "name"}}]}}]},
    ],
    ids=["group", "operation"],
)
def test_the_layouts_of_an_8l_are_one_network(outer) -> None:
    """Each layout has all contexts, so that the first is read."""
    group = group_of(outer, arch=3)

    assert group == group_of(network())


def test_multiplexed_streams_are_separated() -> None:
    """A multiplexer inside another one."""
    a, b, c = (tensor(f"tiny/{name}", (3,), 0, 1) for name in "abc")
    mux = {"name": "mux", "predecessors": [{"info": a}, {"mux": {"predecessors": [{"info": b}, {"info": c}]}}]}
    group = group_of({"name": "m", "contexts": [context({"direction": 1, "kind": 1, "mux": mux})]})

    assert [each.name for each in group.outputs] == ["tiny/a", "tiny/b", "tiny/c"]


def test_a_planar_image_is_an_input() -> None:
    """NV12, NV21 and I420, with the size of the whole image."""
    planes = [{"info": tensor(f"m/plane{n}", (480, 640, n + 1), 0, 255)} for n in range(2)]
    image = {"name": "m/input", "format": 1, "planes": planes, "height": 480, "width": 640, "features": 3}
    (found,) = group_of({"name": "m", "contexts": [context({"kind": 2, "planes": image})]}).inputs

    assert (found.name, found.shape, found.order, found.type, found.quantization) == (
        *("m/input", (480, 640, 3), "NV21", "uint8", None),
    )


def test_a_message_that_occurs_twice_is_merged() -> None:
    """As the encoding requires: later values replace earlier ones."""
    more = hef_builder.encode("Hef", {"header": {"sdk_version": "5.4.0"}})
    info = read(sealed(PROTO + more))

    assert (info.compiler, info.created) == ("5.4.0", "2025-09-22T00:13:20Z")


@pytest.mark.parametrize("milliseconds", [0, 2**60])
def test_a_date_that_no_calendar_has_is_left_out(milliseconds) -> None:
    """It is not needed."""
    assert read(hef_builder.hef(timestamp=milliseconds)).created is None


def test_an_estimate_that_is_not_a_number_is_left_out() -> None:
    """It is not needed."""
    assert group_of({"name": "m", "metadata": {"fps": float("inf")}}).estimated_bottleneck_fps is None


def test_text_of_any_length_and_with_any_characters_is_read() -> None:
    """It is foreign, and escaped where it is printed."""
    name, compiler = "a\x1b[31m " * 500, "5.3.0 " + "build " * 500
    info = read(hef_builder.hef(network(name), {"name": ""}, sdk_version=compiler))

    assert (info.compiler, [group.name for group in info.network_groups]) == (compiler, [name, ""])
    assert parse(info.to_bytes(), HefInfo, "x") == info


@pytest.mark.parametrize("contexts", [1, 2000])
def test_a_network_may_have_thousands_of_contexts(contexts) -> None:
    """Their number is bounded by the format."""
    assert group_of({"name": "m", "contexts": [context()] * contexts}).contexts == contexts


# Compiler 5: whole files of other networks, which are not ours to store. Their miniatures have what was refused.

BANNER = "5.3.0+" + "8f1c2d3e" * 12 + " (build 20260114, release)"
PER_CHANNEL = {"scales": [0.01, 0.02, 0.03, 0.04, 0.05], "zero_points": [3.0, 128.0, 7.0, 0.0, 255.0]}
NORMALIZED = {"scales": [], "zero_points": [], "scale": 1.0, "zero_point": 0.0, "low": 0.0, "high": 255.0}


def compiled_by_5(**changes) -> bytes:
    """A HEF for a Hailo-10H: an image that is normalized on the chip, beside outputs quantized per channel."""
    camera = network("resnet", (224, 224, 3), 5, input={"numeric": NORMALIZED}, output={"numeric": PER_CHANNEL})
    header = {"arch": 103, "extensions": (25, 26, 30), "sdk_version": "5.4.0", **changes}
    return sealed(hef_builder.description(camera, **header), 3, proto_only=True)


def test_a_compiler_may_name_itself_at_length() -> None:
    """More than 100 characters."""
    assert len(BANNER) > 100
    assert read(compiled_by_5(sdk_version=BANNER)).compiler == BANNER


def test_an_input_may_have_no_lists_of_scales_beside_outputs_that_have() -> None:
    """Three features with 0 scales and 0 zero points."""
    (group,) = read(compiled_by_5()).network_groups

    assert group.inputs[0].quantization == ((1.0,), (0.0,))
    assert group.outputs[0].quantization == (tuple(PER_CHANNEL["scales"]), tuple(PER_CHANNEL["zero_points"]))


def test_the_checksum_may_cover_the_description_only() -> None:
    """In version 3, the chip may check the configuration."""
    info = read(sealed(PROTO, 3, proto_only=True))

    assert (info.checksum_of, read(WHOLE[3]).checksum_of) == ("description", "everything")


def test_the_record_is_read_as_written() -> None:
    """It is valid by its schema."""
    info = read(WHOLE[2])

    assert parse(info.to_bytes(), HefInfo, "x") == info


# Other types of files and damaged files


HUGE = struct.pack(">IIQQQQ", 2, 2**32 - 1, 0, 2**64 - 1, 0, 0)
OTHER_TYPES = {
    "empty": (b"", "empty"),
    "pointer": (LFS, "Git LFS pointer"),
    "text": (b"placeholder for the compiled model\n", "text file"),
    "mock": (b' {"mock": true, "arch": "hailo8"}', "JSON file"),
    "picture": (b"\x89PNG\r\n\x1a\n", "01 48 45 46"),
}
INVALID = {
    "magic alone": (b"\x01HEF", "header"),
    "half a header": (WHOLE[2][:43], "header"),
    "version 4": (b"\x01HEF" + struct.pack(">II", 4, 0), "version 4"),
    "truncated": (WHOLE[2][:-1], f"{len(WHOLE[2]):,} bytes, file has {len(WHOLE[2]) - 1:,}"),
    "absurd lengths": (b"\x01HEF" + HUGE, "18,446,744,078,004,518,954"),
    "no group": (sealed(b""), "network_groups: "),
    "half a field": (sealed(b"\x0a\x7f"), "127 bytes at byte 2"),
    "not UTF-8": (sealed(b"\x12\x03\x52\x01\xff"), "0xff"),
    "NaN": (hef_builder.hef(network(input={"numeric": {"low": float("nan")}})), "low: "),
    "kind of layer": (hef_builder.hef({"name": "m", "contexts": [context({"direction": 0, "kind": 3})]}), "kind 3"),
    "direction": (hef_builder.hef({"name": "m", "contexts": [context({"direction": 2})]}), "direction 2"),
    "half a number": (sealed(b"\x12\x09\x0a\x07\x22\x05halfs"), "5 bytes of packed"),
}


@pytest.mark.parametrize("name", OTHER_TYPES)
def test_another_type_of_file_is_refused(name) -> None:
    """The message names the type."""
    data, named = OTHER_TYPES[name]

    assert named in refusal(data, "hef.not-a-hef")


def test_the_next_step_for_a_pointer_fetches_the_file() -> None:
    """With git lfs."""
    with pytest.raises(InputError) as caught:
        read(LFS)

    assert "git lfs pull" in caught.value.problems[0].next


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_hef_is_refused(name) -> None:
    """The message has the expected and the found values."""
    data, named = INVALID[name]

    assert named in refusal(data)


# Damage


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
def test_a_flipped_bit_is_found(version, data) -> None:
    """By the checksum or the lengths. Reserved bits change only the digest of the file."""
    whole = bytearray(WHOLE[version])
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))

    assert outcome(bytes(whole)) == ("read" if place in RESERVED[version] else "refused")


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
def test_a_truncated_file_is_found(version, data) -> None:
    """At every length."""
    assert is_refused(WHOLE[version][: data.draw(st.integers(0, len(WHOLE[version]) - 1))])


@pytest.mark.parametrize("version", VERSIONS)
@given(place=st.integers(0, len(PROTO)), more=st.binary(min_size=1, max_size=40))
def test_inserted_bytes_are_found(version, place, more) -> None:
    """The lengths no longer add up."""
    assert is_refused(WHOLE[version][:place] + more + WHOLE[version][place:])


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x01HEF", *(b"\x01HEF\0\0\0" + bytes([v]) for v in range(5))]))
def test_noise_is_refused(noise, start) -> None:
    """Also after a magic number."""
    assert is_refused(start + noise)


@given(st.data())
def test_a_damaged_description_with_a_right_checksum_is_refused_or_read(data) -> None:
    """An attacker can write the checksum too: every cut, flip, splice and repetition is handled."""
    proto = bytearray(PROTO)
    for _ in range(data.draw(st.integers(1, 4))):
        first, last = sorted(data.draw(st.tuples(*[st.integers(0, len(proto))] * 2)))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert", "repeat", "move"]))
        piece = proto[first:last]
        if kind == "flip" and first < len(proto):
            proto[first] ^= data.draw(st.integers(1, 255))
        elif kind == "cut":
            del proto[first:last]
        elif kind == "insert":
            proto[first:first] = data.draw(st.binary(max_size=20))
        elif kind == "repeat":
            proto[first:first] = piece * 3
        else:
            proto[:] = piece + proto[:first] + proto[last:]

    assert outcome(sealed(bytes(proto), data.draw(st.sampled_from(VERSIONS)))) in ("read", "refused")


@given(st.binary(max_size=200), st.sampled_from(VERSIONS))
def test_a_random_description_is_refused_or_read(noise, version) -> None:
    """There is no other exception."""
    assert outcome(sealed(noise, version)) in ("read", "refused")


# Fields of the numbers that the reader looks for, with any contents: noise alone seldom gets beyond the first ones


def encoded(number: int, wire: int, content) -> bytes:
    """Return a field of a wire type."""
    return varint(number << 3 | wire) + (varint(len(content)) + content if wire == 2 else content)


def deep(content: bytes, *numbers: int) -> bytes:
    """Return a message at the end of a path of field numbers."""
    for number in reversed(numbers):
        content = encoded(number, 2, content)
    return content


def varint(value: int) -> bytes:
    """Return an encoded integer."""
    return b"".join(bytes([value >> 7 * n & 0x7F | 0x80]) for n in range(9)) + bytes([value >> 63])


def some_fields(inner):
    """Return a strategy for messages: numbers, floats, texts, packed lists and messages."""
    number = st.integers(1, 12)
    return st.lists(
        st.one_of(
            st.builds(encoded, number, st.just(0), st.one_of(st.integers(0, 8), st.integers(0, 2**64 - 1)).map(varint)),
            st.builds(encoded, number, st.just(1), st.binary(min_size=8, max_size=8)),
            st.builds(encoded, number, st.just(5), st.binary(min_size=4, max_size=4)),
            st.builds(encoded, number, st.just(2), st.one_of(inner, st.binary(max_size=17))),
        ),
        max_size=6,
    ).map(b"".join)


def inside(*numbers: int):
    """Return a strategy for a message at the end of a path of field numbers, so that it is reached."""

    return st.recursive(st.just(b""), some_fields, max_leaves=4).map(lambda content: deep(content, *numbers))


SCALES_PER_FEATURE = encoded(5, 2, encoded(1, 0, varint(25)))
PARTS = {
    "file": inside(),
    "group": inside(2),
    "metadata": inside(2, 1),
    "operation": inside(2, 8),
    "edge": inside(2, 3, 3, 2),
    "layer": inside(2, 3, 3, 2, 3),
    "numbers": inside(2, 3, 3, 2, 3, 3),
    "base": inside(2, 3, 3, 2, 3, 2),
    "mux": inside(2, 3, 3, 2, 4, 5),
    "planes": inside(2, 3, 3, 2, 8),
}


@pytest.mark.parametrize("part", PARTS)
@given(data=st.data())
@settings(max_examples=60)
def test_a_part_with_any_fields_is_refused_or_read(part, data) -> None:
    """There is no other exception, and a record is always a valid document."""
    pieces = [PROTO, SCALES_PER_FEATURE, data.draw(PARTS[part])]

    assert outcome(sealed(b"".join(pieces))) in ("read", "refused")


# Cost


def nested(depth: int) -> bytes:
    """Return a description with nested multiplexers."""
    mux = {"predecessors": [{"info": tensor("a", (1,), 0, 1)}]}
    for _ in range(depth):
        mux = {"predecessors": [{"mux": mux}]}
    return hef_builder.description({"name": "m", "contexts": [context({"direction": 1, "kind": 1, "mux": mux})]})


def peak_of(call) -> int:
    """Return the peak memory of a call in bytes."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


MANY = 2**13
MEGABYTE = 2**20


ITEMS = {
    "groups": b"\x12\x00" * MANY,
    "contexts": deep(b"\x1a\x00" * MANY, 2),
    "operations": deep(b"\x42\x00" * MANY, 2),
    "edges": deep(b"\x12\x00" * MANY, 2, 3, 3),
    "multiplexed": deep(b"\x10\x01" + deep(b"\x0a\x00" * MANY, 4, 5), 2, 3, 3, 2),
    "groups with an edge": deep(b"\x12\x00", 2, 3, 3) * (MANY // 4),
}
OTHERS = {
    "fields": deep(b"\x08\x01" * MANY, 2),
    "headers": b"\x0a\x00" * MANY + encoded(2, 2, b""),
    "extensions": b"\x2a\x00" * MANY + encoded(2, 2, b""),
    "core of an operation": deep(b"\x22\x00" * MANY, 2, 8),
    "base": deep(b"\x08\x01" * MANY, 2, 3, 3, 2, 3, 2),
    "numbers": deep(b"\x3d\0\0\0\0" * MANY, 2, 3, 3, 2, 3, 3),
    "scales": encoded(5, 2, b"\x08\x19") + deep(encoded(6, 2, b"x" * 8 * MANY), 2, 3, 3, 2, 3, 3),
    "name": deep(b"a" * MANY, 2, 10),
}


@pytest.mark.parametrize("name", ITEMS)
def test_the_items_of_a_file_are_limited(name, monkeypatch) -> None:
    """All together, before they take memory; an empty one has two bytes, and a record of it takes a thousand."""
    monkeypatch.setattr(hef_file, "_ITEMS", 100)
    data = sealed(ITEMS[name])

    assert peak_of(lambda: "more than 100 " in refusal(data)) < MEGABYTE // 2


@pytest.mark.parametrize("name", OTHERS)
def test_a_hostile_description_takes_memory_in_proportion(name) -> None:
    """One number of a list takes the most."""
    data = sealed(OTHERS[name])

    assert peak_of(lambda: read(data)) < 8 * len(data)


@pytest.mark.parametrize("name", OTHERS)
def test_a_hostile_description_takes_time_in_proportion(name, monkeypatch) -> None:
    """The fields of a message are read a few times, wherever it is."""
    count, plain = itertools.count(), protobuf_wire.fields
    monkeypatch.setattr(protobuf_wire, "fields", lambda message: (field for field in plain(message) if next(count) + 1))
    read(sealed(OTHERS[name]))

    assert next(count) < 4 * len(OTHERS[name])


def test_the_depth_of_multiplexers_is_limited() -> None:
    """To that of other readers."""
    assert (outcome(sealed(nested(40))), "more than 100 nested" in refusal(sealed(nested(100)))) == ("read", True)


@pytest.mark.parametrize(
    "start", [b"", LFS, WHOLE[2], b"\x01HEF" + struct.pack(">IIQQQQ", 2, 0, 0, 2**40 - 44, 0, 0)], ids=range(4)
)
def test_a_huge_file_is_refused_before_it_is_read(tmp_path, start) -> None:
    """A terabyte of zeros after several beginnings."""
    path = tmp_path / "x.hef"
    path.write_bytes(start)
    with path.open("r+b") as file:
        file.truncate(2**40)

    def load() -> None:
        with pytest.raises(InputError) as caught:
            hef_file.read_hef(path)
        assert caught.value.problems[0].rule in ("hef.not-a-hef", "hef.invalid", "hef.too-large")

    assert peak_of(load) < MEGABYTE


def test_a_large_file_is_described_in_pieces(tmp_path, monkeypatch) -> None:
    """Only its description is held in memory; `inspect` has no limit of size."""
    monkeypatch.setattr(hef_file, "_PIECE", 1000)
    data = sealed(PROTO, configuration=bytes(4 * MEGABYTE))
    (tmp_path / "x.hef").write_bytes(data)
    found = []

    assert peak_of(lambda: found.append(hef_file.describe_hef(tmp_path / "x.hef"))) < MEGABYTE
    assert found == [read(data)]


def test_the_size_of_a_description_is_limited(monkeypatch) -> None:
    """It is read into memory."""
    monkeypatch.setattr(hef_file, "_DESCRIPTION_LIMIT", len(PROTO) - 1)

    assert f"{len(PROTO):,} bytes of description" in refusal(WHOLE[2])


def test_a_document_of_an_earlier_version_stays_valid() -> None:
    """It states a scale of 0 where none was given, and is written as it was read."""
    tensor_of_then = {"name": "a", "shape": [5], "order": "NC", "type": "uint8", "low": 0.0, "high": 0.0}
    document = read(WHOLE[2]).to_document()
    document["network_groups"][0]["outputs"] = [{**tensor_of_then, "scale": [0.0], "zero_point": [0.0]}]

    assert parse(to_json(document), HefInfo, "x").to_document() == document


def test_a_file_is_read_with_its_record(tmp_path) -> None:
    """The bytes and the metadata."""
    (tmp_path / "x.hef").write_bytes(WHOLE[2])

    assert hef_file.read_hef(tmp_path / "x.hef") == (WHOLE[2], read(WHOLE[2]))


# On the command line


def test_inspect_fits_a_terminal(tmp_path, monkeypatch, capsys) -> None:
    """80 columns, without folding the name of a layer."""
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "x.hef").write_bytes(hef_builder.hef(network("fsq_m13_behavioral_analysis")))
    code = main(["hef", "inspect", str(tmp_path / "x.hef")])
    lines = capsys.readouterr().out.splitlines()

    assert (
        code,
        max(map(len, lines)) <= 80,
        any("input_layer1" in line for line in lines),
    ) == (*(0, True, True),)


@pytest.mark.parametrize(
    ("groups", "header", "line"),
    [
        ((), {}, "slowest layer: 90,518 frames/s (estimate by the compiler, not measured)"),
        ((), {}, "compiled for hailo8 (code 1), runs on hailo8"),
        ((), {"arch": 3}, "compiled for hailo8l (code 3), runs on hailo8 and hailo8l"),
        ((), {"arch": 103}, "compiled for hailo10h or 15 (code 103), runs on no Hailo-8 or Hailo-8L"),
        ((), {"sdk_version": "", "timestamp": 0}, "Dataflow Compiler (version not stated), date unknown"),
        (({"name": "g", "ops": [{"logits": {}}]},), {}, "computed on the host by HailoRT: argmax"),
        (({"name": "g"},), {}, "network g: 0 contexts"),
        (({"name": ""},), {}, "network (without a name): 0 contexts"),
        (({"name": "a\x1b[31m"},), {}, "network a\\x1b[31m: 0 contexts"),
        ((network(output={"numeric": {"scale": 0.0}}),), {}, "-: the file does not state it"),
        ((), {"extensions": (25,)}, "0.07059"),
    ],
)
def test_inspect_prints(tmp_path, capsys, groups, header, line) -> None:
    """Every field, and those that the file does not state."""
    (tmp_path / "x.hef").write_bytes(hef_builder.hef(*groups, **header))
    main(["hef", "inspect", str(tmp_path / "x.hef")])

    assert line in capsys.readouterr().out


def test_inspect_prints_the_record_as_json(tmp_path, capsys) -> None:
    """With every field."""
    (tmp_path / "x.hef").write_bytes(WHOLE[1])
    main(["hef", "inspect", str(tmp_path / "x.hef"), "--json"])

    assert json.loads(capsys.readouterr().out) == read(WHOLE[1]).to_document()


def test_inspect_of_a_stub_is_exit_3(tmp_path, capsys) -> None:
    """The error is on stderr, and stdout is empty."""
    (tmp_path / "x.hef").write_bytes(LFS)

    assert (main(["hef", "inspect", str(tmp_path / "x.hef")]), capsys.readouterr().out) == (3, "")
