"""Make a compile bundle: the files that Hailo's compiler needs.

The calibration set is real training windows in the compiler's layout (NHWC). One setting decides whether these windows
are raw or normalized and whether the model script normalizes, so the two cannot contradict each other.
"""

import io
from collections.abc import Iterator, Mapping
from importlib.resources import files as package_files
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg import files
from modelreg.data import normalization as scaling
from modelreg.data.recording import Windows
from modelreg.errors import ExportError, Problem
from modelreg.records.data import Normalization
from modelreg.records.export import (
    NOT_COMPILED,
    RECOMMENDED_WINDOWS,
    BundleRecord,
    CalibrationRecord,
    ExportSettings,
    HailoArch,
    ParityRecord,
    Toolchain,
)
from modelreg.records.int8 import Int8Estimate
from modelreg.records.model import ModelSpec

TOOLCHAIN = Toolchain(dataflow_compiler=">=3.31,<4", hailort=">=4.21,<5")  # the Hailo-8 line
OTHER_LINE = ("hailo10h", "hailo10p", "hailo12l", "hailo15h", "hailo15l", "hailo15m")
BATCH = 8  # windows in a batch of the compiler's calibration
VECTORS = 64  # validation windows to test the compiled model with
TEMPLATES = ("compile.py", "compile.sh")


class Contents(NamedTuple):
    """The contents of a bundle."""

    spec: ModelSpec
    normalization: Normalization
    normalization_file: bytes  # the file next to the checkpoint
    graphs: Mapping[str, bytes]  # file name -> ONNX file
    parity: ParityRecord
    windows: Windows  # of the train split, raw
    vectors: bytes  # test_vectors.npz
    host_files: Mapping[str, bytes]  # documents of the host part
    estimate: Int8Estimate | None = None  # of the 8-bit loss; bundle.json repeats the main figures


def refuse_architecture(name: str) -> None:
    """Raise ExportError for an accelerator that needs another toolchain."""
    if name in OTHER_LINE:
        message = f"{name} belongs to the Hailo-10/15 line (Dataflow Compiler 5.x); bundles are for 3.x"
        raise ExportError("cannot export", [Problem("target", "export.target-unsupported", message)])


def make(contents: Contents, target: HailoArch, settings: ExportSettings) -> tuple[BundleRecord, dict[str, bytes]]:
    """Return bundle.json, still without digests, and the other files of the bundle.

    Raises ExportError if the chip cannot normalize as in training.
    """
    spec, scale = contents.spec, contents.normalization
    if settings.normalization == "chip" and scale.per != "channel":
        message = f"must be per channel on the chip, but the model normalizes per {scale.per}"
        raise ExportError("cannot export", [Problem("normalization", "export.chip-normalization", message)])
    chosen = balanced(contents.windows.y, settings.calibration_windows)
    raw = contents.windows.x[chosen]
    values = nhwc(raw if settings.normalization == "chip" else scaling.apply(raw, scale))
    calibration = _npy(values)
    documents = {
        **contents.graphs,
        "calibration.npy": calibration,
        "model_script.alls": model_script(scale, len(values), settings).encode(),
        "normalization.json": contents.normalization_file,
        "parity.json": contents.parity.to_bytes(),
        "test_vectors.npz": contents.vectors,
        **contents.host_files,
        **({"int8.json": contents.estimate.to_bytes()} if contents.estimate else {}),
        **{name: (package_files("modelreg.export") / "templates" / name).read_bytes() for name in TEMPLATES},
    }
    described = CalibrationRecord(
        shape=values.shape,
        values="raw" if settings.normalization == "chip" else "normalized",
        class_windows=_counts(contents.windows.y[chosen], spec.classes),
        low=tuple(values.min(axis=(0, 1, 2)).tolist()),
        high=tuple(values.max(axis=(0, 1, 2)).tolist()),
        sha256=files.sha256_bytes(calibration),
    )
    record = _record(contents, target, settings, described)
    return record, {**documents, "README.md": readme(record).encode()}


def find_few(windows: int) -> Iterator[Problem]:
    """Yield a problem if a calibration set has fewer windows than the compiler recommends."""
    if windows < RECOMMENDED_WINDOWS:
        message = f"has {windows:,} windows; Hailo's compiler recommends at least {RECOMMENDED_WINDOWS:,}"
        yield Problem("calibration.npy", "export.few-calibration-windows", message)


