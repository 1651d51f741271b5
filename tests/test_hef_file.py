"""HEFs are read as written. Damaged files and other types of files are refused at a limited cost."""

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
    """Return whether a file is read or refused; there is no other exception."""
    try:
        read(data)
    except InputError:
        return "refused"
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
    name=st.text(st.characters(codec="ascii", min_codepoint=33, max_codepoint=126), min_size=1, max_size=300),
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

    assert (found.name, found.shape, found.order, (*found.zero_point, *found.scale, found.low, found.high)) == (
        *(name, shape, order),
        numbers,
    )
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
    "no name": (hef_builder.hef({}), "name: "),
    "terminal codes": (hef_builder.hef({"name": "a\x1b[31m"}), "name: "),
    "not UTF-8": (sealed(b"\x12\x03\x52\x01\xff"), "0xff"),
    "year 36 million": (hef_builder.hef(timestamp=2**60), f"{2**60} ms"),
    "NaN": (hef_builder.hef(network(input={"numeric": {"low": float("nan")}})), "low: "),
    "planar input": (hef_builder.hef({"name": "m", "contexts": [context({"direction": 0, "kind": 2})]}), "planar"),
    "two headers": (sealed(PROTO + hef_builder.description()), "field 1 "),
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


def test_too_few_scales_are_refused() -> None:
    """HailoRT would read beyond them."""
    few = network(output={"numeric": {"scales": [0.1]}})

    assert "1 scales and 5 zero points for 5 features" in refusal(hef_builder.hef(few, extensions=(25,)))


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


# Cost


def nested(depth: int) -> bytes:
    """Return a description with nested multiplexers."""
    mux = {"predecessors": [{"info": tensor("a", (1,), 0, 1)}]}
    for _ in range(depth):
        mux = {"predecessors": [{"mux": mux}]}
    return hef_builder.description({"name": "m", "contexts": [context({"direction": 1, "kind": 1, "mux": mux})]})


def field(number: int, content: bytes) -> bytes:
    """Return an encoded message field."""
    length = b"".join(bytes([len(content) >> 7 * n & 0x7F | 0x80]) for n in range(4)) + bytes([len(content) >> 28])
    return bytes([number << 3 | 2]) + length + content


def peak_of(call) -> int:
    """Return the peak memory of a call in bytes."""
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
def test_a_hostile_description_takes_little_memory(name, monkeypatch) -> None:
    """A field is repeated a million times."""
    monkeypatch.setattr(hef_file, "_FIELDS", 4000)  # tracing is slow
    data = sealed(BOMBS[name])

    assert peak_of(lambda: refusal(data)) < 2 * MEGABYTE


def test_a_hostile_description_takes_little_time() -> None:
    """At most 100,000 fields are read."""
    data = sealed(BOMBS["extensions"])
    started = time.process_time()

    assert ("too many fields" in refusal(data), time.process_time() - started < 5) == (True, True)


def test_the_depth_of_multiplexers_is_limited() -> None:
    """To four levels."""
    assert (bool(read(sealed(nested(3)))), "more than 4 " in refusal(sealed(nested(4)))) == (True, True)


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
        ((), {"sdk_version": "", "timestamp": 0}, "Dataflow Compiler (version not stated), date not stated"),
        (({"name": "g", "ops": [{"logits": {}}]},), {}, "computed on the host by HailoRT: argmax"),
        (({"name": "g"},), {}, "network g: 0 contexts"),
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
