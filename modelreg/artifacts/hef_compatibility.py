"""Whether a HEF is what a compiler makes of a bundle, and which devices take it.

Which layers lie between input and output, and with what weights, only the compiler and the chip know: what can be seen
is the chip, the names, what goes in and out, and the range that the calibration gave to the input.
"""

from collections.abc import Iterator

from modelreg.errors import Problem
from modelreg.records.export import BundleRecord, HailoArch
from modelreg.records.hef import HefArch, HefGroup, HefInfo, HefTensor

SIZE_LIMIT = 32 * 2**20  # bytes
RUNS_ON: dict[HefArch, tuple[HailoArch, ...]] = {"hailo8": ("hailo8",), "hailo8l": ("hailo8", "hailo8l")}

_LEVELS = {"uint8": 2**8, "uint16": 2**16}
_OF_IMAGES = ("NHWC", "NHCW", "FCR")  # the host gives and takes (H, W, C), whichever of them the wire has (hailort.h)


def find_misfits(info: HefInfo, bundle: BundleRecord, size_limit: int = SIZE_LIMIT) -> Iterator[Problem]:
    """Yield where a HEF does not fit a bundle, or is larger than `size_limit` bytes."""
    if info.size > size_limit:
        yield Problem("size", "todo.hef-compatibility", f"{info.size} bytes; at most {size_limit} are taken")
    if problem := device_problem(info, bundle.hw_arch):
        yield Problem("hw_arch", "todo.hef-compatibility", problem)
    names = [group.name for group in info.network_groups]
    if names == [bundle.network]:
        yield from _find_group_problems(info.network_groups[0], bundle)
    else:
        yield Problem(
            "network_groups", "todo.hef-compatibility", f"{', '.join(names)}; must be one, named {bundle.network}"
        )


def device_problem(info: HefInfo, device: HailoArch) -> str | None:
    """Say why a device does not take a HEF (device_internal.cpp of HailoRT); None: it does."""
    if device in RUNS_ON.get(info.hw_arch, ()):
        return None
    hint = "; one for hailo8l runs on both" if (info.hw_arch, device) == ("hailo8", "hailo8l") else ""
    return f"was compiled for {info.hw_arch} ({info.hw_arch_code}), which a {device} does not take{hint}"


def _find_group_problems(group: HefGroup, bundle: BundleRecord) -> Iterator[Problem]:
    if group.host_operations:
        added = ", ".join(group.host_operations)
        yield Problem(
            "host_operations",
            "todo.hef-compatibility",
            f"{added}; the host part of this bundle wants the output as it is",
        )
    for side, tensors in (("inputs", group.inputs), ("outputs", group.outputs)):
        if len(tensors) != 1:
            yield Problem(
                side, "todo.hef-compatibility", f"{', '.join(each.name for each in tensors) or 'none'}; must be one"
            )
    for tensor in group.inputs:
        yield from _find_input_problems(tensor, bundle)
    for tensor in group.outputs:
        yield from _find_output_problems(tensor, bundle)


def _find_input_problems(found: HefTensor, bundle: BundleRecord) -> Iterator[Problem]:
    where, name = f"input {found.name}", f"{bundle.network}/input_layer1"
    if found.name != name:
        yield Problem(where, "todo.hef-compatibility", f"must be named {name}")
    if found.order not in _OF_IMAGES:
        yield Problem(where, "todo.hef-compatibility", f"travels as {found.order}, which no (H, W, C) does")
    if found.shape != bundle.device_input:
        yield Problem(
            where,
            "todo.hef-compatibility",
            f"has shape {found.shape}; (H, W, C) of the bundle is {bundle.device_input}",
        )
    elif unquantized := list(_find_unquantized(found, where)):
        yield from unquantized
    else:
        yield from _find_clipped(found, where, bundle)


def _find_output_problems(found: HefTensor, bundle: BundleRecord) -> Iterator[Problem]:
    where, projection = f"output {found.name}", bundle.output.shape[1:]
    if not found.name.startswith(f"{bundle.network}/"):
        yield Problem(where, "todo.hef-compatibility", f"is no layer of {bundle.network}")
    if found.order not in (*_OF_IMAGES, "NC"):
        yield Problem(where, "todo.hef-compatibility", f"travels as {found.order}, which no projection does")
    if found.shape != (projection if found.order == "NC" else (1, 1, *projection)):
        yield Problem(
            where, "todo.hef-compatibility", f"has shape {found.shape}; the projection of the bundle has {projection}"
        )
    yield from _find_unquantized(found, where)


def _find_unquantized(found: HefTensor, where: str) -> Iterator[Problem]:
    """Yield why numbers cannot be made of what travels."""
    if found.type not in _LEVELS:
        yield Problem(where, "todo.hef-compatibility", "is neither uint8 nor uint16")
    if min(found.scale) <= 0:
        yield Problem(where, "todo.hef-compatibility", "has no scale")
    if not {len(found.scale), len(found.zero_point)} <= {1, *found.shape[-1:]}:
        yield Problem(
            where, "todo.hef-compatibility", f"has {len(found.scale)} scales and {len(found.zero_point)} zero points"
        )


def _find_clipped(found: HefTensor, where: str, bundle: BundleRecord) -> Iterator[Problem]:
    """Yield the channels whose calibration data an input clips, by more than one step of its scale.

    Calibrated on them it would not: the range of a tensor is that of the calibration set.
    """
    calibration = bundle.calibration
    if {len(bundle.channels), len(calibration.low), len(calibration.high)} != {found.shape[-1]}:
        yield Problem(
            where,
            "todo.hef-compatibility",
            "cannot be held against the calibration: bundle.json has not a range for each channel",
        )
        return
    clipped = []
    for number, (channel, low, high) in enumerate(zip(bundle.channels, calibration.low, calibration.high, strict=True)):
        least, most, step = input_range(found, number)
        if low < least - step or high > most + step:
            clipped.append(f"{channel.name} from {low:.4g} to {high:.4g}")
    if clipped:
        least, most, step = input_range(found)
        random = abs(least) <= 2 * step and abs(most - 1) <= 2 * step
        why = "on random numbers in [0, 1), not on calibration.npy" if random else "on other data than calibration.npy"
        yield Problem(
            where,
            "todo.hef-compatibility",
            f"takes {least:.4g} to {most:.4g} and clips the rest, but real data reach: {', '.join(clipped)}; "
            f"it looks as if calibrated {why}",
        )


def input_range(found: HefTensor, channel: int = 0) -> tuple[float, float, float]:
    """Return the least and the largest value that an input tells apart, and the step between two.

    HailoRT clips to the limits first (quantization.hpp), where they are stated.
    """
    step, zero_point = (each[channel if len(each) > 1 else 0] for each in (found.scale, found.zero_point))
    least, most = (0 - zero_point) * step, (_LEVELS[found.type] - 1 - zero_point) * step
    if found.low < found.high:
        least, most = max(least, found.low), min(most, found.high)
    return least, most, step
