"""Check that a HEF fits a bundle, and find the devices that can run it.

The layers and weights of a HEF cannot be read. The check compares the chip, the names, the inputs and outputs, and the
range of the input, which comes from the calibration data. What a HEF does not state is not compared:
`find_unchecked` names it.
"""

from collections.abc import Iterator

from modelreg.errors import Notice, Problem
from modelreg.records.export import BundleRecord, HailoArch
from modelreg.records.hef import HefArch, HefGroup, HefInfo, HefTensor, Numbers

SIZE_LIMIT = 32 * 2**20  # bytes
RUNS_ON: dict[HefArch, tuple[HailoArch, ...]] = {"hailo8": ("hailo8",), "hailo8l": ("hailo8", "hailo8l")}

UNSTATED = "the HEF does not state its scale"

_LEVELS = {"uint8": 2**8, "uint16": 2**16}
_OF_IMAGES = ("NHWC", "NHCW", "FCR")  # on the wire; the host always uses (H, W, C) (hailort.h)


def find_misfits(info: HefInfo, bundle: BundleRecord, size_limit: int = SIZE_LIMIT) -> Iterator[Problem]:
    """Yield where a HEF does not fit a bundle, or is larger than `size_limit` bytes."""
    if info.size > size_limit:
        what = f"{info.size:,} bytes, more than the limit of {size_limit:,}"
        yield Problem("size", "hef.too-large", what)
    if problem := device_problem(info, bundle.hw_arch):
        yield Problem("hw_arch", "hef.arch-mismatch", problem)
    names = [group.name for group in info.network_groups]
    if names == [bundle.network]:
        yield from _find_group_problems(info.network_groups[0], bundle)
    else:
        what = f"found {', '.join(names) or 'none'}, expected {bundle.network}"
        yield Problem("network_groups", "hef.network-mismatch", what)


def find_unchecked(info: HefInfo) -> Iterator[Notice]:
    """Yield what `find_misfits` cannot compare, because the HEF does not state it."""
    for group in info.network_groups:
        for tensor in group.inputs:
            if tensor.quantization is None:
                what = f"{UNSTATED}; whether it clips the calibration data was not checked"
                yield Notice(f"input {tensor.name}", what)
        for tensor in group.outputs:
            if tensor.quantization is None:
                yield Notice(f"output {tensor.name}", f"{UNSTATED}; its quantization was not checked")


def device_problem(info: HefInfo, device: HailoArch) -> str | None:
    """Return why a device cannot run a HEF (device_internal.cpp of HailoRT), or None if it can."""
    if device in RUNS_ON.get(info.hw_arch, ()):
        return None
    hint = " (a HEF for hailo8l runs on both)" if (info.hw_arch, device) == ("hailo8", "hailo8l") else ""
    return f"compiled for {info.hw_arch} (code {info.hw_arch_code}), which {device} cannot run{hint}"


def _find_group_problems(group: HefGroup, bundle: BundleRecord) -> Iterator[Problem]:
    if group.host_operations:
        what = f"unexpected host operations: {', '.join(group.host_operations)}"
        yield Problem("host_operations", "hef.host-operations", what)
    for side, tensors in (("inputs", group.inputs), ("outputs", group.outputs)):
        if len(tensors) != 1:
            what = f"found {', '.join(each.name for each in tensors) or 'none'}, expected one tensor"
            yield Problem(side, "hef.tensor-mismatch", what)
    for tensor in group.inputs:
        yield from _find_input_problems(tensor, bundle)
    for tensor in group.outputs:
        yield from _find_output_problems(tensor, bundle)


def _find_input_problems(found: HefTensor, bundle: BundleRecord) -> Iterator[Problem]:
    where, name = f"input {found.name}", f"{bundle.network}/input_layer1"
    if found.name != name:
        yield Problem(where, "hef.tensor-mismatch", f"name mismatch: expected {name}")
    if found.order not in _OF_IMAGES:
        yield Problem(where, "hef.tensor-mismatch", f"order {found.order}, expected one of {', '.join(_OF_IMAGES)}")
    if found.shape != bundle.device_input:
        what = f"shape mismatch: found {found.shape}, expected {bundle.device_input} (H, W, C)"
        yield Problem(where, "hef.tensor-mismatch", what)
    elif unquantized := list(_find_unquantized(found, where)):
        yield from unquantized
    elif found.quantization:
        yield from _find_clipped(found, found.quantization, where, bundle)


