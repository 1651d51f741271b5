"""One tree of files over folders and archives: equal contents in any packing, and every fault with its place."""

import errno
import hashlib
import io
import itertools
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from csv_folder import write
from hypothesis import given
from hypothesis import strategies as st
from packing import COMPRESS, KINDS, entry, member, packed, tar_of, tarred, zip_of, zipped
from places import places

from modelreg.data.sources import containers, members, unpacking
from modelreg.data.sources.containers import asked_by, open_tree
from modelreg.errors import InputError, Problem

NAMES = st.lists(st.sampled_from(["a", "B", "b", "é", "x y", "long" * 30]), min_size=1, max_size=3).map("/".join)
TREES = st.dictionaries(NAMES.map("{}.csv".format), st.binary(max_size=2000), min_size=1, max_size=5)
FILES = {"Acc.csv": b"t,x\n1,2\n" * 40, "deep/Gyro.csv": bytes(range(256)), "empty.csv": b""}
SYMLINK = (stat.S_IFLNK | 0o777) << 16
DAMAGED, TWICE = "recordings.archive-damaged", "recordings.file-twice"


def contents(place: Path, asked=lambda _: True) -> dict[str, bytes]:
    """Return every file of a tree that has no problem."""
    with open_tree(place, "set", asked) as tree:
        assert tree.problems == []
        return {path: read(tree, path) for path in tree.paths}


def read(tree: containers.Tree, path: str) -> bytes:
    """Return the contents of one file."""
    with tree.open(path) as stream:
        return stream.read()


def outcomes(place: Path) -> tuple[dict[str, bytes], list[Problem]]:
    """Return what can be read, and the problems of the rest."""
    found: dict[str, bytes] = {}
    with open_tree(place, "set") as tree:
        problems = list(tree.problems)
        for path in tree.paths:
            try:
                found[path] = read(tree, path)
            except InputError as error:
                problems += error.problems
    return found, problems


