"""The runtime loads what was exported, and reproduces the outputs of the checkpoint."""

import json
import subprocess
import sys

import example_bundle
import hailort_stub
import numpy as np
import pytest
from example_bundle import VERSION, bundle, example, vectors, write_bundle
from places import places

from modelreg import files
from modelreg.artifacts import bundle_archive, npz, ort_session
from modelreg.artifacts.quantization_noise import snr_db
from modelreg.errors import InputError, VerificationFailed
from modelreg.registry import filenames, versions
from modelreg.runtime import backends, bundle_loader
from modelreg.runtime.backends import BackendError
from modelreg.runtime.pipeline import Pipeline, Prediction, Refused
from modelreg.runtime.smoothing import Majority
from modelreg.runtime.streaming import ClockJump, Missing


@pytest.fixture(scope="module")
def released():
    """The released example on ONNX Runtime."""
    with Pipeline.load(VERSION) as pipeline:
        yield pipeline


@pytest.fixture
def compiled(tmp_path):
    """A bundle with a HEF."""
    return write_bundle(tmp_path / "hailo8", bundle(compiled=True))


def changed(documents: dict[str, bytes], name: str, data: bytes | None) -> dict[str, bytes]:
    """A bundle in which one file is replaced or removed."""
    kept = {key: value for key, value in documents.items() if key != name}
    return kept if data is None else {**kept, name: data}


def sealed(documents: dict[str, bytes], **record) -> dict[str, bytes]:
    """A bundle with matching digests for any content."""
    stated = versions.parse_document(documents[filenames.BUNDLE], bundle_loader.BundleRecord, "bundle.json")
    plain = {k: v for k, v in documents.items() if k not in (filenames.BUNDLE, filenames.SUMS)}
    return bundle_archive.sealed(stated.model_copy(update=record), plain, None)


# Loading


def test_it_reproduces_torch_on_the_whole_test_split(released) -> None:
    """Logits equal those of predictions.npz, which torch computed, within 1e-5; codes are identical."""
    recorded = npz.read_npz(VERSION / filenames.PREDICTIONS)
    answers = [released.infer(window) for window in example().test.x]

    np.testing.assert_allclose([a.logits for a in answers], recorded["logits"], atol=1e-5, rtol=1e-5)
    np.testing.assert_array_equal([a.code_index for a in answers], recorded["code"])


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_a_bundle_gives_the_logits_of_its_version(released, tmp_path, form) -> None:
    """As a folder and as an archive."""
    path = tmp_path / "hailo8.tar.gz"
    path.write_bytes(bundle_archive.pack(bundle()))
    place = write_bundle(tmp_path / "hailo8") if form == "folder" else path
    window = example().test.x[5]

    with Pipeline.load(place) as pipeline:
        np.testing.assert_array_equal(pipeline.infer(window).logits, released.infer(window).logits)


def test_what_bundle_json_does_not_list_is_not_read(tmp_path) -> None:
    """The compiler leaves its own files in the folder."""
    folder = write_bundle(tmp_path / "hailo8")
    (folder / "network.hef").write_bytes(b"not listed")

    assert bundle_loader.read_export(folder).hef is None


@pytest.mark.parametrize("name", sorted(bundle()))
@pytest.mark.parametrize("how", ["flipped", "missing"])
def test_a_changed_bundle_is_refused(tmp_path, name, how) -> None:
    """One flipped bit in any file, or one missing file, is enough."""
    data = bundle()[name]
    flipped = bytes([data[0] ^ 1]) + data[1:]
    path = tmp_path / "bundle.tar.gz"
    path.write_bytes(bundle_archive.pack(changed(bundle(), name, flipped if how == "flipped" else None)))

    with pytest.raises((VerificationFailed, InputError)) as caught:
        Pipeline.load(path)
    assert {problem.where for problem in caught.value.problems} in ({name}, {path.name})


