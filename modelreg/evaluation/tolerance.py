"""Tolerances for recomputed numbers, and the comparison of two documents.

Each row has the name, the value, what is compared, and the reason why the tolerance is not 0. "±" is relative or
absolute, whatever is larger. docs/numbers.md has the same table for readers.

RECOMPUTED         1e-9 ±          numbers that `verify` recomputes in float64 from the same inputs: metrics,
                                   temperature, thresholds, constants of the quantizer. exp, log and the order of sums
                                   differ in the last bits between machines
FLOAT32            1e-5 ±          a number of hsmm.json, compared with the float32 tensors of the checkpoint. It is a
                                   logarithm or an exponential with 24 bits
QUANTIZER          1e-12 relative  a constant of the quantizer of a run, compared with its settings. atanh differs in
                                   the last bit between machines
GATE               1e-12 absolute  a difference of two versions' metrics, above the tolerance of its gate. 0.9 - 0.8 is
                                   more than 0.1 in floating point
RANK               1e-9 absolute   the rank of a conformal threshold before it is rounded down. 10 * 0.1 must be whole
SCORE              1e-5 absolute   a conformal score above its threshold. With a quantizer, many windows have exactly
                                   the score of the threshold, and the logits of another runtime differ in the last
                                   bits: the sets of all these windows would lose a class
LOGIT              1e-3 ±          a logit that `verify --reproduce` predicts again, if the code is the same. float32
                                   sums differ between processors and versions of torch
RECODED            0.01            the share of windows whose code changes when they are predicted again. A projection
                                   at the boundary between two codes may be rounded either way
REPRODUCED_METRIC  0.005 ±         a metric of predictions made again. A window with another code may get another class
INT8_SNR_DB        0.1 dB          the signal-to-noise ratio of an 8-bit estimate made on another processor. float32
                                   sums in another order move a value to the next step
INT8_SHARE         0.005 absolute  accuracy, macro F1 and the share of unchanged codes of such an estimate; or one
                                   window, if that is more. The reason is the same

Tolerances that a document states, or that belong to a record or an algorithm, are defined there:
`records.export.Tolerance` (graphs and torch; parity.json states it, and the runtime's self-test uses it),
`records.gates.Gate.tolerance`, `records.hsmm.SUM_TOLERANCE` (a distribution sums to 1), `data.alignment.SAME` (a time
stamp is on the grid), `ml.dirichlet_process.TOLERANCE` (a fit has converged), `NATIVE_ERROR` of the script that
compiles a bundle.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from modelreg.errors import Problem

RECOMPUTED = 1e-9
FLOAT32 = 1e-5
QUANTIZER = 1e-12
GATE = 1e-12
RANK = 1e-9
SCORE = 1e-5
LOGIT = 1e-3
RECODED = 0.01
REPRODUCED_METRIC = 0.005
INT8_SNR_DB = 0.1
INT8_SHARE = 0.005

Keys: TypeAlias = tuple[str | int, ...]


def differences(keys: Keys, theirs: Any, ours: Any, tolerance: float) -> Iterator[Problem]:
    """Yield the dotted path of every value of two JSON documents that differs, with both values.

    Counts and strings must be equal; other numbers may differ by `tolerance`, relative or absolute.
    """
    if isinstance(theirs, dict) and isinstance(ours, dict):
        yield from _part_differences(keys, theirs, ours, tolerance)
    elif isinstance(theirs, list) and isinstance(ours, list):
        yield from _part_differences(keys, dict(enumerate(theirs)), dict(enumerate(ours)), tolerance)
    elif not _are_close(theirs, ours, tolerance):
        what = f"stated {_shown(theirs)}, recomputed {_shown(ours)}"
        yield Problem(".".join(map(str, keys)), "verify.value-mismatch", what)


def _part_differences(
    keys: Keys, theirs: Mapping[Any, Any], ours: Mapping[Any, Any], tolerance: float
) -> Iterator[Problem]:
    for key in [*theirs, *(key for key in ours if key not in theirs)]:
        yield from differences((*keys, key), theirs.get(key), ours.get(key), tolerance)


def _are_close(theirs: Any, ours: Any, tolerance: float) -> bool:
    if isinstance(theirs, float) and isinstance(ours, float):
        return math.isclose(theirs, ours, rel_tol=tolerance, abs_tol=tolerance)
    return type(theirs) is type(ours) and bool(theirs == ours)


def _shown(value: Any) -> str:
    return "no value" if value is None else str(value)
