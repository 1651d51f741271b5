"""The model card shows the records in a form that Hugging Face reads."""

import re
from dataclasses import replace

import numpy as np
import pytest
import yaml
from example_export import estimate
from example_run import data_record, eval_metrics, model_spec, predictions, run_record
from hypothesis import given
from hypothesis import strategies as st

from modelreg.documents import model_card
from modelreg.documents.template_versions import current
from modelreg.documents.templates.markdown_v2 import escape
from modelreg.evaluation import gates
from modelreg.records import fsq
from modelreg.records.gates import Gate, GateReport, Waiver
from modelreg.records.int8 import ChannelRange
from modelreg.records.metrics import Interval, SegmentScores, TemporalMetrics
from modelreg.records.model import (
    Conv2dFsqHsmmSettings,
    Conv2dFsqSettings,
    Conv2dVqHdpHsmmSettings,
    Conv2dVqSettings,
    TcnVaeSettings,
)
from modelreg.registry import filenames
from modelreg.registry.version_documents import VersionDocuments

METRICS = eval_metrics(predictions(np.random.default_rng(0)), "a" * 64, "b" * 64)


WATCH = (data_record().sources[0].model_copy(update={"kind": "sample"}),)


def facts(**changes):
    """Return the facts of a small card."""
    given_ = VersionDocuments(
        model="conv2d_fsq",
        version="0.1.0",
        license="apache-2.0",
        spec=model_spec(),
        metrics=METRICS,
        data=data_record(),
        run=run_record("b" * 64),
    )
    return replace(given_, **changes)


def test_a_card_states_its_metrics() -> None:
    """The front matter has every headline metric with its full value."""
    front = yaml.safe_load(model_card.render(facts()).split("---\n")[1])
    stated = {row["name"]: row["value"] for row in front["model-index"][0]["results"][0]["metrics"]}

    assert stated == model_card.headline(METRICS)


@given(st.integers(0, 1000))
def test_a_rendered_card_has_no_difference(seed) -> None:
    """For any metrics."""
    metrics = eval_metrics(predictions(np.random.default_rng(seed), windows=7), "a" * 64, "b" * 64)

    assert (
        list(model_card.find_differences(model_card.render(facts(metrics=metrics)), facts(metrics=metrics), current()))
        == []
    )


def test_a_card_of_thousands_of_lines_is_not_compared_line_by_line() -> None:
    """It is not ours, and comparing takes minutes."""
    found = list(model_card.find_differences("\n" * model_card.LINES, facts(), current()))

    assert [(problem.where, problem.rule) for problem in found] == [("line 1", "card.line-mismatch")]


def test_hugging_face_reads_the_card() -> None:
    """Its own parser finds the model's name, the library and every metric with its value."""
    from huggingface_hub import ModelCard

    data = ModelCard(model_card.render(facts())).data
    found = {result.metric_name: result.metric_value for result in data.eval_results}

    assert (data.model_name, data.library_name, data.license, found) == (
        "conv2d_fsq",
        "modelreg",
        "apache-2.0",
        model_card.headline(METRICS),
    )


def test_without_a_license_none_is_claimed() -> None:
    """The key is left out."""
    front = yaml.safe_load(model_card.render(facts(license=None)).split("---\n")[1])

    assert "license" not in front


@pytest.mark.parametrize(
    "heading",
    [
        "Model description",
        "Intended use and limitations",
        "Data and evaluation protocol",
        "Results",
        "How to use",
        "Training",
    ],
)
def test_a_card_has_its_sections(heading) -> None:
    """With the headings of model cards on Hugging Face."""
    assert f"\n## {heading}\n" in model_card.render(facts())


@pytest.mark.parametrize(("count", "words"), [(1, "evaluated **once**"), (3, "evaluated **3 times**")])
def test_a_card_states_the_number_of_test_set_evaluations(count, words) -> None:
    """Readers can judge the selection bias."""
    protocol = METRICS.protocol.model_copy(update={"evaluations": count})

    assert words in model_card.render(facts(metrics=METRICS.model_copy(update={"protocol": protocol})))


def test_a_card_says_why_there_is_no_interval() -> None:
    """Two subjects are too few."""
    reason = METRICS.intervals["accuracy"].reason

    assert f"No interval: {reason}." in model_card.render(facts())


def test_a_card_shows_an_interval() -> None:
    """With its level."""
    interval = Interval(low=0.25, high=0.75, level=0.95, subjects=9, replicates=100)
    metrics = METRICS.model_copy(update={"intervals": dict.fromkeys(METRICS.intervals, interval)})

    assert "0.2500 to 0.7500 (95 %)" in model_card.render(facts(metrics=metrics))


