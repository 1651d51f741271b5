"""Gates: the requirement of each form, its message, and its record in a version."""

import json
from functools import partial

import numpy as np
import pytest
from example_records import example_predictions
from example_release import carry_out, now
from example_run import write_registry, write_run
from hypothesis import given
from hypothesis import strategies as st
from places import places
from pydantic import ValidationError

from modelreg import config, files, strict_yaml
from modelreg.cli.main import main
from modelreg.config import ProjectConfig
from modelreg.documents import template_versions
from modelreg.documents.templates import card_v1, gates_v2
from modelreg.documents.templates.gates_v2 import describe
from modelreg.errors import GateFailed
from modelreg.evaluation import calibration, gates
from modelreg.evaluation.gates import Older
from modelreg.records import base
from modelreg.records.gates import Against, Gate, GateReport, Outcome, Waiver
from modelreg.records.metrics import EvaluationSettings
from modelreg.registry import filenames
from modelreg.release import init
from modelreg.release.plan import Request, gate_outcomes
from modelreg.release.steps import Ports
from modelreg.verification import integrity

METRICS = {
    "accuracy": 0.8,
    "ok": True,
    "calibration": {"ece": 0.05, "null_high": 0.03},
    "sets": {"coverage": 0.88, "expected": {"low": 0.86, "high": 0.94}, "interval": {"reason": "3 people"}},
}
OLDER = {"latest": Older("v0.2.0", {"accuracy": 0.83}), "v0.1.0": Older("v0.1.0", {}), "v9.0.0": None}


check = partial(gates.check_gates, describe=describe)


def outcome(path: str, **bounds: object) -> Outcome:
    """Judge one gate on METRICS."""
    return check(METRICS, {path: Gate.model_validate(bounds)}, OLDER)[0]


# The documented gates on calibration and prediction sets

DOCUMENTED = {
    "confidence.after.equal_mass.error": Gate(max=0.05),
    "confidence.sets.pooled.subject_mean": Gate(min=0.87),
    "confidence.sets.pooled.interval": Gate(contains=0.9),
}


def calibrated(scale: float, subjects: int) -> dict[str, object]:
    """Return the metrics of out-of-fold predictions; the labels follow softmax(2 * logits)."""
    fair = example_predictions(subjects=[f"s{number:02}" for number in range(subjects)], windows=100)
    found = fair._replace(logits=(fair.logits * scale).astype(np.float32))
    record = calibration.fit_calibration(found, calibration.Origin(tuple("abcd"), "a" * 64, "b" * 64))
    measured = calibration.measure_calibration(found, record, EvaluationSettings(replicates=100))
    return {"confidence": measured.to_document()}


@pytest.mark.parametrize("scale", [1.0, 2.0], ids=["scaling applied", "scaling declined"])
def test_the_documented_gates_on_calibration_are_met(scale) -> None:
    """By a model whose calibration holds for subjects left out, with and without temperature scaling."""
    assert [each.verdict for each in check(calibrated(scale, 12), DOCUMENTED)] == ["met"] * 3


def test_gates_on_calibration_fail_where_it_cannot_be_judged() -> None:
    """Four subjects have no interval, and no evidence for the temperature that their logits need."""
    failed = {each.path for each in check(calibrated(20.0, 4), DOCUMENTED) if each.verdict == "FAILS"}

    assert failed >= {"confidence.after.equal_mass.error", "confidence.sets.pooled.interval"}


# The forms of a gate


@pytest.mark.parametrize(
    ("path", "bounds"),
    [
        ("accuracy", {"min": 0.8, "max": 0.8}),
        ("calibration.ece", {"max": 0.021, "beyond": "calibration.null_high"}),
        ("sets.coverage", {"inside": "sets.expected"}),
        ("sets.expected", {"contains": 0.9}),
        ("accuracy", {"not_below": "latest", "tolerance": 0.03}),
        ("accuracy", {"not_above": "latest"}),
    ],
)
def test_a_gate_is_met(path, bounds) -> None:
    """Bounds are inclusive."""
    assert (outcome(path, **bounds).verdict, outcome(path, **bounds).notes) == ("met", ())


