"""Every model system in the runtime: it reproduces torch and returns the fields of its system."""

import json
import subprocess
import sys

import example_systems
import numpy as np
import pytest
from example_bundle import write_bundle
from example_systems import CLASSES, SETTINGS, SMALL, bundle, network, windows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import places
from test_server import served, serving

from modelreg import files
from modelreg.artifacts import bundle_archive
from modelreg.errors import InputError, VerificationFailed
from modelreg.evaluation import calibration as evaluation_calibration
from modelreg.evaluation import sequences
from modelreg.evaluation.metrics import log_softmax
from modelreg.export import parity
from modelreg.ml import factory
from modelreg.records.base import validate
from modelreg.records.calibration import (
    ABSTAIN_RULES,
    SETS,
    ConfidenceRecord,
    NoThreshold,
    SetThresholds,
    TemperatureFit,
    Threshold,
)
from modelreg.records.calibration_parts import FittedWindows
from modelreg.records.calibration_v1 import ConfidenceRecordV1, CoverageBand, TemperatureRecord, ThresholdsRecord
from modelreg.records.hsmm import CategoricalEmission, HsmmSpec
from modelreg.records.metrics import Reason
from modelreg.records.model import Conv2dVqSettings
from modelreg.registry import filenames
from modelreg.runtime import bundle_loader, postprocess
from modelreg.runtime.api_schema import Contract
from modelreg.runtime.pipeline import Pipeline, open_backend
from modelreg.runtime.postprocess import Answer, SetChoice, softmax
from modelreg.runtime.smoothing import Durations, Hysteresis, Majority, choose

SYSTEMS = tuple(SETTINGS)
CLASSIFIED = {"latent", "motif_scores", "label", "probabilities"}


def load(folder, system: str, changes: dict[str, bytes | None] | None = None) -> bundle_loader.Package:
    """Read a bundle of a system in which some files are replaced or removed."""
    documents = {k: v for k, v in bundle(system).items() if k not in (filenames.BUNDLE, filenames.SUMS)}
    found = {name: data for name, data in (documents | (changes or {})).items() if data is not None}
    record = validate(bundle(system)[filenames.BUNDLE], bundle_loader.BundleRecord, filenames.BUNDLE)
    return bundle_loader.read_export(write_bundle(folder, bundle_archive.sealed(record, found, None)))


def opened(loaded: bundle_loader.Package) -> Pipeline:
    """Return its pipeline on ONNX Runtime."""
    return Pipeline(loaded, open_backend(loaded, "onnxruntime"))


def answered(loaded: bundle_loader.Package, body: dict) -> tuple[int, dict]:
    """Return the status and document of POST /infer."""
    with serving(served(loaded, first=opened(loaded))) as client:
        return client.infer(body)


def asked(number: int = 0) -> dict[str, list[list[float]]]:
    """A request with one window, (T, C)."""
    return {"x": windows().x[number][:, 0].T.tolist()}


