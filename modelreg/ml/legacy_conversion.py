"""Tensors of an older network as those of a network here: whose they are, what is wrong with them, their new names.

Weight norm is folded, w = g · v / ‖v‖ over all axes but the first (Salimans & Kingma 2016, arXiv:1602.07868, eq. 2).
What is missing, unexpected or of another shape is held against the network that a layout documents, never skipped; the
parts behind the encoder may be absent as a whole.
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

_FACTORS = {  # of weight norm: torch.nn.utils.weight_norm, and the parametrization that took its place
    "weight_g": "g",
    "weight_v": "v",
    "parametrizations.weight.original0": "g",
    "parametrizations.weight.original1": "v",
}

LATENT_HEADS = "device_part.heads"  # of a tcn_vae: how the names of its latent heads begin


class Recognised(NamedTuple):
    """An older network's tensors under neutral names, and what was found of it."""

    layout: Layout
    tensors: dict[str, Tensor]
    lacks: tuple[str, ...]  # parts of which the file has nothing
    notes: tuple[str, ...]  # what was done to the file's tensors, in words


class Adopted(NamedTuple):
    """An older network as one of a model system here."""

    settings: dict[str, Any]  # what its tensors say of the model's settings
    unsaid: dict[str, str]  # settings that no tensor tells, and what each is
    tensors: dict[str, Tensor]  # under our names; those of sequences still without device rows
    lacks: tuple[str, ...]  # how the names of absent tensors begin
    notes: tuple[str, ...]


def recognise(tensors: Tensors) -> Recognised:
    """Return whose tensors these are, under neutral names. Raises InputError with all that does not fit."""
    layout = max(LAYOUTS, key=lambda layout: len(_known(tensors, layout)))
    known = _known(tensors, layout)
    if 2 * len(known) <= len(tensors):
        what = f"{len(tensors)} tensors of no network that is known: {', '.join(list(tensors)[:5])}"
        raise InputError("not recognised", [Problem("checkpoint", "todo.legacy-conversion", what)])
    counts = {name for name in tensors if name not in known and re.fullmatch(layout.bookkeeping, name)}
    problems = [
        Problem(name, "todo.legacy-conversion", "unexpected") for name in sorted(tensors.keys() - known.keys() - counts)
    ]
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
        raise InputError(f"the tensors are not those of {layout.words}", problems)
    notes = {
        f"{folded} weight norms folded": folded,
        f"{copies} tensors that stood there twice, with equal numbers, taken once": copies,
        f"{len(counts)} statistics of the training left out: {', '.join(sorted(counts))}": counts,
    }
    return Recognised(layout, found, lacks, tuple(note for note, count in notes.items() if count))


def adopt(found: Recognised, model: str) -> Adopted:
    """Return an older network as one of a model system. Raises InputError where the system cannot express it."""
    pair = (found.layout.name, model)
    if pair in _ADOPTIONS:
        return _ADOPTIONS[pair](found)
    rows = _REFUSED.get(pair, {})
    problems = [
        Problem(part, "todo.legacy-conversion", why)
        for part, why in rows.items()
        if part.partition(".")[0] not in found.lacks
    ]
    summary = f"{found.layout.words} is recognised and its {len(found.tensors)} tensors are sound, "
    summary += f"but it cannot become {model}"
    raise InputError(
        summary, problems or [Problem(found.layout.words, "todo.legacy-conversion", f"{model} is another network")]
    )


def with_rows(tensors: Tensors, expected: Tensors) -> dict[str, Tensor]:
    """Return tensors as a network expects them: kernels over sequences (out, D·C, k) get its D device rows."""
    return {
        name: _with_rows(tensor, expected[name]) if name in expected else tensor for name, tensor in tensors.items()
    }


def _with_rows(tensor: Tensor, expected: Tensor) -> Tensor:
    """Return a tensor as it is where its numbers are too many or too few for the rows."""
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
    rounded = "Its head took the projection as it is; here FSQ rounds it first, so that its answers may differ"
    changed = (rounded,) if head is not None and found.layout is FSQ_POOLED else ()
    return Adopted(
        settings=settings if head is None else {**settings, "hidden": len(head)},
        unsaid={"levels": f"how many levels each of its {dimensions} dimensions has, as [8, 8, 5]"},
        tensors={str(rename(name, _CONV2D_FSQ)): tensor for name, tensor in found.tensors.items()},
        lacks=("host_part.head",) if head is None else (),
        notes=(*found.notes, *changed),
    )


