"""The training loop: a generator of one snapshot per epoch. Who wants to draw, log, save or stop, iterates.

What a result depends on is the seed, the settings (thread count included), the data, the versions and the
machine; the caller's random state is neither read nor changed. A snapshot holds all that the next epoch
needs: a resumed training gives the same bits as an uninterrupted one. Every window is used once per epoch.

- plateau: the rate is halved after a third of `patience` epochs without a better validation loss; after
  `patience` of them training ends.
- onecycle: the published policy, one step per batch, momentum included; runs out.
- cosine: from the learning rate to 0 over the epochs; runs out.
"""

import math
from collections.abc import Callable, Iterable, Iterator
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
from modelreg.ml import checkpoint
from modelreg.ml.augmentation import Augmentation
from modelreg.ml.checkpoint import Saved
from modelreg.ml.networks import Network
from modelreg.ml.process import repeatable
from modelreg.ml.quantize import usage
from modelreg.records.base import Count, Record, validate
from modelreg.records.run import Epoch

VALIDATION_BATCH = 512
ADVICE = (
    "the loss or its gradient is NaN or Inf: try a lower training.learning_rate, a lower "
    "training.gradient_clip, and check the scale of the data with `modelreg data check`"
)


class Part(NamedTuple):
    """One part of the data, in memory."""

    x: Tensor  # (N, C, D, T), float32, normalized
    y: Tensor  # (N,), int64


class Snapshot(NamedTuple):
    """An epoch that has ended: its line of the history, and all that the next one needs."""

    epoch: Epoch
    tensors: dict[str, Tensor]  # network.*, optimizer.<parameter>.<moment>, random.*
    state: dict[str, Json]

    @property
    def weights(self) -> dict[str, Tensor]:
        """The network's own tensors, for its checkpoint."""
        return _under("network.", self.tensors)


def fit(
    network: Network,
    train: Part,
    validation: Part,
    settings: TrainingSettings,
    resume: Saved | None = None,
    augmentation: Augmentation | None = None,
) -> Iterator[Snapshot]:
    """Train a network in place, from `resume` where that is given. Raises InputError when it is iterated."""
    if problems := list(find_problems(network, train, validation, settings)):
        raise InputError("cannot train", problems)
    loop = _Loop(network, settings, len(train.y), augmentation)
    if resume is not None:
        loop.restore(resume)
    learn, test = _on_device(train, settings), _on_device(validation, settings)
    objective = _objective(learn.y, network.classes, settings)
    while not loop.ended:
        with repeatable(settings, loop.random):
            rate = loop.rate
            order = torch.randperm(len(learn.y), generator=loop.shuffles)
            learned = _run(
                network.train(), loop.changed(_batches(learn, order, settings.batch_size)), objective, loop.step
            )
            with torch.no_grad():
                in_order = _batches(test, torch.arange(len(test.y)), VALIDATION_BATCH)
                tested = _run(network.eval(), in_order, F.cross_entropy)
            epoch = loop.close(rate, learned, tested)
        yield loop.snapshot(epoch)


