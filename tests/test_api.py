"""The public API: what `import modelreg` offers answers as training, evaluation and the runtime do."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from example_bundle import VERSION, bundle, example, write_bundle
from example_version import edit, reseal, reseal_sums
from places import places
from test_made_by_0_2_0 import EXPORTED, PROJECT, folder_of

import modelreg
from modelreg import api, files
from modelreg.artifacts import bundle_archive, npz
from modelreg.cli.main import main
from modelreg.data.sources import sample
from modelreg.errors import InputError, RegistryError, VerificationFailed
from modelreg.records.data import Limits
from modelreg.runtime.pipeline import Pipeline

ROOT = VERSION.parents[2]
NAMES = ("ax", "ay", "az", "wx", "wy", "wz")
ONNX = ("onnx/encoder.onnx", "onnx/head.onnx", "onnx/model.onnx")
TEST_SET = [recording for recording in sample.read().recordings if recording.subject in ("s08", "s09", "s10")]


@pytest.fixture(scope="module")
def model():
    """The released example, by ONNX Runtime."""
    return modelreg.load("conv2d_fsq@v0.2.0", root=ROOT)


def without_graphs(folder: Path) -> Path:
    """A copy of the released example that was never exported."""
    shutil.copytree(VERSION, folder)
    shutil.rmtree(folder / "onnx")
    edit(
        folder / "manifest.json",
        lambda manifest: manifest.update(files=[e for e in manifest["files"] if not e["path"].startswith("onnx/")]),
    )
    reseal_sums(folder)
    return folder


@pytest.fixture(scope="module")
def by_torch(tmp_path_factory):
    """The same version without its graphs, by torch."""
    pytest.importorskip("torch")
    return modelreg.load(without_graphs(tmp_path_factory.mktemp("registry") / "conv2d_fsq" / "v0.2.0"))


def frame(recording) -> dict[str, np.ndarray]:
    """A recording of the sample as columns with a clock."""
    values = recording.signals["watch"].values
    return {"time": np.arange(len(values)) / 50, **dict(zip(NAMES, values.T, strict=True))}


def recorded(name: str) -> dict[str, np.ndarray]:
    """What torch answered when the version was evaluated, for one recording."""
    arrays = npz.read_npz(VERSION / "predictions.npz")
    rows = arrays["recording"] == name
    return {key: arrays[key][rows] for key in ("logits", "code", "start")}


def softmax(logits: np.ndarray) -> np.ndarray:
    """Its definition."""
    odds = np.exp(logits.astype(np.float64))
    return odds / odds.sum(axis=1, keepdims=True)


# What a model says of itself


def test_a_model_states_its_input_and_classes(model) -> None:
    """The properties that a caller needs."""
    channels = [(channel.name, channel.unit) for channel in model.channels]

    assert channels == [*((name, "g") for name in NAMES[:3]), *((name, "rad/s") for name in NAMES[3:])]
    assert (model.reference, model.devices, model.rate_hz) == ("conv2d_fsq@v0.2.0", ("watch",), 50.0)
    assert (model.shape, model.classes) == ((6, 1, 100), sample.CLASSES)
    assert repr(model) == "<modelreg.Model conv2d_fsq@v0.2.0: 7 classes, windows (6, 1, 100)>"


def test_a_model_states_the_limits_of_its_sensor(model) -> None:
    """None where its version declares none; and they cannot be changed."""
    limits = {"az": (-8.0, 8.0)}
    normalization = model._opened.normalization.model_copy(update={"limits": Limits(channels=limits)})
    limited = api.Model(model._opened._replace(normalization=normalization))

    assert (model.limits, limited.limits) == ({}, limits)
    with pytest.raises(TypeError):
        limited.limits["az"] = (0.0, 1.0)


# Windows


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float16, np.float64])
def test_integers_and_floats_are_numbers(model, dtype) -> None:
    """Of any size."""
    windows = np.ones((2, 6, 1, 100))

    np.testing.assert_array_equal(
        model.predict(windows.astype(dtype)).probabilities, model.predict(windows).probabilities
    )


@pytest.mark.parametrize("which", ["model", "by_torch"])
def test_windows_get_what_was_recorded(which, request) -> None:
    """On the whole test set: predictions.npz was made by torch when the version was evaluated."""
    expected = npz.read_npz(VERSION / "predictions.npz")
    found = request.getfixturevalue(which).predict(example().test.x)

    np.testing.assert_allclose(found.probabilities, softmax(expected["logits"]), atol=1e-5)
    np.testing.assert_array_equal(found.labels, expected["logits"].argmax(axis=1))
    np.testing.assert_array_equal(found.codes, expected["code"])
    assert found.sets is None


def test_labels_have_names(model) -> None:
    """Those of the classes, in the order of the windows."""
    found = model.predict(example().test.x[:50])

    assert found.names == tuple(sample.CLASSES[label] for label in found.labels)
    assert (len(found), found.classes) == (50, sample.CLASSES)


@pytest.mark.parametrize("which", ["model", "by_torch"])
def test_an_empty_batch_has_no_predictions(which, request) -> None:
    """An empty batch is a batch."""
    found = request.getfixturevalue(which).predict(np.empty((0, 6, 1, 100)))

    assert (len(found), found.probabilities.shape, found.names) == (0, (0, 7), ())


CALIBRATED = PROJECT / folder_of("conv2d_fsq@v0.1.0")


@pytest.mark.parametrize("rule", ["not_single", "empty", "never"])
def test_a_model_abstains_by_the_chosen_rule(rule) -> None:
    """The labels stay the most probable classes."""
    windows = npz.read_npz(CALIBRATED / "onnx" / "test_vectors.npz")["windows_raw"]
    found = modelreg.load(CALIBRATED).predict(windows, abstain=rule)
    sizes = np.array([len(each) for each in found.sets])
    expected = {"not_single": sizes != 1, "empty": sizes == 0, "never": np.zeros(len(sizes), dtype=bool)}

    np.testing.assert_array_equal(found.abstained, expected[rule])
    np.testing.assert_array_equal(found.labels, found.probabilities.argmax(axis=1))


@pytest.mark.parametrize(
    ("choice", "place"),
    [
        ({"abstain": "sometimes"}, ("abstain", "predict.argument-invalid")),
        ({"sets": "lac"}, ("sets", "predict.argument-invalid")),
        ({"sets": "new_subject"}, ("sets", "predict.no-threshold")),
    ],
)
@pytest.mark.parametrize("folder", [CALIBRATED, VERSION], ids=["calibrated", "not calibrated"])
def test_a_choice_that_a_version_does_not_have_is_refused(folder, choice, place) -> None:
    """Sets for a new subject are in no document of modelreg 0.2."""
    with pytest.raises(modelreg.InputError) as caught:
        modelreg.load(folder).predict(np.zeros((0, 6, 1, 100)), **choice)
    assert places(caught.value.problems) == [place]


@pytest.mark.parametrize("reference", EXPORTED)
def test_a_calibrated_version_gives_what_the_device_gives(reference) -> None:
    """Probabilities after temperature scaling and LAC sets, for each system."""
    folder = PROJECT / folder_of(reference)
    windows = npz.read_npz(folder / "onnx" / "test_vectors.npz")["windows_raw"]
    found = modelreg.load(folder).predict(windows)
    with Pipeline.load(folder) as pipeline:
        answers = [pipeline.infer(window) for window in windows]

    np.testing.assert_allclose(found.probabilities, [answer.probabilities for answer in answers], rtol=1e-12)
    assert found.sets == tuple(tuple(found.classes[n] for n in answer.members) for answer in answers)
    assert found.abstained.tolist() == [answer.abstains for answer in answers]
    assert (found.codes is None) == all(answer.code_index is None for answer in answers)
    assert found.codes is None or found.codes.tolist() == [answer.code_index for answer in answers]


@pytest.mark.needs("torch")
@pytest.mark.parametrize("reference", EXPORTED)
def test_torch_gives_what_onnx_runtime_gives(reference, tmp_path) -> None:
    """For every system: a version whose graphs were taken away answers as with them."""
    folder = PROJECT / folder_of(reference)
    copy = tmp_path / folder.parent.name / folder.name
    shutil.copytree(folder, copy)
    for name in ("onnx", "hailo8", "hailo8l"):
        shutil.rmtree(copy / name, ignore_errors=True)
    kept = ("onnx/", "hailo8")
    edit(
        copy / "manifest.json",
        lambda manifest: manifest.update(files=[e for e in manifest["files"] if not e["path"].startswith(kept)]),
    )
    reseal_sums(copy)
    windows = npz.read_npz(folder / "onnx" / "test_vectors.npz")["windows_raw"]
    with_graphs, without = modelreg.load(folder).predict(windows), modelreg.load(copy).predict(windows)
    same = np.abs(with_graphs.probabilities - without.probabilities).max(axis=1) < 1e-3

    assert same.mean() > 0.9  # windows at a rounding boundary may differ between processors
    assert (with_graphs.codes is None) == (without.codes is None)


@pytest.mark.parametrize(
    ("change", "rule", "words"),
    [
        (lambda x: x[:, :5], "window-shape", "(9, 5, 1, 100)"),
        (lambda x: x[0], "window-shape", "(6, 1, 100)"),
        (lambda x: None, "windows-type", "None"),
        (lambda x: {"x": x}, "windows-type", "dict"),
        (lambda x: x.astype(str), "windows-type", "text"),
        (lambda x: x.astype(bool), "windows-type", "booleans"),
        (lambda x: x.astype(complex), "windows-type", "complex"),
        (lambda x: x.astype(object), "windows-type", "objects"),
        (lambda x: [[1.0], [1.0, 2.0]], "windows-type", "inhomogeneous"),
    ],
)
def test_what_is_not_a_batch_of_windows_is_refused(model, change, rule, words) -> None:
    """The error names the expected shape."""
    with pytest.raises(InputError) as caught:
        model.predict(change(np.zeros((9, 6, 1, 100))))

    [problem] = caught.value.problems
    assert places([problem]) == [("windows", f"predict.{rule}")]
    assert (words in problem.message, "(N, 6, 1, 100)" in problem.message) == (True, True)


def test_windows_with_missing_values_are_listed(model) -> None:
    """Grouped: the first ones, and the number of others."""
    windows = np.zeros((9, 6, 1, 100))
    windows[2, 1, 0, 7], windows[4:9, 0, 0, 5] = np.inf, np.nan
    with pytest.raises(InputError) as caught:
        model.predict(windows)

    [problem] = caught.value.problems
    assert places([problem]) == [("windows 2, 4, 5 and 3 others", "predict.value-missing")]
    assert problem.message.endswith("ax, ay")


def test_windows_beyond_the_limits_of_the_sensor_are_listed(model) -> None:
    """By channel, with the range of the values and the limits."""
    limits = Limits(channels={"ay": (-16.0, 16.0), "wz": (-35.0, 35.0)})
    normalization = model._opened.normalization.model_copy(update={"limits": limits})
    limited = api.Model(model._opened._replace(normalization=normalization))
    windows = np.zeros((9, 6, 1, 100))
    windows[3, 1, 0, 7], windows[5, 1, 0, 7], windows[:, 5] = 17.5, -20.0, 35.5
    with pytest.raises(InputError) as caught:
        limited.predict(windows)

    problems = caught.value.problems
    assert places(problems) == [
        ("windows 3, 5", "predict.out-of-limits"),
        ("windows 0, 1, 2 and 6 others", "predict.out-of-limits"),
    ]
    numbers = [set(re.findall(r"-?[\d.]+", problem.message)) for problem in problems]
    assert numbers == [{"-20", "17.5", "-16", "16"}, {"35.5", "-35", "35"}]


@pytest.mark.parametrize("which", ["model", "by_torch"])
def test_windows_that_overflow_the_network_are_refused(which, request) -> None:
    """Finite numbers, which no sensor gives."""
    windows = np.zeros((3, 6, 1, 100), dtype=np.float32)
    windows[1] = 1e38
    with pytest.raises(InputError) as caught:
        request.getfixturevalue(which).predict(windows)

    assert places(caught.value.problems) == [("window 1", "predict.overflow")]


# Recordings


@pytest.mark.parametrize("which", ["model", "by_torch"])
def test_a_recording_gets_what_was_recorded(which, request) -> None:
    """Each of the test set: the windows that evaluation cut, with the answers that it kept."""
    loaded = request.getfixturevalue(which)
    for recording in TEST_SET:
        expected, found = recorded(recording.name), loaded.predict_recording(frame(recording))

        np.testing.assert_allclose(found.start, expected["start"] / 50, atol=1e-9)
        np.testing.assert_allclose(found.end, (expected["start"] + 99) / 50, atol=1e-9)
        np.testing.assert_allclose(found.predictions.probabilities, softmax(expected["logits"]), atol=1e-5)
        np.testing.assert_array_equal(found.predictions.codes, expected["code"])
        assert found.notices == ()


def test_a_hop_can_be_chosen(model) -> None:
    """In samples; the windows that both have get the same answer."""
    usual, denser = (model.predict_recording(frame(TEST_SET[0]), hop=hop) for hop in (None, 25))

    np.testing.assert_array_equal(denser.start[::2][: len(usual)], usual.start)
    np.testing.assert_array_equal(denser.predictions.probabilities[::2][: len(usual)], usual.predictions.probabilities)


@pytest.mark.parametrize("hop", [0, -1, True, 2.0, "3", np.float64(2), [50]])
def test_a_hop_is_a_count_of_samples(model, hop) -> None:
    """Below one it would never end."""
    with pytest.raises(InputError) as caught:
        model.predict_recording(frame(TEST_SET[0]), hop=hop)

    assert places(caught.value.problems) == [("hop", "predict.argument-invalid")]


def test_a_hop_may_be_an_integer_of_numpy(model) -> None:
    """It came out of an array."""
    usual, found = (model.predict_recording(frame(TEST_SET[0]), hop=hop) for hop in (50, np.int64(50)))

    np.testing.assert_array_equal(found.start, usual.start)


@pytest.mark.parametrize("time", [None, 3, ["time"]])
def test_the_time_column_is_named_by_text(model, time) -> None:
    """Not a KeyError."""
    with pytest.raises(InputError) as caught:
        model.predict_recording(frame(TEST_SET[0]), time=time)

    assert places(caught.value.problems) == [("time", "predict.argument-invalid")]


def test_a_bundle_needs_a_hop(tmp_path) -> None:
    """It holds no data.json; everything else is as in the version."""
    loaded = modelreg.load(write_bundle(tmp_path / "hailo8"))
    with pytest.raises(InputError) as caught:
        loaded.predict_recording(frame(TEST_SET[0]))

    assert places(caught.value.problems) == [("hop", "predict.hop-missing")]
    assert len(loaded.predict_recording(frame(TEST_SET[0]), hop=50)) == len(recorded(TEST_SET[0].name)["start"])


def test_a_timeline_is_a_table(model) -> None:
    """Columns of one length, made of the predictions."""
    found = model.predict_recording(frame(TEST_SET[0]))
    columns = found.columns()

    assert list(columns) == ["start", "end", "label", *sample.CLASSES]
    assert {len(column) for column in columns.values()} == {len(found)}
    assert columns["label"].tolist() == list(found.predictions.names)


def test_what_is_left_out_of_a_recording_is_said(model) -> None:
    """A missing value, a gap, a repeated time: the other windows are predicted as before."""
    columns = frame(TEST_SET[0])
    whole = model.predict_recording(columns)
    columns["ax"] = columns["ax"].copy()
    columns["ax"][500] = np.nan
    rows = np.delete(np.insert(np.arange(len(columns["time"])), 700, 700), slice(1001, 1101))
    found = model.predict_recording({name: column[rows] for name, column in columns.items()})
    kept = np.isin(whole.start, found.start)

    assert [notice.where for notice in found.notices] == [
        "watch: gap at 19.98 s",
        "watch",
        "windows at 9 s, 10 s, 19 s and 2 others",
    ]
    assert whole.start[~kept].tolist() == [9.0, 10.0, 19.0, 20.0, 21.0]
    np.testing.assert_array_equal(found.predictions.labels, whole.predictions.labels[kept])


def test_windows_of_a_recording_beyond_the_limits_are_left_out(model) -> None:
    """With a notice that says where and why."""
    normalization = model._opened.normalization.model_copy(update={"limits": Limits(channels={"az": (-8.0, 8.0)})})
    limited = api.Model(model._opened._replace(normalization=normalization))
    columns = frame(TEST_SET[0])
    columns["az"] = columns["az"].copy()
    columns["az"][510] = 9.0
    found = limited.predict_recording(columns)

    assert [notice.where for notice in found.notices] == ["windows at 9 s, 10 s"]
    assert np.intersect1d(found.start, [9.0, 10.0]).size == 0


def test_windows_of_a_recording_that_overflow_are_left_out(model) -> None:
    """One absurd value costs its windows, not the recording."""
    columns = frame(TEST_SET[0])
    columns["az"] = columns["az"].copy()
    columns["az"][510] = 3e38
    found = model.predict_recording(columns)

    assert [notice.where for notice in found.notices] == ["windows at 9 s, 10 s"]
    assert np.isfinite(found.predictions.probabilities).all()


def test_a_recording_shorter_than_a_window_gives_none(model) -> None:
    """With a notice."""
    found = model.predict_recording({name: column[:99] for name, column in frame(TEST_SET[0]).items()})

    assert (len(found), [notice.where for notice in found.notices]) == (0, ["recording"])


def test_several_devices_are_given_by_name() -> None:
    """The windows are those of both together, on the clock of the recording."""
    loaded = modelreg.load(PROJECT / "registry/conv2d_fsq/v0.4.0-rc.1")
    values = np.random.default_rng(0).normal(size=(2, 200, 3)).astype(np.float32)
    time = np.datetime64("2026-03-29T00:00") + np.arange(200) * np.timedelta64(20, "ms")
    frames = {
        device: {"time": time, **dict(zip("xyz", own.T, strict=True))}
        for device, own in zip(loaded.devices, values, strict=True)
    }
    found = loaded.predict_recording(frames, hop=16)
    windows = np.stack([values[:, start : start + 32].transpose(2, 0, 1) for start in range(0, 169, 16)])

    np.testing.assert_array_equal(found.predictions.probabilities, loaded.predict(windows).probabilities)
    np.testing.assert_array_equal(found.start, time[:169:16])
    np.testing.assert_array_equal(found.end, time[31::16])


# Loading


@pytest.mark.parametrize("reference", ["v0.2.0", "conv2d_fsq@v0.2.0", "latest", "conv2d_fsq@latest", VERSION])
def test_a_model_is_loaded_by_any_reference(reference, monkeypatch) -> None:
    """As the command line takes it, relative to the registry around the working directory."""
    monkeypatch.chdir(ROOT / "tests")

    assert modelreg.load(reference).reference == "conv2d_fsq@v0.2.0"


def test_a_model_is_loaded_by_its_alias(tmp_path) -> None:
    """That the registry keeps."""
    shutil.copytree(ROOT / "registry", tmp_path / "registry")
    (tmp_path / "modelreg.yaml").write_text("default_model: conv2d_fsq\n")
    change = {"alias": "production", "action": "promote", "previous": None, "version": "0.2.0", "by": "a"}
    log = {
        "schema_version": 1,
        "model": "conv2d_fsq",
        "changes": [{**change, "at": "2026-01-01T00:00:00Z", "why": None}],
    }
    (tmp_path / "registry/conv2d_fsq/aliases.json").write_bytes(files.to_json(log))

    assert modelreg.load("production", root=tmp_path).reference == "conv2d_fsq@v0.2.0"


@pytest.mark.parametrize("reference", ["v9.9.9", "nobody@latest", "conv2d_fsq@nightly", "no/such/path", "A B"])
def test_an_unknown_reference_is_refused(reference) -> None:
    """Whatever is wrong with it."""
    with pytest.raises(RegistryError):
        modelreg.load(reference, root=ROOT)


def test_a_reference_needs_a_registry(tmp_path, monkeypatch) -> None:
    """A path does not."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        modelreg.load("v0.2.0")

    assert places(caught.value.problems) == [(str(tmp_path), "registry.not-found")]

    assert modelreg.load(VERSION).reference == "conv2d_fsq@v0.2.0"