# Answers


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_runtime_reproduces_torch(tmp_path, system) -> None:
    """Projection, code and logits of windows that are not test vectors."""
    raw = windows().x[16:48]
    expected = parity.of_torch(network(system), raw)
    pipeline = opened(load(tmp_path, system))
    answers = [pipeline.infer(window) for window in raw]

    for name, values in expected._asdict().items():
        np.testing.assert_allclose([getattr(answer, name) for answer in answers], values, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("system", ["conv2d_vq", "conv2d_fsq_hsmm"])
def test_the_index_of_a_code_is_the_networks_own(tmp_path, system) -> None:
    """The number of a codebook entry, or the index in the grid of levels."""
    raw = windows().x[16:48]
    expected = [int(network(system)(window[None]).code_index) for window in example_systems.torch_windows(raw)]
    pipeline = opened(load(tmp_path, system))

    assert [pipeline.infer(window).code_index for window in raw] == expected


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_tcn_vae_returns_two_fields(tmp_path) -> None:
    """The latent means and the probabilities of its activity head."""
    loaded = load(tmp_path, "tcn_vae")
    expected = parity.of_torch(network("tcn_vae"), windows().x[:1])
    status, said = answered(loaded, asked())

    assert (status, list(said), len(said["latent"]), len(said["motif_scores"])) == (
        200,
        ["latent", "motif_scores"],
        7,
        3,
    )
    np.testing.assert_allclose(said["latent"], expected.projection[0], atol=1e-5)
    np.testing.assert_allclose(said["motif_scores"], softmax(expected.logits[0]), atol=1e-5)


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_tcn_vae_has_no_sessions(tmp_path) -> None:
    """The field is refused, not ignored."""
    status, said = answered(load(tmp_path, "tcn_vae"), {**asked(), "session": "a"})
    (problem,) = said["problems"]

    assert (status, problem["rule"], "`session`" in problem["message"]) == (422, "serve.request-invalid", True)


@pytest.mark.allow_hosts(["127.0.0.1"])
@pytest.mark.parametrize("system", ["conv2d_vq", "conv2d_fsq_hsmm"])
def test_a_classifier_returns_its_label_and_its_code(tmp_path, system) -> None:
    """But no set without thresholds, and no state without a session."""
    assert set(answered(load(tmp_path, system), asked())[1]) == CLASSIFIED | {"codes"}


def test_a_classifier_without_a_quantizer_returns_no_code() -> None:
    """Neither in its response nor in its document."""
    plain = Conv2dVqSettings(name="conv2d_vq", embedding=6, vq=False, **SMALL)
    contract = Contract(factory.spec(plain, example_systems.INPUT, CLASSES))
    answer = of_logits(np.zeros(3, np.float32))
    operation = contract.openapi("1.0.0", with_key=False)["paths"]["/infer"]["post"]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]

    assert set(json.loads(contract.answer(answer, None))) == set(schema["required"]) == CLASSIFIED


@pytest.mark.allow_hosts(["127.0.0.1"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_the_document_has_the_fields_of_the_system(tmp_path, system) -> None:
    """A response without a session has exactly the required fields; `state` is the only optional one."""
    loaded = load(tmp_path, system)
    with serving(served(loaded, first=opened(loaded))) as client:
        document = json.loads(client.ask("GET", "/openapi.json")[2])
        said = client.infer(asked())[1]
    operation = document["paths"]["/infer"]["post"]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    request = operation["requestBody"]["content"]["application/json"]["schema"]

    assert schema["required"] == list(said)
    assert ("state" in schema["properties"], "session" in request["properties"]) == (system != "tcn_vae",) * 2


@pytest.mark.parametrize("system", SYSTEMS)
def test_numbers_that_overflow_are_refused(tmp_path, system) -> None:
    """In the device part or in the host part; no probability is ever NaN."""
    pipeline = opened(load(tmp_path, system))
    for size in (1e30, 1e36, 1e38):
        try:
            found = pipeline.infer(np.sign(windows().x[0]) * np.float32(size))
        except InputError as error:
            assert [problem.rule for problem in error.problems] == ["predict.overflow"]  # noqa: PT017
        else:
            assert np.isfinite(found.probabilities).all()


# Durations


def of_logits(logits: np.ndarray) -> Answer:
    """An answer with these logits; the other fields do not matter."""
    none = np.empty(0, np.float32)
    return Answer(none, none, None, logits, softmax(logits), int(logits.argmax()), None)


def shown(smoother, logits: np.ndarray) -> list[int]:
    """The smoothed class of each window."""
    state, found = smoother.start(), []
    for row in logits:
        state, label = smoother.step(state, of_logits(row))
        found.append(label)
    return found


@pytest.fixture(scope="module")
def durations() -> HsmmSpec:
    """The duration model of a bundle."""
    return validate(bundle("conv2d_fsq_hsmm")[filenames.HSMM], HsmmSpec, filenames.HSMM)


@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1), length=st.integers(1, 60), scale=st.sampled_from([0.1, 3.0, 1e3]))
def test_online_smoothing_equals_the_offline_filter(durations, seed, length, scale) -> None:
    """Window by window, bit for bit."""
    logits = (np.random.default_rng(seed).normal(size=(length, len(CLASSES))) * scale).astype(np.float32)

    assert shown(Durations(durations), logits) == sequences.smooth(log_softmax(logits), durations).tolist()


