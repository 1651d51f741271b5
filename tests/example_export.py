"""The files that `export` writes into a run, made without torch: empty graphs and a bundle of random windows."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from example_run import model_spec
from onnx import TensorProto, helper

from modelreg import files
from modelreg.artifacts import bundle_archive, exports, graph_interface, onnx_file
from modelreg.records.base import load
from modelreg.records.export import (
    GRAPHS,
    BundleRecord,
    CalibrationRecord,
    GraphName,
    GraphRecord,
    HailoArch,
    ParityRecord,
    PathParity,
    Tolerance,
    Toolchain,
)
from modelreg.records.int8 import Int8Estimate, Int8Scheme
from modelreg.records.metrics import EvalMetrics
from modelreg.registry import filenames

SPEC = model_spec()
VECTORS = b"vectors"
Digests = Mapping[str, str]  # of checkpoint and normalization


def write_export(run: Path, weights: str, targets: tuple[HailoArch, ...] = ("hailo8",), *, steady: bool = True) -> Path:
    """Write `onnx/` and bundles into a run that has a normalization; `weights` is the digest of its checkpoint.

    If not `steady`, the 8-bit estimate depends on the processor, as before modelreg 0.3.
    """
    digests = {filenames.CHECKPOINT: weights, filenames.NORMALIZATION: files.sha256(run / filenames.NORMALIZATION)}
    graphs = {name: graph(name, graph_interface.metadata(SPEC, digests)) for name in GRAPHS}
    onnx = {f"{name}.onnx": data for name, data in graphs.items()}
    record = parity(graphs, digests).model_copy(update={"vectors_sha256": files.sha256_bytes(VECTORS)})
    files.write_folder(run / "onnx", {**onnx, filenames.PARITY: record.to_bytes(), filenames.VECTORS: VECTORS})
    buffer = io.BytesIO()
    np.save(buffer, calibration())
    made = estimate(digests) if steady else estimate(digests).model_copy(update={"arithmetic": None})
    found = {
        **onnx,
        filenames.INT8: made.to_bytes(),
        filenames.VECTORS: VECTORS,
        "README.md": b"Nothing here was compiled yet: what the compiler makes of it, `compile.py` measures.\n",
        "calibration.npy": buffer.getvalue(),
        "model_script.alls": b"model_optimization_config(calibration, calibset_size=30)\n",
        filenames.NORMALIZATION: (run / filenames.NORMALIZATION).read_bytes(),
    }
    for target in targets:
        record_8 = bundle_record(buffer.getvalue(), digests, target).model_copy(update={"int8": made.summary})
        whole = bundle_archive.sealed(record_8, found, None)
        files.write_folder(run / target, whole)
        files.write_atomic(run / f"{target}.tar.gz", bundle_archive.pack(whole))
    if (run / filenames.METRICS).is_file():
        measured = load(run / filenames.METRICS, EvalMetrics)
        files.write_atomic(
            run / filenames.METRICS, exports.with_estimate(measured, exports.estimate_of(run)).to_bytes()
        )
    return run


def graph(name: GraphName, metadata: dict[str, str], opset: int = 17) -> bytes:
    """An ONNX file with the inputs and outputs of the model, without nodes."""
    tensors = [
        [helper.make_tensor_value_info(t.name, TensorProto.FLOAT, t.shape) for t in side]
        for side in graph_interface.interface(SPEC)[name]
    ]
    made = helper.make_model(
        helper.make_graph([helper.make_node("Relu", ["a"], ["b"], "relu1")], "g", *tensors),
        opset_imports=[helper.make_opsetid("", opset)],
    )
    helper.set_model_props(made, metadata)
    return made.SerializeToString()


def parity(graphs: dict[str, bytes], digests: Digests) -> ParityRecord:
    """The record of these graphs."""
    way = PathParity(
        projection_error=0.0,
        codes=20,
        codes_near_boundary=0,
        codes_different=0,
        logits_error=0.0,
        argmax_compared=10,
        argmax_different=0,
    )
    read = {name: onnx_file.read_onnx(data, name) for name, data in graphs.items()}
    return ParityRecord(
        model="conv2d_fsq",
        checkpoint_sha256=digests[filenames.CHECKPOINT],
        normalization_sha256=digests[filenames.NORMALIZATION],
        opset=17,
        graphs={
            name: GraphRecord(
                sha256=files.sha256_bytes(graphs[name]),
                inputs=found.inputs,
                outputs=found.outputs,
                operators=found.operators,
            )
            for name, found in read.items()
        },
        windows=10,
        windows_digest="d" * 64,
        edge_cases=("zeros",),
        tolerance=Tolerance(),
        whole=way,
        split=way,
        packages={},
    )


def calibration() -> np.ndarray:
    """Random windows, NHWC."""
    return np.random.default_rng(0).normal(size=(30, 1, 16, 2)).astype(np.float32)


def bundle_record(values: bytes, digests: Digests, target: HailoArch = "hailo8") -> BundleRecord:
    """The record of bundle.json."""
    numbers = calibration()
    (window,), (projection,) = graph_interface.interface(SPEC)["encoder"]
    return BundleRecord(
        model="conv2d_fsq",
        version=None,
        hw_arch=target,
        network="conv2d_fsq",
        toolchain=Toolchain(dataflow_compiler=">=3.31,<4", hailort=">=4.21,<5"),
        checkpoint_sha256=digests[filenames.CHECKPOINT],
        normalization_sha256=digests[filenames.NORMALIZATION],
        classes=SPEC.classes,
        channels=SPEC.input.channels,
        devices=SPEC.input.devices,
        input=window,
        output=projection,
        device_input=(1, 16, 2),
        normalization="host",
        optimization_level=1,
        min_snr_db=10.0,
        calibration=CalibrationRecord(
            shape=numbers.shape,
            values="normalized",
            class_windows=dict.fromkeys(SPEC.classes, 10),
            low=tuple(numbers.min(axis=(0, 1, 2)).tolist()),
            high=tuple(numbers.max(axis=(0, 1, 2)).tolist()),
            sha256=files.sha256_bytes(values),
        ),
        opset=17,
        int8=estimate(digests).summary,
        files={},
    )


def estimate(digests: Digests) -> Int8Estimate:
    """The record of int8.json."""
    scheme = Int8Scheme(
        accuracy=0.5,
        macro_f1=0.5,
        accuracy_drop=0.1,
        macro_f1_drop=0.1,
        code_agreement=0.9,
        snr_db={"projection": 30.0},
        worst_layers=(),
    )
    return Int8Estimate(
        model="conv2d_fsq",
        checkpoint_sha256=digests[filenames.CHECKPOINT],
        normalization_sha256=digests[filenames.NORMALIZATION],
        calibration_windows=30,
        windows=60,
        accuracy=0.6,
        macro_f1=0.6,
        accuracy_drop=0.1,
        snr_db=30.0,
        per_channel=scheme,
        per_tensor=scheme,
        input=(),
        arithmetic="float32",
        packages={},
    )
