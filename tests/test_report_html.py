"""Pages are one file each: they show what the Markdown says, load nothing and run nothing."""

import re
from base64 import b64decode, b64encode
from html.parser import HTMLParser

import pytest
from example_records import (
    CLASSES,
    example_data_record,
    example_history,
    example_metrics,
    example_quality_report,
    example_run_record,
)
from hypothesis import given
from hypothesis import strategies as st

from modelreg.documents.report import formatting, html, markdown, render
from modelreg.documents.report import quality as data_quality
from modelreg.escaping import one_line
from modelreg.records.data import QualityReport

VOID = {"meta", "img", "source", "br", "hr", "line", "circle"}
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="300" height="80"></svg>'
NAMES = st.text(
    st.characters(
        codec="utf-8",
        exclude_categories=["Cc", "Zs", "Zl", "Zp"],
        exclude_characters="\ufeff",
    ),
    min_size=1,
    max_size=20,
)


class Reader(HTMLParser):
    """Read a page as a browser does: its tags, attributes and texts. Tags that do not close are refused."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs) -> None:
        """Keep a tag, and wait for its end where it has one."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag) -> None:
        """Refuse an end that is not that of the tag opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        """Keep a text with every tag around it."""
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of each tag of a kind."""
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(classes: tuple[str, ...] = CLASSES, *, quality: QualityReport | None = None) -> Reader:
    """Read the page of an evaluation without pictures."""
    metrics, data = example_metrics(classes, windows=4), example_data_record(classes)
    text = markdown.markdown(metrics, data, example_run_record(), {}, example_history(), formatting.Checks(quality))
    return Reader(html.html(text, "An evaluation", {}))


def png(width: int, height: int) -> bytes:
    """Return the beginning of a PNG: its header is all that a page reads."""
    return html.PNG + b"\x00\x00\x00\rIHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big")


@pytest.fixture(scope="module")
def written() -> dict[str, bytes]:
    """All documents of an evaluation, the quality of its data included."""
    records = (example_metrics(), example_data_record(), example_run_record(), example_history())
    return render.documents(*records, formatting.Checks(example_quality_report()))