def test_what_is_no_model_is_refused(tmp_path) -> None:
    """A folder of something else."""
    with pytest.raises(InputError) as caught:
        modelreg.load(tmp_path)

    assert places(caught.value.problems) == [(str(tmp_path), "reference.not-a-model")]


def test_a_packed_bundle_answers_as_the_version(model, tmp_path) -> None:
    """From its .tar.gz."""
    (tmp_path / "hailo8.tar.gz").write_bytes(bundle_archive.pack(bundle()))
    windows = example().test.x[:20]

    np.testing.assert_array_equal(
        modelreg.load(tmp_path / "hailo8.tar.gz").predict(windows).probabilities, model.predict(windows).probabilities
    )


def test_an_exported_run_is_loaded(tmp_path) -> None:
    """By ONNX Runtime, calibrated as its evaluation left it."""
    run = PROJECT / "runs/conv2d_fsq-001"
    windows = npz.read_npz(run / "onnx/test_vectors.npz")["windows_raw"]
    loaded, version = modelreg.load(run), modelreg.load(PROJECT / "registry/conv2d_fsq/v0.1.0")

    assert loaded.reference == "conv2d_fsq-001"
    np.testing.assert_array_equal(loaded.predict(windows).probabilities, version.predict(windows).probabilities)


@pytest.mark.needs("torch")
def test_a_run_without_graphs_is_loaded(tmp_path) -> None:
    """By torch, from its checkpoint."""
    loaded = modelreg.load(PROJECT / "runs/conv2d_fsq-002")

    assert len(loaded.predict(np.zeros((2, *loaded.shape)))) == 2


