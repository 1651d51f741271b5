"""The training loop: it learns, is reproducible bit by bit, can be resumed, and reports divergence."""

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from places import places
from torch.nn.functional import cross_entropy

from modelreg.config import TrainingSettings
from modelreg.errors import InputError, Problem
from modelreg.ml import batches, checkpoint, determinism, factory, fsq_layer, training
from modelreg.ml.batches import Part
from modelreg.ml.checkpoint import Saved
from modelreg.ml.network import Network
from modelreg.ml.training import Snapshot
from modelreg.records.model import Conv2dFsqSettings

MODEL = Conv2dFsqSettings(
    widths=(6, 8), kernels=((1, 3), (1, 3)), levels=(8, 6, 5), hidden=16, batchnorm_before_fsq=True
)
SHAPE = (3, 2, 16)
CLASSES = 4
SCHEDULERS = ("plateau", "onecycle", "cosine")


def part(n: int, seed: int) -> Part:
    """Return windows whose class is the frequency of a noisy sine."""
    random = torch.Generator().manual_seed(seed)
    y = torch.randint(CLASSES, (n,), generator=random)
    phase = 6.28 * torch.rand(n, 3, 2, 1, generator=random)
    x = torch.sin((y[:, None, None, None] + 1) * torch.arange(16) / 3 + phase)
    return Part(x + 0.1 * torch.randn(x.shape, generator=random), y)


TRAIN, VALIDATION = part(65, seed=1), part(20, seed=2)


def settings(**changes: Any) -> TrainingSettings:
    """Return settings for a short training."""
    return TrainingSettings(**{"epochs": 4, "batch_size": 16, "threads": 1, "learning_rate": 0.01, **changes})


def network(dropout: float = 0.0) -> Network:
    """Return the same network each time."""
    return factory.seeded(MODEL.model_copy(update={"dropout": dropout}), SHAPE, CLASSES, seed=0)


def fit(
    resume: Saved | None = None,
    train: Part = TRAIN,
    validation: Part = VALIDATION,
    dropout: float = 0.0,
    **changes: Any,
) -> Iterator[Snapshot]:
    """Train a network from its initial weights."""
    return training.fit(network(dropout), train, validation, settings(**changes), resume)


def as_bytes(snapshot: Snapshot) -> bytes:
    """Return the complete snapshot as bytes."""
    return checkpoint.checkpoint_bytes(snapshot.tensors, snapshot.state) + snapshot.epoch.to_bytes()


def refusal(*arguments: Any, **changes: Any) -> list[Problem]:
    """Return the problems that a training is refused with."""
    with pytest.raises(InputError) as caught:
        list(fit(*arguments, **changes))
    return list(caught.value.problems)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize(("done", "averaging"), [(1, None), (3, None), (2, 0.9)])
def test_resumed_equals_uninterrupted(scheduler: str, done: int, averaging: float | None, tmp_path: Path) -> None:
    """Each snapshot after an interruption equals, byte by byte, that of an uninterrupted training."""
    chosen: dict[str, Any] = {"scheduler": scheduler, "dropout": 0.5, "epochs": 5, "patience": 3}
    chosen["averaging"] = averaging
    whole = [as_bytes(snapshot) for snapshot in fit(**chosen)]
    *_, last = islice(fit(**chosen), done)
    (tmp_path / "last").write_bytes(checkpoint.checkpoint_bytes(last.tensors, last.state))
    torch.manual_seed(999)
    rest = [as_bytes(snapshot) for snapshot in fit(checkpoint.read_checkpoint(tmp_path / "last"), **chosen)]

    assert rest == whole[done:]


def test_resuming_a_finished_training_yields_nothing() -> None:
    """The last epoch has been reached."""
    *_, last = fit()

    assert list(fit(Saved(last.tensors, last.state))) == []


@pytest.mark.parametrize("noise", [1, 2])
def test_same_seed_same_bits(noise: int) -> None:
    """The result does not depend on the caller's random state."""
    torch.manual_seed(noise)
    first = [as_bytes(snapshot) for snapshot in fit(dropout=0.5)]
    torch.rand(100 * noise)

    assert [as_bytes(snapshot) for snapshot in fit(dropout=0.5)] == first


