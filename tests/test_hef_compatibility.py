"""A HEF fits a bundle if chip, names, shapes and orders match and the calibration data are not clipped."""

import hef_builder
import numpy as np
import pytest
from example_export import bundle_record
from hef_builder import context, edge, network, tensor
from hypothesis import assume, given
from hypothesis import strategies as st
from places import places

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
    """Return the metadata of a HEF with these groups; the default is a HEF that fits the bundle."""
    return hef_file.parse_hef(hef_builder.hef(*(groups or [fitting()]), **header), "x.hef")


def fitting(name=NET, shape=SHAPE, features=2, input_range=RANGE, **settings):
    """Return the network group of the bundle, with changes."""
    return network(name, shape, features, input_range, **settings)


def misfits(found: HefInfo, bundle: BundleRecord = BUNDLE, **limits) -> list[Problem]:
    """Return what does not fit."""
    return list(hef_compatibility.find_misfits(found, bundle, **limits))


def ranged(low, high) -> BundleRecord:
    """Return the bundle with another range of its calibration data for each channel."""
    return BUNDLE.model_copy(update={"calibration": BUNDLE.calibration.model_copy(update={"low": low, "high": high})})


def test_a_hef_of_the_bundle_fits() -> None:
    """The other tests change one property each."""
    assert misfits(info()) == []


@pytest.mark.parametrize("order", ["NHWC", "NHCW", "FCR"])
def test_all_image_orders_fit(order) -> None:
    """On the host, HailoRT always uses (H, W, C)."""
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
def test_a_device_runs_the_hefs_of_its_chip(arch, device, fits) -> None:
    """A HEF for an 8L runs on both, a HEF for an 8 only on an 8."""
    found = misfits(info(arch=arch), BUNDLE.model_copy(update={"hw_arch": device}))

    assert places(found) == ([] if fits else [("hw_arch", "hef.arch-mismatch")])


def test_the_message_for_an_8l_names_the_chip_to_compile_for() -> None:
    """A HEF for an 8L runs on both."""
    assert "for hailo8l runs on both" in (hef_compatibility.device_problem(info(), "hailo8l") or "")


INPUT, OUTPUT = f"input {NET}/input_layer1", f"output {NET}/fc1"
RENAMED = [{"name": NET, "contexts": [context(edge(tensor("x", SHAPE, *RANGE), 0), edge(tensor("y", (2,), 0, 1), 1))]}]
WITH_ARGMAX = [{"name": NET, "ops": [{"core": {"contexts": fitting()["contexts"]}}, {"logits": {}}]}]


@pytest.mark.parametrize(
    ("groups", "where", "rule", "named"),
    [
        ([fitting("other")], "network_groups", "hef.network-mismatch", "found other, expected conv2d_fsq"),
        ([fitting(), fitting("b")], "network_groups", "hef.network-mismatch", "found conv2d_fsq, b, expected"),
        ([fitting(shape=(16, 1, 2))], INPUT, "hef.tensor-mismatch", "found (16, 1, 2), expected (1, 16, 2)"),
        ([fitting(features=5)], OUTPUT, "hef.tensor-mismatch", "found (5,), expected the projection (2,)"),
        ([fitting(input={"order": "NMS"})], INPUT, "hef.tensor-mismatch", "order NMS"),
        ([fitting(output={"order": "NMS"})], OUTPUT, "hef.tensor-mismatch", "order NMS"),
        ([fitting(input={"type": 4})], INPUT, "hef.quantization-invalid", "uint8 or uint16"),
        ([fitting(output={"numeric": {"scale": -0.1}})], OUTPUT, "hef.quantization-invalid", "scale -0.1"),
        ([{"name": NET}], "inputs", "hef.tensor-mismatch", "none"),
        ([{"name": NET}], "outputs", "hef.tensor-mismatch", "none"),
        (WITH_ARGMAX, "host_operations", "hef.host-operations", "argmax"),
        (RENAMED, "input x", "hef.tensor-mismatch", "conv2d_fsq/input_layer1"),
        (RENAMED, "output y", "hef.tensor-mismatch", "conv2d_fsq"),
    ],
)
def test_a_misfit_is_named(groups, where, rule, named) -> None:
    """The message has the found and the expected value."""
    found = misfits(info(*groups))

    assert any((each.where, each.rule) == (where, rule) and named in each.message for each in found), found