def test_a_folded_window_is_stated() -> None:
    """`fold: 2` changes the input."""
    spec = model_spec()
    folded = spec.model_copy(update={"input": spec.input.model_copy(update={"fold": 2})})

    assert "folded into two rows" in model_card.render(facts(spec=folded))


def test_a_split_by_time_is_stated_with_its_limitation() -> None:
    """The metrics are not valid for new subjects; the gap is named."""
    protocol = METRICS.protocol
    train = protocol.parts.train.model_copy(update={"subjects": ("s4",)})
    shared = protocol.model_copy(update={"split": "time", "parts": protocol.parts.model_copy(update={"train": train})})
    data = data_record().model_copy(update={"split": "time", "gap": 16, "sources": WATCH})
    text = model_card.render(facts(metrics=METRICS.model_copy(update={"protocol": shared}), data=data))

    assert ("do not estimate performance on new subjects" in text, "with gaps of 16 samples" in text) == (True, True)


@pytest.mark.parametrize(
    ("split", "words"),
    [("subject", "Windows are split by subject."), ("given", "The source also provides the splits.")],
)
def test_precut_windows_are_described(split, words) -> None:
    """The source cut and labelled them."""
    text = model_card.render(facts(data=data_record().model_copy(update={"split": split})))

    assert ("The source provides windows" in text, words in text, "label of a window" in text) == (True, True, False)


def test_a_training_without_git_is_stated() -> None:
    """There is no commit."""
    run = run_record("b" * 64)
    bare = run.model_copy(update={"environment": run.environment.model_copy(update={"git": None})})

    assert "working directory: without a commit" in model_card.render(facts(run=bare))


def test_uncommitted_changes_are_stated() -> None:
    """The commit does not describe them."""
    run = run_record("b" * 64)
    git = run.environment.git.model_copy(update={"dirty": True})
    dirty = run.model_copy(update={"environment": run.environment.model_copy(update={"git": git})})

    assert "with uncommitted changes" in model_card.render(facts(run=dirty))


@given(st.text(alphabet="ab|*_`<>[]#~\\{}& \n", min_size=1, max_size=12))
def test_names_cannot_break_a_table(name) -> None:
    """An escaped name has no newline and no bare column separator."""
    assert re.search(r"(?<!\\)(\\\\)*[|\n]", escape(name)) is None


@pytest.mark.parametrize(
    "text", ["", "# no front matter", "---\na: 1\n---\n", "---\n- x\n---\n", "---\nlicense: 1\n---\n"]
)
def test_a_card_without_a_license_states_none(text) -> None:
    """With or without front matter."""
    assert model_card.stated_license(text) is None


def estimated(**changes):
    """Return the facts of a card with an 8-bit estimate."""
    made = estimate({filenames.CHECKPOINT: "a" * 64, filenames.NORMALIZATION: "b" * 64})
    return facts(estimate=made.model_copy(update=changes))


def test_an_estimate_is_called_an_estimate() -> None:
    """With the metrics of each scheme."""
    text = model_card.render(estimated())

    assert "**This is an estimate: neither Hailo's compiler nor a chip was used.**" in text
    assert "| per tensor | 0.5000 | +0.1000 | 0.5000 | 90.0% | 30.0 dB |" in text


def test_without_an_estimate_there_is_no_section() -> None:
    """All other sections are the same."""
    before, _, rest = model_card.render(estimated()).partition("## Accuracy in 8 bits (estimate)")

    assert model_card.render(facts()) == before + "## How to use" + rest.partition("## How to use")[2]


def test_channels_that_would_clip_are_named() -> None:
    """A calibration set that does not cover a channel."""
    ends = {"low": -1.0, "high": 1.0, "usual_low": -2.0, "usual_high": 2.0}
    channels = [ChannelRange(channel=name, clipped=0.25, covered=name == "b", **ends) for name in "ab"]
    text = model_card.render(estimated(input=tuple(channels)))

    assert ("- **a: the calibration set does not cover" in text, "25.00% of all values would be clipped" in text) == (
        True,
        True,
    )
    assert "**b:" not in text


def test_a_model_without_codes_has_no_share_of_unchanged_codes() -> None:
    """A dash, not a number."""
    made = estimated().estimate
    scheme = made.per_tensor.model_copy(update={"code_agreement": None})

    assert "| 0.5000 | - | 30.0 dB |" in model_card.render(estimated(per_tensor=scheme))


