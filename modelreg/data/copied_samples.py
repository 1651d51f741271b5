"""Find samples of a recording that a recording of another split has, too: places, windows and messages.

`exact_copies` and `near_copies` search tracks; here their results become places in the aligned recordings. What a
search for near copies found is kept in the cache: another evaluation of the same splits needs no second search.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg import files
from modelreg.data import exact_copies, near_copies, tracks
from modelreg.data.cache import Reading
from modelreg.data.memory_map import sha256_arrays
from modelreg.data.recording import Recording, Windows
from modelreg.records.model import Channel

SEARCH = "near-copies-1"  # part of the cache's keys; a new number when the search or a limit changes
LEAST_S = 0.5  # seconds of a near copy in one of several joined windows; its ends are known to a few samples


class CopiedSamples(NamedTuple):
    """Samples of a recording that are also in a recording of an earlier split; places in the aligned recordings."""

    part: str
    recording: str
    earlier: str
    earlier_recording: str
    start: int
    end: int
    earlier_start: int
    residual: float = 0.0  # of a near copy

    @property
    def pair(self) -> tuple[str, str]:
        """The two splits, the earlier one first."""
        return self.earlier, self.part

    @property
    def where(self) -> str:
        """The samples of the recording."""
        return f"samples {self.start} to {self.end - 1}"

    @property
    def origin(self) -> str:
        """The place in the earlier split."""
        return f"{self.earlier_recording} from sample {self.earlier_start}"


def find_exact(originals: Sequence[Recording], parts: tracks.Divided, rate_hz: float) -> list[CopiedSamples]:
    """Return the samples of each recording that are, bit for bit, also in an earlier split: at any offset.

    The recordings are compared as they were read, before they are aligned. Equal samples of several channels or devices
    are one entry.
    """
    found = tracks.as_read(originals, parts, rate_hz)
    return list(_united(_placed(found, copy) for copy in exact_copies.find(found)))


class NearCopies(NamedTuple):
    """Nearly equal samples, and how they were searched."""

    copies: list[CopiedSamples]
    every_s: float  # between two moments that were searched
    devices: tuple[str, ...]  # that were searched


def find_near(
    originals: Sequence[Recording], parts: tracks.Divided, channels: Sequence[Channel], reading: Reading
) -> NearCopies:
    """Return the samples of each recording that are nearly the same in an earlier split, at any offset.

    The aligned recordings are compared, in the band of the slowest original recording of each device.
    """
    rates: dict[str, float] = {}
    for recording in originals:
        for device, signal in recording.signals.items():
            rates[device] = min(signal.rate_hz, rates.get(device, signal.rate_hz))
    found = tracks.join_windows(tracks.as_aligned(parts))
    searched = _search_near(found, channels, rates, reading)
    placed = (place for copy in searched.copies for place in _placed_near(found, copy))
    return NearCopies(list(_united(placed)), searched.every_s, searched.devices)


def _search_near(
    found: Sequence[tracks.Track], channels: Sequence[Channel], rates: Mapping[str, float], reading: Reading
) -> near_copies.Found:
    """Search for near copies in tracks, or return what the same search found before."""
    devices = list(rates)

    def search() -> Iterator[tuple[str, NDArray[np.float64] | NDArray[np.int64]]]:
        made = near_copies.find(found, channels, rates)
        yield "tracks", np.array([copy[:2] for copy in made.copies], np.int64).reshape(-1, 2)
        yield "places", np.array([copy[2:] for copy in made.copies], np.float64).reshape(-1, 4)
        yield "every_s", np.array([made.every_s])
        yield "devices", np.array([devices.index(device) for device in made.devices], np.int64)

    kept = {name: array.values.tolist() for name, array in reading.recall(_key(found, channels, rates), search).items()}
    copies = [near_copies.NearCopy(*pair, *places) for pair, places in zip(kept["tracks"], kept["places"], strict=True)]
    return near_copies.Found(copies, kept["every_s"][0], tuple(devices[number] for number in kept["devices"]))


def _key(found: Sequence[tracks.Track], channels: Sequence[Channel], rates: Mapping[str, float]) -> str:
    """Return the name of a search in the cache: everything that its result depends on."""
    document = {
        "tracks": [[track.part, track.subject, track.device, track.rate_hz] for track in found],
        "values": sha256_arrays({f"{number:08d}": track.values for number, track in enumerate(found)}),
        "channels": [channel.to_document() for channel in channels],
        "rates": rates,
    }
    return f"{SEARCH}-{files.sha256_bytes(files.to_line(document))}"


def _placed_near(found: Sequence[tracks.Track], copy: near_copies.NearCopy) -> Iterator[CopiedSamples]:
    """Yield the place of a near copy; in joined windows one for each window that it reaches."""
    one, other = found[copy.earlier], found[copy.later]
    start, end, origin = round(copy.start), round(copy.end), round(copy.earlier_start)
    earlier, before = _window_at(one, origin)
    for name, first, last in other.joined or ((other.recording, 0, len(other.values)),):
        inside = max(start, first)
        if min(end, last) - inside > LEAST_S * other.rate_hz:
            yield CopiedSamples(
                part=other.part,
                recording=name,
                earlier=one.part,
                earlier_recording=earlier,
                start=round(other.aligned(0)) + inside - first,
                end=round(other.aligned(0)) + min(end, last) - first,
                earlier_start=max(0, round(one.aligned(0)) + origin - before + inside - start),
                residual=copy.residual,
            )


def _window_at(track: tracks.Track, sample: int) -> tuple[str, int]:
    """Return the recording that a sample of a track is in, and where it begins."""
    held = [(name, first) for name, first, last in track.joined if first <= sample < last]
    return held[-1] if held else (track.recording, 0)


def rows_of(windows: Windows, copied: Iterable[CopiedSamples], window: int) -> NDArray[np.int64]:
    """Return the rows of the windows that contain copied samples, in increasing order."""
    contains = np.zeros(len(windows.y), np.bool_)
    for copy in copied:
        ours = windows.recording == windows.recordings.index(copy.recording)
        contains |= ours & (windows.start < copy.end) & (windows.start + window > copy.start)
    return np.flatnonzero(contains)


def by_pair(copied: Iterable[CopiedSamples]) -> Mapping[tuple[str, str], list[CopiedSamples]]:
    """Return the copies of each two splits."""
    found: dict[tuple[str, str], list[CopiedSamples]] = {}
    for copy in copied:
        found.setdefault(copy.pair, []).append(copy)
    return found


def _placed(found: Sequence[tracks.Track], copy: exact_copies.ExactCopy) -> CopiedSamples:
    one, other = found[copy.earlier], found[copy.later]
    return CopiedSamples(
        part=other.part,
        recording=other.recording,
        earlier=one.part,
        earlier_recording=one.recording,
        start=max(0, round(other.aligned(copy.start))),
        end=round(other.aligned(copy.start + copy.samples - 1)) + 1,
        earlier_start=max(0, round(one.aligned(copy.earlier_start))),
    )


def _united(copied: Iterable[CopiedSamples]) -> Iterator[CopiedSamples]:
    """Yield the copied samples of each pair of recordings in order, without those that lie in others.

    Pieces of one recording that overlap are not copies.
    """
    last: CopiedSamples | None = None
    for copy in sorted(copied, key=lambda copy: (*copy[:5], -copy.end)):
        if (copy.recording, copy.start) == (copy.earlier_recording, copy.earlier_start):
            continue
        if last is None or copy[:4] != last[:4] or copy.end > last.end:
            yield copy
            last = copy