def find_problems(network: Network, train: Part, validation: Part, settings: TrainingSettings) -> Iterator[Problem]:
    """Yield why this training cannot start."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        yield Problem("training.device", "cuda, but torch finds no CUDA device here")
    yield from _part_problems("train", train, network, least=2)
    yield from _part_problems("validation", validation, network, least=1)


class State(Record):
    """What last.safetensors keeps beside its tensors. Bad epochs are those since the best one."""

    settings: TrainingSettings
    windows: Count
    epoch: Count  # that ended last
    best_epoch: Count
    best_loss: float
    optimizer: list[dict[str, Any]]
    scheduler: dict[str, Any]  # non-finite numbers are null


class _Pass(NamedTuple):
    """What one pass over a part gave."""

    losses: Tensor  # (S,), mean of each step
    norms: Tensor  # (S,), of the gradient before clipping
    sizes: Tensor  # (S,), windows
    hits: Tensor  # (), windows
    code_index: Tensor  # (N,)

    @property
    def loss(self) -> float:
        """The mean over windows."""
        return float((self.losses * self.sizes).sum() / self.sizes.sum())

    @property
    def accuracy(self) -> float:
        """The share of windows classified correctly."""
        return int(self.hits) / len(self.code_index)


class _Loop:
    """All that changes from epoch to epoch."""

    def __init__(
        self, network: Network, settings: TrainingSettings, windows: int, augmentation: Augmentation | None
    ) -> None:
        self.network = network
        self.augmentation = augmentation
        self.settings = settings
        self.windows = windows
        network.to(device=settings.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
        self.optimizer = _optimizer(network, settings)
        self.scheduler = _scheduler(self.optimizer, settings, len(_sizes(windows, settings.batch_size)))
        self.epoch = self.best_epoch = 0
        self.best_loss = math.inf
        seeds = torch.randint(2**62, (3,), generator=torch.Generator().manual_seed(settings.seed))
        shuffle, dropout, augment = map(int, seeds)
        self.shuffles = torch.Generator().manual_seed(shuffle)
        self.augments = torch.Generator().manual_seed(augment)
        devices: set[str] = {"cpu", settings.device}
        self.random = {d: torch.Generator(d).manual_seed(dropout).get_state() for d in devices}

    def changed(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield training batches as the augmentation changes them."""
        for x, y in batches:
            yield (x if self.augmentation is None else self.augmentation.apply(x, self.augments)), y

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def ended(self) -> bool:
        """Whether the epochs have run out, or with plateau the patience."""
        bad_epochs = self.epoch - self.best_epoch if self.settings.scheduler == "plateau" else 0
        return self.epoch >= self.settings.epochs or bad_epochs >= self.settings.patience

    def step(self, loss: Tensor) -> Tensor:
        """Move the weights against the gradient; return its norm before clipping."""
        self.optimizer.zero_grad()
        loss.backward()
        clip = self.settings.gradient_clip or math.inf
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), clip)
        self.optimizer.step()
        if isinstance(self.scheduler, OneCycleLR):
            self.scheduler.step()
        return norm

    def close(self, rate: float, learned: _Pass, tested: _Pass) -> Epoch:
        """Count the epoch and let the scheduler see it. Raises InputError where training diverged."""
        self.epoch += 1
        _refuse_divergence(self.epoch, learned, tested)
        if best := tested.loss < self.best_loss:
            self.best_epoch, self.best_loss = self.epoch, tested.loss
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(tested.loss)
        elif isinstance(self.scheduler, CosineAnnealingLR):
            self.scheduler.step()
        codes = usage(learned.code_index, self.network.levels)
        return Epoch(
            number=self.epoch,
            train_loss=learned.loss,
            train_accuracy=learned.accuracy,
            validation_loss=tested.loss,
            validation_accuracy=tested.accuracy,
            learning_rate=rate,
            gradient_norm=float(learned.norms.mean()),
            perplexity=codes.perplexity,
            used_share=codes.used_share,
            best=best,
        )

    def snapshot(self, epoch: Epoch) -> Snapshot:
        """Return copies of all that the next epoch depends on."""
        return Snapshot(epoch, {name: _copy(tensor) for name, tensor in self.tensors().items()}, self.state())

    def tensors(self) -> dict[str, Tensor]:
        """Return what changes and is a tensor, by its name in last.safetensors."""
        moments = {
            f"{i}.{name}": value
            for i, entry in self.optimizer.state_dict()["state"].items()
            for name, value in entry.items()
        }
        own = {"shuffles": self.shuffles.get_state(), "augmentation": self.augments.get_state()}
        random = {**self.random, **own}
        parts = {"network": self.network.state_dict(), "optimizer": moments, "random": random}
        return {f"{part}.{name}": tensor for part in parts for name, tensor in parts[part].items()}

    def state(self) -> dict[str, Json]:
        """Return what changes and is no tensor, with the settings that it belongs to."""
        return {
            "settings": self.settings.to_document(),
            "windows": self.windows,
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
            "optimizer": checkpoint.finite(self.optimizer.state_dict()["param_groups"]),
            "scheduler": checkpoint.finite(self.scheduler.state_dict()),
        }

    def restore(self, saved: Saved) -> None:
        """Continue where a snapshot was taken. Raises InputError where it belongs to another training."""
        state = validate(files.to_json(saved.state), State, "state")
        moments = self._moments()
        expected = self.tensors() | {f"optimizer.{key}": moment for key, moment in moments.items()}
        if problems := [*self._other_settings(state), *checkpoint.mismatches(expected, saved.tensors)]:
            raise InputError("cannot resume: the snapshot is of another training", problems)
        self.network.load_state_dict(_under("network.", saved.tensors))
        entries: dict[int, dict[str, Tensor]] = {i: {} for i, _ in enumerate(self.network.parameters())}
        for key, moment in moments.items():
            i, name = key.split(".")
            entries[int(i)][name] = moment.copy_(saved.tensors[f"optimizer.{key}"])
        self.optimizer.load_state_dict({"state": entries, "param_groups": state.optimizer})
        self.scheduler.load_state_dict({k: v for k, v in state.scheduler.items() if v is not None})
        self.random = _under("random.", saved.tensors)
        self.shuffles.set_state(self.random.pop("shuffles"))
        self.augments.set_state(self.random.pop("augmentation"))
        self.epoch, self.best_epoch, self.best_loss = state.epoch, state.best_epoch, state.best_loss

    def _other_settings(self, state: State) -> Iterator[Problem]:
        for name in TrainingSettings.model_fields:
            now, then = getattr(self.settings, name), getattr(state.settings, name)
            if now != then:
                yield Problem(f"training.{name}", f"is {now}, but the training was started with {then}")
        if self.windows != state.windows:
            yield Problem("train", f"has {self.windows} windows, but {state.windows} when it was started")

    def _moments(self) -> dict[str, Tensor]:
        """Return tensors for the optimizer's moments, with the strides they have in training."""
        return {
            f"{i}.{name}": torch.zeros(()) if name == "step" else torch.zeros_like(parameter)
            for i, parameter in enumerate(self.network.parameters())
            for name in ("step", "exp_avg", "exp_avg_sq")
        }