def test_the_output_may_have_an_image_order() -> None:
    """Not only NC."""
    assert misfits(info(fitting(output={"order": "NHCW"}))) == []


def test_all_misfits_are_reported() -> None:
    """Not only the first."""
    found = misfits(info(fitting(shape=(9, 9, 9), features=7), arch=103), size_limit=10)

    assert [each.where for each in found] == ["size", "hw_arch", INPUT, OUTPUT]


def test_the_size_of_a_hef_is_limited() -> None:
    """The limit is a parameter; the default is 32 MiB."""
    found = info()
    large = found.model_copy(update={"size": 32 * 2**20 + 1})

    assert misfits(found, size_limit=found.size) == []
    assert places([*misfits(found, size_limit=found.size - 1), *misfits(large)]) == [("size", "hef.too-large")] * 2
    assert "33,554,433 bytes" in misfits(large)[0].message


# The calibration


def test_calibration_on_random_numbers_is_recognized() -> None:
    """The predecessor's HEF has the range [0, 0.99999] and clips every negative sample to 0."""
    (found,) = misfits(info(fitting(input_range=(0.0, 0.99999))), ranged((-9.0, -0.5), (9.0, 0.5)))

    assert (found.where, found.rule) == (INPUT, "hef.calibration-clipped")
    for named in ("outside 0 to 1,", "ax -9 to 9, ay -0.5 to 0.5", "random numbers in [0, 1)"):
        assert named in found.message


def test_calibration_on_other_data_is_recognized() -> None:
    """The message names only the channels that are clipped."""
    (found,) = misfits(info(fitting(input_range=(-2.0, 2.0))), ranged((-9.0, -2.0), (9.0, 2.0)))

    assert found.rule == "hef.calibration-clipped"
    assert ("ax -9 to 9" in found.message, "ay" in found.message) == (True, False)
    assert "other data than calibration.npy" in found.message


def test_data_between_0_and_1_may_have_such_a_range() -> None:
    """Nothing is clipped."""
    assert misfits(info(fitting(input_range=(0.0, 0.99999))), ranged((0.0, 0.1), (0.999, 0.9))) == []


def test_limits_clip_before_the_scale_does() -> None:
    """HailoRT's host formula."""
    narrow = fitting(input={"numeric": {"low": -0.5, "high": 0.5}})

    assert "outside -0.5 to 0.5," in misfits(info(narrow))[0].message


def test_limits_that_are_not_stated_clip_nothing() -> None:
    """Both are 0, the default of protobuf."""
    assert misfits(info(fitting(input={"numeric": {"low": 0.0, "high": 0.0}}))) == []


@given(
    ends=st.tuples(*[st.floats(-100, 100)] * 4).map(lambda e: (*sorted(e[:2]), *sorted(e[2:]))),
    kind=st.sampled_from(["uint8", "uint16"]),
)
def test_values_that_the_host_formula_clips_are_refused(ends, kind) -> None:
    """q = clip(round(x / scale + zp)), x' = (q - zp) * scale: an error of more than one step."""
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


def unchecked(found: HefInfo) -> list[str]:
    """Return the tensors that could not be compared."""
    return [notice.where for notice in hef_compatibility.find_unchecked(found)]


NOTHING = {"numeric": {"scale": 0.0, "zero_point": 0.0, "scales": [], "zero_points": [], "low": 0.0, "high": 0.0}}


