"""The reports of an evaluation and of a data check, from records alone: Markdown, pictures and self-contained pages.

matplotlib and the Markdown reader are loaded when the first picture or page is made.
"""

from modelreg.report.advice import Advice, recommendations, starved
from modelreg.report.bundle import documents
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
    "Checks",
    "documents",
    "draw_classes",
    "draw_confusion",
    "draw_coverage",
    "draw_curves",
    "draw_reliability",
    "draw_subjects",
    "draw_temperature",
    "html",
    "markdown",
    "number",
    "quality_documents",
    "recommendations",
    "starved",
]