FAILURES = [  # path, gate, the sentence of template 1 and of template 2
    ("accuracy", {"min": 0.81}, "0.8000, but must be at least 0.81", "accuracy 0.8 is below the minimum 0.81"),
    (
        "accuracy",
        {"min": 0.1, "max": 0.7},
        "0.8000, but must be at least 0.1 and at most 0.7",
        "accuracy 0.8 exceeds the limit 0.7",
    ),
    (
        "calibration.ece",
        {"max": 0.01, "beyond": "calibration.null_high"},
        "0.0200 (0.0500 less 0.0300), but must be at most 0.01 above calibration.null_high",
        "calibration error 0.05 exceeds the limit 0.04 (0.03 expected by chance + 0.01)",
    ),
    (
        "calibration.ece",
        {"min": 0.06, "beyond": "sets.expected.low"},
        "-0.8100 (0.0500 less 0.8600), but must be at least 0.06 above sets.expected.low",
        "calibration error 0.05 is below the minimum 0.92 (0.86 of sets.expected.low + 0.06)",
    ),
    (
        "calibration.ece",
        {"inside": "sets.expected"},
        "0.0500 lies outside of 0.8600 to 0.9400",
        "calibration error 0.05 is outside 0.86 to 0.94 (sets.expected)",
    ),
    (
        "sets.expected",
        {"contains": 0.95},
        "0.9500 lies outside of 0.8600 to 0.9400",
        "sets.expected (0.86 to 0.94) does not contain 0.95",
    ),
    (
        "accuracy",
        {"not_below": "latest"},
        "0.8000 is below the 0.8300 of v0.2.0",
        "accuracy decreased from 0.83 (v0.2.0) to 0.8",
    ),
    (
        "accuracy",
        {"not_below": "latest", "tolerance": 0.02},
        "0.8000 is below the 0.8300 of v0.2.0 by more than 0.02",
        "accuracy decreased from 0.83 (v0.2.0) to 0.8, more than the tolerance of 0.02",
    ),
    ("accuracy", {"not_below": "v9.0.0"}, "there is no version v9.0.0", "version v9.0.0 not found"),
    ("accuracy", {"not_above": "v0.1.0"}, "v0.1.0 has no such number", "v0.1.0 has no value for accuracy"),
    ("ok", {"min": 0}, "no such number in eval_metrics.json", "ok not found in eval_metrics.json"),
    (
        "ece",
        {"max": 1},
        "no such number in eval_metrics.json; there is calibration.ece",
        "ece not found in eval_metrics.json; did you mean calibration.ece?",
    ),
    (
        "accuracy",
        {"max": 1, "beyond": "gone"},
        "no such number in eval_metrics.json",
        "gone not found in eval_metrics.json",
    ),
    (
        "parity.whole.logits_error",
        {"max": 1},
        "no such number in onnx/parity.json",
        "parity.whole.logits_error not found in onnx/parity.json",
    ),
    (
        "int8.accuracy_drop",
        {"max": 1},
        "no such number in hailo8/int8.json or hailo8l/int8.json",
        "int8.accuracy_drop not found in hailo8/int8.json or hailo8l/int8.json",
    ),
    (
        "sets.coverage",
        {"inside": "sets.interval"},
        "no interval: 3 people",
        "sets.interval is not available: 3 people",
    ),
    (
        "sets",
        {"contains": 0.9},
        "no interval sets in eval_metrics.json",
        "sets not found in eval_metrics.json",
    ),
    (
        "accuracy",
        {"min": 0.9, "not_below": "latest"},
        "0.8000, but must be at least 0.9; 0.8000 is below the 0.8300 of v0.2.0",
        "accuracy 0.8 is below the minimum 0.9; accuracy decreased from 0.83 (v0.2.0) to 0.8",
    ),
]


