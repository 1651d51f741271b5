"""Run a bundle's compile.py against a stub of the compiler: its calls, its errors and its output files."""

import hashlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import hailo_stub
import numpy as np
import pytest
import untraced

from modelreg.records.export import BundleRecord, CalibrationRecord, Tensor, Toolchain
from modelreg.records.model import Channel

TEMPLATES = Path(__file__).parents[1] / "modelreg" / "export" / "templates"
C, D, T, FEATURES = 3, 2, 16, 4
MEAN, STD = np.float32([0.5, 9.0, -1.0])[:, None, None], np.float32([2.0, 3.0, 4.0])[:, None, None]
BUNDLE, COMPILER, PARSER, NETWORK, SDK, LOSS = 3, 4, 5, 6, 7, 8


@pytest.fixture(scope="session")
def encoder() -> bytes:
    """Conv, Relu, GlobalAveragePool, Flatten, Gemm with weights of a fixed seed."""
    from onnx import TensorProto, checker, helper, numpy_helper

    random = np.random.default_rng(1)
    weights = {"w1": (8, C, 1, 3), "b1": (8,), "w2": (FEATURES, 8), "b2": (FEATURES,)}
    nodes = [
        helper.make_node("Conv", ["windows", "w1", "b1"], ["c"], "conv1", pads=[0, 1, 0, 1]),
        helper.make_node("Relu", ["c"], ["r"], "relu1"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], "globalaveragepool1"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten1"),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["projection"], "gemm1", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("windows", TensorProto.FLOAT, [1, C, D, T])],
        [helper.make_tensor_value_info("projection", TensorProto.FLOAT, [1, FEATURES])],
        [numpy_helper.from_array(random.normal(size=s).astype(np.float32), name) for name, s in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model, full_check=True)
    return model.SerializeToString()


def project(encoder: bytes, windows: np.ndarray) -> np.ndarray:
    """The projections of the graph, without the stub."""
    import onnxruntime

    session = onnxruntime.InferenceSession(encoder, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"windows": window[None]})[0] for window in windows])


def draw(count: int, seed: int) -> np.ndarray:
    """Raw windows (N, C, D, T), each at a different level, so that the projections differ."""
    random = np.random.default_rng(seed)
    standard = random.normal(size=(count, C, 1, 1)) + 0.5 * random.normal(size=(count, C, D, T))
    return (standard * STD + MEAN).astype(np.float32)


def normalize(windows: np.ndarray) -> np.ndarray:
    """Normalize windows as in training."""
    return ((windows - MEAN) / STD).astype(np.float32)


def script(normalization: str, count: int, more: str = "") -> str:
    """The model script of a bundle."""
    numbers = ", ".join(str(list(map(float, values.ravel()))) for values in (MEAN, STD))
    on_chip = f"normalization1 = normalization({numbers})\n" if normalization == "chip" else ""
    return (
        f"{on_chip}model_optimization_config(calibration, batch_size=8, calibset_size={count})\n"
        f"model_optimization_flavor(optimization_level=1, compression_level=0)\n{more}"
    )


