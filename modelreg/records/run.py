"""Records of a run: environment, training history and test-set evaluations."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from modelreg.records.base import LEFT_OUT, Count, GitCommit, Name, Record, RelativePath, Sha256, Share, Timestamp
from modelreg.records.data import PartName
from modelreg.records.model import ModelSpec


class GitState(Record):
    """The commit of the working tree, and whether the tree had uncommitted changes."""

    commit: GitCommit
    dirty: bool


class Environment(Record):
    """The environment that a result may depend on, without host name, user and paths."""

    modelreg: Name
    python: Name
    packages: dict[Name, Name]
    machine: Name  # x86_64, aarch64
    device: Literal["cpu", "cuda"]
    threads: Annotated[int, Field(ge=1)]
    git: GitState | None  # of the repository that contains the working directory, if any
    git_absent: Annotated[Literal["no repository", "no commit", "git not installed"] | None, LEFT_OUT] = (
        None  # why git is null
    )


class Evaluation(Record):
    """One evaluation of a split."""

    at: Timestamp
    part: PartName
    predictions_sha256: Sha256
    environment: Environment


class ImportRecord(Record):
    """The legacy checkpoint of a run with imported weights."""

    file: Name
    sha256: Sha256
    layout: Name  # the naming scheme of its tensors
    lacks: tuple[Name, ...] = ()  # prefixes of missing tensors: only the encoder was imported
    notes: tuple[Annotated[str, Field(max_length=500)], ...] = ()  # conversions of its tensors
    normalization_sha256: Sha256 | None = None  # of the imported file; null: fitted on the train split


class TrainedFold(Record):
    """A fold of a cross-fitted run: what the final model takes from it, and the digests of its files."""

    name: Name
    best_epoch: Annotated[int, Field(ge=1)]
    validation_loss: float  # of that epoch
    checkpoint_sha256: Sha256
    predictions_sha256: Sha256


class RunRecord(Record):
    """run.json.

    `files` has the digests of the configuration, the data record and the normalization at the start, and of the weights
    and the history at the end. A file with another digest is refused.
    """

    schema_version: Literal[1] = 1
    model: ModelSpec
    seed: Count
    status: Literal["training", "trained"]
    started: Timestamp
    finished: Timestamp | None
    environment: Environment
    epochs: Count  # trained epochs
    best_epoch: Count | None
    best_validation_loss: float | None
    stopped: Literal["patience", "epochs"] | None
    files: dict[RelativePath, Sha256]
    evaluations: tuple[Evaluation, ...] = ()
    imported: ImportRecord | None = None  # null: trained in this run
    resumed_by: Annotated[tuple[Name, ...] | None, LEFT_OUT] = (
        None  # versions of modelreg that resumed it, if different
    )
    folds: Annotated[Annotated[tuple[TrainedFold, ...], Field(min_length=2)] | None, LEFT_OUT] = (
        None  # of a cross-fitted run, when it is trained
    )
    learning_rates: Annotated[tuple[float, ...] | None, LEFT_OUT] = None  # of each epoch, if the folds determine them

    @property
    def trained_by(self) -> str:
        """Return the version of modelreg that finished the training."""
        return self.resumed_by[-1] if self.resumed_by else self.environment.modelreg

    @model_validator(mode="after")
    def _is_consistent(self) -> "RunRecord":
        best = (self.best_epoch, self.best_validation_loss)
        if self.imported and (self.epochs or best != (None, None)):
            raise ValueError("imported: a run with imported weights must not have epochs")
        if self.folds is not None and (self.imported or best != (None, None)):
            raise ValueError("folds: a cross-fitted run has no best epoch, and is not imported")
        if self.status == "trained" and not self.imported and self.folds is None and None in best:
            raise ValueError("trained: best_epoch and best_validation_loss are required")
        return self


class Epoch(Record):
    """One line of history.jsonl. It has no wall time, so that a resumed run writes the same bytes."""

    number: Count
    train_loss: float
    train_accuracy: Share
    validation_loss: float | None  # null: trained without a validation split, as the final model of a cross-fitted run
    validation_accuracy: Share | None
    learning_rate: float
    gradient_norm: float  # mean over steps, before clipping
    perplexity: float | None  # of the codes, over the train split; null: no quantizer
    used_share: Share | None  # of the codes
    active_clusters: Count | None = None  # with at least 1 % of the windows
    mean_duration: float | None = None  # windows
    terms: dict[Name, float] = {}  # terms of the training loss, if there are several
    best: bool
