"""A run: what made it, how it went, and how often its test part was looked at."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from modelreg.records.base import LEFT_OUT, Count, GitCommit, Name, Record, RelativePath, Sha256, Share, Timestamp
from modelreg.records.data import PartName
from modelreg.records.model import ModelSpec


class GitState(Record):
    """The commit of the working tree, and whether the tree differed from it."""

    commit: GitCommit
    dirty: bool


class Environment(Record):
    """What a result may depend on. No host name, no user, no path."""

    modelreg: Name
    python: Name
    packages: dict[Name, Name]
    machine: Name  # x86_64, aarch64
    device: Literal["cpu", "cuda"]
    threads: Annotated[int, Field(ge=1)]
    git: GitState | None  # of the repository around the working directory, if there is one


class Evaluation(Record):
    """One look at a part."""

    at: Timestamp
    part: PartName
    predictions_sha256: Sha256
    environment: Environment


class ImportRecord(Record):
    """A checkpoint of older code that a run was made of, where nothing was trained."""

    file: Name
    sha256: Sha256
    layout: Name  # whose names its tensors had
    lacks: tuple[Name, ...] = ()  # how the names of tensors begin that it has not: the network's encoder alone is here
    notes: tuple[Annotated[str, Field(max_length=500)], ...] = ()  # what was done to its tensors
    normalization_sha256: Sha256 | None = None  # of the file that stated it; null: fitted on the training part


class RunRecord(Record):
    """run.json.

    `files` seals what the run is made of: the configuration, the data and the normalization as they were at the
    start, the weights and the history as they were at the end. A file that was changed by hand is refused.
    """

    schema_version: Literal[1] = 1
    model: ModelSpec
    seed: Count
    status: Literal["training", "trained"]
    started: Timestamp
    finished: Timestamp | None
    environment: Environment
    epochs: Count  # that were run
    best_epoch: Count | None
    best_validation_loss: float | None
    stopped: Literal["patience", "epochs"] | None
    files: dict[RelativePath, Sha256]
    evaluations: tuple[Evaluation, ...] = ()
    imported: ImportRecord | None = None  # null: the weights were trained in this run
    resumed_by: Annotated[tuple[Name, ...] | None, LEFT_OUT] = None  # versions of modelreg, if another resumed it

    @property
    def trained_by(self) -> str:
        """The version of modelreg that trained the run last."""
        return self.resumed_by[-1] if self.resumed_by else self.environment.modelreg

    @model_validator(mode="after")
    def _tells_one_story(self) -> "RunRecord":
        best = (self.best_epoch, self.best_validation_loss)
        if self.imported and (self.epochs or best != (None, None)):
            raise ValueError("imported: nothing was trained, so there is no epoch")
        if self.status == "trained" and not self.imported and None in best:
            raise ValueError("trained: one of its epochs was the best")
        return self


class Epoch(Record):
    """One line of history.jsonl. It holds no wall time: a resumed run writes the same bytes."""

    number: Count
    train_loss: float
    train_accuracy: Share
    validation_loss: float
    validation_accuracy: Share
    learning_rate: float
    gradient_norm: float  # mean over the steps, before clipping
    perplexity: float | None  # of the codes, over the training part; null: nothing is quantized
    used_share: Share | None  # of the codes
    active_clusters: Count | None = None  # with at least 1 % of the windows
    mean_duration: float | None = None  # windows
    terms: dict[Name, float] = {}  # what the training loss is the sum of, where that is more than one
    best: bool
