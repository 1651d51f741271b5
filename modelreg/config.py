"""Settings of a training and of a registry repository: YAML to strict pydantic records.

Unknown keys are errors. A problem names file, line, key and value, and the key that was probably meant
(`config_errors`). Every default is written into the run's config.json.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError, model_validator

from modelreg import config_errors, files, strict_yaml
from modelreg.errors import InputError, Problem
from modelreg.records.base import ModelName, Name, Record, setting, shared_folder
from modelreg.records.data import Limits
from modelreg.records.export import Target
from modelreg.records.gates import EXPORTED, RULES, Gate, RuleName, Waiver, is_exported
from modelreg.records.metrics import EvaluationSettings
from modelreg.records.model import Conv2dFsqSettings, ModelSettings
from modelreg.records.source import SampleSource, Source

PROJECT_FILE = "modelreg.yaml"
UNREADABLE = "cannot read the configuration"


class DataSettings(Record):
    """The recordings of a training, and how windows are cut from them."""

    sources: Annotated[
        tuple[Source, ...],
        setting(
            "The sets of recordings. Several are joined.",
            [{"kind": "dsads", "path": "data/dsads"}],
            min_length=1,
            max_length=16,
        ),
    ] = (SampleSource(),)
    classes: Annotated[
        Annotated[tuple[Name, ...], Field(min_length=2)] | None,
        setting("The classes and their order. Null: the labels of the sources, in their order.", ["rest", "walk"]),
    ] = None
    rate_hz: Annotated[
        Annotated[float, Field(gt=0, le=100_000)] | None,
        setting("The rate to which all recordings are resampled. Null: the rate that all sources share.", 25, "Hz"),
    ] = None
    window: Annotated[int, setting("Length of a window.", 128, "samples", ge=8, le=100_000)] = 100
    hop: Annotated[int, setting("Distance between the starts of two windows.", 64, "samples", ge=1, le=100_000)] = 50
    labels: Annotated[
        Literal["majority", "pure"],
        setting(
            "`majority`: a window gets its most frequent label. `pure`: a window with several labels is dropped.",
            "pure",
        ),
    ] = "majority"
    fold: Annotated[
        Literal[1, 2],
        setting("2: fold each window into two rows, so that it is half as long. Needs an even window.", 2),
    ] = 1

    @model_validator(mode="after")
    def _foldable(self) -> "DataSettings":
        if self.window % self.fold:
            raise ValueError("fold: 2 needs an even window")
        return self


Subjects = Annotated[int, Field(ge=1)] | Annotated[tuple[Name, ...], Field(min_length=1)]


class SubjectSplit(Record):
    """A split by subject: no subject is in two splits."""

    by: Annotated[Literal["subject"], setting("The kind of split.", "subject")] = "subject"
    test: Annotated[
        Subjects,
        setting(
            "The test subjects: a number takes the highest ids, a list names them. Not used by a cross-fitted run "
            "(`evaluation.protocol`), which tests every subject.",
            3,
            "subjects",
        ),
    ] = 3
    validation: Annotated[
        Subjects,
        setting(
            "The validation subjects. A number takes the highest ids that remain; in a cross-fitted run it is the "
            "number of validation subjects of each fold.",
            ["s06", "s07"],
            "subjects",
        ),
    ] = 1


class TimeSplit(Record):
    """A split by time: each recording is cut into train, validation and test, with gaps between them."""

    by: Annotated[Literal["time"], setting("The kind of split.", "time")]
    test: Annotated[float, setting("Share of each recording for test.", 0.2, gt=0, lt=1)] = 0.2
    validation: Annotated[float, setting("Share of each recording for validation.", 0.2, gt=0, lt=1)] = 0.2
    gap: Annotated[
        Annotated[int, Field(ge=1)] | None,
        setting("Distance between two splits. Null: one window, the smallest allowed.", 200, "samples"),
    ] = None

    @model_validator(mode="after")
    def _leaves_training(self) -> "TimeSplit":
        if self.test + self.validation >= 1:
            raise ValueError("test and validation leave nothing to train on")
        return self


class GivenSplit(Record):
    """The split of the source itself: .npy files of three splits. No subject may be in two of them."""

    by: Annotated[Literal["given"], setting("The kind of split.", "given")]


Split = Annotated[SubjectSplit | TimeSplit | GivenSplit, Field(discriminator="by")]


class QualitySettings(Record):
    """Missing values (NaN, Inf and gaps of a clock), and the thresholds of the quality check."""

    missing: Annotated[
        Literal["zero", "mean", "median", "interpolate", "drop", "raise"],
        setting(
            "How missing values are filled. `mean` and `median` are those of train. `drop`: fill nothing and drop the "
            "window. `raise`: refuse to train.",
            "interpolate",
        ),
    ] = "interpolate"
    max_fill_s: Annotated[
        Annotated[float, Field(gt=0)] | None,
        setting("Longest stretch that is filled. Null: fill every stretch.", 0.5, "s"),
    ] = 1.0
    strict: Annotated[bool, setting("Refuse to train if a recording breaks a threshold.", True)] = False
    limits: Annotated[Limits, setting("The thresholds. They are stored in normalization.json for the device.", {})] = (
        Limits()
    )


class NormalizationSettings(Record):
    """How values are scaled: (x - mean) / standard deviation, fitted on train."""

    per: Annotated[
        Literal["channel", "device_channel"],
        setting("One mean and deviation for each channel, or for each channel of each device.", "device_channel"),
    ] = "channel"


class AugmentationSettings(Record):
    """Random changes of the training windows. 0 switches one off. Validation and test windows are never changed."""

    rotation_deg: Annotated[
        float,
        setting(
            "Standard deviation of a rotation about a random axis, one for each device.", 20, "degrees", ge=0, le=180
        ),
    ] = 0.0
    heading_deg: Annotated[
        float,
        setting("Largest turn of north for magnetometers, the same for all devices.", 180, "degrees", ge=0, le=180),
    ] = 0.0
    jitter: Annotated[
        float, setting("Standard deviation of added noise.", 0.05, "deviations of the channel", ge=0, le=10)
    ] = 0.0
    scaling: Annotated[float, setting("Standard deviation of a factor for each channel.", 0.1, ge=0, le=1)] = 0.0
    time_warp: Annotated[float, setting("Standard deviation of the logarithm of the speed.", 0.2, ge=0, le=2)] = 0.0
    warp_knots: Annotated[
        int, setting("Number of points between which the speed is interpolated.", 4, ge=2, le=100)
    ] = 4
    channel_dropout: Annotated[
        float, setting("Probability that a channel of a device is set to zero.", 0.1, ge=0, lt=1)
    ] = 0.0

    @property
    def is_off(self) -> bool:
        """Whether nothing is changed."""
        turned = self.rotation_deg or self.heading_deg
        return not (turned or self.jitter or self.scaling or self.time_warp or self.channel_dropout)


class TrainingSettings(Record):
    """The optimization. Equal settings, versions and thread count give equal bytes on one machine."""

    batch_size: Annotated[int, setting("Windows in a batch.", 64, "windows", ge=2)] = 64
    epochs: Annotated[int, setting("Largest number of epochs.", 40, "epochs", ge=1, le=100_000)] = 300
    patience: Annotated[
        int,
        setting("Stop after this many epochs without a lower validation loss. `plateau` only.", 10, "epochs", ge=1),
    ] = 30
    optimizer: Annotated[Literal["adam", "adamw"], setting("The optimizer.", "adamw")] = "adam"
    learning_rate: Annotated[float, setting("The learning rate; the highest one of `onecycle`.", 1e-3, gt=0)] = 1e-3
    weight_decay: Annotated[float, setting("The weight decay.", 1e-4, ge=0)] = 0.0
    scheduler: Annotated[
        Literal["plateau", "onecycle", "cosine"], setting("How the learning rate changes.", "onecycle")
    ] = "plateau"
    gradient_clip: Annotated[
        Annotated[float, Field(gt=0)] | None, setting("Largest global norm of the gradient. Null: no limit.", 1.0)
    ] = 1.0
    class_weights: Annotated[
        Literal["none", "balanced"],
        setting("`balanced`: weight each class by the inverse of its frequency in train.", "balanced"),
    ] = "none"
    label_smoothing: Annotated[
        float, setting("Share of each label that is spread over all classes.", 0.1, ge=0, lt=1)
    ] = 0.0
    averaging: Annotated[
        Annotated[float, Field(gt=0, lt=1)] | None,
        setting("Decay, per step, of a moving average of the weights. Null: no average.", 0.998),
    ] = None
    seed: Annotated[int, setting("Seed of every random number of the training.", 0, ge=0, lt=2**63)] = 0
    threads: Annotated[
        int, setting("Threads of torch. Another number gives other bytes.", 1, "threads", ge=1, le=256)
    ] = 2
    device: Annotated[Literal["cpu", "cuda"], setting("Where the training runs.", "cuda")] = "cpu"


class TrainConfig(Record):
    """config.json, and the YAML file of a training."""

    schema_version: Annotated[Literal[1], setting("Version of this format.", 1)] = 1
    data: Annotated[DataSettings, setting("Recordings and windows.", {"window": 128, "hop": 64})] = DataSettings()
    split: Annotated[Split, setting("How subjects are divided.", {"by": "time"})] = SubjectSplit()
    quality: Annotated[QualitySettings, setting("Missing values, thresholds.", {"strict": True})] = QualitySettings()
    normalization: Annotated[NormalizationSettings, setting("How values are scaled.", {"per": "channel"})] = (
        NormalizationSettings()
    )
    augmentation: Annotated[AugmentationSettings, setting("Random changes.", {"jitter": 0.05})] = AugmentationSettings()
    model: Annotated[ModelSettings, setting("The model system.", {"name": "tcn_vae"})] = Conv2dFsqSettings()
    training: Annotated[TrainingSettings, setting("The optimization.", {"epochs": 40})] = TrainingSettings()
    evaluation: Annotated[EvaluationSettings, setting("Intervals and bounds.", {"seed": 1})] = EvaluationSettings()
    subjects: Annotated[
        Literal["pseudonyms"] | None,
        setting(
            "`pseudonyms`: subject ids are replaced in all that is written. `train` sets it as modelreg.yaml says.",
            "pseudonyms",
            exclude_if=lambda value: value is None,
        ),
    ] = None

    @model_validator(mode="after")
    def _folds_subjects(self) -> "TrainConfig":
        counted = isinstance(self.split, SubjectSplit) and isinstance(self.split.validation, int)
        if self.evaluation.crossfitted and not counted:
            needs = "needs split.by: subject, with a number of subjects as split.validation"
            raise ValueError(f"evaluation.protocol: {self.evaluation.protocol} {needs}")
        return self


_WORD = "[A-Za-z0-9_][A-Za-z0-9_-]*"  # no `..`, no hidden part, no option: what git takes as a tag
_BETWEEN = f"[A-Za-z0-9_-]*([./]{_WORD})*"
_VERSION = f"\\{{version\\}}|\\{{model\\}}{_BETWEEN}[./]?\\{{version\\}}|\\{{version\\}}{_BETWEEN}[./]?\\{{model\\}}"
TAG_FORMAT = f"^({_WORD}[./])*({_WORD})?({_VERSION}){_BETWEEN}$"  # {version} once, {model} at most once


class ProjectConfig(Record):
    """modelreg.yaml, at the root of a registry repository."""

    default_model: Annotated[
        ModelName,
        setting(
            "The model that a bare version names: lower-case letters, digits and `_`, a letter first.", "conv2d_fsq"
        ),
    ] = "conv2d_fsq"
    repository: Annotated[
        Annotated[str, Field(pattern="^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")] | None,
        setting("The GitHub repository of the releases. Null: that of the remote `origin`.", "OWNER/REPOSITORY"),
    ] = None
    subjects: Annotated[
        Literal["as-recorded", "pseudonyms"],
        setting(
            "How runs, versions and reports name subjects. `pseudonyms` replaces the ids, and the recording names made "
            "of them, in new runs; the map stays in .modelreg/pseudonyms.json.",
            "pseudonyms",
        ),
    ] = "as-recorded"
    license: Annotated[
        Name | None, setting("Licence of the models, under its Hugging Face name; for the cards.", "apache-2.0")
    ] = None
    tag_format: Annotated[
        str,
        setting(
            "How a git tag is made from a version: {version} once, {model} at most once.",
            "{model}-v{version}",
            pattern=TAG_FORMAT,
            max_length=100,
        ),
    ] = "v{version}"
    latest_release: Annotated[
        str,
        setting(
            "The model whose highest stable version is GitHub's latest release: `default-model`, a model, or `none`.",
            "conv2d_fsq",
            pattern="^(default-model|none|[a-z][a-z0-9_]*)$",
            max_length=64,
        ),
    ] = "default-model"
    assets: Annotated[
        Literal["external", "committed"],
        setting("Whether git ignores checkpoints, graphs and predictions (`external`) or holds them.", "committed"),
    ] = "external"
    targets: Annotated[
        tuple[Target, ...], setting("The exports that `release` makes if the run has none.", ["hailo8"])
    ] = ()
    gates: Annotated[
        dict[Name, Gate | bool],
        setting(
            "What a release must meet: bounds by the dotted path of the number, and `above_baseline: true`, "
            "`every_class_tested: true`.",
            {"above_baseline": True, "accuracy": {"min": 0.85}},
        ),
    ] = {}
    waivers: Annotated[
        tuple[Waiver, ...],
        setting("Gates that may fail, with the reason.", [{"gate": "accuracy", "reason": "demonstration only"}]),
    ] = ()

    @property
    def latest_model(self) -> str | None:
        """Return the model that may have GitHub's latest release; None: no model."""
        named = {"default-model": self.default_model, "none": None}
        return named.get(self.latest_release, self.latest_release)

    @property
    def judged(self) -> dict[str, Gate]:
        """Return every gate by its path; a rule that is set to true is a gate, one that is set to false is none."""
        gates = ((path, Gate(rule=_rule(path)) if gate is True else gate) for path, gate in self.gates.items())
        return {path: gate for path, gate in gates if isinstance(gate, Gate)}

    @model_validator(mode="after")
    def _names_rules(self) -> "ProjectConfig":
        strange = [path for path, gate in self.gates.items() if isinstance(gate, bool) != (path in RULES)]
        strange += [path for path, gate in self.gates.items() if isinstance(gate, Gate) and gate.rule]
        if strange:
            raise ValueError(f"gates: only {' and '.join(RULES)} are true or false, others have bounds: {strange[0]}")
        return self

    @model_validator(mode="after")
    def _waits_for_exports(self) -> "ProjectConfig":
        others = [path for path, gate in self.judged.items() if gate.if_exported and not is_exported(path)]
        if others:
            raise ValueError(f"gates: if_exported is for paths under {' and '.join(EXPORTED)}: {', '.join(others)}")
        return self

    @model_validator(mode="after")
    def _waives_gates(self) -> "ProjectConfig":
        waived = [waiver.gate for waiver in self.waivers]
        if unknown := sorted({name for name in waived if name not in self.gates or waived.count(name) > 1}):
            raise ValueError(f"waivers: no such gate, or waived twice: {', '.join(unknown)}")
        return self