@pytest.mark.needs("torch")
def test_an_interrupted_run_is_not_loaded() -> None:
    """It has no final weights."""
    run = PROJECT / "runs/conv2d_fsq-003"
    with pytest.raises(InputError) as caught:
        modelreg.load(run)

    assert places(caught.value.problems) == [(str(run), "run.not-trained")]


# Verifying what is loaded


def changed(folder: Path, name: str) -> None:
    """Append a byte to a file."""
    path = folder / name
    path.write_bytes(path.read_bytes() + b" ")


DOCUMENTS = ("model_config.json", "normalization.json", "data.json", "sha256sum.txt")


@pytest.mark.needs("torch")
@pytest.mark.parametrize("name", ["checkpoint.safetensors", *DOCUMENTS])
def test_a_changed_file_is_refused_by_torch(tmp_path, name) -> None:
    """Each that it reads, before it is used."""
    folder = without_graphs(tmp_path / "conv2d_fsq" / "v0.2.0")
    changed(folder, name)
    with pytest.raises(VerificationFailed) as caught:
        modelreg.load(folder)

    assert [problem.where for problem in caught.value.problems] == [name]


@pytest.mark.parametrize("name", [*ONNX, "onnx/parity.json", *DOCUMENTS])
def test_a_changed_file_is_refused_with_graphs(tmp_path, name) -> None:
    """The same with ONNX Runtime."""
    folder = tmp_path / "conv2d_fsq" / "v0.2.0"
    shutil.copytree(VERSION, folder)
    changed(folder, name)
    with pytest.raises(VerificationFailed) as caught:
        modelreg.load(folder)

    assert [problem.where for problem in caught.value.problems] == [name]


