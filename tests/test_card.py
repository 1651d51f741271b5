"""card: what the records say, in the form that Hugging Face reads."""

import numpy as np
import pytest
import yaml
from example_run import data_record, eval_metrics, model_spec, predictions, run_record
from hypothesis import given
from hypothesis import strategies as st

from modelreg import card
from modelreg.errors import InputError
from modelreg.records.metrics import Interval

METRICS = eval_metrics(predictions(np.random.default_rng(0)), "a" * 64, "b" * 64)


def facts(**changes):
    """The facts of a small card."""
    given_ = card.Facts("conv2d_fsq", "0.1.0", "apache-2.0", METRICS, model_spec(), data_record(), run_record("b" * 64))
    return given_._replace(**changes)


def test_a_card_states_its_metrics() -> None:
    """What is read back from a card is what it was made of."""
    assert card.stated_metrics(card.render(facts())) == card.headline(METRICS)


@given(st.integers(0, 1000))
def test_a_rendered_card_has_no_difference(seed) -> None:
    """Whatever the numbers are."""
    metrics = eval_metrics(predictions(np.random.default_rng(seed), windows=7), "a" * 64, "b" * 64)

    assert list(card.find_differences(card.render(facts(metrics=metrics)), metrics)) == []


def test_hugging_face_reads_the_card() -> None:
    """Its own parser finds the model's name, the library and every metric with its value."""
    from huggingface_hub import ModelCard

    data = ModelCard(card.render(facts())).data
    found = {result.metric_name: result.metric_value for result in data.eval_results}

    assert (data.model_name, data.library_name, data.license, found) == (
        "conv2d_fsq",
        "modelreg",
        "apache-2.0",
        card.headline(METRICS),
    )


def test_without_a_license_none_is_claimed() -> None:
    """The key is left out."""
    front = yaml.safe_load(card.render(facts(license=None)).split("---\n")[1])

    assert "license" not in front


@pytest.mark.parametrize(
    "heading",
    ["What it is", "Intended use and limits", "Data and protocol", "Results", "How to run it", "How it was made"],
)
def test_a_card_has_its_human_sections(heading) -> None:
    """In words a stranger can use."""
    assert f"\n## {heading}\n" in card.render(facts())


@pytest.mark.parametrize(("count", "words"), [(1, "evaluated **1 time**"), (3, "evaluated **3 times**")])
def test_a_card_states_how_often_the_test_part_was_seen(count, words) -> None:
    """Every look counts."""
    protocol = METRICS.protocol.model_copy(update={"evaluations": count})

    assert words in card.render(facts(metrics=METRICS.model_copy(update={"protocol": protocol})))


def test_a_card_says_why_there_is_no_interval() -> None:
    """Two subjects are too few."""
    reason = METRICS.intervals["accuracy"].reason

    assert f"No interval: {reason}." in card.render(facts())


def test_a_card_shows_an_interval() -> None:
    """Where there is one."""
    interval = Interval(low=0.25, high=0.75, level=0.95, subjects=9, replicates=100)
    metrics = METRICS.model_copy(update={"intervals": dict.fromkeys(METRICS.intervals, interval)})

    assert "0.2500 to 0.7500 (95%)" in card.render(facts(metrics=metrics))


def test_a_folded_window_is_named() -> None:
    """`fold: 2` is part of what the model is."""
    spec = model_spec()
    folded = spec.model_copy(update={"input": spec.input.model_copy(update={"fold": 2})})

    assert "folded into two rows" in card.render(facts(spec=folded))


def test_a_split_by_time_is_named_for_what_it_is() -> None:
    """It says nothing about new subjects, and names its gap."""
    protocol = METRICS.protocol.model_copy(update={"split": "time"})
    data = data_record().model_copy(update={"split": "time", "gap": 16})
    text = card.render(facts(metrics=METRICS.model_copy(update={"protocol": protocol}), data=data))

    assert ("say nothing about new ones" in text, "with a gap of 16 samples" in text) == (True, True)


def test_a_training_without_git_is_named() -> None:
    """Nothing is made up."""
    run = run_record("b" * 64)
    bare = run.model_copy(update={"environment": run.environment.model_copy(update={"git": None})})

    assert "at no git commit with seed" in card.render(facts(run=bare))


def test_uncommitted_changes_are_named() -> None:
    """A dirty tree is part of how it was made."""
    run = run_record("b" * 64)
    git = run.environment.git.model_copy(update={"dirty": True})
    dirty = run.model_copy(update={"environment": run.environment.model_copy(update={"git": git})})

    assert "(with uncommitted changes)" in card.render(facts(run=dirty))


@given(st.text(alphabet="ab|*_`<>[]#~\\{} ", min_size=1, max_size=12).filter(str.strip))
def test_names_cannot_break_a_table(name) -> None:
    """An escaped name is one cell, whatever is in it."""
    assert card._cells(f"| {card.escape(name)} | 1 |") == [card.escape(name).strip(), "1"]


@pytest.mark.parametrize("text", ["", "# no front matter", "---\na: 1\n---\n", "---\n- x\n---\n", "---\n---\n"])
def test_what_is_no_card_is_refused(text) -> None:
    """A text without a model-index states nothing."""
    with pytest.raises(InputError, match="no front matter with a model-index"):
        card.stated_metrics(text)


def test_a_cell_that_is_no_number_is_a_difference() -> None:
    """`n/a` is not the value."""
    text = card.render(facts()).replace("| macro_f1 | ", "| macro_f1 | n/a ", 1)

    assert [problem.where for problem in card.find_differences(text, METRICS)] == ["table of each metric: macro_f1"]