def test_its_memory_is_constant_and_its_tables_are_shared(durations) -> None:
    """A state does not grow in 1,000 windows; sessions share the tables."""
    smoother = Durations(durations)
    first = state = smoother.start()
    for logits in np.random.default_rng(0).normal(size=(1000, len(CLASSES))).astype(np.float32):
        state, _ = smoother.step(state, of_logits(logits))

    assert (state.ring.shape, state.by_age is first.by_age) == (first.ring.shape, True)


def test_temperature_scaling_does_not_change_smoothing(tmp_path, durations) -> None:
    """The duration model was fitted on logits without temperature scaling, as `evaluate` uses them."""
    loaded = load(tmp_path, "conv2d_fsq_hsmm", {filenames.CALIBRATION: calibration().to_bytes()})
    pipeline, smoother = opened(loaded), choose(loaded.durations)
    answers = [pipeline.infer(window) for window in windows().x]
    expected = sequences.smooth(log_softmax(np.stack([answer.logits for answer in answers])), durations)
    state, found = smoother.start(), []
    for answer in answers:
        state, label = smoother.step(state, answer)
        found.append(label)

    assert found == expected.tolist()


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_session_is_smoothed_by_the_models_durations(tmp_path, durations) -> None:
    """The states over HTTP equal the offline ones."""
    loaded = load(tmp_path, "conv2d_fsq_hsmm")
    with serving(served(loaded, first=opened(loaded), smoother=choose(loaded.durations))) as client:
        states = [client.infer({**asked(n), "session": "a"})[1]["state"] for n in range(12)]
    logits = parity.of_torch(network("conv2d_fsq_hsmm"), windows().x[:12]).logits

    assert states == [CLASSES[state] for state in sequences.smooth(log_softmax(logits), durations)]


@pytest.mark.parametrize(
    ("has", "name", "expected"),
    [
        (True, None, Durations),
        (True, "durations", Durations),
        (True, "majority", Majority),
        (False, None, Majority),
        (False, "hysteresis", Hysteresis),
    ],
)
def test_the_default_smoother_is_the_models_durations(durations, has, name, expected) -> None:
    """Another smoother can be requested."""
    assert type(choose(durations if has else None, name)) is expected


def test_durations_need_a_duration_model() -> None:
    """No other smoother replaces them."""
    with pytest.raises(InputError) as caught:
        choose(None, "durations")
    assert places(caught.value.problems) == [("smoothing", "predict.no-durations")]


def test_a_duration_model_over_codes_cannot_smooth_a_network(durations) -> None:
    """Its emissions are categorical."""
    table = CategoricalEmission(table=((0.5, 0.5),) * 3)

    with pytest.raises(InputError) as caught:
        Durations(durations.model_copy(update={"emission": table}))
    assert places(caught.value.problems) == [("hsmm.json: emission", "predict.emission-unsupported")]


@pytest.mark.parametrize(
    ("missing", "place"),
    [(True, ("hsmm.json", "model.durations-missing")), (False, ("hsmm.json: states", "model.classes-mismatch"))],
    ids=["missing", "other classes"],
)
def test_a_duration_model_of_other_classes_is_refused(tmp_path, durations, missing, place) -> None:
    """As is a system with durations but without its duration model."""
    other = durations.model_copy(update={"states": ("a", "b", "c")}).to_bytes()

    with pytest.raises(VerificationFailed) as caught:
        load(tmp_path, "conv2d_fsq_hsmm", {filenames.HSMM: None if missing else other})
    assert places(caught.value.problems) == [place]


# Calibration


FITTED = FittedWindows(subjects=("s",), recordings=("r",), windows=9, class_windows={}, predictions_sha256="a" * 64)
HALF = Threshold(limit=0.5)
NO_PROMISE = NoThreshold(reason="one subject", units="subjects", count=1, needed=9, highest_level=0.5)


