"""The import that released model cards name."""

from modelreg import experiment
from modelreg.workflows import inference


def test_cards_import_classify_from_experiment() -> None:
    """The cards of v0.1.0 and v0.2.0 do."""
    assert experiment.classify is inference.classify
