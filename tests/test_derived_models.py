"""derived_models: hsmm.json and the encoder alone, held against what they were taken out of."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from example_run import data_record, eval_metrics, model_spec, predictions, run_record
from example_version import edit
from safetensors.numpy import save

from modelreg import files
from modelreg.artifacts import npz
from modelreg.errors import InputError
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
    """A folder with parts, and what is known of it."""

    folder: Path
    spec: ModelSpec
    measured: EvalMetrics

    def problems(self, sealed: dict[str, str] | None = None) -> list[str]:
        """Return what is wrong with it; `sealed` are the digests that the run had."""
        here = {path.name: files.sha256(path) for path in self.folder.iterdir()}
        found = VersionFiles(self.folder, "0.1.0", here, frozenset(here))
        run = run_record("b" * 64).model_copy(update={"files": here if sealed is None else sealed})
        try:
            return list(map(str, derived_models.find_problems(found, self.spec, data_record(), run, self.measured)))
        except InputError as error:  # as the list of rules takes it
            return list(map(str, error.problems))


@pytest.fixture
def smoothing(tmp_path) -> Version:
    """A version of a system with durations, and its predictions."""
    spec = model_spec().model_copy(update={"settings": Conv2dFsqHsmmSettings(name="conv2d_fsq_hsmm")})
    start = fitting.start("poisson", 3, 10, 4.0, random=np.random.default_rng(0))
    hsmm = model.to_spec(start, spec.classes, PosteriorEmission(prior=(0.25, 0.25, 0.5)))
    (tmp_path / filenames.HSMM).write_bytes(hsmm.to_bytes())
    (tmp_path / filenames.PREDICTIONS).write_bytes(npz.npz_bytes(RECORDED.arrays()))
    measured = sequences.measure_smoothing(RECORDED, hsmm, data_record().hop)
    return Version(tmp_path, spec, PLAIN.model_copy(update={"temporal": measured}))


@pytest.fixture
def encoding(tmp_path) -> Version:
    """A version of a tcn_vae: its checkpoint and its encoder."""
    spec = model_spec().model_copy(update={"settings": TcnVaeSettings(name="tcn_vae")})
    own = {name.removeprefix("device_part."): t for name, t in TENSORS.items() if name.startswith("device_part.")}
    (tmp_path / filenames.CHECKPOINT).write_bytes(save(TENSORS))
    (tmp_path / filenames.ENCODER).write_bytes(save(own))
    return Version(tmp_path, spec, PLAIN)


def test_true_parts_have_no_problem(smoothing) -> None:
    """What was measured with hsmm.json is measured again."""
    assert smoothing.problems() == []


def test_a_true_encoder_has_no_problem(encoding) -> None:
    """It is the device part of the checkpoint."""
    assert encoding.problems() == []


def test_a_system_without_parts_needs_none(tmp_path) -> None:
    """conv2d_fsq has neither."""
    assert Version(tmp_path, model_spec(), PLAIN).problems() == []


def test_a_changed_hsmm_is_found(smoothing) -> None:
    """By the run's seal, and by the numbers that it no longer gives."""
    sealed = {filenames.HSMM: files.sha256(smoothing.folder / filenames.HSMM)}
    edit(smoothing.folder / filenames.HSMM, lambda d: d["durations"].update(rate=[0.1, 0.1, 0.1]))
    found = smoothing.problems(sealed)

    assert found[0] == "run.json: the run had another hsmm.json"
    assert any(problem.startswith("eval_metrics.json: temporal.mean_duration: is ") for problem in found)


@pytest.mark.parametrize("kind", ["negative_binomial", "poisson", "gaussian"])
def test_the_hsmm_follows_from_the_checkpoint(kind) -> None:
    """By numpy, what torch makes of the same tensors."""
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
def test_an_hsmm_that_was_not_trained_is_found(smoothing, change, where) -> None:
    """Even where the run's seal and the metrics were made to fit."""
    spec, tensors, hsmm = trained_hsmm("negative_binomial")
    (smoothing.folder / filenames.CHECKPOINT).write_bytes(save(tensors))
    (smoothing.folder / filenames.HSMM).write_bytes(hsmm.to_bytes())
    (smoothing.folder / filenames.PREDICTIONS).unlink()
    version = smoothing._replace(spec=spec)
    assert version.problems() == []
    edit(smoothing.folder / filenames.HSMM, change)

    assert version.problems() == [f"hsmm.json: {where}: is not what the checkpoint holds"]


