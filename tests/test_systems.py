"""Every model system: its structure, that all parameters learn, and that training is reproducible bit by bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from places import places
from tiny_systems import ALL, CLASSES, SHAPE, SYSTEMS, network_of, part, settings_of, spec_of, training_settings
from torch import nn

from modelreg.artifacts import safetensors_file
from modelreg.documents.templates import architecture_v2
from modelreg.ml import batches, checkpoint, factory, training
from modelreg.ml.checkpoint import Saved
from modelreg.ml.conv2d import Conv2dNetwork
from modelreg.ml.hdp import temperature_at
from modelreg.ml.network import Batch, Network
from modelreg.ml.training import Snapshot

HAILO = (nn.Conv2d, nn.BatchNorm2d, nn.BatchNorm1d, nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.Flatten, nn.Linear)
ONLY_IN_TRAINING = (nn.Dropout, nn.Identity)
PADDING = nn.ZeroPad2d  # merged into the convolution by the export
TERMS = {
    "conv2d_fsq": set(),
    "conv2d_fsq_hsmm": {"temporal"},
    "conv2d_vq": {"commitment", "reconstruction"},
    "conv2d_vq_hdp_hsmm": {"commitment", "reconstruction", "mixture", "temporal"},
    "tcn_vae": {"reconstruction", "divergence", "domain"},
    "vq off": {"reconstruction", "mixture", "temporal"},
    "hdp off": {"commitment", "reconstruction", "temporal"},
    "hsmm off": {"commitment", "reconstruction", "mixture"},
    "reconstruction off": {"commitment", "mixture", "temporal"},
    "one mixture": {"commitment", "reconstruction", "mixture", "temporal"},
    "all off": set(),
    "fsq, hsmm off": set(),
    "fsq, convolutions alone": set(),
    "conv2d_vq_tokens": {"commitment"},
}
every_system = pytest.mark.parametrize("name", SYSTEMS)
every_form = pytest.mark.parametrize("name", ALL)


def fit(name: str, resume: Saved | None = None, **changes: Any) -> list[Snapshot]:
    """Train a system for a few epochs."""
    return list(training.fit(network_of(name), part(), part(seed=2), training_settings(**changes), resume))


def as_bytes(snapshot: Snapshot) -> bytes:
    """Return the complete snapshot as bytes."""
    return checkpoint.checkpoint_bytes(snapshot.tensors, snapshot.state) + snapshot.epoch.to_bytes()


def one_batch(name: str) -> Batch:
    """Return the first training batch of a system."""
    resting, network = batches.on_device(part(), "cpu"), network_of(name)
    order = batches.order(part(), 16, network.chunk)
    rows, streams = next(order.shuffled(torch.Generator().manual_seed(0)))
    return batches.select(resting, rows, streams)


def answered(name: str) -> tuple[Network, Batch, Any]:
    """Return a system halfway through its training, a batch, and its output."""
    network, batch = network_of(name).train(), one_batch(name)
    network.prepare(part().y, part().streams)
    network.windows = len(part().y)
    network.advance(0.5)
    return network, batch, network.answer(batch)


@every_form
def test_the_record_counts_what_is_built(name) -> None:
    """Parameters and tensors of the record are those of the built network, and those that `verify` computes."""
    spec, network = spec_of(name), network_of(name)
    built = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}

    assert spec.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert safetensors_file.shapes(spec) == built
    assert safetensors_file.parameter_count(built) == spec.parameters


def test_a_card_says_how_a_system_of_tokens_decides() -> None:
    """By the mean of the codes of all timesteps."""
    said = architecture_v2.describe(spec_of("conv2d_vq_tokens"))

    assert "The classifier uses the mean code of a window." in said


@every_form
def test_the_record_describes_the_network(name) -> None:
    """It has the levels of the codes, the width of the projection, and whether durations smooth predictions."""
    spec, network = spec_of(name), network_of(name)
    smooths = network.smoother(CLASSES) is not None

    assert (spec.levels, spec.projection, spec.smooths) == (network.levels, network.projection, smooths)
    assert (network.mean_duration() is not None) == smooths


@every_form
def test_describing_a_network_draws_no_random_number(name) -> None:
    """Building the record does not change torch's random state."""
    before = torch.get_rng_state()
    spec_of(name)

    assert torch.equal(before, torch.get_rng_state())