def calibration(
    limit: Threshold | NoThreshold = HALF, new: Threshold | NoThreshold = NO_PROMISE, **changes: object
) -> ConfidenceRecord:
    """A calibration record with a temperature that is applied."""
    record = ConfidenceRecord(
        classes=CLASSES,
        alpha=0.1,
        checkpoint_sha256=example_systems.CHECKPOINT,
        validation_digest="b" * 64,
        fitted_on=FITTED,
        temperature=TemperatureFit(
            value=2.0,
            outcome="applied",
            reason="it helps",
            fitted=2.0,
            gain=0.1,
            error=0.01,
            factor=2.0,
            subjects=5,
            subjects_needed=5,
            at_bound=False,
            per_subject={},
        ),
        sets=SetThresholds(pooled=limit, new_subject=new),
    )
    return record.model_copy(update=changes)


def first_calibration(temperature: float = 2.0, *, thresholds: bool = True) -> ConfidenceRecordV1:
    """A calibration record as modelreg 0.2 wrote it."""
    sets = ThresholdsRecord(
        lac=0.5,
        aps=0.6,
        raps=0.6,
        raps_penalty=0.0,
        raps_free=0,
        coverage=CoverageBand(low=0.8, high=1.0, level=0.95),
        fitted_on=FITTED.model_copy(update={"recordings": ("q",)}),
    )
    return ConfidenceRecordV1(
        classes=CLASSES,
        alpha=0.1,
        checkpoint_sha256=example_systems.CHECKPOINT,
        validation_digest="b" * 64,
        divided_by="recording",
        temperature=TemperatureRecord(
            value=temperature, at_bound=False, log_loss_before=1.0, log_loss_after=0.9, fitted_on=FITTED
        ),
        conformal=sets if thresholds else Reason(reason="one recording"),
    )


RECORDS = {
    "sets": calibration(),
    "temperature only": calibration(NO_PROMISE),
    "version 1": first_calibration(),
    "version 1, temperature only": first_calibration(thresholds=False),
}


@pytest.mark.parametrize("record", RECORDS.values(), ids=list(RECORDS))
def test_a_calibration_is_applied(tmp_path, record) -> None:
    """Probabilities and sets equal those of `evaluation.calibration.apply`."""
    pipeline = opened(load(tmp_path, "conv2d_vq", {filenames.CALIBRATION: record.to_bytes()}))
    answers = [pipeline.infer(window) for window in windows().x[:20]]
    expected = evaluation_calibration.apply(np.stack([answer.logits for answer in answers]), record)
    members = [None] * 20 if expected.sets is None else [tuple(np.flatnonzero(row)) for row in expected.sets]

    np.testing.assert_allclose([answer.probabilities for answer in answers], expected.probabilities, rtol=1e-12)
    assert [answer.members for answer in answers] == members


@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([0.0, 0.3, 3.0, 300.0]),
    limit=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    kind=st.sampled_from(SETS),
)
def test_the_set_of_one_window_equals_that_of_many(seed, scale, limit, kind) -> None:
    """With ties, certain windows, and thresholds that no class or every class meets."""
    logits = (np.random.default_rng(seed).integers(-3, 4, (12, 3)) * scale).astype(np.float32)
    record = calibration(Threshold(limit=limit), Threshold(limit=(1 + limit) / 2))
    expected = evaluation_calibration.apply(logits, record, kind).sets
    calibrate = postprocess.calibration(record, SetChoice(kind))

    assert [calibrate(row).members for row in logits] == [tuple(np.flatnonzero(row)) for row in expected]


@pytest.mark.parametrize("limit", [None, 0.3])
def test_a_threshold_of_version_1_may_be_infinite(limit) -> None:
    """Too few windows gave sets of every class, as they were released."""
    record = first_calibration()
    record = record.model_copy(update={"conformal": record.conformal.model_copy(update={"lac": limit})})
    members = postprocess.calibration(record)(np.array([3.0, 0.0, 0.0], np.float32)).members

    assert members == ((0, 1, 2) if limit is None else ())


@pytest.mark.parametrize("rule", ABSTAIN_RULES)
def test_a_model_abstains_by_the_chosen_rule(rule) -> None:
    """From sets of no, one and two classes; the label stays the most probable class."""
    calibrate = postprocess.calibration(calibration(Threshold(limit=0.55)), SetChoice("pooled", rule))
    found = [calibrate(np.array(logits, np.float32)) for logits in ((0, 0, 0), (9, 0, 0), (9, 9, 0))]

    assert [len(each.members) for each in found] == [0, 1, 2]
    assert [each.abstains for each in found] == {
        "never": [False, False, False],
        "empty": [True, False, False],
        "not_single": [True, False, True],
    }[rule]


