"""The report states what the records hold."""

import re
import sys

import pytest
from example_records import (
    CLASSES,
    example_data_record,
    example_history,
    example_metrics,
    example_run_record,
)
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from modelreg.documents.report import formatting, markdown
from modelreg.documents.report.formatting import counted, percent
from modelreg.escaping import one_line
from modelreg.records.metrics import EvalMetrics, ReliabilityBin, SegmentScores, TemporalMetrics

PICTURES = {name: f"{name}.png" for name in ("confusion", "curves", "classes", "reliability", "subjects")}


def text_of(metrics: EvalMetrics | None = None, *, pictures=PICTURES, **changes) -> str:
    """Render the report of the example, with fields of its run or data record changed."""
    run, data = changes.get("run", example_run_record()), changes.get("data", example_data_record())
    return markdown.markdown(metrics or example_metrics(), data, run, pictures)


def cells_of(text: str, header: str) -> dict[str, list[str]]:
    """Read a table as a Markdown reader does: the first cell of each row and the others."""
    tokens = MarkdownIt().enable("table").parse(text)
    rows, row = {}, []
    inside = False
    for index, token in enumerate(tokens):
        if token.type == "tr_open":
            row = []
        elif token.type in {"th_open", "td_open"}:
            children = tokens[index + 1].children or []
            row.append("".join(child.content for child in children))
        elif token.type == "tr_close" and row[0] == header:
            inside = True
        elif token.type == "tr_close" and inside:
            rows[row[0]] = row[1:]
        elif token.type == "table_close":
            inside = False
    return rows


def calibrated(metrics: EvalMetrics, **changes) -> EvalMetrics:
    """Return the metrics with another calibration."""
    return metrics.model_copy(update={"calibration": metrics.calibration.model_copy(update=changes)})


def with_protocol(metrics: EvalMetrics, **changes) -> EvalMetrics:
    """Return the metrics with another protocol."""
    return metrics.model_copy(update={"protocol": metrics.protocol.model_copy(update=changes)})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000"),
        (1.0, "1.000"),
        (0.86249, "0.8625"),
        (0.000123456, "0.0001235"),
        (12.3456, "12.35"),
        (999.94, "999.9"),
        (999.96, "1,000"),
        (4800, "4,800"),
        (-0.5, "-0.5000"),
    ],
)
def test_numbers_have_four_digits(value, text) -> None:
    """Four significant digits; from a thousand on, whole."""
    assert formatting.number(value) == text


@pytest.mark.parametrize(("share", "text"), [(0.0, "0 %"), (0.1234, "12.3 %"), (1.0, "100 %")])
def test_percentages_have_three_digits(share, text) -> None:
    """A share is easier to read as a percentage."""
    assert percent(share) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 windows"), (1, "1 window"), (2000, "2,000 windows")])
def test_nouns_follow_their_count(count, text) -> None:
    """One is singular."""
    assert counted(count, "window") == text


# The text


@given(st.integers(0, 2**32), st.integers(2, 8), st.integers(1, 7), st.integers(1, 30))
def test_tables_hold_every_class_and_subject(seed, classes, subjects, windows) -> None:
    """Supports, scores and windows of the tables are those of the record."""
    names = tuple(f"c{i}" for i in range(classes))
    tested = [f"p{i}" for i in range(subjects)]
    metrics = example_metrics(names, subjects=tested, windows=windows, seed=seed)
    text = text_of(metrics, data=example_data_record(names, subjects=tested))
    number = formatting.number

    assert cells_of(text, "class") == {
        name: [number(row.precision), number(row.recall), number(row.f1), str(row.support)]
        for name, row in metrics.per_class.items()
    }
    assert cells_of(text, "subject") == {
        name: [number(row.accuracy), number(row.macro_f1), str(row.windows)]
        for name, row in metrics.per_subject.items()
    }


@given(
    st.text(
        st.characters(
            codec="utf-8",
            min_codepoint=33,
            exclude_characters="\x7f\ufeff"
            + "".join(map(chr, range(0x80, 0xA1)))
            + "\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000",
        ),
        min_size=1,
        max_size=20,
    )
)
def test_any_class_name_is_shown_literally(name) -> None:
    """A name is not read as Markdown, and does not break its table."""
    shown = cells_of(text_of(example_metrics((name, "another class"), windows=2)), "class")

    assert list(shown) == [one_line(name), "another class"]


def test_special_characters_are_escaped() -> None:
    """Bars, stars, underscores and angle brackets are shown literally."""
    assert r"| a\|b \*c\* \<d\> |" in text_of()


def test_classes_keep_the_order_of_the_model() -> None:
    """A record read back from JSON has its keys sorted; the table has the model's order."""
    metrics = EvalMetrics.model_validate_json(example_metrics().to_bytes())

    assert tuple(cells_of(text_of(metrics), "class")) == CLASSES


@pytest.mark.parametrize("name", formatting.HEADLINE)
def test_the_headline_states_each_metric(name) -> None:
    """Value, and the interval where there is one."""
    metrics = example_metrics()
    value, interval = cells_of(text_of(metrics), "metric")[formatting.HEADLINE[name]]
    expected = metrics.intervals.get(name)

    assert value == formatting.number(getattr(metrics, name))
    assert interval == (
        f"{formatting.number(expected.low)} to {formatting.number(expected.high)} (95 %)"
        if expected is not None
        else ""
    )


