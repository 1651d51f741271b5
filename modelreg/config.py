"""Settings of a training and of a registry repository: YAML → strict pydantic records.

YAML is read by the safe loader with duplicate keys refused, rendered as JSON and taken in by the same strict
way as every document, so that an error names its dotted path. Unknown keys are errors; every default is
written into the run's config.json.
"""

import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import Field, model_validator

from modelreg import files
from modelreg.errors import InputError, Problem
from modelreg.records.base import ModelName, Name, Record, shared_folder, validate
from modelreg.records.data import Limits
from modelreg.records.export import Target
from modelreg.records.gates import EXPORTED, Gate, Waiver, is_exported
from modelreg.records.metrics import EvaluationSettings
from modelreg.records.model import Conv2dFsqSettings, ModelSettings
from modelreg.records.source import SampleSource, Source

PROJECT_FILE = "modelreg.yaml"


class DataSettings(Record):
    """Which recordings, and how windows are cut from them."""

    sources: Annotated[tuple[Source, ...], Field(min_length=1, max_length=16)] = (SampleSource(),)
    classes: Annotated[tuple[Name, ...], Field(min_length=2)] | None = None  # null: as the sources first name them
    rate_hz: Annotated[float, Field(gt=0, le=100_000)] | None = None  # resampled to; null: the rate they all have
    window: Annotated[int, Field(ge=8, le=100_000)] = 100  # samples
    hop: Annotated[int, Field(ge=1, le=100_000)] = 50  # samples
    labels: Literal["majority", "pure"] = "majority"  # pure: every sample of the window bears it
    fold: Literal[1, 2] = 1

    @model_validator(mode="after")
    def _foldable(self) -> "DataSettings":
        if self.window % self.fold:
            raise ValueError("fold: 2 needs an even window")
        return self


Subjects = Annotated[int, Field(ge=1)] | Annotated[tuple[Name, ...], Field(min_length=1)]


class SubjectSplit(Record):
    """By subject: a number takes the highest ids (test first, then validation); a list names them."""

    by: Literal["subject"] = "subject"
    test: Subjects = 3
    validation: Subjects = 1


class TimeSplit(Record):
    """By time: every recording is cut into a training, a validation and a test piece, with gaps between."""

    by: Literal["time"]
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.2
    gap: Annotated[int, Field(ge=1)] | None = None  # samples; null: one window, which is the least

    @model_validator(mode="after")
    def _leaves_training(self) -> "TimeSplit":
        if self.test + self.validation >= 1:
            raise ValueError("test and validation leave nothing to train on")
        return self


class GivenSplit(Record):
    """As the source gives it: npy files of three parts. Subjects may not be shared."""

    by: Literal["given"]


Split = Annotated[SubjectSplit | TimeSplit | GivenSplit, Field(discriminator="by")]


class QualitySettings(Record):
    """What is done about missing values (NaN, Inf and gaps of a clock), and the thresholds of the quality check."""

    missing: Literal["zero", "mean", "median", "interpolate", "drop", "raise"] = "interpolate"
    max_fill_s: Annotated[float, Field(gt=0)] | None = 1.0  # longer stretches stay missing; null: fills all
    strict: bool = False  # refuse to train where a threshold is broken
    limits: Limits = Limits()


class NormalizationSettings(Record):
    """One mean and deviation for each channel, or for each channel of each device."""

    per: Literal["channel", "device_channel"] = "channel"


