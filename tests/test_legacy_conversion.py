"""Older networks: recognised by their names, folded, each tensor once, nothing skipped; adopted where we can."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from legacy_networks import (
    AblationFsq,
    Conv2dVq,
    PooledFsq,
    Tcn,
    TcnVae,
    TemporalBlock,
    UnpooledFsq,
    _one_thread,
    seeded,
)
from torch import nn

from modelreg.errors import InputError
from modelreg.ml import factory, legacy_conversion
from modelreg.ml.tcn import to_sequence
from modelreg.records.model import Conv2dFsqSettings, Conv2dVqTokensSettings, TcnVaeSettings

# name -> network, its parameters and tensors by models.md, its layout
DOCUMENTED = {
    "README graph": (seeded(PooledFsq), 39_762, 27, "fsq_pooled"),
    "FSQ-Hailo": (seeded(PooledFsq, 64, 32, dropout=False), 26_162, 27, "fsq_pooled"),
    "Conv2dFSQ of 3": (seeded(UnpooledFsq, (8, 6, 5)), 57_293, 29, "fsq_unpooled"),
    "Conv2dFSQ of 5": (seeded(UnpooledFsq), 58_063, 29, "fsq_unpooled"),
    "ablation": (seeded(AblationFsq), 46_102, 15, "fsq_ablation"),
    "TCN-VAE, 12 classes": (seeded(TcnVae), 1_104_175, 108, "tcn_vae"),
    "TCN encoder": (seeded(Tcn, 9, 64, 128, 256), 426_432, 42, "tcn_vae"),
    "Conv2d-VQ": (seeded(Conv2dVq), 304_645, 50, "conv2d_vq"),
}
NETWORKS = {name: network for name, (network, *_) in DOCUMENTED.items()}


__all__ = ["_one_thread"]  # a fixture


def complaint(tensors) -> str:
    """What recognising some tensors complains of."""
    with pytest.raises(InputError) as caught:
        legacy_conversion.recognise(tensors)
    return str(caught.value)


@pytest.mark.parametrize(("network", "parameters", "tensors", "layout"), DOCUMENTED.values(), ids=DOCUMENTED)
def test_every_documented_layout_is_recognised(network, parameters, tensors, layout) -> None:
    """The skeleton has the documented counts, and its state is known by its names."""
    state = network.state_dict()

    assert (sum(p.numel() for p in network.parameters()), len(state)) == (parameters, tensors)
    assert legacy_conversion.recognise(state).layout.name == layout


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_no_number_is_lost(network) -> None:
    """All but the lengths of weight norms, which are folded, and what training counted."""
    found = legacy_conversion.recognise(network.state_dict())
    trained = sum(p.numel() for name, p in network.named_parameters() if not name.endswith("weight_g"))
    statistics = ("running_mean", "running_var", "num_batches_tracked", "steps")
    kept = {n: t for n, t in found.tensors.items() if not n.endswith(statistics) and not n.startswith("codebook.")}

    assert sum(tensor.numel() for tensor in kept.values()) == trained


@pytest.mark.parametrize(
    ("name", "lacks"),
    {
        "README graph": (),
        "TCN encoder": ("fc_mu", "fc_logvar", "decoder_fc", "decoder", "activity_classifier", "domain_classifier"),
        "TCN-VAE, 12 classes": (),
    }.items(),
)
def test_what_a_file_lacks_is_said(name, lacks) -> None:
    """An encoder alone is an encoder, and the parts behind it are named."""
    assert legacy_conversion.recognise(NETWORKS[name].state_dict()).lacks == lacks


def test_what_was_done_is_said() -> None:
    """A TCN encoder has 42 names: 18 copies, then six weight norms of two factors each and twelve plain tensors."""
    notes = legacy_conversion.recognise(NETWORKS["TCN encoder"].state_dict()).notes

    assert notes == ("6 weight norms folded", "18 tensors that stood there twice, with equal numbers, taken once")


def test_statistics_of_the_training_are_named() -> None:
    """They are left out, not unexpected."""
    (note,) = legacy_conversion.recognise(NETWORKS["Conv2dFSQ of 5"].state_dict()).notes

    assert note == "2 statistics of the training left out: code_counts, total_samples"


def test_another_number_of_classes_is_the_same_layout() -> None:
    """The TCN-VAE of 13 classes has the 1,104,240 parameters that its metrics state."""
    network = TcnVae(13)

    assert sum(p.numel() for p in network.parameters()) == 1_104_240
    assert legacy_conversion.recognise(network.state_dict()).tensors["activity_classifier.bias"].shape == (13,)


@given(rows=st.integers(1, 5), columns=st.integers(1, 5), seed=st.integers(0, 99))
def test_folding_is_what_torch_computes(rows, columns, seed) -> None:
    """The weight that torch.nn.utils.weight_norm would use in forward."""
    generator = torch.Generator().manual_seed(seed)
    v, g = (torch.randn(shape, generator=generator) for shape in ((rows, columns, 3), (rows, 1, 1)))

    torch.testing.assert_close(legacy_conversion.fold(g, v), torch._weight_norm(v, g, 0))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_folded_layer_answers_as_before() -> None:
    """Of the old weight norm, and of the parametrization that took its place."""
    old = seeded(TemporalBlock, 4, 6).conv1
    new = nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 6, 3))
    for layer in (old, new):
        found, _ = legacy_conversion._fold({f"x.{name}": t for name, t in layer.state_dict().items()}, [])
        plain = nn.Conv1d(4, 6, 3)
        plain.load_state_dict({name.removeprefix("x."): tensor for name, tensor in found.items()})
        x = torch.randn(2, 4, 9)

        torch.testing.assert_close(plain(x), layer(x))


@pytest.mark.parametrize("name", ["README graph", "TCN encoder"])
@given(data=st.data())
@settings(max_examples=15)
def test_a_missing_tensor_is_named(name, data) -> None:
    """An encoder is never complete without one of its tensors, nor a head that is there in part."""
    state = {key: tensor for key, tensor in NETWORKS[name].state_dict().items() if ".net." not in key}
    gone = data.draw(st.sampled_from(sorted(state)))
    del state[gone]
    factor = gone.endswith(("weight_g", "weight_v"))

    assert ("has one of weight_g and weight_v" if factor else f"{gone.split('.')[-1]}: missing") in complaint(state)


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("README graph", lambda s: s.update(extra=torch.zeros(1)), "extra: unexpected"),
        ("README graph", lambda s: s.pop("bn2.running_var"), "encoder.bn2.running_var: missing"),
        ("README graph", lambda s: s.pop("classifier.3.bias"), "head.1.bias: missing"),
        (
            "README graph",
            lambda s: s.update({"conv2.weight": torch.zeros(64, 30, 1, 5)}),
            "conv2.weight: has shape (64, 30, 1, 5), must have (64, 32, 1, 5)",
        ),
        (
            "README graph",
            lambda s: s.update({"conv1.weight": torch.zeros(32, 9, 1, 9)}),
            "conv1.weight: has shape (32, 9, 1, 9), must have (32, 9, 1, 7)",
        ),
        (
            "README graph",
            lambda s: s.update({"conv1.bias": torch.tensor(1.0)}),
            "conv1.bias: has shape (), must have (32,)",
        ),
        (
            "README graph",
            lambda s: s["fsq_projection.bias"].fill_(torch.nan),
            "fsq_projection.bias: 8 of 8 values are NaN or Inf",
        ),
        (
            "TCN encoder",
            lambda s: s.update({"network.1.net.4.bias": torch.zeros(128)}),
            "network.1.net.4.bias: is another name of network.1.conv2.bias, but holds other numbers",
        ),
        (
            "TCN encoder",
            lambda s: s.update({"network.1.net.4.bias": torch.zeros(128, dtype=torch.int64)}),
            "network.1.net.4.bias: is another name",
        ),
        (
            "TCN encoder",
            lambda s: [s.pop("network.0.conv1.weight_g"), s.pop("network.0.net.0.weight_g")],
            "encoder.blocks.0.conv1: has one of weight_g and weight_v",
        ),
        (
            "TCN encoder",
            lambda s: s.update(dict.fromkeys(("network.0.conv1.weight_g", "network.0.net.0.weight_g"), torch.ones(9))),
            "weight_g of shape (9,) does not scale the rows of weight_v of shape (64, 9, 3)",
        ),
        (
            "TCN encoder",
            lambda s: s.update(dict.fromkeys(("network.0.conv1.weight_v", "network.0.net.0.weight_v"), torch.ones(64))),
            "of shape (64,)",
        ),
        (
            "Conv2d-VQ",
            lambda s: s.update({"decoder.temporal_layers.0.0.bias": torch.zeros(3)}),
            "decoder.temporal_layers.0.0.bias: has shape (3,), must have (128,)",
        ),
        (
            "TCN encoder",
            lambda s: s.update({"network.3.conv1.bias": torch.zeros(3)}),
            "network.3.conv1.bias: unexpected",
        ),
        (
            "TCN encoder",
            lambda s: s["network.0.conv1.weight_v"][3].zero_(),
            "encoder.blocks.0.conv1.weight: 27 of 1728 values are NaN or Inf",
        ),
    ],
)
def test_what_does_not_fit_is_named(name, change, problem) -> None:
    """Under the file's own name where it has one."""
    state = {key: tensor.clone() for key, tensor in NETWORKS[name].state_dict().items()}
    for key in [key for key in state if ".net." in key]:  # copies stay copies
        state[key] = state[key.replace("net.0", "conv1").replace("net.4", "conv2")]
    change(state)

    assert problem in complaint(state)


