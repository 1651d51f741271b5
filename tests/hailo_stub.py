"""A stub of Hailo's compiler: `hailo_sdk_client` with the documented signatures, which computes and quantizes.

`install` writes it as a package into a folder for PYTHONPATH, with knobs to fail in the documented ways. It records
every call in protocol.jsonl there. Signatures, calibration, model scripts and the arithmetic of quantization follow the
public documentation. The real compiler may differ.

Knobs: version, recommend (end nodes), parser_error, misread (the parsed weights are wrong), hn (nchw, shapeless,
two_outputs), bad_inputs_shape, demote (16-bit outputs become 8-bit), infeasible, no_hef, killed_in (compile, fsync).
"""

import ast
import fnmatch
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
KNOBS = json.loads((HERE / "knobs.json").read_text()) if (HERE / "knobs.json").exists() else {}
__version__ = KNOBS.get("version", "3.33.0")
ARCHITECTURES = {"3": ("hailo8", "hailo8l", "hailo8r"), "5": ("hailo10h", "hailo15h", "hailo15m", "hailo15l")}
DEFAULT_CALIBRATION = 64

# Section 3: command -> first words it may have (None: layers or numbers), keywords.
OPTIMIZERS = {"policy", "learning_rate", "epochs", "dataset_size", "batch_size"}
CLIPPING = {"policy", "layers", "mode", "clipping_values"}
COMMANDS: dict[str, dict[str | None, set[str]]] = {
    "normalization": {None: set()},
    "model_optimization_config": {"calibration": {"batch_size", "calibset_size"}},
    "model_optimization_flavor": {None: {"optimization_level", "compression_level"}},
    "post_quantization_optimization": {"bias_correction": {"policy"}, "finetune": OPTIMIZERS, "adaround": OPTIMIZERS},
    "pre_quantization_optimization": {
        "equalization": {"policy"},
        "activation_clipping": CLIPPING,
        "weights_clipping": CLIPPING,
        "global_avgpool_reduction": {"layers", "division_factors"},
    },
    "quantization_param": {None: {"precision_mode", "force_range_out"}},
    "change_output_activation": {None: set()},
    "logits_layer": {None: set()},
    "performance_param": {None: {"compiler_optimization_level"}},
    "context_switch_param": {None: {"mode"}},
    "resources_param": {
        None: {"max_control_utilization", "max_compute_utilization", "max_memory_utilization"},
    },
    "set_seed": {None: {"seed"}},
}


class ParsingWithRecommendationException(Exception):
    """The parser cannot translate the whole graph, and recommends end nodes."""


class BadInputsShape(Exception):
    """The data do not have the network's input shape."""


class ModelScriptError(Exception):
    """An unknown command, keyword or layer (the real name of the exception is not public)."""


class InvalidState(Exception):
    """A call in the wrong order (the real name of the exception is not public)."""


class InferenceContext(Enum):
    """The arithmetic of an inference."""

    SDK_NATIVE = "sdk_native"
    SDK_FP_OPTIMIZED = "sdk_fp_optimized"
    SDK_QUANTIZED = "sdk_quantized"
    SDK_HAILO_HW = "sdk_hailo_hw"


def install(folder: Path, **knobs: object) -> Path:
    """Write the package into a folder, and return the folder for PYTHONPATH."""
    package = folder / "hailo_sdk_client"
    package.mkdir(parents=True)
    shutil.copyfile(__file__, package / "__init__.py")
    (package / "knobs.json").write_text(json.dumps(knobs))
    return folder


def protocol(folder: Path) -> list[dict[str, object]]:
    """Return the recorded calls, in order."""
    path = folder / "hailo_sdk_client" / "protocol.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def record(call: str, **details: object) -> None:
    """Record a call; nothing is recorded if the module was not installed."""
    if (HERE / "knobs.json").exists():
        with (HERE / "protocol.jsonl").open("a") as file:
            file.write(json.dumps({"call": call, **details}) + "\n")


class Limits:
    """The range of a tensor on the calibration set, and its integers, as the host computes them."""

    def __init__(self, values: np.ndarray, bits: int = 8) -> None:
        low, high, steps = min(float(values.min()), 0.0), max(float(values.max()), 0.0), 2**bits - 1
        self.scale = (high - low) / steps or 1.0
        self.zero = round(-low / self.scale)
        self.low, self.high = -self.zero * self.scale, (steps - self.zero) * self.scale  # as in real HEFs

    def through(self, values: np.ndarray) -> np.ndarray:
        """Quantize and dequantize."""
        integers = np.rint(np.clip(values, self.low, self.high) / self.scale + self.zero)
        return (integers - self.zero) * self.scale


