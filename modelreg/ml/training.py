"""The training loop: a generator that yields one snapshot per epoch. The caller draws, logs, saves or stops.

The result depends on the seed, the settings (including the number of threads), the data, the versions and the machine.
The random state of the caller is neither read nor changed. A snapshot has everything that the next epoch needs, so a
resumed training gives the same bits as an uninterrupted one. Each window is used once per epoch.

Learning rate schedules:

- plateau: the rate is halved after a third of `patience` epochs without a better validation loss. Training stops after
  `patience` such epochs.
- onecycle: the published policy with momentum, one step per batch, over all epochs.
- cosine: from the learning rate to 0 over all epochs.

A `Course` trains without a validation split, for a number of epochs that is known before: the final model of a
cross-fitted run. Its schedule is planned over all epochs of the settings; that of plateau is given, rate by rate.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from modelreg import files
from modelreg.config import TrainingSettings
from modelreg.errors import InputError, Problem
from modelreg.files import Json
from modelreg.ml import batches, checkpoint
from modelreg.ml.augmentation import Augmentation
from modelreg.ml.batches import Order, Part
from modelreg.ml.checkpoint import Saved
from modelreg.ml.determinism import repeatable
from modelreg.ml.fsq_layer import usage
from modelreg.ml.network import Batch, Network, Output, active_clusters
from modelreg.ml.weight_averaging import Average
from modelreg.records.base import Count, Record, validate
from modelreg.records.run import Epoch

VALIDATION_BATCH = 512


class Course(NamedTuple):
    """A training whose end is known: no validation loss decides on its epochs and its learning rates."""

    epochs: int
    rates: Sequence[float] | None = None  # of each epoch; None: those of the scheduler


class Snapshot(NamedTuple):
    """The result of an epoch: its line in the history, and everything that the next epoch needs."""

    epoch: Epoch
    tensors: dict[str, Tensor]  # network.*, average.*, optimizer.<parameter>.<moment>, random.*
    state: dict[str, Json]

    @property
    def weights(self) -> dict[str, Tensor]:
        """The tensors of the network for its checkpoint: the averaged ones, if weights are averaged."""
        return _under("average.", self.tensors) or _under("network.", self.tensors)


def fit(
    network: Network,
    train: Part,
    validation: Part | Course,
    settings: TrainingSettings,
    resume: Saved | None = None,
    augmentation: Augmentation | None = None,
) -> Iterator[Snapshot]:
    """Train a network in place, and continue from `resume` if it is given.

    Raises InputError on iteration if the training cannot start, cannot be resumed, or diverges.
    """
    if problems := list(find_problems(network, train, validation, settings)):
        raise InputError("cannot train", problems)
    learn = batches.on_device(train, settings.device)
    course, held = (validation, None) if isinstance(validation, Course) else (None, validation)
    test = None if held is None else batches.on_device(held, settings.device)
    if resume is None:
        network.prepare(learn.y, learn.streams)
    loop = _Loop(network, settings, batches.order(train, settings.batch_size, network.chunk), augmentation, course)
    if resume is not None:
        loop.restore(resume)
    objective = partial(_objective, network, _criterion(learn.y, network.classes, settings))
    while not loop.ended:
        with repeatable(settings, loop.random):
            rate = loop.begin()
            learned = _run(network.train(), loop.batches(learn), objective, loop.step)
            tested = None
            if test is not None:
                with torch.no_grad():
                    tested = _run(loop.judged.eval(), batches.in_order(test, VALIDATION_BATCH), _classification)
            epoch = loop.close(rate, learned, tested)
        yield loop.snapshot(epoch)


def find_problems(
    network: Network, train: Part, validation: Part | Course, settings: TrainingSettings
) -> Iterator[Problem]:
    """Yield why this training cannot start."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        yield Problem("training.device", "train.no-cuda-device", "is cuda, but PyTorch finds no CUDA device")
    if network.chunk > 1 and settings.batch_size < 2 * network.chunk:
        what = f"is {settings.batch_size}, must be at least {2 * network.chunk} (2 chunks of {network.chunk} windows)"
        yield Problem("training.batch_size", "train.batch-too-small", what)
    yield from _split_problems("train", train, network, least=2)
    if not isinstance(validation, Course):
        yield from _split_problems("validation", validation, network, least=1)


class State(Record):
    """The JSON state in last.safetensors."""

    settings: TrainingSettings
    windows: Count
    epoch: Count  # the last finished one
    best_epoch: Count
    best_loss: float | None  # null: there is no validation split
    optimizer: list[dict[str, Any]]
    scheduler: dict[str, Any]  # non-finite numbers are null


