"""verify: checks beyond the folder are ports, and a check that is not available never passes."""

from pathlib import Path

import pytest
from example_run import write_registry, write_run
from example_version import make_version
from places import places

from modelreg.errors import Notice, Problem
from modelreg.verification import keys, signing
from modelreg.verification.verify import CheckResult, Options, Ports, Published, verify


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    """A released version."""
    root = write_registry(tmp_path_factory.mktemp("registry"))
    return make_version(root, write_run(root / "runs" / "conv2d_fsq-001"))


def published(**changes) -> Published:
    """Return a release with the same files."""
    return Published("v0.1.0", 12, (), "conv2d_fsq-v0.1.0.model.sig", None)._replace(**changes)


def test_files_and_documents_need_no_port(version) -> None:
    """They are checked offline."""
    assert verify(version, Options(), Ports()).problems == ()


@pytest.mark.parametrize("options", [Options(remote=True), Options(reproduce="predictions")])
def test_a_check_that_is_not_available_is_a_problem(version, options) -> None:
    """It was requested, and did not run."""
    assert [each.rule for each in verify(version, options, Ports()).problems] == ["verify.check-unavailable"]


def test_a_release_that_differs_is_a_problem_of_the_release(version) -> None:
    """The version has no problem."""
    wrong = Problem("model_card.md", "publish.digest-mismatch", "another digest")
    ports = Ports(fetch_release=lambda folder, options: published(problems=(wrong,)))
    found = verify(version, Options(remote=True), ports)

    assert (found.found, found.outside, found.passed) == ((), (wrong,), ())


def test_a_matching_release_is_a_notice(version) -> None:
    """It names the tag."""
    found = verify(version, Options(remote=True), Ports(fetch_release=lambda folder, options: published()))

    assert [notice.where for notice in found.passed] == ["v0.1.0"]


def test_a_release_without_the_signature_is_a_problem(version, tmp_path) -> None:
    """If a key is given and the folder has a signature."""
    private = keys.new("p256")
    (version / "model.sig").write_bytes(signing.sign_version(version, private))
    options = Options(remote=True, key=private.public_key())
    found = verify(version, options, Ports(fetch_release=lambda folder, options: published()))
    (version / "model.sig").unlink()

    assert (places(found.outside), found.found) == ([("conv2d_fsq-v0.1.0.model.sig", "sign.signature-missing")], ())


def test_predictions_are_reproduced_by_the_port(version) -> None:
    """Its notices are part of the result."""
    same = CheckResult((), (Notice("predictions.npz", "the same bytes"),))
    found = verify(version, Options(reproduce="predictions"), Ports(reproduce=lambda folder, how: same))

    assert (found.problems, found.notices) == ((), same.notices)


def test_a_version_that_does_not_verify_is_not_reproduced(version, tmp_path) -> None:
    """The port is not called."""
    broken = tmp_path / "conv2d_fsq" / "v0.1.0"
    broken.mkdir(parents=True)
    calls = []
    found = verify(broken, Options(reproduce="training"), Ports(reproduce=lambda *given: calls.append(given)))

    assert ([notice.where for notice in found.notices], calls) == (["reproduction"], [])


def test_a_version_without_a_hef_is_not_run(version) -> None:
    """The port is not called."""
    calls = []
    found = verify(version, Options(device="hailo8"), Ports(run_on_device=lambda *given: calls.append(given)))

    assert (places(found.outside), calls) == ([("conv2d_fsq@v0.1.0: hailo8", "hef.missing")], [])


def test_a_hef_is_run_by_the_port() -> None:
    """Its problems are part of the result."""
    compiled = Path(__file__).parent / "made_by_0_2_0/project/registry/conv2d_fsq/v0.1.1"
    wrong = Problem("conv2d_fsq@v0.1.1: projection", "hef.noise", "too noisy")
    ports = Ports(run_on_device=lambda folder, device: CheckResult((wrong,), ()))

    assert verify(compiled, Options(device="hailo8"), ports).outside == (wrong,)


def test_without_a_device_there_is_a_notice() -> None:
    """The HEF fits, and was not run."""
    compiled = Path(__file__).parent / "made_by_0_2_0/project/registry/conv2d_fsq/v0.1.1"
    found = verify(compiled, Options(device="hailo8"), Ports())

    assert (found.outside, len(found.passed)) == ((), 2)