@pytest.mark.parametrize(("path", "bounds", "first", "second"), FAILURES)
def test_each_template_describes_a_failure_in_its_own_sentence(path, bounds, first, second) -> None:
    """Versions keep the sentences of the template that they were released with."""
    gate = {path: Gate.model_validate(bounds)}
    found = [
        gates.check_gates(METRICS, gate, OLDER, describe=template_versions.named(number).gate)[0].failure
        for number in (1, 2)
    ]

    assert found == [first, second]


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_a_failure_states_two_different_numbers(value, limit) -> None:
    """A value never looks equal to the limit that it violates."""
    shown = gates_v2.distinct(value, limit)

    assert (shown[0] == shown[1]) == (value == limit)


def test_the_first_release_has_no_latest() -> None:
    """It sets no bound, and a note states this."""
    (found,) = check(METRICS, {"accuracy": Gate(not_below="latest")}, {"latest": None})

    assert (found.verdict, found.notes) == ("met", ("no earlier version to compare with",))


def test_a_new_metric_has_no_value_to_compare_with() -> None:
    """The latest version does not have this metric."""
    found = outcome("calibration.ece", not_above="latest")

    assert (found.verdict, found.notes) == ("met", ("v0.2.0 has no value for calibration.ece",))


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.2))
def test_not_above_is_not_below_of_the_opposite(new, old, tolerance) -> None:
    """Direction is the only difference."""
    failed = [
        check(
            {"x": sign * new},
            {"x": Gate.model_validate({name: "v1", "tolerance": tolerance})},
            {"v1": Older("v1", {"x": sign * old})},
        )[0].failure
        is None
        for name, sign in (("not_below", 1), ("not_above", -1))
    ]

    assert failed[0] == failed[1] == (old - new <= tolerance + 1e-12)


REQUIREMENTS = [  # gate, the number at `beyond`, the words of template 1 and of template 2
    (
        Gate(min=0.8, not_below="latest", tolerance=0.01),
        None,
        "at least 0.8 and not below latest by more than 0.01",
        "at least 0.8 and not below latest (tolerance 0.01)",
    ),
    (
        Gate(max=0.03, beyond="a.null_high"),
        0.0156,
        "at most 0.03 above a.null_high",
        "at most 0.0456 (0.0156 expected by chance + 0.03)",
    ),
    (
        Gate(max=-0.03, beyond="a.high"),
        None,
        "at most -0.03 above a.high",
        "at most the value of a.high - 0.03",
    ),
    (Gate(inside="a.expected"), None, "inside a.expected", "within a.expected"),
    (Gate(contains=0.9), None, "an interval that holds 0.9", "interval contains 0.9"),
    (Gate(not_above="v0.1.0"), None, "not above v0.1.0", "not above v0.1.0"),
]


@pytest.mark.parametrize(("gate", "over", "first", "second"), REQUIREMENTS)
def test_a_requirement_in_words(gate, over, first, second) -> None:
    """Tables and cards show it."""
    assert (card_v1.bounds(gate), gates_v2.requirement(gate, over)) == (first, second)


@pytest.mark.parametrize(
    ("path", "bounds", "found"),
    [
        ("accuracy", {"min": 0}, "0.8"),
        ("calibration.ece", {"max": 1, "beyond": "calibration.null_high"}, "0.05"),
        ("sets.expected", {"contains": 0.9}, "0.86 to 0.94"),
        ("gone", {"min": 0}, "-"),
    ],
)
def test_the_judged_number_is_shown(path, bounds, found) -> None:
    """The number itself, also of a gate with `beyond`: its requirement has the sum."""
    assert gates_v2.judged(outcome(path, **bounds)) == found


@pytest.mark.parametrize(
    ("bounds", "rule"),
    [
        ({}, "give min, max or both"),
        ({"beyond": "x", "inside": "y"}, "beyond needs min or max"),
        ({"min": 0, "tolerance": 0.1}, "tolerance needs"),
        ({"contains": 0.9, "min": 0}, "a separate gate"),
        ({"contains": 0.9, "not_below": "latest"}, "a separate gate"),
        ({"not_below": "latest", "tolerance": -1}, "tolerance"),
    ],
)
def test_a_gate_without_a_requirement_is_refused(bounds, rule) -> None:
    """When modelreg.yaml is read."""
    with pytest.raises(ValidationError, match=rule):
        Gate.model_validate(bounds)


