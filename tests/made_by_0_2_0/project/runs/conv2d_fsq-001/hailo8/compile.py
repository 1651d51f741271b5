# SPDX-License-Identifier: Apache-2.0
"""Compile this bundle with Hailo's Dataflow Compiler 3.x (Ubuntu x86_64, Python 3.10 to 3.12): python3 compile.py

Writes <network>.hef, <network>_optimized.har and, last, compile_report.json, which names the other two by digest.
Each replaces an earlier one only when it is whole. Nothing is asked and no recommendation is accepted.

Exit codes: 0 compiled; 2 called with arguments; 3 the bundle is damaged or contradicts itself; 4 the compiler is
absent, or of another line than the bundle's chip; 5 the parser refused encoder.onnx; 6 the parsed network is not the
exported one; 7 inference, optimizing or compiling failed; 8 quantization loses too much. Any other is a fault of ours.
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
NATIVE_ERROR = 1e-3  # relative; a wrong layout or wrong weights are off by far more
Bundle = dict[str, Any]  # by the names below
# What is read of bundle.json: C, H, W are channels, device rows and timesteps; d features come out.
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
    """Why there is no HEF, and the exit code that says so."""

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
    """Read bundle.json and check all files by it. Raises Refused with every problem."""
    with refusing(BUNDLE, "bundle.json"):
        document = json.loads((HERE / "bundle.json").read_bytes())
        bundle = {name: _typed(document, name, kind) for kind, names in FIELDS.items() for name in names}
        problems = list(find_damage(bundle["files"])) or list(find_contradictions(bundle))
    if problems:
        raise Refused(BUNDLE, "this bundle cannot be compiled:\n  " + "\n  ".join(problems))
    return bundle


def find_damage(files: dict[str, str]) -> Iterator[str]:
    """Yield every file that is not the one that was exported."""
    needed = ("encoder.onnx", "calibration.npy", "model_script.alls", "test_vectors.npz")
    for name in sorted({*files, *needed}):
        if not (HERE / name).is_file():
            yield f"{name}: missing"
        elif _sha256(HERE / name) != files.get(name):
            yield f"{name}: damaged, not the sha256 of bundle.json"


def find_contradictions(bundle: Bundle) -> Iterator[str]:
    """Yield what does not fit together."""
    height, width, channels = bundle["device_input"]
    script = (HERE / "model_script.alls").read_text(encoding="utf-8")
    on_chip = {"chip": True, "host": False}[bundle["normalization"]]
    count, *shape = bundle["calibration.shape"]
    if bundle["schema_version"] != 1:
        yield f"schema_version is {bundle['schema_version']}; this script reads 1"
    if bundle["input.shape"] != [1, channels, height, width]:
        yield f"input is {bundle['input.shape']}, but the device takes (H, W, C) = {bundle['device_input']}"
    if shape != bundle["device_input"]:
        yield f"calibration windows are {shape}, but the device takes (H, W, C) = {bundle['device_input']}"
    if (bundle["calibration.values"] == "raw") != on_chip or ("normalization(" in script) != on_chip:
        yield "calibration values or model script contradict who normalizes: it would be done twice or never"
    for key, wanted in (("calibset_size", count), ("optimization_level", bundle["optimization_level"])):
        if re.findall(rf"{key}=(-?\d+)", script) != [str(wanted)]:
            yield f"model_script.alls: {key} is not {wanted}, once"


def load_calibration(bundle: Bundle) -> Floats:
    """Return the calibration set, (N, H, W, C). Raises Refused."""
    with refusing(BUNDLE, "calibration.npy"):
        values: Floats = np.load(HERE / "calibration.npy", allow_pickle=False)
        if values.dtype != np.float32 or list(values.shape) != bundle["calibration.shape"]:
            raise ValueError(f"{values.dtype} {values.shape}, not float32 (N, H, W, C) = {bundle['calibration.shape']}")
        if not np.isfinite(values).all():
            raise ValueError("holds values that are not finite")
    return values


def load_vectors(bundle: Bundle) -> tuple[Floats, Floats, Outputs]:
    """Return raw and normalized test windows, (N, H, W, C), and their projection. Raises Refused."""
    with refusing(BUNDLE, "test_vectors.npz"), np.load(HERE / "test_vectors.npz", allow_pickle=False) as found:
        raw, normalized, projection = (found[name] for name in ("windows_raw", "windows", "projection"))
        window, outputs = bundle["input.shape"][1:], bundle["output.shape"][1:]
        if [list(array.shape[1:]) for array in (raw, normalized, projection)] != [window, window, outputs]:
            raise ValueError(f"shapes {raw.shape}, {normalized.shape}, {projection.shape} do not fit bundle.json")
    return raw.transpose(0, 2, 3, 1).copy(), normalized.transpose(0, 2, 3, 1).copy(), projection.astype(np.float64)


def check_kind(calibration: Floats, given: Floats, other: Floats) -> None:
    """Raise Refused where the calibration looks like the windows that the device is not given.

    Raw values in place of normalized ones need not show in the SNR: a wider range only wastes levels.
    """
    shift = np.abs(calibration.mean(axis=(0, 1, 2)) - [windows.mean(axis=(0, 1, 2)) for windows in (given, other)])
    width = calibration.std(axis=(0, 1, 2)) / [windows.std(axis=(0, 1, 2)) + 1e-12 for windows in (given, other)]
    to_given, to_other = (shift / calibration.std(axis=(0, 1, 2)).clip(1e-12) + np.abs(np.log(width))).sum(axis=1)
    if to_given > 2 * to_other:
        raise Refused(BUNDLE, "calibration.npy is raw where it must be normalized, or normalized where it must be raw")


def import_compiler(bundle: Bundle) -> Any:
    """Import the compiler, before anything could load TensorFlow. Raises Refused where it does not fit the chip."""
    arch, wanted = bundle["hw_arch"], bundle["toolchain.dataflow_compiler"]
    if arch not in ("hailo8", "hailo8l"):
        other = re.match("hailo1[0-9]", arch) is not None
        line = "belongs to the Hailo-10/15 line, Dataflow Compiler 5.x" if other else "is unknown"
        raise Refused(COMPILER, f"hw_arch {arch} {line}; this bundle is for 3.x: hailo8 or hailo8l")
    try:
        import hailo_sdk_client  # type: ignore[import-not-found]
    except ImportError as error:
        where = "Get the wheel from hailo.ai, Developer Zone (login; Ubuntu x86_64, Python 3.10 to 3.12)"
        raise Refused(COMPILER, f"{error}. {arch} needs the Dataflow Compiler {wanted}. {where}.") from error
    version = str(getattr(hailo_sdk_client, "__version__", "unknown"))
    if not fits(version, wanted):
        line = "; 5.x is of the Hailo-10/15 line" if version.startswith("5.") else ""
        raise Refused(COMPILER, f"Dataflow Compiler {version} is installed, {arch} needs {wanted}{line}")
    return hailo_sdk_client


def fits(version: str, wanted: str) -> bool:
    """Return whether a version, "3.33.1", lies in a range, ">=3.31,<4"; one that is no version does not."""
    found, bounds = _numbers(version), re.findall(r"(>=|<)([\d.]+)", wanted)
    return bool(found and bounds) and all((found >= _numbers(bound)) == (sign == ">=") for sign, bound in bounds)


def parse(runner: Any, bundle: Bundle) -> None:
    """Translate the whole of encoder.onnx: no end nodes are named and none that is recommended is taken."""
    stay = "The cut must not move (head.onnx goes on where encoder.onnx ends): take another compiler or export again"
    with refusing(PARSER, f"the parser refuses encoder.onnx. {stay}"):
        shapes = {bundle["input.name"]: bundle["input.shape"]}
        runner.translate_onnx_model(str(HERE / "encoder.onnx"), bundle["network"], net_input_shapes=shapes)


def check_network(runner: Any, bundle: Bundle) -> None:
    """Raise Refused unless the parsed network has the one input and the one output that were exported."""
    with refusing(NETWORK, "get_hn_dict() does not show the exported network"):
        hn = runner.get_hn_dict()
        inputs = shapes_of(hn, "input_layer", ("input_shapes", "output_shapes"))
        outputs = shapes_of(hn, "output_layer", ("output_shapes", "input_shapes"))
        if inputs != [bundle["device_input"]]:
            raise ValueError(f"inputs {inputs}, not one of (H, W, C) = {bundle['device_input']}")
        if [(max(shape), int(np.prod(shape))) for shape in outputs] != [(bundle["output.shape"][1],) * 2]:
            raise ValueError(f"outputs {outputs}, not one of {bundle['output.shape'][1]} features")


def shapes_of(hn: Any, kind: str, keys: tuple[str, str]) -> list[list[int]]:
    """Return the shapes of the layers of a kind, without the batch. Raises ValueError where they are not told."""
    shapes = []
    for name, layer in hn["layers"].items():
        if layer["type"] == kind:
            told = next((layer[key] for key in keys if layer.get(key)), None)
            (shape,) = told if told and isinstance(told[0], (list, tuple)) else (told,)
            if not shape or not all(isinstance(size, int) for size in shape[1:]):
                raise ValueError(f"no shape of {name} is told, and this script does not guess")
            shapes.append(list(shape[1:]))
    return shapes


def infer(runner: Any, context: Any, windows: Floats, features: int) -> Outputs:
    """Return what the compiler computes for windows (N, H, W, C). Raises Refused."""
    with refusing(SDK, f"inference, {context}"), runner.infer_context(context) as ready:
        answer = runner.infer(ready, windows)
        (found,) = answer if isinstance(answer, (list, tuple)) else (answer,)
        return np.asarray(found, dtype=np.float64).reshape(len(windows), features)


def check_native(native: Outputs, expected: Outputs) -> float:
    """Return the relative error of the parsed network. Raises Refused where it computes something else."""
    error = float(np.abs(native - expected).max() / np.abs(expected).max())
    if not error <= NATIVE_ERROR:
        what = f"the parsed network is off by {error:.3g} of the range; {NATIVE_ERROR:g} is allowed"
        raise Refused(NETWORK, f"{what}. Its layout or weights are wrong, or the windows are not normalized as trained")
    return error


def check_loss(native: Outputs, quantized: Outputs, wanted: float) -> dict[str, Any]:
    """Return the signal to noise of quantization in dB. Raises Refused where it is too low."""
    signal, noise = np.square(native).sum(axis=0), np.square(native - quantized).sum(axis=0)  # d
    ratio = np.append(signal, signal.sum()) / (np.append(noise, noise.sum()) + 1e-30)
    *features, overall = (10 * np.log10(ratio + 1e-30)).round(2).tolist()
    said = f"SNR {overall} dB over all, {features} of each feature; {wanted:g} wanted over all"
    print(f"      {said}")
    if not overall >= wanted:
        raise Refused(LOSS, f"{said}. Look at the calibration and the normalization first")
    return {"overall": overall, "features": features, "wanted": wanted}


def compile_network(runner: Any, bundle: Bundle, report: dict[str, Any]) -> None:
    """Compile, then put HAR, HEF and report into place. Raises Refused."""
    har, hef = (HERE / f"{bundle['network']}{end}" for end in ("_optimized.har", ".hef"))
    staged = har.with_name(f".{har.name}.tmp.har")
    try:
        with refusing(SDK, "compiling"):
            runner.save_har(str(staged))
            data = runner.compile()
            if not isinstance(data, bytes) or not data.startswith(b"\x01HEF"):
                raise ValueError("compile() returned no HEF")
        staged.replace(har)
    finally:
        staged.unlink(missing_ok=True)
    write_whole(hef, data)
    report["files"] = {path.name: _sha256(path) for path in (har, hef)}
    write_whole(HERE / "compile_report.json", json.dumps(report, indent=2, sort_keys=True).encode() + b"\n")
    print(f"{hef.name}: {len(data)} bytes, sha256 {report['files'][hef.name]}")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all."""
    staged = path.with_name(f".{path.name}.tmp")
    with staged.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)


