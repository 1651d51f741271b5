"""HEFs are read as they were written; what is none, or damaged, is an error in words at a bounded cost."""

import json
import struct
import time
import tracemalloc

import hef_builder
import pytest
from hef_builder import context, edge, network, sealed, tensor
from hypothesis import given
from hypothesis import strategies as st

from modelreg.artifacts import hef_file
from modelreg.cli.main import main
from modelreg.errors import InputError
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


def refusal(data: bytes) -> str:
    """Why these bytes are refused."""
    with pytest.raises(InputError) as caught:
        read(data)
    return str(caught.value)


def outcome(data: bytes) -> str:
    """What becomes of a file: never anything but a record or an InputError."""
    try:
        read(data)
    except InputError:
        return "refused"
    return "read"


def group_of(*groups, **header):
    """The first network group of a file, read."""
    return read(hef_builder.hef(*groups, **header)).network_groups[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_header_is_read_and_its_checksum_verified(version) -> None:
    """MD5, CRC32 and XXH3."""
    info = read(WHOLE[version])

    assert (info.header_version, info.checksum, info.size) == (version, CHECKSUMS[version], len(WHOLE[version]))


def test_the_file_is_described() -> None:
    """Chip, compiler, date, group, contexts and the estimate, as they were written."""
    info = read(WHOLE[2])
    (group,) = info.network_groups
    about = (info.hw_arch, info.hw_arch_code, info.compiler, info.created)

    assert (*about, group.name, group.contexts, group.estimated_bottleneck_fps) == (
        *("hailo8", 1, "3.32.0", "2025-09-22T00:13:20Z"),
        *("tiny", 1, 90518.25),
    )


def test_what_goes_in_and_out_is_described() -> None:
    """Only what leaves the chip: not what goes from one context to the next."""
    group = read(WHOLE[2]).network_groups[0]
    found = [(each.name, each.shape, each.order, each.type, each.low, each.high) for each in group.inputs]

    assert (found, [(each.name, each.shape, each.order) for each in group.outputs]) == (
        [("tiny/input_layer1", (2, 100, 9), "NHWC", "uint8", -9.0, 9.0)],
        [("tiny/fc1", (5,), "NC")],
    )


@given(
    name=st.text(st.characters(codec="ascii", min_codepoint=33, max_codepoint=126), min_size=1, max_size=300),
    shape=st.tuples(*[st.integers(0, 2**32 - 1)] * 3),
    order=st.sampled_from(["NHWC", "NHCW", "FCR", "NMS"]),
    numbers=st.tuples(*[st.floats(width=32, allow_nan=False, allow_infinity=False)] * 4),
    arch=st.sampled_from([(0, "hailo8"), (2, "hailo8"), (3, "hailo8l"), (103, "hailo10h or 15"), (77, "unknown")]),
    version=st.sampled_from(VERSIONS),
)
def test_what_googles_protobuf_writes_is_read(name, shape, order, numbers, arch, version) -> None:
    """Names, shapes, orders, numbers to the bit, and the family of the chip."""
    numeric = dict(zip(("zero_point", "scale", "low", "high"), numbers, strict=True))
    layer = tensor(name, shape, 0, 1, order=order, numeric=numeric)
    info = read(hef_builder.hef({"name": name, "contexts": [context(edge(layer, 0))]}, arch=arch[0], version=version))
    (found,) = info.network_groups[0].inputs

    assert (found.name, found.shape, found.order, (*found.zero_point, *found.scale, found.low, found.high)) == (
        *(name, shape, order),
        numbers,
    )
    assert (info.hw_arch_code, info.hw_arch) == arch


def test_what_is_not_written_is_not_stated() -> None:
    """No date, no compiler, no estimate: a default of protobuf is nothing that was said."""
    info = read(hef_builder.hef({"name": "a"}, timestamp=0, sdk_version="", arch=0))
    (group,) = info.network_groups

    assert (info.created, info.compiler, info.hw_arch, group.estimated_bottleneck_fps) == (None, None, "hailo8", None)


def test_scales_of_features_count_where_the_file_says_so() -> None:
    """Extension 25; without it HailoRT takes the one scale, whatever else is there."""
    many = network(output={"numeric": {"scales": [0.1, 0.2, 0.3, 0.4, 0.5]}})
    found = [group_of(many, extensions=each).outputs[0].scale for each in ((26,), (25, 26))]

    assert (len(found[0]), found[1]) == (1, (0.1, 0.2, 0.3, 0.4, 0.5))


def test_a_graph_of_operations_is_read() -> None:
    """The core lies in one of them; another one runs on the host."""
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
    """Each has all contexts: the first tells."""
    group = group_of(outer, arch=3)

    assert group == group_of(network())


def test_streams_that_travel_as_one_are_told_apart() -> None:
    """A multiplexer, and one inside it."""
    a, b, c = (tensor(f"tiny/{name}", (3,), 0, 1) for name in "abc")
    mux = {"name": "mux", "predecessors": [{"info": a}, {"mux": {"predecessors": [{"info": b}, {"info": c}]}}]}
    group = group_of({"name": "m", "contexts": [context({"direction": 1, "kind": 1, "mux": mux})]})

    assert [each.name for each in group.outputs] == ["tiny/a", "tiny/b", "tiny/c"]


def test_a_checksum_of_the_description_alone_is_said_to_be_one() -> None:
    """Version 3 may leave the rest to the chip."""
    info = read(sealed(PROTO, 3, proto_only=True))

    assert (info.checksum_of, read(WHOLE[3]).checksum_of) == ("description", "everything")


def test_the_record_comes_back() -> None:
    """Through its schema."""
    info = read(WHOLE[2])

    assert parse(info.to_bytes(), HefInfo, "x") == info


# What is none


HUGE = struct.pack(">IIQQQQ", 2, 2**32 - 1, 0, 2**64 - 1, 0, 0)
NONE = {
    "empty": (b"", "is empty"),
    "pointer": (LFS, "is a Git LFS pointer, not the file it stands for; fetch it with `git lfs pull`"),
    "text": (b"placeholder for the compiled model\n", "is text, not a compiled network"),
    "mock": (b' {"mock": true, "arch": "hailo8"}', "is JSON, not a compiled network"),
    "picture": (b"\x89PNG\r\n\x1a\n", "does not begin as a HEF does (bytes 01 48 45 46)"),
    "magic alone": (b"\x01HEF", "is cut off in its header"),
    "half a header": (WHOLE[2][:43], "is cut off in its header"),
    "version 4": (b"\x01HEF" + struct.pack(">II", 4, 0), "has a header of version 4; 0 to 3 are known"),
    "cut off": (WHOLE[2][:-1], f"has {len(WHOLE[2]) - 1} bytes, but its header speaks of {len(WHOLE[2])}"),
    "absurd lengths": (b"\x01HEF" + HUGE, "its header speaks of 18446744078004518954: it is cut off"),
    "no group": (sealed(b""), "network_groups: "),
    "half a field": (sealed(b"\x0a\x7f"), "a field of 127 bytes at byte 2, but 0 are left"),
    "no name": (hef_builder.hef({}), "name: "),
    "terminal codes": (hef_builder.hef({"name": "a\x1b[31m"}), "name: "),
    "not UTF-8": (sealed(b"\x12\x03\x52\x01\xff"), "0xff"),
    "year 36 million": (hef_builder.hef(timestamp=2**60), "which no calendar has"),
    "NaN": (hef_builder.hef(network(input={"numeric": {"low": float("nan")}})), "low: "),
}


@pytest.mark.parametrize("name", NONE)
def test_what_is_no_hef_is_named(name) -> None:
    """In words a user can act on."""
    data, problem = NONE[name]

    assert problem in refusal(data)


def test_too_few_scales_are_refused() -> None:
    """HailoRT would read behind them."""
    few = network(output={"numeric": {"scales": [0.1]}})

    assert "has 1 scales and 5 zero points for 5 features" in refusal(hef_builder.hef(few, extensions=(25,)))


def test_planes_are_refused() -> None:
    """No network of ours has them, and half of an answer is none."""
    planes = {"name": "m", "contexts": [context({"direction": 0, "kind": 2})]}

    assert "has an input in planes" in refusal(hef_builder.hef(planes))


def test_two_headers_are_refused() -> None:
    """HailoRT would merge them; no compiler writes them."""
    assert "field 1 is there twice" in refusal(sealed(PROTO + hef_builder.description()))


# Damage


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
def test_a_flipped_bit_is_found(version, data) -> None:
    """By the checksum or the lengths; bits that nothing uses change nothing but the file's own digest."""
    whole = bytearray(WHOLE[version])
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))

    assert outcome(bytes(whole)) == ("read" if place in RESERVED[version] else "refused")


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
def test_a_file_that_is_cut_off_is_found(version, data) -> None:
    """Wherever the download ended."""
    refusal(WHOLE[version][: data.draw(st.integers(0, len(WHOLE[version]) - 1))])