@pytest.mark.parametrize("name", [*ONNX, "onnx/parity.json", "data.json"])
def test_a_missing_file_is_refused(tmp_path, name) -> None:
    """One that git keeps: no other way to compute the version is taken."""
    folder = tmp_path / "conv2d_fsq" / "v0.2.0"
    shutil.copytree(VERSION, folder)
    (folder / name).unlink()
    with pytest.raises(VerificationFailed) as caught:
        modelreg.load(folder)

    assert [problem.where for problem in caught.value.problems] == [name]


def test_a_changed_manifest_is_refused(tmp_path) -> None:
    """sha256sum.txt states its digest."""
    folder = tmp_path / "conv2d_fsq" / "v0.2.0"
    shutil.copytree(VERSION, folder)
    edit(folder / "manifest.json", lambda manifest: manifest.update(created="2026-01-01T00:00:00Z"))
    with pytest.raises(VerificationFailed) as caught:
        modelreg.load(folder)

    assert [problem.where for problem in caught.value.problems] == ["sha256sum.txt"]


@pytest.mark.needs("torch")
@pytest.mark.parametrize("name", ["checkpoint.safetensors", "normalization.json", "data.json"])
def test_a_changed_run_is_refused(tmp_path, name) -> None:
    """run.json states their digests."""
    run = tmp_path / "conv2d_fsq-002"
    shutil.copytree(PROJECT / "runs/conv2d_fsq-002", run)
    changed(run, name)
    with pytest.raises(VerificationFailed) as caught:
        modelreg.load(run)

    assert [problem.where for problem in caught.value.problems] == [name]


