"""Text from data, configurations and remotes is shown literally in reports, pages, model cards and tables."""

from dataclasses import replace

import pytest
import yaml
from example_records import CLASSES, example_data_record, example_metrics, example_run_record
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from test_model_card import facts
from test_report_html import Reader

from modelreg import escaping
from modelreg.documents import model_card
from modelreg.documents.report import formatting, html, markdown
from modelreg.documents.report.plots import _label
from modelreg.documents.templates import card_v2, markdown_v2
from modelreg.escaping import one_line
from modelreg.records.audit import AuditRecord, Finding
from modelreg.records.gates import Gate, GateReport, Outcome
from modelreg.records.intervals import NoInterval
from modelreg.records.run import ImportRecord

FRAGMENTS = [
    "<script>alert(1)</script>",
    "</td>",
    "a|b",
    "\n",
    "\n\n# h",
    "\x1b[31m",
    "\u202e",
    "\u2028",
    "\u200b",
    "`x`",
    "](http://e.org)",
    "[x](http://e.org)",
    "![x](http://e.org/x)",
    "<http://e.org>",
    "http://e.org www.e.org",
    "$x$",
    "&lt;",
    "\\",
    "*b* _i_ ~s~",
    "歩く",
]
FOREIGN = st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=4).map(lambda parts: f"x{''.join(parts)}y")


def renamed(metrics, text):
    """Return metrics whose first class and first subject have this name; no validation refuses it."""
    first, *others = metrics.classes
    subject, *_ = metrics.per_subject
    return metrics.model_copy(
        update={
            "classes": (text, *others),
            "per_class": {text if name == first else name: row for name, row in metrics.per_class.items()},
            "per_subject": {text if name == subject else name: row for name, row in metrics.per_subject.items()},
            "intervals": dict.fromkeys(metrics.intervals, NoInterval(reason=text)),
        }
    )


def hostile_data(data, text):
    """Return a data record with this text as the name of a source, a class and a subject."""
    source = data.sources[0].model_copy(update={"name": text, "citation": "none", "license": text})
    train = data.parts.train.model_copy(update={"subjects": (text,), "class_windows": {text: 1}})
    parts = data.parts.model_copy(update={"train": train})
    return data.model_copy(update={"sources": (source,), "classes": (text, *data.classes[1:]), "parts": parts})


def report(text: str) -> str:
    """Render report.md with this text in each place that data can reach."""
    run = example_run_record()
    origin = ImportRecord(file="x", sha256="a" * 64, layout="x")
    run = run.model_copy(
        update={
            "environment": run.environment.model_copy(update={"packages": {text: text}}),
            "imported": origin.model_copy(update={"file": text, "layout": text, "notes": (text,)}),
        }
    )
    finding = Finding(kind="subject", severity="leak", parts=("train",), count=1, what=text, examples=(text,))
    audit = AuditRecord(near=0.9, windows={"train": 1}, compared={}, findings=(finding,))
    metrics = renamed(example_metrics(), text)
    data = hostile_data(example_data_record(), text)
    return markdown.markdown(metrics, data, run, {}, (), formatting.Checks(audit=audit))


def card(text: str) -> str:
    """Render a card with this text in each place that data and configuration can reach."""
    plain = facts()
    channel = plain.spec.input.channels[0].model_copy(update={"name": text, "unit": text})
    spec = plain.spec.model_copy(
        update={
            "classes": (text, *plain.spec.classes[1:]),
            "input": plain.spec.input.model_copy(update={"channels": (channel,), "devices": (text,)}),
        }
    )
    outcome = Outcome(
        path="accuracy",
        gate=Gate(min=1),
        value=0.5,
        over=None,
        interval=None,
        against={},
        failure="x",
        waived="x",
        notes=(),
    ).model_copy(update={"path": text, "failure": text, "waived": text})
    run = plain.run.model_copy(
        update={"environment": plain.run.environment.model_copy(update={"packages": {text: text}})}
    )
    return model_card.render(
        replace(
            plain,
            license=text,
            metrics=renamed(plain.metrics, text),
            data=hostile_data(plain.data, text),
            spec=spec,
            run=run,
            gates=GateReport(outcomes=()).model_copy(update={"outcomes": (outcome,)}),
        )
    )


def body(text: str) -> str:
    """Return a card without its front matter."""
    return text.split("---\n", 2)[2]


def cells(text: str) -> list[str]:
    """Return the first cell of each row of each table, as a Markdown reader shows it."""
    tokens = MarkdownIt().enable("table").parse(text)
    firsts = [tokens[i + 2] for i, token in enumerate(tokens) if token.type == "tr_open"]
    return ["".join(child.content for child in token.children or ()) for token in firsts]


def assert_shown_literally(text: str, rendered: str) -> None:
    """Check that a Markdown text shows `text` in cells, and contains no unsafe character, link, image or tag of it."""
    read = Reader(html.html(rendered, "t", {}))

    assert escaping._UNSAFE.search(rendered.replace("\n", "")) is None
    assert one_line(text) in cells(rendered)
    assert one_line(text) in "".join(read.texts["td"])
    assert not {"script", "img", "em", "iframe"} & {tag for tag, _ in read.tags}
    assert all(str(link["href"]).startswith("#") for link in read.all("a"))


@given(FOREIGN)
def test_a_report_shows_foreign_text_literally(text) -> None:
    """Labels, subjects, sources, packages, reasons and findings."""
    assert_shown_literally(text, report(text))


@given(FOREIGN)
def test_a_card_shows_foreign_text_literally(text) -> None:
    """Also in its front matter, which YAML reads back unchanged."""
    rendered = card(text)
    front = yaml.safe_load(rendered.split("---\n")[1])

    assert_shown_literally(text, body(rendered))
    assert escaping._UNSAFE.search(rendered.replace("\n", "")) is None
    assert front["model-index"][0]["results"][0]["dataset"]["name"] == text
    assert model_card.stated_license(rendered) == text


@pytest.mark.parametrize("text", ["http://e.org", "www.e.org", "$x$"])
def test_links_and_formulas_of_github_are_escaped(text) -> None:
    """GitHub turns bare addresses into links and dollar signs into formulas."""
    assert not any(part in formatting.escape(text) for part in ("http://", "www.", "$x$"))


@given(FOREIGN)
def test_labels_of_pictures_are_one_line(text) -> None:
    """A label with a newline would overlap its neighbours."""
    assert one_line(_label(text)) == _label(text)


@given(FOREIGN | st.text())
def test_card_and_report_escape_equally(text) -> None:
    """The template has its own copy, because it must never change."""
    assert markdown_v2.escape(text) == formatting.escape(text)


@pytest.mark.parametrize("text", ["a", "ä", "歩く"])
def test_other_scripts_stay_readable_in_the_front_matter(text) -> None:
    """Only unsafe characters make YAML escape."""
    assert text in card(text).split("---\n")[1]


def test_a_name_of_the_example_needs_escapes() -> None:
    """So that the other tests of reports cover Markdown characters, too."""
    assert any(card_v2.escape(name) != name for name in CLASSES)
