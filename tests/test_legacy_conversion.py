"""Legacy networks: recognised by tensor names, converted without loss, and refused with every misfit listed."""

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
from places import places
from torch import nn

from modelreg.errors import InputError, Problem
from modelreg.ml import factory, legacy_conversion
from modelreg.ml.tcn import to_sequence
from modelreg.records.model import Conv2dFsqSettings, Conv2dVqTokensSettings, TcnVaeSettings

# name -> network, documented number of parameters, documented number of tensors, layout
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


def refusal(tensors) -> list[Problem]:
    """Return the problems that tensors are refused with."""
    with pytest.raises(InputError) as caught:
        legacy_conversion.recognise(tensors)
    return list(caught.value.problems)


@pytest.mark.parametrize(("network", "parameters", "tensors", "layout"), DOCUMENTED.values(), ids=DOCUMENTED)
def test_every_documented_layout_is_recognised(network, parameters, tensors, layout) -> None:
    """The test network has the documented counts, and its layout is recognised by tensor names."""
    state = network.state_dict()

    assert (sum(p.numel() for p in network.parameters()), len(state)) == (parameters, tensors)
    assert legacy_conversion.recognise(state).layout.name == layout


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_no_value_is_lost(network) -> None:
    """Every trained value is kept, except the lengths of weight norms, which are folded into the weights."""
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
def test_missing_parts_are_listed(name, lacks) -> None:
    """An encoder alone is accepted, and the parts that follow it are listed as missing."""
    assert legacy_conversion.recognise(NETWORKS[name].state_dict()).lacks == lacks


def test_notes_state_the_changes() -> None:
    """A TCN encoder has 42 tensors: 18 copies, 6 weight norms of 2 factors each, and 12 other tensors."""
    notes = legacy_conversion.recognise(NETWORKS["TCN encoder"].state_dict()).notes

    assert notes == ("6 weight norms folded", "18 duplicate tensors with equal values dropped")


def test_training_statistics_are_listed_in_a_note() -> None:
    """They are left out and do not count as unexpected."""
    (note,) = legacy_conversion.recognise(NETWORKS["Conv2dFSQ of 5"].state_dict()).notes

    assert note == "2 training statistics left out: code_counts, total_samples"


def test_another_number_of_classes_is_the_same_layout() -> None:
    """The TCN-VAE of 13 classes has the documented 1,104,240 parameters."""
    network = TcnVae(13)

    assert sum(p.numel() for p in network.parameters()) == 1_104_240
    assert legacy_conversion.recognise(network.state_dict()).tensors["activity_classifier.bias"].shape == (13,)


@given(rows=st.integers(1, 5), columns=st.integers(1, 5), seed=st.integers(0, 99))
def test_folding_equals_the_weight_norm_of_torch(rows, columns, seed) -> None:
    """The folded weight is the one that torch.nn.utils.weight_norm computes in forward."""
    generator = torch.Generator().manual_seed(seed)
    v, g = (torch.randn(shape, generator=generator) for shape in ((rows, columns, 3), (rows, 1, 1)))

    torch.testing.assert_close(legacy_conversion.fold(g, v), torch._weight_norm(v, g, 0))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_folded_layer_gives_the_same_output() -> None:
    """This holds for torch.nn.utils.weight_norm and for the parametrization that replaced it."""
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
def test_a_missing_tensor_is_reported(name, data) -> None:
    """Every tensor of an encoder is required, and every tensor of a head that is present."""
    state = {key: tensor for key, tensor in NETWORKS[name].state_dict().items() if ".net." not in key}
    gone = data.draw(st.sampled_from(sorted(state)))
    del state[gone]
    factor = gone.endswith(("weight_g", "weight_v"))
    rule = "legacy.incomplete-weight-norm" if factor else "checkpoint.tensor-missing"
    found = [problem for problem in refusal(state) if problem.rule == rule]

    assert len(found) == 1
    assert factor or found[0].where.endswith(f".{gone.split('.')[-1]}")