def _rule(path: str) -> RuleName:
    """Return a path as the name of a rule. Raises ValueError for any other path."""
    return RULES[RULES.index(path)]


Settings = TypeVar("Settings", bound=Record)


def load(path: Path, record: type[Settings], assignments: Sequence[str] = ()) -> Settings:
    """Read a YAML file into settings, `a.b=c` assignments applied on top. Raises InputError with file and line."""
    text = files.read_text(path)
    return settle(strict_yaml.parse(text, str(path)), record, str(path), assignments, text)


def default() -> Any:
    """Return the built-in training configuration, on the embedded sample, as a parsed document."""
    return strict_yaml.parse((shared_folder("configs") / "sample.yaml").read_text("utf-8"), "sample.yaml")


def settle(
    document: Any, record: type[Settings], where: str, assignments: Sequence[str] = (), text: str | None = None
) -> Settings:
    """Read a parsed document and assignments into settings. Raises InputError with every problem.

    `text` is the YAML text of the document, for the line of each problem.
    """
    document = {} if document is None else document
    if not isinstance(document, dict):
        message = f"must be a mapping of keys to values, found {config_errors.shown(document)}"
        raise InputError(UNREADABLE, [Problem(where, "config.not-a-mapping", message)])
    assigned: dict[config_errors.Path, str] = {}
    for assignment in assignments:
        document = _assign(document, assignment)
        assigned[tuple(assignment.partition("=")[0].split("."))] = assignment
    origin = config_errors.Origin(where, text, assigned)
    if blanks := list(config_errors.find_blanks(document, origin)):
        raise InputError(UNREADABLE, blanks)
    try:
        data = files.to_json(document)
    except (TypeError, ValueError) as error:  # a date, a set: YAML has more types than JSON
        problem = Problem(where, "config.not-plain", f"only text, numbers, true, false and null are allowed: {error}")
        raise InputError(UNREADABLE, [problem]) from error
    try:
        return record.model_validate_json(data)
    except ValidationError as error:
        read = files.parse_json(data, where)
        raise InputError(UNREADABLE, config_errors.find_problems(error, record, read, origin)) from error