@every_form
def test_the_device_part_holds_what_an_npu_compiles(name) -> None:
    """Each layer is supported by the NPU, absent after training, or padding that the export merges."""
    leaves = [layer for layer in network_of(name).device_part.modules() if not list(layer.children())]
    allowed = (*HAILO, *ONLY_IN_TRAINING, PADDING)

    assert [type(leaf) for leaf in leaves if not isinstance(leaf, allowed)] == []


@every_form
def test_the_network_equals_device_part_and_host_part(name) -> None:
    """The host part computes code, index, logits and cluster from the projection of the device part."""
    network, x = network_of(name).eval(), part().x[:7]
    whole, projection = network(x), network.device_part(x)
    answer = network.host_part(projection)

    for key in ("code", "code_index", "logits", "cluster"):
        assert getattr(whole, key) is getattr(answer, key) is None or torch.equal(
            getattr(whole, key), getattr(answer, key)
        )
    assert torch.equal(whole.projection, projection)


@every_form
def test_each_component_adds_its_term_to_the_loss(name) -> None:
    """Each term is one finite number. A component that is off adds no term."""
    network, batch, output = answered(name)
    terms = network.terms(batch, output)

    assert set(terms) == TERMS[name]
    assert all(term.shape == () and term.isfinite() for term in terms.values())


@every_form
def test_gradient_reaches_every_parameter(name) -> None:
    """Each parameter has a finite gradient that is not 0."""
    network, batch, output = answered(name)
    loss = nn.functional.cross_entropy(output.logits, batch.y) + sum(network.terms(batch, output).values())
    loss.backward()
    dead = [key for key, parameter in network.named_parameters() if not _moved(parameter)]

    assert dead == []


