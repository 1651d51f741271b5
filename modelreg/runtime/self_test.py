"""Test at start-up that a backend reproduces the outputs of the exported model.

ONNX Runtime must reproduce the outputs of torch for the test vectors, within the tolerance in parity.json. A chip
computes in 8 bits: the signal-to-noise ratio of its projections must be at least `min_snr_db` of bundle.json. For an
export without test vectors, encoder and head are compared with the whole graph on constant windows.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from modelreg.artifacts import ort_session
from modelreg.artifacts.quantization_noise import snr_db
from modelreg.errors import Problem
from modelreg.records.export import CODE, LOGITS, PROJECTION, WINDOWS
from modelreg.records.model import FsqSpec
from modelreg.runtime.backends import Floats
from modelreg.runtime.bundle_loader import Package
from modelreg.runtime.normalization import Scale
from modelreg.runtime.postprocess import Answer, near_boundary

ANSWERS = (PROJECTION, CODE, LOGITS)
DEVIATIONS = (-2.0, -1.0, 0.0, 1.0, 2.0)  # the constant windows, in standard deviations from the mean


def find_problems(loaded: Package, answer: Callable[[Floats], Answer], *, on_chip: bool) -> Iterator[Problem]:
    """Yield the outputs of `answer`, a function of raw windows (C, D, T), that differ from the exported ones."""
    raw, expected = _expectations(loaded)
    answers = [answer(window) for window in raw]
    found = {name: np.stack([getattr(answer, name) for answer in answers]) for name in expected if name in ANSWERS}
    if on_chip:
        yield from _find_noise(expected[PROJECTION], found[PROJECTION], loaded)
    else:
        yield from _find_deviations(expected, found, loaded)


def windows_of(loaded: Package) -> Floats:
    """Return raw windows (N, C, D, T) to test an export with."""
    return _expectations(loaded)[0]


def _expectations(loaded: Package) -> tuple[Floats, Mapping[str, Floats]]:
    return (loaded.vectors["windows_raw"], loaded.vectors) if loaded.vectors else _from_whole(loaded)


def _from_whole(loaded: Package) -> tuple[Floats, Mapping[str, Floats]]:
    """Return constant raw windows and the outputs of model.onnx for them."""
    scale, whole = Scale(loaded.normalization), ort_session.session(loaded.graphs["model"])
    level = np.array(DEVIATIONS, dtype=np.float32)[:, None, None, None] * np.ones(loaded.spec.input.shape, np.float32)
    raw = scale.restore(level)
    names = [name for name in ANSWERS if name != CODE or loaded.spec.levels is not None]
    answers = [whole.run(names, {WINDOWS: scale.normalize(window)[None]}) for window in raw]
    return raw, dict(zip(names, (np.concatenate(parts) for parts in zip(*answers, strict=True)), strict=True))


def _find_deviations(expected: Mapping[str, Floats], found: Mapping[str, Floats], loaded: Package) -> Iterator[Problem]:
    tolerance = loaded.parity.tolerance
    none = np.zeros((len(expected[LOGITS]), 0), dtype=np.float32)
    differs = expected.get(CODE, none) != found.get(CODE, none)
    quantizer = loaded.spec.quantizer
    near = np.zeros_like(differs)  # without the codebook, no vector is known to be close to two codes
    if isinstance(quantizer, FsqSpec):
        near = near_boundary(expected[PROJECTION], quantizer, tolerance.boundary)
    if (wrong := differs & ~near).any():
        message = f"differs from the exported code in {int(wrong.any(axis=1).sum())} of {len(wrong)} windows"
        yield Problem(CODE, "bundle.self-test-failed", message)
    same = ~differs.any(axis=1)
    for name, rows in ((PROJECTION, slice(None)), (LOGITS, same)):
        then, now = expected[name][rows], found[name][rows]
        error = np.abs(then - now)
        if not (error <= tolerance.absolute + tolerance.relative * np.abs(then)).all():  # NaN is over
            message = f"differs from the exported values by up to {error.max():.3g} (limit {tolerance.absolute:g})"
            yield Problem(name, "bundle.self-test-failed", message)


def _find_noise(expected: Floats, found: Floats, loaded: Package) -> Iterator[Problem]:
    required = loaded.bundle.min_snr_db if loaded.bundle else 0.0
    measured = snr_db(expected, found)
    if not measured >= required:  # NaN is below
        message = f"signal-to-noise ratio of the chip's output is {measured:.1f} dB (required {required:g} dB)"
        yield Problem(PROJECTION, "hef.noise", message)