def copied(folder, names) -> None:
    """Copy some files of the released version, as `pull --only` does."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((VERSION / name).read_bytes())


NEEDED = (
    *("manifest.json", "sha256sum.txt", "model_config.json", "normalization.json"),
    *(f"onnx/{name}" for name in ("encoder.onnx", "head.onnx", "model.onnx", "parity.json")),
)


def test_a_version_needs_no_more_than_its_graphs_and_documents(tmp_path) -> None:
    """Neither the checkpoint nor the predictions are read."""
    copied(tmp_path / "v0.2.0", NEEDED)

    with Pipeline.load(tmp_path / "v0.2.0") as pipeline:
        assert pipeline.name == "conv2d_fsq@v0.2.0"


@pytest.mark.parametrize("name", NEEDED[1:])
def test_a_changed_version_is_refused(tmp_path, name) -> None:
    """Each file is compared with the manifest."""
    copied(tmp_path / "v0.2.0", NEEDED)
    path = tmp_path / "v0.2.0" / name
    path.write_bytes(path.read_bytes() + b" ")

    with pytest.raises(VerificationFailed) as caught:
        Pipeline.load(tmp_path / "v0.2.0")
    assert [problem.where for problem in caught.value.problems] == [name]


def as_version(folder, targets=("hailo8",)):
    """A version with packed bundles only, as after `pull --only bundle`."""
    folder.mkdir()
    packed = {f"{target}/bundle.tar.gz": bundle_archive.pack(bundle(compiled=True)) for target in targets}
    manifest = json.loads((VERSION / "manifest.json").read_text())
    entry = {"size": 1, "stored": "asset"}
    manifest["files"] = [{**entry, "path": p, "sha256": files.sha256_bytes(data)} for p, data in packed.items()]
    (folder / "manifest.json").write_bytes(files.to_json(manifest))
    for path, data in packed.items():
        (folder / path).parent.mkdir()
        (folder / path).write_bytes(data)
    return folder


def test_a_version_is_loaded_from_its_bundle_alone(tmp_path) -> None:
    """The files of `modelreg pull --only bundle` are sufficient."""
    assert bundle_loader.read_export(as_version(tmp_path / "v0.2.0")).hef == example_bundle.hef()


def test_a_packed_bundle_is_compared_with_the_manifest(tmp_path) -> None:
    """Before it is unpacked."""
    folder = as_version(tmp_path / "v0.2.0")
    (folder / "hailo8/bundle.tar.gz").write_bytes(bundle_archive.pack(bundle()))

    with pytest.raises(VerificationFailed) as caught:
        bundle_loader.read_export(folder, compiled=True)
    assert [problem.where for problem in caught.value.problems] == ["hailo8/bundle.tar.gz"]

    assert places(caught.value.problems) == [("hailo8/bundle.tar.gz", "verify.digest-mismatch")]


def test_of_several_bundles_none_is_chosen(tmp_path) -> None:
    """A Hailo-8L cannot run a HEF for a Hailo-8; the message lists the bundles."""
    with pytest.raises(InputError) as caught:
        bundle_loader.read_export(as_version(tmp_path / "v0.2.0", ("hailo8", "hailo8l")), compiled=True)
    assert places(caught.value.problems) == [("v0.2.0", "bundle.ambiguous")]
    assert all(f"v0.2.0/{name}/bundle.tar.gz" in caught.value.problems[0].message for name in ("hailo8", "hailo8l"))


def test_a_bundle_that_was_not_pulled_is_an_error(tmp_path) -> None:
    """The manifest lists it, but the file is missing."""
    folder = as_version(tmp_path / "v0.2.0")
    (folder / "hailo8/bundle.tar.gz").unlink()

    with pytest.raises(InputError) as caught:
        bundle_loader.read_export(folder)
    assert places(caught.value.problems) == [("v0.2.0", "bundle.not-pulled")]


@pytest.mark.parametrize(
    ("place", "rule"), [("empty", "bundle.not-found"), ("version", "bundle.missing"), ("old", "bundle.outdated")]
)
def test_a_folder_without_a_usable_export_is_refused(tmp_path, place, rule) -> None:
    """An empty folder, a version without a bundle for a device, a bundle of modelreg 0.2."""
    folder = {"empty": tmp_path, "version": VERSION, "old": tmp_path / "old"}[place]
    if place == "old":
        write_bundle(folder, sealed(changed(bundle(), filenames.MODEL_CONFIG, None)))

    with pytest.raises(InputError) as caught:
        bundle_loader.read_export(folder, compiled=place == "version")
    assert [problem.rule for problem in caught.value.problems] == [rule]


def test_a_graph_that_does_not_fit_the_model_is_refused(tmp_path) -> None:
    """Even if the digests of the bundle match: the head has the tensors of the whole model."""
    odd = sealed({**bundle(), "head.onnx": bundle()["model.onnx"]})

    with pytest.raises(VerificationFailed) as caught:
        Pipeline.load(write_bundle(tmp_path / "odd", odd))
    assert places(caught.value.problems) == [("head.onnx", "bundle.graph-mismatch")]


def test_a_bundle_without_its_graphs_is_refused(tmp_path) -> None:
    """One error lists all missing files."""
    short = sealed({k: v for k, v in bundle().items() if k not in ("head.onnx", "parity.json")})

    with pytest.raises(VerificationFailed) as caught:
        Pipeline.load(write_bundle(tmp_path / "short", short))
    assert set(places(caught.value.problems)) == {(n, "bundle.file-missing") for n in ("head.onnx", "parity.json")}


def test_an_archive_of_something_else_is_refused(tmp_path) -> None:
    """It has no bundle.json."""
    path = tmp_path / "x.tar.gz"
    path.write_bytes(bundle_archive.pack({"a.txt": b"a"}))

    with pytest.raises(InputError) as caught:
        bundle_loader.read_export(path)
    assert places(caught.value.problems) == [("x.tar.gz", "bundle.not-found")]


# Test vectors


def with_vectors(change) -> dict[str, bytes]:
    """A sealed bundle with other test vectors."""
    arrays = {name: array.copy() for name, array in vectors().items()}
    change(arrays)
    return sealed({**bundle(), "test_vectors.npz": npz.npz_bytes(arrays)})


@pytest.mark.parametrize("name", ["projection", "code", "logits"])
def test_a_backend_with_other_outputs_is_refused(tmp_path, name) -> None:
    """A difference above the tolerance in one number of one window is enough."""

    def change(arrays) -> None:
        arrays[name][3, 0] += 0.01

    with pytest.raises(VerificationFailed) as caught:
        Pipeline.load(write_bundle(tmp_path / "odd", with_vectors(change)))
    assert places(caught.value.problems) == [(name, "bundle.self-test-failed")]


def test_test_vectors_must_fit_the_model(tmp_path) -> None:
    """Float64 logits are refused."""
    odd = with_vectors(lambda arrays: arrays.update(logits=arrays["logits"].astype(np.float64)))

    with pytest.raises(VerificationFailed) as caught:
        Pipeline.load(write_bundle(tmp_path / "odd", odd))
    assert places(caught.value.problems) == [("logits", "bundle.vectors-invalid")]


def test_without_test_vectors_the_graphs_are_compared_with_each_other(tmp_path) -> None:
    """v0.2.0 has none: the whole graph reveals an encoder with other weights."""
    encoder = bytearray(bundle()["encoder.onnx"])
    place = len(encoder) // 2
    encoder[place : place + 400] = bytes(400)
    plain = {k: v for k, v in bundle().items() if k != "test_vectors.npz"}

    with pytest.raises(VerificationFailed) as caught:
        Pipeline.load(write_bundle(tmp_path / "odd", sealed({**plain, "encoder.onnx": bytes(encoder)})))
    assert {problem.rule for problem in caught.value.problems} == {"bundle.self-test-failed"}


def test_an_invalid_graph_is_refused() -> None:
    """With ONNX Runtime's own message."""
    with pytest.raises(InputError) as caught:
        ort_session.session(b"not a graph")
    assert "protobuf" in caught.value.problems[0].message.lower()

    assert places(caught.value.problems) == [("graph", "onnx.unreadable")]


