"""A run: what made it, how it went, and how often its test part was looked at."""

from typing import Annotated, Literal

from pydantic import Field

from modelreg.records.base import Count, GitCommit, Name, Record, Sha256, Share, Timestamp
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
    git: GitState | None


class Evaluation(Record):
    """One look at a part."""

    at: Timestamp
    part: PartName
    predictions_sha256: Sha256


class RunRecord(Record):
    """run.json."""

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
    perplexity: float  # of the codes, over the training part
    used_share: Share  # of the codes
    best: bool