def problems_of(folder: Path, files: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """Write files, read them all, and return where and by which rules that failed."""
    return places(outcomes(write(folder, dict(files)))[1])


def under(prefix: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return files in a folder or archive."""
    return {f"{prefix}/{name}": data for name, data in files.items()}


# Packed in any way


@given(TREES, st.lists(st.sampled_from(KINDS), max_size=3))
def test_packing_changes_no_contents(files, kinds) -> None:
    """Archives in archives, of any kind."""
    data, expected = dict(files), dict(files)
    for number, kind in enumerate(kinds):
        name = f"in/{number}{kind}"
        data, expected = {name: packed(data, kind)}, under(name, expected)
    with tempfile.TemporaryDirectory() as folder:
        assert contents(write(Path(folder), data)) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_the_place_itself_is_an_archive(tmp_path, kind) -> None:
    """Its paths are those in it."""
    write(tmp_path, {f"a{kind}": packed(FILES, kind)})

    assert contents(tmp_path / f"a{kind}") == FILES


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_a_single_file_is_unpacked(tmp_path, suffix) -> None:
    """In a folder, and in an archive."""
    files = {f"a.csv{suffix.upper()}": COMPRESS[suffix](FILES["Acc.csv"])}
    write(tmp_path, files | {"b.zip": zipped(files)})

    assert [*contents(tmp_path).values()] == [FILES["Acc.csv"]] * 2


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_of_zip(tmp_path, method) -> None:
    """All that zipfile knows since 3.3."""
    assert contents(write(tmp_path, {"a.ZIP": zipped(FILES, method)})) == under("a.ZIP", FILES)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_forms_of_tar(tmp_path, form) -> None:
    """With a long name."""
    files = {"x/" * 70 + "y": b"1"} if form == tarfile.USTAR_FORMAT else {"x" * 300: b"1"}

    assert contents(write(tmp_path, {"a.tar": tarred(files, form)})) == under("a.tar", files)


@pytest.mark.parametrize("kind", KINDS)
def test_a_digest_is_that_of_the_file_in_a_folder(tmp_path, kind) -> None:
    """Of the compressed bytes where the file itself is compressed."""
    data = COMPRESS[".gz"](b"1,2\n")
    write(tmp_path, {f"a{kind}": packed({"x.csv.gz": data}, kind), "x.csv.gz": data})
    with open_tree(tmp_path, "set") as tree:
        digests = {tree.sha256(path) for path in tree.paths}

    assert digests == {hashlib.sha256(data).hexdigest()}


def test_the_miniature_of_zips_holds_that_of_folders(root) -> None:
    """Sensor Logger, four zips."""
    layouts = root / "tests/layouts"
    folders = {path.replace("/", "_", 1): data for path, data in contents(layouts / "sensor_logger").items()}
    zips = {path.replace(".zip/", "/"): data for path, data in contents(layouts / "sensor_logger_zip").items()}

    assert zips == folders


@pytest.mark.parametrize("kind", [".zip", ".tar"])
def test_what_systems_add_is_left_out(tmp_path, kind) -> None:
    """Hidden files and folders, and those of macOS."""
    noise = {".DS_Store": b"", "a/._x.csv": b"", ".git/x.csv": b"", "__MACOSX/x.csv": b""}
    write(tmp_path, noise | {f"a{kind}": packed(noise | FILES, kind)} | FILES)

    assert contents(tmp_path) == FILES | under(f"a{kind}", FILES)


def test_paths_of_archives_are_normal(tmp_path) -> None:
    """`./` of tar, and the backslashes of old tools of Windows."""
    made_there = [(entry("data\\x.csv", create_system=0), b"1"), (entry("data\\", create_system=0), b"")]
    write(tmp_path, {"a.tar": tarred({"./x.csv": b"1", "y//z": b"2"}), "b.zip": zip_of(made_there)})

    assert [*contents(tmp_path)] == ["a.tar/x.csv", "a.tar/y/z", "b.zip/data/x.csv"]


def test_names_that_differ_by_case_are_two_files(tmp_path) -> None:
    """As in a folder."""
    files = {"A.csv": b"1", "a.csv": b"2"}

    assert contents(write(tmp_path, {"x.zip": zipped(files), "x.tar": tarred(files)})) == {
        **under("x.tar", files),
        **under("x.zip", files),
    }


def test_links_and_devices_of_archives_are_left_out(tmp_path) -> None:
    """A hard link is the file that it names."""
    tar = [
        (member("x.csv"), b"1"),
        (member("hard.csv", type=tarfile.LNKTYPE, linkname="x.csv"), b""),
        (member("stray.csv", type=tarfile.LNKTYPE, linkname="none"), b""),
        (member("soft.csv", type=tarfile.SYMTYPE, linkname="/etc/passwd"), b""),
        (member("fifo", type=tarfile.FIFOTYPE), b""),
        (member("folder", type=tarfile.DIRTYPE), b""),
    ]
    links = [(entry("x.csv"), b"1"), (entry("soft.csv", external_attr=SYMLINK), b"/etc/passwd"), (entry("d/"), b"")]
    write(tmp_path, {"a.tar": tar_of(tar), "a.zip": zip_of(links)})

    assert contents(tmp_path) == {"a.tar/hard.csv": b"1", "a.tar/x.csv": b"1", "a.zip/x.csv": b"1"}


# What is opened


@pytest.mark.parametrize(
    ("pattern", "path", "asked"),
    [
        (r"(?P<subject>\w+)\.zip/Acc\.csv", "anna.zip", True),
        (r"(?P<subject>\w+)\.zip/Acc\.csv", "set/anna.zip", False),
        (r"[^/]+/(?P<subject>[^/]+)/.*", "set/anna.zip", True),
        (r"(?:a|b/c)\.zip\/x", "b/c.zip", True),
        (r".*\.csv", "anna.zip", False),
        (r"data/.*\.csv", "anna.zip", False),
        (r"(?P<all>a\.zip/x)", "a.zip", True),
        (r"(?:.*/)?x\.csv", "set/anna.zip", True),
        (r"(?:(?:(?:(?:b|a\.zip/)x)))", "a.zip", True),
        (r"(?:.*[/])?x\.csv", "anna.zip", False),
    ],
)
def test_a_pattern_asks_for_an_archive_by_its_text_before_a_slash(pattern, path, asked) -> None:
    """That is outside any set; open groups end there."""
    assert asked_by([r"other", pattern])(path) is asked


def test_an_archive_that_no_pattern_asks_for_stays_a_file(tmp_path) -> None:
    """And is not read: it may be damaged, or large."""
    write(tmp_path, {"a.zip": zipped(FILES), "b.tar.xz": b"damaged"})

    with open_tree(tmp_path, "set", asked_by([r"a\.zip/.*"])) as tree:
        assert (tree.problems, tree.paths) == ([], (*sorted(under("a.zip", FILES)), "b.tar.xz"))


@pytest.mark.parametrize("name", ["x.gt3x", "x.xlsx", "x.zip.csv"])
def test_only_a_suffix_makes_an_archive(tmp_path, name) -> None:
    """Files of other programs are zip in truth."""
    assert [*contents(write(tmp_path, {name: zipped(FILES)}))] == [name]


def test_a_folder_may_have_the_name_of_an_archive(tmp_path) -> None:
    """It is a folder."""
    assert [*contents(write(tmp_path / "a.zip", FILES))] == sorted(FILES)


def test_archives_at_greater_depth_stay_files(tmp_path) -> None:
    """Three are opened."""
    data = {"x.csv": b"1"}
    for number in range(5):
        data = {f"{number}.zip": zipped(data)}

    assert [*contents(write(tmp_path, data))] == ["4.zip/3.zip/2.zip/1.zip"]


def test_few_archives_are_open_at_a_time(tmp_path, monkeypatch) -> None:
    """Others are opened again."""
    monkeypatch.setattr(containers, "OPEN", 2)
    files = {f"{number}{kind}": packed({"x.csv": b"%d" % number}, kind) for number, kind in enumerate(KINDS * 2)}
    with open_tree(write(tmp_path, files), "set") as tree:
        found = {path: read(tree, path) for path in (*tree.paths, *reversed(tree.paths))}
        held = len(tree._open)

    assert (held, found) == (2, {path: path.split(".")[0].encode() for path in tree.paths})


def test_an_archive_stays_open_while_a_member_is_read(tmp_path, monkeypatch) -> None:
    """However many others are opened meanwhile."""
    monkeypatch.setattr(containers, "OPEN", 1)
    files = {f"{number}.zip": zipped(under("d", FILES)) for number in range(4)}
    with open_tree(write(tmp_path, files), "set") as tree, tree.open("1.zip/d/deep/Gyro.csv") as stream:
        first = stream.read(1)
        others = [read(tree, path) for path in tree.paths]

        assert (first + stream.read(), len(others)) == (FILES["deep/Gyro.csv"], 12)


def test_nothing_is_written_by_a_name(tmp_path) -> None:
    """Temporary files have none."""
    place, scratch = write(tmp_path / "set", {"a.zip": zipped({"b.tar.gz": packed(FILES, ".tar.gz")})}), tmp_path / "s"
    scratch.mkdir()
    before = sorted(tmp_path.rglob("*"))
    with open_tree(place, "set", scratch=scratch) as tree:
        for path in tree.paths:
            read(tree, path)
        during = sorted(tmp_path.rglob("*"))

    assert (during, sorted(tmp_path.rglob("*"))) == (before, before)


# Faults


def damages(data: bytes) -> list[bytes]:
    """Return an archive cut off at many places, and with each of many bytes changed."""
    step = max(1, len(data) // 150)
    flipped = [data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :] for at in range(0, len(data), step)]
    return [*(data[:at] for at in range(0, len(data), step)), *flipped]


@pytest.mark.parametrize("kind", [*KINDS, ".csv.gz", ".csv.bz2", ".csv.xz"])
def test_a_damaged_archive_never_gives_other_contents(tmp_path, kind) -> None:
    """A plain tar has no checksum of its contents: only its headers are damaged here."""
    whole = COMPRESS[kind[4:]](FILES["Acc.csv"]) if kind.startswith(".csv") else packed(FILES, kind)
    expected = contents(write(tmp_path, {f"a{kind}": whole}))
    rules = set()
    for data in damages(whole):
        found, problems = outcomes(write(tmp_path, {f"a{kind}": data}))
        rules |= {problem.rule for problem in problems}
        if kind != ".tar":
            assert found.items() <= expected.items()

    assert DAMAGED in rules


@pytest.mark.parametrize("at", [0, 100, 512, 1000, 1536, 2048, 2560])
def test_a_tar_that_is_cut_off_is_damaged(tmp_path, at) -> None:
    """Also between two members, and where tarfile itself sees the end."""
    assert problems_of(tmp_path, {"a.tar": tarred(FILES)[:at]}) == [("set/a.tar", DAMAGED)]


@pytest.mark.parametrize("at", [600, 1600])
def test_a_tar_with_a_damaged_header_is_damaged(tmp_path, at) -> None:
    """Tarfile takes it for the end, and so would leave out files."""
    data = tarred({"a": b"1" * 30, "b": b"2" * 20})
    header = bytearray(data)
    header[1024 + 5] ^= 1

    assert problems_of(tmp_path, {"a.tar": bytes(header)}) == [("set/a.tar", DAMAGED)]


def test_a_tar_with_a_negative_size_is_damaged(tmp_path) -> None:
    """It would be read without end."""
    data = tarred({"a": b"", "b": b""})
    header = data[:124] + b"\xff" * 12 + data[136:148] + b" " * 8 + data[156:512]
    bad = header[:148] + b"%06o\0 " % sum(header) + header[156:]

    assert problems_of(tmp_path, {"a.tar": bad + data[512:]}) == [("set/a.tar", DAMAGED)]


def altered_zip(files: Mapping[str, bytes], local: slice, central: slice, value: bytes) -> bytes:
    """Return a zip with other bytes in the two headers of its first file."""
    data = bytearray(zipped(files, zipfile.ZIP_STORED))
    start = data.index(b"PK\x01\x02")
    data[local] = value
    data[start + central.start : start + central.stop] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("local", "central", "value", "rule"),
    [
        (slice(6, 8), slice(8, 10), b"\x01\x00", "recordings.archive-encrypted"),
        (slice(8, 10), slice(10, 12), b"\x09\x00", "recordings.archive-method"),
        (slice(8, 10), slice(10, 12), b"\xfe\x00", "recordings.archive-method"),
        (slice(22, 26), slice(24, 28), b"\xff\x00\x00\x00", DAMAGED),
        (slice(22, 26), slice(24, 28), b"\x01\x00\x00\x00", DAMAGED),
        (slice(14, 18), slice(16, 20), b"\x01\x02\x03\x04", DAMAGED),
    ],
    ids=["encrypted", "Deflate64", "unknown", "size too large", "size too small", "checksum"],
)
def test_a_member_that_cannot_be_read_is_a_problem_where_it_is_opened(tmp_path, local, central, value, rule) -> None:
    """Others are read."""
    data = altered_zip({"x.csv": b"1,2\n", "y.csv": b"3"}, local, central, value)
    found, problems = outcomes(write(tmp_path, {"a.zip": data}))

    assert (found, places(problems)) == ({"a.zip/y.csv": b"3"}, [("set/a.zip/x.csv", rule)])


def test_a_sparse_file_is_a_problem(tmp_path) -> None:
    """It can be larger than its archive."""
    sparse = member("x.csv", pax_headers={"GNU.sparse.map": "0,1", "GNU.sparse.size": "99"})

    assert problems_of(tmp_path, {"a.tar": tar_of([(sparse, b"1")])}) == [
        ("set/a.tar/x.csv", "recordings.archive-method")
    ]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_path_that_an_archive_has_twice_is_a_problem(tmp_path) -> None:
    """It is not known which one is meant."""
    tar = tar_of([(member("x.csv"), b"1"), (member("./x.csv"), b"2"), (member("y.csv"), b"3")])
    both = zip_of([(entry("x.csv"), b"1"), (entry("x.csv"), b"2")])

    assert problems_of(tmp_path, {"a.tar": tar, "b.zip": both}) == [
        ("set/a.tar/x.csv", TWICE),
        ("set/b.zip/x.csv", TWICE),
    ]


@pytest.mark.parametrize("name", ["/etc/passwd", "../x.csv", "a/../../x.csv", "a/.."])
def test_a_path_that_leads_out_of_its_archive_is_a_problem(tmp_path, name) -> None:
    """Of the whole archive."""
    files = {"a.tar": tarred({name: b"1"}), "b.zip": zipped({name: b"1"})}

    assert problems_of(tmp_path, files) == [
        ("set/a.tar", "recordings.archive-name"),
        ("set/b.zip", "recordings.archive-name"),
    ]


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.csv.xz"])
def test_what_expands_absurdly_is_a_problem(tmp_path, monkeypatch, name) -> None:
    """By the sizes that a zip states, and while others are unpacked."""
    monkeypatch.setattr(unpacking, "HARMLESS", 10_000)
    zeros = {"x.csv": bytes(2_000_000)}
    kind = name[1:]
    data = COMPRESS[".xz"](zeros["x.csv"]) if kind == ".csv.xz" else packed(zeros, kind)

    assert problems_of(tmp_path, {name: data}) == [(f"set/{name}", "recordings.archive-expands")]


def test_what_expands_to_little_is_read(tmp_path) -> None:
    """However well it was compressed."""
    zeros = {"x.csv": bytes(2_000_000)}

    assert contents(write(tmp_path, {"a.tar.xz": packed(zeros, ".tar.xz")})) == under("a.tar.xz", zeros)


def test_a_full_disk_is_a_problem(tmp_path, monkeypatch) -> None:
    """Of what must be unpacked; a zip of the folder is read in place."""
    monkeypatch.setattr(unpacking, "KEPT_FREE", 2**62)
    files = {"a.zip": zipped({"b.zip": zipped(FILES), "x.csv": b"1"}), "c.tar.gz": packed(FILES, ".tar.gz")}
    found, problems = outcomes(write(tmp_path, files))

    assert (found, sorted(places(problems))) == (
        {"a.zip/x.csv": b"1"},
        [("set/a.zip/b.zip", "recordings.archive-space"), ("set/c.tar.gz", "recordings.archive-space")],
    )


def test_a_folder_that_cannot_be_written_is_a_problem(tmp_path) -> None:
    """It is where archives are unpacked."""
    write(tmp_path, {"c.tar.gz": packed(FILES, ".tar.gz")})
    with open_tree(tmp_path, "set", scratch=tmp_path / "none") as tree:
        assert places(tree.problems) == [("set/c.tar.gz", "recordings.archive-space")]


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_the_number_of_files_is_limited(tmp_path, monkeypatch, pack) -> None:
    """Of one archive, and of all."""
    monkeypatch.setattr(members, "MEMBERS", 5)
    files = {"a": pack({str(n): b"" for n in range(6)}), "b": pack(FILES), "c": pack(FILES)}
    suffix = ".zip" if pack is zipped else ".tar"
    found = problems_of(tmp_path, {f"{name}{suffix}": data for name, data in files.items()})

    assert min(found) == (f"set/a{suffix}", "recordings.archive-members")
    assert [rule for _, rule in found] == ["recordings.archive-members"] * 2


def test_the_list_of_a_zip_is_limited(tmp_path, monkeypatch) -> None:
    """It would be read into memory at once."""
    monkeypatch.setattr(members, "DIRECTORY", 1000)
    data = zipped({f"{n:0100}": b"" for n in range(20)})

    assert problems_of(tmp_path, {"a.zip": data}) == [("set/a.zip", DAMAGED)]


def test_a_folder_that_cannot_be_listed_is_a_problem(tmp_path) -> None:
    """Here: it does not exist."""
    with open_tree(tmp_path / "none", "set") as tree:
        assert (tree.paths, places(tree.problems)) == ((), [("set", "files.unreadable")])


def test_a_link_out_of_the_folder_is_a_problem_where_it_is_opened(tmp_path) -> None:
    """Of a file, or of an archive; a link within the folder is followed."""
    write(tmp_path, {"x.csv": b"1", "set/y.csv": b"2", "a.zip": zipped(FILES)})
    for name, target in {"x.csv": "../x.csv", "a.zip": "../a.zip", "z.csv": "y.csv"}.items():
        (tmp_path / "set" / name).symlink_to(target)
    found, problems = outcomes(tmp_path / "set")

    assert (found, places(problems)) == (
        {"y.csv": b"2", "z.csv": b"2"},
        [("set/a.zip", "csv.link"), ("set/x.csv", "csv.link")],
    )


def test_an_error_of_the_disk_is_no_damage() -> None:
    """The system's words."""

    class Broken(io.BytesIO):
        def read(self, size=-1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(InputError) as caught:
        unpacking.reader(Broken(), "x.csv").read()

    assert places(caught.value.problems) == [("x.csv", "files.unreadable")]


def test_streams_are_read_in_pieces_of_any_size(tmp_path) -> None:
    """As parsers do."""
    write(tmp_path, {"a.zip": zipped(FILES)})
    with open_tree(tmp_path, "set") as tree, tree.open("a.zip/Acc.csv") as stream:
        pieces = list(itertools.takewhile(bool, map(stream.read, itertools.cycle([1, 7, 100]))))

    assert b"".join(pieces) == FILES["Acc.csv"]