def _as_conv2d_fsq_of_ablation(found: Recognised) -> Adopted:
    """Adopt the ablation's graph, whose layer before the head is linear: W (V x + v) + w = (W V) x + (W v + w)."""
    absent = [part for part in ("duration", "head") if part in found.lacks]
    if len(absent) == 1:
        raise InputError(
            "not all of a head",
            [Problem(absent[0], "todo.legacy-conversion", "missing, but what it is computed with is there")],
        )
    plain = {name: tensor for name, tensor in found.tensors.items() if not _is_of(name, "duration")}
    if absent:
        return _as_conv2d_fsq(found._replace(tensors=plain))
    V, v = (found.tensors[f"duration.{each}"].double() for each in ("weight", "bias"))
    W, w = (found.tensors[f"head.0.{each}"].double() for each in ("weight", "bias"))
    joined = {"head.0.weight": (W @ V).float(), "head.0.bias": (W @ v + w).float()}
    what = f"The linear layer before its head, {V.shape[1]} to {V.shape[0]} numbers, multiplied into the head's first"
    return _as_conv2d_fsq(found._replace(tensors={**plain, **joined}, notes=(*found.notes, what)))


def _as_tokens(found: Recognised) -> Adopted:
    parts = {"codebook": "host_part.quantizer", "classifier": "host_part.head"}
    embedding = found.tensors.get("codebook.embedding")
    hidden = found.tensors.get("classifier.0.bias")
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
    left = f"Left out, as they cannot be expressed here: {', '.join(gone)}"
    return Adopted(
        settings=settings,
        unsaid={},
        tensors=tensors,
        lacks=tuple(ours for part, ours in parts.items() if part in found.lacks),
        notes=(*found.notes, left) if gone else found.notes,
    )


def _as_tcn_vae(found: Recognised) -> Adopted:
    widths = [len(found.tensors[f"encoder.blocks.{n}.conv1.weight"]) for n in range(3)]
    settings = {"widths": widths, "kernel": 3, "batchnorm": False, "elbo": 0.0}
    mean = found.tensors.get("fc_mu.weight")
    lacks = {LATENT_HEADS: mean is None, "host_part.head": "activity_classifier" in found.lacks}
    return Adopted(
        settings=settings if mean is None else {**settings, "latent": len(mean)},
        unsaid={},
        tensors={new: tensor for name, tensor in found.tensors.items() if (new := rename(name, _TCN_VAE))},
        lacks=tuple(part for part, absent in lacks.items() if absent),
        notes=(*found.notes, *_left_out(found)),
    )


def _left_out(found: Recognised) -> Iterator[str]:
    """Say which parts of a TCN-VAE no network here has, and what that means for its answers."""
    training = ("fc_logvar", "decoder_fc", "decoder", "domain_classifier")
    if gone := [part for part in training if part not in found.lacks]:
        yield f"Left out, as only training needs them and they cannot be expressed here: {', '.join(gone)}"
    if "activity_classifier" not in found.lacks:
        yield "Its head is given the latent mean; older code drew a latent vector in evaluation too"


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
_ADOPTIONS: dict[tuple[str, str], Callable[[Recognised], Adopted]] = {  # layout and model system -> how
    (FSQ_POOLED.name, "conv2d_fsq"): _as_conv2d_fsq,
    (FSQ_UNPOOLED.name, "conv2d_fsq"): _as_conv2d_fsq,
    (FSQ_ABLATION.name, "conv2d_fsq"): _as_conv2d_fsq_of_ablation,
    (CONV2D_VQ.name, "conv2d_vq_tokens"): _as_tokens,
    (TCN_VAE.name, "tcn_vae"): _as_tcn_vae,
}
_REFUSED = {  # layout and model system -> part -> why the system cannot express it
    (CONV2D_VQ.name, "conv2d_vq"): {
        "encoder.initial": "has neither batch normalization nor ReLU behind it, as every convolution of conv2d_vq has",
        "encoder.blocks": "do not pool over time, and conv2d_vq pools between its convolutions",
        "encoder.projection": "gives a vector for each timestep, without batch normalization; conv2d_vq gives one "
        "for each window, with it",
        "codebook": "quantizes every timestep, conv2d_vq a whole window: import it as conv2d_vq_tokens",
        "decoder": "makes each timestep from its own code by a transposed convolution, conv2d_vq all of a window "
        "from one code",
        "classifier": "takes the mean over the codes of a window, conv2d_vq its one code",
        "states": "tells a state for each timestep, and conv2d_vq has no such head",
    },
}


