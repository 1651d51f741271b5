"""A model as it runs on a device: what is loaded is what was exported, and answers as it did."""

import json
import subprocess
import sys

import example_bundle
import hailort_stub
import numpy as np
import pytest
from example_bundle import VERSION, bundle, example, vectors, write_bundle

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
    """A bundle whose one file is another, or is not there."""
    kept = {key: value for key, value in documents.items() if key != name}
    return kept if data is None else {**kept, name: data}


def sealed(documents: dict[str, bytes], **record) -> dict[str, bytes]:
    """A bundle whose digests fit, whatever is in it."""
    stated = versions.parse_document(documents[filenames.BUNDLE], bundle_loader.BundleRecord, "bundle.json")
    plain = {k: v for k, v in documents.items() if k not in (filenames.BUNDLE, filenames.SUMS)}
    return bundle_archive.sealed(stated.model_copy(update=record), plain, None)


# What is loaded


def test_it_answers_as_torch_did_on_the_whole_held_out_part(released) -> None:
    """predictions.npz was made by torch; the same windows give the same logits within 1e-5, and the same codes."""
    recorded = npz.read_npz(VERSION / filenames.PREDICTIONS)
    answers = [released.infer(window) for window in example().test.x]

    np.testing.assert_allclose([a.logits for a in answers], recorded["logits"], atol=1e-5, rtol=1e-5)
    np.testing.assert_array_equal([a.code_index for a in answers], recorded["code"])


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_a_bundle_answers_as_the_version(released, tmp_path, form) -> None:
    """As a folder, or packed."""
    path = tmp_path / "hailo8.tar.gz"
    path.write_bytes(bundle_archive.pack(bundle()))
    place = write_bundle(tmp_path / "hailo8") if form == "folder" else path
    window = example().test.x[5]

    with Pipeline.load(place) as pipeline:
        np.testing.assert_array_equal(pipeline.infer(window).logits, released.infer(window).logits)


def test_what_bundle_json_does_not_list_is_not_read(tmp_path) -> None:
    """The compiler leaves its own files beside it."""
    folder = write_bundle(tmp_path / "hailo8")
    (folder / "network.hef").write_bytes(b"not listed")

    assert bundle_loader.read_export(folder).hef is None


@pytest.mark.parametrize("name", sorted(bundle()))
@pytest.mark.parametrize("how", ["flipped", "missing"])
def test_a_changed_bundle_is_refused(tmp_path, name, how) -> None:
    """Whichever of its files lost a bit, or is not there."""
    data = bundle()[name]
    flipped = bytes([data[0] ^ 1]) + data[1:]
    path = tmp_path / "bundle.tar.gz"
    path.write_bytes(bundle_archive.pack(changed(bundle(), name, flipped if how == "flipped" else None)))

    with pytest.raises((VerificationFailed, InputError), match=r"nothing was started|not strict JSON|nothing to run"):
        Pipeline.load(path)