def test_the_reason_for_no_interval_is_shown_once() -> None:
    """In the results; the recommendations name it with its remedy."""
    tested = ("s07", "s08", "s09")
    text = text_of(example_metrics(subjects=tested), data=example_data_record(subjects=tested))
    results = text[text.index("## Results") : text.index("## Recommendations")]

    assert results.count("No interval: 3 held-out subjects; an interval over subjects needs 5.") == 1
    assert cells_of(text, "metric")["accuracy"][1] == "none"


def test_baselines_are_stated() -> None:
    """A metric is compared with models that do not use the input."""
    majority = formatting.number(example_metrics().baselines.majority_accuracy)

    assert f"the majority class has an accuracy of {majority}, a uniform random guess has\n0.2500." in text_of()


def test_splits_are_listed_with_their_digests() -> None:
    """Subjects, sizes and digest of each."""
    data = example_data_record()

    assert cells_of(text_of(data=data), "split") == {
        name: [", ".join(part.subjects), str(part.recordings), str(part.windows), str(part.dropped), part.digest[:12]]
        for name, part in data.parts.items()
    }


def test_unseen_subjects_are_stated() -> None:
    """A split by subject tests on subjects that are in no other split."""
    assert "No subject of the test split is in another split." in text_of()


def test_shared_subjects_are_named() -> None:
    """A split by time shares subjects between splits: the report warns, and states the gap."""
    parts = example_metrics().protocol.parts
    shared = parts.train.model_copy(update={"subjects": ("s07", "s01")})
    tested = parts.test.model_copy(update={"subjects": ("s07", "s08")})
    both = parts.model_copy(update={"train": shared, "test": tested})
    metrics = with_protocol(example_metrics(), split="time", parts=both)
    source = example_data_record().sources[0].model_copy(update={"kind": "sample"})
    data = example_data_record().model_copy(update={"split": "time", "gap": 100, "sources": (source,)})
    text = text_of(metrics, data=data)

    assert "also in another split: s07. These metrics do not estimate performance on new subjects.**" in text
    assert "split in time, with gaps of 100 samples between the splits." in text


@pytest.mark.parametrize(("times", "words"), [(1, "evaluated **once**"), (7, "evaluated **7 times**")])
def test_test_set_evaluations_are_counted(times, words) -> None:
    """Their number is part of the result."""
    assert words in text_of(example_metrics(evaluations=times))


def test_a_calibration_error_expected_by_chance_is_not_called_miscalibration() -> None:
    """The error may be as large as the 95 % quantile."""
    text = text_of(calibrated(example_metrics(), ece=0.05, null_mean=0.04, null_high=0.05))

    assert "an ECE of 0.04000 on average" in text
    assert "0.05000, within the 0.05000 expected by chance: no miscalibration detected.**" in text


@pytest.mark.parametrize(("confidence", "word"), [(0.99, "above"), (0.3, "below")])
def test_miscalibration_has_a_direction(confidence, word) -> None:
    """Over-confident or under-confident."""
    table = (ReliabilityBin(count=240, confidence=confidence, accuracy=0.8),)
    metrics = calibrated(example_metrics(), ece=0.3, null_high=0.1, table=table)
    accuracy = formatting.number(metrics.accuracy)
    expected = f"The mean confidence is {formatting.number(confidence)}, {word} the accuracy of {accuracy}."

    assert expected in text_of(metrics)


def test_code_usage_is_stated_without_warning_where_all_levels_are_used() -> None:
    """Used codes, all codes, and the levels of each dimension."""
    metrics = example_metrics()
    assert metrics.codes is not None
    text = text_of(metrics)

    assert f"uses {metrics.codes.used} of 4,800 codes" in text
    assert cells_of(text, "dimension")["1"] == ["8", "8"]
    assert "Fewer than half" not in text


def test_starved_dimensions_are_named() -> None:
    """Fewer than half of the levels gives a warning; exactly half does not."""
    metrics = example_metrics()
    assert metrics.codes is not None
    codes = metrics.codes.model_copy(update={"levels_used": (4, 2, 5, 5, 1)})
    text = text_of(metrics.model_copy(update={"codes": codes}))

    assert "**Fewer than half of the levels are used in dimension 2 (2 of 6), 5 (1 of 4).**" in text


def test_without_codes_there_is_no_section() -> None:
    """A model without a quantizer has no codes."""
    assert "## Codes" not in text_of(example_metrics(levels=None))


def test_the_training_is_described() -> None:
    """Seed, epochs, best epoch, versions, and uncommitted changes."""
    text = text_of()

    assert "- Epochs: 40, seed 0. Early stopping ended the training.\n- Best epoch: 28 (validation loss 0.4321)" in text
    assert "commit `cccccccccccc` with uncommitted changes" in text
    assert "- Software: modelreg 0.1.0; Python 3.11.9; numpy 2.4.6, torch 2.13.0\n" in text
    assert "- Hardware: cpu (x86\\_64, 2 threads)" in text