def _optimizer(network: Network, settings: TrainingSettings) -> Optimizer:
    make = Adam if settings.optimizer == "adam" else AdamW
    return make(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)


def _scheduler(optimizer: Optimizer, settings: TrainingSettings, steps: int) -> LRScheduler:
    """Return torch's own scheduler; `steps` are those of one epoch."""
    if settings.scheduler == "plateau":
        return ReduceLROnPlateau(optimizer, factor=0.5, patience=max(1, settings.patience // 3))
    if settings.scheduler == "cosine":
        return CosineAnnealingLR(optimizer, T_max=settings.epochs)
    return OneCycleLR(optimizer, settings.learning_rate, total_steps=settings.epochs * steps)


def _objective(y: Tensor, classes: int, settings: TrainingSettings) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the training loss; balanced weights are n / (K · n_k)."""
    weight = None
    if settings.class_weights == "balanced":
        counts = torch.bincount(y, minlength=classes).clamp(min=1)
        weight = len(y) / (classes * counts.float())
    return partial(F.cross_entropy, weight=weight, label_smoothing=settings.label_smoothing)


def _run(
    network: Network,
    batches: Iterable[tuple[Tensor, Tensor]],
    loss_of: Callable[[Tensor, Tensor], Tensor],
    step: Callable[[Tensor], Tensor] | None = None,
) -> _Pass:
    """Pass over the batches, learning where there is a `step`. Nothing is awaited from a GPU on the way."""
    losses, norms, sizes, hits, index = [], [], [], [], []
    for x, y in batches:
        output = network(x)
        loss = loss_of(output.logits, y)
        if step is not None:
            norms.append(step(loss))
        losses.append(loss.detach())
        sizes.append(len(y))
        hits.append((output.logits.detach().argmax(1) == y).sum())
        index.append(output.code_index)
    return _Pass(
        losses=torch.stack(losses).double().cpu(),
        norms=torch.stack(norms).double().cpu() if norms else torch.zeros(0),
        sizes=torch.tensor(sizes),
        hits=torch.stack(hits).sum(),
        code_index=torch.cat(index),
    )


def _refuse_divergence(epoch: int, learned: _Pass, tested: _Pass) -> None:
    """Raise InputError, naming epoch and step, where a loss or a gradient is NaN or Inf."""
    good = learned.losses.isfinite() & learned.norms.isfinite()
    if not good.all():
        where = f"epoch {epoch}, step {int(good.int().argmin()) + 1} of {len(good)}"
        raise InputError("the training diverged", [Problem(where, ADVICE)])
    if not tested.losses.isfinite().all():
        raise InputError("the training diverged", [Problem(f"epoch {epoch}, validation", ADVICE)])


def _sizes(windows: int, batch_size: int) -> list[int]:
    """Return the sizes of the batches. A single window left over joins the last: BatchNorm needs two."""
    full, rest = divmod(windows, batch_size)
    if rest == 1 and full:
        return [batch_size] * (full - 1) + [batch_size + 1]
    return [batch_size] * full + [rest] * (rest > 0)


def _batches(part: Part, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield windows (n, C, D, T), channels last, and labels (n,), cut straight from memory."""
    for rows in order.to(part.y.device).split(_sizes(len(order), batch_size)):
        yield part.x.index_select(0, rows).permute(0, 3, 1, 2), part.y.index_select(0, rows)


def _on_device(part: Part, settings: TrainingSettings) -> Part:
    """Return the part with x as (N, D, T, C), so that a selection of windows has its channels last."""
    x = part.x.to(settings.device).permute(0, 2, 3, 1).contiguous()
    return Part(x, part.y.to(settings.device))


def _part_problems(name: str, part: Part, network: Network, *, least: int) -> Iterator[Problem]:
    if part.x.shape[1:] != network.shape or part.x.dtype != torch.float32:
        what = f"{part.x.dtype} {tuple(part.x.shape)}, must be float32 (N, *{network.shape})"
        yield Problem(f"{name}.x", what)
    elif not part.x.isfinite().all():
        yield Problem(f"{name}.x", "holds NaN or Inf")
    if part.y.shape != part.x.shape[:1] or part.y.dtype != torch.int64:
        yield Problem(f"{name}.y", f"{part.y.dtype} {tuple(part.y.shape)}, must be int64, one per window")
    elif len(part.y) < least:
        yield Problem(name, f"{len(part.y)} windows, at least {least} are needed")
    elif not 0 <= int(part.y.min()) <= int(part.y.max()) < network.classes:
        yield Problem(f"{name}.y", f"labels outside 0 … {network.classes - 1}")


def _copy(tensor: Tensor) -> Tensor:
    """Return a copy in main memory, contiguous as safetensors wants it."""
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