class _Pass(NamedTuple):
    """The result of one pass over a split."""

    losses: Tensor  # (S,), mean of each step
    terms: dict[str, Tensor]  # (S,) each: the loss terms, if there are others than classification
    norms: Tensor  # (S,), of the gradient before clipping
    sizes: Tensor  # (S,), windows
    hits: Tensor  # (), windows
    code_index: Tensor  # (N,)
    cluster: Tensor | None  # (N,)

    @property
    def loss(self) -> float:
        """The mean over windows."""
        return self.mean(self.losses)

    def mean(self, values: Tensor) -> float:
        """Return the mean over windows of one value per step (S,)."""
        return float((values * self.sizes).sum() / self.sizes.sum())

    @property
    def accuracy(self) -> float:
        """The share of windows classified correctly."""
        return int(self.hits) / len(self.code_index)


class _Loop:
    """Everything that changes from epoch to epoch."""

    def __init__(
        self,
        network: Network,
        settings: TrainingSettings,
        order: Order,
        augmentation: Augmentation | None,
        course: Course | None,
    ) -> None:
        self.network = network
        self.course = course
        self.augmentation = augmentation
        self.settings = settings
        self.order = order
        self.windows = network.windows = order.windows
        network.to(device=settings.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
        self.optimizer = _optimizer(network, settings)
        self.scheduler = _scheduler(self.optimizer, settings, len(order.sizes))
        self.average = Average(network, settings.averaging) if settings.averaging else None
        self.epoch = self.best_epoch = self.taken = 0  # finished epochs, the best one, finished steps
        self.best_loss = math.inf
        seeds = torch.randint(2**62, (3,), generator=torch.Generator().manual_seed(settings.seed))
        shuffle, dropout, augment = map(int, seeds)
        self.shuffles = torch.Generator().manual_seed(shuffle)
        self.augments = torch.Generator().manual_seed(augment)
        devices: set[str] = {"cpu", settings.device}
        self.random = {d: torch.Generator(d).manual_seed(dropout).get_state() for d in devices}

    def batches(self, part: Part) -> Iterator[Batch]:
        """Yield the augmented batches of an epoch, and set the progress of the network."""
        steps = len(self.order.sizes)
        for step, (rows, streams) in enumerate(self.order.shuffled(self.shuffles)):
            self.taken = self.epoch * steps + step
            self.network.advance(self.taken / (self.settings.epochs * steps))
            batch = batches.select(part, rows, streams)
            changed = batch.x if self.augmentation is None else self.augmentation.apply(batch.x, self.augments)
            yield batch._replace(x=changed)

    @property
    def judged(self) -> Network:
        """The network that is validated and saved."""
        return self.average.network if self.average else self.network

    def begin(self) -> float:
        """Set the learning rate of the next epoch if the course states it; return that of its first step."""
        if self.course and self.course.rates:
            for group in self.optimizer.param_groups:
                group["lr"] = self.course.rates[self.epoch]
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def ended(self) -> bool:
        """Whether all epochs are finished, or the patience of plateau is exceeded."""
        if self.course:
            return self.epoch >= self.course.epochs
        bad_epochs = self.epoch - self.best_epoch if self.settings.scheduler == "plateau" else 0
        return self.epoch >= self.settings.epochs or bad_epochs >= self.settings.patience

    def step(self, loss: Tensor) -> Tensor:
        """Update the weights; return the gradient norm before clipping."""
        self.optimizer.zero_grad()
        loss.backward()
        clip = self.settings.gradient_clip or math.inf
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), clip)
        self.optimizer.step()
        if isinstance(self.scheduler, OneCycleLR):
            self.scheduler.step()
        if self.average:
            self.average.follow(self.network, self.taken + 1)
        return norm

    def close(self, rate: float, learned: _Pass, tested: _Pass | None) -> Epoch:
        """Finish an epoch and update the scheduler. Raises InputError if training diverged."""
        self.epoch += 1
        _refuse_divergence(self.epoch, learned, tested)
        if best := tested is not None and tested.loss < self.best_loss:
            self.best_epoch, self.best_loss = self.epoch, tested.loss
        if isinstance(self.scheduler, ReduceLROnPlateau):
            if tested is not None:
                self.scheduler.step(tested.loss)
        elif isinstance(self.scheduler, CosineAnnealingLR):
            self.scheduler.step()
        codes = None if self.network.levels is None else usage(learned.code_index, self.network.levels)
        return Epoch(
            number=self.epoch,
            train_loss=learned.loss,
            train_accuracy=learned.accuracy,
            validation_loss=tested and tested.loss,
            validation_accuracy=tested and tested.accuracy,
            learning_rate=rate,
            gradient_norm=float(learned.norms.mean()),
            perplexity=codes and codes.perplexity,
            used_share=codes and codes.used_share,
            active_clusters=None if learned.cluster is None else active_clusters(learned.cluster),
            mean_duration=self.judged.mean_duration(),
            terms={name: learned.mean(values) for name, values in learned.terms.items()},
            best=best,
        )

    def snapshot(self, epoch: Epoch) -> Snapshot:
        """Return copies of everything that the next epoch depends on."""
        return Snapshot(epoch, {name: _copy(tensor) for name, tensor in self.tensors().items()}, self.state())

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that change, by their names in last.safetensors."""
        moments = {
            f"{i}.{name}": value
            for i, entry in self.optimizer.state_dict()["state"].items()
            for name, value in entry.items()
        }
        own = {"shuffles": self.shuffles.get_state(), "augmentation": self.augments.get_state()}
        random = {**self.random, **own}
        average = self.average.network.state_dict() if self.average else {}
        parts = {"network": self.network.state_dict(), "average": average, "optimizer": moments, "random": random}
        return {f"{part}.{name}": tensor for part in parts for name, tensor in parts[part].items()}

    def state(self) -> dict[str, Json]:
        """Return the other values that change, and the settings."""
        return {
            "settings": self.settings.to_document(),
            "windows": self.windows,
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss if math.isfinite(self.best_loss) else None,
            "optimizer": checkpoint.finite(self.optimizer.state_dict()["param_groups"]),
            "scheduler": checkpoint.finite(self.scheduler.state_dict()),
        }

    def restore(self, saved: Saved) -> None:
        """Restore a snapshot. Raises InputError if it belongs to another training."""
        state = validate(files.to_json(saved.state), State, "state")
        moments = self._moments()
        expected = self.tensors() | {f"optimizer.{key}": moment for key, moment in moments.items()}
        if problems := [*self._other_settings(state), *checkpoint.mismatches(expected, saved.tensors)]:
            raise InputError("cannot resume from this snapshot", problems)
        self.network.load_state_dict(_under("network.", saved.tensors))
        if self.average:
            self.average.network.load_state_dict(_under("average.", saved.tensors))
        entries: dict[int, dict[str, Tensor]] = {i: {} for i, _ in enumerate(self.network.parameters())}
        for key, moment in moments.items():
            i, name = key.split(".")
            entries[int(i)][name] = moment.copy_(saved.tensors[f"optimizer.{key}"])
        self.optimizer.load_state_dict({"state": entries, "param_groups": state.optimizer})
        self.scheduler.load_state_dict({k: v for k, v in state.scheduler.items() if v is not None})
        self.random = _under("random.", saved.tensors)
        self.shuffles.set_state(self.random.pop("shuffles"))
        self.augments.set_state(self.random.pop("augmentation"))
        self.epoch, self.best_epoch = state.epoch, state.best_epoch
        self.best_loss = math.inf if state.best_loss is None else state.best_loss

    def _other_settings(self, state: State) -> Iterator[Problem]:
        for name in TrainingSettings.model_fields:
            now, then = getattr(self.settings, name), getattr(state.settings, name)
            if now != then:
                what = f"is {now}, but the run was started with {then}"
                yield Problem(f"training.{name}", "train.settings-changed", what)
        if self.windows != state.windows:
            what = f"has {self.windows} windows, but had {state.windows} when the run was started"
            yield Problem("train", "train.data-changed", what)

    def _moments(self) -> dict[str, Tensor]:
        """Return empty tensors for the moments of the optimizer, with the strides that they have in training."""
        return {
            f"{i}.{name}": torch.zeros(()) if name == "step" else torch.zeros_like(parameter)
            for i, parameter in enumerate(self.network.parameters())
            for name in ("step", "exp_avg", "exp_avg_sq")
        }


def _optimizer(network: Network, settings: TrainingSettings) -> Optimizer:
    make = Adam if settings.optimizer == "adam" else AdamW
    return make(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)


def _scheduler(optimizer: Optimizer, settings: TrainingSettings, steps: int) -> LRScheduler:
    """Return the scheduler; `steps` is the number of steps in an epoch."""
    if settings.scheduler == "plateau":
        return ReduceLROnPlateau(optimizer, factor=0.5, patience=max(1, settings.patience // 3))
    if settings.scheduler == "cosine":
        return CosineAnnealingLR(optimizer, T_max=settings.epochs)
    return OneCycleLR(optimizer, settings.learning_rate, total_steps=settings.epochs * steps)


def _criterion(y: Tensor, classes: int, settings: TrainingSettings) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the classification loss; balanced class weights are n / (K · n_k)."""
    weight = None
    if settings.class_weights == "balanced":
        counts = torch.bincount(y, minlength=classes).clamp(min=1)
        weight = len(y) / (classes * counts.float())
    return partial(F.cross_entropy, weight=weight, label_smoothing=settings.label_smoothing)