def copied(folder, names) -> None:
    """A part of the released version, as `pull` may leave it."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((VERSION / name).read_bytes())


NEEDED = (
    *("manifest.json", "sha256sum.txt", "model_config.json", "normalization.json"),
    *(f"onnx/{name}" for name in ("encoder.onnx", "head.onnx", "model.onnx", "parity.json")),
)


def test_a_version_needs_no_more_than_its_graphs_and_documents(tmp_path) -> None:
    """No checkpoint and no predictions."""
    copied(tmp_path / "v0.2.0", NEEDED)

    with Pipeline.load(tmp_path / "v0.2.0") as pipeline:
        assert pipeline.name == "conv2d_fsq@v0.2.0"


@pytest.mark.parametrize("name", NEEDED[1:])
def test_a_changed_version_is_refused(tmp_path, name) -> None:
    """Exit 4, with the file that is not what the manifest says."""
    copied(tmp_path / "v0.2.0", NEEDED)
    path = tmp_path / "v0.2.0" / name
    path.write_bytes(path.read_bytes() + b" ")

    with pytest.raises(VerificationFailed) as caught:
        Pipeline.load(tmp_path / "v0.2.0")
    assert [problem.where for problem in caught.value.problems] == [name]


def as_version(folder, targets=("hailo8",)):
    """A version that holds packed bundles and nothing else, as `pull --only bundle` leaves it."""
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


def test_a_version_with_its_bundle_alone_is_run_from_it(tmp_path) -> None:
    """What `modelreg pull --only bundle` brings is enough."""
    assert bundle_loader.read_export(as_version(tmp_path / "v0.2.0")).hef == example_bundle.hef()


def test_a_packed_bundle_is_held_against_the_manifest(tmp_path) -> None:
    """Before it is opened."""
    folder = as_version(tmp_path / "v0.2.0")
    (folder / "hailo8/bundle.tar.gz").write_bytes(bundle_archive.pack(bundle()))

    with pytest.raises(VerificationFailed, match=r"hailo8/bundle.tar.gz: has sha256"):
        bundle_loader.read_export(folder, compiled=True)


def test_of_several_bundles_one_must_be_named(tmp_path) -> None:
    """An 8L takes no HEF of an 8: nobody guesses."""
    with pytest.raises(InputError, match=r"name one of them: .*hailo8/bundle.tar.gz, .*hailo8l/bundle.tar.gz"):
        bundle_loader.read_export(as_version(tmp_path / "v0.2.0", ("hailo8", "hailo8l")), compiled=True)


def test_a_bundle_that_was_not_pulled_is_named(tmp_path) -> None:
    """With the command that brings it."""
    folder = as_version(tmp_path / "v0.2.0")
    (folder / "hailo8/bundle.tar.gz").unlink()

    with pytest.raises(InputError, match="--only bundle"):
        bundle_loader.read_export(folder)


@pytest.mark.parametrize("place", ["empty", "version", "old"])
def test_where_nothing_can_be_run_it_says_why(tmp_path, place) -> None:
    """An empty folder, a version without a bundle for a device, a bundle of modelreg 0.2."""
    folder = {"empty": tmp_path, "version": VERSION, "old": tmp_path / "old"}[place]
    if place == "old":
        write_bundle(folder, sealed(changed(bundle(), filenames.MODEL_CONFIG, None)))

    with pytest.raises(InputError, match=r"no bundle \(a folder|has no bundle for a Hailo device|modelreg 0.2"):
        bundle_loader.read_export(folder, compiled=place == "version")


def test_a_bundle_with_wrong_digests_throughout_is_still_refused(tmp_path) -> None:
    """Another model's head, sealed again: its graph takes other tensors."""
    odd = sealed({**bundle(), "head.onnx": bundle()["model.onnx"]})

    with pytest.raises(VerificationFailed, match=r"head.onnx: takes and gives other tensors"):
        Pipeline.load(write_bundle(tmp_path / "odd", odd))


def test_a_bundle_that_lists_no_graph_is_refused(tmp_path) -> None:
    """All that is missing at once."""
    short = sealed({k: v for k, v in bundle().items() if k not in ("head.onnx", "parity.json")})

    with pytest.raises(VerificationFailed) as caught:
        Pipeline.load(write_bundle(tmp_path / "short", short))
    assert {problem.where for problem in caught.value.problems} == {"head.onnx", "parity.json"}


def test_an_archive_of_something_else_is_refused(tmp_path) -> None:
    """A .tar.gz without bundle.json."""
    path = tmp_path / "x.tar.gz"
    path.write_bytes(bundle_archive.pack({"a.txt": b"a"}))

    with pytest.raises(InputError, match=r"holds no bundle.json"):
        bundle_loader.read_export(path)


# Test vectors