@given(NAMES)
def test_any_class_name_is_shown_literally(name) -> None:
    """A name is not read as HTML or Markdown."""
    shown = page_of((name, "another class")).texts["td"]

    assert one_line(name) in shown


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a|b", "</td>", "&lt;", "![x](https://e.org/x)", "`x`"])
def test_names_that_look_like_markup(name) -> None:
    """They are shown, and do not create a tag."""
    read = page_of((name, "another class"))

    assert name in read.texts["td"]
    assert not {"script", "iframe", "link", "object"} & {tag for tag, _ in read.tags}


@pytest.mark.parametrize("title", ["<script>", "a & b", 'x"y', "</title>"])
def test_the_title_is_shown_literally(title) -> None:
    """It may contain the name of a folder."""
    assert Reader(html.html("# x", title, {})).texts["title"] == [title]


def test_raw_html_stays_text() -> None:
    """HTML in the Markdown is escaped."""
    assert "&lt;b&gt;" in html.html("a <b> c", "t", {})


def test_a_page_refers_to_nothing_outside(written) -> None:
    """Every address is inside the file."""
    read = Reader(written["report.html"].decode())
    addresses = [a[key] or "" for _, a in read.tags for key in ("src", "srcset", "href") if key in a]

    assert [address[:40] for address in addresses if not address.startswith(("data:image/png;base64,", "#"))] == []


def test_a_page_names_no_address_and_no_script(written) -> None:
    """Not even in its style."""
    assert not re.search(r"https?://|<script|javascript:|@import|url\(", written["report.html"].decode())


def test_the_policy_forbids_all_but_style_and_inline_pictures() -> None:
    """A script that reached the page would not run."""
    metas = Reader(html.html("x", "t", {})).all("meta")

    assert {"http-equiv": "Content-Security-Policy", "content": html.POLICY} in metas


def test_language_charset_and_viewport() -> None:
    """Screen readers, servers and phones need them."""
    read = Reader(html.html("x", "t", {}))

    assert (read.all("html"), read.all("meta")[0]) == ([{"lang": "en"}], {"charset": "utf-8"})
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in read.all("meta")


def test_every_link_has_its_place(written) -> None:
    """The contents name each section, in order."""
    read = Reader(written["report.html"].decode())

    assert [link["href"] for link in read.all("a")] == [f"#{heading['id']}" for heading in read.all("h2")]


def test_equal_headings_have_different_anchors() -> None:
    """A heading without a letter has an anchor, too."""
    read = Reader(html.html("# t\n\n## A b\n\n## A b\n\n## ?\n\n## 歩", "t", {}))

    assert [heading["id"] for heading in read.all("h2")] == ["a-b", "a-b-", "section", "section-"]


def test_one_section_needs_no_contents() -> None:
    """A list of one link is noise; so is one before a page without a title."""
    assert Reader(html.html("text\n\n## Only", "t", {})).all("nav") == []


def test_tables_scroll_and_keep_their_alignment() -> None:
    """On a phone a table is wider than the page."""
    read = Reader(html.html("| a | b |\n|---|---:|\n| 1 | 2 |", "t", {}))

    assert [a["class"] for a in read.all("div")] == ["scroll"]
    assert read.all("td") == [{}, {"style": "text-align:right"}]


def test_a_picture_is_shown_light_or_dark() -> None:
    """The browser chooses; the size is known before loading, and there is an alternative text."""
    read = Reader(html.html('![A "plot"](x.png)', "t", {"x.png": (png(1200, 600), png(1, 1))}))
    (source,), (image,) = read.all("source"), read.all("img")

    assert source["media"] == "(prefers-color-scheme: dark)"
    assert source["srcset"] == f"data:image/png;base64,{b64encode(png(1, 1)).decode()}"
    assert image["src"] == f"data:image/png;base64,{b64encode(png(1200, 600)).decode()}"
    assert (image["alt"], image["width"], image["height"]) == ('A "plot"', "960", "480")


def test_a_picture_may_be_svg() -> None:
    """Its size is that of its first tag."""
    (image,) = Reader(html.html("![x](x.svg)", "t", {"x.svg": (SVG, SVG)})).all("img")

    assert (image["width"], image["height"]) == ("300", "80")
    assert (image["src"] or "").startswith("data:image/svg+xml;base64,")


def test_an_unknown_picture_is_shown_as_its_text() -> None:
    """A page must not load files."""
    read = Reader(html.html("![A plot](https://example.org/x.png)", "t", {}))

    assert (read.all("img"), read.texts["em"]) == ([], ["A plot"])


# All documents of an evaluation


def test_documents_have_their_names(written) -> None:
    """Five pictures, then the texts that show them."""
    pictures = ("confusion", "curves", "classes", "reliability", "subjects")

    assert list(written) == [*(f"{name}.png" for name in pictures), "report.md", "report.html"]


def test_the_markdown_shows_every_picture(written) -> None:
    """By its file name, next to the report."""
    shown = re.findall(r"!\[[^]]+\]\((.*)\)", written["report.md"].decode())

    assert sorted(shown) == sorted(name for name in written if name.endswith(".png"))


def test_the_page_embeds_the_pictures(written) -> None:
    """The files next to it, and five others in dark colors."""
    read = Reader(written["report.html"].decode())
    light = {b64decode((image["src"] or "").partition(",")[2]) for image in read.all("img")}
    dark = {b64decode((source["srcset"] or "").partition(",")[2]) for source in read.all("source")}

    assert light == {data for name, data in written.items() if name.endswith(".png")}
    assert len(dark - light) == 5


def test_without_a_quality_record_there_is_no_section() -> None:
    """As for runs of early versions."""
    assert "data-quality" not in [heading["id"] for heading in page_of().all("h2")]


# Data quality


def section(quality: QualityReport) -> str:
    """Return the section, which both reports contain."""
    return data_quality.section(quality)


def changed(quality: QualityReport, **fields) -> QualityReport:
    """Return the report with fields of each recording changed."""
    return quality.model_copy(update={"recordings": tuple(r.model_copy(update=fields) for r in quality.recordings)})


def test_scores_are_summed_up() -> None:
    """Number, mean score, lowest score and handling of missing values."""
    assert section(example_quality_report()).splitlines()[2] == (
        r"30 recordings of 7 subjects with 150,000 samples, 144,000 labelled. The quality score is 80.50 of 100, "
        r"the lowest of a recording 55.00 (s04-\<r24\>). "
        r"Recommended handling of missing values: interpolate in 25 recordings."
    )


def test_channels_are_summed_up_over_recordings() -> None:
    """Range, spread, and the worst of each rate."""
    row = r"| phone | acc\_x | -33.00 | 33.00 | 1.000 | 30.00 | 5 % | 2.9 % | 25 |"

    assert row in section(example_quality_report())


def test_a_channel_without_a_finite_value() -> None:
    """Its statistics are unknown."""
    quality = example_quality_report(1, 0)
    nothing = {"mean": None, "std": None, "min": None, "max": None, "nan_rate": 1.0}
    channels = (quality.recordings[0].channels[0].model_copy(update=nothing),)

    assert "| none | none | none | none | 100 % |" in section(changed(quality, channels=channels))


def test_clocks_are_summed_up_over_recordings() -> None:
    """Range of the rates, total of the gaps, maximum of all else."""
    row = "| phone | 50.00 | 49.80 to 50.09 | 0.2500 | 0.05000 | 50 | 0.9000 | 5 % |"

    assert row in section(example_quality_report())


def test_recordings_without_clocks_have_no_table_of_them() -> None:
    """Precut windows have no time stamps."""
    assert "jitter" not in section(changed(example_quality_report(), clocks=()))


def test_the_worst_recordings_are_listed() -> None:
    """At most twenty, the lowest score first, and how many more."""
    text = section(example_quality_report(30, 25))
    listed = re.findall(r"^\| s\d\d-\\<r(\d+)", text, re.MULTILINE)

    assert listed == [str(number) for number in range(24, 4, -1)]
    assert text.endswith("5 more recordings violate a threshold.")


def test_twenty_recordings_leave_no_more() -> None:
    """All are listed."""
    text = section(example_quality_report(30, 20))

    assert "Recordings that violate a threshold: 20 of 30 (lowest score first):" in text
    assert "more recordings" not in text


def test_many_problems_of_a_recording_are_counted() -> None:
    """A recording of eighteen bad channels does not fill the page."""
    text = section(changed(example_quality_report(1, 1), problems=tuple(f"p{i}" for i in range(7))))

    assert "| p0; p1; p2; p3; p4; and 2 more |" in text


def test_recordings_without_problems_are_stated() -> None:
    """No violation, and no handling of missing values."""
    text = section(example_quality_report(broken=0))

    assert text.endswith("No recording violates a threshold.")
    assert "handling of missing values" not in text
