"""A run: what made it, how it went, and how often its test part was looked at."""

from typing import Annotated, Literal

from pydantic import Field

from modelreg.records.base import Count, GitCommit, Name, Record, RelativePath, Sha256, Share, Timestamp
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