# Windows


@pytest.mark.parametrize(
    ("window", "rule", "detail"),
    [
        (np.zeros((6, 1, 99), np.float32), "predict.window-shape", "(6, 1, 100)"),
        (np.full((6, 1, 100), np.nan, np.float32), "predict.value-missing", "ax, row 0, step 0"),
        (np.full((6, 1, 100), 3e38, np.float32), "predict.overflow", ""),
        (np.full((6, 1, 100), np.inf, np.float32), "predict.value-missing", "ax, row 0, step 0"),
    ],
    ids=["shape", "nan", "overflow", "inf"],
)
def test_an_invalid_window_is_refused(released, window, rule, detail) -> None:
    """The message has the expected shape, or the first missing value."""
    with pytest.raises(InputError) as caught:
        released.infer(window)
    (problem,) = caught.value.problems
    assert (problem.where, problem.rule, detail in problem.message) == ("window", rule, True)


def limited(tmp_path, low: float, high: float) -> Pipeline:
    """The example with limits for its first channel."""
    scale = json.loads(bundle()[filenames.NORMALIZATION])
    scale["limits"]["channels"] = {"ax": [low, high]}
    documents = sealed({**bundle(), filenames.NORMALIZATION: files.to_json(scale)})
    return Pipeline.load(write_bundle(tmp_path / "limited", documents))


def test_a_value_outside_the_sensors_limits_is_refused(tmp_path) -> None:
    """The limits come from normalization.json."""
    window = np.zeros((6, 1, 100), np.float32)
    window[0, 0, 50] = 17
    with limited(tmp_path, -16, 16) as pipeline, pytest.raises(InputError) as caught:
        pipeline.infer(window)
    assert places(caught.value.problems) == [("channel ax", "predict.out-of-limits")]


