"""The reports of an evaluation and of a data check, from records alone: Markdown, pictures and self-contained pages.

matplotlib and the Markdown reader are loaded when the first picture or page is made.
"""

from modelreg.report.ablation import ablation_looks, ablation_markdown, ablation_tables
from modelreg.report.advice import Advice, recommendations, starved
from modelreg.report.bundle import documents
from modelreg.report.comparison import comparison_markdown, comparison_page, comparison_rows, comparison_verdicts
from modelreg.report.health import Ailment, ailments
from modelreg.report.leaks import leaky
from modelreg.report.page import html
from modelreg.report.pictures import (
    draw_classes,
    draw_confusion,
    draw_coverage,
    draw_curves,
    draw_reliability,
    draw_subjects,
    draw_temperature,
)
from modelreg.report.quality import quality_documents
from modelreg.report.sections import markdown
from modelreg.report.text import HEADLINE, Checks, number

__all__ = [
    "HEADLINE",
    "Advice",
    "Ailment",
    "Checks",
    "ablation_looks",
    "ablation_markdown",
    "ablation_tables",
    "ailments",
    "comparison_markdown",
    "comparison_page",
    "comparison_rows",
    "comparison_verdicts",
    "documents",
    "draw_classes",
    "draw_confusion",
    "draw_coverage",
    "draw_curves",
    "draw_reliability",
    "draw_subjects",
    "draw_temperature",
    "html",
    "leaky",
    "markdown",
    "number",
    "quality_documents",
    "recommendations",
    "starved",
]
