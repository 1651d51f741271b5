"""A release does what its run is missing: it evaluates, exports, and writes a changelog entry from facts."""

import shutil
from types import SimpleNamespace

import pytest
from example_release import now
from example_run import write_registry, write_run
from places import places

from modelreg.config import ProjectConfig
from modelreg.errors import InputError
from modelreg.release import patch, steps
from modelreg.release.plan import Request, complete, draft, gate_outcomes, outline
from modelreg.release.steps import Ports

RUN = "runs/conv2d_fsq-001"
PROJECT = ProjectConfig(targets=("onnx",))


@pytest.fixture
def root(tmp_path):
    """A registry with a run whose metrics were taken away, and an empty changelog."""
    root = write_registry(tmp_path / "r")
    write_run(root / RUN)
    (root / RUN / "eval_metrics.json").rename(root / "measured.json")
    (root / "CHANGELOG.md").write_text("# Changelog\r\n\r\n## [Unreleased]\r\n\r\n### Added\r\n")
    return root


def request(root, **options):
    """Ask for everything that is missing."""
    options = {"evaluate": True, "roll_changelog": True, "changelog_entry": True, **options}
    return Request("v0.1.0", root / RUN, **options)


def drafted(root, project=PROJECT, **options):
    """The draft of a release."""
    return draft(root, request(root, **options), project, steps.observe(root, request(root), Ports(now)))


def evaluate(root):
    """A port that puts the metrics back."""

    def port(run):
        shutil.copy(root / "measured.json", run / "eval_metrics.json")

    return port


@pytest.mark.parametrize(("export", "first"), [(True, ("evaluate", "export")), (False, ("evaluate", "version"))])
def test_a_dry_run_outlines_the_steps(root, export, first) -> None:
    """Before anything is evaluated; no gate is judged."""
    plan = outline(drafted(root, export=export))

    assert (plan.steps[:2], plan.outcomes, gate_outcomes(root, root / RUN, PROJECT)) == (first, (), ())


def test_a_run_is_evaluated_first(root) -> None:
    """Then the release is planned as that of an evaluated run, and its changelog entry has the facts."""
    ports = Ports(now, evaluate=evaluate(root))
    found = steps.evaluate(drafted(root, ProjectConfig()), ports)
    plan = complete(found, gate_outcomes(root, root / RUN, ProjectConfig()))
    steps.run(plan, ports)
    text = (root / "CHANGELOG.md").read_bytes().decode()

    assert ("evaluate" in plan.steps, "\r" in text, "conv2d_fsq v0.1.0, trained on" in text) == (False, False, True)


def test_a_release_that_cannot_evaluate_says_so(root) -> None:
    """Nothing was written."""
    with pytest.raises(InputError) as caught:
        steps.evaluate(drafted(root), Ports(now))

    assert places(caught.value.problems) == [("evaluate", "release.step-unavailable")]


@pytest.mark.parametrize("option", ["evaluate", "changelog_entry"])
def test_each_can_be_turned_off(root, option) -> None:
    """What is missing then is refused."""
    with pytest.raises(InputError) as caught:
        drafted(root, **{option: False})

    rule = {"evaluate": "run.not-evaluated", "changelog_entry": "changelog.nothing-new"}[option]
    assert [problem.rule for problem in caught.value.problems] == [rule]


def test_the_entry_of_a_patch_names_the_network() -> None:
    """And the version that it was made from."""

    addition = patch.Addition.__new__(patch.Addition)
    addition.__dict__["hef"] = SimpleNamespace(info=SimpleNamespace(hw_arch="hailo8", sha256="a" * 64))

    assert "v0.1.0 with its network compiled for hailo8" in patch.changelog_entry("m", "v0.1.1", "v0.1.0", addition)


def test_a_failed_gate_names_its_line(root) -> None:
    """Of modelreg.yaml, and how to waive it."""
    project = ProjectConfig(gates={"every_class_tested": True, "accuracy": {"min": 0.999}})
    (root / "modelreg.yaml").write_text("gates:\n  accuracy: {min: 0.999}\n")
    evaluate(root)(root / RUN)
    found = drafted(root, project)
    with pytest.raises(Exception, match="cannot release") as caught:
        complete(found, gate_outcomes(root, root / RUN, project))

    assert places(caught.value.problems)[0] == ("modelreg.yaml:2: gates.accuracy", "gates.failed")