@pytest.mark.parametrize("extensions", [(26,), (25, 26)])
def test_what_a_hef_does_not_state_is_named_and_not_a_misfit(extensions) -> None:
    """Neither refused nor passed in silence."""
    found = info(fitting(input=NOTHING, output=NOTHING), extensions=extensions)

    assert (misfits(found), unchecked(found), unchecked(info())) == ([], [INPUT, OUTPUT], [])


def test_a_hef_without_quantization_must_still_fit() -> None:
    """In names, shapes and types."""
    found = info(fitting("other", features=7, output={"type": 4, **NOTHING}))

    assert [problem.where for problem in misfits(found)] == ["network_groups"]
    assert {problem.rule for problem in misfits(info(fitting(features=7, output={"type": 4, **NOTHING})))} == {
        *("hef.tensor-mismatch", "hef.quantization-invalid"),
    }


def test_outputs_may_be_quantized_per_channel() -> None:
    """Beside an input with one scale that is normalized on the chip."""
    one = {"scales": [], "zero_points": []}
    found = info(
        fitting(input={"numeric": one}, output={"numeric": {"scales": [0.1, 0.2], "zero_points": [1.0, 2.0]}}),
        extensions=(25, 26),
    )

    assert (misfits(found), unchecked(found)) == ([], [])


@pytest.mark.parametrize("scales", [[0.1, 0.2, 0.3], [0.1, 0.0]])
def test_scales_that_do_not_fit_the_channels_are_refused(scales) -> None:
    """HailoRT requires one for each channel, and a scale of 0 loses the channel."""
    many = {"numeric": {"scales": scales, "zero_points": [0.0] * len(scales)}}

    assert places(misfits(info(fitting(output=many), extensions=(25,)))) == [(OUTPUT, "hef.quantization-invalid")]


def test_each_channel_is_compared_with_its_own_scale() -> None:
    """The second channel has a smaller range, which the message gives."""
    numeric = {"zero_points": [127.5, 127.5], "scales": [18 / 255, 1 / 255], "low": 0.0, "high": 0.0}
    found = info(fitting(input={"numeric": numeric}), extensions=(25, 26))
    small, large = (misfits(found, ranged((-9.0, -end), (9.0, end))) for end in (0.5, 9.0))

    assert (small, "ax -" in large[0].message) == ([], False)
    assert "outside -0.5 to 0.5, but the calibration data have ay -9 to 9;" in large[0].message


# Untrusted records


@pytest.mark.parametrize(
    ("tensor_changes", "bundle_changes", "rule", "named"),
    [
        ({"scale": (1.0,) * 3}, {}, "hef.quantization-invalid", "3 scales and 1 zero points"),
        ({"zero_point": (1.0,) * 7}, {}, "hef.quantization-invalid", "1 scales and 7 zero points"),
        ({"shape": ()}, {}, "hef.tensor-mismatch", "found ()"),
        ({"shape": (), "scale": (1.0,) * 3}, {}, "hef.quantization-invalid", "expected 1"),
        ({"shape": (), "zero_point": None}, {}, "hef.tensor-mismatch", "found ()"),
        ({}, {"channels": ()}, "hef.calibration-missing", ""),
        ({}, {"device_input": (1, 16, 3)}, "hef.tensor-mismatch", "(1, 16, 3)"),
    ],
)
def test_contradictory_records_are_a_problem(tensor_changes, bundle_changes, rule, named) -> None:
    """`verify` reads them from an untrusted bundle.json. They do not crash it."""
    found = info()
    (group,) = found.network_groups
    changed = group.model_copy(
        update={
            "inputs": (group.inputs[0].model_copy(update=tensor_changes),),
            "outputs": (group.outputs[0].model_copy(update=tensor_changes),),
        }
    )
    problems = misfits(
        found.model_copy(update={"network_groups": (changed,)}), BUNDLE.model_copy(update=bundle_changes)
    )

    assert any(each.rule == rule and named in each.message for each in problems)
