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
from modelreg.ml import checkpoint
from modelreg.ml.layouts import (
    ENCODER,
    FSQ_ABLATION,
    FSQ_POOLED,
    FSQ_UNPOOLED,
    LAYOUTS,
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
    tensors: dict[str, Tensor]  # under our names
    lacks: tuple[str, ...]  # how the names of absent tensors begin
    notes: tuple[str, ...]


def recognise(tensors: Tensors) -> Recognised:
    """Return whose tensors these are, under neutral names. Raises InputError with all that does not fit."""
    layout = max(LAYOUTS, key=lambda layout: len(_known(tensors, layout)))
    known = _known(tensors, layout)
    if 2 * len(known) <= len(tensors):
        what = f"{len(tensors)} tensors of no network that is known: {', '.join(list(tensors)[:5])}"
        raise InputError("not recognised", [Problem("checkpoint", what)])
    counts = {name for name in tensors if name not in known and re.fullmatch(layout.bookkeeping, name)}
    problems = [Problem(name, "unexpected") for name in sorted(tensors.keys() - known.keys() - counts)]
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
    other = "no network here takes its tensors yet" if found.layout.name == model else f"{model} is another network"
    raise InputError(f"cannot become {model}", [Problem(found.layout.words, _REFUSED.get(pair, other))])


def _as_conv2d_fsq(found: Recognised) -> Adopted:
    convolutions = [found.tensors[f"encoder.conv{n}.weight"] for n in (1, 2, 3)]
    dimensions, head = len(found.tensors["encoder.projection.bias"]), found.tensors.get("head.0.weight")
    settings = {
        "widths": [weight.shape[0] for weight in convolutions],
        "kernels": [list(weight.shape[2:]) for weight in convolutions],
    }
    rounded = "Its head took the projection as it is; here FSQ rounds it first, so that its answers may differ"
    return Adopted(
        settings=settings if head is None else {**settings, "hidden": len(head)},
        unsaid={"levels": f"how many levels each of its {dimensions} dimensions has, as [8, 8, 5]"},
        tensors={str(rename(name, _CONV2D_FSQ)): tensor for name, tensor in found.tensors.items()},
        lacks=("host_part.head",) if head is None else (),
        notes=found.notes if head is None else (*found.notes, rounded),
    )


_CONV2D_FSQ: Renames = (
    (r"encoder\.", "device_part."),
    (r"head\.0\.", "host_part.head.0."),
    (r"head\.1\.", "host_part.head.3."),
)
_ADOPTIONS: dict[tuple[str, str], Callable[[Recognised], Adopted]] = {  # layout and model system -> how
    (FSQ_POOLED.name, "conv2d_fsq"): _as_conv2d_fsq,
}
_REFUSED = {
    (FSQ_UNPOOLED.name, "conv2d_fsq"): "it does not pool between its convolutions, and conv2d_fsq always does",
    (FSQ_ABLATION.name, "conv2d_fsq"): "it has no batch normalization, and a linear layer more before its head",
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
            problems.append(Problem(old, f"is another name of {first[new]}, but holds other numbers"))
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
            problems.append(Problem(layer, what))
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
            yield Problem(name, "missing")
        elif name not in shapes:
            yield Problem(name, "unexpected")
        elif (shape := tuple(found[name].shape)) != shapes[name]:
            yield Problem(name, f"has shape {shape}, must have {shapes[name]}")


def _is_of(name: str, part: str) -> bool:
    return name.startswith(f"{part}.")