def test_another_seed_gives_other_weights() -> None:
    """The seed determines the order of the batches."""
    first, second = next(fit(seed=1)), next(fit(seed=2))

    assert as_bytes(first) != as_bytes(second)


def test_the_settings_of_the_caller_are_restored() -> None:
    """Random state, threads and determinism are restored after each epoch, also when training is left early."""
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    state = torch.get_rng_state()
    epochs = fit(threads=torch.get_num_threads() + 1)
    next(epochs)

    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
    assert torch.equal(torch.get_rng_state(), state)


def test_the_loss_starts_at_chance_level() -> None:
    """Before training, the loss is about log(classes)."""
    epoch = next(fit(learning_rate=1e-9)).epoch

    assert epoch.train_loss == pytest.approx(math.log(CLASSES), abs=0.15)


def test_one_batch_can_be_overfitted() -> None:
    """The loss of sixteen windows falls to almost 0."""
    few = part(16, seed=3)
    *_, last = fit(train=few, validation=few, epochs=80, patience=80, learning_rate=0.02)

    assert last.epoch.train_loss < 0.1
    assert last.epoch.train_accuracy == 1.0


def test_it_generalises() -> None:
    """On an easy problem the validation accuracy is far above chance."""
    *_, last = fit(epochs=30)

    assert last.epoch.validation_accuracy > 0.7


def test_validation_changes_no_weight() -> None:
    """The weights and the BatchNorm statistics depend on the train split only."""
    first, second = (list(islice(fit(validation=v, scheduler="cosine"), 2))[-1] for v in (VALIDATION, TRAIN))

    assert checkpoint.checkpoint_bytes(first.weights) == checkpoint.checkpoint_bytes(second.weights)


def test_validation_metrics_are_those_of_the_weights() -> None:
    """Loss and accuracy are computed in eval mode, without label smoothing or class weights."""
    trained = network()
    options = settings(label_smoothing=0.2, class_weights="balanced")
    epoch = next(training.fit(trained, TRAIN, VALIDATION, options)).epoch
    with torch.no_grad():
        logits = trained.eval()(VALIDATION.x).logits

    assert epoch.validation_loss == pytest.approx(cross_entropy(logits, VALIDATION.y).item(), rel=1e-5)
    assert epoch.validation_accuracy == int((logits.argmax(1) == VALIDATION.y).sum()) / 20


def test_averaged_weights_follow_the_definition() -> None:
    """With one step per epoch: a <- d a + (1 - d) w, where d = min(decay, (1 + n) / (10 + n)) after n steps."""
    mean = {name: value.double() for name, value in network().state_dict().items()}
    for step, snapshot in enumerate(fit(epochs=6, batch_size=len(TRAIN.y), averaging=0.4), 1):
        decay = min(0.4, (1 + step) / (10 + step))
        for name, value in mean.items():
            value.mul_(decay).add_((1 - decay) * snapshot.tensors[f"network.{name}"])
    counted = {name for name in mean if name.endswith("num_batches_tracked")}

    for name in mean.keys() - counted:
        torch.testing.assert_close(snapshot.weights[name].double(), mean[name], rtol=1e-5, atol=1e-6)
    assert {snapshot.weights[name].item() for name in counted} == {6}


def test_averaged_weights_are_validated() -> None:
    """The validation loss is that of the weights in the checkpoint."""
    *_, last = fit(averaging=0.9)
    kept = network().eval()
    kept.load_state_dict(last.weights)

    assert cross_entropy(kept(VALIDATION.x).logits, VALIDATION.y).item() == pytest.approx(last.epoch.validation_loss)