# Of an export

ESTIMATED = {"int8": {"accuracy_drop": 0.1}}


def of_export(documents: dict, path: str = "int8.accuracy_drop", **bounds: object) -> Outcome:
    """Judge one gate on documents, with an earlier version that has an estimate."""
    gate = Gate.model_validate({"max": 0.02, "if_exported": True, **bounds})
    return check(documents, {path: gate}, {"latest": Older("v0.1.0", ESTIMATED)})[0]


@pytest.mark.parametrize("bounds", [{}, {"not_above": "latest"}], ids=["absolute", "against the latest"])
def test_without_the_export_its_gate_is_not_judged(bounds) -> None:
    """It is neither met nor failed, and its verdict says why."""
    found = of_export(METRICS, **bounds)

    assert (found.verdict, gates_v2.judged(found), found.notes, list(gates.failures([found]))) == (
        "not judged: no export",
        "-",
        (),
        [],
    )


@pytest.mark.parametrize(("drop", "verdict"), [(0.02, "met"), (0.021, "FAILS")])
def test_with_the_export_its_gate_is_judged(drop, verdict) -> None:
    """In the same way as without `if_exported`."""
    documents = {"int8": {"accuracy_drop": drop}}

    assert (of_export(documents).verdict, of_export(documents, if_exported=False).verdict) == (verdict, verdict)


def test_an_export_without_the_number_fails() -> None:
    """Only a missing document is not judged."""
    assert of_export(ESTIMATED, "int8.acuracy_drop").verdict == "FAILS"


def test_a_gate_without_if_exported_requires_the_export() -> None:
    """It fails without it."""
    assert of_export(METRICS, if_exported=False).verdict == "FAILS"


def test_a_missing_metric_always_fails() -> None:
    """gates.json may contain a gate that modelreg.yaml would refuse."""
    assert of_export(METRICS, "macro_f1").verdict == "FAILS"


@pytest.mark.parametrize("path", ["accuracy", "latency.p95_ms", "parities.x"])
def test_if_exported_is_refused_for_other_metrics(path) -> None:
    """When modelreg.yaml is read."""
    with pytest.raises(ValidationError, match=f"is for paths under parity and int8: {path}"):
        ProjectConfig(gates={path: Gate(max=1, if_exported=True)})


def test_an_early_report_is_read_unchanged() -> None:
    """Missing new fields do not make a judged gate unjudged."""
    document = GateReport(outcomes=(of_export(ESTIMATED, if_exported=False),)).to_document()
    del document["outcomes"][0]["unjudged"], document["outcomes"][0]["gate"]["if_exported"]
    read = base.parse(files.to_json(document), GateReport, "x")

    assert gates.check_again(read, ESTIMATED, describe) == read
    assert read.outcomes[0].verdict == "FAILS"


# Waivers


def test_a_waived_gate_may_fail() -> None:
    """It is not a failure, and keeps its reason."""
    waiver = Waiver(gate="accuracy", reason="a demonstration")
    (found,) = check(METRICS, {"accuracy": Gate(min=0.9)}, waivers=[waiver])

    assert (found.verdict, found.waived, list(gates.failures([found]))) == ("waived", "a demonstration", [])


@pytest.mark.parametrize("waived", [["gone"], ["accuracy", "accuracy"]])
def test_a_waiver_names_one_gate(waived) -> None:
    """The gate must exist, and be waived once."""
    with pytest.raises(ValidationError, match="no such gate, or waived twice"):
        ProjectConfig(gates={"accuracy": Gate(min=0)}, waivers=tuple(Waiver(gate=g, reason="x") for g in waived))


# In a release


@pytest.fixture
def root(tmp_path):
    """Return a registry with one run."""
    write_run(write_registry(tmp_path / "r") / "runs" / "conv2d_fsq-001")
    return tmp_path / "r"


def released(root, project):
    """Make a version; return its folder."""
    return carry_out(root, Request("v0.1.0", root / "runs" / "conv2d_fsq-001", roll_changelog=True), project).folder