def tensors_of(name: str) -> dict[str, torch.Tensor]:
    """Return copies of the tensors of a network; tensors that are listed twice stay one tensor."""
    state = {key: tensor.clone() for key, tensor in NETWORKS[name].state_dict().items()}
    for key in [key for key in state if ".net." in key]:
        state[key] = state[key.replace("net.0", "conv1").replace("net.4", "conv2")]
    return state


FSQ, TCN = "README graph", "TCN encoder"
MISFITS = {  # a change of a network's tensors, where it is reported, the rule, and a value that the error names
    "unexpected": (FSQ, lambda s: s.update(extra=torch.zeros(1)), "extra", "checkpoint.tensor-unexpected", ""),
    "missing in the encoder": (
        FSQ,
        lambda s: s.pop("bn2.running_var"),
        "encoder.bn2.running_var",
        "checkpoint.tensor-missing",
        "",
    ),
    "missing in the head": (
        FSQ,
        lambda s: s.pop("classifier.3.bias"),
        "head.1.bias",
        "checkpoint.tensor-missing",
        "",
    ),
    "too few channels": (
        FSQ,
        lambda s: s.update({"conv2.weight": torch.zeros(64, 30, 1, 5)}),
        "conv2.weight",
        "checkpoint.tensor-mismatch",
        "(64, 32, 1, 5)",
    ),
    "a longer kernel": (
        FSQ,
        lambda s: s.update({"conv1.weight": torch.zeros(32, 9, 1, 9)}),
        "conv1.weight",
        "checkpoint.tensor-mismatch",
        "(32, 9, 1, 7)",
    ),
    "a scalar": (
        FSQ,
        lambda s: s.update({"conv1.bias": torch.tensor(1.0)}),
        "conv1.bias",
        "checkpoint.tensor-mismatch",
        "(32,)",
    ),
    "NaN": (
        FSQ,
        lambda s: s["fsq_projection.bias"].fill_(torch.nan),
        "fsq_projection.bias",
        "checkpoint.non-finite",
        "8 of 8",
    ),
    "a copy with other values": (
        TCN,
        lambda s: s.update({"network.1.net.4.bias": torch.zeros(128)}),
        "network.1.net.4.bias",
        "legacy.copies-differ",
        "network.1.conv2.bias",
    ),
    "a copy of another type": (
        TCN,
        lambda s: s.update({"network.1.net.4.bias": torch.zeros(128, dtype=torch.int64)}),
        "network.1.net.4.bias",
        "legacy.copies-differ",
        "network.1.conv2.bias",
    ),
    "one factor of a weight norm": (
        TCN,
        lambda s: [s.pop("network.0.conv1.weight_g"), s.pop("network.0.net.0.weight_g")],
        "encoder.blocks.0.conv1",
        "legacy.incomplete-weight-norm",
        "weight_v",
    ),
    "lengths of another shape": (
        TCN,
        lambda s: s.update(dict.fromkeys(("network.0.conv1.weight_g", "network.0.net.0.weight_g"), torch.ones(9))),
        "encoder.blocks.0.conv1",
        "legacy.weight-norm-mismatch",
        "(9,)",
    ),
    "directions of another shape": (
        TCN,
        lambda s: s.update(dict.fromkeys(("network.0.conv1.weight_v", "network.0.net.0.weight_v"), torch.ones(64))),
        "encoder.blocks.0.conv1",
        "legacy.weight-norm-mismatch",
        "(64,)",
    ),
    "another width in the decoder": (
        "Conv2d-VQ",
        lambda s: s.update({"decoder.temporal_layers.0.0.bias": torch.zeros(3)}),
        "decoder.temporal_layers.0.0.bias",
        "checkpoint.tensor-mismatch",
        "(128,)",
    ),
    "a fourth block": (
        TCN,
        lambda s: s.update({"network.3.conv1.bias": torch.zeros(3)}),
        "network.3.conv1.bias",
        "checkpoint.tensor-unexpected",
        "",
    ),
    "a direction of length 0": (
        TCN,
        lambda s: s["network.0.conv1.weight_v"][3].zero_(),
        "encoder.blocks.0.conv1.weight",
        "checkpoint.non-finite",
        "27 of 1728",
    ),
}