def test_code_usage_is_counted_over_the_epoch() -> None:
    """At a learning rate near 0, the codes of the epoch are those of its batches in training mode."""
    trained = network()
    epoch = next(training.fit(trained, TRAIN, VALIDATION, settings(learning_rate=1e-12, batch_size=65))).epoch
    usage = fsq_layer.usage(network().train()(TRAIN.x).code_index, MODEL.levels)

    assert (epoch.perplexity, epoch.used_share) == pytest.approx(usage)


def test_the_first_step_follows_the_definition() -> None:
    """With one batch, the weights are those of a plain Adam step on the weighted, smoothed loss."""
    options = settings(label_smoothing=0.1, class_weights="balanced", batch_size=65, weight_decay=0.1)
    snapshot = next(training.fit(network(), TRAIN, VALIDATION, options))
    plain = network().train()
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.01, weight_decay=0.1)
    weight = 65 / (CLASSES * torch.bincount(TRAIN.y).float())
    cross_entropy(plain(TRAIN.x).logits, TRAIN.y, weight=weight, label_smoothing=0.1).backward()
    norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
    optimizer.step()

    assert snapshot.epoch.gradient_norm == pytest.approx(norm.item(), rel=1e-4)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(snapshot.weights[name], value, atol=2e-4, rtol=1e-3)


def test_a_class_without_windows_has_a_finite_weight() -> None:
    """Balanced class weights do not divide by 0."""
    few = Part(TRAIN.x, TRAIN.y % 2)

    assert math.isfinite(next(fit(train=few, class_weights="balanced")).epoch.train_loss)


def test_the_gradient_norm_is_recorded_without_clipping() -> None:
    """gradient_clip: null does not change the gradient."""
    assert next(fit(gradient_clip=None, optimizer="adamw")).epoch.gradient_norm > 0


@given(st.integers(2, 300), st.integers(2, 70))
def test_batches_use_each_window_and_have_at_least_two(windows: int, batch_size: int) -> None:
    """No batch exceeds the batch size by more than one window."""
    sizes = batches.sizes(windows, batch_size)

    assert sum(sizes) == windows
    assert 2 <= min(sizes) <= max(sizes) <= batch_size + 1


def test_each_window_is_used_once_per_epoch() -> None:
    """The batches of an epoch are a permutation of the split, channels last in memory."""
    random = torch.Generator().manual_seed(0)
    resting = batches.on_device(TRAIN, "cpu")
    found = [batches.select(resting, rows).x for rows, _ in batches.order(TRAIN, 16, 1).shuffled(random)]
    seen = torch.cat([x.flatten(1) for x in found])

    assert torch.equal(seen.sort(0).values, TRAIN.x.flatten(1).sort(0).values)
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in found)


def test_the_best_epoch_has_the_lowest_validation_loss() -> None:
    """An epoch is marked as best when its loss is below all previous ones; the state stores its number."""
    snapshots = list(fit(epochs=12, learning_rate=0.05))
    losses = [snapshot.epoch.validation_loss for snapshot in snapshots]

    assert [s.epoch.best for s in snapshots] == [
        loss < min(losses[:i], default=math.inf) for i, loss in enumerate(losses)
    ]
    assert snapshots[-1].state["best_epoch"] == losses.index(min(losses)) + 1


def test_patience_ends_a_training_with_plateau() -> None:
    """Training stops after `patience` epochs without a lower validation loss."""
    snapshots = list(fit(epochs=60, patience=2, learning_rate=0.05))
    bests = [snapshot.epoch.number for snapshot in snapshots if snapshot.epoch.best]

    assert snapshots[-1].epoch.number == bests[-1] + 2 < 60


@pytest.mark.parametrize("scheduler", ["onecycle", "cosine"])
def test_other_schedules_use_all_epochs(scheduler: str) -> None:
    """Patience does not stop a schedule that is defined over all epochs."""
    assert len(list(fit(epochs=12, patience=1, scheduler=scheduler, learning_rate=0.05))) == 12


def test_cosine_falls_from_the_learning_rate_to_zero() -> None:
    """The rate of each epoch lies on half a cosine."""
    rates = [snapshot.epoch.learning_rate for snapshot in fit(epochs=6, scheduler="cosine")]

    assert rates == pytest.approx([0.005 * (1 + math.cos(math.pi * i / 6)) for i in range(6)])