def npy(values: np.ndarray) -> bytes:
    """An array as the bytes of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


class Bundle:
    """A bundle of a tiny encoder and an installed stub; change `files` and `document` before `run`."""

    def __init__(self, folder: Path, encoder: bytes, normalization: str = "host", **knobs: object) -> None:
        self.folder, self.stub = folder / "bundle", hailo_stub.install(folder / "stub", **knobs)
        self.folder.mkdir(parents=True)
        raw, vectors = draw(128, 2), draw(16, 3)
        fed = raw if normalization == "chip" else normalize(raw)
        self.calibration: np.ndarray = fed.transpose(0, 2, 3, 1).copy()
        self.vectors = {"windows_raw": vectors, "windows": normalize(vectors)}
        self.vectors["projection"] = project(encoder, self.vectors["windows"])
        self.files = {"encoder.onnx": encoder, "model_script.alls": script(normalization, len(raw)).encode()}
        for name in ("compile.py", "compile.sh"):
            self.files[name] = (TEMPLATES / name).read_bytes()
        self.document = self._describe(normalization).to_document()

    def _describe(self, normalization: str) -> BundleRecord:
        return BundleRecord(
            model="tiny",
            version=None,
            hw_arch="hailo8",
            network="tiny",
            toolchain=Toolchain(dataflow_compiler=">=3.31,<4", hailort=">=4.21,<5"),
            checkpoint_sha256="0" * 64,
            normalization_sha256="0" * 64,
            classes=("rest", "walk"),
            channels=tuple(Channel(name=f"acc_{axis}", unit="m/s2") for axis in "xyz"),
            devices=("watch", "phone"),
            input=Tensor(name="windows", shape=(1, C, D, T)),
            output=Tensor(name="projection", shape=(1, FEATURES)),
            device_input=(D, T, C),
            normalization=normalization,
            optimization_level=1,
            min_snr_db=10.0,
            calibration=CalibrationRecord(
                shape=self.calibration.shape,
                values="raw" if normalization == "chip" else "normalized",
                class_windows={"rest": 64, "walk": 64},
                low=(0.0,) * C,
                high=(0.0,) * C,
                sha256="0" * 64,
            ),
            opset=17,
            files={},
        )

    def write(self) -> None:
        """Write all files, and their digests into bundle.json and sha256sum.txt."""
        buffer = io.BytesIO()
        np.savez(buffer, **self.vectors)
        self.files |= {"calibration.npy": npy(self.calibration), "test_vectors.npz": buffer.getvalue()}
        self.document["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in self.files.items()}
        self.files["bundle.json"] = json.dumps(self.document).encode()
        sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in self.files.items())
        for name, data in {**self.files, "sha256sum.txt": sums.encode()}.items():
            (self.folder / name).write_bytes(data)

    def start(self, *command: str, stub: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the written bundle."""
        kept = {key: value for key, value in untraced.environment().items() if key != "PYTHONPATH"}
        environment = {**kept, "PYTHON": sys.executable, **({"PYTHONPATH": str(self.stub)} if stub else {})}
        return subprocess.run(
            command or (sys.executable, "compile.py"),
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def run(self) -> tuple[int, str]:
        """Write the bundle, compile it, and return exit code and errors."""
        self.write()
        done = self.start()
        return done.returncode, done.stderr

    def calls(self) -> list[dict[str, object]]:
        """The calls that the stub recorded."""
        return hailo_stub.protocol(self.stub)

    def written(self) -> set[str]:
        """The files that compile.py wrote."""
        return {path.name for path in self.folder.iterdir()} - self.files.keys() - {"sha256sum.txt"}

    def report(self) -> dict[str, object]:
        """compile_report.json."""
        return json.loads((self.folder / "compile_report.json").read_text())


@pytest.fixture
def make(tmp_path, encoder):
    """Return a function that makes a bundle; keywords are its normalization and the stub's knobs."""
    return lambda **choices: Bundle(tmp_path, encoder, **choices)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory, encoder) -> Bundle:
    """A compiled bundle."""
    bundle = Bundle(tmp_path_factory.mktemp("compiled"), encoder)
    assert bundle.run() == (0, "")
    return bundle


def test_success_writes_three_files(compiled) -> None:
    """HEF, HAR and report, and no incomplete file."""
    assert compiled.written() == {"tiny.hef", "tiny_optimized.har", "compile_report.json"}


@pytest.mark.parametrize(("windows", "few"), [(128, True), (1024, False)])
def test_fewer_windows_than_the_compiler_recommends_are_named(make, windows, few) -> None:
    """Next to the compiler's own messages."""
    bundle = make()
    bundle.calibration = np.resize(bundle.calibration, (windows, *bundle.calibration.shape[1:]))
    bundle.document["calibration"]["shape"][0] = windows
    bundle.files["model_script.alls"] = script("host", windows).encode()
    bundle.write()
    done = bundle.start()

    assert (done.returncode, "recommends at least 1024 calibration windows" in done.stdout) == (0, few)


def test_the_report_names_the_hef_by_digest(compiled) -> None:
    """The report identifies the HEF that was measured."""
    digest = hashlib.sha256((compiled.folder / "tiny.hef").read_bytes()).hexdigest()

    assert compiled.report()["files"]["tiny.hef"] == digest


def test_the_report_has_the_measurements(compiled) -> None:
    """Quantization loss, error and optimization level."""
    report = compiled.report()

    assert (report["snr_db"]["overall"] > 25, report["native_error"] < 1e-5, report["optimization_level"]) == (
        True,
        True,
        1,
    )


def test_calls_are_made_in_order(compiled) -> None:
    """Parse, compare, quantize, measure, save, compile: each once."""
    expected = "import ClientRunner translate_onnx_model infer load_model_script optimize infer save_har compile"

    assert [call["call"] for call in compiled.calls()] == expected.split()


