"""The cache of parsed arrays: it never returns other arrays than the parser."""

import errno
import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import places

from modelreg.data.cache import INDEX, MAPPED_FROM, Reading, combine, map_npy
from modelreg.data.memory_map import MappedStore
from modelreg.errors import InputError, Problem

ARRAYS = {
    "values": np.arange(6, dtype=np.float32).reshape(2, 3),
    "empty": np.empty((0, 3), np.float32),
    "labels": np.array(["rest", "gehen ä"]),
}


def parse():
    """Yield the arrays of a file."""
    yield from ARRAYS.items()


def refuse():
    """A parser that must not be called."""
    raise AssertionError("parsed again")
    yield


def values_of(reading: Reading, parser=parse):
    """The arrays by name, as lists, and their digests."""
    return {name: (parsed.values.tolist(), parsed.digest) for name, parsed in reading.recall("key", parser).items()}


def test_with_and_without_a_cache_are_the_same(tmp_path) -> None:
    """Values and digests."""
    assert values_of(Reading(tmp_path)) == values_of(Reading(tmp_path, tmp_path / "cache"))


def test_nothing_is_parsed_twice(tmp_path) -> None:
    """The second reading maps the kept arrays."""
    first = values_of(Reading(tmp_path, tmp_path / "cache"))

    assert values_of(Reading(tmp_path, tmp_path / "cache"), refuse) == first


@pytest.mark.parametrize(("size", "mapped"), [(MAPPED_FROM, True), (MAPPED_FROM // 2, False)])
def test_large_arrays_are_mapped(tmp_path, size, mapped) -> None:
    """They are read on use; small ones keep no file open."""
    found = Reading(tmp_path, tmp_path).recall("key", lambda: [("x", np.zeros(size, np.int8))])["x"].values

    assert (isinstance(found, np.memmap), found.flags.writeable) == (mapped, False)


@pytest.mark.parametrize("name", ["values.npy", "labels.npy", INDEX])
def test_a_damaged_entry_is_parsed_again(tmp_path, name) -> None:
    """A flipped bit never reaches a model."""
    reading = Reading(tmp_path, tmp_path / "cache")
    expected = values_of(reading)
    path = tmp_path / "cache/key" / name
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)

    assert values_of(reading) == expected


def test_a_lost_file_is_parsed_again(tmp_path) -> None:
    """An incomplete entry is not used."""
    reading = Reading(tmp_path, tmp_path / "cache")
    expected = values_of(reading)
    (tmp_path / "cache/key/values.npy").unlink()

    assert values_of(reading) == expected


def test_a_parser_that_fails_leaves_nothing(tmp_path) -> None:
    """No entry and no temporary folder."""

    def fail():
        yield "values", ARRAYS["values"]
        raise InputError("bad", [Problem("x.csv", "csv.empty", "bad")])

    with pytest.raises(InputError, match="bad"):
        Reading(tmp_path, tmp_path / "cache").recall("key", fail)

    assert list((tmp_path / "cache").iterdir()) == []


def test_readers_at_once_agree(tmp_path) -> None:
    """The second one uses the entry of the first."""
    reading = Reading(tmp_path, tmp_path / "cache")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: values_of(reading), range(16)))

    assert (all(each == found[0] for each in found), [p.name for p in (tmp_path / "cache").iterdir()]) == (
        True,
        ["key"],
    )


def refused(folder: Path, parser=parse) -> list[tuple[str, str]]:
    """The problems of a cache in a folder."""
    with pytest.raises(InputError) as caught:
        Reading(folder, folder / "cache").recall("key", parser)
    return places(caught.value.problems)


def test_a_cache_that_cannot_be_written_is_a_problem(tmp_path) -> None:
    """A file has the name of the folder."""
    (tmp_path / "cache").write_text("")

    assert refused(tmp_path) == [(str(tmp_path / "cache"), "cache.unusable")]


def test_one_digest_of_many_depends_on_names_and_digests() -> None:
    """Not on their order."""
    digests = [combine(d) for d in ({"a": "1", "b": "2"}, {"b": "2", "a": "1"}, {"a": "2", "b": "1"}, {"a": "1"})]

    assert (digests[0] == digests[1], len(set(digests))) == (True, 3)


def test_a_file_over_the_limit_is_not_mapped(tmp_path) -> None:
    """Its size is known before its content."""
    np.save(tmp_path / "x.npy", np.zeros(100))
    with pytest.raises(ValueError, match="larger than 100 bytes"):
        map_npy(tmp_path / "x.npy", 100)