def parse_script(text: str) -> Iterator[tuple[str | None, str, list[object], dict[str, object]]]:
    """Yield (result, command, words, keywords) of a model script. Raises ModelScriptError."""
    for line in filter(None, (line.split("#")[0].strip() for line in text.splitlines())):
        try:
            statement = ast.parse(re.sub(r"\{([\w*/]+)\}", r"'\1'", line)).body[0]
        except SyntaxError as error:
            raise ModelScriptError(f"not a command: {line}") from error
        call, result = statement.value, None
        if isinstance(statement, ast.Assign):
            result = statement.targets[0].id
        words = [_value(word) for word in call.args]
        keywords = {word.arg: _value(word.value) for word in call.keywords}
        _check_command(call.func.id, words, keywords)
        yield result, call.func.id, words, keywords


def _value(node: ast.expr) -> object:
    """Return a name as text, a list as a list, and anything else as a literal."""
    if isinstance(node, ast.Name):
        return node.id
    return [_value(each) for each in node.elts] if isinstance(node, ast.List) else ast.literal_eval(node)


def _flat(value: object) -> list[str]:
    return [name for each in value for name in _flat(each)] if isinstance(value, list) else [value]


def _check_command(name: str, words: list[object], keywords: dict[str, object]) -> None:
    first = COMMANDS.get(name)
    if first is None:
        raise ModelScriptError(f"unknown command {name}")
    allowed = first.get(None if None in first else str(words[0]) if words else "")
    if allowed is None or keywords.keys() - allowed:
        raise ModelScriptError(f"{name} does not take {words} {sorted(keywords)}")
    layers = words[:1] if name in ("quantization_param", "change_output_activation", "logits_layer") else []
    for layer in _flat([layers, keywords.get("layers", [])]):
        if "*" not in layer and layer.split("/")[-1] not in ("input_layer1", "output_layer1"):
            raise ModelScriptError(f"layer {layer} is not certain before the parser has named it")
    if name == "normalization" and (not 2 <= len(words) <= 3 or len(words[0]) != len(words[1])):
        raise ModelScriptError("normalization takes one mean and one deviation for each channel")