def _objective(
    network: Network, criterion: Callable[[Tensor, Tensor], Tensor], batch: Batch, output: Output
) -> dict[str, Tensor]:
    """Return the terms of the training loss, which is their sum."""
    classification = network.classification * criterion(output.logits, batch.y)
    return {"classification": classification, **network.terms(batch, output)}


def _classification(batch: Batch, output: Output) -> dict[str, Tensor]:
    """Return the validation loss, by which epochs are chosen: the plain cross entropy."""
    return {"classification": F.cross_entropy(output.logits, batch.y)}


def _run(
    network: Network,
    given: Iterable[Batch],
    terms_of: Callable[[Batch, Output], dict[str, Tensor]],
    step: Callable[[Tensor], Tensor] | None = None,
) -> _Pass:
    """Pass over the batches, and train if there is a `step`. The loop does not wait for results of a GPU."""
    terms, norms, sizes, hits, index, cluster = [], [], [], [], [], []
    for batch in given:
        output = network.answer(batch) if step is not None else network(batch.x)
        found = terms_of(batch, output)
        if step is not None:
            norms.append(step(torch.stack(list(found.values())).sum() if len(found) > 1 else found["classification"]))
        terms.append({name: term.detach() for name, term in found.items()})
        sizes.append(len(batch.y))
        hits.append((output.logits.detach().argmax(1) == batch.y).sum())
        index.append(output.code_index)
        cluster += [] if output.cluster is None else [output.cluster]
    of_steps = {name: torch.stack([step[name] for step in terms]).double().cpu() for name in terms[0]}
    return _Pass(
        losses=torch.stack(list(of_steps.values())).sum(0),
        terms=of_steps if len(of_steps) > 1 else {},
        norms=torch.stack(norms).double().cpu() if norms else torch.zeros(0),
        sizes=torch.tensor(sizes),
        hits=torch.stack(hits).sum(),
        code_index=torch.cat(index),
        cluster=torch.cat(cluster) if cluster else None,
    )