def test_windows_are_passed_channels_last(compiled) -> None:
    """The compiler always expects (N, H, W, C), float32."""
    given = [(call["shape"], call["dtype"]) for call in compiled.calls() if "shape" in call]

    assert given == [([16, D, T, C], "float32"), ([128, D, T, C], "float32"), ([16, D, T, C], "float32")]


def test_the_whole_graph_is_translated(compiled) -> None:
    """With the input shape and without end nodes."""
    call = next(call for call in compiled.calls() if call["call"] == "translate_onnx_model")

    assert (call["net_input_shapes"], call["end_node_names"]) == ({"windows": [1, C, D, T]}, None)


def test_tensorflow_is_not_loaded_before_the_compiler(compiled) -> None:
    """Hailo's client must come first."""
    assert compiled.calls()[0]["tensorflow_loaded"] is False


def test_a_chip_that_normalizes_receives_raw_windows(make) -> None:
    """The loss is measured after the normalization on the chip."""
    bundle = make(normalization="chip")

    assert (bundle.run(), bundle.report()["snr_db"]["overall"] > 25) == ((0, ""), True)


def test_a_second_run_replaces_the_first(make) -> None:
    """The HEF is the new one."""
    bundle = make()
    bundle.write()
    (bundle.folder / "tiny.hef").write_bytes(b"old")

    assert (bundle.start().returncode, (bundle.folder / "tiny.hef").read_bytes()[:4]) == (0, b"\x01HEF")


def test_compile_sh_compiles(make) -> None:
    """It checks sha256sum.txt and runs compile.py, from any working directory."""
    bundle = make()
    bundle.write()

    assert bundle.start("sh", str(bundle.folder / "compile.sh")).returncode == 0


def test_compile_sh_stops_at_a_damaged_file(make) -> None:
    """The compiler is not called."""
    bundle = make()
    bundle.write()
    (bundle.folder / "compile.py").write_bytes(b"")

    assert (bundle.start("sh", "compile.sh").returncode, bundle.calls()) == (1, [])


def test_compile_sh_shows_only_real_flags() -> None:
    """Those of the documented command line."""
    real = {
        "parser": {"--net-name", "--hw-arch", "--tensor-shapes", "--har-path"},
        "optimize": {"--hw-arch", "--calib-set-path", "--model-script", "--output-har-path"},
        "compiler": {"--hw-arch", "--output-dir"},
    }
    text = (TEMPLATES / "compile.sh").read_text().replace("\\\n#", "")
    shown = {
        line.split()[2]: set(re.findall(r" (-{1,2}[a-z-]+)", line))
        for line in text.splitlines()
        if "# " + "  hailo" in line
    }

    assert shown == real


def test_arguments_are_refused(make) -> None:
    """The script has no options."""
    bundle = make()
    bundle.write()

    assert bundle.start(sys.executable, "compile.py", "-y").returncode == 2


@pytest.mark.parametrize("name", ["encoder.onnx", "calibration.npy", "test_vectors.npz", "compile.sh"])
def test_a_damaged_file_is_named(make, name) -> None:
    """One flipped bit in any file is enough."""
    bundle = make()
    bundle.write()
    data = bytearray((bundle.folder / name).read_bytes())
    data[-1] ^= 1
    (bundle.folder / name).write_bytes(data)
    done = bundle.start()

    assert (done.returncode, f"{name}: digest mismatch" in done.stderr) == (BUNDLE, True)


def test_a_missing_file_is_named(make) -> None:
    """bundle.json lists it."""
    bundle = make()
    bundle.write()
    (bundle.folder / "model_script.alls").unlink()
    done = bundle.start()

    assert (done.returncode, "model_script.alls: file not found" in done.stderr) == (BUNDLE, True)


def within(name: str, **values: object):
    """Return a change of one field of bundle.json."""
    return lambda document: document | {name: document[name] | values}


