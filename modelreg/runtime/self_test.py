"""Whether a runtime answers as the model did when it was exported, found out before it answers anybody.

ONNX Runtime must give what torch gave to the test vectors, within the tolerance that parity.json states. A chip
computes in 8 bits: its projections must lie as near as bundle.json asks (`min_snr_db`). An export of before there were
test vectors can only be held against itself: encoder and head against the whole graph, on windows of one value.
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
DEVIATIONS = (-2.0, -1.0, 0.0, 1.0, 2.0)  # of the windows of one value, in standard deviations


def find_problems(loaded: Package, answer: Callable[[Floats], Answer], *, on_chip: bool) -> Iterator[Problem]:
    """Yield where `answer`, which takes raw windows (C, D, T), does not give what the export promises."""
    raw, expected = _expectations(loaded)
    answers = [answer(window) for window in raw]
    found = {name: np.stack([getattr(answer, name) for answer in answers]) for name in expected if name in ANSWERS}
    if on_chip:
        yield from _find_noise(expected[PROJECTION], found[PROJECTION], loaded)
    else:
        yield from _find_deviations(expected, found, loaded)


def windows_of(loaded: Package) -> Floats:
    """Return the raw windows (N, C, D, T) that an export can be tried on."""
    return _expectations(loaded)[0]


def _expectations(loaded: Package) -> tuple[Floats, Mapping[str, Floats]]:
    return (loaded.vectors["windows_raw"], loaded.vectors) if loaded.vectors else _from_whole(loaded)


def _from_whole(loaded: Package) -> tuple[Floats, Mapping[str, Floats]]:
    """Return windows and what model.onnx gives to them."""
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
    near = np.zeros_like(differs)  # a codebook is not known here: a vector between two codes counts as wrong
    if isinstance(quantizer, FsqSpec):
        near = near_boundary(expected[PROJECTION], quantizer, tolerance.boundary)
    if (wrong := differs & ~near).any():
        yield Problem(CODE, "todo.self-test", f"{int(wrong.any(axis=1).sum())} windows of {len(wrong)} get another one")
    same = ~differs.any(axis=1)
    for name, rows in ((PROJECTION, slice(None)), (LOGITS, same)):
        then, now = expected[name][rows], found[name][rows]
        error = np.abs(then - now)
        if not (error <= tolerance.absolute + tolerance.relative * np.abs(then)).all():  # NaN is over
            yield Problem(
                name, "todo.self-test", f"differs by up to {error.max():.3g}, allowed is {tolerance.absolute:g}"
            )


def _find_noise(expected: Floats, found: Floats, loaded: Package) -> Iterator[Problem]:
    wanted = loaded.bundle.min_snr_db if loaded.bundle else 0.0
    measured = snr_db(expected, found)
    if not measured >= wanted:  # NaN is below
        what = f"{measured:.1f} dB between the chip's answers and torch's, at least {wanted:g} dB are wanted"
        yield Problem(PROJECTION, "todo.self-test", what)