def test_a_broken_checkpoint_is_not_blamed_on_the_hsmm(smoothing) -> None:
    """Its own problems are reported where weights are looked at."""
    (smoothing.folder / filenames.CHECKPOINT).write_bytes(save(TENSORS))

    assert smoothing.problems() == []


def trained_hsmm(kind: str) -> tuple[ModelSpec, dict[str, np.ndarray], HsmmSpec]:
    """Return a system that labels started, the tensors of its checkpoint, and its hsmm.json by torch."""
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
    """Its states must be the model's, in their order."""
    edit(smoothing.folder / filenames.HSMM, lambda d: d["states"].reverse())

    assert smoothing.problems() == ["hsmm.json: states: are not the classes of the model"]


def test_an_hsmm_that_cannot_be_read_is_found(smoothing) -> None:
    """With the reason."""
    edit(smoothing.folder / filenames.HSMM, lambda d: d.update(initial=[0.5, 0.5, 0.5]))

    assert "sums to 1.5" in smoothing.problems()[0]


@pytest.mark.parametrize("name", [filenames.HSMM, filenames.ENCODER])
def test_a_missing_part_is_found(request, name) -> None:
    """The manifest must list it."""
    version = request.getfixturevalue("smoothing" if name == filenames.HSMM else "encoding")
    (version.folder / name).unlink()

    assert version.problems() == [f"manifest.json: does not list {name}"]


def test_a_changed_temporal_metric_is_found(smoothing) -> None:
    """With both values."""
    stated = smoothing.measured.temporal
    better = stated.model_copy(update={"smoothed": stated.smoothed.model_copy(update={"accuracy": 0.99})})
    lying = smoothing._replace(measured=PLAIN.model_copy(update={"temporal": better}))

    assert lying.problems() == [
        f"eval_metrics.json: temporal.smoothed.accuracy: is 0.99, but the predictions give {stated.smoothed.accuracy}"
    ]


def test_temporal_metrics_must_be_there(smoothing) -> None:
    """A system with durations is measured with them, also where its predictions are not at hand."""
    (smoothing.folder / filenames.PREDICTIONS).unlink()

    assert smoothing._replace(measured=PLAIN).problems() == ["eval_metrics.json: temporal: is missing"]


def test_temporal_metrics_of_a_system_without_durations_are_found(smoothing) -> None:
    """Nothing could give them."""
    (problem,) = smoothing._replace(spec=model_spec()).problems()

    assert problem == "eval_metrics.json: temporal: is of a model of durations, which this system has not"


def changed_encoder(version: Version, **tensors: np.ndarray | None) -> list[str]:
    """Return the problems of a version whose encoder has other tensors."""
    own = {"encoder.weight": np.ones((2, 3), dtype=np.float32), "heads.mu.bias": np.zeros(2, dtype=np.float32)}
    wanted = {**own, **{name.replace("_", "."): tensor for name, tensor in tensors.items()}}
    kept = {name: tensor for name, tensor in wanted.items() if tensor is not None}
    (version.folder / filenames.ENCODER).write_bytes(save(kept))
    return version.problems()


def test_a_changed_tensor_of_the_encoder_is_found(encoding) -> None:
    """To the last bit."""
    nearly = np.nextafter(np.ones((2, 3), dtype=np.float32), np.float32(2))

    assert changed_encoder(encoding, encoder_weight=nearly) == [
        "encoder.safetensors: encoder.weight: is not what the checkpoint holds"
    ]


def test_a_tensor_in_one_of_the_two_is_found(encoding) -> None:
    """Missing here, or missing there."""
    found = changed_encoder(encoding, encoder_weight=None, extra=np.zeros(1, dtype=np.float32))

    assert found == [
        "encoder.safetensors: encoder.weight: is in one of encoder and checkpoint only",
        "encoder.safetensors: extra: is in one of encoder and checkpoint only",
    ]


def test_an_encoder_that_is_a_stub_is_found(encoding) -> None:
    """Text under its name."""
    (encoding.folder / filenames.ENCODER).write_text("placeholder")

    assert encoding.problems() == ["encoder.safetensors: is not a safetensors file"]