CHANNELS_FIRST = (0, 3, 1, 2)
CONTRADICTIONS = {
    "nchw": {"calibration": lambda values: values.transpose(CHANNELS_FIRST)},
    "nchw stated": {
        "calibration": lambda values: values.transpose(CHANNELS_FIRST),
        "document": within("calibration", shape=[128, C, D, T]),
    },
    "float64": {"calibration": lambda values: values.astype(np.float64)},
    "not finite": {"calibration": lambda values: np.where(values == values.max(), np.float32(np.nan), values)},
    "device input": {"document": lambda document: document | {"device_input": [C, D, T]}},
    "normalized twice": {"files": lambda files: files | {"model_script.alls": script("chip", 128).encode()}},
    "values": {"document": within("calibration", values="raw")},
    "count": {"files": lambda files: files | {"model_script.alls": script("host", 64).encode()}},
    "level": {"document": lambda document: document | {"optimization_level": 2}},
    "schema": {"document": lambda document: document | {"schema_version": 2}},
    "no network": {"document": lambda document: {k: v for k, v in document.items() if k != "network"}},
    "text for a number": {"document": lambda document: document | {"min_snr_db": "10"}},
    "vectors": {"vectors": lambda vectors: vectors | {"projection": vectors["projection"][:, :2]}},
}


def change(bundle: Bundle, changes: dict[str, object]) -> None:
    """Apply changes to parts of a bundle; `write` updates the digests."""
    for name, become in changes.items():
        setattr(bundle, name, become(getattr(bundle, name)))


@pytest.mark.parametrize("key", CONTRADICTIONS)
def test_a_bundle_that_contradicts_itself_is_refused(make, key) -> None:
    """Before the compiler is loaded."""
    bundle = make()
    change(bundle, CONTRADICTIONS[key])

    assert (bundle.run()[0], bundle.calls()) == (BUNDLE, [])


# Every digest, shape and field is consistent; only the values are wrong.
WRONG_VALUES = {
    "never normalized": (BUNDLE, "host", lambda values: values * STD.ravel() + MEAN.ravel()),
    "normalized twice": (LOSS, "host", lambda values: (values - MEAN.ravel()) / STD.ravel()),
    "normalized before the chip does": (BUNDLE, "chip", lambda values: (values - MEAN.ravel()) / STD.ravel()),
    "random, host": (LOSS, "host", lambda values: np.random.default_rng(0).random(values.shape, dtype=np.float32)),
    "random, chip": (BUNDLE, "chip", lambda values: np.random.default_rng(0).random(values.shape, dtype=np.float32)),
}


@pytest.mark.parametrize("key", WRONG_VALUES)
def test_wrong_calibration_is_found(make, key) -> None:
    """By the statistics of the windows, or by the quantization loss."""
    code, normalization, become = WRONG_VALUES[key]
    bundle = make(normalization=normalization)
    change(bundle, {"calibration": become})

    assert (bundle.run()[0], bundle.written()) == (code, set())


def test_nearly_equal_raw_and_normalized_windows_are_accepted(make, encoder) -> None:
    """Neither is mistaken for the other."""
    bundle = make()
    bundle.vectors["windows_raw"] = bundle.vectors["windows"] * np.float32(1.01)

    assert bundle.run() == (0, "")


def test_another_normalization_on_the_chip_shows_as_loss(make) -> None:
    """The mean in the script differs from that of the training."""
    bundle = make(normalization="chip")
    bundle.files["model_script.alls"] = bundle.files["model_script.alls"].replace(
        b"[0.5, 9.0, -1.0]", b"[0.0, 0.0, 0.0]"
    )

    assert bundle.run()[0] == LOSS


def test_channels_with_different_ranges_cannot_be_normalized_on_the_chip(make, encoder) -> None:
    """Pressure in pascal and acceleration share one 8-bit scale, which is too coarse for the acceleration."""
    bundle = make(normalization="chip")
    far = np.float32([1.0, 1.0, 1e4])
    bundle.calibration = bundle.calibration * far
    bundle.vectors["windows_raw"] = bundle.vectors["windows_raw"] * far[:, None, None]
    bundle.files["model_script.alls"] = (
        script("chip", 128).replace("-1.0]", "-10000.0]").replace("4.0]", "40000.0]").encode()
    )

    assert bundle.run()[0] == LOSS


@pytest.mark.parametrize("windows", ["windows_raw", "twice"])
def test_test_vectors_without_the_training_normalization_fail_the_native_check(make, windows) -> None:
    """Raw windows, or windows that are normalized twice."""
    bundle = make()
    wrong = {"windows_raw": bundle.vectors["windows_raw"], "twice": normalize(bundle.vectors["windows"])}
    bundle.vectors["windows"] = wrong[windows]

    assert (bundle.run()[0], bundle.calls()[-1]["call"]) == (NETWORK, "infer")