def with_vectors(change) -> dict[str, bytes]:
    """A sealed bundle with other test vectors."""
    arrays = {name: array.copy() for name, array in vectors().items()}
    change(arrays)
    return sealed({**bundle(), "test_vectors.npz": npz.npz_bytes(arrays)})


@pytest.mark.parametrize("name", ["projection", "code", "logits"])
def test_a_runtime_that_answers_otherwise_does_not_start(tmp_path, name) -> None:
    """A last bit more than the tolerance, in one number of one window."""

    def change(arrays) -> None:
        arrays[name][3, 0] += 0.01

    with pytest.raises(VerificationFailed) as caught:
        Pipeline.load(write_bundle(tmp_path / "odd", with_vectors(change)))
    assert [problem.where for problem in caught.value.problems] == [name]


def test_test_vectors_must_fit_the_model(tmp_path) -> None:
    """In shape and type."""
    odd = with_vectors(lambda arrays: arrays.update(logits=arrays["logits"].astype(np.float64)))

    with pytest.raises(VerificationFailed, match="logits: must be float32"):
        Pipeline.load(write_bundle(tmp_path / "odd", odd))


def test_without_test_vectors_the_graphs_are_held_against_each_other(tmp_path) -> None:
    """v0.2.0 has none: an encoder of other weights is found by the whole graph."""
    encoder = bytearray(bundle()["encoder.onnx"])
    place = len(encoder) // 2
    encoder[place : place + 400] = bytes(400)
    plain = {k: v for k, v in bundle().items() if k != "test_vectors.npz"}

    with pytest.raises(VerificationFailed, match="does not answer as it was exported"):
        Pipeline.load(write_bundle(tmp_path / "odd", sealed({**plain, "encoder.onnx": bytes(encoder)})))


def test_a_graph_that_is_none_is_refused() -> None:
    """In ONNX Runtime's own words."""
    with pytest.raises(InputError, match="ONNX Runtime takes no such graph"):
        ort_session.session(b"not a graph")


# Windows


@pytest.mark.parametrize(
    ("window", "what"),
    [
        (np.zeros((6, 1, 99), np.float32), "must be (6, 1, 100)"),
        (np.full((6, 1, 100), np.nan, np.float32), "has a missing value at ax, row 0, step 0"),
        (np.full((6, 1, 100), 3e38, np.float32), "the network's own overflow"),
        (np.full((6, 1, 100), np.inf, np.float32), "has a missing value at ax, row 0, step 0"),
    ],
    ids=["shape", "nan", "overflow", "inf"],
)
def test_what_is_no_window_is_refused(released, window, what) -> None:
    """With the first place that breaks the rule."""
    with pytest.raises(InputError) as caught:
        released.infer(window)
    assert what in str(caught.value)


def limited(tmp_path, low: float, high: float) -> Pipeline:
    """The example with limits of its first channel."""
    scale = json.loads(bundle()[filenames.NORMALIZATION])
    scale["limits"]["channels"] = {"ax": [low, high]}
    documents = sealed({**bundle(), filenames.NORMALIZATION: files.to_json(scale)})
    return Pipeline.load(write_bundle(tmp_path / "limited", documents))


def test_a_value_that_the_sensor_cannot_give_is_refused(tmp_path) -> None:
    """The limits are those of normalization.json."""
    window = np.zeros((6, 1, 100), np.float32)
    window[0, 0, 50] = 17
    with limited(tmp_path, -16, 16) as pipeline, pytest.raises(InputError, match="limits are -16 and 16"):
        pipeline.infer(window)


def test_the_label_is_the_most_probable_class(released) -> None:
    """And probabilities add up to 1."""
    answer = released.infer(example().test.x[0])

    assert (answer.label, answer.members) == (int(answer.logits.argmax()), None)
    assert answer.probabilities.sum() == pytest.approx(1)


# Streams


