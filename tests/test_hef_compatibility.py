"""A HEF fits a bundle where chip, names, shapes and orders do, and the calibration data are not clipped."""

import hef_builder
import numpy as np
import pytest
from example_export import bundle_record
from hef_builder import context, edge, network, tensor
from hypothesis import assume, given
from hypothesis import strategies as st

from modelreg.artifacts import hef_compatibility, hef_file
from modelreg.errors import Problem
from modelreg.records.export import BundleRecord
from modelreg.records.hef import HefInfo
from modelreg.registry import filenames

BUNDLE = bundle_record(b"", {filenames.CHECKPOINT: "c" * 64, filenames.NORMALIZATION: "d" * 64})
NET, SHAPE = BUNDLE.network, BUNDLE.device_input
RANGE = (min(BUNDLE.calibration.low), max(BUNDLE.calibration.high))
BOTH = ("hailo8", "hailo8l")


def info(*groups, **header) -> HefInfo:
    """What a HEF of these groups says; left out: the one that the bundle makes."""
    return hef_file.parse_hef(hef_builder.hef(*(groups or [fitting()]), **header), "x.hef")


def fitting(name=NET, shape=SHAPE, features=2, input_range=RANGE, **settings):
    """The network group of the bundle, but for what is said otherwise."""
    return network(name, shape, features, input_range, **settings)


def misfits(found: HefInfo, bundle: BundleRecord = BUNDLE, **limits) -> list[str]:
    """What does not fit."""
    return list(map(str, hef_compatibility.find_misfits(found, bundle, **limits)))


def ranged(low, high) -> BundleRecord:
    """The bundle with another range of its calibration, per channel."""
    return BUNDLE.model_copy(update={"calibration": BUNDLE.calibration.model_copy(update={"low": low, "high": high})})


def test_what_the_bundle_makes_fits_it() -> None:
    """So that each of the following is found for its own fault alone."""
    assert misfits(info()) == []


@pytest.mark.parametrize("order", ["NHWC", "NHCW", "FCR"])
def test_any_order_of_the_wire_that_the_host_does_not_see_fits(order) -> None:
    """HailoRT gives and takes (H, W, C)."""
    output = edge(tensor(f"{NET}/fc1", (1, 1, 2), -3, 3, order=order), 1)
    source = edge(tensor(f"{NET}/input_layer1", SHAPE, *RANGE, order=order), 0)

    assert misfits(info({"name": NET, "contexts": [context(source, output)]})) == []


@pytest.mark.parametrize(
    ("arch", "device", "fits"),
    [
        *((1, "hailo8", True), (1, "hailo8l", False), (3, "hailo8", True), (3, "hailo8l", True)),
        *((0, "hailo8", True), (103, "hailo8", False), (77, "hailo8l", False)),
    ],
)
def test_a_device_takes_what_was_compiled_for_it(arch, device, fits) -> None:
    """One for an 8L runs on both, one for an 8 on an 8 only."""
    found = misfits(info(arch=arch), BUNDLE.model_copy(update={"hw_arch": device}))

    assert (found == [], all(f"which a {device} does not take" in problem for problem in found)) == (fits, True)


def test_who_has_an_8l_is_told_what_to_compile_for() -> None:
    """One of the two runs on both."""
    assert (hef_compatibility.device_problem(info(), "hailo8l") or "").endswith("; one for hailo8l runs on both")


@pytest.mark.parametrize(
    ("groups", "problem"),
    [
        ([fitting("other")], "network_groups: other; must be one, named conv2d_fsq"),
        ([fitting(), fitting("b")], "network_groups: conv2d_fsq, b; must be one, named conv2d_fsq"),
        ([fitting(shape=(16, 1, 2))], "has shape (16, 1, 2); (H, W, C) of the bundle is (1, 16, 2)"),
        ([fitting(features=5)], "output conv2d_fsq/fc1: has shape (5,); the projection of the bundle has (2,)"),
        ([fitting(input={"order": "NMS"})], "travels as NMS, which no (H, W, C) does"),
        ([fitting(output={"order": "NMS"})], "travels as NMS, which no projection does"),
        ([fitting(output={"order": "NHCW"})], ""),
        ([fitting(input={"type": 4})], "input conv2d_fsq/input_layer1: is neither uint8 nor uint16"),
        ([fitting(output={"numeric": {"scale": 0.0}})], "output conv2d_fsq/fc1: has no scale"),
        ([{"name": NET}], "inputs: none; must be one"),
        ([{"name": NET}], "outputs: none; must be one"),
        (
            [{"name": NET, "ops": [{"core": {"contexts": fitting()["contexts"]}}, {"logits": {}}]}],
            "host_operations: argmax; the host part of this bundle wants the output as it is",
        ),
        (
            [
                {
                    "name": NET,
                    "contexts": [context(edge(tensor("x", SHAPE, *RANGE), 0), edge(tensor("y", (2,), 0, 1), 1))],
                }
            ],
            "input x: must be named conv2d_fsq/input_layer1",
        ),
        (
            [
                {
                    "name": NET,
                    "contexts": [context(edge(tensor("x", SHAPE, *RANGE), 0), edge(tensor("y", (2,), 0, 1), 1))],
                }
            ],
            "output y: is no layer of conv2d_fsq",
        ),
    ],
)
def test_what_does_not_fit_is_named(groups, problem) -> None:
    """With what the bundle has."""
    found = misfits(info(*groups))

    assert any(problem in each for each in found) if problem else found == []


