"""Measure windows per second of `modelreg.ml.training.fit` and of a plain DataLoader loop of the same network.

    python benchmarks/training.py

Both run in one process, alternately, epoch by epoch. The best round counts, because other work on the machine can
only take time away. Both do the same number of Adam steps on batches of the same size. `fit` also clips the gradient,
measures it and the codes, checks for NaN, validates and copies a snapshot. Then everything runs again with glibc's
allocator tuned (`determinism.tune_allocator`), which a process cannot undo.
"""

import time
from collections.abc import Callable, Iterator
from itertools import count

import torch
from torch.utils.data import DataLoader, TensorDataset

from modelreg.config import TrainingSettings
from modelreg.ml import determinism, factory, training
from modelreg.ml.batches import Part
from modelreg.ml.network import Network
from modelreg.records.model import Conv2dFsqSettings

SHAPE, CLASSES, WINDOWS, ROUNDS, THREADS = (9, 2, 100), 10, 1024, 6, 2


def build() -> Network:
    """Return the network of both loops: 39,762 parameters."""
    return factory.seeded(Conv2dFsqSettings(levels=(8,) * 8), SHAPE, CLASSES, seed=0)


def plain(data: Part, batch_size: int) -> Iterator[None]:
    """Yield after each epoch of the loop of the tutorials."""
    network = build().train()
    loader = DataLoader(TensorDataset(data.x, data.y), batch_size=batch_size, shuffle=True)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in count():
        for x, y in loader:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(x).logits, y)
            loss.backward()
            optimizer.step()
        yield


def ours(data: Part, batch_size: int) -> Iterator[training.Snapshot]:
    """Yield after each epoch of modelreg's loop."""
    settings = TrainingSettings(batch_size=batch_size, epochs=1000, patience=1000, threads=THREADS)
    return training.fit(build(), data, Part(data.x[:2], data.y[:2]), settings)


def seconds(step: Callable[[], object]) -> float:
    """Return how long one call takes."""
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


def rates(data: Part, batch_size: int) -> dict[str, float]:
    """Return the windows per second of each loop, best round after one for warm-up."""
    loops: dict[str, Iterator[object]] = {"plain": plain(data, batch_size), "fit": ours(data, batch_size)}
    times: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(ROUNDS + 1):
        for name, loop in loops.items():
            times[name].append(seconds(lambda loop=loop: next(loop)))  # type: ignore[misc]
    return {name: WINDOWS / min(took[1:]) for name, took in times.items()}


def main() -> None:
    """Print the rates and their ratios."""
    torch.set_num_threads(THREADS)
    random = torch.Generator().manual_seed(0)
    x = torch.randn(WINDOWS, *SHAPE, generator=random)
    data = Part(x, torch.randint(CLASSES, (WINDOWS,), generator=random))
    found = {}
    for allocator in ("default", "tuned"):
        if allocator == "tuned" and not determinism.tune_allocator():
            print("no glibc: the allocator cannot be tuned")
            break
        for batch_size in (64, 512):
            found[allocator, batch_size] = rate = rates(data, batch_size)
            print(
                f"allocator {allocator:7}  batch {batch_size:3}  plain {rate['plain']:6.0f}/s  "
                f"fit {rate['fit']:6.0f}/s  ratio {rate['fit'] / rate['plain']:.2f}  "
                f"to plain untuned {rate['fit'] / found['default', batch_size]['plain']:.2f}"
            )


if __name__ == "__main__":
    main()