class ClientRunner:
    """The compiler: translate, load a model script, optimize, compile."""

    def __init__(self, hw_arch: str | None = None, har: str | None = None) -> None:
        record("ClientRunner", hw_arch=hw_arch)
        if har is None and hw_arch not in ARCHITECTURES[__version__.split(".")[0]]:
            raise ValueError(f"hw_arch {hw_arch} is not one of Dataflow Compiler {__version__}")
        self.name, self.session, self.script, self.limits = "", None, [], {}

    def translate_onnx_model(
        self,
        model: str,
        net_name: str,
        start_node_names: list[str] | None = None,
        end_node_names: list[str] | None = None,
        net_input_shapes: dict[str, list[int]] | None = None,
        disable_rt_metadata_extraction: bool = False,
    ) -> tuple[dict[str, object], bytes]:
        """Parse a graph: layers are channels-last, and each input has the stated shape."""
        import onnxruntime

        record(
            "translate_onnx_model",
            model=Path(model).name,
            net_name=net_name,
            end_node_names=end_node_names,
            net_input_shapes=net_input_shapes,
        )
        if KNOBS.get("recommend"):
            raise ParsingWithRecommendationException(
                "Parsing failed. The errors found in the graph are:\n UnsupportedShuffleLayerError in op flatten1: "
                "Failed to determine type of layer to create in node flatten1\nPlease try to parse the model again, "
                "using these end node names: globalaveragepool1"
            )
        if KNOBS.get("parser_error"):
            raise RuntimeError("InvalidHNError")
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        graph = {found.name: found.shape for found in self.session.get_inputs()}
        if net_input_shapes is not None and net_input_shapes != graph:
            raise ValueError(f"net_input_shapes {net_input_shapes}, but the graph has {graph}")
        self.name, (self.input, (_, channels, height, width)) = net_name, *graph.items()
        self.shape = (height, width, channels)
        return self.get_hn_dict(), b""

    def get_hn_dict(self) -> dict[str, object]:
        """Return the parsed network in Hailo's format."""
        self._needs(self.session, "translate_onnx_model")
        shape = [-1, *self.shape] if KNOBS.get("hn") != "nchw" else [-1, self.shape[2], *self.shape[:2]]
        features = [-1, self.session.get_outputs()[0].shape[1]]
        layers = {
            f"{self.name}/input_layer1": {"type": "input_layer", "input_shapes": [shape], "output_shapes": [shape]}
        }
        for number in range(1, 3 if KNOBS.get("hn") == "two_outputs" else 2):
            name = f"{self.name}/output_layer{number}"
            layers[name] = {"type": "output_layer", "input_shapes": [features], "output_shapes": [features]}
        if KNOBS.get("hn") == "shapeless":
            layers = {name: {"type": layer["type"]} for name, layer in layers.items()}
        return {"name": self.name, "layers": layers}

    def load_model_script(self, model_script: str, append: bool = False) -> None:
        """Read commands from a file or a text."""
        self._needs(self.session, "translate_onnx_model")
        text = Path(model_script).read_text() if str(model_script).endswith(".alls") else model_script
        commands = list(parse_script(text))
        record("load_model_script", commands=[command for _, command, _, _ in commands], append=append)
        self.script = [*self.script, *commands] if append else commands

    def optimize(self, calib_data: object) -> None:
        """Calibrate: compute the range of each tensor on `calibset_size` windows."""
        self._needs(self.session, "translate_onnx_model")
        found = calib_data[f"{self.name}/input_layer1"] if isinstance(calib_data, dict) else calib_data
        windows = np.asarray(found)
        size = self._size(len(windows))
        record("optimize", shape=list(windows.shape), dtype=str(windows.dtype), calibset_size=size)
        self._check_shape(windows)
        if size > len(windows):
            raise ValueError(f"calibset_size {size}, but the set has {len(windows)}")
        if size < 1024 and not any("optimization_level" in keywords for *_, keywords in self.script):
            sys.stderr.write("Reducing optimization level to 0 because there's less data than the recommended amount\n")
        self.limits = {}
        self._forward(windows[:size], calibrating=True)

    def infer(self, context: "Context", dataset: np.ndarray) -> np.ndarray:
        """Compute the outputs of windows, (N, H, W, C)."""
        record("infer", context=context.kind.name, shape=list(dataset.shape), dtype=str(dataset.dtype))
        if not context.live:
            raise InvalidState("infer outside of infer_context")
        self._check_shape(dataset)
        if context.kind is InferenceContext.SDK_NATIVE:
            return self._compute(dataset)
        self._needs(self.limits, "optimize")
        if context.kind is InferenceContext.SDK_FP_OPTIMIZED:
            return self._compute(self._normalize(dataset))
        return self._forward(dataset, calibrating=False)

    @contextmanager
    def infer_context(self, inference_context: InferenceContext) -> "Iterator[Context]":
        """Return a context for inference."""
        self._needs(self.session, "translate_onnx_model")
        context = Context(InferenceContext(inference_context))
        yield context
        context.live = False

    def save_har(self, har_path: str) -> None:
        """Write the current state to a HAR."""
        record("save_har", name=Path(har_path).name)
        Path(har_path).write_bytes(b"har of a stub")

    def compile(self) -> bytes:
        """Return bytes with a HEF's magic number, which no device could run."""
        record("compile")
        self._needs(self.limits, "optimize")
        if KNOBS.get("killed_in") == "compile":
            os._exit(137)
        if KNOBS.get("killed_in") == "fsync":
            os.fsync = lambda _: os._exit(137)
        if KNOBS.get("infeasible"):
            raise RuntimeError("Mapping Failed: Agent infeasible")
        return b"" if KNOBS.get("no_hef") else b"\x01HEF" + self.name.encode() * 1000

    def _needs(self, state: object, call: str) -> None:
        if not state:
            raise InvalidState(f"{call} was not called")

    def _check_shape(self, windows: np.ndarray) -> None:
        if windows.shape[1:] != self.shape or KNOBS.get("bad_inputs_shape"):
            layer = f"{self.name}/input_layer1"
            text = f"Data shape {windows.shape[1:]} for layer {layer} doesn't match network's input shape {self.shape}"
            raise BadInputsShape(text)

    def _size(self, available: int) -> int:
        asked = [keywords["calibset_size"] for *_, keywords in self.script if "calibset_size" in keywords]
        return asked[-1] if asked else min(DEFAULT_CALIBRATION, available)

    def _bits(self, layer: str) -> int:
        modes = [
            keywords.get("precision_mode")
            for _, command, words, keywords in self.script
            if command == "quantization_param" and any(fnmatch.fnmatch(layer, name) for name in _flat(words))
        ]
        return 16 if "a16_w16" in modes and not KNOBS.get("demote") else 8

    def _normalize(self, windows: np.ndarray) -> np.ndarray:
        for _, command, words, _ in self.script:
            if command == "normalization":
                windows = (windows - np.float32(words[0])) / np.float32(words[1])
        return windows

    def _compute(self, windows: np.ndarray) -> np.ndarray:
        one_by_one = np.ascontiguousarray(windows.transpose(0, 3, 1, 2), dtype=np.float32)[:, None]
        outputs = np.concatenate([self.session.run(None, {self.input: window})[0] for window in one_by_one])
        return outputs * 1.1 if KNOBS.get("misread") else outputs

    def _forward(self, windows: np.ndarray, *, calibrating: bool) -> np.ndarray:
        """Compute with 8-bit tensors at the input, after the normalization and at the output."""
        values = self._quantize("input_layer1", windows, calibrating)
        values = self._quantize("normalization1", self._normalize(values), calibrating)
        return self._quantize("output_layer1", self._compute(values), calibrating)

    def _quantize(self, layer: str, values: np.ndarray, calibrating: bool) -> np.ndarray:
        if calibrating:
            self.limits[layer] = Limits(values, self._bits(layer))
            return values
        return self.limits[layer].through(values)


class Context:
    """A context for inference."""

    def __init__(self, kind: InferenceContext) -> None:
        self.kind, self.live = kind, True


record("import", version=__version__, tensorflow_loaded="tensorflow" in sys.modules)