def test_swapped_rows_and_timesteps_fail_the_native_check(make) -> None:
    """The shape is right, the layout is not."""
    bundle = make()
    bundle.vectors["windows"] = bundle.vectors["windows"].reshape(16, C, T, D).transpose(0, 1, 3, 2).copy()

    assert bundle.run()[0] == NETWORK


def test_a_parser_that_misreads_weights_is_found(make) -> None:
    """Its native outputs differ."""
    assert make(misread=True).run()[0] == NETWORK


@pytest.mark.parametrize("hn", ["nchw", "shapeless", "two_outputs"])
def test_a_parsed_network_with_other_inputs_or_outputs_is_refused(make, hn) -> None:
    """A shape that the parser does not report is not guessed."""
    bundle = make(hn=hn)

    assert (bundle.run()[0], bundle.calls()[-1]["call"]) == (NETWORK, "translate_onnx_model")


@pytest.mark.parametrize(("arch", "word"), [("hailo10h", "5.x"), ("hailo15m", "5.x"), ("hailo9", "unknown")])
def test_a_chip_of_another_line_is_refused(make, arch, word) -> None:
    """Before the compiler is loaded, with the reason."""
    bundle = make()
    bundle.document["hw_arch"] = arch
    code, errors = bundle.run()

    assert (code, arch in errors and word in errors, bundle.calls()) == (COMPILER, True, [])


@pytest.mark.parametrize("version", ["5.2.0", "3.28.0", "4.0", "unknown"])
def test_a_compiler_that_does_not_fit_is_refused(make, version) -> None:
    """It is for other chips, too old, or has no readable version."""
    bundle = make(version=version)
    code, errors = bundle.run()

    assert (code, version in errors, [call["call"] for call in bundle.calls()]) == (COMPILER, True, ["import"])


@pytest.mark.parametrize("version", ["3.31.0", "3.33.1", "3.34.0"])
def test_compilers_in_the_range_are_accepted(make, version) -> None:
    """From the oldest to the newest."""
    assert make(version=version).run() == (0, "")


def test_without_a_compiler_the_message_names_the_download(make) -> None:
    """And the required version."""
    bundle = make()
    bundle.write()
    done = bundle.start(stub=False)

    assert (done.returncode, "hailo.ai" in done.stderr and ">=3.31,<4" in done.stderr) == (COMPILER, True)


@pytest.mark.parametrize("knob", ["recommend", "parser_error"])
def test_a_recommendation_of_the_parser_is_never_accepted(make, knob) -> None:
    """The cut stays, and the graph is translated once."""
    bundle = make(**{knob: True})
    code, errors = bundle.run()

    assert (code, "Do not move the cut" in errors, len(bundle.calls())) == (PARSER, True, 3)


@pytest.mark.parametrize("knob", ["bad_inputs_shape", "infeasible", "no_hef"])
def test_an_error_of_the_compiler_leaves_no_files(make, knob) -> None:
    """Exit 7."""
    bundle = make(**{knob: True})

    assert (bundle.run()[0], bundle.written()) == (SDK, set())


def test_a_model_script_with_an_unknown_layer_fails(make) -> None:
    """Only the parser can name a layer such as conv1."""
    bundle = make()
    bundle.files["model_script.alls"] = script(
        "host", 128, "quantization_param(conv1, precision_mode=a16_w16)\n"
    ).encode()

    assert bundle.run()[0] == SDK


def test_a_loss_above_the_limit_is_an_error(make) -> None:
    """The message has the limit, and nothing is compiled."""
    bundle = make()
    bundle.document["min_snr_db"] = 100.0
    code, errors = bundle.run()

    assert (code, "required 100 dB" in errors, bundle.calls()[-1]["call"]) == (LOSS, True, "infer")


def test_a_demoted_output_increases_the_loss(tmp_path, encoder) -> None:
    """The compiler silently uses 8 bits instead of the requested 16."""
    asked, demoted = (Bundle(tmp_path / name, encoder, demote=name == "demoted") for name in ("asked", "demoted"))
    for bundle in (asked, demoted):
        more = "quantization_param({*_layer1}, precision_mode=a16_w16)\n"
        bundle.files["model_script.alls"] = script("host", 128, more).encode()
        bundle.run()

    assert asked.report()["snr_db"]["overall"] > demoted.report()["snr_db"]["overall"] + 10