@pytest.mark.parametrize(("name", "change", "where", "rule", "value"), MISFITS.values(), ids=MISFITS)
def test_each_misfit_is_reported(name, change, where, rule, value) -> None:
    """The place is the tensor's name in the file, where it has one."""
    state = tensors_of(name)
    change(state)
    found = [problem for problem in refusal(state) if (problem.where, problem.rule) == (where, rule)]

    assert [value in problem.message for problem in found] == [True]


def test_all_misfits_are_reported_together() -> None:
    """An unexpected tensor, one of another shape and a missing one are in the same error."""
    state = NETWORKS["README graph"].state_dict() | {"extra": torch.zeros(1), "conv2.bias": torch.zeros(3)}
    del state["conv1.bias"]

    assert set(places(refusal(state))) == {
        ("extra", "checkpoint.tensor-unexpected"),
        ("conv2.bias", "checkpoint.tensor-mismatch"),
        ("encoder.conv1.bias", "checkpoint.tensor-missing"),
    }


def test_an_unknown_network_is_refused() -> None:
    """The error lists the first tensor names."""
    (problem,) = refusal(nn.Linear(3, 2).state_dict())

    assert (problem.rule, "weight, bias" in problem.message) == ("legacy.unknown-layout", True)


def adopted_fsq(old: nn.Module, levels=(8,) * 8):
    """Return a conv2d_fsq with the weights of a legacy network."""
    adopted = legacy_conversion.adopt(legacy_conversion.recognise(old.state_dict()), "conv2d_fsq")
    document = {**adopted.settings, "levels": levels}
    ours = factory.build(Conv2dFsqSettings.model_validate_json(json.dumps(document)), (9, 2, 100), 10).eval()
    ours.load_state_dict(adopted.tensors)
    return ours


@pytest.mark.parametrize("name", ["README graph", "FSQ-Hailo"])
def test_an_adopted_encoder_gives_the_same_projections(name) -> None:
    """The projections are equal up to rounding errors, and every tensor is used."""
    old, x = NETWORKS[name], torch.randn(5, 9, 2, 100, generator=torch.Generator().manual_seed(0))

    torch.testing.assert_close(adopted_fsq(old).device_part(x), old.project(x))


@pytest.mark.parametrize(
    ("name", "levels"),
    {"Conv2dFSQ of 3": (8, 6, 5), "Conv2dFSQ of 5": (8, 6, 5, 5, 4), "ablation": (8,) * 8}.items(),
    ids=str,
)
def test_an_adopted_network_with_fsq_gives_the_same_logits(name, levels) -> None:
    """These legacy graphs quantize too, so projections and logits are equal up to rounding errors."""
    old, x = NETWORKS[name], torch.randn(50, 9, 2, 100, generator=torch.Generator().manual_seed(0))
    ours = adopted_fsq(old, levels)
    with torch.inference_mode():
        found = ours(x)

        torch.testing.assert_close((found.projection, found.logits), (old.project(x), old(x)))


def test_a_linear_layer_is_merged_into_the_head() -> None:
    """In the ablation graph nothing nonlinear lies between the two layers. A note states the change."""
    adopted = legacy_conversion.adopt(legacy_conversion.recognise(NETWORKS["ablation"].state_dict()), "conv2d_fsq")

    assert adopted.tensors["host_part.head.0.weight"].shape == (64, 8)
    assert "8 to 100 values" in adopted.notes[-1]