class AugmentationSettings(Record):
    """How training windows are changed at random; 0 is off. Validation and test windows never are."""

    rotation_deg: Annotated[float, Field(ge=0, le=180)] = 0.0  # sigma; about a random axis, one for each device
    heading_deg: Annotated[float, Field(ge=0, le=180)] = 0.0  # at most, to either side; where north is, for all devices
    jitter: Annotated[float, Field(ge=0, le=10)] = 0.0  # sigma of the noise, in deviations of the channel
    scaling: Annotated[float, Field(ge=0, le=1)] = 0.0  # sigma of the factor of each channel
    time_warp: Annotated[float, Field(ge=0, le=2)] = 0.0  # sigma of the logarithm of the speed
    warp_knots: Annotated[int, Field(ge=2, le=100)] = 4  # between which the speed is interpolated
    channel_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # probability that a channel of a device is silent

    @property
    def is_off(self) -> bool:
        """Whether nothing is changed."""
        turned = self.rotation_deg or self.heading_deg
        return not (turned or self.jitter or self.scaling or self.time_warp or self.channel_dropout)


class TrainingSettings(Record):
    """The optimisation. Equal settings, versions and thread count give equal bytes on one machine."""

    batch_size: Annotated[int, Field(ge=2)] = 64
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 300
    patience: Annotated[int, Field(ge=1)] = 30  # epochs without a better validation loss; plateau only
    optimizer: Literal["adam", "adamw"] = "adam"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    scheduler: Literal["plateau", "onecycle", "cosine"] = "plateau"
    gradient_clip: Annotated[float, Field(gt=0)] | None = 1.0  # of the global norm
    class_weights: Literal["none", "balanced"] = "none"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    averaging: Annotated[float, Field(gt=0, lt=1)] | None = None  # decay of a moving average of the weights, per step
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    threads: Annotated[int, Field(ge=1, le=256)] = 2  # part of what a result depends on
    device: Literal["cpu", "cuda"] = "cpu"


class TrainConfig(Record):
    """config.json, and the YAML file of a training."""

    schema_version: Literal[1] = 1
    data: DataSettings = DataSettings()
    split: Split = SubjectSplit()
    quality: QualitySettings = QualitySettings()
    normalization: NormalizationSettings = NormalizationSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    model: ModelSettings = Conv2dFsqSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()


_WORD = "[A-Za-z0-9_][A-Za-z0-9_-]*"  # no `..`, no hidden part, no option: what git takes as a tag
_BETWEEN = f"[A-Za-z0-9_-]*([./]{_WORD})*"
_VERSION = f"\\{{version\\}}|\\{{model\\}}{_BETWEEN}[./]?\\{{version\\}}|\\{{version\\}}{_BETWEEN}[./]?\\{{model\\}}"
TAG_FORMAT = f"^({_WORD}[./])*({_WORD})?({_VERSION}){_BETWEEN}$"  # {version} once, {model} at most once


class ProjectConfig(Record):
    """modelreg.yaml, at the root of a registry repository."""

    default_model: ModelName = "conv2d_fsq"
    repository: Annotated[str, Field(pattern="^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")] | None = None
    license: Name | None = None  # of the models, as Hugging Face names it; for the cards
    tag_format: Annotated[str, Field(pattern=TAG_FORMAT, max_length=100)] = "v{version}"  # or {model}-v{version}
    assets: Literal["external", "committed"] = "external"
    targets: tuple[Target, ...] = ()  # what a release exports where the run lacks it
    gates: dict[Name, Gate] = {}  # dotted path into eval_metrics.json, or into parity.json behind `parity.`
    waivers: tuple[Waiver, ...] = ()

    @model_validator(mode="after")
    def _waits_for_exports(self) -> "ProjectConfig":
        others = [path for path, gate in self.gates.items() if gate.if_exported and not is_exported(path)]
        if others:
            raise ValueError(f"gates: if_exported is for paths under {' and '.join(EXPORTED)}: {', '.join(others)}")
        return self

    @model_validator(mode="after")
    def _waives_gates(self) -> "ProjectConfig":
        waived = [waiver.gate for waiver in self.waivers]
        if unknown := sorted({name for name in waived if name not in self.gates or waived.count(name) > 1}):
            raise ValueError(f"waivers: no such gate, or waived twice: {', '.join(unknown)}")
        return self