def test_a_stream_answers_each_window(released) -> None:
    """As if they had been cut offline."""
    samples = np.concatenate([window[:, 0].T for window in example().test.x[::2][:4]])
    events = released.stream(100, Majority(3)).push(samples)
    expected = [released.infer(samples[s : s + 100].T[:, None]).label for s in (0, 100, 200, 300)]

    assert [(e.start, e.answer.label) for e in events] == list(zip((0, 100, 200, 300), expected, strict=True))


def test_a_stream_tells_what_it_cannot_answer(tmp_path) -> None:
    """Missing values, and values out of limits."""
    samples = np.zeros((300, 6), np.float32)
    samples[150, 3], samples[250, 0] = np.nan, 99
    with limited(tmp_path, -16, 16) as pipeline:
        events = pipeline.stream(100).push(samples)

    assert [type(event) for event in events] == [Prediction, Missing, Refused]


def test_smoothing_begins_anew_where_the_clock_jumps(released) -> None:
    """What was shown before says nothing of now."""
    stream = released.stream(100, Majority(5))
    time = np.concatenate([1000 + np.arange(300) / 50, np.arange(100) / 50])
    samples = np.concatenate([*(example().test.x[0][:, 0].T for _ in range(3)), example().test.x[-1][:, 0].T])
    *_, jump, last = stream.push(samples, time=time)

    assert (type(jump), last.state) == (ClockJump, last.answer.label)


@pytest.mark.parametrize(("hole", "shown"), [(400, 0), (500, 1)], ids=["bridged", "ended"])
def test_smoothing_ends_at_a_hole_that_offline_ends_a_stream_too(released, hole, shown) -> None:
    """Four windows left out are bridged; of more, nobody knows what was in them."""
    first, last = (example().test.x[n][:, 0].T for n in (0, -1))
    samples = np.concatenate([first, first, first, np.full((hole, 6), np.nan, np.float32), last])
    *_, event = released.stream(100, Majority(5)).push(samples)
    labels = [released.infer(example().test.x[n]).label for n in (0, -1)]

    assert event.state == labels[shown]


def test_without_a_smoother_there_is_no_state(released) -> None:
    """The answers stand alone."""
    (event,) = released.stream(100).push(np.zeros((100, 6), np.float32))

    assert event.state is None


# A Hailo device, as far as the stub knows one


def test_a_device_answers_within_its_noise(compiled, monkeypatch) -> None:
    """8 bits at both ends: the projection is near, and channels went where they belong."""
    hailort_stub.install(monkeypatch)
    with Pipeline.load(compiled, "hailo") as device, Pipeline.load(compiled) as host:
        windows = example().test.x[:8]
        found = np.stack([device.infer(window).projection for window in windows])
        expected = np.stack([host.infer(window).projection for window in windows])

    assert 20 < snr_db(expected, found) < 60


def test_the_chip_is_fed_raw_windows_where_it_normalizes(tmp_path, monkeypatch) -> None:
    """The stub takes normalized ones: fed raw ones it is far off, and is not started."""
    hailort_stub.install(monkeypatch)
    documents = bundle(compiled=True, normalization="chip")

    with pytest.raises(VerificationFailed, match="dB between the chip's answers and torch's"):
        Pipeline.load(write_bundle(tmp_path / "chip", documents), "hailo")


def test_a_hef_that_clips_is_not_started(tmp_path, monkeypatch) -> None:
    """As one calibrated on random numbers in [0, 1)."""
    hailort_stub.install(monkeypatch)
    documents = bundle(compiled=True, span=0.2)

    with pytest.raises(VerificationFailed, match="at least 10 dB are wanted"):
        Pipeline.load(write_bundle(tmp_path / "clips", documents), "hailo")


@pytest.mark.parametrize("fault", ["no_device", "in_use", "wrong_arch"])
def test_a_device_that_cannot_be_had_is_told(compiled, monkeypatch, fault) -> None:
    """In HailoRT's words, and nothing stays held."""
    module = hailort_stub.install(monkeypatch, **{fault: 1})

    with pytest.raises(BackendError, match="HAILO_"):
        Pipeline.load(compiled, "hailo")
    assert module.held == 0