def test_the_label_is_the_most_probable_class(released) -> None:
    """The probabilities add up to 1."""
    answer = released.infer(example().test.x[0])

    assert (answer.label, answer.members) == (int(answer.logits.argmax()), None)
    assert answer.probabilities.sum() == pytest.approx(1)


# Streams


def test_a_stream_answers_each_window(released) -> None:
    """With the labels of the same windows, cut offline."""
    samples = np.concatenate([window[:, 0].T for window in example().test.x[::2][:4]])
    events = released.stream(100, Majority(3)).push(samples)
    expected = [released.infer(samples[s : s + 100].T[:, None]).label for s in (0, 100, 200, 300)]

    assert [(e.start, e.answer.label) for e in events] == list(zip((0, 100, 200, 300), expected, strict=True))


def test_a_stream_reports_windows_without_an_answer(tmp_path) -> None:
    """Missing values and values outside the limits."""
    samples = np.zeros((300, 6), np.float32)
    samples[150, 3], samples[250, 0] = np.nan, 99
    with limited(tmp_path, -16, 16) as pipeline:
        events = pipeline.stream(100).push(samples)

    assert [type(event) for event in events] == [Prediction, Missing, Refused]


def test_smoothing_restarts_after_a_clock_jump(released) -> None:
    """The earlier windows are unrelated to the later ones."""
    stream = released.stream(100, Majority(5))
    time = np.concatenate([1000 + np.arange(300) / 50, np.arange(100) / 50])
    samples = np.concatenate([*(example().test.x[0][:, 0].T for _ in range(3)), example().test.x[-1][:, 0].T])
    *_, jump, last = stream.push(samples, time=time)

    assert (type(jump), last.state) == (ClockJump, last.answer.label)


@pytest.mark.parametrize(("hole", "shown"), [(400, 0), (500, 1)], ids=["bridged", "ended"])
def test_smoothing_bridges_the_same_holes_as_offline(released, hole, shown) -> None:
    """Four missing windows are bridged; after more, smoothing restarts."""
    first, last = (example().test.x[n][:, 0].T for n in (0, -1))
    samples = np.concatenate([first, first, first, np.full((hole, 6), np.nan, np.float32), last])
    *_, event = released.stream(100, Majority(5)).push(samples)
    labels = [released.infer(example().test.x[n]).label for n in (0, -1)]

    assert event.state == labels[shown]


def test_without_a_smoother_the_state_is_none(released) -> None:
    """The answers are independent."""
    (event,) = released.stream(100).push(np.zeros((100, 6), np.float32))

    assert event.state is None


# A Hailo device, simulated by the stub


def test_a_device_answers_within_its_noise(compiled, monkeypatch) -> None:
    """8-bit input and output: the projection is close, so the channels are in the right order."""
    hailort_stub.install(monkeypatch)
    with Pipeline.load(compiled, "hailo") as device, Pipeline.load(compiled) as host:
        windows = example().test.x[:8]
        found = np.stack([device.infer(window).projection for window in windows])
        expected = np.stack([host.infer(window).projection for window in windows])

    assert 20 < snr_db(expected, found) < 60


def test_the_chip_is_fed_raw_windows_where_it_normalizes(tmp_path, monkeypatch) -> None:
    """The stub expects normalized windows, so raw ones give a high error and the self-test fails."""
    hailort_stub.install(monkeypatch)
    documents = bundle(compiled=True, normalization="chip")

    with pytest.raises(VerificationFailed) as caught:
        Pipeline.load(write_bundle(tmp_path / "chip", documents), "hailo")
    assert places(caught.value.problems) == [("projection", "hef.noise")]


def test_a_hef_that_clips_is_refused(tmp_path, monkeypatch) -> None:
    """As after calibration with random numbers in [0, 1)."""
    hailort_stub.install(monkeypatch)
    documents = bundle(compiled=True, span=0.2)

    with pytest.raises(VerificationFailed) as caught:
        Pipeline.load(write_bundle(tmp_path / "clips", documents), "hailo")
    assert places(caught.value.problems) == [("projection", "hef.noise")]
    assert "10 dB" in caught.value.problems[0].message


@pytest.mark.parametrize("fault", ["no_device", "in_use", "wrong_arch"])
def test_a_device_that_is_not_available_is_an_error(compiled, monkeypatch, fault) -> None:
    """With HailoRT's own message; the device is released."""
    module = hailort_stub.install(monkeypatch, **{fault: 1})

    with pytest.raises(BackendError) as caught:
        Pipeline.load(compiled, "hailo")
    (problem,) = caught.value.problems
    assert (problem.rule, "HAILO_" in problem.message, module.held) == ("hailo.failed", True, 0)


