"""model_card: what the records say, in the form that Hugging Face reads."""

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
from modelreg.documents.templates.card_v1 import escape
from modelreg.records import fsq
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
    """The facts of a small card."""
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
    """Whatever the numbers are."""
    metrics = eval_metrics(predictions(np.random.default_rng(seed), windows=7), "a" * 64, "b" * 64)

    assert (
        list(model_card.find_differences(model_card.render(facts(metrics=metrics)), facts(metrics=metrics), current()))
        == []
    )


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
    ["What it is", "Intended use and limits", "Data and protocol", "Results", "How to run it", "How it was made"],
)
def test_a_card_has_its_human_sections(heading) -> None:
    """In words a stranger can use."""
    assert f"\n## {heading}\n" in model_card.render(facts())


@pytest.mark.parametrize(("count", "words"), [(1, "evaluated **1 time**"), (3, "evaluated **3 times**")])
def test_a_card_states_how_often_the_test_part_was_seen(count, words) -> None:
    """Every look counts."""
    protocol = METRICS.protocol.model_copy(update={"evaluations": count})

    assert words in model_card.render(facts(metrics=METRICS.model_copy(update={"protocol": protocol})))


def test_a_card_says_why_there_is_no_interval() -> None:
    """Two subjects are too few."""
    reason = METRICS.intervals["accuracy"].reason

    assert f"No interval: {reason}." in model_card.render(facts())


def test_a_card_shows_an_interval() -> None:
    """Where there is one."""
    interval = Interval(low=0.25, high=0.75, level=0.95, subjects=9, replicates=100)
    metrics = METRICS.model_copy(update={"intervals": dict.fromkeys(METRICS.intervals, interval)})

    assert "0.2500 to 0.7500 (95%)" in model_card.render(facts(metrics=metrics))


def test_a_folded_window_is_named() -> None:
    """`fold: 2` is part of what the model is."""
    spec = model_spec()
    folded = spec.model_copy(update={"input": spec.input.model_copy(update={"fold": 2})})

    assert "folded into two rows" in model_card.render(facts(spec=folded))


def test_a_split_by_time_is_named_for_what_it_is() -> None:
    """It says nothing about new subjects, and names its gap."""
    protocol = METRICS.protocol
    train = protocol.parts.train.model_copy(update={"subjects": ("s4",)})
    shared = protocol.model_copy(update={"split": "time", "parts": protocol.parts.model_copy(update={"train": train})})
    data = data_record().model_copy(update={"split": "time", "gap": 16, "sources": WATCH})
    text = model_card.render(facts(metrics=METRICS.model_copy(update={"protocol": shared}), data=data))

    assert ("say nothing about new ones" in text, "with gaps of 16 samples" in text) == (True, True)


@pytest.mark.parametrize(
    ("split", "words"), [("subject", "divided by subject."), ("given", "as the source gives them.")]
)
def test_windows_cut_elsewhere_are_named_for_what_they_are(split, words) -> None:
    """No hop and no majority of labels is claimed for them."""
    text = model_card.render(facts(data=data_record().model_copy(update={"split": split})))

    assert ("came ready cut" in text, words in text, "labelled by" in text) == (True, True, False)


def test_a_training_without_git_is_named() -> None:
    """Nothing is made up."""
    run = run_record("b" * 64)
    bare = run.model_copy(update={"environment": run.environment.model_copy(update={"git": None})})

    assert "outside of any git repository, with seed" in model_card.render(facts(run=bare))


def test_uncommitted_changes_are_named() -> None:
    """A dirty tree is part of how it was made."""
    run = run_record("b" * 64)
    git = run.environment.git.model_copy(update={"dirty": True})
    dirty = run.model_copy(update={"environment": run.environment.model_copy(update={"git": git})})

    assert "(with uncommitted changes)" in model_card.render(facts(run=dirty))


@given(st.text(alphabet="ab|*_`<>[]#~\\{}& \n", min_size=1, max_size=12))
def test_names_cannot_break_a_table(name) -> None:
    """An escaped name stays on its line and in its cell."""
    assert re.search(r"(?<!\\)(\\\\)*[|\n]", escape(name)) is None


@pytest.mark.parametrize(
    "text", ["", "# no front matter", "---\na: 1\n---\n", "---\n- x\n---\n", "---\nlicense: 1\n---\n"]
)
def test_what_states_no_licence_states_none(text) -> None:
    """Whatever stands in the front matter."""
    assert model_card.stated_license(text) is None


def estimated(**changes):
    """The facts of a card with an 8-bit estimate."""
    made = estimate({filenames.CHECKPOINT: "a" * 64, filenames.NORMALIZATION: "b" * 64})
    return facts(estimate=made.model_copy(update=changes))


