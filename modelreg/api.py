"""The public API of `import modelreg`: load a model and predict with it, verify a version, list versions.

docs/api.md has examples. Names that are not in `modelreg.__all__` are private.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modelreg import config
from modelreg.data import columns, frames, unfit_windows
from modelreg.data.columns import Unreadable
from modelreg.data.frames import Moments, Recording
from modelreg.data.unfit_windows import Unfit
from modelreg.errors import InputError, ModelregError, Notice, Problem, RegistryError, VerificationFailed
from modelreg.evaluation import calibration, conformal
from modelreg.records.calibration import ABSTAIN_RULES, SETS, AbstainRule, SetKind
from modelreg.records.model import Channel
from modelreg.registry import references
from modelreg.registry import versions as stored
from modelreg.registry.references import Registry
from modelreg.registry.versions import Summary
from modelreg.verification import verify as verification
from modelreg.verification.verify import Verification
from modelreg.workflows import cut_recording
from modelreg.workflows import open_model as opening
from modelreg.workflows.open_model import OpenModel, Outputs

if TYPE_CHECKING:
    from modelreg.verification.keys import PublicKey

__all__ = [  # what modelreg/__init__.py offers
    "Channel",
    "InputError",
    "Model",
    "ModelregError",
    "Notice",
    "Predictions",
    "Problem",
    "RegistryError",
    "Summary",
    "Timeline",
    "Verification",
    "VerificationFailed",
    "load",
    "verify",
    "versions",
]

Reference = str | os.PathLike[str]
NOT_PREDICTED = "nothing was predicted"


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions for N windows; K is the number of classes."""

    classes: tuple[str, ...]
    labels: NDArray[np.int64]  # (N,) index of the most probable class
    probabilities: NDArray[np.float64]  # (N, K), after temperature scaling where calibration.json applies it
    sets: tuple[tuple[str, ...], ...] | None  # prediction set of each window; None: the version has no threshold
    codes: NDArray[np.int64] | None  # (N,) index of the code; None: the model has no quantizer
    abstained: NDArray[np.bool_] | None  # (N,) whether the model abstains from naming one class; None: no sets

    @property
    def names(self) -> tuple[str, ...]:
        """The name of the most probable class of each window."""
        return tuple(self.classes[label] for label in self.labels)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Timeline:
    """The predictions for a recording: N windows in order of time, and notices about windows left out."""

    start: Moments  # (N,) time of each window's first sample, on the recording's clock; datetimes are UTC
    end: Moments  # (N,) time of its last sample
    predictions: Predictions
    notices: tuple[Notice, ...]  # gaps, missing values, values outside the sensor's limits

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return start, end, label and a probability for each class, as columns of a data frame."""
        found = self.predictions
        named = {name: found.probabilities[:, number] for number, name in enumerate(found.classes)}
        return {"start": self.start, "end": self.end, "label": np.array(found.names, dtype="U"), **named}

    def __len__(self) -> int:
        return len(self.predictions)


class Model:
    """A verified model, as `modelreg.load` returns it."""

    def __init__(self, opened: OpenModel) -> None:
        self._opened = opened

    @property
    def reference(self) -> str:
        """The version, such as `conv2d_fsq@v0.2.0`; for a run, the name of its folder."""
        return self._opened.reference

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the K classes, in the order of the probabilities."""
        return self._opened.spec.classes

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The name and the unit of the C channels of a device, in the order of a window."""
        return self._opened.spec.input.channels

    @property
    def devices(self) -> tuple[str, ...]:
        """The names of the devices, in the order of a window's rows."""
        return self._opened.spec.input.devices

    @property
    def rate_hz(self) -> float:
        """The sampling rate that the model was trained at."""
        return self._opened.spec.input.rate_hz

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (C, D, T) of a window: channels, device rows, timesteps."""
        return self._opened.spec.input.shape

    @property
    def limits(self) -> Mapping[str, tuple[float, float]]:
        """The lowest and highest value of the sensor by channel; empty if the version declares no limits."""
        return MappingProxyType(self._opened.normalization.limits.channels)

    def __repr__(self) -> str:
        return f"<modelreg.Model {self.reference}: {len(self.classes)} classes, windows {self.shape}>"

    def predict(
        self, windows: ArrayLike, *, sets: SetKind = "pooled", abstain: AbstainRule = "not_single"
    ) -> Predictions:
        """Classify windows (N, C, D, T) in raw units; the model normalizes them.

        `sets` chooses the prediction sets: `pooled`, or `new_subject` where the version has that threshold. `abstain`
        is the rule of `Predictions.abstained`: `not_single` (the set is empty or has several classes), `empty` or
        `never`. Raises InputError if the shape is another, a value is missing, or a value is outside the sensor's
        limits; for sets that the version does not have; and for another rule.
        """
        self._refuse_choice(sets, abstain)
        x = self._checked(windows)
        outputs = self._opened.engine.compute(x)
        overflowing = np.flatnonzero(~np.isfinite(outputs.logits).all(axis=1))
        if len(overflowing):
            where = cut_recording.places("window", overflowing)
            _refuse([Problem(where, "predict.overflow", "values so large that the network overflows")])
        return self._predictions(outputs, sets, abstain)

    def predict_recording(
        self,
        recording: Recording,
        *,
        time: str = "time",
        hop: int | None = None,
        sets: SetKind = "pooled",
        abstain: AbstainRule = "not_single",
    ) -> Timeline:
        """Cut a recording into windows and classify each.

        `recording` is a pandas or polars data frame, or a mapping of names to arrays, with a column for each channel in
        the model's unit and a column `time` of seconds or datetimes; for a model with several devices, a mapping of
        device names to such frames, on one clock. `hop` is the distance between windows in samples; the default is that
        of the training. Samples are resampled to the model's rate as on the device. A window in a gap, with a missing
        value or with a value outside the sensor's limits is left out, with a notice. A gap of up to 0.5 s, or as long
        as the version allows, is interpolated without a notice. Raises InputError if a column is missing, or the rate
        differs from the model's by more than 2 %. `sets` and `abstain` are those of `predict`.
        """
        self._refuse_choice(sets, abstain)
        spec, limits = self._opened.spec.input, self._opened.normalization.limits
        hop = self._opened.hop if hop is None else hop
        if hop is None:
            what = "not given, and a bundle does not record the hop of its training"
            raise InputError(NOT_PREDICTED, [Problem("hop", "predict.hop-missing", what)])
        if isinstance(hop, bool) or not isinstance(hop, int | np.integer) or hop < 1:
            what = f"is {columns.shown(hop)}, expected an integer of at least 1: the distance of windows in samples"
            raise InputError(NOT_PREDICTED, [Problem("hop", "predict.argument-invalid", what)])
        if not isinstance(time, str):
            raise InputError(
                NOT_PREDICTED,
                [Problem("time", "predict.argument-invalid", f"is {columns.shown(time)}, expected a column's name")],
            )
        read = frames.read_recording(recording, spec, time)
        cuts = cut_recording.cut(read, spec, int(hop), limits)
        outputs = self._opened.engine.compute(cuts.x)
        finite = np.isfinite(outputs.logits).all(axis=1)
        notices = cuts.notices
        if not finite.all():
            where = cut_recording.places("window", cuts.start[~finite], unit=" s")
            notices = (*notices, Notice(where, "left out: values so large that the network overflows"))
        codes = None if outputs.codes is None else outputs.codes[finite]
        start = cuts.start[finite]
        end = start + (spec.timesteps - 1) / spec.rate_hz
        predictions = self._predictions(Outputs(outputs.logits[finite], codes), sets, abstain)
        return Timeline(read.moments(start), read.moments(end), predictions, notices)

    def _checked(self, windows: ArrayLike) -> NDArray[np.float32]:
        expected = f"expected numbers of shape (N, {', '.join(map(str, self.shape))})"
        given = columns.as_array(windows)
        if isinstance(given, Unreadable):
            raise InputError(NOT_PREDICTED, [Problem("windows", "predict.windows-type", f"{given.what}; {expected}")])
        if not columns.is_real(given.dtype):
            found = f"hold {columns.contents(given)}" if given.ndim else f"are {columns.type_of(windows)}"
            raise InputError(NOT_PREDICTED, [Problem("windows", "predict.windows-type", f"{found}, {expected}")])
        with np.errstate(over="ignore"):  # values outside the range of float32 become Inf, and are refused below
            x = given.astype(np.float32, copy=False)
        if x.ndim != 4 or x.shape[1:] != self.shape:
            _refuse([Problem("windows", "predict.window-shape", f"have shape {x.shape}, {expected}")])
        unfit = unfit_windows.find(x, self._opened.spec.input, self._opened.normalization.limits)
        _refuse([_unfit(found) for found in unfit])
        return x

    def _refuse_choice(self, sets: SetKind, abstain: AbstainRule) -> None:
        for name, given, known in (("sets", sets, SETS), ("abstain", abstain, ABSTAIN_RULES)):
            if given not in known:
                what = f"is {columns.shown(given)}, expected {' or '.join(known)}"
                _refuse([Problem(name, "predict.argument-invalid", what)])
        fitted = self._opened.calibration
        limit = "the version has no calibration.json" if fitted is None else calibration.limit_of(fitted, sets)
        if sets == "new_subject" and isinstance(limit, str):
            _refuse([Problem("sets", "predict.no-threshold", limit)])

    def _predictions(self, outputs: Outputs, kind: SetKind, rule: AbstainRule) -> Predictions:
        fitted = self._opened.calibration
        if fitted is None:
            probabilities, members = calibration.probabilities(outputs.logits, 1.0), None
        else:
            probabilities, members = calibration.apply(outputs.logits, fitted, kind)
        sets = None if members is None else tuple(self._named(each) for each in members)
        abstained = (
            None if sets is None else np.array([conformal.abstains(len(each), rule) for each in sets], dtype=bool)
        )
        return Predictions(self.classes, probabilities.argmax(axis=1), probabilities, sets, outputs.codes, abstained)

    def _named(self, members: NDArray[np.bool_]) -> tuple[str, ...]:
        return tuple(self.classes[number] for number in np.flatnonzero(members))


def load(reference: Reference, *, root: Reference | None = None) -> Model:
    """Load a model, and verify each file that is read.

    `reference` is `conv2d_fsq@v0.2.0`, `v0.2.0` (of the default model), `latest`, an alias, a tag of `release`, or the
    path of a version, a run or a bundle; an existing path wins. `root` is the registry's folder; the default is the
    registry of the working directory. Raises RegistryError for an unknown reference, VerificationFailed if a file
    differs from its manifest, InputError if a file is not on this machine or an extra is not installed.
    """
    path = references.export_path(os.fspath(reference), Path(), lambda: _registry(root))
    return Model(opening.open_model(path))


def verify(
    reference: Reference,
    *,
    root: Reference | None = None,
    complete: bool = False,
    key: Reference | None = None,
) -> Verification:
    """Check every digest, document and metric of a version. The result is true if nothing is wrong.

    With `complete`, a release asset that is not on this machine is a problem, not a notice. `key` is the file of a
    public key (PEM) that must have signed the version. Raises RegistryError for an unknown name and for a run,
    InputError if the key cannot be read. A folder without a manifest fails.
    """
    folder = references.version_folder(os.fspath(reference), Path(), lambda: _registry(root))
    options = verification.Options(complete=complete, key=_public_key(key))
    return verification.verify(folder, options, verification.Ports())


def versions(model: str | None = None, *, root: Reference | None = None, strict: bool = True) -> tuple[Summary, ...]:
    """Return the versions of one model or of all models, by model and then by precedence, as `modelreg list` does.

    Raises RegistryError for an unknown model, and VerificationFailed if a version cannot be read; with `strict=False`
    such a version is left out.
    """
    found, broken = stored.summaries(_registry(root).root, model)
    if broken and strict:
        raise VerificationFailed("cannot list every version", broken)
    return tuple(found)


def _public_key(path: Reference | None) -> "PublicKey | None":
    if path is None:
        return None
    from modelreg.verification import keys  # cryptography is slow: load it on use

    return keys.load_public(Path(path))


def _registry(root: Reference | None) -> Registry:
    """Return the registry at `root`, or that of the working directory. Raises InputError if there is none."""
    folder = config.find_project(Path.cwd()) if root is None else Path(root)
    if folder is None:
        what, step = f"no {config.PROJECT_FILE} in this folder or above", "pass root=, or run `modelreg init`"
        raise InputError("no registry was found", [Problem(str(Path.cwd()), "registry.not-found", what, step)])
    settings = config.load(folder / config.PROJECT_FILE, config.ProjectConfig)
    return Registry(folder, settings.default_model, settings.tag_format)


def _unfit(found: Unfit) -> Problem:
    where = cut_recording.places("window", found.windows)
    return Problem(where, "predict.value-missing" if found.missing else "predict.out-of-limits", found.what)


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise InputError(NOT_PREDICTED, problems)