def test_a_device_that_hangs_is_an_error(compiled, monkeypatch) -> None:
    """After the timeout; the next window is answered."""
    hailort_stub.install(monkeypatch, hang=17)
    with Pipeline.load(compiled, "hailo") as pipeline:
        with pytest.raises(BackendError) as caught:
            pipeline.infer(example().test.x[0])

        assert "1000 ms" in caught.value.problems[0].message
        assert pipeline.infer(example().test.x[0]).label >= 0


def test_the_device_is_released(compiled, monkeypatch) -> None:
    """When the pipeline is closed."""
    module = hailort_stub.install(monkeypatch)
    with Pipeline.load(compiled, "hailo"):
        assert module.held == 1
    assert module.held == 0


def test_a_hef_of_another_shape_is_refused(tmp_path, monkeypatch) -> None:
    """Before anything is computed."""
    hailort_stub.install(monkeypatch)
    shapes = backends.Shapes((9, 2, 100), 5)

    with pytest.raises(InputError) as caught:
        backends.Hailo(example_bundle.hef(), shapes)
    assert places(caught.value.problems) == [("HEF", "hef.shape-mismatch")]


def test_without_hailort_the_hailo_backend_is_not_available(compiled) -> None:
    """It is not on PyPI."""
    with pytest.raises(BackendError) as caught:
        Pipeline.load(compiled, "hailo")
    assert places(caught.value.problems) == [("hailo_platform", "hailo.not-installed")]


def test_the_hailo_backend_needs_a_hef(tmp_path) -> None:
    """A bundle that was not compiled has none."""
    with pytest.raises(InputError) as caught:
        Pipeline.load(write_bundle(tmp_path / "hailo8"), "hailo")
    assert places(caught.value.problems) == [("bundle", "hef.missing")]


# Imports


def test_no_torch_and_no_schemas_are_loaded() -> None:
    """Nor any other slow package."""
    slow = ("torch", "onnx", "numba", "scipy", "pandas", "jsonschema", "requests", "typer")
    probe = f"""
import sys
from pathlib import Path
from modelreg.runtime.pipeline import Pipeline
from modelreg.registry import filenames, versions
Pipeline.load(Path({str(VERSION)!r}))
print([name for name in {slow!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_an_exported_run_is_loaded(tmp_path) -> None:
    """With its graphs and its normalization."""
    run = tmp_path / "conv2d_fsq-001"
    copied(run, ("onnx/parity.json", "normalization.json", "run.json"))
    for name, data in example().graphs.items():
        (run / "onnx" / name).write_bytes(data)

    with Pipeline.load(run) as pipeline:
        assert (pipeline.name, pipeline.package.version) == ("conv2d_fsq", None)


def test_a_changed_run_is_refused(tmp_path) -> None:
    """parity.json has the digests of the graphs, run.json that of the normalization."""
    run = tmp_path / "conv2d_fsq-001"
    copied(run, ("onnx/parity.json", "normalization.json", "run.json", *NEEDED[4:7]))
    (run / "normalization.json").write_bytes(b"{}")

    with pytest.raises(VerificationFailed) as caught:
        bundle_loader.read_export(run)
    assert [p.where for p in caught.value.problems] == [*NEEDED[4:7], "normalization.json"]


@pytest.mark.parametrize(
    ("compiled", "rule"), [(False, "export.not-exported"), (True, "bundle.missing")], ids=["graphs", "hef"]
)
def test_a_run_that_was_not_exported_is_refused(tmp_path, compiled, rule) -> None:
    """It has neither graphs nor a bundle."""
    copied(tmp_path / "run", ("run.json",))

    with pytest.raises(InputError) as caught:
        bundle_loader.read_export(tmp_path / "run", compiled=compiled)
    assert places(caught.value.problems) == [("run", rule)]


def test_the_bundle_of_a_run_is_loaded(tmp_path) -> None:
    """From the folder of the target."""
    run = tmp_path / "conv2d_fsq-001"
    copied(run, ("run.json",))
    write_bundle(run / "hailo8", bundle(compiled=True))

    assert bundle_loader.read_export(run, compiled=True).hef == example_bundle.hef()


def test_an_npz_is_read_from_memory() -> None:
    """Invalid bytes are refused, as in a file."""
    with pytest.raises(InputError) as caught:
        npz.parse_npz(b"PK", "test_vectors.npz")
    assert [problem.where for problem in caught.value.problems] == ["test_vectors.npz"]
