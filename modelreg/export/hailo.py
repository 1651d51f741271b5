"""The compile bundle: all that Hailo's compiler needs to do the right thing at the first try.

The calibration set is real training windows in the compiler's layout (NHWC). Whether they are raw or normalized, and
whether the model script normalizes, follow from one setting, so that they cannot contradict each other.
"""

import io
from collections.abc import Mapping
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
BATCH = 8  # of the compiler's calibration
VECTORS = 64  # windows of the validation part, to compare the compiled model by
TEMPLATES = ("compile.py", "compile.sh")


class Contents(NamedTuple):
    """What a bundle is made of."""

    spec: ModelSpec
    normalization: Normalization
    normalization_file: bytes  # as it lies beside the checkpoint
    graphs: Mapping[str, bytes]  # file name -> ONNX file
    parity: ParityRecord
    windows: Windows  # of the training part, raw
    vectors: bytes  # test_vectors.npz
    beside: Mapping[str, bytes]  # what else travels with it: what the host part needs
    estimate: Int8Estimate | None = None  # of the loss in 8 bits; bundle.json repeats the main numbers


def refuse_architecture(name: str) -> None:
    """Raise ExportError for an accelerator that another toolchain compiles for."""
    if name in OTHER_LINE:
        what = f"{name} belongs to the Hailo-10/15 line (Dataflow Compiler 5.x); this bundle is for 3.x"
        raise ExportError("cannot export", [Problem("target", "todo.hailo", f"{what}: choose hailo8 or hailo8l")])


def make(contents: Contents, target: HailoArch, settings: ExportSettings) -> tuple[BundleRecord, dict[str, bytes]]:
    """Return bundle.json, its digests still to be filled in, and the other files of the bundle.

    Raises ExportError where the chip cannot normalize as the model was trained.
    """
    spec, scale = contents.spec, contents.normalization
    if settings.normalization == "chip" and scale.per != "channel":
        what = "the chip has one mean and deviation per channel, but this model has them per device: use host"
        raise ExportError("cannot export", [Problem("normalization", "todo.hailo", what)])
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
        **contents.beside,
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


def balanced(labels: NDArray[np.int64], wanted: int) -> NDArray[np.intp]:
    """Return the indices of `wanted` windows, or of all: as many of each class as there can be, evenly spread.

    A class that has fewer than its share gives all it has; the others share the rest.
    """
    places = {label: np.flatnonzero(labels == label) for label in np.unique(labels).tolist()}
    left, chosen = min(wanted, len(labels)), []
    for number, label in enumerate(sorted(places, key=lambda label: (len(places[label]), label))):
        found = places[label]
        share = min(len(found), -(-left // (len(places) - number)))
        chosen.append(found[np.linspace(0, len(found) - 1, share).astype(np.intp)])
        left -= share
    return np.sort(np.concatenate(chosen))


def nhwc(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return windows (N, C, D, T) as the compiler reads them: (N, H = D, W = T, C)."""
    return np.ascontiguousarray(windows.transpose(0, 2, 3, 1))


def model_script(scale: Normalization, count: int, settings: ExportSettings) -> str:
    """Return the model script (.alls): only commands and layer names that are certain without the compiler."""
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
    """Return what an engineer reads first."""
    height, width, channels = record.device_input
    who = (
        "The chip normalizes: feed it raw values."
        if record.normalization == "chip"
        else ("The host normalizes: feed the chip (x - mean) / std of normalization.json.")
    )
    return f"""# {record.model} for {record.hw_arch}

Compile on x86_64 Ubuntu with Hailo's Dataflow Compiler {record.toolchain.dataflow_compiler} (from hailo.ai, behind a
login), then run on the device with HailoRT {record.toolchain.hailort}:

```sh
sh compile.sh
```

`PYTHON=/path/to/python sh compile.sh` takes the interpreter that has the compiler; `python compile.py --help` lists the
exit codes. It checks every file, parses `encoder.onnx` without moving its end, compares it with the test vectors,
quantizes it on `calibration.npy` ({record.calibration.shape[0]} real training windows), wants {record.min_snr_db:g} dB
between native and quantized outputs, and writes `{record.network}.hef` and `compile_report.json`.

- Input: (H, W, C) = ({height}, {width}, {channels}): device rows, timesteps, channels. {who}
- Output: the projection of {record.output.shape[1]} numbers, dequantized to float32. On the host, `head.onnx` takes it
  as `projection` (1, {record.output.shape[1]}) and gives `code` and `logits`.
- `encoder.onnx` and `model.onnx` (the whole model, for ONNX Runtime) always take **normalized** windows
  {list(record.input.shape)}: (x - mean) / std of `normalization.json`. `parity.json` says how near they come to
  the checkpoint.
- `test_vectors.npz` is for the device: feed it `windows_raw` or `windows` (normalized), compare with `projection`,
  `code` and `logits`. An 8-bit projection differs by its noise, and so may a code near a rounding boundary.
- `int8.json` estimates the loss in 8 bits, by ONNX Runtime: neither compiler nor chip was asked.
- `bundle.json` states everything for machines; `sha256sum -c sha256sum.txt` checks the files.

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
        files={},  # artifacts.sealed fills them in
    )


def _counts(labels: NDArray[np.int64], classes: tuple[str, ...]) -> dict[str, int]:
    return {name: int(np.count_nonzero(labels == number)) for number, name in enumerate(classes)}


def _npy(values: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()