def test_everything_that_does_not_fit_is_named_at_once() -> None:
    """Nothing is skipped."""
    state = NETWORKS["README graph"].state_dict() | {"extra": torch.zeros(1), "conv2.bias": torch.zeros(3)}
    del state["conv1.bias"]
    found = complaint(state)

    assert [word in found for word in ("extra: unexpected", "conv2.bias: has shape", "conv1.bias: missing")] == [
        True
    ] * 3


def test_strangers_are_not_recognised() -> None:
    """A network that nobody documented."""
    assert "no network that is known: weight, bias" in complaint(nn.Linear(3, 2).state_dict())


def adopted_fsq(old: nn.Module, levels=(8,) * 8):
    """A conv2d_fsq with the weights of an old network."""
    adopted = legacy_conversion.adopt(legacy_conversion.recognise(old.state_dict()), "conv2d_fsq")
    document = {**adopted.settings, "levels": levels}
    ours = factory.build(Conv2dFsqSettings.model_validate_json(json.dumps(document)), (9, 2, 100), 10).eval()
    ours.load_state_dict(adopted.tensors)
    return ours


@pytest.mark.parametrize("name", ["README graph", "FSQ-Hailo"])
def test_an_adopted_encoder_answers_as_the_old_one(name) -> None:
    """The projections are equal to rounding errors, and every tensor has its place."""
    old, x = NETWORKS[name], torch.randn(5, 9, 2, 100, generator=torch.Generator().manual_seed(0))

    torch.testing.assert_close(adopted_fsq(old).device_part(x), old.project(x))