WAIVED = ProjectConfig(
    gates={"accuracy": Gate(min=0.99), "macro_f1": Gate(min=0, not_below="latest")},
    waivers=(Waiver(gate="accuracy", reason="it is a *fixture*"),),
)


def test_the_card_prints_gates_and_waivers(root) -> None:
    """Requirement, value, and the reason of the waiver."""
    card = (released(root, WAIVED) / "model_card.md").read_text()

    assert "## Release gates" in card
    assert "- **accuracy was waived:** it is a \\*fixture\\* (accuracy 0." in card


def test_without_gates_there_is_no_section(root) -> None:
    """And no gates.json."""
    folder = released(root, ProjectConfig())

    assert (
        filenames.GATES in {path.name for path in folder.iterdir()},
        "Gates" in (folder / "model_card.md").read_text(),
    ) == (
        False,
        False,
    )


def test_a_version_keeps_its_gates(root) -> None:
    """gates.json verifies, and is read back."""
    folder = released(root, WAIVED)
    report = base.load(folder / filenames.GATES, GateReport)

    assert integrity.inspect(folder).problems == ()
    assert [o.verdict for o in report.outcomes] == ["waived", "met"]


def test_gates_compare_with_the_latest_version(root) -> None:
    """The second release must reach the first."""
    released(root, ProjectConfig())
    write_run(root / "runs" / "conv2d_fsq-002", seed=1)
    first = json.loads((root / "registry/conv2d_fsq/v0.1.0/eval_metrics.json").read_text())["log_loss"]
    project = ProjectConfig(gates={"log_loss": Gate(not_above="latest"), "brier": Gate(not_below="v7.0.0")})
    (one, two) = gate_outcomes(root, root / "runs" / "conv2d_fsq-002", project)

    assert one.against == {"latest": Against(version="v0.1.0", value=first)}
    assert "v7.0.0" in str(two.failure)


def test_a_gate_on_an_export_is_judged_after_it(root) -> None:
    """If the release makes the export; else it fails at once."""
    run, parity = root / "runs" / "conv2d_fsq-001", {"parity.whole.logits_error": Gate(max=1e-4)}

    assert gate_outcomes(root, run, ProjectConfig(gates=parity, targets=("onnx",))) == ()
    assert gate_outcomes(root, run, ProjectConfig(gates=parity))[0].verdict == "FAILS"


def test_an_export_that_fails_its_gate_makes_no_version(root) -> None:
    """The plan could not know; the version is not written."""
    project = ProjectConfig(gates={"parity.whole.logits_error": Gate(max=1e-4)}, targets=("onnx",))
    request = Request("v0.1.0", root / "runs" / "conv2d_fsq-001", roll_changelog=True)

    def export(run, targets):
        (run / "onnx").mkdir()
        (run / "onnx" / "parity.json").write_bytes(files.to_json({"whole": {"logits_error": 0.5}}))

    with pytest.raises(GateFailed) as refused:
        carry_out(root, request, project, Ports(now, export=export))

    assert places(refused.value.problems) == [("gate parity.whole.logits_error", "gates.failed")]
    assert "0.5 exceeds the limit 0.0001" in refused.value.problems[0].message
    assert not list(root.glob("registry/*/*"))


def test_the_command_prints_waivers(root, monkeypatch, capsys) -> None:
    """Next to the table of all gates, with notes on gates that compare nothing."""
    (root / "modelreg.yaml").write_bytes(WAIVED.to_bytes())
    monkeypatch.chdir(root)
    code = main(["release", "v0.1.0", "--roll-changelog", "--dry-run"])
    said = capsys.readouterr().err

    assert (code, "gate accuracy is waived: it is a *fixture* (accuracy 0." in said) == (0, True)
    assert "gate macro_f1 is met: no earlier version to compare with" in said


@pytest.fixture
def waiting(root, monkeypatch):
    """Return the working directory: the same registry with a gate of an export that the run does not have."""
    project = ProjectConfig(gates={"accuracy": Gate(min=0), "int8.accuracy_drop": Gate(max=0.02, if_exported=True)})
    (root / "modelreg.yaml").write_bytes(project.to_bytes())
    monkeypatch.chdir(root)
    return root


