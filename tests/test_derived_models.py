"""derived_models: hsmm.json and encoder.safetensors are compared with the checkpoint."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from example_run import data_record, eval_metrics, model_spec, predictions, run_record
from example_version import edit
from places import places
from safetensors.numpy import save

from modelreg import files
from modelreg.artifacts import npz
from modelreg.errors import InputError, Problem
from modelreg.evaluation import sequences, tolerance
from modelreg.hsmm import fitting, model
from modelreg.records.hsmm import HsmmSpec, PosteriorEmission
from modelreg.records.metrics import EvalMetrics
from modelreg.records.model import Conv2dFsqHsmmSettings, HsmmSettings, ModelSpec, TcnVaeSettings
from modelreg.registry import filenames
from modelreg.verification import derived_models
from modelreg.verification.version_files import VersionFiles

RECORDED = predictions(np.random.default_rng(0))
PLAIN = eval_metrics(RECORDED, "a" * 64, "b" * 64)
TENSORS = {
    "device_part.encoder.weight": np.ones((2, 3), dtype=np.float32),
    "device_part.heads.mu.bias": np.zeros(2, dtype=np.float32),
    "host_part.head.bias": np.zeros(3, dtype=np.float32),
}


class Version(NamedTuple):
    """A folder with derived files, the model and the metrics."""

    folder: Path
    spec: ModelSpec
    measured: EvalMetrics

    def problems(self, sealed: dict[str, str] | None = None) -> list[Problem]:
        """Return the problems; `sealed` are the digests in run.json."""
        here = {path.name: files.sha256(path) for path in self.folder.iterdir()}
        found = VersionFiles(self.folder, "0.1.0", here, frozenset(here))
        run = run_record("b" * 64).model_copy(update={"files": here if sealed is None else sealed})
        try:
            return list(derived_models.find_problems(found, self.spec, data_record(), run, self.measured))
        except InputError as error:  # as consistency.find_problems does
            return list(error.problems)

    def places(self) -> list[tuple[str, str]]:
        """Return the place and the rule of each problem."""
        return places(self.problems())


@pytest.fixture
def smoothing(tmp_path) -> Version:
    """A version of a system with durations, with its predictions."""
    spec = model_spec().model_copy(update={"settings": Conv2dFsqHsmmSettings(name="conv2d_fsq_hsmm")})
    start = fitting.start("poisson", 3, 10, 4.0, random=np.random.default_rng(0))
    hsmm = model.to_spec(start, spec.classes, PosteriorEmission(prior=(0.25, 0.25, 0.5)))
    (tmp_path / filenames.HSMM).write_bytes(hsmm.to_bytes())
    (tmp_path / filenames.PREDICTIONS).write_bytes(npz.npz_bytes(RECORDED.arrays()))
    measured = sequences.measure_smoothing(RECORDED, hsmm, data_record().hop)
    return Version(tmp_path, spec, PLAIN.model_copy(update={"temporal": measured}))


@pytest.fixture
def encoding(tmp_path) -> Version:
    """A version of a tcn_vae: the checkpoint and the encoder."""
    spec = model_spec().model_copy(update={"settings": TcnVaeSettings(name="tcn_vae")})
    own = {name.removeprefix("device_part."): t for name, t in TENSORS.items() if name.startswith("device_part.")}
    (tmp_path / filenames.CHECKPOINT).write_bytes(save(TENSORS))
    (tmp_path / filenames.ENCODER).write_bytes(save(own))
    return Version(tmp_path, spec, PLAIN)


def test_matching_derived_files_have_no_problem(smoothing) -> None:
    """The metrics are computed again with hsmm.json."""
    assert smoothing.problems() == []


def test_a_matching_encoder_has_no_problem(encoding) -> None:
    """It is the device part of the checkpoint."""
    assert encoding.problems() == []


def test_a_system_without_derived_files_needs_none(tmp_path) -> None:
    """conv2d_fsq has neither of them."""
    assert Version(tmp_path, model_spec(), PLAIN).problems() == []


def test_a_changed_hsmm_is_found(smoothing) -> None:
    """By the digest in run.json, and by the metrics."""
    sealed = {filenames.HSMM: files.sha256(smoothing.folder / filenames.HSMM)}
    edit(smoothing.folder / filenames.HSMM, lambda d: d["durations"].update(rate=[0.1, 0.1, 0.1]))
    found = smoothing.problems(sealed)

    assert places(found[:1]) == [("run.json: files.hsmm.json", "verify.record-mismatch")]
    assert any(each.where.startswith("eval_metrics.json: temporal.mean_duration") for each in found)


@pytest.mark.parametrize("kind", ["negative_binomial", "poisson", "gaussian"])
def test_the_hsmm_follows_from_the_checkpoint(kind) -> None:
    """numpy and torch give the same values."""
    spec, tensors, hsmm = trained_hsmm(kind)
    found = derived_models.hsmm_of(tensors, spec).to_document()

    assert list(tolerance.differences((), hsmm.to_document(), found, tolerance.FLOAT32)) == []


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda d: d["initial"].reverse(), "initial"),
        (lambda d: d["transition"].__setitem__(0, [0.0, 0.1, 0.9]), "transition"),
        (lambda d: d.update(longest=49), "longest"),
        (lambda d: d["durations"].update(r=[2.0, 2.0, 2.0]), "durations"),
        (lambda d: d["emission"].update(weight=0.5), "emission"),
    ],
)
def test_an_hsmm_that_differs_from_the_checkpoint_is_found(smoothing, change, where) -> None:
    """Also if the digest in run.json and the metrics match."""
    spec, tensors, hsmm = trained_hsmm("negative_binomial")
    (smoothing.folder / filenames.CHECKPOINT).write_bytes(save(tensors))
    (smoothing.folder / filenames.HSMM).write_bytes(hsmm.to_bytes())
    (smoothing.folder / filenames.PREDICTIONS).unlink()
    version = smoothing._replace(spec=spec)
    assert version.problems() == []
    edit(smoothing.folder / filenames.HSMM, change)

    assert version.places() == [(f"hsmm.json: {where}", "verify.derived-mismatch")]


def test_a_broken_checkpoint_is_not_a_problem_of_the_hsmm(smoothing) -> None:
    """The check of the checkpoint reports it."""
    (smoothing.folder / filenames.CHECKPOINT).write_bytes(save(TENSORS))

    assert smoothing.problems() == []


def trained_hsmm(kind: str) -> tuple[ModelSpec, dict[str, np.ndarray], HsmmSpec]:
    """Return a system initialized from labels, the tensors of its checkpoint, and its hsmm.json by torch."""
    torch = pytest.importorskip("torch")
    from modelreg.ml import factory

    own = model_spec()
    settings = Conv2dFsqHsmmSettings(
        name="conv2d_fsq_hsmm", widths=(4,), kernels=((1, 3),), levels=(3, 2), hsmm=HsmmSettings(durations=kind)
    )
    spec = factory.spec(settings, own.input, own.classes)
    network = factory.of_spec(spec, seed=0)
    network.prepare(torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 0, 0, 1, 1, 1, 2, 1]), (10, 6))
    tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return spec, tensors, network.smoother(own.classes)


def test_an_hsmm_of_other_classes_is_found(smoothing) -> None:
    """The states must be the classes of the model, in the same order."""
    edit(smoothing.folder / filenames.HSMM, lambda d: d["states"].reverse())

    assert smoothing.places() == [("hsmm.json: states", "verify.record-mismatch")]


def test_an_invalid_hsmm_is_found(smoothing) -> None:
    """The problem has the reason."""
    edit(smoothing.folder / filenames.HSMM, lambda d: d.update(initial=[0.5, 0.5, 0.5]))

    assert "1.5" in str(smoothing.problems()[0])


@pytest.mark.parametrize("name", [filenames.HSMM, filenames.ENCODER])
def test_a_missing_derived_file_is_found(request, name) -> None:
    """The manifest must list it."""
    version = request.getfixturevalue("smoothing" if name == filenames.HSMM else "encoding")
    (version.folder / name).unlink()

    (found,) = version.problems()

    assert (found.where, found.rule, name in found.message) == ("manifest.json", "manifest.file-unlisted", True)


def test_a_changed_temporal_metric_is_found(smoothing) -> None:
    """The message has both values."""
    stated = smoothing.measured.temporal
    better = stated.model_copy(update={"smoothed": stated.smoothed.model_copy(update={"accuracy": 0.99})})
    (found,) = smoothing._replace(measured=PLAIN.model_copy(update={"temporal": better})).problems()

    assert (found.where, found.rule) == ("eval_metrics.json: temporal.smoothed.accuracy", "verify.value-mismatch")
    assert ("0.99" in found.message, str(stated.smoothed.accuracy) in found.message) == (True, True)


def test_temporal_metrics_are_required(smoothing) -> None:
    """For a system with durations, also if the predictions are not on this machine."""
    (smoothing.folder / filenames.PREDICTIONS).unlink()

    assert smoothing._replace(measured=PLAIN).places() == [("eval_metrics.json: temporal", "verify.record-mismatch")]


def test_temporal_metrics_of_a_system_without_durations_are_found(smoothing) -> None:
    """Only a duration model gives such metrics."""
    found = smoothing._replace(spec=model_spec()).places()

    assert found == [("eval_metrics.json: temporal", "verify.record-mismatch")]


def changed_encoder(version: Version, **tensors: np.ndarray | None) -> list[tuple[str, str]]:
    """Return the problems of a version whose encoder has other tensors."""
    own = {"encoder.weight": np.ones((2, 3), dtype=np.float32), "heads.mu.bias": np.zeros(2, dtype=np.float32)}
    changed = {**own, **{name.replace("_", "."): tensor for name, tensor in tensors.items()}}
    kept = {name: tensor for name, tensor in changed.items() if tensor is not None}
    (version.folder / filenames.ENCODER).write_bytes(save(kept))
    return version.places()


def test_a_changed_tensor_of_the_encoder_is_found(encoding) -> None:
    """In the last bit."""
    nearly = np.nextafter(np.ones((2, 3), dtype=np.float32), np.float32(2))

    assert changed_encoder(encoding, encoder_weight=nearly) == [
        ("encoder.safetensors: encoder.weight", "verify.derived-mismatch")
    ]


def test_a_tensor_in_one_of_the_two_is_found(encoding) -> None:
    """Missing in the encoder, or missing in the checkpoint."""
    found = changed_encoder(encoding, encoder_weight=None, extra=np.zeros(1, dtype=np.float32))

    assert found == [
        ("encoder.safetensors: encoder.weight", "verify.derived-mismatch"),
        ("encoder.safetensors: extra", "verify.derived-mismatch"),
    ]


def test_an_encoder_that_is_a_stub_is_found(encoding) -> None:
    """A text file with its name."""
    (encoding.folder / filenames.ENCODER).write_text("placeholder")

    assert encoding.places() == [("encoder.safetensors", "checkpoint.damaged")]