def test_an_estimate_is_called_one() -> None:
    """With what it was made of, and each scheme."""
    text = model_card.render(estimated())

    assert "**An estimate: no compiler and no chip was asked.**" in text
    assert "| one per tensor | 0.5000 | +0.1000 | 0.5000 | 90.0% | 30.0 dB |" in text


def test_without_an_estimate_nothing_is_said_of_8_bits() -> None:
    """Cards of versions that have none are what they were."""
    without = model_card.render(estimated()).split("## 8-bit estimate")

    assert model_card.render(facts()) == without[0] + "## How to run it" + without[1].split("## How to run it")[1]


def test_channels_that_would_clip_are_named() -> None:
    """A calibration set that does not cover a channel."""
    ends = {"low": -1.0, "high": 1.0, "usual_low": -2.0, "usual_high": 2.0}
    channels = [ChannelRange(channel=name, clipped=0.25, covered=name == "b", **ends) for name in "ab"]
    text = model_card.render(estimated(input=tuple(channels)))

    assert ("- **a: the calibration set does not cover" in text, "25.00% of all would clip" in text) == (True, True)
    assert "**b:" not in text


def test_a_model_without_codes_keeps_none() -> None:
    """No share of nothing."""
    made = estimated().estimate
    scheme = made.per_tensor.model_copy(update={"code_agreement": None})

    assert "| 0.5000 | - | 30.0 dB |" in model_card.render(estimated(per_tensor=scheme))


def test_a_citation_stays_on_its_line() -> None:
    """Neither a line break nor HTML of a source's own reaches the card."""
    source = data_record().sources[0].model_copy(update={"citation": "a\n\n| x | <img onerror>"})
    text = model_card.render(facts(data=data_record().model_copy(update={"sources": (source,)})))

    assert r"- planted: a \| x \| \<img onerror\>. Licence: CC0-1.0." in text


INTERCHANGEABLE = "it takes the devices as interchangeable"
INSIDE = [
    (Conv2dFsqSettings(), "finite scalar quantization with levels [8, 6, 5, 5, 4]"),
    (Conv2dVqSettings(name="conv2d_vq"), "the nearest of 512 codes of 64 numbers"),
    (Conv2dFsqHsmmSettings(name="conv2d_fsq_hsmm"), "explicit durations of up to 50 windows smooth the classes"),
    (Conv2dVqHdpHsmmSettings(name="conv2d_vq_hdp_hsmm"), "A stick-breaking mixture of at most 20 clusters"),
    (TcnVaeSettings(name="tcn_vae"), "the mean of a latent vector of 64 numbers"),
]


def inside(settings, devices=("phone", "collar"), **changes) -> str:
    """What a card says of a system, on one line."""
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
def test_a_card_says_what_is_inside(settings, words) -> None:
    """Each system in its own words, none of another's."""
    said = inside(settings)

    assert words in said
    assert ("hsmm.json" in said) == ("hsmm" in settings.name)


def test_a_card_names_no_part_that_is_switched_off() -> None:
    """Convolutions and a classifier are left, and no empty end of a line."""
    off = Conv2dVqHdpHsmmSettings(name="conv2d_vq_hdp_hsmm", vq=False, hdp=False, hsmm=False)
    said = inside(off, devices=("watch",))

    assert not any(word in said for word in ("quantization", "mixture", "durations", INTERCHANGEABLE))


@pytest.mark.parametrize(
    ("height", "devices", "blind"), [(1, ("a", "b"), True), (2, ("a", "b"), False), (1, ("a",), False)]
)
def test_a_card_says_where_devices_are_interchangeable(height, devices, blind) -> None:
    """With several devices, and kernels that see one at a time."""
    settings = Conv2dFsqSettings(kernels=((height, 7), (1, 5), (1, 3)))

    assert (INTERCHANGEABLE in inside(settings, devices)) == blind


def test_a_card_says_of_which_data_sets_a_latent_vector_is_silent() -> None:
    """How many they were."""
    said = inside(TcnVaeSettings(name="tcn_vae"), domains=("x", "y"))

    assert "say nothing of which of 2 data sets a window is" in said


def test_a_card_says_what_smoothing_is_worth() -> None:
    """Windows alone beside windows filtered; nothing of it where no durations are modelled."""
    alone = SegmentScores(accuracy=0.5, edit=40.0, over_segmentation=3.0, f1_at_50=0.25)
    smoothed = alone.model_copy(update={"edit": 80.0})
    found = TemporalMetrics(streams=7, mean_duration=12.5, alone=alone, smoothed=smoothed)
    said = model_card.render(facts(metrics=METRICS.model_copy(update={"temporal": found})))

    assert "in 7 streams" in said
    assert "a class lasts 12.50 windows" in said
    assert "| alone | 0.5000 | 40.00 | 3.00 | 0.2500 |\n| smoothed | 0.5000 | 80.00 | 3.00 | 0.2500 |" in said
    assert "Smoothing" not in model_card.render(facts())
