"""Compare a legacy ONNX file with a run on real windows.

The meaning of the graph's outputs is not known: each is compared with every output of the run that has its width.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from modelreg import files
from modelreg.artifacts import onnx_file
from modelreg.config import TrainConfig
from modelreg.data import normalization, preparation
from modelreg.data.cache import Reading
from modelreg.data.windows import spread
from modelreg.errors import ExportError, InputError, Problem
from modelreg.ml import checkpoint, factory
from modelreg.ml.legacy_conversion import LATENT_HEADS
from modelreg.records.base import load
from modelreg.records.data import Normalization
from modelreg.records.model import TcnVaeSettings
from modelreg.records.run import RunRecord
from modelreg.registry import filenames, runs
from modelreg.workflows import run_checks

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

WINDOWS = 256

Floats = NDArray[np.float32]


class Likeness(NamedTuple):
    """The similarity of one output of the graph and one of the run, over N windows."""

    output: str  # the graph's
    beside: str  # the run's: features (of tcn_vae, the input of the latent mean), projection, code or logits
    max_difference: float
    min_cosine: float  # of the least similar window
    mean_cosine: float


class Compared(NamedTuple):
    """The outputs that could be compared."""

    sha256: str  # of the graph's file
    windows: int
    likenesses: tuple[Likeness, ...]


def compare(folder: Path, graph: Path, reading: Reading) -> Compared:
    """Compare a graph with a run on training windows, normalized as the run normalizes them.

    Raises InputError if the file is not an ONNX graph, does not take the run's windows, or has no output of a width
    that the run has; ExportError if the graph cannot be computed, or returns NaN or Inf.
    """
    data = files.read_bytes(graph, onnx_file.GRAPH_LIMIT)
    session = _session(data, str(graph))
    run = runs.load_run(folder)
    if problems := list(runs.find_changed(folder, run)):
        raise InputError("cannot compare with this run", problems)
    prepared = preparation.prepare(load(folder / filenames.CONFIG, TrainConfig), reading)
    run_checks.refuse_other_data(folder, prepared)
    scale = load(folder / filenames.NORMALIZATION, Normalization)
    windows = normalization.apply(spread(prepared.windows["train"].x, WINDOWS), scale)
    ours = _answers(folder, run, windows)
    theirs = _run(session, windows, str(graph))
    likenesses = tuple(_likenesses(theirs, ours))
    if not likenesses:
        what = f"has outputs of width {_widths(theirs)}, but the run has {_widths(ours)}"
        raise InputError("cannot compare", [Problem(str(graph), "compare.no-comparable-output", what)])
    return Compared(files.sha256_bytes(data), len(windows), likenesses)


def _answers(folder: Path, run: RunRecord, windows: Floats) -> dict[str, Floats]:
    """Return the run's outputs; of an imported encoder, those whose weights it has."""
    network = factory.of_spec(run.model, seed=0)
    missing = run.imported.lacks if run.imported else ()
    network.load_state_dict(checkpoint.read_checkpoint(folder / filenames.CHECKPOINT).tensors, strict=not missing)
    network.eval()
    with torch.inference_mode():
        output = network(torch.from_numpy(windows))
    known = {
        "features": isinstance(run.model.settings, TcnVaeSettings),  # in other systems they come after the quantizer
        "projection": LATENT_HEADS not in missing,
        "code": not missing and run.model.quantizer is not None,
        "logits": not missing,
    }
    return {name: getattr(output, name).numpy() for name, is_known in known.items() if is_known}


def _session(data: bytes, where: str) -> "InferenceSession":
    import onnxruntime as ort
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except (
        state.InvalidProtobuf,
        state.InvalidArgument,
        state.InvalidGraph,
        state.Fail,
        state.NotImplemented,
    ) as error:
        what = checkpoint.foreign(data) or f"ONNX Runtime cannot load it: {_short(error)}"
        raise InputError("cannot read the graph", [Problem(where, "onnx.unreadable", what)]) from error


def _run(session: "InferenceSession", windows: Floats, where: str) -> dict[str, Floats]:
    """Return the graph's outputs by name, flat (N, d); each window is computed alone."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        what = ", ".join(f"{each.name} of {each.type}" for each in inputs)
        what = f"has the inputs {what}, expected one of float32"
        raise InputError("cannot compare", [Problem(where, "compare.input-mismatch", what)])
    x = _arranged(windows, inputs[0].shape, where)
    names = [output.name for output in session.get_outputs() if output.type == "tensor(float)"]
    try:
        answers = [session.run(names, {inputs[0].name: window[None]}) for window in x]
    except (state.RuntimeException, state.InvalidArgument, state.Fail) as error:
        what = f"ONNX Runtime stopped: {_short(error)}"
        raise ExportError("cannot compare", [Problem(where, "onnx.not-computable", what)]) from error
    found = {name: [answer[n].ravel() for answer in answers] for n, name in enumerate(names)}
    even = {name: np.stack(rows) for name, rows in found.items() if len({len(row) for row in rows}) == 1}
    if problems := [
        Problem(f"{where}: {name}", "onnx.not-finite", "the output has NaN or infinite values")
        for name in even
        if not np.isfinite(even[name]).all()
    ]:
        raise ExportError("cannot compare", problems)
    return even


def _arranged(windows: Floats, expected: list[object], where: str) -> Floats:
    """Return windows (N, C, D, T) with the axes that a graph takes; an axis without a number takes any length."""
    count, channels, devices, steps = windows.shape
    flat = windows.transpose(0, 2, 1, 3).reshape(count, devices * channels, steps)
    for arranged in (windows, flat.transpose(0, 2, 1), flat):
        shape = (1, *arranged.shape[1:])
        fits = (not isinstance(axis, int) or axis == length for axis, length in zip(expected, shape, strict=False))
        if len(expected) == len(shape) and all(fits):
            return np.ascontiguousarray(arranged)
    found = f"a window has the shape {[channels, devices, steps]} (or flat {[steps, devices * channels]})"
    what = f"takes an input of shape {expected}, but {found}"
    raise InputError("cannot compare", [Problem(where, "compare.input-mismatch", what)])


def _likenesses(theirs: Mapping[str, Floats], ours: Mapping[str, Floats]) -> Iterator[Likeness]:
    """Yield the similarity of each pair of outputs of one width."""
    for output, found in theirs.items():
        for beside, expected in ours.items():
            if found.shape == expected.shape:
                similar = cosines(found, expected)
                largest = float(np.abs(found - expected).max())
                yield Likeness(output, beside, largest, float(similar.min()), float(similar.mean()))


def cosines(a: Floats, b: Floats) -> NDArray[np.float64]:
    """Return the cosine between rows of (N, d) arrays, in float64: 1 if both are zero, 0 if one is."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    both = ~a.any(axis=1) & ~b.any(axis=1)
    similar = np.where(lengths > 0, (a * b).sum(axis=1) / np.where(lengths > 0, lengths, 1), 0.0)
    return np.where(both, 1.0, similar)


def _widths(answers: Mapping[str, Floats]) -> str:
    return ", ".join(f"{values.shape[1]} ({name})" for name, values in answers.items()) or "none"


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