@pytest.mark.parametrize("place", ["compile", "fsync"])
def test_a_kill_keeps_the_earlier_hef(make, place) -> None:
    """The new HEF replaces it only when it is complete."""
    bundle = make(killed_in=place)
    bundle.write()
    (bundle.folder / "tiny.hef").write_bytes(b"old")

    assert (bundle.start().returncode, (bundle.folder / "tiny.hef").read_bytes()) == (137, b"old")


@pytest.mark.parametrize("place", ["compile", "fsync"])
def test_a_kill_leaves_no_incomplete_hef(make, place) -> None:
    """Neither a HEF nor a report."""
    bundle = make(killed_in=place)
    bundle.run()

    assert not {"tiny.hef", "compile_report.json"} & bundle.written()


# The stub itself: it refuses wrong calls, so the tests above would find them.


@pytest.fixture
def runner(tmp_path, encoder) -> hailo_stub.ClientRunner:
    """The stub, with the tiny encoder translated."""
    (tmp_path / "encoder.onnx").write_bytes(encoder)
    runner = hailo_stub.ClientRunner(hw_arch="hailo8")
    runner.translate_onnx_model(str(tmp_path / "encoder.onnx"), "tiny", net_input_shapes={"windows": [1, C, D, T]})
    return runner


def test_the_stub_refuses_channels_first(runner) -> None:
    """With the message of the real compiler."""
    with pytest.raises(hailo_stub.BadInputsShape, match=r"Data shape \(3, 2, 16\) for layer tiny/input_layer1 doesn't"):
        runner.optimize(normalize(draw(8, 0)))


def test_the_stub_refuses_to_compile_before_optimizing(runner) -> None:
    """It checks the order of calls."""
    with pytest.raises(hailo_stub.InvalidState, match="optimize"):
        runner.compile()


def test_the_stub_refuses_unknown_keywords(runner) -> None:
    """It has the documented signatures."""
    with pytest.raises(TypeError, match="calib_set"):
        runner.optimize(calib_set=draw(8, 0))


def test_the_stub_refuses_a_chip_of_another_line() -> None:
    """Compiler 3.x does not support hailo10h."""
    with pytest.raises(ValueError, match="hailo10h"):
        hailo_stub.ClientRunner(hw_arch="hailo10h")


@pytest.mark.parametrize(
    "line",
    [
        "quantize_everything()",
        "model_optimization_config(calibration, count=3)",
        "model_optimization_config(checker)",
        "quantization_param(fc1, precision_mode=a16_w16)",
        "pre_quantization_optimization(activation_clipping, layers=[conv1], mode=percentile)",
        "normalization1 = normalization([1.0, 2.0], [1.0])",
        "not a command",
    ],
)
def test_the_stub_refuses_unknown_lines_of_a_model_script(line) -> None:
    """Unknown commands, keywords and layers."""
    with pytest.raises(hailo_stub.ModelScriptError):
        list(hailo_stub.parse_script(line))


def test_the_stub_accepts_documented_lines_of_a_model_script() -> None:
    """Those of the factsheet."""
    lines = [
        "normalization1 = normalization([1.0, 2.0], [1.0, 2.0])",
        "post_quantization_optimization(finetune, policy=enabled, learning_rate=0.001, epochs=4)",
        "pre_quantization_optimization(activation_clipping, layers={conv*}, mode=percentile, clipping_values=[1, 99])",
        "quantization_param([input_layer1, output_layer1], precision_mode=a16_w16)  # both",
        "performance_param(compiler_optimization_level=max)",
    ]

    assert len(list(hailo_stub.parse_script("\n".join(lines)))) == len(lines)


def test_the_stub_requires_calibset_size_windows(runner) -> None:
    """A smaller calibration set is an error."""
    runner.load_model_script("model_optimization_config(calibration, calibset_size=9)")
    with pytest.raises(ValueError, match="9"):
        runner.optimize(normalize(draw(8, 0)).transpose(0, 2, 3, 1))


def test_the_stub_quantizes_as_the_host_does() -> None:
    """Half to even, clipped to the limits, 255 steps from -1 to 1."""
    limits = hailo_stub.Limits(np.array([-1.0, 1.0]))

    np.testing.assert_allclose(limits.through(np.array([-3.0, 0.0, 2 / 255, 3.0])), [-256 / 255, 0, 2 / 255, 254 / 255])