def test_the_command_names_gates_that_are_not_judged(waiting, capsys) -> None:
    """As text, and in JSON with the verdicts of all gates."""
    code = main(["release", "v0.1.0", "--roll-changelog", "--json"])
    said = capsys.readouterr()

    assert (code, "gate int8.accuracy_drop is not judged: no export\n" in said.err) == (0, True)
    assert json.loads(said.out)["gates"] == {"accuracy": "met", "int8.accuracy_drop": "not judged: no export"}


def test_a_version_records_gates_that_are_not_judged(waiting) -> None:
    """It verifies, and its card does not call them met."""
    folder = released(waiting, config.load(waiting / "modelreg.yaml", ProjectConfig))
    card = (folder / "model_card.md").read_text()

    assert (
        integrity.inspect(folder).problems,
        base.load(folder / filenames.GATES, GateReport).outcomes[1].unjudged,
    ) == (
        (),
        "no export",
    )
    assert "| estimated accuracy loss in 8 bits | - | at most 0.02 | not evaluated: no export |" in card


def test_an_unjudged_gate_cannot_be_claimed_met(waiting) -> None:
    """The version has no such export."""
    report = base.load(
        released(waiting, config.load(waiting / "modelreg.yaml", ProjectConfig)) / filenames.GATES, GateReport
    )
    stated = GateReport(outcomes=(report.outcomes[1].model_copy(update={"unjudged": None, "value": 0.01}),))

    assert places(gates.find_gate_problems(stated, {}, "gates.json", describe)) == [
        ("gates.json: int8.accuracy_drop", "gates.outcome-mismatch")
    ]


def test_a_new_registry_has_gates_for_everything() -> None:
    """Gates of exports are judged only if there is an export."""
    text = init.documents()["modelreg.yaml"]
    project = config.settle(strict_yaml.parse(text, "x"), ProjectConfig, "x")
    documents = {"parity": {"whole": {"logits_error": 1e-6}}, "int8": {"accuracy_drop": 0.01}}
    exported = {path: gate for path, gate in project.judged.items() if gate.if_exported}
    alone, whole = ([o.verdict for o in check(found, exported)] for found in ({}, documents))

    assert (alone, whole) == (["not judged: no export"] * 2, ["met"] * 2)


LIES = {
    "a better value": lambda o: o | {"value": 0.999, "failure": None},
    "another bound": lambda o: o | {"gate": o["gate"] | {"min": 0.1}},
    "no failure": lambda o: o | {"failure": None},
    "an older value": lambda o: o | {"against": {"latest": {"version": "v0.0.1", "value": 0.1}}, "notes": ["new"]},
    "no waiver": lambda o: o | {"waived": None},
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_changed_outcome_is_found(root, lie) -> None:
    """Each outcome follows from the gate, the documents and the values of earlier versions."""
    report = base.load(released(root, WAIVED) / filenames.GATES, GateReport)
    document = report.to_document()
    document["outcomes"][0] = lie(document["outcomes"][0])
    stated = base.parse(files.to_json(document), GateReport, "x")

    documents = {outcome.path: outcome.value for outcome in report.outcomes}
    found = places(gates.find_gate_problems(stated, documents, "gates.json", describe))

    assert found == [
        ("gates.json: gate accuracy", "gates.failed")
        if lie is LIES["no waiver"]
        else ("gates.json: accuracy", "gates.outcome-mismatch")
    ]


def test_a_damaged_report_is_a_problem(root) -> None:
    """It is not a crash."""
    folder = released(root, WAIVED)
    (folder / filenames.GATES).write_bytes(b"{}\n")
    manifest = json.loads((folder / "manifest.json").read_text())
    for entry in manifest["files"]:
        if entry["path"] == filenames.GATES:
            entry.update(sha256=files.sha256(folder / filenames.GATES), size=3)
    (folder / "manifest.json").write_bytes(files.to_json(manifest))

    assert ("gates.json", "document.key-missing") in places(integrity.inspect(folder).problems)