def test_onecycle_rises_before_it_falls() -> None:
    """The highest rate is neither in the first nor in the last epoch."""
    rates = [snapshot.epoch.learning_rate for snapshot in fit(epochs=8, scheduler="onecycle")]

    assert rates[0] == pytest.approx(0.01 / 25)
    assert 0 < rates.index(max(rates)) < 7


def test_plateau_halves_the_rate() -> None:
    """Without progress the rate falls before patience stops the training."""
    rates = {snapshot.epoch.learning_rate for snapshot in fit(epochs=20, patience=6, learning_rate=1e-6)}

    assert 0.5e-6 in rates


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"epochs": 9}, [("training.epochs", "train.settings-changed")]),
        (
            {"seed": 1, "threads": 2},
            [("training.seed", "train.settings-changed"), ("training.threads", "train.settings-changed")],
        ),
        ({"train": part(64, seed=1)}, [("train", "train.data-changed")]),
    ],
)
def test_another_training_is_not_resumed(changes: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """Each setting that differs from the snapshot is reported."""
    snapshot = next(fit())

    assert places(refusal(Saved(snapshot.tensors, snapshot.state), **changes)) == expected


def test_a_snapshot_of_another_network_is_not_resumed() -> None:
    """Missing and unexpected tensors, and tensors of another shape, are reported."""
    snapshot = next(fit())
    tensors = {**snapshot.tensors, "optimizer.0.exp_avg": torch.zeros(2), "network.extra": torch.zeros(1)}
    del tensors["random.shuffles"]
    problems = refusal(Saved(tensors, snapshot.state))

    assert places(problems) == [
        ("network.extra", "checkpoint.tensor-unexpected"),
        ("optimizer.0.exp_avg", "checkpoint.tensor-mismatch"),
        ("random.shuffles", "checkpoint.tensor-missing"),
    ]


def test_weights_alone_cannot_be_resumed() -> None:
    """A checkpoint of the best epoch has no training state."""
    assert refusal(Saved(next(fit()).weights, None))


def test_divergence_stops_the_training_and_names_the_step() -> None:
    """The loss becomes NaN or Inf at a learning rate of 1e30."""
    problems = refusal(learning_rate=1e30, gradient_clip=None)

    assert places(problems) == [("epoch 1, step 2 of 4", "train.diverged")]


def test_divergence_in_validation_is_found() -> None:
    """A validation loss of NaN or Inf stops the training too."""
    huge = Part(torch.full_like(VALIDATION.x, 3e38), VALIDATION.y)

    assert places(refusal(validation=huge)) == [("epoch 1, validation", "train.diverged")]


def test_each_fault_of_the_windows_is_reported() -> None:
    """Shape, number format, labels and NaN are checked in both splits."""
    bad = Part(torch.full((2, *SHAPE), math.nan), torch.tensor([0, CLASSES]))
    problems = refusal(train=Part(TRAIN.x[:, :2], TRAIN.y.int()), validation=bad)

    assert places(problems) == [
        ("train.x", "model.window-shape-mismatch"),
        ("train.y", "train.label-array-mismatch"),
        ("validation.x", "train.non-finite-windows"),
        ("validation.y", "train.label-out-of-range"),
    ]


def test_training_needs_two_windows() -> None:
    """BatchNorm cannot be trained on one window."""
    assert places(refusal(train=part(1, seed=1))) == [("train", "train.too-few-windows")]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_reported() -> None:
    """The error is an InputError, not torch's traceback."""
    assert places(refusal(device="cuda")) == [("training.device", "train.no-cuda-device")]


def test_the_allocator_is_not_tuned_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without mallopt the function does nothing and returns False."""
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())

    assert determinism.tune_allocator() is False


def test_tuning_the_allocator_changes_no_bit() -> None:
    """It changes the speed only."""
    before = as_bytes(next(fit()))
    determinism.tune_allocator()

    assert as_bytes(next(fit())) == before