Settings = TypeVar("Settings", bound=Record)


class _StrictLoader(yaml.SafeLoader):
    """The safe loader, with duplicate keys and aliases refused and plain words read by the core schema of YAML 1.2.

    PyYAML follows YAML 1.1, in which 1e-3 is a text, `no` a truth value, 1:30 a number and 2026-11-21 a date. A few
    lines of aliases to aliases unfold to billions of values.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}  # type: ignore[misc]  # ours, not SafeLoader's

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's stubs lack it
            raise yaml.composer.ComposerError(None, None, "an alias; write the value out", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                mark = node.value[index][0].start_mark
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", mark)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _starts in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+", list("-+.0123456789")),
):
    _StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _starts)


def parse_yaml(text: str, where: str) -> Any:
    """Read one YAML document. Raises InputError with line and column."""
    try:
        return yaml.load(text, _StrictLoader)  # noqa: S506 a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{where}: line {mark.line + 1}, column {mark.column + 1}" if mark else where
        raise InputError("not valid YAML", [Problem(place, "todo.config", str(error.problem))]) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError("not valid YAML", [Problem(where, "todo.config", str(error))]) from error


def load(path: Path, record: type[Settings], assignments: Sequence[str] = ()) -> Settings:
    """Read a YAML file into settings, `a.b=c` assignments applied on top. Raises InputError."""
    return settle(parse_yaml(files.read_text(path), str(path)), record, str(path), assignments)


def default() -> Any:
    """Return the built-in training configuration, on the embedded sample, as a parsed document."""
    return parse_yaml((shared_folder("configs") / "sample.yaml").read_text("utf-8"), "sample.yaml")


def settle(document: Any, record: type[Settings], where: str, assignments: Sequence[str] = ()) -> Settings:
    """Take a parsed document and assignments into settings. Raises InputError."""
    document = {} if document is None else document
    if not isinstance(document, dict):
        raise InputError("not a configuration", [Problem(where, "todo.config", "must be a mapping of keys to values")])
    for assignment in assignments:
        document = _assign(document, assignment)
    try:
        data = files.to_json(document)
    except (TypeError, ValueError) as error:  # a date, a set, NaN: YAML knows more than JSON
        raise InputError(
            "not a configuration", [Problem(where, "todo.config", f"not a plain value: {error}")]
        ) from error
    return validate(data, record, where)


def _assign(document: dict[str, Any], assignment: str) -> Any:
    """Return the document with one `a.b=value` applied; the value is YAML. In a list a part is named by its number."""
    path, equals, text = assignment.partition("=")
    parts = path.split(".")
    if not equals or not all(parts):
        raise InputError("not an assignment", [Problem(f"--set {assignment}", "todo.config", "write it as a.b=value")])
    try:
        return _put(document, parts, parse_yaml(text, f"--set {path}"))
    except LookupError as error:
        raise InputError(
            "not an assignment", [Problem(f"--set {assignment}", "todo.config", str(error.args[0]))]
        ) from error


def _put(document: Any, parts: Sequence[str], value: Any, name: str = "") -> Any:
    """Return the document with the value at its place. Raises LookupError where there is none of that name."""
    if not parts:
        return value
    first, *rest = parts
    if isinstance(document, dict):
        return document | {first: _put(document.get(first, {}), rest, value, first)}
    there = list(map(str, range(len(document)))) if isinstance(document, list) else []
    if first not in there:
        only = f" {first}: it has {len(there)}, counted from 0" if there else "s"
        raise LookupError(f"{name} has no part{only}")
    return [_put(old, rest, value, first) if first == str(place) else old for place, old in enumerate(document)]


def find_project(start: Path) -> Path | None:
    """Return the nearest folder upwards from `start` that holds modelreg.yaml, as git finds its own."""
    for folder in (start, *start.parents):
        if (folder / PROJECT_FILE).is_file():
            return folder
    return None
