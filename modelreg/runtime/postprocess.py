"""Compute the host part: a projection to code, probabilities, label and prediction set, with numpy and ONNX Runtime.

`head.onnx` quantizes and classifies with the arithmetic of torch. This module does the steps after it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelreg.artifacts import ort_session
from modelreg.errors import InputError, Problem
from modelreg.evaluation import conformal
from modelreg.evaluation.calibration import limit_of
from modelreg.records.calibration import AbstainRule, AnyConfidenceRecord, SetKind
from modelreg.records.export import CODE, LOGITS, PROJECTION
from modelreg.records.model import FsqSpec, ModelSpec, VqSpec
from modelreg.runtime.backends import Floats

Doubles = NDArray[np.float64]
NO_CODE: Floats = np.empty(0, dtype=np.float32)


class Answer(NamedTuple):
    """A model's answer to one window."""

    projection: Floats  # (d,)
    code: Floats  # (w,), the output of head.onnx; w = 0 for a model without a quantizer
    code_index: int | None
    logits: Floats  # (K,)
    probabilities: Doubles  # (K,)
    label: int  # the most probable class
    members: tuple[int, ...] | None = None  # of the prediction set; None: no threshold
    abstains: bool | None = None  # from naming one class, by the rule of SetChoice; None: no prediction set


class Calibrated(NamedTuple):
    """The probabilities and the prediction set of one window."""

    probabilities: Doubles  # (K,)
    members: tuple[int, ...] | None  # classes of the prediction set; None without a threshold
    abstains: bool | None = None  # None without a threshold


class SetChoice(NamedTuple):
    """Which prediction sets a user wants, and when the model abstains."""

    kind: SetKind = "pooled"
    abstain: AbstainRule = "not_single"


Calibrate = Callable[[Floats], Calibrated]  # takes logits (K,)
BY_DEFAULT = SetChoice()


def calibration(record: AnyConfidenceRecord | None, choice: SetChoice = BY_DEFAULT) -> Calibrate:
    """Return a function that applies a calibration.json: the temperature and prediction sets, which may be empty.

    It gives the results of `evaluation.calibration.apply` for a single window, in a fifth of the time. Without a
    calibration.json it is the softmax. Raises InputError if sets for a new subject were chosen and cannot be promised.
    """
    limit = "the model has no calibration.json" if record is None else limit_of(record, choice.kind)
    if isinstance(limit, str) and choice.kind != BY_DEFAULT.kind:
        raise InputError(
            "cannot make prediction sets for a new subject", [Problem("sets", "predict.no-threshold", limit)]
        )
    if record is None:
        return uncalibrated
    temperature = record.temperature.value
    if isinstance(limit, str):
        return lambda logits: Calibrated(softmax(logits.astype(np.float64) / temperature), None)
    highest, rule = limit, choice.abstain

    def calibrate(logits: Floats) -> Calibrated:
        probabilities = softmax(logits.astype(np.float64) / temperature)
        members = tuple(np.flatnonzero(1 - probabilities <= highest).tolist())
        return Calibrated(probabilities, members, conformal.abstains(len(members), rule))

    return calibrate


class Host:
    """The host part of one model."""

    def __init__(self, spec: ModelSpec, head: bytes, calibrate: Calibrate | None = None) -> None:
        self._session = ort_session.session(head)
        self._names = [LOGITS] if spec.levels is None else [CODE, LOGITS]
        self._index = _indexer(spec.quantizer)
        self._calibrate = calibrate or uncalibrated

    def answer(self, projection: Floats) -> Answer:
        """Return the answer to a projection (d,)."""
        *codes, logits = (rows[0] for rows in self._session.run(self._names, {PROJECTION: projection[None]}))
        code = codes[0] if codes else NO_CODE
        probabilities, members, abstains = self._calibrate(logits)
        return Answer(
            projection=projection,
            code=code,
            code_index=self._index(code) if codes else None,
            logits=logits,
            probabilities=probabilities,
            label=int(probabilities.argmax()),
            members=members,
            abstains=abstains,
        )


def _indexer(quantizer: FsqSpec | VqSpec | None) -> Callable[[Floats], int]:
    """Return a function from a code (w,) to its index."""
    if not isinstance(quantizer, FsqSpec):
        return lambda code: int(np.bincount(code.astype(np.int64)).argmax())  # the most frequent; the smallest of a tie
    half_width, basis = (np.array(row, dtype=np.int64) for row in (quantizer.half_width, quantizer.basis))
    return lambda code: int((np.rint(code * half_width).astype(np.int64) + half_width) @ basis)


def uncalibrated(logits: Floats) -> Calibrated:
    """Return the softmax without temperature scaling, and no prediction set."""
    return Calibrated(softmax(logits), None)


def log_softmax(logits: Floats) -> Doubles:
    """Return log probabilities (K,) of logits (K,), in float64."""
    wide = logits.astype(np.float64) - float(logits.max())
    log_p: Doubles = wide - np.log(np.exp(wide).sum())
    return log_p


def softmax(logits: Floats | Doubles) -> Doubles:
    """Return probabilities (K,) of logits (K,), in float64."""
    wide = logits.astype(np.float64)
    odds: Doubles = np.exp(wide - wide.max())
    odds /= odds.sum()
    return odds


def near_boundary(projection: Floats, quantizer: FsqSpec, within: float) -> NDArray[np.bool_]:
    """Return (…, d): whether a bounded value is at most `within` from a rounding boundary, half-way between two levels.

    There the last bits of tanh decide how the value is rounded. `projection` is (…, d).
    """
    bounded = np.tanh(projection + quantizer.shift) * quantizer.half_range - quantizer.offset
    near: NDArray[np.bool_] = np.abs(bounded - np.floor(bounded) - 0.5) <= within
    return near