def test_everything_is_named_at_once() -> None:
    """Not just the first."""
    found = misfits(info(fitting(shape=(9, 9, 9), features=7), arch=103), size_limit=10)

    assert [each.split(":")[0] for each in found] == [
        *("size", "hw_arch", "input conv2d_fsq/input_layer1", "output conv2d_fsq/fc1")
    ]


def test_a_hef_is_small() -> None:
    """The limit is a parameter; 32 MB where nothing is said."""
    found = info()
    large = found.model_copy(update={"size": 32 * 2**20 + 1})

    assert (misfits(found, size_limit=found.size), misfits(found, size_limit=found.size - 1), misfits(large)) == (
        [],
        [f"size: {found.size} bytes; at most {found.size - 1} are taken"],
        ["size: 33554433 bytes; at most 33554432 are taken"],
    )


# The calibration


def test_random_numbers_are_recognized() -> None:
    """The predecessor's HEF: limits [0, 0.99999], and every negative sample clipped to 0."""
    found = misfits(info(fitting(input_range=(0.0, 0.99999))), ranged((-9.0, -0.5), (9.0, 0.5)))

    what = "takes 0 to 1 and clips the rest, but real data reach: ax from -9 to 9, ay from -0.5 to 0.5"
    why = "it looks as if calibrated on random numbers in [0, 1), not on calibration.npy"
    assert found == [f"input conv2d_fsq/input_layer1: {what}; {why}"]


def test_another_calibration_is_refused_too() -> None:
    """Only the channels that are clipped are named."""
    (found,) = misfits(info(fitting(input_range=(-2.0, 2.0))), ranged((-9.0, -2.0), (9.0, 2.0)))

    assert found.endswith(
        "real data reach: ax from -9 to 9; it looks as if calibrated on other data than calibration.npy"
    )


def test_data_that_lie_between_0_and_1_may_have_such_a_range() -> None:
    """Nothing is clipped: nothing is wrong."""
    assert misfits(info(fitting(input_range=(0.0, 0.99999))), ranged((0.0, 0.1), (0.999, 0.9))) == []


def test_limits_clip_before_the_scale_does() -> None:
    """HailoRT's host formula."""
    narrow = fitting(input={"numeric": {"low": -0.5, "high": 0.5}})

    assert "takes -0.5 to 0.5 and clips the rest" in misfits(info(narrow))[0]


def test_limits_that_are_not_stated_clip_nothing() -> None:
    """Both 0: defaults that no file holds."""
    assert misfits(info(fitting(input={"numeric": {"low": 0.0, "high": 0.0}}))) == []


@given(
    ends=st.tuples(*[st.floats(-100, 100)] * 4).map(lambda e: (*sorted(e[:2]), *sorted(e[2:]))),
    kind=st.sampled_from(["uint8", "uint16"]),
)
def test_what_is_refused_is_what_the_host_formula_clips(ends, kind) -> None:
    """q = clip(round(x / scale + zp)), x' = (q - zp) * scale: off by more than one step, or not."""
    low, high, least, most = ends
    assume(most - least > 0.01)
    group = fitting(input_range=(least, most), input={"type": kind, "numeric": {"low": 0.0, "high": 0.0}})
    found = info(group)
    (source,) = found.network_groups[0].inputs
    (scale,), (zero,), x = source.scale, source.zero_point, np.array([low, high])
    q = np.clip(np.rint(x / scale + zero), 0, 255 if kind == "uint8" else 65535)
    error = np.abs((q - zero) * scale - x).max()
    assume(abs(error - scale) > 1e-5 * scale * (1 + abs(zero)))

    assert bool(misfits(found, ranged((low, low), (high, high)))) == (error > scale)


def test_scales_of_channels_are_held_against_their_channel() -> None:
    """The second channel is small, and so is its range."""
    numeric = {"zero_points": [127.5, 127.5], "scales": [18 / 255, 1 / 255], "low": 0.0, "high": 0.0}
    found = info(fitting(input={"numeric": numeric}), extensions=(25, 26))
    small, large = (misfits(found, ranged((-9.0, -end), (9.0, end))) for end in (0.5, 9.0))

    assert (small, ["ax from" in large[0], "ay from" in large[0]]) == ([], [False, True])


# Records that somebody wrote


@pytest.mark.parametrize(
    ("tensor_changes", "bundle_changes", "problem"),
    [
        ({"scale": (1.0,) * 3}, {}, "has 3 scales and 1 zero points"),
        ({"zero_point": (1.0,) * 7}, {}, "has 1 scales and 7 zero points"),
        ({"shape": ()}, {}, "has shape ()"),
        ({}, {"channels": ()}, "bundle.json has not a range for each channel"),
        ({}, {"device_input": (1, 16, 3)}, "(H, W, C) of the bundle is (1, 16, 3)"),
    ],
)
def test_records_that_contradict_themselves_are_a_problem_and_no_crash(tensor_changes, bundle_changes, problem) -> None:
    """`verify` reads them from a bundle.json that anybody may have written."""
    found = info()
    (group,) = found.network_groups
    changed = group.model_copy(update={"inputs": (group.inputs[0].model_copy(update=tensor_changes),)})
    problems = misfits(
        found.model_copy(update={"network_groups": (changed,)}), BUNDLE.model_copy(update=bundle_changes)
    )

    assert any(problem in each for each in problems)


def test_problems_name_a_place_and_a_rule() -> None:
    """As everywhere."""
    assert list(hef_compatibility.find_misfits(info(fitting("b")), BUNDLE)) == [
        Problem("network_groups", "b; must be one, named conv2d_fsq")
    ]
