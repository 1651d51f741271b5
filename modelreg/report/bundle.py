"""All files of an evaluation's report: text, page and pictures."""

from collections.abc import Callable, Sequence

from modelreg import runs
from modelreg.records.calibration import ConfidenceMetrics
from modelreg.records.data import DataRecord
from modelreg.records.intervals import Reason
from modelreg.records.metrics import EvalMetrics
from modelreg.records.run import Epoch, RunRecord
from modelreg.report import pictures
from modelreg.report.page import html
from modelreg.report.sections import markdown
from modelreg.report.text import NO_CHECKS, Checks


def documents(
    metrics: EvalMetrics,
    data: DataRecord,
    run: RunRecord,
    history: Sequence[Epoch],
    checks: Checks = NO_CHECKS,
) -> dict[str, bytes]:
    """Return what `evaluate` writes, by file name: the pictures for a light page, report.md, and report.html.

    The page holds each picture twice, for light and for dark, and shows the one that the reader's system asks for.
    """
    best = run.best_epoch or 0
    draw: dict[str, Callable[[bool], bytes]] = {
        "confusion": lambda dark: pictures.draw_confusion(metrics, dark=dark),
        **({"curves": lambda dark: pictures.draw_curves(history, best, dark=dark)} if history else {}),
        "classes": lambda dark: pictures.draw_classes(metrics, dark=dark),
        "reliability": lambda dark: pictures.draw_reliability(metrics, dark=dark),
        "subjects": lambda dark: pictures.draw_subjects(metrics, dark=dark),
        **(_confidence_pictures(found) if (found := metrics.confidence) else {}),
    }
    drawn = {f"{name}.png": (of(False), of(True)) for name, of in draw.items()}
    paths = {name.removesuffix(".png"): name for name in drawn}
    text = markdown(metrics, data, run, paths, history, checks)
    page = html(text, f"Evaluation of {metrics.model}", drawn)
    light = {name: picture for name, (picture, _) in drawn.items()}
    return {**light, runs.REPORT: text.encode(), runs.PAGE: page.encode()}


def _confidence_pictures(found: ConfidenceMetrics) -> dict[str, Callable[[bool], bytes]]:
    return {
        "temperature": lambda dark: pictures.draw_temperature(found, dark=dark),
        **(
            {}
            if isinstance(found.sets, Reason)
            else {"coverage": lambda dark: pictures.draw_coverage(found, dark=dark)}
        ),
    }