@pytest.mark.needs("torch")
def test_a_calibration_of_other_weights_is_refused(tmp_path) -> None:
    """A run's calibration.json is not sealed, but names the checkpoint that it was fitted on."""
    run = tmp_path / "conv2d_fsq-002"
    shutil.copytree(PROJECT / "runs/conv2d_fsq-002", run)
    shutil.copy(PROJECT / "runs/conv2d_fsq-001/calibration.json", run)
    edit(run / "calibration.json", lambda document: document.update(checkpoint_sha256="0" * 64))
    with pytest.raises(VerificationFailed) as caught:
        modelreg.load(run)

    assert [problem.where for problem in caught.value.problems] == ["calibration.json: checkpoint_sha256"]


def test_graphs_that_are_not_here_are_named(tmp_path) -> None:
    """With the command that downloads them; torch does not replace them."""
    folder = tmp_path / "conv2d_fsq" / "v0.2.0"
    shutil.copytree(VERSION, folder)
    edit(
        folder / "manifest.json",
        lambda manifest: [entry.update(stored="asset") for entry in manifest["files"] if entry["path"] in ONNX],
    )
    reseal(folder)
    (folder / "onnx/head.onnx").unlink()
    with pytest.raises(InputError) as caught:
        modelreg.load(folder)

    [problem] = caught.value.problems
    assert places([problem]) == [("onnx/head.onnx", "version.asset-missing")]
    assert "modelreg pull conv2d_fsq@v0.2.0" in problem.next


