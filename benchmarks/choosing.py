"""Evaluate a configuration on the training subjects only: `benchmarks/choosing.py CONFIG [--set a.b=c]…`

Each training subject is left out once, or each of `--groups N` groups of them. The others train to the last epoch,
without validation. The validation and test splits of the configuration are not used, so that they can still judge the
choice. Prints pooled accuracy, macro F1 and calibration error (without temperature scaling), the accuracy of each
fold, and the most frequent errors.
"""

import argparse
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray

from modelreg import config
from modelreg.config import TrainConfig
from modelreg.data import preparation
from modelreg.data.cache import Reading
from modelreg.data.preparation import Prepared
from modelreg.evaluation import metrics
from modelreg.evaluation.metrics import Predictions
from modelreg.ml import augmentation, factory, prediction, training
from modelreg.ml.batches import Part
from modelreg.records.metrics import EvaluationSettings, Metrics

ERRORS = 6


def answer(settings: TrainConfig, prepared: Prepared, out: NDArray[np.bool_]) -> Predictions:
    """Train on the windows that are not in `out`, to the last epoch; return the predictions of the others."""
    windows = prepared.windows["train"]
    x, y = torch.tensor(windows.x), torch.tensor(windows.y)
    learn, test = torch.from_numpy(~out), torch.from_numpy(out)
    mean = x[learn].mean(dim=(0, 2, 3))[:, None, None]
    std = x[learn].std(dim=(0, 2, 3))[:, None, None]
    normal = (x - mean) / std
    names = [channel.name for channel in prepared.input.channels]
    changes = augmentation.make(settings.augmentation, names, augmentation.Scale(mean, std))
    seed, classes = settings.training.seed, len(prepared.classes)
    network = factory.seeded(settings.model, prepared.input.shape, classes, seed=seed)
    part, held_out = Part(normal[learn], y[learn]), Part(normal[test], y[test])
    *_, last = training.fit(network, part, held_out, settings.training, augmentation=changes)
    network.load_state_dict(last.weights)
    arrays = windows.arrays()
    said = prediction.predict(network, normal[test].numpy())
    return Predictions(
        said.logits, windows.y[out], arrays["subject"][out], arrays["recording"][out], windows.start[out]
    )


def groups(prepared: Prepared, count: int | None) -> list[tuple[str, NDArray[np.bool_]]]:
    """Return the folds by name, each as the windows that it leaves out."""
    windows = prepared.windows["train"]
    number = count or len(windows.subjects)
    named = [windows.subjects[start::number] for start in range(number)]
    subject = windows.arrays()["subject"]
    return [(" ".join(people), np.isin(subject, people)) for people in named]


def show(found: Metrics, classes: tuple[str, ...]) -> None:
    """Print the most frequent errors."""
    confusion = np.array(found.confusion)
    np.fill_diagonal(confusion, 0)
    for place in np.argsort(confusion, axis=None)[::-1][:ERRORS]:
        true, said = np.unravel_index(place, confusion.shape)
        print(f"  {confusion[true, said]} windows of {classes[true]} taken for {classes[said]}")


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="assignments")
    parser.add_argument("--groups", type=int)
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args()
    settings = config.load(given.config, TrainConfig, given.assignments)
    prepared = preparation.prepare(settings, Reading(Path.cwd(), given.cache))
    torch.set_num_threads(settings.training.threads)
    start, answers = perf_counter(), []
    for people, out in groups(prepared, given.groups):
        answers.append(answer(settings, prepared, out))
        right = answers[-1].logits.argmax(axis=1) == answers[-1].y
        print(f"{people}: accuracy {right.mean():.4f}", flush=True)
    together = Predictions(*(np.concatenate(column) for column in zip(*(a[:5] for a in answers), strict=True)))
    found = metrics.compute(together, classes=prepared.classes, levels=None, settings=EvaluationSettings())
    shape, classes = prepared.input.shape, len(prepared.classes)
    size = sum(weight.numel() for weight in factory.build(settings.model, shape, classes).parameters())
    seconds = perf_counter() - start
    print(f"accuracy {found.accuracy:.4f}, macro F1 {found.macro_f1:.4f}", end=", ")
    print(f"calibration error {found.calibration.ece:.4f}, {size} parameters, {seconds:.0f} s")
    show(found, prepared.classes)


if __name__ == "__main__":
    main()