@pytest.mark.parametrize("version", VERSIONS)
@given(place=st.integers(0, len(PROTO)), more=st.binary(min_size=1, max_size=40))
def test_a_file_with_something_in_between_is_found(version, place, more) -> None:
    """The lengths no longer add up."""
    refusal(WHOLE[version][:place] + more + WHOLE[version][place:])


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x01HEF", *(b"\x01HEF\0\0\0" + bytes([v]) for v in range(5))]))
def test_noise_is_refused(noise, start) -> None:
    """Also behind a magic number."""
    refusal(start + noise)


@given(st.data())
def test_a_damaged_description_under_a_right_checksum_is_refused_or_read(data) -> None:
    """Whoever can write a HEF can write its checksum: the reader survives every cut, flip, splice and repetition."""
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
    """No other error, whatever it is."""
    assert outcome(sealed(noise, version)) in ("read", "refused")


# Cost


def nested(depth: int) -> bytes:
    """A description with multiplexers inside each other."""
    mux = {"predecessors": [{"info": tensor("a", (1,), 0, 1)}]}
    for _ in range(depth):
        mux = {"predecessors": [{"mux": mux}]}
    return hef_builder.description({"name": "m", "contexts": [context({"direction": 1, "kind": 1, "mux": mux})]})


def field(number: int, content: bytes) -> bytes:
    """A message inside a message, by hand."""
    length = b"".join(bytes([len(content) >> 7 * n & 0x7F | 0x80]) for n in range(4)) + bytes([len(content) >> 28])
    return bytes([number << 3 | 2]) + length + content


