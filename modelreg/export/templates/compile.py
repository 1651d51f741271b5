# SPDX-License-Identifier: Apache-2.0
"""Compile this bundle with Hailo's Dataflow Compiler 3.x (Ubuntu x86_64, Python 3.10 to 3.12): python3 compile.py

Writes <network>.hef, <network>_optimized.har and, last, compile_report.json with the digests of the other two. A
complete new file replaces an earlier one. The script never prompts and accepts no recommendation of the parser.

Exit codes: 0 compiled; 2 called with arguments; 3 the bundle is damaged or inconsistent; 4 the compiler is not
installed, or does not fit the chip of the bundle; 5 the parser refused encoder.onnx; 6 the parsed network differs from
the exported one; 7 inference, optimization or compilation failed; 8 the quantization loss is too high. Any other exit
code is a bug in this script.
"""

import hashlib
import json
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

USAGE, BUNDLE, COMPILER, PARSER, NETWORK, SDK, LOSS = 2, 3, 4, 5, 6, 7, 8
HERE = Path(__file__).resolve().parent
RECOMMENDED = 1024  # windows of a calibration set, by the compiler's own message
NATIVE_ERROR = 1e-3  # relative; a wrong layout or wrong weights give a much larger error
Bundle = dict[str, Any]  # by the names below
# The fields of bundle.json that are read. C, H, W are channels, device rows and timesteps; d is the number of features.
FIELDS: dict[type, tuple[str, ...]] = {
    str: ("hw_arch", "network", "toolchain.dataflow_compiler", "input.name", "normalization", "calibration.values"),
    list: ("input.shape", "output.shape", "device_input", "calibration.shape"),  # 1CHW, 1d, HWC, NHWC
    int: ("schema_version", "optimization_level"),
    float: ("min_snr_db",),
    dict: ("files",),
}
Floats = NDArray[np.float32]
Outputs = NDArray[np.float64]  # N, d


class Refused(Exception):
    """The reason for which nothing was compiled, with the exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def refusing(code: int, what: str) -> Iterator[None]:
    """Turn any error into Refused: the compiler's exceptions have no documented common base."""
    try:
        yield
    except Exception as error:
        raise Refused(code, f"{what}: {type(error).__name__}: {error}") from error


def read_bundle() -> Bundle:
    """Read bundle.json and check all files against it. Raises Refused with every problem."""
    with refusing(BUNDLE, "bundle.json"):
        document = json.loads((HERE / "bundle.json").read_bytes())
        bundle = {name: _typed(document, name, kind) for kind, names in FIELDS.items() for name in names}
        problems = list(find_damage(bundle["files"])) or list(find_contradictions(bundle))
    if problems:
        raise Refused(BUNDLE, "cannot compile this bundle:\n  " + "\n  ".join(problems))
    return bundle


def find_damage(files: dict[str, str]) -> Iterator[str]:
    """Yield every file that differs from the exported one."""
    needed = ("encoder.onnx", "calibration.npy", "model_script.alls", "test_vectors.npz")
    for name in sorted({*files, *needed}):
        if not (HERE / name).is_file():
            yield f"{name}: file not found"
        elif _sha256(HERE / name) != files.get(name):
            yield f"{name}: digest mismatch, the file differs from the sha256 in bundle.json"


def find_contradictions(bundle: Bundle) -> Iterator[str]:
    """Yield the contradictions between bundle.json, the model script and the calibration set."""
    height, width, channels = bundle["device_input"]
    script = (HERE / "model_script.alls").read_text(encoding="utf-8")
    on_chip = {"chip": True, "host": False}[bundle["normalization"]]
    count, *shape = bundle["calibration.shape"]
    if bundle["schema_version"] != 1:
        yield f"schema_version must be 1, but is {bundle['schema_version']}"
    if bundle["input.shape"] != [1, channels, height, width]:
        yield f"input.shape {bundle['input.shape']} does not fit device_input (H, W, C) = {bundle['device_input']}"
    if shape != bundle["device_input"]:
        yield f"calibration.shape {shape} does not fit device_input (H, W, C) = {bundle['device_input']}"
    if (bundle["calibration.values"] == "raw") != on_chip or ("normalization(" in script) != on_chip:
        yield "calibration.values or model_script.alls contradicts `normalization`: it would happen twice or never"
    for key, value in (("calibset_size", count), ("optimization_level", bundle["optimization_level"])):
        if re.findall(rf"{key}=(-?\d+)", script) != [str(value)]:
            yield f"model_script.alls: must set {key}={value} exactly once"