@pytest.mark.parametrize(("left", "out"), [("hsmm", "head"), ("classifier", "duration")])
def test_half_a_head_is_refused(left, out) -> None:
    """The head of the ablation graph consists of two layers. Without both of them, the file is an encoder."""
    state = NETWORKS["ablation"].state_dict()
    alone = {name: tensor for name, tensor in state.items() if name.startswith(("encoder", "fsq_proj"))}
    half = {name: tensor for name, tensor in state.items() if name.startswith(left)}

    assert legacy_conversion.adopt(legacy_conversion.recognise(alone), "conv2d_fsq").lacks == ("host_part.head",)
    assert places(unadopted(alone | half, "conv2d_fsq").problems) == [(out, "legacy.incomplete-head")]


def test_an_adopted_head_gives_the_same_logits() -> None:
    """Given the same input. A note states that FSQ now quantizes the projection first."""
    old = NETWORKS["README graph"]
    adopted = legacy_conversion.adopt(legacy_conversion.recognise(old.state_dict()), "conv2d_fsq")
    head = factory.build(Conv2dFsqSettings(levels=(8,) * 8), (9, 2, 100), 10).eval().host_part.head
    prefix = "host_part.head."
    head.load_state_dict({n.removeprefix(prefix): t for n, t in adopted.tensors.items() if n.startswith(prefix)})
    z = torch.randn(5, 8)

    torch.testing.assert_close(head(z), old.classifier(z))
    assert "FSQ quantizes it here" in adopted.notes[-1]


def test_an_adopted_encoder_alone_has_no_head() -> None:
    """No weights are made up for the head."""
    state = {name: t for name, t in NETWORKS["README graph"].state_dict().items() if not name.startswith("classifier")}
    adopted = legacy_conversion.adopt(legacy_conversion.recognise(state), "conv2d_fsq")

    assert (adopted.lacks, {name.partition(".")[0] for name in adopted.tensors}) == (
        ("host_part.head",),
        {"device_part"},
    )


def adopted_tokens(state, classes: int = 12):
    """Return a conv2d_vq_tokens with the weights of a legacy Conv2d-VQ, and the adopted tensors."""
    adopted = legacy_conversion.adopt(legacy_conversion.recognise(state), "conv2d_vq_tokens")
    document = json.dumps({"name": "conv2d_vq_tokens", **adopted.settings})
    shape = (9, 2, 100)
    ours = factory.seeded(Conv2dVqTokensSettings.model_validate_json(document), shape, classes, seed=0).eval()
    ours.load_state_dict(adopted.tensors, strict=not adopted.lacks)
    return ours, adopted


def test_an_adopted_conv2d_vq_gives_the_same_output() -> None:
    """The vector and the code of each timestep, and the logits of their mean, are equal."""
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
def test_missing_parts_of_conv2d_vq_stay_missing(parts, lacks) -> None:
    """No weights are made up for them."""
    state = {n: tensor for n, tensor in NETWORKS["Conv2d-VQ"].state_dict().items() if n.startswith(parts)}
    _, adopted = adopted_tokens(state)

    assert adopted.lacks == lacks
    assert {name for name in adopted.tensors if name.startswith(lacks)} == set()


def test_a_note_lists_the_parts_left_out_of_conv2d_vq() -> None:
    """They are the decoder and the state head."""
    _, adopted = adopted_tokens(NETWORKS["Conv2d-VQ"].state_dict())

    assert adopted.notes[-1].endswith(": decoder, states")


def adopted_tcn(old: Tcn | TcnVae, devices: int = 1):
    """Return a tcn_vae with the weights of a legacy network for windows (9, devices, 100), and what was adopted."""
    adopted = legacy_conversion.adopt(legacy_conversion.recognise(old.state_dict()), "tcn_vae")
    settings_ = TcnVaeSettings.model_validate_json(json.dumps({"name": "tcn_vae", **adopted.settings}))
    ours = factory.seeded(settings_, (9, devices, 100), 12, seed=0).eval()
    ours.load_state_dict(legacy_conversion.with_rows(adopted.tensors, ours.state_dict()), strict=not adopted.lacks)
    return ours, adopted