def run() -> None:
    """Go from bundle to HEF. Raises Refused at the first step that does not hold."""
    print("[1/7] check the bundle")
    bundle = read_bundle()
    calibration, (raw, normalized, expected) = load_calibration(bundle), load_vectors(bundle)
    given, other = (raw, normalized) if bundle["normalization"] == "chip" else (normalized, raw)
    check_kind(calibration, given, other)
    print("[2/7] load the compiler")
    sdk = import_compiler(bundle)
    print(f"[3/7] parse encoder.onnx for {bundle['hw_arch']}")
    with refusing(SDK, "ClientRunner"):
        runner = sdk.ClientRunner(hw_arch=bundle["hw_arch"])
    parse(runner, bundle)
    check_network(runner, bundle)
    print(f"[4/7] compare the parsed network with {len(expected)} test vectors")
    native = infer(runner, sdk.InferenceContext.SDK_NATIVE, normalized, expected.shape[1])
    error = check_native(native, expected)
    print(f"[5/7] quantize on {len(calibration)} windows; this can take minutes")
    with refusing(SDK, "optimizing"):
        runner.load_model_script(str(HERE / "model_script.alls"))
        runner.optimize(calibration)
    print("[6/7] measure what quantization loses")
    quantized = infer(runner, sdk.InferenceContext.SDK_QUANTIZED, given, expected.shape[1])
    snr_db = check_loss(native, quantized, bundle["min_snr_db"])
    print("[7/7] compile")
    report = {
        "bundle_sha256": _sha256(HERE / "bundle.json"),
        "hw_arch": bundle["hw_arch"],
        "native_error": error,
        "optimization_level": bundle["optimization_level"],  # as the model script asks for it
        "snr_db": snr_db,
        "versions": {"dataflow_compiler": sdk.__version__, "numpy": np.__version__, "python": sys.version.split()[0]},
    }
    compile_network(runner, bundle, report)


def main() -> int:
    """Compile and return the exit code."""
    if len(sys.argv) > 1:
        print(__doc__)
        return USAGE
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # the compiler's log comes in between
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
        raise TypeError(f"{name} is {document!r}")
    return document


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:3]]


if __name__ == "__main__":
    sys.exit(main())