def test_a_device_that_hangs_is_told(compiled, monkeypatch) -> None:
    """After the time-out; the next window may be answered."""
    hailort_stub.install(monkeypatch, hang=17)
    with Pipeline.load(compiled, "hailo") as pipeline:
        with pytest.raises(BackendError, match="Timeout of 1000 ms"):
            pipeline.infer(example().test.x[0])

        assert pipeline.infer(example().test.x[0]).label >= 0


def test_the_device_is_given_back(compiled, monkeypatch) -> None:
    """At the end, and where the test vectors fail."""
    module = hailort_stub.install(monkeypatch)
    with Pipeline.load(compiled, "hailo"):
        assert module.held == 1
    assert module.held == 0


def test_a_hef_of_another_shape_is_refused(tmp_path, monkeypatch) -> None:
    """Before anything is computed."""
    hailort_stub.install(monkeypatch)
    shapes = backends.Shapes((9, 2, 100), 5)

    with pytest.raises(InputError, match="compiled of another model"):
        backends.Hailo(example_bundle.hef(), shapes)


def test_without_hailort_the_way_to_it_is_told(compiled) -> None:
    """It is on no package index."""
    with pytest.raises(BackendError, match="apt install hailo-all"):
        Pipeline.load(compiled, "hailo")


def test_a_bundle_without_a_hef_is_told(tmp_path) -> None:
    """With the next step."""
    with pytest.raises(InputError, match="modelreg hef attach"):
        Pipeline.load(write_bundle(tmp_path / "hailo8"), "hailo")


# Weight


def test_no_torch_and_no_schemas_are_loaded() -> None:
    """Nor anything else that is slow."""
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


def test_a_run_is_run_as_it_was_exported(tmp_path) -> None:
    """Its graphs and its normalization are those that were sealed."""
    run = tmp_path / "conv2d_fsq-001"
    copied(run, ("onnx/parity.json", "normalization.json", "run.json"))
    for name, data in example().graphs.items():
        (run / "onnx" / name).write_bytes(data)

    with Pipeline.load(run) as pipeline:
        assert (pipeline.name, pipeline.package.version) == ("conv2d_fsq", None)


def test_a_changed_run_is_refused(tmp_path) -> None:
    """Graphs by parity.json, the normalization by run.json."""
    run = tmp_path / "conv2d_fsq-001"
    copied(run, ("onnx/parity.json", "normalization.json", "run.json", *NEEDED[4:7]))
    (run / "normalization.json").write_bytes(b"{}")

    with pytest.raises(VerificationFailed) as caught:
        bundle_loader.read_export(run)
    assert [p.where for p in caught.value.problems] == [*NEEDED[4:7], "normalization.json"]


@pytest.mark.parametrize("compiled", [False, True], ids=["graphs", "hef"])
def test_a_run_that_was_not_exported_is_told(tmp_path, compiled) -> None:
    """With the command that exports it."""
    copied(tmp_path / "run", ("run.json",))

    with pytest.raises(InputError, match="modelreg export"):
        bundle_loader.read_export(tmp_path / "run", compiled=compiled)


def test_a_run_has_its_bundle(tmp_path) -> None:
    """In the folder of the target."""
    run = tmp_path / "conv2d_fsq-001"
    copied(run, ("run.json",))
    write_bundle(run / "hailo8", bundle(compiled=True))

    assert bundle_loader.read_export(run, compiled=True).hef == example_bundle.hef()


def test_an_npz_is_read_from_memory() -> None:
    """With the same care as from a file."""
    with pytest.raises(InputError, match=r"test_vectors.npz: not an .npz"):
        npz.parse_npz(b"PK", "test_vectors.npz")