@pytest.mark.parametrize(
    ("name", "levels"),
    {"Conv2dFSQ of 3": (8, 6, 5), "Conv2dFSQ of 5": (8, 6, 5, 5, 4), "ablation": (8,) * 8}.items(),
    ids=str,
)
def test_an_adopted_network_that_rounds_answers_as_the_old_one(name, levels) -> None:
    """From windows to logits: these older graphs quantized too."""
    old, x = NETWORKS[name], torch.randn(50, 9, 2, 100, generator=torch.Generator().manual_seed(0))
    ours = adopted_fsq(old, levels)
    with torch.inference_mode():
        found = ours(x)

        torch.testing.assert_close((found.projection, found.logits), (old.project(x), old(x)))


def test_a_linear_layer_is_multiplied_into_the_next() -> None:
    """The ablation's: nothing stands between, and it is said."""
    adopted = legacy_conversion.adopt(legacy_conversion.recognise(NETWORKS["ablation"].state_dict()), "conv2d_fsq")

    assert adopted.tensors["host_part.head.0.weight"].shape == (64, 8)
    assert "8 to 100 numbers, multiplied into the head's first" in adopted.notes[-1]


@pytest.mark.parametrize(("left", "out"), [("hsmm", "head"), ("classifier", "duration")])
def test_half_a_head_is_refused(left, out) -> None:
    """The ablation's head is both its layers; without both, it is an encoder alone."""
    state = NETWORKS["ablation"].state_dict()
    alone = {name: tensor for name, tensor in state.items() if name.startswith(("encoder", "fsq_proj"))}
    half = {name: tensor for name, tensor in state.items() if name.startswith(left)}

    assert legacy_conversion.adopt(legacy_conversion.recognise(alone), "conv2d_fsq").lacks == ("host_part.head",)
    assert f"{out}: missing" in str(refusal(alone | half, "conv2d_fsq"))


