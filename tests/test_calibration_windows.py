"""Fewer calibration windows than the compiler recommends are named where the result is made, kept and described."""

import pytest
from example_export import bundle_record, estimate
from places import places
from test_model_card import facts

from modelreg.documents import model_card
from modelreg.export import hailo
from modelreg.records.export import RECOMMENDED_WINDOWS
from modelreg.registry import filenames

pytestmark = pytest.mark.needs("torch")
DIGESTS = {filenames.CHECKPOINT: "a" * 64, filenames.NORMALIZATION: "b" * 64}
CASES = [(64, True), (118, True), (1023, True), (1024, False), (2048, False)]


def test_the_recommendation_is_that_of_the_compiler() -> None:
    """Its message names "the recommended amount (1024)"."""
    assert RECOMMENDED_WINDOWS == 1024


@pytest.mark.parametrize(("windows", "few"), CASES)
def test_a_small_calibration_set_is_found(windows, few) -> None:
    """The recommended number itself is enough."""
    assert places(hailo.find_few(windows)) == [("calibration.npy", "export.few-calibration-windows")] * few


@pytest.mark.parametrize(("windows", "few"), CASES)
def test_the_readme_of_a_bundle_names_a_small_calibration_set(windows, few) -> None:
    """With both numbers."""
    record = bundle_record(b"", DIGESTS)
    shape = (windows, *record.calibration.shape[1:])
    text = hailo.readme(
        record.model_copy(update={"calibration": record.calibration.model_copy(update={"shape": shape})})
    )

    assert (f"has {windows:,} windows; Hailo's compiler recommends at least 1,024" in text) == few


@pytest.mark.parametrize(("windows", "few"), CASES)
def test_the_card_names_a_small_calibration_set(windows, few) -> None:
    """In the section about 8 bits."""
    made = estimate(DIGESTS).model_copy(update={"calibration_windows": windows})
    text = model_card.render(facts(estimate=made))

    assert (f"has {windows:,} windows; Hailo's compiler recommends at least 1,024" in text) == few