def _moved(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and bool(parameter.grad.isfinite().all() and parameter.grad.any())


@every_system
def test_the_loss_falls(name) -> None:
    """After 8 epochs the training loss is lower, and the accuracy is above chance."""
    snapshots = fit(name, epochs=8, learning_rate=0.03)

    assert snapshots[-1].epoch.train_loss < snapshots[0].epoch.train_loss
    assert snapshots[-1].epoch.train_accuracy > 1 / len(CLASSES) + 0.2


@every_system
def test_resumed_equals_uninterrupted(name, tmp_path: Path) -> None:
    """The snapshots are equal byte by byte, including codebook, mixture and durations."""
    network = network_of(name)
    whole = [as_bytes(snapshot) for snapshot in fit(name, averaging=0.9)]
    last = next(training.fit(network, part(), part(seed=2), training_settings(averaging=0.9)))
    (tmp_path / "last").write_bytes(checkpoint.checkpoint_bytes(last.tensors, last.state))
    torch.manual_seed(999)

    assert [as_bytes(s) for s in fit(name, checkpoint.read_checkpoint(tmp_path / "last"), averaging=0.9)] == whole[1:]


@every_system
def test_validation_changes_no_weight(name) -> None:
    """Codebook, mixture and durations do not depend on the validation split either."""
    network = network_of(name)
    other = next(training.fit(network, part(), part((5, 5), seed=3), training_settings()))
    ours = next(training.fit(network_of(name), part(), part(seed=2), training_settings()))

    assert checkpoint.checkpoint_bytes(other.weights) == checkpoint.checkpoint_bytes(ours.weights)


@every_form
def test_an_epoch_reports_the_measures_of_its_components(name) -> None:
    """These are code usage with a quantizer, active clusters with a mixture, and mean duration with durations."""
    few = part((16,))
    snapshot = next(training.fit(network_of(name), few, few, training_settings()))
    epoch, spec = snapshot.epoch, spec_of(name)
    mixture = "mixture" in TERMS[name]
    found = (epoch.perplexity is None, epoch.active_clusters is None, epoch.mean_duration is None)

    assert found == (spec.levels is None, not mixture, not spec.smooths)
    assert set(epoch.terms) == ({"classification", *TERMS[name]} if TERMS[name] else set())
    assert sum(epoch.terms.values() or [epoch.train_loss]) == pytest.approx(epoch.train_loss, rel=1e-5)


def test_a_batch_smaller_than_two_chunks_is_refused() -> None:
    """With one chunk in a batch, all its windows would be from one recording."""
    network = network_of("conv2d_fsq_hsmm")
    problems = training.find_problems(network, part(), part(), training_settings(batch_size=15))

    assert places(problems) == [("training.batch_size", "train.batch-too-small")]


def test_chunks_of_one_class_can_be_as_long_as_a_duration() -> None:
    """A stream with one window more than a chunk gives no chunk that is longer than the longest duration."""
    settings = settings_of("conv2d_fsq_hsmm")
    settings = settings.model_copy(update={"hsmm": settings.hsmm.model_copy(update={"max_duration": 8})})
    network, given = factory.seeded(settings, SHAPE, 3, seed=0), part((9, 17))
    still = given._replace(y=torch.arange(26) // 9)

    assert next(training.fit(network, still, still, training_settings())).epoch.terms["temporal"] > 0


def test_streams_of_one_window_can_be_trained_on() -> None:
    """There is nothing to smooth."""
    single = part((1,) * 20)
    snapshot = next(training.fit(network_of("conv2d_vq_hdp_hsmm"), single, single, training_settings()))

    assert snapshot.epoch.mean_duration >= 1


def test_the_temperature_of_the_mixture_falls() -> None:
    """It falls geometrically from the first to the second value of the setting."""
    network = network_of("conv2d_vq_hdp_hsmm")
    assert isinstance(network, Conv2dNetwork)
    found = []
    for progress in (0.0, 0.5, 1.0):
        network.advance(progress)
        found.append(float(network.host_part.mixture.temperature))

    assert found == pytest.approx([1.0, temperature_at(0.5, 1.0, 0.3), 0.3])


def test_the_mixture_depends_on_the_session() -> None:
    """In training, the same windows from another recording get other weights."""
    network = network_of("conv2d_vq_hdp_hsmm").eval()
    with torch.no_grad():
        network.host_part.mixture.log_groups[1] += torch.arange(4.0)
    x = part().x[:4]
    first, second = (network.answer(Batch(x, part().y[:4], session=torch.full((4,), s))) for s in (0, 1))

    assert not torch.equal(first.logits, second.logits)


def test_the_decoder_reconstructs_sequences() -> None:
    """In the target, the channels of the first device come before those of the second."""
    network, batch, output = answered("conv2d_vq")
    network.eval()  # the decoder has dropout
    made = network.decoder(output.features)
    target = torch.cat([batch.x[:, :, 0], batch.x[:, :, 1]], 1).transpose(1, 2)
    expected = nn.functional.mse_loss(made, target)

    torch.testing.assert_close(network.terms(batch, output)["reconstruction"], expected)


def test_without_domains_there_is_no_domain_head() -> None:
    """One data set has no domains to distinguish."""
    network = factory.seeded(settings_of("tcn_vae"), SHAPE, 3, seed=0).train()
    batch = one_batch("tcn_vae")
    network.advance(0.5)

    assert set(network.terms(batch, network.answer(batch))) == {"reconstruction", "divergence"}


def test_a_receptive_field_of_many_windows_is_refused() -> None:
    """The convolutions would mostly see padding."""
    settings = settings_of("tcn_vae").model_copy(update={"widths": (4,) * 6})

    assert places(factory.find_problems(settings, SHAPE, 3)) == [("model.widths", "model.receptive-field-too-long")]