def test_an_adopted_tcn_vae_gives_the_same_output() -> None:
    """Features, latent mean and logits are equal up to rounding errors."""
    old, x = NETWORKS["TCN-VAE, 12 classes"], torch.randn(5, 9, 1, 100, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found, features = adopted_tcn(old)[0](x), old.tcn_encoder(to_sequence(x))
        mean = old.fc_mu(features)
        expected = (mean, features, old.activity_classifier(mean))

        torch.testing.assert_close((found.projection, found.features, found.logits), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("widths", [(18, 12, 12, 16), (18, 6, 12, 12)], ids=str)
def test_a_sequence_of_two_devices_gets_two_rows(widths) -> None:
    """The channels of the first device come first; blocks of equal widths have no 1x1 convolution."""
    old, x = seeded(Tcn, *widths), torch.randn(3, 9, 2, 100, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = adopted_tcn(old, devices=2)[0](x).features

        torch.testing.assert_close(found, old(to_sequence(x)), atol=1e-5, rtol=1e-5)


def test_notes_list_the_training_parts_left_out_of_tcn_vae() -> None:
    """A second note states how predictions may differ."""
    _, adopted = adopted_tcn(NETWORKS["TCN-VAE, 12 classes"])

    assert (adopted.lacks, [note.rpartition(": ")[2] for note in adopted.notes[-2:-1]]) == (
        (),
        ["fc_logvar, decoder_fc, decoder, domain_classifier"],
    )
    assert "latent mean" in adopted.notes[-1]


@pytest.mark.parametrize(
    ("parts", "lacks"),
    {
        ("tcn_encoder",): ("device_part.heads", "host_part.head"),
        ("tcn_encoder", "fc_mu"): ("host_part.head",),
        ("tcn_encoder", "activity_classifier"): ("device_part.heads",),
    }.items(),
    ids=str,
)
def test_missing_heads_of_tcn_vae_stay_missing(parts, lacks) -> None:
    """No weights are made up for them."""
    state = NETWORKS["TCN-VAE, 12 classes"].state_dict()
    found = legacy_conversion.recognise({name: tensor for name, tensor in state.items() if name.startswith(parts)})

    assert legacy_conversion.adopt(found, "tcn_vae").lacks == lacks


def unadopted(state, model: str) -> InputError:
    """Return the error that recognised tensors are refused with as a model system."""
    with pytest.raises(InputError) as caught:
        legacy_conversion.adopt(legacy_conversion.recognise(state), model)
    return caught.value


@pytest.mark.parametrize(
    ("part", "expected"),
    {
        "": ["initial", "blocks", "projection", "codebook", "decoder", "classifier", "states"],
        "encoder": ["initial", "blocks", "projection"],
    }.items(),
)
def test_each_part_without_an_equivalent_is_reported(part, expected) -> None:
    """All parts that the file has are reported together, with the model system to choose."""
    state = {name: tensor for name, tensor in NETWORKS["Conv2d-VQ"].state_dict().items() if name.startswith(part)}
    problems = unadopted(state, "conv2d_vq").problems

    assert [problem.where.removeprefix("encoder.") for problem in problems] == expected
    assert {(problem.rule, "conv2d_vq_tokens" in problem.next) for problem in problems} == {
        ("legacy.unsupported-part", True)
    }


@pytest.mark.parametrize(
    ("name", "system"), {"TCN-VAE, 12 classes": "tcn_vae", "Conv2d-VQ": "conv2d_vq_tokens"}.items(), ids=str
)
def test_another_model_system_is_refused(name, system) -> None:
    """The error names the model system that the layout can become."""
    (problem,) = unadopted(NETWORKS[name].state_dict(), "conv2d_fsq").problems

    assert (problem.rule, system in problem.message) == ("legacy.model-mismatch", True)
