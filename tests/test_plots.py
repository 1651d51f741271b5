"""Pictures are reproducible, and readable in light and dark colors."""

import io

import pytest
from example_records import example_history, example_metrics

from modelreg.documents.report import plots as drawing

SIGNATURE = b"\x89PNG\r\n\x1a\n"
DRAW = {
    "confusion": lambda dark: drawing.draw_confusion(example_metrics(), dark=dark),
    "classes": lambda dark: drawing.draw_classes(example_metrics(), dark=dark),
    "reliability": lambda dark: drawing.draw_reliability(example_metrics(), dark=dark),
    "subjects": lambda dark: drawing.draw_subjects(example_metrics(), dark=dark),
    "curves": lambda dark: drawing.draw_curves(example_history(), 28, dark=dark),
}


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", DRAW)
def test_pictures_are_the_same_bytes_twice(name, dark) -> None:
    """They are PNG files without time or version."""
    first, second = DRAW[name](dark), DRAW[name](dark)

    assert first.startswith(SIGNATURE)
    assert first == second


@pytest.mark.parametrize(("dark", "paper"), [(False, drawing.LIGHT.paper), (True, drawing.DARK.paper)])
@pytest.mark.parametrize("name", DRAW)
def test_pictures_have_the_paper_of_their_page(name, dark, paper) -> None:
    """The background is that of the page."""
    from matplotlib.colors import to_hex
    from matplotlib.image import imread

    assert to_hex(imread(io.BytesIO(DRAW[name](dark)))[0, 0]) == paper


@pytest.mark.parametrize("use", [drawing.LIGHT, drawing.DARK])
def test_counts_have_contrast_on_every_shade(use) -> None:
    """WCAG requires 4.5 to 1, for shares from 0 to 1."""
    shades = drawing._shades(use)

    assert min(contrast(shades(i / 200)[:3], drawing._ink(i / 200, 1, use)) for i in range(201)) >= 4.5


@pytest.mark.parametrize("use", [drawing.LIGHT, drawing.DARK])
@pytest.mark.parametrize(("name", "least"), [("ink", 7), ("faint", 4.5), ("blue", 3), ("orange", 3), ("green", 3)])
def test_inks_stand_out_from_the_paper(use, name, least) -> None:
    """Text needs more contrast than marks."""
    assert contrast(getattr(use, name), use.paper) >= least


def contrast(one, other) -> float:
    """Return WCAG's contrast of two colors."""
    from matplotlib.colors import to_rgb

    def luminance(colour) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_zeros_are_faint() -> None:
    """A zero is not an error."""
    assert drawing._ink(0.0, 0, drawing.LIGHT) == drawing.LIGHT.faint


def test_pictures_ignore_the_settings_of_the_user() -> None:
    """A matplotlibrc does not change a picture, and drawing does not change a setting."""
    import matplotlib as mpl

    plain = DRAW["subjects"](False)
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "black"}):
        assert DRAW["subjects"](False) == plain
        assert mpl.rcParams["font.size"] == 30


@pytest.mark.parametrize("classes", [2, 20])
def test_a_confusion_matrix_of_any_usual_size(classes) -> None:
    """Long names, formulas, scripts without a font, and classes without windows."""
    names = ("$x^{", "歩く", *(f"a rather long name of a behaviour {i}" for i in range(classes - 2)))

    assert drawing.draw_confusion(example_metrics(names, windows=1)).startswith(SIGNATURE)


@pytest.mark.parametrize("classes", [2, 20])
def test_bars_of_any_usual_number_of_classes(classes) -> None:
    """The height grows with the number of classes."""
    heights = [
        int.from_bytes(drawing.draw_classes(example_metrics(tuple(map(str, range(n)))))[20:24], "big")
        for n in (classes, classes + 1)
    ]

    assert heights[0] < heights[1]


def test_large_counts_are_written_smaller() -> None:
    """Five digits fit into a cell."""
    metrics = example_metrics().model_copy(update={"confusion": ((12345, 0), (1, 99)), "classes": ("a", "b")})

    assert drawing.draw_confusion(metrics).startswith(SIGNATURE)


def test_curves_of_a_single_epoch() -> None:
    """A single point has a marker."""
    assert drawing.draw_curves(example_history(1), 1).startswith(SIGNATURE)


def test_long_names_are_cut_in_pictures() -> None:
    """Labels have a maximum length; the tables show the full name."""
    assert drawing._label("x" * 25) == "x" * 23 + "…"
    assert drawing._label("x" * 24) == "x" * 24
