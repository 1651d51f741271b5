"""The rules that a gate can be in place of a bound: above the baseline, every class tested."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg import config
from modelreg.documents.template_versions import named
from modelreg.documents.templates import gates_v2
from modelreg.errors import InputError
from modelreg.evaluation import gates
from modelreg.records.gates import Gate, GateReport, Outcome, RuleName, UntestedClasses

SHARES = st.floats(0, 1)


def judge(rule: RuleName, document: dict) -> Outcome:
    """The outcome of a rule on an eval_metrics.json."""
    [outcome] = gates.check_gates(document, {rule: Gate(rule=rule)}, describe=gates_v2.describe)
    return outcome


def measured(baseline: float, accuracies: list[float], interval: dict | None = None) -> dict:
    """What above_baseline reads of eval_metrics.json."""
    return {
        "baselines": {"majority_accuracy": baseline},
        "per_subject": {f"s{n}": {"accuracy": accuracy} for n, accuracy in enumerate(accuracies)},
        "intervals": {"accuracy": interval or {"reason": "too few"}},
    }


@given(SHARES, st.lists(SHARES, min_size=1, max_size=4))
def test_few_subjects_must_each_be_above_the_baseline(baseline, accuracies) -> None:
    """No interval is drawn of them."""
    outcome = judge("above_baseline", measured(baseline, accuracies))

    assert (outcome.failure is None) == all(accuracy > baseline for accuracy in accuracies)


@given(SHARES, st.tuples(SHARES, SHARES).map(sorted))
def test_of_five_subjects_the_interval_must_be_above_the_baseline(baseline, ends) -> None:
    """One subject may be below it."""
    document = measured(baseline, [0.0, 1, 1, 1, 1], {"low": ends[0], "high": ends[1]})

    assert (judge("above_baseline", document).failure is None) == (ends[0] > baseline)


def test_the_outcome_keeps_what_it_follows_from() -> None:
    """`verify` judges it again."""
    outcome = judge("above_baseline", measured(0.5, [0.4, 0.9, 0.5]))

    assert (outcome.value, outcome.baseline, outcome.subjects) == (0.4, 0.5, ("s0", "s2"))


@pytest.mark.parametrize("document", [{}, {"baselines": {}, "per_subject": {}}, measured(0.5, [1] * 5)])
def test_what_is_missing_fails(document) -> None:
    """No number is no proof."""
    assert judge("above_baseline", document).verdict == "FAILS"


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3), min_size=1))
def test_every_class_needs_a_test_window(support) -> None:
    """Those without one are named."""
    outcome = judge("every_class_tested", {"per_class": {name: {"support": count} for name, count in support.items()}})
    untested = tuple(sorted(name for name, count in support.items() if not count))

    assert (outcome.classes or (), outcome.failure is None) == (untested, not untested)


def test_a_rule_is_left_out_of_the_outcomes_of_bounds() -> None:
    """gates.json of a version without rules has the bytes that it had."""
    [outcome] = gates.check_gates({"accuracy": 0.9}, {"accuracy": Gate(min=0.8)}, describe=gates_v2.describe)

    assert not {"baseline", "subjects", "classes"} & outcome.to_document().keys()
    assert "rule" not in outcome.to_document()["gate"]


@pytest.fixture
def settings(tmp_path):
    """Read a modelreg.yaml."""

    def read(text: str) -> config.ProjectConfig:
        (tmp_path / "modelreg.yaml").write_text(text)
        return config.load(tmp_path / "modelreg.yaml", config.ProjectConfig)

    return read


def test_a_rule_is_set_to_true(settings) -> None:
    """Among bounds, in their order."""
    found = settings("gates: {above_baseline: true, accuracy: {min: 0.5}}")

    assert found.judged == {"above_baseline": Gate(rule="above_baseline"), "accuracy": Gate(min=0.5)}


def test_a_rule_that_is_false_is_off(settings) -> None:
    """As if it were not there."""
    assert settings("gates: {above_baseline: false}").judged == {}


def test_settings_read_back(settings) -> None:
    """As JSON."""
    found = settings("gates: {every_class_tested: true}")

    assert config.ProjectConfig.model_validate_json(json.dumps(found.to_document())) == found


@pytest.mark.parametrize("gate", ["accuracy: true", "above_baseline: {min: 1}", "above_baseline: 1"])
def test_true_is_for_rules_alone(settings, gate) -> None:
    """Anything else is a mistake."""
    with pytest.raises(InputError):
        settings(f"gates: {{{gate}}}")


def test_classes_that_are_missing_fail() -> None:
    """No document, no proof."""
    assert judge("every_class_tested", {}).verdict == "FAILS"


def test_a_rule_has_no_bound() -> None:
    """It is set to true."""
    with pytest.raises(ValueError, match="a rule has no bounds"):
        Gate(rule="above_baseline", min=0.1)


@pytest.mark.parametrize("path", ["accuracy", "every_class_tested"])
def test_an_outcome_states_its_own_rule(path) -> None:
    """A forged gates.json cannot show one rule under the name of another."""
    outcome = judge("above_baseline", measured(0.5, [0.9]))
    with pytest.raises(ValueError, match="under its own name"):
        Outcome.model_validate_json(json.dumps(outcome.to_document() | {"path": path}))


def test_a_gate_is_stated_once() -> None:
    """The second would hide the first."""
    outcome = judge("above_baseline", measured(0.5, [0.9])).to_document()
    with pytest.raises(ValueError, match="twice"):
        GateReport.model_validate_json(json.dumps({"schema_version": 1, "outcomes": [outcome, outcome]}))


def test_template_1_knows_no_rules() -> None:
    """No version with it has one; a forged one is told in the words of the next."""
    finding = UntestedClasses(("walk",))

    assert named(1).gate("every_class_tested", Gate(rule="every_class_tested"), finding) == (
        "no window in the test split: walk"
    )