def test_a_variable_switches_it_off(tmp_path, monkeypatch) -> None:
    """MODELREG_CACHE=off keeps nothing."""
    from modelreg.cli import host

    monkeypatch.setenv("MODELREG_CACHE", "off")
    with host.reading(tmp_path) as reading:
        assert reading.cache is None


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"MODELREG_CACHE": "/a"}, Path("/a")),
        ({"XDG_CACHE_HOME": "/x"}, Path("/x/modelreg")),
        ({"HOME": "/h"}, Path("/h/.cache/modelreg")),
    ],
)
def test_variables_choose_the_folder_of_the_cache(tmp_path, monkeypatch, variables, folder) -> None:
    """MODELREG_CACHE, then XDG_CACHE_HOME, then the default."""
    from modelreg.cli import host

    for name in ("MODELREG_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with host.reading(tmp_path) as reading:
        assert reading.cache == folder


def test_an_entry_that_cannot_be_named_is_an_error(tmp_path) -> None:
    """A file has its name."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/key").write_text("")

    assert refused(tmp_path) == [(str(tmp_path / "cache"), "cache.unusable")]


def test_an_array_that_cannot_be_read_back_is_an_error(tmp_path) -> None:
    """It has a type that .npy files cannot hold safely."""
    found = refused(tmp_path, lambda: [("void", np.zeros(2, "V0"))])

    assert found == [(str(tmp_path / "cache/key"), "cache.changed")]


@pytest.mark.parametrize(
    "array",
    [
        np.array(3.5),
        np.empty((0, 3), np.float32),
        np.empty((2, 0), "<U4"),
        np.array(["", "ä", "日本"]),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(5, dtype=">i4")[::2],
        np.array([np.nan, np.inf, -0.0]),
    ],
    ids=lambda array: f"{array.dtype.str}{array.shape}",
)
def test_any_plain_array_is_unchanged(tmp_path, array) -> None:
    """Type, shape and values, and the digest without a cache."""
    kept, fresh = (Reading(tmp_path, cache).recall("key", lambda: [("x", array)])["x"] for cache in (tmp_path, None))

    np.testing.assert_array_equal(kept.values, array, strict=True)
    assert kept.digest == fresh.digest


def test_the_order_is_the_same_with_and_without_a_cache(tmp_path) -> None:
    """By name, not in the order of the parser."""
    orders = [list(Reading(tmp_path, cache).recall("key", parse)) for cache in (None, tmp_path, tmp_path)]

    assert orders == [["empty", "labels", "values"]] * 3


@given(name=st.sampled_from(["values.npy", "labels.npy", "empty.npy", INDEX]), data=st.data())
def test_any_damage_is_found(name, data) -> None:
    """A changed byte, or a truncation, at any place of any kept file: the arrays are parsed again."""
    with TemporaryDirectory() as folder:
        reading = Reading(Path(folder), Path(folder) / "cache")
        expected = values_of(reading)
        path = Path(folder) / "cache/key" / name
        content = path.read_bytes()
        place = data.draw(st.integers(0, len(content) - 1))
        tail = bytes([content[place] ^ data.draw(st.integers(1, 255))]) + content[place + 1 :]
        path.write_bytes(content[:place] + data.draw(st.sampled_from([tail, b""])))

        assert values_of(reading) == expected


@pytest.mark.parametrize("index", [b"5", b"null", b"[]", b'["values"]', b"{}", b'{"../x": "0"}', b'{"values": 0}', b""])
def test_an_entry_with_an_invalid_index_is_parsed_again(tmp_path, index) -> None:
    """JSON of another kind, or not JSON."""
    reading = Reading(tmp_path, tmp_path / "cache")
    expected = values_of(reading)
    (tmp_path / "cache/key" / INDEX).write_bytes(index)

    assert values_of(reading) == expected


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupted_parser_leaves_nothing(tmp_path, error) -> None:
    """Not even a hidden folder; and its error is raised."""

    def stop():
        yield "values", ARRAYS["values"]
        raise error

    with pytest.raises(error):
        Reading(tmp_path, tmp_path / "cache").recall("key", stop)

    assert list((tmp_path / "cache").iterdir()) == []


@pytest.fixture
def no_more_files():
    """Limit this process to the files that it has open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = os.open(os.devnull, os.O_RDONLY)  # the lowest number that is free
    os.close(spare)
    yield lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_limit_of_open_files_is_not_damage(tmp_path, no_more_files) -> None:
    """It is reported, and the entry stays."""
    reading = Reading(tmp_path, tmp_path / "cache")
    reading.recall("key", parse)
    no_more_files()
    with pytest.raises(InputError) as caught:
        reading.recall("key", refuse)

    assert [problem.rule for problem in caught.value.problems] == ["cache.unusable"]
    assert os.strerror(errno.EMFILE) in caught.value.problems[0].message
    assert (tmp_path / "cache/key" / INDEX).exists()


def test_a_full_disk_is_not_damage(tmp_path, monkeypatch) -> None:
    """It is reported, and the entry stays."""
    kept = values_of(Reading(tmp_path, tmp_path / "cache"))

    def full(store, array):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(MappedStore, "put", full)
        with pytest.raises(InputError) as caught:
            values_of(Reading(tmp_path, tmp_path / "cache"), refuse)
    assert os.strerror(errno.ENOSPC) in caught.value.problems[0].message

    assert values_of(Reading(tmp_path, tmp_path / "cache"), refuse) == kept


def test_many_small_recordings_hold_no_file_open(tmp_path) -> None:
    """A thousand recordings are a usual data set, 256 open files a usual limit."""
    reading = Reading(tmp_path, tmp_path / "cache")
    before = len([*Path("/dev/fd").iterdir()])
    kept = [reading.recall(f"key{n}", parse) for n in range(20)]

    assert (len([*Path("/dev/fd").iterdir()]) <= before + 2, len(kept)) == (True, 20)  # all of them in one file


RACE = """
import sys, numpy as np
from pathlib import Path
from tempfile import TemporaryDirectory
from modelreg.data.cache import Reading
def parse():
    print("parsing", flush=True)
    sys.stdin.readline()  # wait until both processes are here
    yield "values", np.arange(1000)
print(Reading(Path("."), Path(sys.argv[1])).recall("key", parse)["values"].digest)
"""


def test_processes_at_once_leave_one_good_entry(tmp_path) -> None:
    """Both parse, one is first, both have the same digest; no temporary folder stays."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, "-c", RACE, str(tmp_path / "cache")], **pipes) for _ in range(2)]
    started = [process.stdout.readline() for process in both]
    digests = {process.communicate("go\n", timeout=60)[0] for process in both}

    assert (started, len(digests)) == (["parsing\n"] * 2, 1)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["key"]