@pytest.mark.parametrize(
    ("package", "reference", "extra"), [("onnxruntime", "v0.2.0", "predict"), ("torch", "v0.1.0", "train")]
)
def test_a_missing_extra_is_named(package, reference, extra) -> None:
    """With the command that installs it. No other backend computes the version."""
    code = f"import sys; sys.modules[{package!r}] = None; import modelreg; modelreg.load({reference!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert f"\n  {package}: not installed" in done.stderr
    assert f"'.[{extra}]'" in done.stderr.splitlines()[-1]


# Verifying and listing


@pytest.mark.parametrize("reference", ["v0.1.0", "conv2d_fsq@v0.2.0", VERSION])
def test_a_good_version_has_no_problem(reference) -> None:
    """Those that this project released."""
    found = modelreg.verify(reference, root=ROOT)

    assert (found.problems, found.notices) == ((), ())


def test_a_changed_version_has_problems(tmp_path) -> None:
    """Listed, not raised."""
    folder = tmp_path / "conv2d_fsq" / "v0.2.0"
    shutil.copytree(VERSION, folder)
    changed(folder, "model_card.md")
    found = modelreg.verify(folder)

    assert (found.reference, [problem.where for problem in found.problems]) == ("conv2d_fsq@v0.2.0", ["model_card.md"])