def test_a_citation_stays_on_its_line() -> None:
    """Line breaks are joined, and HTML is escaped."""
    source = data_record().sources[0].model_copy(update={"citation": "a\n\n| x | <img onerror>"})
    text = model_card.render(facts(data=data_record().model_copy(update={"sources": (source,)})))

    assert r"- planted: a \| x \| \<img onerror\>. License: CC0-1.0." in text


INTERCHANGEABLE = "treats the devices as interchangeable"
INSIDE = [
    (Conv2dFsqSettings(), "finite scalar quantization with levels [8, 6, 5, 5, 4]"),
    (Conv2dVqSettings(name="conv2d_vq"), "the nearest of 512 codes of dimension 64"),
    (
        Conv2dFsqHsmmSettings(name="conv2d_fsq_hsmm"),
        "smooths the classes of consecutive windows, with durations of up to 50 windows",
    ),
    (
        Conv2dVqHdpHsmmSettings(name="conv2d_vq_hdp_hsmm"),
        "A stick-breaking mixture groups the codes into at most 20 clusters",
    ),
    (TcnVaeSettings(name="tcn_vae"), "the mean of a latent vector of dimension 64"),
]


def inside(settings, devices=("phone", "collar"), **changes) -> str:
    """Return the card of a system on one line."""
    own = model_spec()
    spec = own.model_copy(
        update={
            "settings": settings,
            "quantizer": fsq.quantizer(settings),
            "input": own.input.model_copy(update={"devices": devices}),
            **changes,
        }
    )
    return " ".join(model_card.render(facts(spec=spec)).split())


@pytest.mark.parametrize(("settings", "words"), INSIDE)
def test_a_card_describes_the_architecture(settings, words) -> None:
    """Each system has its own description."""
    said = inside(settings)

    assert words in said
    assert ("hsmm.json" in said) == ("hsmm" in settings.name)


def test_a_card_omits_parts_that_are_switched_off() -> None:
    """Convolutions and a classifier remain."""
    off = Conv2dVqHdpHsmmSettings(name="conv2d_vq_hdp_hsmm", vq=False, hdp=False, hsmm=False)
    said = inside(off, devices=("watch",))

    assert not any(word in said for word in ("quantization", "mixture", "durations", INTERCHANGEABLE))


@pytest.mark.parametrize(
    ("height", "devices", "blind"), [(1, ("a", "b"), True), (2, ("a", "b"), False), (1, ("a",), False)]
)
def test_a_card_says_where_devices_are_interchangeable(height, devices, blind) -> None:
    """With several devices, and kernels that cover one device."""
    settings = Conv2dFsqSettings(kernels=((height, 7), (1, 5), (1, 3)))

    assert (INTERCHANGEABLE in inside(settings, devices)) == blind


def test_a_card_describes_a_domain_head() -> None:
    """With the number of datasets."""
    said = inside(TcnVaeSettings(name="tcn_vae"), domains=("x", "y"))

    assert "hide which of 2 datasets a window is from" in said


def test_a_card_shows_the_effect_of_smoothing() -> None:
    """Only for a model with durations."""
    alone = SegmentScores(accuracy=0.5, edit=40.0, over_segmentation=3.0, f1_at_50=0.25)
    smoothed = alone.model_copy(update={"edit": 80.0})
    found = TemporalMetrics(streams=7, mean_duration=12.5, alone=alone, smoothed=smoothed)
    said = model_card.render(facts(metrics=METRICS.model_copy(update={"temporal": found})))

    assert "7 streams of consecutive windows" in said
    assert "A class lasts 12.50 windows" in said
    assert "| single windows | 0.5000 | 40.00 | 3.00 | 0.2500 |\n| smoothed | 0.5000 | 80.00 | 3.00 | 0.2500 |" in said
    assert "Temporal smoothing" not in model_card.render(facts())


def test_a_card_names_metrics_in_words() -> None:
    """The paths of gates are keys of JSON files, which readers of a card do not know."""
    path = "confidence.after.equal_mass.error"
    gate = Gate(max=0.03, beyond="confidence.after.equal_mass.null_high")
    document = {"confidence": {"after": {"equal_mass": {"error": 0.1244, "null_high": 0.0156}}}}
    waiver = Waiver(gate=path, reason="a demonstration")
    outcomes = tuple(gates.check_gates(document, {path: gate}, waivers=[waiver], describe=current().gate))
    said = model_card.render(facts(gates=GateReport(outcomes=outcomes)))
    name = "calibration error (after temperature scaling)"

    assert f"| {name} | 0.1244 | at most 0.0456 (0.0156 expected by chance + 0.03) | failed, waived |" in said
    assert f"- **{name} was waived:** a demonstration ({name} 0.124 exceeds the limit 0.0456 (0.0156 expected" in said
    assert "confidence.after" not in said