def load_calibration(bundle: Bundle) -> Floats:
    """Return the calibration set, (N, H, W, C). Raises Refused."""
    with refusing(BUNDLE, "calibration.npy"):
        values: Floats = np.load(HERE / "calibration.npy", allow_pickle=False)
        if values.dtype != np.float32 or list(values.shape) != bundle["calibration.shape"]:
            expected = f"float32 {bundle['calibration.shape']} (N, H, W, C)"
            raise ValueError(f"must be {expected}, but is {values.dtype} {list(values.shape)}")
        if not np.isfinite(values).all():
            raise ValueError("contains NaN or infinite values")
    return values


def load_vectors(bundle: Bundle) -> tuple[Floats, Floats, Outputs]:
    """Return raw and normalized test windows (N, H, W, C), and their projections (N, d). Raises Refused."""
    with refusing(BUNDLE, "test_vectors.npz"), np.load(HERE / "test_vectors.npz", allow_pickle=False) as found:
        raw, normalized, projection = (found[name] for name in ("windows_raw", "windows", "projection"))
        window, outputs = bundle["input.shape"][1:], bundle["output.shape"][1:]
        if [list(array.shape[1:]) for array in (raw, normalized, projection)] != [window, window, outputs]:
            raise ValueError(f"shapes {raw.shape}, {normalized.shape}, {projection.shape} do not match bundle.json")
    return raw.transpose(0, 2, 3, 1).copy(), normalized.transpose(0, 2, 3, 1).copy(), projection.astype(np.float64)


def check_kind(calibration: Floats, given: Floats, other: Floats) -> None:
    """Raise Refused if the calibration set resembles `other`, not the windows `given` to the device.

    Raw instead of normalized values may not lower the SNR: a wider range only wastes levels.
    """
    shift = np.abs(calibration.mean(axis=(0, 1, 2)) - [windows.mean(axis=(0, 1, 2)) for windows in (given, other)])
    width = calibration.std(axis=(0, 1, 2)) / [windows.std(axis=(0, 1, 2)) + 1e-12 for windows in (given, other)]
    to_given, to_other = (shift / calibration.std(axis=(0, 1, 2)).clip(1e-12) + np.abs(np.log(width))).sum(axis=1)
    if to_given > 2 * to_other:
        raise Refused(BUNDLE, "calibration.npy: contains raw values instead of normalized ones, or the reverse")


def import_compiler(bundle: Bundle) -> Any:
    """Import the compiler, before anything could load TensorFlow. Raises Refused if it does not fit the chip."""
    arch, required = bundle["hw_arch"], bundle["toolchain.dataflow_compiler"]
    if arch not in ("hailo8", "hailo8l"):
        other = re.match("hailo1[0-9]", arch) is not None
        line = "belongs to the Hailo-10/15 line (Dataflow Compiler 5.x)" if other else "is unknown"
        raise Refused(COMPILER, f"hw_arch must be hailo8 or hailo8l; {arch} {line}")
    try:
        import hailo_sdk_client  # type: ignore[import-not-found]
    except ImportError as error:
        source = "Download the wheel from hailo.ai, Developer Zone (login; Ubuntu x86_64, Python 3.10 to 3.12)"
        raise Refused(COMPILER, f"{error}. {arch} needs Dataflow Compiler {required}. {source}.") from error
    version = str(getattr(hailo_sdk_client, "__version__", "unknown"))
    if not fits(version, required):
        line = " (5.x is for the Hailo-10/15 line)" if version.startswith("5.") else ""
        raise Refused(COMPILER, f"{arch} needs Dataflow Compiler {required}, but {version} is installed{line}")
    return hailo_sdk_client