def peak_of(call) -> int:
    """The most memory that a call holds, in bytes."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


MEGABYTE = 2**20
NUMERIC = field(3, field(6, bytes(8 * MEGABYTE)))
BOMBS = {
    "groups": b"\x12\x00" * MEGABYTE,
    "fields": field(2, b"\x08\x01" * MEGABYTE),
    "contexts": field(2, b"\x1a\x00" * MEGABYTE),
    "extensions": b"\x2a\x00" * MEGABYTE,
    "scales": field(5, b"\x08\x19") + field(2, field(3, field(3, field(2, field(3, NUMERIC))))),
    "edges": field(2, field(3, field(3, b"\x12\x00" * MEGABYTE))),
    "name": field(2, field(10, b"a" * MEGABYTE)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_description_that_is_made_to_cost_takes_little_memory(name, monkeypatch) -> None:
    """Whatever is repeated a million times."""
    monkeypatch.setattr(hef_file, "_FIELDS", 4000)  # tracing is slow
    data = sealed(BOMBS[name])

    assert peak_of(lambda: refusal(data)) < 2 * MEGABYTE


def test_a_description_that_is_made_to_cost_takes_little_time() -> None:
    """A look at a hundred thousand fields, then an end."""
    data = sealed(BOMBS["extensions"])
    started = time.process_time()

    assert ("holds more fields" in refusal(data), time.process_time() - started < 5) == (True, True)


def test_multiplexers_are_followed_to_a_depth() -> None:
    """No file decides how deep we go."""
    assert (bool(read(sealed(nested(3)))), "more than 4 multiplexers" in refusal(sealed(nested(4)))) == (True, True)


@pytest.mark.parametrize(
    "start", [b"", LFS, WHOLE[2], b"\x01HEF" + struct.pack(">IIQQQQ", 2, 0, 0, 2**40 - 44, 0, 0)], ids=range(4)
)
def test_a_huge_file_is_refused_unread(tmp_path, start) -> None:
    """A terabyte of nothing, whatever it begins with."""
    path = tmp_path / "x.hef"
    path.write_bytes(start)
    with path.open("r+b") as file:
        file.truncate(2**40)

    def load() -> None:
        with pytest.raises(InputError, match="not a HEF that can be read"):
            hef_file.read_hef(path)

    assert peak_of(load) < MEGABYTE


def test_a_file_is_read_once_it_is_known_to_be_one(tmp_path) -> None:
    """Bytes and record."""
    (tmp_path / "x.hef").write_bytes(WHOLE[2])

    assert hef_file.read_hef(tmp_path / "x.hef") == (WHOLE[2], read(WHOLE[2]))


# On the command line


def test_inspect_fits_a_terminal(tmp_path, monkeypatch, capsys) -> None:
    """80 columns, and a layer's name in one piece."""
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "x.hef").write_bytes(hef_builder.hef(network("fsq_m13_behavioral_analysis")))
    code = main(["hef", "inspect", str(tmp_path / "x.hef")])
    lines = capsys.readouterr().out.splitlines()

    assert (
        code,
        max(map(len, lines)) <= 80,
        any("in   input_layer1  2 x 100 x 9  NHWC" in line for line in lines),
    ) == (*(0, True, True),)


