"""Plant copies between train and test in real sets, and count how many the leakage audit finds.

    python benchmarks/leakage.py DATA [SET ...] [--copies 60] [--pairs] [--conditions NAME ...]

DATA has the folders dsads, hapt and spsw as docs/data.md describes them; SET is one of sample, spsw, hapt, dsads. Each
condition plants copies of moments of train in random places of test: the same movement in another subject's recording,
changed as the condition says. Movement is the largest standard deviation of a channel in hundredths of its sensor's;
10 to 20, 20 to 50, 50 to 100 and more have equal shares as far as the set has them. `alarms` counts what is found
elsewhere, or in another recording. With --pairs, all pairs of subjects are searched, without copies.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from modelreg import config, strict_yaml
from modelreg.config import TrainConfig
from modelreg.data import alignment, exact_copies, near_copies, preparation, splits, tracks
from modelreg.data.cache import Reading
from modelreg.data.recording import Dataset
from modelreg.data.tracks import Track
from modelreg.records.base import shared_folder

SETS = ("sample", "spsw", "hapt", "dsads")
NOISE = 0.01
LEVELS = (10, 20, 50, 100, np.inf)
FINE = 16  # positions between two samples
SECONDS = 5.0
MARGIN_S = 1.0
STILL = 0.05

Floats = NDArray[np.float32]
Change = Callable[[Floats, Floats, np.random.Generator], Floats]  # samples with margins, σ -> samples with margins


class Plant(NamedTuple):
    """A planted copy."""

    origin: int  # track
    first: float
    into: int  # track
    at: int
    samples: int


class Set(NamedTuple):
    """The recordings of a set, divided by its configuration."""

    name: str
    dataset: Dataset
    aligned: tuple[Track, ...]
    as_read: tuple[Track, ...]
    lowest_hz: float

    @property
    def rates(self) -> dict[str, float]:
        """The lowest rate of each device."""
        return dict.fromkeys(self.dataset.devices, self.lowest_hz)


def load(name: str, data: Path, cache: Path) -> Set:
    """Read, align and divide a set."""
    document = strict_yaml.parse(shared_folder("configs").joinpath(f"{name}.yaml").read_text("utf-8"), name)
    change = [] if name == "sample" else [f"data.sources.0.path={data / name}"]
    settings = config.settle(document, TrainConfig, name, change)
    reading = Reading(Path(), cache)
    dataset = preparation.read_dataset(settings, reading)
    whole = [alignment.align(found, dataset.rate_hz, settings.quality.limits) for found in dataset.recordings]
    parts = splits.split(whole, settings.split, settings.data.window)
    lowest = min(each.rate_hz for found in dataset.recordings for each in found.signals.values())
    as_read = tracks.as_read(dataset.recordings, parts, dataset.rate_hz)
    return Set(name, dataset, tracks.as_aligned(parts), as_read, lowest)


# Conditions: of samples (n, C) with margins; σ (C,)


def _shifted(x: Floats, by: float, scale: float = 1.0) -> Floats:
    """Return the samples a part of a sample later, stretched around their middle."""
    dense = signal.resample_poly(x.astype(np.float64), FINE, 1, axis=0, padtype="edge")
    middle = (len(x) - 1) / 2
    at = (middle + by + scale * (np.arange(len(x)) - middle)) * FINE
    at = np.clip(at, 0, len(dense) - 2)
    below = at.astype(int)
    part = (at - below)[:, None]
    return (dense[below] * (1 - part) + dense[below + 1] * part).astype(np.float32)


def _noisy(x: Floats, sigma: Floats, rng: np.random.Generator) -> Floats:
    return x + (NOISE * sigma * rng.standard_normal(x.shape)).astype(np.float32)


def _gained(x: Floats, rng: np.random.Generator) -> Floats:
    middle = x.mean(axis=0)
    return (x - middle) * rng.choice([0.9, 1.1], x.shape[1]).astype(np.float32) + middle


def _moved(x: Floats, sigma: Floats, rng: np.random.Generator) -> Floats:
    return x + (0.5 * sigma * rng.choice([-1, 1], x.shape[1])).astype(np.float32)


def _rounded(x: Floats, step: Floats) -> Floats:
    return (np.rint(x / step) * step).astype(np.float32)


def _at_rate(x: Floats, sigma: Floats, rng: np.random.Generator, up: int, down: int) -> Floats:
    """Return what a device of another rate records, resampled to this one as the product does it."""
    other = signal.resample_poly(_shifted(x, rng.uniform(0, 1)), up, down, axis=0, padtype="edge")
    back = signal.resample_poly(_noisy(other.astype(np.float32), sigma, rng), down, up, axis=0, padtype="edge")
    return back[: len(x)].astype(np.float32)


CONDITIONS: dict[str, Change] = {
    "whole shift": lambda x, _s, _r: x,
    "sub-sample shift": lambda x, _s, r: _shifted(x, r.uniform(0, 1)),
    "1 % noise": lambda x, s, r: _noisy(_shifted(x, r.uniform(0, 1)), s, r),
    "gain 0.9 or 1.1": lambda x, _s, r: _gained(_shifted(x, r.uniform(0, 1)), r),
    "gain, noise, offset": lambda x, s, r: _noisy(_moved(_gained(_shifted(x, r.uniform(0, 1)), r), s, r), s, r),
    "rounded to 0.02": lambda x, s, r: _rounded(_shifted(x, r.uniform(0, 1)), 0.02 * s),
    "warp 1 %, noise": lambda x, s, r: _noisy(_shifted(x, r.uniform(0, 1), r.choice([0.99, 1.01])), s, r),
    "rate halved, noise": lambda x, s, r: _at_rate(x, s, r, 1, 2),
    "rate doubled, noise": lambda x, s, r: _at_rate(x, s, r, 2, 1),
}


def _turned(x: Floats, sigma: Floats, rng: np.random.Generator, matrix: NDArray[np.float64]) -> Floats:
    """Turn the first two sensors, and what follows not."""
    made = _shifted(x, rng.uniform(0, 1)).astype(np.float64)
    for axes in (slice(0, 3), slice(3, 6)):
        made[:, axes] = made[:, axes] @ matrix
    return _noisy(made.astype(np.float32), sigma, rng)


def _flip(rng: np.random.Generator) -> NDArray[np.float64]:
    signs = [(-1, 1, 1), (1, -1, 1), (1, 1, -1), (-1, -1, 1), (-1, -1, -1)]
    return np.diag(signs[rng.integers(len(signs))]).astype(np.float64)


CONDITIONS |= {
    "axes exchanged, noise": lambda x, s, r: _turned(
        x, s, r, np.eye(3)[list([(1, 0, 2), (1, 2, 0), (2, 1, 0)][r.integers(3)])]
    ),
    "axes flipped, noise": lambda x, s, r: _turned(x, s, r, _flip(r)),
    "turned, noise": lambda x, s, r: _turned(x, s, r, np.linalg.qr(r.standard_normal((3, 3)))[0]),
}


# Plants


def _sigma(found: Sequence[Track], dataset: Dataset) -> Floats:
    """Return σ of each channel: that of its sensor, or its own if it is not compared."""
    columns = near_copies.columns_of(dataset.channels)
    shared = near_copies._scale(found, range(len(found)), columns)  # noqa: SLF001
    values = np.concatenate([track.values for track in found])
    sigma = np.nanstd(values, axis=0).astype(np.float32)
    sigma[list(columns)] = shared
    return np.where(sigma > 0, sigma, np.float32(1))


def _movement(x: Floats, sigma: Floats, columns: Sequence[int]) -> float:
    return float((x[:, columns].std(axis=0) / sigma[columns]).max() / NOISE)


def _origins(
    found: Sequence[Track], sigma: Floats, columns: Sequence[int], samples: int, rng: np.random.Generator
) -> Iterator[tuple[int, int]]:
    """Yield endless moments of train, of each level of movement, as far as they are found."""
    rate = found[0].rate_hz
    margin = int(MARGIN_S * rate)
    sources = [n for n, t in enumerate(found) if t.part == "train" and len(t.values) > samples + 2 * margin]
    missing = dict.fromkeys(range(len(LEVELS) - 1), 0)
    while True:
        for level in missing:
            for _ in range(200 if missing[level] < 2 else 0):
                n = int(rng.choice(sources))
                at = int(rng.integers(margin, len(found[n].values) - samples - margin))
                x = found[n].values[at - margin : at + samples + margin]
                if not np.isfinite(x).all():
                    continue
                if LEVELS[level] <= _movement(x[margin:-margin], sigma, columns) < LEVELS[level + 1]:
                    yield n, at
                    break
            else:
                missing[level] += 1


def plant(
    found: Sequence[Track], dataset: Dataset, change: Change, copies: int, seed: int
) -> tuple[list[Track], list[Plant]]:
    """Return the tracks with copies in test, and where they are."""
    rng = np.random.default_rng(seed)
    changed = list(found)
    rate = found[0].rate_hz
    samples, margin = int(SECONDS * rate), int(MARGIN_S * rate)
    sigma = _sigma(found, dataset)
    columns = list(near_copies.columns_of(dataset.channels))
    origins = _origins(found, sigma, columns, samples, rng)
    free = [n for n, t in enumerate(found) if t.part == "test" and len(t.values) >= samples]
    planted: list[Plant] = []
    for _ in range(100 * copies):
        if len(planted) == copies:
            break
        origin, first = next(origins)
        into = int(rng.choice([n for n in free if found[n].device == found[origin].device]))
        at = int(rng.integers(0, len(found[into].values) - samples + 1))
        if any(p.into == into and abs(p.at - at) < samples + rate / 2 for p in planted):
            continue
        x = change(found[origin].values[first - margin : first + samples + margin], sigma, rng)
        values = changed[into].values.copy()
        values[at : at + samples] = x[margin : margin + samples]
        changed[into] = changed[into]._replace(values=values)
        planted.append(Plant(origin, first, into, at, samples))
    return changed, planted


def score(planted: Sequence[Plant], copies: Sequence[near_copies.NearCopy], rate: float) -> tuple[int, int]:
    """Return how many plants were found, and how many copies are not a plant."""

    def is_of(copy: near_copies.NearCopy, p: Plant) -> bool:
        shift = (copy.earlier_start - copy.start) - (p.first - p.at)
        return copy.earlier == p.origin and copy.later == p.into and abs(shift) < 0.3 * rate

    def is_in(copy: near_copies.NearCopy, p: Plant) -> bool:
        return copy.later == p.into and copy.start < p.at + p.samples and copy.end > p.at

    return (
        sum(any(is_of(copy, p) and is_in(copy, p) for copy in copies) for p in planted),
        sum(not any(is_in(copy, p) and copy.earlier == p.origin for p in planted) for copy in copies),
    )


def timed(what: str, step: Callable[[], tuple[int, int, int]]) -> None:
    """Print a line of the table."""
    begin, used = time.perf_counter(), time.process_time()
    found, of, alarms = step()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line = f"{what:34s} {found:3d}/{of:<3d} {alarms:3d} alarms {time.perf_counter() - begin:6.1f} s"
    line += f" ({time.process_time() - used:6.1f} s of processors) {memory:6.0f} MB"
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def near(of: Set, name: str, change: Change, copies: int) -> tuple[int, int, int]:
    """Plant copies and search."""
    changed, planted = plant(of.aligned, of.dataset, change, copies, seed=sorted(CONDITIONS).index(name))
    slow = of.aligned[0].rate_hz / 2 if "halved" in name else of.lowest_hz
    found = near_copies.find(changed, of.dataset.channels, dict.fromkeys(of.dataset.devices, slow))
    right, alarms = score(planted, found.copies, of.aligned[0].rate_hz)
    return right, len(planted), alarms


def exact(of: Set, copies: int, *, still: bool) -> tuple[int, int, int]:
    """Plant runs of 2 s as they were read, and search."""
    rng = np.random.default_rng(1)
    found, changed = of.as_read, list(of.as_read)
    sigma = np.nanstd(np.concatenate([track.values for track in found]), axis=0)
    planted: list[Plant] = []
    for _ in range(200 * copies):
        if len(planted) == copies:
            break
        origin, into = (
            int(rng.choice([n for n, t in enumerate(found) if t.part == part and len(t.values) > 3 * t.rate_hz]))
            for part in ("train", "test")
        )
        samples = int(2 * found[origin].rate_hz)
        first, at = (int(rng.integers(0, len(found[n].values) - samples)) for n in (origin, into))
        x = found[origin].values[first : first + samples]
        if still and (x.std(axis=0) > STILL * sigma).any():
            continue
        if any(p.into == into and abs(p.at - at) < 2 * samples for p in planted):
            continue
        values = changed[into].values.copy()
        values[at : at + samples] = x
        changed[into] = changed[into]._replace(values=values)
        planted.append(Plant(origin, first, into, at, samples))
    copied = exact_copies.find(changed)
    right = sum(
        any(c.later == p.into and c.start < p.at + p.samples and c.start + c.samples > p.at for c in copied)
        for p in planted
    )
    wrong = sum(not any(c.later == p.into and c.earlier == p.origin for p in planted) for c in copied)
    return right, len(planted), wrong


def all_pairs(of: Set) -> tuple[int, int, int]:
    """Search all pairs of subjects, without copies."""
    ordered = sorted(of.aligned, key=lambda track: track.subject)
    apart = [track._replace(part=track.subject) for track in ordered]  # type: ignore[arg-type]
    return 0, 0, len(near_copies.find(apart, of.dataset.channels, of.rates).copies)


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser()
    options.add_argument("data", type=Path)
    options.add_argument("sets", nargs="*", default=SETS)
    options.add_argument("--copies", type=int, default=60)
    options.add_argument("--pairs", action="store_true")
    options.add_argument("--conditions", nargs="*", default=list(CONDITIONS))
    options.add_argument("--cache", type=Path, default=None)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.sets:
            of = load(name, chosen.data, chosen.cache or Path(folder))
            hours = sum(len(track.values) / track.rate_hz for track in of.aligned) / 3600
            sys.stdout.write(f"{name}: {hours:.2f} hours of devices\n")
            timed("exact, as configured", lambda of=of: (0, 0, len(exact_copies.find(of.as_read))))
            timed("exact, 2 s", lambda of=of: exact(of, chosen.copies, still=False))
            timed("exact, 2 s, still", lambda of=of: exact(of, chosen.copies, still=True))
            timed(
                "near, as configured",
                lambda of=of: (0, 0, len(near_copies.find(of.aligned, of.dataset.channels, of.rates).copies)),
            )
            if chosen.pairs:
                timed("near, all pairs of subjects", lambda of=of: all_pairs(of))
            for condition in chosen.conditions:
                change = CONDITIONS[condition]
                timed(condition, lambda of=of, c=condition, change=change: near(of, c, change, chosen.copies))


if __name__ == "__main__":
    main()