def fits(version: str, required: str) -> bool:
    """Return whether a version such as "3.33.1" is in a range such as ">=3.31,<4"; text without a number is not."""
    found, bounds = _numbers(version), re.findall(r"(>=|<)([\d.]+)", required)
    return bool(found and bounds) and all((found >= _numbers(bound)) == (sign == ">=") for sign, bound in bounds)


def parse(runner: Any, bundle: Bundle) -> None:
    """Translate the whole of encoder.onnx, without end nodes, and accept no recommended ones."""
    advice = "Do not move the cut (head.onnx starts where encoder.onnx ends): use another compiler or export again"
    with refusing(PARSER, f"the parser refused encoder.onnx. {advice}"):
        shapes = {bundle["input.name"]: bundle["input.shape"]}
        runner.translate_onnx_model(str(HERE / "encoder.onnx"), bundle["network"], net_input_shapes=shapes)


def check_network(runner: Any, bundle: Bundle) -> None:
    """Raise Refused unless the parsed network has exactly the exported input and output."""
    with refusing(NETWORK, "the parsed network (get_hn_dict()) differs from the exported one"):
        hn = runner.get_hn_dict()
        inputs = shapes_of(hn, "input_layer", ("input_shapes", "output_shapes"))
        outputs = shapes_of(hn, "output_layer", ("output_shapes", "input_shapes"))
        if inputs != [bundle["device_input"]]:
            raise ValueError(f"must have one input (H, W, C) = {bundle['device_input']}, but has {inputs}")
        if [(max(shape), int(np.prod(shape))) for shape in outputs] != [(bundle["output.shape"][1],) * 2]:
            raise ValueError(f"must have one output of {bundle['output.shape'][1]} features, but has {outputs}")


def shapes_of(hn: Any, kind: str, keys: tuple[str, str]) -> list[list[int]]:
    """Return the shapes of the layers of a kind, without the batch axis. Raises ValueError if one is unknown."""
    shapes = []
    for name, layer in hn["layers"].items():
        if layer["type"] == kind:
            stated = next((layer[key] for key in keys if layer.get(key)), None)
            (shape,) = stated if stated and isinstance(stated[0], (list, tuple)) else (stated,)
            if not shape or not all(isinstance(size, int) for size in shape[1:]):
                raise ValueError(f"layer {name} has no shape")
            shapes.append(list(shape[1:]))
    return shapes


def infer(runner: Any, context: Any, windows: Floats, features: int) -> Outputs:
    """Return the compiler's output (N, d) for windows (N, H, W, C). Raises Refused."""
    with refusing(SDK, f"inference failed ({context})"), runner.infer_context(context) as ready:
        answer = runner.infer(ready, windows)
        (found,) = answer if isinstance(answer, (list, tuple)) else (answer,)
        return np.asarray(found, dtype=np.float64).reshape(len(windows), features)


def check_native(native: Outputs, expected: Outputs) -> float:
    """Return the relative error of the parsed network. Raises Refused if it is too large."""
    error = float(np.abs(native - expected).max() / np.abs(expected).max())
    if not error <= NATIVE_ERROR:
        found = f"the relative error of the parsed network is {error:.3g} (limit {NATIVE_ERROR:g})"
        raise Refused(NETWORK, f"{found}: wrong layout, wrong weights, or windows not normalized as in training")
    return error


def check_loss(native: Outputs, quantized: Outputs, required: float) -> dict[str, Any]:
    """Return the signal-to-noise ratio (SNR) of quantization in dB. Raises Refused if it is too low."""
    signal, noise = np.square(native).sum(axis=0), np.square(native - quantized).sum(axis=0)  # d
    ratio = np.append(signal, signal.sum()) / (np.append(noise, noise.sum()) + 1e-30)
    *features, overall = (10 * np.log10(ratio + 1e-30)).round(2).tolist()
    found = f"SNR {overall} dB overall (required {required:g} dB), {features} dB for each feature"
    print(f"      {found}")
    if not overall >= required:
        raise Refused(LOSS, f"{found}. Check the calibration set and the normalization first")
    return {"overall": overall, "features": features, "required": required}


