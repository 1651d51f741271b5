"""verify --device: on a Hailo device, the version must give the right outputs for its test vectors."""

import hailort_stub
import pytest
from example_bundle import bundle

from modelreg.artifacts import bundle_archive
from modelreg.cli.verify import _run_on_device


def version_with(documents, folder):
    """Return a version's folder with a bundle."""
    place = folder / "conv2d_fsq" / "v0.2.0" / "hailo8"
    place.mkdir(parents=True)
    (place / "bundle.tar.gz").write_bytes(bundle_archive.pack(documents))
    return place.parent


def test_a_version_with_right_outputs_passes(tmp_path, monkeypatch) -> None:
    """The device computes in 8 bits."""
    hailort_stub.install(monkeypatch)
    found = _run_on_device(version_with(bundle(compiled=True), tmp_path), "hailo8")

    assert (found.problems, [notice.where for notice in found.notices]) == ((), ["conv2d_fsq@v0.2.0"])


def test_the_bundle_of_another_device_may_run(tmp_path, monkeypatch) -> None:
    """A network for one Hailo device may run on another one."""
    hailort_stub.install(monkeypatch)

    assert _run_on_device(version_with(bundle(compiled=True), tmp_path), "hailo8l").problems == ()


@pytest.mark.parametrize(("span", "faults"), [(0.2, {}), (None, {"no_device": 1})], ids=["clips", "no device"])
def test_a_version_with_wrong_outputs_is_a_problem(tmp_path, monkeypatch, span, faults) -> None:
    """A network that clips, and a device that is not connected."""
    hailort_stub.install(monkeypatch, **faults)
    documents = bundle(compiled=True) if span is None else bundle(compiled=True, span=span)
    problems = _run_on_device(version_with(documents, tmp_path), "hailo8").problems

    assert [problem.where.partition(": ")[0] for problem in problems] == ["conv2d_fsq@v0.2.0"]


def test_a_version_without_its_bundle_is_not_run(tmp_path, monkeypatch) -> None:
    """A notice says it; there is no problem."""
    hailort_stub.install(monkeypatch)
    found = _run_on_device(tmp_path / "conv2d_fsq" / "v0.2.0", "hailo8")

    assert (found.problems, len(found.notices)) == ((), 1)
