"""memory_map and running_statistics: arrays in mapped files, and sums over blocks of recordings."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from places import places

from modelreg.config import TrainConfig
from modelreg.data import memory_map, preparation, running_statistics
from modelreg.data.cache import Reading
from modelreg.data.memory_map import MappedStore
from modelreg.errors import InputError

BENCHMARK = Path(__file__).parent.parent / "benchmarks" / "memory.py"
SHAPES = arrays_of.array_shapes(min_dims=0, max_dims=3, max_side=6)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(SHAPES, st.sampled_from(["f4", ">f8", "i4", "U3"]), st.permutations(range(3))), max_size=5))
def test_stored_arrays_are_unchanged(tmp_path_factory, shapes) -> None:
    """Values, types, and the order of the axes in memory: sums over them are the same to the last bit."""
    store = MappedStore(tmp_path_factory.mktemp("store"))
    put = []
    for shape, dtype, order in shapes:
        array = np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape)
        put.append(array.transpose([axis for axis in order if axis < array.ndim]))
    back = [store.put(array) for array in put]

    for array, found in zip(put, back, strict=True):
        np.testing.assert_array_equal(found, array, strict=True)
        assert (found.flags.f_contiguous, memory_map.is_mapped(found)) == (array.flags.f_contiguous, bool(array.nbytes))


def test_a_segment_that_is_full_is_followed_by_another(tmp_path, monkeypatch) -> None:
    """An array larger than a segment has one alone."""
    monkeypatch.setattr(memory_map, "SEGMENT", 100)
    store, arrays = MappedStore(tmp_path), [np.arange(n) for n in (5, 6, 7, 40, 1)]

    assert [store.put(array).tolist() for array in arrays] == [array.tolist() for array in arrays]


def test_threads_store_at_the_same_time(tmp_path) -> None:
    """No array overwrites another."""
    store = MappedStore(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: store.put(np.full(1000, n)), range(200)))

    assert [set(array.tolist()) for array in found] == [{n} for n in range(200)]


def test_a_released_array_is_read_again(tmp_path) -> None:
    """Views too; arrays in memory are unchanged."""
    array = np.arange(100_000)
    kept = MappedStore(tmp_path).put(array)
    memory_map.release([kept[10:], kept, array])

    assert kept.sum() == array.sum()


def test_a_stored_array_is_read_only(tmp_path) -> None:
    """A later use must find the same values."""
    with pytest.raises(ValueError, match="read-only"):
        MappedStore(tmp_path).put(np.arange(3))[0] = 1


def test_nothing_is_left_in_the_folder(tmp_path) -> None:
    """The files are unlinked, so that a killed process leaves none."""
    kept = Reading(tmp_path, tmp_path / "cache").store(np.arange(3))

    assert (kept.tolist(), list((tmp_path / "cache").iterdir())) == ([0, 1, 2], [])


def test_without_a_cache_everything_stays_in_memory(tmp_path) -> None:
    """Without a folder, nothing is written."""
    array = np.arange(3)

    assert Reading(tmp_path).store(array) is array


def test_a_cache_that_cannot_be_written_is_a_problem(tmp_path) -> None:
    """Its folder is named."""
    (tmp_path / "cache").write_text("")
    with pytest.raises(InputError) as caught:
        Reading(tmp_path, tmp_path / "cache").store(np.arange(3))

    assert places(caught.value.problems) == [(str(tmp_path / "cache"), "cache.unusable")]


def test_prepared_windows_are_mapped(tmp_path) -> None:
    """If there is a cache; with the same digests as without one."""
    here, mapped = (
        preparation.prepare(TrainConfig(), Reading(tmp_path, cache)) for cache in (None, tmp_path / "cache")
    )

    assert {memory_map.is_mapped(part.x) for part in here.windows.values()} == {False}
    assert {memory_map.is_mapped(part.x) for part in mapped.windows.values()} == {True}
    assert mapped.record == here.record


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 20), st.integers(1, 100))
def test_passing_yields_all_rows_in_order(length, at_once) -> None:
    """AT_ONCE bytes at a time, or one row."""
    array = np.arange(length)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_map, "AT_ONCE", at_once)
        found = [block.tolist() for block in memory_map.passing(array)]

    assert [number for block in found for number in block] == array.tolist()
    assert max(map(len, found), default=0) <= max(1, at_once // 8)


@settings(deadline=None)
@given(
    st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 4), st.lists(st.integers(0, 700), min_size=1, max_size=5)
)
def test_sums_of_blocks_are_those_of_one_array(seed, devices, channels, lengths) -> None:
    """To the last bit."""
    rng = np.random.default_rng(seed)
    blocks = [rng.normal(5, 10.0 ** rng.integers(-3, 3), (length, devices, channels)) for length in lengths]

    np.testing.assert_array_equal(running_statistics.add_up(iter(blocks)), np.concatenate(blocks).sum(axis=0))


WRITE = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import memory
memory.WINDOW, memory.SESSIONS = 2000, 1
print(json.dumps(memory.write_npy(Path(sys.argv[2]), 8, 400_000)))
"""


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux reports the peak memory of a process"
)
@pytest.mark.needs("torch")
def test_preparing_takes_twice_a_subject_and_the_windows(tmp_path) -> None:
    """At most, above the memory of a process that has only started."""
    written = subprocess.run(
        [sys.executable, "-c", WRITE, str(BENCHMARK.parent), str(tmp_path)], check=True, capture_output=True, text=True
    )
    command = [sys.executable, str(BENCHMARK), "--measure", written.stdout, str(tmp_path)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert found["peak"] <= 2 * found["subject"] + found["windows"], found
