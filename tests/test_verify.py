"""verify: what lies beyond the folder comes through ports, and a check that is not available never passes."""

from pathlib import Path

import pytest
from example_run import write_registry, write_run
from example_version import make_version

from modelreg.errors import Notice, Problem
from modelreg.verification import keys, signing
from modelreg.verification.verify import CheckResult, Options, Ports, Published, verify


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    """A released version."""
    root = write_registry(tmp_path_factory.mktemp("registry"))
    return make_version(root, write_run(root / "runs" / "conv2d_fsq-001"))


def published(**changes) -> Published:
    """A release that holds the same files."""
    return Published("v0.1.0", 12, (), "conv2d_fsq-v0.1.0.model.sig", None)._replace(**changes)


def test_a_version_alone_needs_no_port(version) -> None:
    """Its files and documents are checked offline."""
    assert verify(version, Options(), Ports()).problems == ()


@pytest.mark.parametrize("options", [Options(remote=True), Options(reproduce="predictions")])
def test_a_check_that_is_not_available_is_a_problem(version, options) -> None:
    """It was asked for, and did not run."""
    assert len(verify(version, options, Ports()).problems) == 1


def test_a_release_that_differs_is_a_problem_of_the_release(version) -> None:
    """The version itself is right."""
    wrong = Problem("model_card.md", "has another digest")
    ports = Ports(fetch_release=lambda folder, options: published(problems=(wrong,)))
    found = verify(version, Options(remote=True), ports)

    assert (found.found, found.outside, found.passed) == ((), (wrong,), ())


def test_a_release_that_holds_the_same_is_said(version) -> None:
    """With its tag."""
    found = verify(version, Options(remote=True), Ports(fetch_release=lambda folder, options: published()))

    assert [notice.where for notice in found.passed] == ["v0.1.0"]


def test_a_release_without_the_signature_is_a_problem(version, tmp_path) -> None:
    """Where a key is given, and the folder has its signature."""
    private = keys.new("p256")
    (version / "model.sig").write_bytes(signing.sign_version(version, private))
    options = Options(remote=True, key=private.public_key())
    found = verify(version, options, Ports(fetch_release=lambda folder, options: published()))
    (version / "model.sig").unlink()

    assert ([p.where for p in found.outside], found.found) == (["conv2d_fsq-v0.1.0.model.sig"], ())


def test_predictions_are_made_again_through_the_port(version) -> None:
    """What comes of it is part of the result."""
    same = CheckResult((), (Notice("predictions.npz", "the same bytes"),))
    found = verify(version, Options(reproduce="predictions"), Ports(reproduce=lambda folder, how: same))

    assert (found.problems, found.notices) == ((), same.notices)


def test_a_version_that_does_not_verify_is_not_reproduced(version, tmp_path) -> None:
    """Its numbers are not worth making again."""
    broken = tmp_path / "conv2d_fsq" / "v0.1.0"
    broken.mkdir(parents=True)
    asked = []
    found = verify(broken, Options(reproduce="training"), Ports(reproduce=lambda *given: asked.append(given)))

    assert ([notice.where for notice in found.notices], asked) == (["reproduction"], [])


def test_a_version_without_a_compiled_network_is_not_run(version) -> None:
    """The device is never asked."""
    asked = []
    found = verify(version, Options(device="hailo8"), Ports(run_on_device=lambda *given: asked.append(given)))

    assert (len(found.outside), asked) == (1, [])


def test_a_compiled_network_is_run_through_the_port() -> None:
    """What the device answers is part of the result."""
    compiled = Path(__file__).parent / "made_by_0_2_0/project/registry/conv2d_fsq/v0.1.1"
    wrong = Problem("conv2d_fsq@v0.1.1: projection", "is too noisy")
    ports = Ports(run_on_device=lambda folder, device: CheckResult((wrong,), ()))

    assert verify(compiled, Options(device="hailo8"), ports).outside == (wrong,)


def test_without_a_device_that_is_said() -> None:
    """The network fits, and was not run."""
    compiled = Path(__file__).parent / "made_by_0_2_0/project/registry/conv2d_fsq/v0.1.1"
    found = verify(compiled, Options(device="hailo8"), Ports())

    assert (found.outside, len(found.passed)) == ((), 2)
