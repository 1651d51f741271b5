"""Calibrate on the out-of-fold predictions of a cross-validated run: `benchmarks/cross_fitted.py RUN [--figures]`

Run `modelreg evaluate RUN --protocol loso` (or kfold-subject) first. Temperature and prediction sets are fitted on the
predictions of all folds, and judged by leaving each subject out of the fit. For comparison, each fold's temperature is
also fitted as modelreg 0.2 did: on the fold's validation split, and always applied.
"""

import argparse
from pathlib import Path
from time import perf_counter

import numpy as np

from modelreg.artifacts import npz
from modelreg.documents.templates import calibration_v2
from modelreg.evaluation import calibration, calibration_v1, metrics, temperature_scaling
from modelreg.evaluation.metrics import Predictions
from modelreg.records.base import load
from modelreg.records.calibration import SETS, ConfidenceMetrics, SetMetrics
from modelreg.records.metrics import EvalMetrics
from modelreg.registry.filenames import METRICS, PREDICTIONS, VALIDATION

UNUSED = "0" * 64  # digests, which no figure depends on


def read(folder: Path, name: str, classes: int) -> Predictions:
    """Return a fold's predictions without codes, which differ between folds."""
    found = metrics.from_arrays(npz.read_npz(folder / name), name, classes)
    return found._replace(code=None, cluster=None)


def joined(parts: list[Predictions]) -> Predictions:
    """Return the predictions of all folds."""
    return Predictions(**{name: np.concatenate([part.arrays()[name] for part in parts]) for name in parts[0].arrays()})


def by_version_1(folders: list[Path], parts: list[Predictions], classes: tuple[str, ...]) -> np.ndarray:
    """Return the logits (N, K), divided by temperatures fitted on the validation split of each fold."""
    origin = calibration.Origin(classes, UNUSED, UNUSED)
    scaled = []
    for folder, part in zip(folders, parts, strict=True):
        fitted = calibration_v1.fit_calibration(read(folder, VALIDATION, len(classes)), origin, level=0.95)
        scaled.append(part.logits / np.float32(fitted.temperature.value))
    return np.concatenate(scaled)


def figures(found: ConfidenceMetrics, earlier: float) -> str:
    """Return one line: temperature, calibration errors, coverage and size of both kinds of sets."""
    judged = found.temperature
    gain = calibration_v2.with_error(judged.gain or 0.0, judged.error or 0.0)
    parts = [
        f"{judged.outcome} ({gain}, fitted {judged.fitted:.3f})",
        f"ECE {found.before.equal_mass.error:.3f}, {found.after.equal_mass.error:.3f} after, {earlier:.3f} by 0.2",
    ]
    for kind in SETS:
        each = found.sets[kind]
        if isinstance(each, SetMetrics):
            rows = [row.coverage for row in each.per_subject.values() if row.coverage is not None]
            said = f"{each.subject_mean:.3f} (lowest {min(rows):.3f}), size {each.mean_size:.2f}"
        else:
            said = each.reason
        parts.append(f"{kind} {said}")
    return " | ".join(parts)


def main() -> None:
    """Print the sentences of a report, or one line of figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--figures", action="store_true")
    options = parser.parse_args()
    folders = sorted(path.parent for path in options.run.glob(f"folds/*/{PREDICTIONS}"))
    measured = load(folders[0] / METRICS, EvalMetrics)
    parts = [read(folder, PREDICTIONS, len(measured.classes)) for folder in folders]
    pooled, start = joined(parts), perf_counter()
    origin = calibration.Origin(measured.classes, UNUSED, UNUSED)
    fitted = calibration.fit_calibration(pooled, origin)
    between = perf_counter()
    found = calibration.measure_calibration(pooled, fitted, measured.settings)
    seconds = (between - start, perf_counter() - between)
    scaled = pooled._replace(logits=by_version_1(folders, parts, measured.classes))
    earlier = temperature_scaling.measure_calibration_error(scaled, measured.settings).equal_mass.error
    accuracy = float((pooled.logits.argmax(axis=1) == pooled.y).mean())
    print(f"{len(pooled.y):,} windows of {fitted.temperature.subjects} subjects, accuracy {accuracy:.3f}")
    print(figures(found, earlier) if options.figures else "\n".join(calibration_v2.sentences(found)))
    print(f"fitted in {seconds[0]:.1f} s, judged in {seconds[1]:.1f} s")


if __name__ == "__main__":
    main()