def compile_network(runner: Any, bundle: Bundle, report: dict[str, Any]) -> None:
    """Compile, then write HAR, HEF and report. Raises Refused."""
    har, hef = (HERE / f"{bundle['network']}{end}" for end in ("_optimized.har", ".hef"))
    staged = har.with_name(f".{har.name}.tmp.har")
    try:
        with refusing(SDK, "compilation failed"):
            runner.save_har(str(staged))
            data = runner.compile()
            if not isinstance(data, bytes) or not data.startswith(b"\x01HEF"):
                raise ValueError("compile() did not return a HEF")
        staged.replace(har)
    finally:
        staged.unlink(missing_ok=True)
    write_whole(hef, data)
    report["files"] = {path.name: _sha256(path) for path in (har, hef)}
    write_whole(HERE / "compile_report.json", json.dumps(report, indent=2, sort_keys=True).encode() + b"\n")
    print(f"{hef.name}: {len(data):,} bytes, sha256 {report['files'][hef.name]}")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically: it is complete or absent."""
    staged = path.with_name(f".{path.name}.tmp")
    with staged.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)


def run() -> None:
    """Compile the bundle to a HEF. Raises Refused at the first step that fails."""
    print("[1/7] check the bundle")
    bundle = read_bundle()
    calibration, (raw, normalized, expected) = load_calibration(bundle), load_vectors(bundle)
    given, other = (raw, normalized) if bundle["normalization"] == "chip" else (normalized, raw)
    check_kind(calibration, given, other)
    print("[2/7] load the compiler")
    sdk = import_compiler(bundle)
    print(f"[3/7] parse encoder.onnx for {bundle['hw_arch']}")
    with refusing(SDK, "cannot start the compiler (ClientRunner)"):
        runner = sdk.ClientRunner(hw_arch=bundle["hw_arch"])
    parse(runner, bundle)
    check_network(runner, bundle)
    print(f"[4/7] compare the parsed network with {len(expected)} test vectors")
    native = infer(runner, sdk.InferenceContext.SDK_NATIVE, normalized, expected.shape[1])
    error = check_native(native, expected)
    print(f"[5/7] quantize with {len(calibration)} calibration windows (this can take minutes)")
    if len(calibration) < RECOMMENDED:
        print(f"      warning: the compiler recommends at least {RECOMMENDED} calibration windows")
    with refusing(SDK, "optimization failed"):
        runner.load_model_script(str(HERE / "model_script.alls"))
        runner.optimize(calibration)
    print("[6/7] measure the quantization loss")
    quantized = infer(runner, sdk.InferenceContext.SDK_QUANTIZED, given, expected.shape[1])
    snr_db = check_loss(native, quantized, bundle["min_snr_db"])
    print("[7/7] compile")
    report = {
        "bundle_sha256": _sha256(HERE / "bundle.json"),
        "hw_arch": bundle["hw_arch"],
        "native_error": error,
        "optimization_level": bundle["optimization_level"],  # as in the model script
        "snr_db": snr_db,
        "versions": {"dataflow_compiler": sdk.__version__, "numpy": np.__version__, "python": sys.version.split()[0]},
    }
    compile_network(runner, bundle, report)


def main() -> int:
    """Compile and return the exit code."""
    if len(sys.argv) > 1:
        print(__doc__)
        return USAGE
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # keeps the order with the compiler's own log
    try:
        run()
    except Refused as error:
        if error.code in (PARSER, SDK) and error.__cause__:
            traceback.print_exception(error.__cause__)
        print(f"error: {error}", file=sys.stderr)
        return error.code
    return 0


def _typed(document: Any, name: str, kind: type) -> Any:
    for part in name.split("."):
        document = document[part]
    if type(document) is not kind:
        raise TypeError(f"{name} must be of type {kind.__name__}, but is {document!r}")
    return document


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:3]]


if __name__ == "__main__":
    sys.exit(main())