def test_an_adopted_head_answers_as_the_old_one() -> None:
    """On the same numbers: what lies between is another matter, and said."""
    old = NETWORKS["README graph"]
    adopted = legacy_conversion.adopt(legacy_conversion.recognise(old.state_dict()), "conv2d_fsq")
    head = factory.build(Conv2dFsqSettings(levels=(8,) * 8), (9, 2, 100), 10).eval().host_part.head
    prefix = "host_part.head."
    head.load_state_dict({n.removeprefix(prefix): t for n, t in adopted.tensors.items() if n.startswith(prefix)})
    z = torch.randn(5, 8)

    torch.testing.assert_close(head(z), old.classifier(z))
    assert "here FSQ rounds it first" in adopted.notes[-1]


def test_an_adopted_encoder_alone_lacks_its_head() -> None:
    """No numbers are made up for it."""
    state = {name: t for name, t in NETWORKS["README graph"].state_dict().items() if not name.startswith("classifier")}
    adopted = legacy_conversion.adopt(legacy_conversion.recognise(state), "conv2d_fsq")

    assert (adopted.lacks, {name.partition(".")[0] for name in adopted.tensors}) == (
        ("host_part.head",),
        {"device_part"},
    )


def adopted_tokens(state, classes: int = 12):
    """A conv2d_vq_tokens with the weights of an old Conv2d-VQ, and what was adopted."""
    adopted = legacy_conversion.adopt(legacy_conversion.recognise(state), "conv2d_vq_tokens")
    document = json.dumps({"name": "conv2d_vq_tokens", **adopted.settings})
    shape = (9, 2, 100)
    ours = factory.seeded(Conv2dVqTokensSettings.model_validate_json(document), shape, classes, seed=0).eval()
    ours.load_state_dict(adopted.tensors, strict=not adopted.lacks)
    return ours, adopted