def _find_output_problems(found: HefTensor, bundle: BundleRecord) -> Iterator[Problem]:
    where, projection = f"output {found.name}", bundle.output.shape[1:]
    if not found.name.startswith(f"{bundle.network}/"):
        yield Problem(where, "hef.tensor-mismatch", f"name mismatch: expected a layer of {bundle.network}")
    if found.order not in (*_OF_IMAGES, "NC"):
        what = f"order {found.order}, expected one of {', '.join((*_OF_IMAGES, 'NC'))}"
        yield Problem(where, "hef.tensor-mismatch", what)
    if found.shape != (projection if found.order == "NC" else (1, 1, *projection)):
        what = f"shape mismatch: found {found.shape}, expected the projection {projection}"
        yield Problem(where, "hef.tensor-mismatch", what)
    yield from _find_unquantized(found, where)


def _find_unquantized(found: HefTensor, where: str) -> Iterator[Problem]:
    """Yield why a tensor cannot be dequantized, as far as the HEF states how it is quantized."""
    if found.type not in _LEVELS:
        yield Problem(where, "hef.quantization-invalid", f"type {found.type}, expected uint8 or uint16")
    if found.quantization is None:
        return
    scale, zero_point = found.quantization
    if min(scale) <= 0:
        yield Problem(where, "hef.quantization-invalid", f"scale {min(scale):g}, expected a positive number")
    sizes = sorted({1, *found.shape[-1:]})
    if not {len(scale), len(zero_point)} <= set(sizes):
        expected = " or ".join(map(str, sizes))
        what = f"{len(scale)} scales and {len(zero_point)} zero points, expected {expected}"
        yield Problem(where, "hef.quantization-invalid", what)


def _find_clipped(
    found: HefTensor, quantization: tuple[Numbers, Numbers], where: str, bundle: BundleRecord
) -> Iterator[Problem]:
    """Yield the channels whose calibration data an input clips by more than one step of its scale.

    The range of an input is that of the data it was calibrated on, so the HEF was calibrated on other data.
    """
    calibration = bundle.calibration
    if {len(bundle.channels), len(calibration.low), len(calibration.high)} != {found.shape[-1]}:
        what = "cannot compare the range: bundle.json does not have a range for each channel of the input"
        yield Problem(where, "hef.calibration-missing", what)
        return
    clipped: dict[tuple[float, float, float], list[str]] = {}
    for number, (channel, low, high) in enumerate(zip(bundle.channels, calibration.low, calibration.high, strict=True)):
        least, most, step = _range(found, quantization, number)
        if low < least - step or high > most + step:
            clipped.setdefault((least, most, step), []).append(f"{channel.name} {low:.4g} to {high:.4g}")
    if clipped:
        random = all(abs(least) <= 2 * step and abs(most - 1) <= 2 * step for least, most, step in clipped)
        data = "random numbers in [0, 1)" if random else "other data than calibration.npy"
        parts = [
            f"clips values outside {least:.4g} to {most:.4g}, but the calibration data have {', '.join(channels)}"
            for (least, most, _), channels in clipped.items()
        ]
        what = f"{'; '.join(parts)}; it was probably calibrated on {data}"
        yield Problem(where, "hef.calibration-clipped", what)


def _range(found: HefTensor, quantization: tuple[Numbers, Numbers], channel: int) -> tuple[float, float, float]:
    """Return the lowest and the highest value of a channel of a quantized input, and the step between two values.

    HailoRT clips to the stated limits first, if there are any (quantization.hpp).
    """
    step, zero_point = (each[channel if len(each) > 1 else 0] for each in quantization)
    least, most = (0 - zero_point) * step, (_LEVELS[found.type] - 1 - zero_point) * step
    if found.low < found.high:
        least, most = max(least, found.low), min(most, found.high)
    return least, most, step
