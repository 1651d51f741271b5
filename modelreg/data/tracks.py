"""The samples of one device of one recording as a track, for the search for copies between splits.

Exact copies are searched on the samples as they were read, on the device's own clock. Near copies are searched on the
aligned recordings. Both give their results in samples of the aligned recording, in which windows are counted.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.data import alignment
from modelreg.data.recording import Recording
from modelreg.data.sources import window_overlap

WINDOW_S = 10.0  # recordings of one length below this may be windows of longer ones

Divided = Mapping[str, Sequence[Recording]]  # by the name of the split or the fold


class Track(NamedTuple):
    """The samples of one device of a recording, or of a piece of it."""

    part: str
    recording: str
    subject: str
    device: str
    values: NDArray[np.float32]  # (samples, channels)
    rate_hz: float  # nominal
    start: float = 0.0  # of the first sample, in samples of the aligned recording
    step: float = 1.0  # samples of the aligned recording between two samples
    moments: NDArray[np.float64] | None = None  # (samples,) the same of each sample, if they are not evenly spaced
    joined: tuple[tuple[str, int, int], ...] = ()  # recordings that were joined: name, first and last sample

    def aligned(self, sample: int) -> float:
        """Return where a sample is, in samples of the aligned recording."""
        return self.start + self.step * sample if self.moments is None else float(self.moments[sample])


def as_read(originals: Sequence[Recording], parts: Divided, rate_hz: float) -> tuple[Track, ...]:
    """Return the tracks of recordings before alignment, each as far as it is in a split of the aligned recordings."""
    by_name = {recording.name: recording for recording in originals}
    return tuple(
        track
        for part, pieces in parts.items()
        for piece in pieces
        for track in _as_read(by_name[piece.name], piece, part, rate_hz)
    )


def as_aligned(parts: Divided) -> tuple[Track, ...]:
    """Return the tracks of recordings that are on one clock."""
    return tuple(
        Track(part, piece.name, piece.subject, device, signal.values, signal.rate_hz, piece.start)
        for part, pieces in parts.items()
        for piece in pieces
        for device, signal in piece.signals.items()
    )


def join_windows(tracks: Sequence[Track]) -> tuple[Track, ...]:
    """Return tracks in which the windows of one subject are joined, so that they are as long as possible.

    Tracks of one length, shorter than WINDOW_S, may be windows of a source without times. They are joined by the
    samples that they share. If they share none, two successive ones are joined where no channel jumps by more than it
    does inside of them: a jump resembles other jumps.
    """
    groups: dict[tuple[str, str, str, int], list[Track]] = {}
    for track in tracks:
        groups.setdefault((track.part, track.subject, track.device, len(track.values)), []).append(track)
    return tuple(joined for group in groups.values() for joined in _joined(group))


def _joined(group: Sequence[Track]) -> Iterator[Track]:
    length = len(group[0].values)
    if len(group) == 1 or not length or length >= WINDOW_S * group[0].rate_hz:
        yield from group
        return
    values = np.stack([track.values for track in group])  # (N, W, C)
    channels = [values[:, :, n] for n in range(values.shape[2])]
    owner = np.zeros(len(group), np.int8)
    shift = window_overlap.find_shift(channels, owner)
    step = window_overlap.find_order(channels, owner, shift).step if shift else length * _continue(values)
    begins = np.flatnonzero(step == 0).tolist()
    for begin, end in zip(begins, [*begins[1:], len(group)], strict=True):
        starts = np.cumsum(step[begin:end])
        samples = np.stack([window_overlap.join(one[begin:end], step[begin:end]) for one in channels], axis=1)
        names = [track.recording for track in group[begin:end]]
        places = tuple((name, start, start + length) for name, start in zip(names, starts.tolist(), strict=True))
        yield group[begin]._replace(values=samples, joined=places)


def _continue(values: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return 1 for each window (N, W, C) that may continue the one before, else 0."""
    inside = np.abs(np.diff(values, axis=1)).max(axis=1)  # (N, C)
    jumps = np.abs(values[1:, 0] - values[:-1, -1])
    smooth = (jumps <= np.maximum(inside[1:], inside[:-1])).all(axis=1)
    return np.concatenate([[0], smooth]).astype(np.intp)


def _as_read(original: Recording, piece: Recording, part: str, rate_hz: float) -> Iterator[Track]:
    resampled = alignment.is_resampled(original, rate_hz)
    origin = alignment.shared_times(original.signals)[0] if resampled else 0.0
    end = piece.start + len(piece.labels)
    for device, signal in original.signals.items():
        if signal.time is None:
            step = rate_hz / signal.rate_hz
            offset = -origin * rate_hz
            first = max(0, int(np.ceil((piece.start - offset) / step)))
            last = max(first, int(np.ceil((end - offset) / step)))
            values, start, moments = signal.values[first:last], offset + step * first, None
        else:
            placed = (signal.time - origin) * rate_hz
            first, last = np.searchsorted(placed, (piece.start, end)).tolist()
            values, start, step, moments = signal.values[first:last], 0.0, 1.0, placed[first:last]
        yield Track(part, original.name, original.subject, device, values, signal.rate_hz, start, step, moments)