def test_the_report_names_the_versions_that_resumed_the_training() -> None:
    """In their order, after the version that started it."""
    run = example_run_record().model_copy(update={"resumed_by": ("0.8.0", "0.9.0")})

    assert f"modelreg {run.environment.modelreg}; resumed by modelreg 0.8.0, 0.9.0; Python" in text_of(run=run)


@pytest.mark.parametrize(
    ("dirty", "words"), [(False, "commit `cccccccccccc`\n"), (None, "directory: without a commit\n")]
)
def test_the_commit_of_a_clean_tree_or_of_none(dirty, words) -> None:
    """A clean tree has no remark; without git there is no commit."""
    run = example_run_record()
    assert run.environment.git is not None
    git = None if dirty is None else run.environment.git.model_copy(update={"dirty": dirty})
    changed = run.model_copy(update={"environment": run.environment.model_copy(update={"git": git})})

    assert words in text_of(run=changed)


def test_an_unfinished_run_has_no_best_epoch() -> None:
    """It is not known yet."""
    unknown = {"status": "training", "best_epoch": None, "best_validation_loss": None, "stopped": None}
    text = text_of(run=example_run_record().model_copy(update={**unknown, "finished": None}))

    assert "Training has not finished.\n" in text
    assert "Best epoch" not in text


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_shown_where_they_are_given(name) -> None:
    """Each by its path; a picture without a path is not shown."""
    assert re.findall(r"!\[[^]]+\]\((.*)\)", text_of(pictures={name: f"x/{name}.png"})) == [f"x/{name}.png"]


def test_the_text_ends_with_one_newline() -> None:
    """A file of text ends with a newline, and no paragraph with blanks."""
    text = text_of()

    assert text.endswith("higher than the validation loss.\n")
    assert not re.search(r"[ \t]\n|\n{3}", text)


def test_the_module_loads_no_matplotlib() -> None:
    """The registry side answers at once."""
    import subprocess

    code = (
        "import sys, modelreg.documents.report.render; "
        "print({'matplotlib', 'torch', 'scipy', 'markdown_it'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert answer.stdout == "set()\n"


# Durations, and the terms of the loss


def smoothed(accuracy: float, edit: float) -> TemporalMetrics:
    """Return temporal metrics; single windows have an accuracy of 0.8 and an edit score of 60."""
    alone = SegmentScores(accuracy=0.8, edit=60.0, over_segmentation=2.0, f1_at_50=0.5)
    better = alone.model_copy(update={"accuracy": accuracy, "edit": edit, "over_segmentation": 1.25})
    return TemporalMetrics(streams=3, mean_duration=12.5, alone=alone, smoothed=better)


def test_durations_are_shown_alone_and_smoothed() -> None:
    """Accuracy, edit score, over-segmentation and overlap; a system without durations has no such section."""
    text = text_of(example_metrics().model_copy(update={"temporal": smoothed(0.9, 70.0)}))
    rows = cells_of(text, "score")

    assert rows["accuracy of windows"] == ["0.8000", "0.9000"]
    assert rows["predicted segments per true segment"] == ["2.000", "1.250"]
    assert "3 streams of consecutive windows" in text
    assert "## Temporal smoothing" not in text_of()


@pytest.mark.parametrize(
    ("accuracy", "edit", "verdict"),
    [
        (0.8, 60.0, "Smoothing decreases neither the accuracy nor the edit score."),
        (0.7, 70.0, "**Smoothing decreases the accuracy** but not the edit score."),
        (0.9, 50.0, "**Smoothing decreases the edit score** but not the accuracy."),
        (0.7, 50.0, "**Smoothing decreases both scores"),
    ],
    ids=["neither", "accuracy", "edit", "both"],
)
def test_the_effect_of_smoothing_is_stated(accuracy, edit, verdict) -> None:
    """For better and for worse scores."""
    assert verdict in text_of(example_metrics().model_copy(update={"temporal": smoothed(accuracy, edit)}))


def test_the_terms_of_the_loss_are_shown_at_three_epochs() -> None:
    """The first, the best and the last epoch; an epoch is shown once."""
    run = example_run_record()
    assert run.best_epoch is not None
    history = [
        epoch.model_copy(update={"terms": {"classification": 1.0 / epoch.number, "vq": 0.5}})
        for epoch in example_history(run.best_epoch + 2, run.best_epoch)
    ]
    text = markdown.markdown(example_metrics(), example_data_record(), run, {}, history)
    alone = markdown.markdown(example_metrics(), example_data_record(), run, {}, history[:1])

    assert f"| term | epoch 1 | epoch {run.best_epoch} (best) | epoch {run.best_epoch + 2} |" in text
    assert cells_of(text, "term")["vq"] == ["0.5000"] * 3
    assert cells_of(alone, "term")["vq"] == ["0.5000"]


def test_a_loss_with_one_term_has_no_table_of_terms() -> None:
    """It is the loss itself."""
    text = markdown.markdown(example_metrics(), example_data_record(), example_run_record(), {}, example_history())

    assert "weighted terms" not in text