def _refuse_divergence(epoch: int, learned: _Pass, tested: _Pass | None) -> None:
    """Raise InputError with epoch and step if a loss or a gradient is NaN or Inf."""
    good = learned.losses.isfinite() & learned.norms.isfinite()
    if not good.all():
        where = f"epoch {epoch}, step {int(good.int().argmin()) + 1} of {len(good)}"
        raise InputError("training stopped", [_divergence(where)])
    if tested is not None and not tested.losses.isfinite().all():
        raise InputError("training stopped", [_divergence(f"epoch {epoch}, validation")])


def _divergence(where: str) -> Problem:
    return Problem(where, "train.diverged", "the loss or its gradient is NaN or Inf")


def _split_problems(name: str, part: Part, network: Network, *, least: int) -> Iterator[Problem]:
    if part.x.shape[1:] != network.shape or part.x.dtype != torch.float32:
        what = f"{part.x.dtype} {tuple(part.x.shape)}, must be float32 (N, {', '.join(map(str, network.shape))})"
        yield Problem(f"{name}.x", "model.window-shape-mismatch", what)
    elif not part.x.isfinite().all():
        yield Problem(f"{name}.x", "train.non-finite-windows", "contains NaN or Inf")
    if part.y.shape != part.x.shape[:1] or part.y.dtype != torch.int64:
        what = f"{part.y.dtype} {tuple(part.y.shape)}, must be int64 ({len(part.x)},), one label for each window"
        yield Problem(f"{name}.y", "train.label-array-mismatch", what)
    elif len(part.y) < least:
        yield Problem(name, "train.too-few-windows", f"has {len(part.y)} windows, must have at least {least}")
    elif not 0 <= int(part.y.min()) <= int(part.y.max()) < network.classes:
        yield Problem(f"{name}.y", "train.label-out-of-range", f"labels must be from 0 to {network.classes - 1}")


def _copy(tensor: Tensor) -> Tensor:
    """Return a contiguous copy on the CPU, as safetensors requires."""
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
