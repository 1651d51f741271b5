"""Tensor names and shapes of legacy networks: one layout for each network.

Each legacy name maps to a neutral name. Legacy names that map to the same neutral name are copies: a legacy temporal
block lists each layer twice, such as `conv1` and `net.0`.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

Tensors = Mapping[str, Tensor]
Shapes = dict[str, tuple[int, ...]]
Renames = tuple[tuple[str, str], ...]  # pattern of the beginning of a name -> its replacement

ENCODER = "encoder"


class Layout(NamedTuple):
    """The tensor names and shapes of a legacy network."""

    name: str
    words: str  # name in messages
    renames: Renames
    bookkeeping: str  # pattern of names of training statistics, which the network does not compute with
    parts: tuple[str, ...]  # prefixes of neutral names; the encoder is required
    shapes: Callable[[Tensors], Shapes]  # shape of each neutral name, for the sizes in a file


# Shapes. Sizes that do not follow from a file are those of the documented network.


def _size(tensors: Tensors, name: str, axis: int, documented: int) -> int:
    tensor = tensors.get(name)
    return documented if tensor is None or tensor.dim() <= axis else tensor.shape[axis]


def _layer(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _norm(name: str, width: int) -> Shapes:
    statistics: Shapes = {f"{name}.{each}": (width,) for each in ("weight", "bias", "running_mean", "running_var")}
    return statistics | {f"{name}.num_batches_tracked": ()}


def _convolutions(tensors: Tensors, widths: tuple[int, ...], lengths: tuple[int, ...], *, norm: bool) -> Shapes:
    """Return the shapes of conv1, bn1, conv2, … and the projection."""
    width = _size(tensors, "encoder.conv1.weight", 1, 9)
    shapes: Shapes = {}
    for n, (documented, length) in enumerate(zip(widths, lengths, strict=True), 1):
        out = _size(tensors, f"encoder.conv{n}.weight", 0, documented)
        shapes |= _layer(f"encoder.conv{n}", out, width, 1, length) | (_norm(f"encoder.bn{n}", out) if norm else {})
        width = out
    dimensions = _size(tensors, "encoder.projection.weight", 0, 8)
    return shapes | _layer("encoder.projection", dimensions, width)


def _fsq_shapes(tensors: Tensors, widths: tuple[int, ...], lengths: tuple[int, ...], hidden: int) -> Shapes:
    shapes = _convolutions(tensors, widths, lengths, norm=True)
    hidden = _size(tensors, "head.0.weight", 0, hidden)
    dimensions, classes = shapes["encoder.projection.bias"][0], _size(tensors, "head.1.weight", 0, 10)
    return shapes | _layer("head.0", hidden, dimensions) | _layer("head.1", classes, hidden)


def _ablation_shapes(tensors: Tensors) -> Shapes:
    shapes = _convolutions(tensors, (32, 64, 128), (7, 5, 3), norm=False)
    states, hidden = _size(tensors, "duration.weight", 0, 100), _size(tensors, "head.0.weight", 0, 64)
    classes = _size(tensors, "head.1.weight", 0, 10)
    duration = _layer("duration", states, shapes["encoder.projection.bias"][0])
    return shapes | duration | _layer("head.0", hidden, states) | _layer("head.1", classes, hidden)


def _vq_shapes(tensors: Tensors) -> Shapes:
    """Return the shapes of Conv2d (D, 5), two blocks of Conv2d (1, 3) with batch norm, 1x1, and their mirror image."""
    channels, devices = _size(tensors, "encoder.initial.weight", 1, 9), _size(tensors, "encoder.initial.weight", 2, 2)
    widths = [_size(tensors, "encoder.initial.weight", 0, 64)]
    widths += [_size(tensors, f"encoder.blocks.{n}.conv.weight", 0, 128 * 2**n) for n in range(2)]
    D, K = _size(tensors, "encoder.projection.weight", 0, 64), _size(tensors, "codebook.embedding", 0, 512)
    hidden, states = _size(tensors, "classifier.0.weight", 0, 128), _size(tensors, "states.0.weight", 0, 32)
    return {
        **_layer("encoder.initial", widths[0], channels, devices, 5),
        **_vq_blocks("encoder", widths),
        **_layer("encoder.projection", D, widths[-1], 1, 1),
        "codebook.embedding": (K, D),
        "codebook.count": (K,),
        "codebook.sum": (K, D),
        "codebook.steps": (),
        **_layer("decoder.projection", widths[-1], D, 1, 1),
        **_vq_blocks("decoder", widths[::-1]),
        "decoder.final.weight": (widths[0], channels, devices, 5),  # of a transposed convolution
        "decoder.final.bias": (channels,),
        **_layer("classifier.0", hidden, D),
        **_layer("classifier.1", _size(tensors, "classifier.1.weight", 0, 12), hidden),
        **_layer("states.0", states, D, 1, 1),
        **_layer("states.1", _size(tensors, "states.1.weight", 0, 16), states, 1, 1),
    }


def _vq_blocks(part: str, widths: list[int]) -> Shapes:
    shapes: Shapes = {}
    for n, (width, out) in enumerate(pairwise(widths)):
        shapes |= _layer(f"{part}.blocks.{n}.conv", out, width, 1, 3) | _norm(f"{part}.blocks.{n}.bn", out)
    return shapes


def _tcn_shapes(tensors: Tensors) -> Shapes:
    channels = _size(tensors, "encoder.blocks.0.conv1.weight", 1, 9)
    widths = [_size(tensors, f"encoder.blocks.{n}.conv1.weight", 0, 64 * 2**n) for n in range(3)]
    latent, last = _size(tensors, "fc_mu.weight", 0, 64), widths[-1]
    hidden = _size(tensors, "domain_classifier.0.weight", 0, 64)
    return {
        **_temporal_blocks("encoder", [channels, *widths]),
        **_layer("fc_mu", latent, last),
        **_layer("fc_logvar", latent, last),
        **_layer("decoder_fc", last, latent),
        **_temporal_blocks("decoder", [last, *widths[::-1], channels]),
        **_layer("activity_classifier", _size(tensors, "activity_classifier.weight", 0, 12), latent),
        **_layer("domain_classifier.0", hidden, latent),
        **_layer("domain_classifier.2", _size(tensors, "domain_classifier.2.weight", 0, 3), hidden),
    }


def _temporal_blocks(part: str, widths: list[int]) -> Shapes:
    """Return the shapes of blocks of two Conv1d of length 3, with a 1x1 shortcut where the widths differ."""
    shapes: Shapes = {}
    for n, (width, out) in enumerate(pairwise(widths)):
        block = f"{part}.blocks.{n}"
        shapes |= _layer(f"{block}.conv1", out, width, 3) | _layer(f"{block}.conv2", out, out, 3)
        shapes |= {} if width == out else _layer(f"{block}.downsample", out, width, 1)
    return shapes


def _temporal_renames(old: str, new: str) -> Renames:
    return (
        (rf"{old}network\.(\d+)\.(?:conv1|net\.0)\.", rf"{new}.blocks.\1.conv1."),
        (rf"{old}network\.(\d+)\.(?:conv2|net\.4)\.", rf"{new}.blocks.\1.conv2."),
        (rf"{old}network\.(\d+)\.downsample\.", rf"{new}.blocks.\1.downsample."),
    )


def _block_renames(old: str, new: str) -> Renames:
    return (
        (rf"{old}temporal_layers\.(\d+)\.0\.", rf"{new}.blocks.\1.conv."),
        (rf"{old}temporal_layers\.(\d+)\.1\.", rf"{new}.blocks.\1.bn."),
    )


_NO_BOOKKEEPING = "(?!)"

TCN_VAE = Layout(
    name="tcn_vae",
    words="TCN-VAE with temporal blocks",
    renames=(
        *_temporal_renames(r"(?:tcn_encoder\.)?", "encoder"),
        *_temporal_renames(r"tcn_decoder\.", "decoder"),
        (r"(fc_mu|fc_logvar|decoder_fc|activity_classifier|domain_classifier\.[02])\.", r"\1."),
    ),
    bookkeeping=_NO_BOOKKEEPING,
    parts=(ENCODER, "fc_mu", "fc_logvar", "decoder_fc", "decoder", "activity_classifier", "domain_classifier"),
    shapes=_tcn_shapes,
)
CONV2D_VQ = Layout(
    name="conv2d_vq",
    words="Conv2d-VQ",
    renames=(
        (r"(?:encoder\.)?initial_conv\.", "encoder.initial."),
        *_block_renames(r"(?:encoder\.)?", "encoder"),
        (r"(?:encoder\.)?to_codes\.", "encoder.projection."),
        (r"vq\.embedding$", "codebook.embedding"),
        (r"vq\.ema_cluster_size$", "codebook.count"),
        (r"vq\.ema_embed_sum$", "codebook.sum"),
        (r"vq\.steps$", "codebook.steps"),
        (r"decoder\.from_codes\.", "decoder.projection."),
        *_block_renames(r"decoder\.", "decoder"),
        (r"decoder\.final_conv\.", "decoder.final."),
        (r"activity_classifier\.2\.", "classifier.0."),
        (r"activity_classifier\.5\.", "classifier.1."),
        (r"state_predictor\.0\.", "states.0."),
        (r"state_predictor\.2\.", "states.1."),
    ),
    bookkeeping=r"vq\.(code_usage_count|total_usage_updates)",
    parts=(ENCODER, "codebook", "decoder", "classifier", "states"),
    shapes=_vq_shapes,
)
FSQ_POOLED = Layout(
    name="fsq_pooled",
    words="FSQ graph with pooling (README graph, FSQ-Hailo encoder)",
    renames=(
        (r"(conv|bn)([123])\.", r"encoder.\1\2."),
        (r"fsq_projection\.", "encoder.projection."),
        (r"classifier\.0\.", "head.0."),
        (r"classifier\.[23]\.", "head.1."),  # with or without dropout before it
    ),
    bookkeeping=_NO_BOOKKEEPING,
    parts=(ENCODER, "head"),
    shapes=lambda tensors: _fsq_shapes(tensors, (32, 64, 128), (7, 5, 3), hidden=64),
)
FSQ_UNPOOLED = Layout(
    name="fsq_unpooled",
    words="Conv2dFSQ without pooling",
    renames=(
        (r"encoder\.(conv|bn)([123])\.", r"encoder.\1\2."),
        (r"projection\.", "encoder.projection."),
        (r"classifier\.0\.", "head.0."),
        (r"classifier\.3\.", "head.1."),
    ),
    bookkeeping=r"code_counts|total_samples|fsq\..*",
    parts=(ENCODER, "head"),
    shapes=lambda tensors: _fsq_shapes(tensors, (32, 64, 128), (5, 5, 5), hidden=256),
)
FSQ_ABLATION = Layout(
    name="fsq_ablation",
    words="FSQ graph of the ablation, without batch normalization",
    renames=(
        (r"encoder\.conv([123])\.", r"encoder.conv\1."),
        (r"fsq_proj\.", "encoder.projection."),
        (r"hsmm\.1\.", "duration."),
        (r"classifier\.0\.", "head.0."),
        (r"classifier\.3\.", "head.1."),
    ),
    bookkeeping=r"code_usage|fsq\..*",
    parts=(ENCODER, "duration", "head"),
    shapes=_ablation_shapes,
)
LAYOUTS = (TCN_VAE, CONV2D_VQ, FSQ_POOLED, FSQ_UNPOOLED, FSQ_ABLATION)