@pytest.mark.parametrize("complete", [False, True])
def test_a_file_that_is_not_here_is_noticed(tmp_path, complete) -> None:
    """As a problem where everything must be here."""
    folder = tmp_path / "conv2d_fsq" / "v0.1.0"
    shutil.copytree(PROJECT / "registry/conv2d_fsq/v0.1.0", folder)
    (folder / "checkpoint.safetensors").unlink()
    found = modelreg.verify(folder, complete=complete)
    listed = found.problems if complete else found.notices

    assert listed[0].where == "checkpoint.safetensors"
    assert bool(found.problems) == complete


@pytest.mark.parametrize("place", ["runs/conv2d_fsq-001", "modelreg.yaml"])
def test_only_a_version_is_verified(place) -> None:
    """A run or a file is none."""
    with pytest.raises(RegistryError):
        modelreg.verify(PROJECT / place)


@pytest.mark.parametrize("model", [None, "conv2d_vq"])
def test_versions_are_those_that_list_shows(model, monkeypatch, capsys) -> None:
    """The same records in the same order."""
    monkeypatch.chdir(PROJECT)
    main(["list", *([model] if model else []), "--json"])
    listed = json.loads(capsys.readouterr().out)
    found = modelreg.versions(model)

    stated = [{name: v for name, v in each._asdict().items() if name != "folder"} for each in found]

    assert stated == [{name: each[name] for name in stated[0]} for each in listed]
    assert all((each.folder / "manifest.json").is_file() for each in found)


def test_versions_of_an_unknown_model_are_refused() -> None:
    """An empty answer would hide a misspelt name."""
    with pytest.raises(RegistryError):
        modelreg.versions("conv2d_fsk", root=ROOT)


def test_a_version_that_cannot_be_read_is_not_passed_over(tmp_path) -> None:
    """As `list` has it."""
    shutil.copytree(PROJECT, tmp_path / "project")
    (tmp_path / "project/registry/conv2d_vq/v0.1.0/eval_metrics.json").write_bytes(b"{}")
    with pytest.raises(VerificationFailed):
        modelreg.versions(root=tmp_path / "project")


def test_versions_that_can_be_read_are_listed_where_that_is_asked(tmp_path) -> None:
    """One damaged version hides no other."""
    shutil.copytree(PROJECT, tmp_path / "project")
    (tmp_path / "project/registry/conv2d_vq/v0.1.0/eval_metrics.json").write_bytes(b"{}")
    everything = [each.reference for each in modelreg.versions(root=PROJECT)]
    found = [each.reference for each in modelreg.versions(root=tmp_path / "project", strict=False)]

    assert found == [reference for reference in everything if reference != "conv2d_vq@v0.1.0"]


def test_a_verification_is_true_where_nothing_is_wrong(tmp_path) -> None:
    """So that `if modelreg.verify(...)` says what it seems to say."""
    folder = tmp_path / "conv2d_fsq" / "v0.2.0"
    shutil.copytree(VERSION, folder)
    good = modelreg.verify(folder)
    changed(folder, "model_card.md")
    bad = modelreg.verify(folder)

    assert (bool(good), bool(bad), "model_card.md" in repr(bad)) == (True, False, True)


