"""Convert the tensors of a legacy network: recognise the layout, check every tensor, and rename it.

Weight norm is folded: w = g · v / ‖v‖ over all axes but the first (Salimans & Kingma 2016, arXiv:1602.07868, eq. 2).
Each tensor that is missing, unexpected or of another shape than in the documented layout is an error. Parts other than
the encoder may be missing completely.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from modelreg.errors import InputError, Problem
from modelreg.ml import checkpoint, tcn
from modelreg.ml.legacy_layouts import (
    CONV2D_VQ,
    ENCODER,
    FSQ_ABLATION,
    FSQ_POOLED,
    FSQ_UNPOOLED,
    LAYOUTS,
    TCN_VAE,
    Layout,
    Renames,
    Shapes,
    Tensors,
)

_FACTORS = {  # of torch.nn.utils.weight_norm, and of the parametrization that replaced it
    "weight_g": "g",
    "weight_v": "v",
    "parametrizations.weight.original0": "g",
    "parametrizations.weight.original1": "v",
}

LATENT_HEADS = "device_part.heads"  # name prefix of the latent heads of a tcn_vae
HEADS = {  # parts that may be missing in a file, by name prefix
    LATENT_HEADS: "latent mean",
    "host_part.quantizer": "codebook",
    "host_part.head": "classifier",
}


class Recognised(NamedTuple):
    """The tensors of a legacy network under neutral names, and its layout."""

    layout: Layout
    tensors: dict[str, Tensor]
    lacks: tuple[str, ...]  # parts that are missing from the file
    notes: tuple[str, ...]  # changes to the tensors, as sentences


class Needs(NamedTuple):
    """The shape of the data that a network needs, as far as its tensors show it. Any number of timesteps fits."""

    channels: int  # of each device; of all devices together if `merged`
    devices: int | None  # None: any number
    classes: int | None  # None: the file has no classifier
    merged: bool = False

    def described(self) -> dict[str, str]:
        """Return the shape in words, by the name of each part."""
        merged = " over all devices (channels times devices)" if self.merged else ""
        return {
            "channels": f"{self.channels}{merged}",
            "devices": "any number" if self.devices is None else f"{self.devices}",
            "classes": "not shown, the file has no classifier" if self.classes is None else f"{self.classes}",
            "timesteps": "any number, no tensor depends on the length of a window",
        }


class Unsaid(NamedTuple):
    """A model setting that does not follow from the tensors: a list."""

    meaning: str
    length: int


class Adopted(NamedTuple):
    """A legacy network as a network of a model system."""

    settings: dict[str, Any]  # model settings that follow from the tensors
    unsaid: dict[str, Unsaid]  # model settings that do not follow from the tensors
    needs: Needs
    tensors: dict[str, Tensor]  # by their names in the model system; those of sequences have no device rows yet
    lacks: tuple[str, ...]  # name prefixes of missing tensors
    notes: tuple[str, ...]


def recognise(tensors: Tensors) -> Recognised:
    """Return the layout of tensors, and the tensors by neutral names. Raises InputError with every misfit."""
    layout = max(LAYOUTS, key=lambda layout: len(_known(tensors, layout)))
    known = _known(tensors, layout)
    if 2 * len(known) <= len(tensors):
        what = f"the names of {len(tensors)} tensors match no supported layout: {', '.join(list(tensors)[:5])}"
        raise InputError("cannot recognise the network", [Problem("checkpoint", "legacy.unknown-layout", what)])
    counts = {name for name in tensors if name not in known and re.fullmatch(layout.bookkeeping, name)}
    strays = sorted(tensors.keys() - known.keys() - counts)
    problems = [Problem(name, "checkpoint.tensor-unexpected", "unexpected tensor") for name in strays]
    merged, copies = _merge(tensors, known, problems)
    found, folded = _fold(merged, problems)
    lacks = tuple(part for part in layout.parts if part != ENCODER and not any(_is_of(name, part) for name in found))
    shapes = {
        name: shape for name, shape in layout.shapes(found).items() if not any(_is_of(name, part) for part in lacks)
    }
    first = {new: old for old, new in reversed(known.items())}
    misfits = [*_mismatches(shapes, found), *checkpoint.non_finite(found)]
    problems += [problem._replace(where=first.get(problem.where, problem.where)) for problem in misfits]
    if problems:
        raise InputError(f"cannot read the tensors as {layout.words}", problems)
    notes = {
        f"{folded} weight norms folded": folded,
        f"{copies} duplicate tensors with equal values dropped": copies,
        f"{len(counts)} training statistics left out: {', '.join(sorted(counts))}": counts,
    }
    return Recognised(layout, found, lacks, tuple(note for note, count in notes.items() if count))


def adopt(found: Recognised, model: str) -> Adopted:
    """Return a legacy network as a network of a model system. Raises InputError if the system cannot express it."""
    pair = (found.layout.name, model)
    if pair in _ADOPTIONS:
        return _ADOPTIONS[pair](found)
    rows = _REFUSED.get(pair, {})
    possible = ", ".join(system for layout, system in _ADOPTIONS if layout == found.layout.name)
    fix = f"import it with `--as {possible}`"
    problems = [
        Problem(part, "legacy.unsupported-part", why, fix)
        for part, why in rows.items()
        if part.partition(".")[0] not in found.lacks
    ]
    other = Problem("--as", "legacy.model-mismatch", f"is {model}, must be {possible} for {found.layout.words}", fix)
    summary = f"the {len(found.tensors)} tensors of {found.layout.words} are valid, but cannot be imported as {model}"
    raise InputError(summary, problems or [other])


def with_rows(tensors: Tensors, expected: Tensors) -> dict[str, Tensor]:
    """Return tensors in the shapes of a network: kernels over sequences (out, D·C, k) get D device rows."""
    return {
        name: _with_rows(tensor, expected[name]) if name in expected else tensor for name, tensor in tensors.items()
    }


def _with_rows(tensor: Tensor, expected: Tensor) -> Tensor:
    """Return the tensor with device rows, or unchanged if its size does not fit."""
    fits = tensor.dim() == 3 and expected.dim() == 4 and tensor.shape[1] == expected.shape[1] * expected.shape[2]
    return tcn.with_rows(tensor, expected.shape).contiguous() if fits else tensor


def _as_conv2d_fsq(found: Recognised) -> Adopted:
    convolutions = [found.tensors[f"encoder.conv{n}.weight"] for n in (1, 2, 3)]
    dimensions, head = len(found.tensors["encoder.projection.bias"]), found.tensors.get("head.0.weight")
    settings = {
        "widths": [weight.shape[0] for weight in convolutions],
        "kernels": [list(weight.shape[2:]) for weight in convolutions],
        "pooling": found.layout is not FSQ_UNPOOLED,
        "batchnorm": found.layout is not FSQ_ABLATION,
    }
    rounded = "Its head was trained on the unquantized projection; FSQ quantizes it here, so predictions may differ"
    changed = (rounded,) if head is not None and found.layout is FSQ_POOLED else ()
    return Adopted(
        settings=settings if head is None else {**settings, "hidden": len(head)},
        unsaid={"levels": Unsaid(f"the number of levels of each of its {dimensions} dimensions", dimensions)},
        needs=Needs(convolutions[0].shape[1], None, _rows(found.tensors, "head.1.bias")),
        tensors={str(rename(name, _CONV2D_FSQ)): tensor for name, tensor in found.tensors.items()},
        lacks=("host_part.head",) if head is None else (),
        notes=(*found.notes, *changed),
    )


def _as_conv2d_fsq_of_ablation(found: Recognised) -> Adopted:
    """Merge the linear layer before the head into the head: W (V x + v) + w = (W V) x + (W v + w)."""
    absent = [part for part in ("duration", "head") if part in found.lacks]
    if len(absent) == 1:
        (present,) = {"duration", "head"} - {absent[0]}
        what = f"missing, but {present} is present; the head consists of both"
        raise InputError("cannot import the head", [Problem(absent[0], "legacy.incomplete-head", what)])
    plain = {name: tensor for name, tensor in found.tensors.items() if not _is_of(name, "duration")}
    if absent:
        return _as_conv2d_fsq(found._replace(tensors=plain))
    V, v = (found.tensors[f"duration.{each}"].double() for each in ("weight", "bias"))
    W, w = (found.tensors[f"head.0.{each}"].double() for each in ("weight", "bias"))
    joined = {"head.0.weight": (W @ V).float(), "head.0.bias": (W @ v + w).float()}
    what = f"The linear layer before its head ({V.shape[1]} to {V.shape[0]} values) was merged into the head"
    return _as_conv2d_fsq(found._replace(tensors={**plain, **joined}, notes=(*found.notes, what)))


def _as_tokens(found: Recognised) -> Adopted:
    parts = {"codebook": "host_part.quantizer", "classifier": "host_part.head"}
    embedding = found.tensors.get("codebook.embedding")
    hidden = found.tensors.get("classifier.0.bias")
    _, channels, devices, _ = found.tensors["encoder.initial.weight"].shape
    settings: dict[str, Any] = {
        "widths": [
            len(found.tensors[f"encoder.{name}.bias"]) for name in ("initial", "blocks.0.conv", "blocks.1.conv")
        ],
        "embedding": len(found.tensors["encoder.projection.bias"]),
    }
    settings |= {} if embedding is None else {"vq": {"codes": len(embedding)}}
    settings |= {} if hidden is None else {"hidden": len(hidden)}
    tensors = {new: tensor for name, tensor in found.tensors.items() if (new := rename(name, _TOKENS))}
    if embedding is not None:
        tensors["host_part.quantizer.initialised"] = torch.tensor(1)
    gone = [part for part in ("decoder", "states") if part not in found.lacks]
    left = f"Left out, because conv2d_vq_tokens does not have them: {', '.join(gone)}"
    return Adopted(
        settings=settings,
        unsaid={},
        needs=Needs(channels, devices, _rows(found.tensors, "classifier.1.bias")),
        tensors=tensors,
        lacks=tuple(ours for part, ours in parts.items() if part in found.lacks),
        notes=(*found.notes, left) if gone else found.notes,
    )


def _as_tcn_vae(found: Recognised) -> Adopted:
    first = found.tensors["encoder.blocks.0.conv1.weight"]
    widths = [len(found.tensors[f"encoder.blocks.{n}.conv1.weight"]) for n in range(3)]
    settings = {"widths": widths, "kernel": 3, "batchnorm": False, "elbo": 0.0}
    mean = found.tensors.get("fc_mu.weight")
    lacks = {LATENT_HEADS: mean is None, "host_part.head": "activity_classifier" in found.lacks}
    return Adopted(
        settings=settings if mean is None else {**settings, "latent": len(mean)},
        unsaid={},
        needs=Needs(first.shape[1], None, _rows(found.tensors, "activity_classifier.bias"), merged=True),
        tensors={new: tensor for name, tensor in found.tensors.items() if (new := rename(name, _TCN_VAE))},
        lacks=tuple(part for part, absent in lacks.items() if absent),
        notes=(*found.notes, *_left_out(found)),
    )


def _rows(tensors: Tensors, name: str) -> int | None:
    """Return the length of a tensor, or None if it is not there."""
    return len(tensors[name]) if name in tensors else None


def _left_out(found: Recognised) -> Iterator[str]:
    """Yield notes on parts of a TCN-VAE that tcn_vae does not have, and on how predictions may differ."""
    training = ("fc_logvar", "decoder_fc", "decoder", "domain_classifier")
    if gone := [part for part in training if part not in found.lacks]:
        yield f"Left out, because only training uses them and tcn_vae does not have them: {', '.join(gone)}"
    if "activity_classifier" not in found.lacks:
        yield "Its head receives the latent mean; the legacy code drew a random latent vector in evaluation too"


_TCN_VAE: Renames = (
    *((rf"encoder\.blocks\.{n}\.conv", f"device_part.encoder.blocks.block{n + 1}.body.conv") for n in range(3)),
    *((rf"encoder\.blocks\.{n}\.", f"device_part.encoder.blocks.block{n + 1}.") for n in range(3)),
    (r"fc_mu\.", "device_part.heads.mu."),
    (r"activity_classifier\.", "host_part.head."),
)
_TOKENS: Renames = (
    (r"encoder\.initial\.", "device_part.conv1."),
    *((rf"encoder\.blocks\.{n}\.(conv|bn)\.", rf"device_part.\g<1>{n + 2}.") for n in range(2)),
    (r"encoder\.projection\.", "device_part.projection."),
    (r"codebook\.embedding$", "host_part.quantizer.codes"),
    (r"codebook\.count$", "host_part.quantizer.counts"),
    (r"codebook\.sum$", "host_part.quantizer.sums"),
    (r"classifier\.0\.", "host_part.head.0."),
    (r"classifier\.1\.", "host_part.head.3."),
)
_CONV2D_FSQ: Renames = (
    (r"encoder\.", "device_part."),
    (r"head\.0\.", "host_part.head.0."),
    (r"head\.1\.", "host_part.head.3."),
)
_ADOPTIONS: dict[tuple[str, str], Callable[[Recognised], Adopted]] = {  # layout and model system -> conversion
    (FSQ_POOLED.name, "conv2d_fsq"): _as_conv2d_fsq,
    (FSQ_UNPOOLED.name, "conv2d_fsq"): _as_conv2d_fsq,
    (FSQ_ABLATION.name, "conv2d_fsq"): _as_conv2d_fsq_of_ablation,
    (CONV2D_VQ.name, "conv2d_vq_tokens"): _as_tokens,
    (TCN_VAE.name, "tcn_vae"): _as_tcn_vae,
}
_REFUSED = {  # layout and model system -> part -> why the system cannot express the part
    (CONV2D_VQ.name, "conv2d_vq"): {
        "encoder.initial": "is not followed by batch normalization and ReLU; every convolution of conv2d_vq is",
        "encoder.blocks": "do not pool over time; conv2d_vq pools between its convolutions",
        "encoder.projection": "gives one vector for each timestep, without batch normalization; conv2d_vq gives one "
        "for each window, with batch normalization",
        "codebook": "quantizes each timestep; conv2d_vq quantizes the whole window",
        "decoder": "computes each timestep from its own code; conv2d_vq computes the whole window from one code",
        "classifier": "receives the mean of the codes of a window; that of conv2d_vq receives its one code",
        "states": "predicts a state for each timestep; conv2d_vq does not have such a head",
    },
}


def rename(name: str, renames: Renames) -> str | None:
    """Return a name with its beginning replaced by the first row that matches, or None."""
    for old, new in renames:
        if match := re.match(old, name):
            return match.expand(new) + name[match.end() :]
    return None


def _known(tensors: Iterable[str], layout: Layout) -> dict[str, str]:
    """Return the neutral names of the tensors that belong to a layout, by legacy name."""
    return {old: new for old in tensors if (new := rename(old, layout.renames)) is not None}


def _merge(tensors: Tensors, known: Mapping[str, str], problems: list[Problem]) -> tuple[dict[str, Tensor], int]:
    """Return tensors by neutral names and the number of duplicates; add a problem for copies that differ."""
    first: dict[str, str] = {}
    for old, new in known.items():
        if not _same(tensors[first.setdefault(new, old)], tensors[old]):
            what = f"is a second name of {first[new]}, but the values differ"
            problems.append(Problem(old, "legacy.copies-differ", what))
    return {new: tensors[old] for new, old in first.items()}, len(known) - len(first)


def _same(one: Tensor, other: Tensor) -> bool:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


def _fold(tensors: Tensors, problems: list[Problem]) -> tuple[dict[str, Tensor], int]:
    """Return tensors with weight norms folded, and their number; add a problem for factors that do not fit."""
    found: dict[str, Tensor] = {}
    factors: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        ending = next((ending for ending in _FACTORS if name.endswith(f".{ending}")), None)
        if ending is None:
            found[name] = tensor
        else:
            factors.setdefault(name.removesuffix(f".{ending}"), {})[_FACTORS[ending]] = tensor
    for layer, pair in factors.items():
        if problem := _misfit(layer, pair):
            problems.append(problem)
        else:
            found[f"{layer}.weight"] = fold(pair["g"], pair["v"])
    return found, len(factors)


def _misfit(layer: str, pair: Mapping[str, Tensor]) -> Problem | None:
    """Return why the factors of a weight norm cannot be multiplied, or None."""
    if len(pair) < 2:
        what = f"only weight_{next(iter(pair))} is present; weight norm needs weight_g and weight_v"
        return Problem(layer, "legacy.incomplete-weight-norm", what)
    lengths, directions = pair["g"].shape, pair["v"].shape
    if len(directions) < 2 or lengths != (directions[0], *[1] * (len(directions) - 1)):
        what = f"weight_g {tuple(lengths)} does not scale the rows of weight_v {tuple(directions)}"
        return Problem(layer, "legacy.weight-norm-mismatch", what)
    return None


def fold(g: Tensor, v: Tensor) -> Tensor:
    """Return the weight w = g · v / ‖v‖ of lengths g (C, 1, …) and directions v (C, …)."""
    norms: Tensor = torch.linalg.vector_norm(v.flatten(1), dim=1)
    return v * (g / norms.view(g.shape))


def _mismatches(shapes: Shapes, found: Tensors) -> Iterator[Problem]:
    """Yield each tensor that is missing, unexpected or of another shape."""
    for name in sorted(shapes.keys() | found.keys()):
        if name not in found:
            yield Problem(name, "checkpoint.tensor-missing", "missing tensor")
        elif name not in shapes:
            yield Problem(name, "checkpoint.tensor-unexpected", "unexpected tensor")
        elif (shape := tuple(found[name].shape)) != shapes[name]:
            yield Problem(name, "checkpoint.tensor-mismatch", f"has shape {shape}, must have {shapes[name]}")


def _is_of(name: str, part: str) -> bool:
    return name.startswith(f"{part}.")