def test_an_adopted_conv2d_vq_answers_as_the_old_one() -> None:
    """The vector and the code of every timestep, and the logits of their mean."""
    old, x = NETWORKS["Conv2d-VQ"], torch.randn(4, 9, 2, 100, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found, (codes, logits) = adopted_tokens(old.state_dict())[0](x), old(x)

        torch.testing.assert_close((found.projection, found.logits), (old.encode(x).flatten(1), logits))
        assert torch.equal(found.code, codes.float())


@pytest.mark.parametrize(
    ("parts", "lacks"),
    {
        ("encoder",): ("host_part.quantizer", "host_part.head"),
        ("encoder", "vq"): ("host_part.head",),
        ("encoder", "activity_classifier"): ("host_part.quantizer",),
    }.items(),
    ids=str,
)
def test_an_encoder_of_tokens_lacks_what_its_file_lacks(parts, lacks) -> None:
    """No numbers are made up for it."""
    state = {n: tensor for n, tensor in NETWORKS["Conv2d-VQ"].state_dict().items() if n.startswith(parts)}
    _, adopted = adopted_tokens(state)

    assert adopted.lacks == lacks
    assert {name for name in adopted.tensors if name.startswith(lacks)} == set()


def test_the_decoder_of_tokens_is_left_out_and_said() -> None:
    """As are the states."""
    _, adopted = adopted_tokens(NETWORKS["Conv2d-VQ"].state_dict())

    assert adopted.notes[-1] == "Left out, as they cannot be expressed here: decoder, states"


def adopted_tcn(old: Tcn | TcnVae, devices: int = 1):
    """A tcn_vae with the weights of an old network, on windows (9, devices, 100), and what was adopted."""
    adopted = legacy_conversion.adopt(legacy_conversion.recognise(old.state_dict()), "tcn_vae")
    settings_ = TcnVaeSettings.model_validate_json(json.dumps({"name": "tcn_vae", **adopted.settings}))
    ours = factory.seeded(settings_, (9, devices, 100), 12, seed=0).eval()
    ours.load_state_dict(legacy_conversion.with_rows(adopted.tensors, ours.state_dict()), strict=not adopted.lacks)
    return ours, adopted


def test_an_adopted_tcn_vae_answers_as_the_old_one() -> None:
    """Features, latent mean and logits of sequences are equal to rounding errors."""
    old, x = NETWORKS["TCN-VAE, 12 classes"], torch.randn(5, 9, 1, 100, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found, features = adopted_tcn(old)[0](x), old.tcn_encoder(to_sequence(x))
        mean = old.fc_mu(features)
        wanted = (mean, features, old.activity_classifier(mean))

        torch.testing.assert_close((found.projection, found.features, found.logits), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("widths", [(18, 12, 12, 16), (18, 6, 12, 12)], ids=str)
def test_a_sequence_of_two_devices_gets_two_rows(widths) -> None:
    """Its channels are those of the first device, then those of the second; blocks of one width need no 1x1."""
    old, x = seeded(Tcn, *widths), torch.randn(3, 9, 2, 100, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = adopted_tcn(old, devices=2)[0](x).features

        torch.testing.assert_close(found, old(to_sequence(x)), atol=1e-5, rtol=1e-5)


def test_what_only_training_needed_is_left_out_and_said() -> None:
    """By its parts; the notes say what that means for the answers."""
    _, adopted = adopted_tcn(NETWORKS["TCN-VAE, 12 classes"])

    assert (adopted.lacks, [note.rpartition(": ")[2] for note in adopted.notes[-2:-1]]) == (
        (),
        ["fc_logvar, decoder_fc, decoder, domain_classifier"],
    )
    assert "older code drew a latent vector" in adopted.notes[-1]


@pytest.mark.parametrize(
    ("parts", "lacks"),
    {
        ("tcn_encoder",): ("device_part.heads", "host_part.head"),
        ("tcn_encoder", "fc_mu"): ("host_part.head",),
        ("tcn_encoder", "activity_classifier"): ("device_part.heads",),
    }.items(),
    ids=str,
)
def test_a_tcn_encoder_lacks_the_heads_that_its_file_lacks(parts, lacks) -> None:
    """No numbers are made up for them."""
    state = NETWORKS["TCN-VAE, 12 classes"].state_dict()
    found = legacy_conversion.recognise({name: tensor for name, tensor in state.items() if name.startswith(parts)})

    assert legacy_conversion.adopt(found, "tcn_vae").lacks == lacks


def refusal(state, model: str) -> InputError:
    """What adopting some tensors is refused with."""
    with pytest.raises(InputError) as caught:
        legacy_conversion.adopt(legacy_conversion.recognise(state), model)
    return caught.value


@pytest.mark.parametrize(
    ("part", "places"),
    {
        "": ["initial", "blocks", "projection", "codebook", "decoder", "classifier", "states"],
        "encoder": ["initial", "blocks", "projection"],
    }.items(),
)
def test_every_part_of_conv2d_vq_that_cannot_be_expressed_is_named(part, places) -> None:
    """At once, of those that the file has; its tensors were recognised and are sound."""
    state = {name: tensor for name, tensor in NETWORKS["Conv2d-VQ"].state_dict().items() if name.startswith(part)}
    error = refusal(state, "conv2d_vq")

    assert [problem.where.removeprefix("encoder.") for problem in error.problems] == places
    assert "Conv2d-VQ is recognised" in str(error)


@pytest.mark.parametrize(
    ("name", "why"),
    {
        "TCN-VAE, 12 classes": "conv2d_fsq is another network",
        "Conv2d-VQ": "conv2d_fsq is another network",
    }.items(),
    ids=str,
)
def test_what_cannot_be_expressed_is_refused(name, why) -> None:
    """With the reason."""
    assert why in str(refusal(NETWORKS[name].state_dict(), "conv2d_fsq"))