def _assign(document: dict[str, Any], assignment: str) -> Any:
    """Return the document with one `a.b=value` applied; the value is YAML, an entry of a list goes by its number."""
    path, equals, text = assignment.partition("=")
    parts = path.split(".")
    where = f"--set {assignment}"
    if not equals or not all(parts) or len(parts) > strict_yaml.DEEPEST:
        message = f"must be KEY=VALUE, with a dotted key of at most {strict_yaml.DEEPEST} names"
        raise InputError(UNREADABLE, [Problem(where, "config.assignment", message)])
    try:
        return _put(document, parts, strict_yaml.parse(text, f"--set {path}"))
    except LookupError as error:
        raise InputError(UNREADABLE, [Problem(where, "config.assignment-place", str(error.args[0]))]) from error


def _put(document: Any, parts: Sequence[str], value: Any, name: str = "") -> Any:
    """Return the document with the value at its place. Raises LookupError if the place does not exist."""
    if not parts:
        return value
    first, *rest = parts
    if isinstance(document, dict):
        return document | {first: _put(document.get(first, {}), rest, value, first)}
    entries = list(map(str, range(len(document)))) if isinstance(document, list) else []
    if first not in entries:
        found = f"it has {len(entries)} entries, counted from 0" if entries else "it is not a mapping"
        raise LookupError(f"'{name}' has no entry '{first}': {found}")
    return [_put(old, rest, value, first) if first == str(place) else old for place, old in enumerate(document)]


def find_project(start: Path) -> Path | None:
    """Return the nearest folder upwards from `start` that holds modelreg.yaml, as git finds its own."""
    for folder in (start, *start.parents):
        if (folder / PROJECT_FILE).is_file():
            return folder
    return None