@pytest.mark.parametrize(
    ("groups", "header", "line"),
    [
        ((), {}, "compiler's estimate, slowest layer: 90,518 FPS; not measured, not latency"),
        ((), {}, "compiled for hailo8 (code 1); runs on hailo8"),
        ((), {"arch": 3}, "compiled for hailo8l (code 3); runs on hailo8 and hailo8l"),
        ((), {"arch": 103}, "compiled for hailo10h or 15 (code 103); runs on none of the Hailo-8 line"),
        ((), {"sdk_version": "", "timestamp": 0}, "by Dataflow Compiler (not stated), no date"),
        (({"name": "g", "ops": [{"logits": {}}]},), {}, "HailoRT adds on the host: argmax"),
        (({"name": "g"},), {}, "g: 0 contexts"),
        ((), {"extensions": (25,)}, "0.07059"),
    ],
)
def test_inspect_says(tmp_path, capsys, groups, header, line) -> None:
    """What is known, and of what nothing is known."""
    (tmp_path / "x.hef").write_bytes(hef_builder.hef(*groups, **header))
    main(["hef", "inspect", str(tmp_path / "x.hef")])

    assert line in capsys.readouterr().out


def test_inspect_prints_the_record_as_json(tmp_path, capsys) -> None:
    """All of it."""
    (tmp_path / "x.hef").write_bytes(WHOLE[1])
    main(["hef", "inspect", str(tmp_path / "x.hef"), "--json"])

    assert json.loads(capsys.readouterr().out) == read(WHOLE[1]).to_document()


def test_inspect_of_a_stub_is_exit_3(tmp_path, capsys) -> None:
    """The error on stderr, nothing on stdout."""
    (tmp_path / "x.hef").write_bytes(LFS)

    assert (main(["hef", "inspect", str(tmp_path / "x.hef")]), capsys.readouterr().out) == (3, "")
