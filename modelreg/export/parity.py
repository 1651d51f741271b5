"""Compare exported graphs, run by ONNX Runtime, with the network in torch.

There are two paths through the graphs: the whole model, and the encoder followed by the head, as on the device. Both
must reproduce torch's projection, code and logits, on real windows and on edge cases. A code may differ only if the
bounded value is so close to a rounding boundary that the last bits decide.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from modelreg.artifacts import ort_session
from modelreg.errors import ExportError, Problem
from modelreg.ml.network import Network
from modelreg.records.export import CODE, LOGITS, PROJECTION, WINDOWS, GraphName, PathParity, Tolerance

Floats = NDArray[np.float32]


class Answers(NamedTuple):
    """The outputs for N windows."""

    projection: Floats  # (N, d)
    code: Floats  # (N, w); w = 0 for a model without a quantizer
    logits: Floats  # (N, K)


class Parity(NamedTuple):
    """Both paths compared with torch, and the breaches of the tolerance."""

    whole: PathParity
    split: PathParity
    problems: tuple[Problem, ...]


def of_torch(network: Network, windows: Floats) -> Answers:
    """Return torch's outputs for normalized windows (N, C, D, T), one window at a time as for the graphs."""
    network.eval()
    with torch.inference_mode():
        outputs = [network(window[None]) for window in torch.from_numpy(windows)]
    return Answers(
        torch.cat([output.projection for output in outputs]).numpy(),
        torch.cat([output.code for output in outputs]).numpy(),
        torch.cat([output.logits for output in outputs]).numpy(),
    )


def of_graphs(graphs: Mapping[GraphName, bytes], windows: Floats) -> tuple[Answers, Answers]:
    """Return ONNX Runtime's outputs of the whole graph, and of the encoder followed by the head."""
    sessions = {name: ort_session.session(data) for name, data in graphs.items()}
    whole = [ort_session.ask(sessions["model"], WINDOWS, window[None]) for window in windows]
    encoded = [ort_session.ask(sessions["encoder"], WINDOWS, window[None]) for window in windows]
    heads = [ort_session.ask(sessions["head"], PROJECTION, answer[PROJECTION]) for answer in encoded]
    return _joined(whole), _joined([{**first, **second} for first, second in zip(encoded, heads, strict=True)])


def _joined(answers: list[dict[str, Floats]]) -> Answers:
    """Concatenate the outputs of single windows; without a quantizer the code has width 0."""
    none = np.empty((1, 0), dtype=np.float32)
    return Answers(*(np.concatenate([a.get(name, none) for a in answers]) for name in (PROJECTION, CODE, LOGITS)))


def measure_parity(
    network: Network, graphs: Mapping[GraphName, bytes], windows: Floats, tolerance: Tolerance
) -> Parity:
    """Compare graphs with their network on normalized windows (N, C, D, T)."""
    expected = of_torch(network, windows)
    boundary = network.undecided(torch.from_numpy(expected.projection), tolerance.boundary).numpy()
    whole, split = of_graphs(graphs, windows)
    problems = [
        *find_breaches(expected, whole, boundary, tolerance, "model.onnx", nodes_of(graphs["model"])),
        *find_breaches(
            expected,
            split,
            boundary,
            tolerance,
            "encoder.onnx and head.onnx",
            nodes_of(graphs["encoder"]) | nodes_of(graphs["head"]),
        ),
    ]
    return Parity(compare(expected, whole, boundary), compare(expected, split, boundary), tuple(problems))


def nodes_of(graph: bytes) -> dict[str, str]:
    """Return the name of the node that computes each tensor of an ONNX file."""
    import onnx

    return {name: node.name for node in onnx.load_from_string(graph).graph.node for name in node.output}


def refuse(parity: Parity) -> None:
    """Raise ExportError if a graph breaks the tolerance."""
    if parity.problems:
        raise ExportError("the graphs are not equivalent to the checkpoint; nothing was written", parity.problems)


def compare(expected: Answers, found: Answers, boundary: NDArray[np.bool_]) -> PathParity:
    """Return the differences between one path through the graphs and torch."""
    different = expected.code != found.code
    agree = ~different.any(axis=1)
    answers = expected.logits[agree].argmax(axis=1) != found.logits[agree].argmax(axis=1)
    return PathParity(
        projection_error=_largest(expected.projection - found.projection),
        codes=different.size,
        codes_near_boundary=int(boundary.sum()),
        codes_different=int(different.sum()),
        logits_error=_largest(expected.logits[agree] - found.logits[agree]),
        argmax_compared=int(agree.sum()),
        argmax_different=int(answers.sum()),
    )


def find_breaches(
    expected: Answers,
    found: Answers,
    boundary: NDArray[np.bool_],
    tolerance: Tolerance,
    where: str,
    nodes: Mapping[str, str],
) -> Iterator[Problem]:
    """Yield each breach of the tolerance by one path, with the measured error and the node that computed the value."""
    at = {name: f" at node {nodes[name]}" if name in nodes else "" for name in (PROJECTION, CODE, LOGITS)}
    agree = (expected.code == found.code).all(axis=1)
    for name, rows in (("projection", slice(None)), ("logits", agree)):
        then, now = getattr(expected, name)[rows], getattr(found, name)[rows]
        allowed = tolerance.absolute + tolerance.relative * np.abs(then)
        if (over := ~(np.abs(then - now) <= allowed)).any():  # NaN is over
            windows = f"{int(over.any(axis=1).sum())} of {len(then)} windows"
            error = f"differs from torch by up to {_largest(then - now):.3g}{at[name]} in {windows}"
            limit = f"limit {tolerance.absolute:g} + {tolerance.relative:g}·|x|"
            yield Problem(f"{where}: {name}", "export.parity-value", f"{error} ({limit})")
    if flipped := int(((expected.code != found.code) & ~boundary).sum()):
        far = f"more than {tolerance.boundary:g} from a rounding boundary"
        message = f"{flipped} digits{at[CODE]} differ from torch, although their values are {far}"
        yield Problem(f"{where}: code", "export.parity-code", message)
    ordered = np.sort(expected.logits[agree], axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 2 * tolerance.absolute
    if wrong := int((expected.logits[agree].argmax(axis=1) != found.logits[agree].argmax(axis=1))[clear].sum()):
        message = f"the predicted class{at[LOGITS]} differs from torch in {wrong} windows"
        yield Problem(f"{where}: logits", "export.parity-class", message)


def edge_windows(shape: tuple[int, int, int], low: Floats, high: Floats, normalized_zero: Floats) -> dict[str, Floats]:
    """Return edge cases by name: zeros, raw zeros, constants and the sensors' limits.

    `low`, `high` and `normalized_zero` are (C, D or 1, 1), normalized.
    """
    full = np.ones(shape, dtype=np.float32)
    alternating = np.where(np.arange(shape[2]) % 2, high, low).astype(np.float32) * full
    return {
        "zeros": 0 * full,
        "raw zeros": normalized_zero * full,
        "ones": full,
        "lowest values": low * full,
        "highest values": high * full,
        "alternating lowest and highest values": alternating,
    }


def _largest(difference: Floats) -> float:
    return float(np.abs(difference).max(initial=0.0))
