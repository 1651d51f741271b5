"""Render all files of an evaluation's report: Markdown, HTML and pictures."""

from collections.abc import Callable, Sequence

from modelreg.documents.report import calibration, plots
from modelreg.documents.report.formatting import NO_CHECKS, Checks
from modelreg.documents.report.html import html
from modelreg.documents.report.markdown import markdown
from modelreg.records.calibration import ConfidenceMetrics, SetMetrics
from modelreg.records.data import DataRecord
from modelreg.records.metrics import EvalMetrics
from modelreg.records.run import Epoch, RunRecord
from modelreg.registry import filenames


def documents(
    metrics: EvalMetrics,
    data: DataRecord,
    run: RunRecord,
    history: Sequence[Epoch],
    checks: Checks = NO_CHECKS,
) -> dict[str, bytes]:
    """Return the files that `evaluate` writes, by name: the pictures in light colors, report.md and report.html.

    report.html contains each picture twice, in light and dark colors, and shows the one that the browser prefers.
    """
    best = run.best_epoch or 0
    draw: dict[str, Callable[[bool], bytes]] = {
        "confusion": lambda dark: plots.draw_confusion(metrics, dark=dark),
        **({"curves": lambda dark: plots.draw_curves(history, best, dark=dark)} if history else {}),
        "classes": lambda dark: plots.draw_classes(metrics, dark=dark),
        "reliability": lambda dark: plots.draw_reliability(metrics, dark=dark),
        "subjects": lambda dark: plots.draw_subjects(metrics, dark=dark),
        **(_confidence_pictures(found) if isinstance(found := metrics.confidence, ConfidenceMetrics) else {}),
    }
    drawn = {f"{name}.png": (of(False), of(True)) for name, of in draw.items()}
    paths = {name.removesuffix(".png"): name for name in drawn}
    text = markdown(metrics, data, run, paths, history, checks)
    page = html(text, f"Evaluation of {metrics.model}", drawn)
    light = {name: picture for name, (picture, _) in drawn.items()}
    return {**light, filenames.REPORT: text.encode(), filenames.PAGE: page.encode()}


def _confidence_pictures(found: ConfidenceMetrics) -> dict[str, Callable[[bool], bytes]]:
    applied, sets = calibration.is_applied(found), any(isinstance(each, SetMetrics) for each in found.sets.values())
    return {
        **({"temperature": lambda dark: plots.draw_temperature(found, dark=dark)} if applied else {}),
        **({"coverage": lambda dark: plots.draw_coverage(found, dark=dark)} if sets else {}),
        "risk": lambda dark: plots.draw_risk(found, dark=dark),
    }