@pytest.mark.parametrize("record", [None, calibration(), first_calibration()], ids=["none", "no promise", "version 1"])
def test_sets_that_are_not_promised_are_refused(record) -> None:
    """Not silently every class."""
    with pytest.raises(InputError) as caught:
        postprocess.calibration(record, SetChoice("new_subject"))
    assert places(caught.value.problems) == [("sets", "predict.no-threshold")]


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_calibrated_model_returns_its_set(tmp_path) -> None:
    """As class names; with thresholds, every response has one."""
    loaded = load(tmp_path, "conv2d_vq", {filenames.CALIBRATION: calibration().to_bytes()})
    with serving(served(loaded, first=opened(loaded))) as client:
        said = client.infer(asked())[1]
        document = json.loads(client.ask("GET", "/openapi.json")[2])
    schema = document["paths"]["/infer"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]

    assert set(said["set"]) <= set(CLASSES)
    assert said["abstain"] == (len(said["set"]) != 1)
    assert {"set", "abstain"} <= set(schema["required"])


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"classes": ("a", "b", "c")}, ("calibration.json: classes", "model.classes-mismatch")),
        ({"checkpoint_sha256": "f" * 64}, ("calibration.json: checkpoint_sha256", "model.checkpoint-mismatch")),
    ],
    ids=["classes", "weights"],
)
def test_the_calibration_of_another_model_is_refused(tmp_path, changes, place) -> None:
    """Its results would look like probabilities."""
    with pytest.raises(VerificationFailed) as caught:
        load(tmp_path, "conv2d_vq", {filenames.CALIBRATION: calibration(**changes).to_bytes()})
    assert places(caught.value.problems) == [place]


# Files


def test_the_duration_model_of_a_run_is_verified(tmp_path) -> None:
    """run.json has its digest."""
    run = tmp_path / "run"
    found = bundle("conv2d_fsq_hsmm")
    example_systems.write_run(run, "conv2d_fsq_hsmm")
    states = bundle_loader.read_export(run).durations.states
    (run / filenames.HSMM).write_bytes(found[filenames.HSMM] + b" ")

    assert states == CLASSES
    with pytest.raises(VerificationFailed) as caught:
        bundle_loader.read_export(run)
    assert [problem.where for problem in caught.value.problems] == [filenames.HSMM]

    assert [(each.where, each.rule) for each in caught.value.problems] == [("hsmm.json", "verify.digest-mismatch")]


def test_nothing_slow_is_loaded_for_durations_and_calibration(tmp_path) -> None:
    """Neither numba and scipy, which fitting needs, nor torch."""
    slow = ("torch", "onnx", "numba", "scipy", "pandas", "jsonschema", "requests", "typer")
    load(tmp_path, "conv2d_fsq_hsmm", {filenames.CALIBRATION: calibration().to_bytes()})
    probe = f"""
import sys
from pathlib import Path
import numpy as np
from modelreg.runtime.pipeline import Pipeline
from modelreg.runtime.smoothing import choose
from modelreg.registry import filenames
pipeline = Pipeline.load(Path({str(tmp_path)!r}))
stream = pipeline.stream(16, choose(pipeline.package.durations))
print([event.state in (0, 1, 2) for event in stream.push(np.zeros((32, 3), np.float32))])
print([name for name in {slow!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert done.stdout == "[True, True]\n[]\n"


def test_an_archive_contains_the_duration_model(tmp_path) -> None:
    """And bundle.json has its digest."""
    (tmp_path / "bundle.tar.gz").write_bytes(bundle_archive.pack(bundle("conv2d_fsq_hsmm")))

    assert bundle_loader.read_export(tmp_path / "bundle.tar.gz").durations.states == CLASSES
    assert filenames.HSMM in files.parse_json(bundle("conv2d_fsq_hsmm")[filenames.BUNDLE], "bundle")["files"]
