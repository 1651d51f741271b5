"""Build a model from the tensors of a trained checkpoint, as ml.semimarkov does, with numpy."""

from collections.abc import Callable, Mapping

import numpy as np

from modelreg.hsmm.durations import PARAMETERS, Durations, Floats, Kind
from modelreg.hsmm.model import Hsmm

INTO_RANGE: Mapping[str, Callable[[Floats], Floats]] = {  # of the families' parameters
    "r": lambda x: np.logaddexp(0, x),
    "p": lambda x: np.exp(-np.logaddexp(0, -x)),
    "rate": lambda x: np.logaddexp(0, x),
    "mean": lambda x: x,
    "sd": lambda x: np.logaddexp(0, x),
}


def of_tensors(tensors: Mapping[str, Floats], kind: Kind, longest: int) -> Hsmm:
    """Return the model for `initial_logits` (S,), `transition_logits` (S, S − 1) and free `durations` (S, P)."""
    initial = _softmax(tensors["initial_logits"])
    others = ~np.eye(len(initial), dtype=bool)
    transition = np.zeros(others.shape)
    transition[others] = _softmax(tensors["transition_logits"]).ravel()
    columns = zip(PARAMETERS[kind], tensors["durations"].T, strict=True)
    parameters = np.column_stack([INTO_RANGE[name](column) for name, column in columns])
    return Hsmm(initial, transition, Durations(kind, parameters, longest))


def _softmax(logits: Floats) -> Floats:
    shares: Floats = np.exp(logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True))
    return shares