def balanced(labels: NDArray[np.int64], count: int) -> NDArray[np.intp]:
    """Return the indices of `count` windows (or of all, if there are fewer), balanced over classes and evenly spread.

    A class with fewer windows than its share contributes all of them; the other classes share the rest.
    """
    places = {label: np.flatnonzero(labels == label) for label in np.unique(labels).tolist()}
    left, chosen = min(count, len(labels)), []
    for number, label in enumerate(sorted(places, key=lambda label: (len(places[label]), label))):
        found = places[label]
        share = min(len(found), -(-left // (len(places) - number)))
        chosen.append(found[np.linspace(0, len(found) - 1, share).astype(np.intp)])
        left -= share
    return np.sort(np.concatenate(chosen))


def nhwc(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return windows (N, C, D, T) in the compiler's layout, (N, H = D, W = T, C)."""
    return np.ascontiguousarray(windows.transpose(0, 2, 3, 1))


def model_script(scale: Normalization, count: int, settings: ExportSettings) -> str:
    """Return the model script (.alls), with only commands and layer names that are known without the compiler."""
    lines = []
    if settings.normalization == "chip":
        mean, std = (", ".join(repr(value) for value in rows[0]) for rows in (scale.mean, scale.std))
        lines.append(f"normalization1 = normalization([{mean}], [{std}])")
    lines += [
        f"model_optimization_config(calibration, batch_size={min(BATCH, count)}, calibset_size={count})",
        f"model_optimization_flavor(optimization_level={settings.optimization_level}, compression_level=0)",
    ]
    return "\n".join(lines) + "\n"


def readme(record: BundleRecord) -> str:
    """Return the README of the bundle, for the engineer who compiles it."""
    height, width, channels = record.device_input
    feed = (
        "The chip normalizes: pass it raw values."
        if record.normalization == "chip"
        else "The host normalizes: pass the chip (x - mean) / std, with the values of `normalization.json`."
    )
    few = "".join(
        f"\n**The calibration set {problem.message}.** The chip can lose more accuracy than with\n"
        "enough windows. Measure it on the device before use.\n"
        for problem in find_few(record.calibration.shape[0])
    )
    return f"""# {record.model} for {record.hw_arch}

Compile this bundle on x86_64 Ubuntu with Hailo's Dataflow Compiler {record.toolchain.dataflow_compiler} (download from
hailo.ai, login required):

```sh
sh compile.sh
```

Run the compiled network on the device with HailoRT {record.toolchain.hailort}.

Set `PYTHON=/path/to/python` to use another Python interpreter. `python compile.py --help` lists the exit codes.
The script:

1. checks the digest of every file;
2. parses `encoder.onnx` without changing where it ends, and compares it with the test vectors;
3. quantizes it with `calibration.npy` ({record.calibration.shape[0]} real training windows) and requires a
   signal-to-noise ratio of at least {record.min_snr_db:g} dB between the native and the quantized outputs;
4. writes `{record.network}.hef` and `compile_report.json`.
{few}
Files:

- Input of the chip: (H, W, C) = ({height}, {width}, {channels}), which are device rows, timesteps and channels.
  {feed}
- Output of the chip: a projection of {record.output.shape[1]} numbers, dequantized to float32. On the host, `head.onnx`
  computes `logits`, and `code` if the model quantizes, from `projection` (1, {record.output.shape[1]}).
- `encoder.onnx` and `model.onnx` (the whole model, for ONNX Runtime) always take **normalized** windows
  {list(record.input.shape)}: (x - mean) / std, with the values of `normalization.json`. `parity.json` has the largest
  differences from the checkpoint.
- `test_vectors.npz` tests the device: pass it `windows_raw` or `windows` (normalized) and compare the results with
  `projection`, `code` and `logits`. An 8-bit projection contains quantization noise. A code near a rounding boundary
  can differ.
- `int8.json` is an estimate of the 8-bit loss, made with ONNX Runtime, without the compiler or a chip.
- `bundle.json` describes the bundle for programs. `sha256sum -c sha256sum.txt` checks the files.

{NOT_COMPILED}
"""


def _record(
    contents: Contents, target: HailoArch, settings: ExportSettings, calibration: CalibrationRecord
) -> BundleRecord:
    spec, parity = contents.spec, contents.parity
    channels, rows, steps = spec.input.shape
    return BundleRecord(
        model=spec.settings.name,
        version=None,
        hw_arch=target,
        network=spec.settings.name,
        toolchain=TOOLCHAIN,
        checkpoint_sha256=parity.checkpoint_sha256,
        normalization_sha256=parity.normalization_sha256,
        classes=spec.classes,
        channels=spec.input.channels,
        devices=spec.input.devices,
        input=parity.graphs["encoder"].inputs[0],
        output=parity.graphs["encoder"].outputs[0],
        device_input=(rows, steps, channels),
        normalization=settings.normalization,
        optimization_level=settings.optimization_level,
        min_snr_db=settings.min_snr_db,
        calibration=calibration,
        opset=parity.opset,
        int8=contents.estimate.summary if contents.estimate else None,
        files={},  # bundle_archive.sealed fills them in
    )


def _counts(labels: NDArray[np.int64], classes: tuple[str, ...]) -> dict[str, int]:
    return {name: int(np.count_nonzero(labels == number)) for number, name in enumerate(classes)}


def _npy(values: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()
