"""The cache of parsed arrays: never other than what was parsed."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from modelreg.data.reading import INDEX, Reading, combine, map_npy
from modelreg.errors import InputError, Problem

ARRAYS = {
    "values": np.arange(6, dtype=np.float32).reshape(2, 3),
    "empty": np.empty((0, 3), np.float32),
    "labels": np.array(["rest", "gehen ä"]),
}


def parse():
    """Yield what a file holds."""
    yield from ARRAYS.items()


def refuse():
    """A parser that may not be called."""
    raise AssertionError("parsed again")
    yield


def values_of(reading: Reading, parser=parse):
    """The arrays by name, as lists, and their digests."""
    return {name: (parsed.values.tolist(), parsed.digest) for name, parsed in reading.recall("key", parser).items()}


def test_with_and_without_a_cache_are_the_same(tmp_path) -> None:
    """Values and digests."""
    assert values_of(Reading(tmp_path)) == values_of(Reading(tmp_path, tmp_path / "cache"))


def test_nothing_is_parsed_twice(tmp_path) -> None:
    """The second reading maps what the first one kept."""
    first = values_of(Reading(tmp_path, tmp_path / "cache"))

    assert values_of(Reading(tmp_path, tmp_path / "cache"), refuse) == first


def test_kept_arrays_are_mapped(tmp_path) -> None:
    """They are read when they are touched."""
    assert isinstance(Reading(tmp_path, tmp_path).recall("key", parse)["values"].values, np.memmap)


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
    """Half an entry is none."""
    reading = Reading(tmp_path, tmp_path / "cache")
    expected = values_of(reading)
    (tmp_path / "cache/key/values.npy").unlink()

    assert values_of(reading) == expected


def test_a_parser_that_fails_leaves_nothing(tmp_path) -> None:
    """No entry, no rest of one."""

    def fail():
        yield "values", ARRAYS["values"]
        raise InputError("bad", [Problem("x.csv", "bad")])

    with pytest.raises(InputError, match="bad"):
        Reading(tmp_path, tmp_path / "cache").recall("key", fail)

    assert list((tmp_path / "cache").iterdir()) == []


def test_readers_at_once_agree(tmp_path) -> None:
    """Who comes second takes the first's entry."""
    reading = Reading(tmp_path, tmp_path / "cache")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: values_of(reading), range(16)))

    assert (all(each == found[0] for each in found), [p.name for p in (tmp_path / "cache").iterdir()]) == (
        True,
        ["key"],
    )


def test_a_cache_that_cannot_be_written_says_what_to_do(tmp_path) -> None:
    """A file lies where the folder should."""
    (tmp_path / "cache").write_text("")
    with pytest.raises(InputError, match="MODELREG_CACHE"):
        Reading(tmp_path, tmp_path / "cache").recall("key", parse)


def test_one_digest_of_many_knows_names_and_digests() -> None:
    """Whatever their order."""
    digests = [combine(d) for d in ({"a": "1", "b": "2"}, {"b": "2", "a": "1"}, {"a": "2", "b": "1"}, {"a": "1"})]

    assert (digests[0] == digests[1], len(set(digests))) == (True, 3)


def test_a_file_over_the_limit_is_not_mapped(tmp_path) -> None:
    """Its size is known before its content."""
    np.save(tmp_path / "x.npy", np.zeros(100))
    with pytest.raises(ValueError, match="larger than 100 bytes"):
        map_npy(tmp_path / "x.npy", 100)


def test_the_command_line_may_switch_it_off(tmp_path, monkeypatch) -> None:
    """MODELREG_CACHE=off keeps nothing."""
    from modelreg.cli import environment

    monkeypatch.setenv("MODELREG_CACHE", "off")
    with environment.reading(tmp_path) as reading:
        assert reading.cache is None


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"MODELREG_CACHE": "/a"}, Path("/a")),
        ({"XDG_CACHE_HOME": "/x"}, Path("/x/modelreg")),
        ({"HOME": "/h"}, Path("/h/.cache/modelreg")),
    ],
)
def test_the_cache_lies_where_the_user_says(tmp_path, monkeypatch, variables, folder) -> None:
    """By our variable, by that of the desktop, or in the usual place."""
    from modelreg.cli import environment

    for name in ("MODELREG_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with environment.reading(tmp_path) as reading:
        assert reading.cache == folder


def test_an_entry_that_cannot_be_named_is_an_error(tmp_path) -> None:
    """A file has its place."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/key").write_text("")
    with pytest.raises(InputError, match="cannot keep what was read"):
        Reading(tmp_path, tmp_path / "cache").recall("key", parse)


def test_what_cannot_be_read_back_is_an_error(tmp_path) -> None:
    """An array that no .npy holds safely."""
    with pytest.raises(InputError, match="run it again"):
        Reading(tmp_path, tmp_path / "cache").recall("key", lambda: [("void", np.zeros(2, "V0"))])