def rename(name: str, renames: Renames) -> str | None:
    """Return a name with its beginning replaced by the first row that fits; None where none does."""
    for old, new in renames:
        if match := re.match(old, name):
            return match.expand(new) + name[match.end() :]
    return None


def _known(tensors: Iterable[str], layout: Layout) -> dict[str, str]:
    """Return the neutral name of every tensor that a layout has, by its old one."""
    return {old: new for old in tensors if (new := rename(old, layout.renames)) is not None}


def _merge(tensors: Tensors, known: Mapping[str, str], problems: list[Problem]) -> tuple[dict[str, Tensor], int]:
    """Return tensors by their neutral names, and how many were there twice; note the copies that differ."""
    first: dict[str, str] = {}
    for old, new in known.items():
        if not _same(tensors[first.setdefault(new, old)], tensors[old]):
            problems.append(
                Problem(old, "todo.legacy-conversion", f"is another name of {first[new]}, but holds other numbers")
            )
    return {new: tensors[old] for new, old in first.items()}, len(known) - len(first)


def _same(one: Tensor, other: Tensor) -> bool:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


def _fold(tensors: Tensors, problems: list[Problem]) -> tuple[dict[str, Tensor], int]:
    """Return tensors with the factors of every weight norm multiplied; note those that do not fit together."""
    found: dict[str, Tensor] = {}
    factors: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        ending = next((ending for ending in _FACTORS if name.endswith(f".{ending}")), None)
        if ending is None:
            found[name] = tensor
        else:
            factors.setdefault(name.removesuffix(f".{ending}"), {})[_FACTORS[ending]] = tensor
    for layer, pair in factors.items():
        if what := _misfit(pair):
            problems.append(Problem(layer, "todo.legacy-conversion", what))
        else:
            found[f"{layer}.weight"] = fold(pair["g"], pair["v"])
    return found, len(factors)


def _misfit(pair: Mapping[str, Tensor]) -> str | None:
    """Return why the factors of a weight norm cannot be multiplied, if so."""
    if len(pair) < 2:
        return "has one of weight_g and weight_v, and a weight norm is both"
    lengths, directions = pair["g"].shape, pair["v"].shape
    if len(directions) < 2 or lengths != (directions[0], *[1] * (len(directions) - 1)):
        return f"weight_g of shape {tuple(lengths)} does not scale the rows of weight_v of shape {tuple(directions)}"
    return None


def fold(g: Tensor, v: Tensor) -> Tensor:
    """Return the weight w = g · v / ‖v‖ of lengths g (C, 1, …) and directions v (C, …)."""
    norms: Tensor = torch.linalg.vector_norm(v.flatten(1), dim=1)
    return v * (g / norms.view(g.shape))


def _mismatches(shapes: Shapes, found: Tensors) -> Iterator[Problem]:
    """Yield what is missing, unexpected or of another shape."""
    for name in sorted(shapes.keys() | found.keys()):
        if name not in found:
            yield Problem(name, "todo.legacy-conversion", "missing")
        elif name not in shapes:
            yield Problem(name, "todo.legacy-conversion", "unexpected")
        elif (shape := tuple(found[name].shape)) != shapes[name]:
            yield Problem(name, "todo.legacy-conversion", f"has shape {shape}, must have {shapes[name]}")


def _is_of(name: str, part: str) -> bool:
    return name.startswith(f"{part}.")