def test_a_signature_is_demanded_where_a_key_is_given(tmp_path) -> None:
    """The one of the project's fixtures is by its own key; v0.2.0 here has none."""
    own, other = PROJECT / "registry/conv2d_fsq/v0.1.0", VERSION
    key = PROJECT.parent / "key.pub.pem"

    assert [bool(modelreg.verify(folder, key=key)) for folder in (own, other)] == [True, False]


@pytest.mark.parametrize("damage", [None, b"", b"{"], ids=["missing", "empty", "cut"])
@pytest.mark.parametrize("version", ["conv2d_fsq/v0.1.0", "conv2d_fsq/v0.2.0"])
def test_a_version_without_a_readable_manifest_fails_verification(tmp_path, version, damage) -> None:
    """It is not a run, although it has a run.json; the error names the manifest."""
    folder = tmp_path / version
    shutil.copytree(ROOT / "registry" / version, folder)
    (folder / "manifest.json").unlink()
    if damage is not None:
        (folder / "manifest.json").write_bytes(damage)
    with pytest.raises(VerificationFailed) as caught:
        modelreg.load(folder)

    assert caught.value.problems[0].where.startswith("manifest.json")


@pytest.mark.parametrize("name", ["model_config.json", "normalization.json", "checkpoint.safetensors"])
@pytest.mark.parametrize("version", ["conv2d_fsq/v0.1.0", "conv2d_fsq/v0.2.0"])
def test_a_manifest_that_lists_too_little_fails_verification(tmp_path, version, name) -> None:
    """Whatever computes the model."""
    folder = tmp_path / version
    shutil.copytree(ROOT / "registry" / version, folder)
    edit(
        folder / "manifest.json",
        lambda document: document.update(files=[each for each in document["files"] if each["path"] != name]),
    )
    reseal_sums(folder)
    with pytest.raises(VerificationFailed) as caught:
        modelreg.load(folder)

    assert {problem.where for problem in caught.value.problems} & {"manifest.json", name}


def test_a_manifest_of_another_model_fails_verification(tmp_path) -> None:
    """The reference of a model comes from its records."""
    folder = tmp_path / "conv2d_fsq" / "v0.2.0"
    shutil.copytree(VERSION, folder)
    edit(folder / "manifest.json", lambda document: document.update(model="tcn_vae"))
    reseal_sums(folder)
    with pytest.raises(VerificationFailed) as caught:
        modelreg.load(folder)

    assert [problem.where for problem in caught.value.problems] == ["manifest.json"]


def test_a_symbolic_link_in_a_version_is_not_followed(tmp_path) -> None:
    """Not even to the same bytes: `verify` refuses it too."""
    folder = tmp_path / "conv2d_fsq" / "v0.2.0"
    shutil.copytree(VERSION, folder)
    (folder / "normalization.json").unlink()
    (folder / "normalization.json").symlink_to(VERSION / "normalization.json")
    with pytest.raises(VerificationFailed):
        modelreg.load(folder)


@pytest.mark.parametrize("reference", ["x" * 5000, "v" + "9" * 5000, "a/" + "b" * 300])
def test_a_reference_that_no_path_can_be_is_refused(reference) -> None:
    """No error of the operating system."""
    for call in (modelreg.load, modelreg.verify):
        with pytest.raises(RegistryError):
            call(reference, root=ROOT)


@pytest.mark.parametrize(
    ("reference", "rule"), [("conv2d_fsq", "reference.model-only"), ("nope@v0.2.0", "version.unknown")]
)
def test_a_reference_without_a_version_is_refused(reference, rule) -> None:
    """A model alone, and an unknown model."""
    with pytest.raises(RegistryError) as caught:
        modelreg.load(reference, root=ROOT)

    assert places(caught.value.problems) == [(reference, rule)]


# The module


def test_the_module_offers_what_it_says() -> None:
    """Each public name, and no other; `dir` lists them."""
    public = set(modelreg.__all__) - {"__version__"}

    assert public == set(api.__all__)
    assert all(getattr(modelreg, name) is getattr(api, name) for name in public)
    assert public <= set(dir(modelreg))


def test_other_names_are_private() -> None:
    """A misspelt name is an AttributeError."""
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        modelreg.lod  # noqa: B018 that is the test


STUB = Path(modelreg.__file__).with_name("__init__.pyi")


def test_the_stub_names_what_the_module_offers() -> None:
    """A type checker sees the same names."""
    imported = {line.rsplit(" ", 1)[1] for line in STUB.read_text().splitlines() if line.startswith("from ")}

    assert imported == set(modelreg.__all__) - {"__version__"}
