"""The example code of model cards, of all template versions."""

import shutil

import numpy as np
import pytest
from example_bundle import VERSION
from example_export import estimate
from example_run import model_spec, write_registry, write_run
from example_version import make_version
from test_model_card import facts

import modelreg
from modelreg import experiment
from modelreg.documents import model_card
from modelreg.workflows import inference


def test_cards_import_classify_from_experiment() -> None:
    """This is the import in the cards of v0.1.0 and v0.2.0."""
    assert experiment.classify is inference.classify


def code_of(card: str) -> str:
    """Return the Python code of a card."""
    return card.partition("```python\n")[2].partition("```")[0]


@pytest.mark.needs("torch")
def test_the_code_of_a_new_card_runs(tmp_path, monkeypatch) -> None:
    """It runs in the folder of the registry, as a reader would paste it."""
    root = write_registry(tmp_path)
    version = make_version(root, write_run(root / "runs/conv2d_fsq-001"))
    monkeypatch.chdir(root)
    space: dict[str, object] = {}
    exec(code_of((version / "model_card.md").read_text()), space)  # noqa: S102 that is the test

    assert space["classes"] == model_spec().classes
    assert space["probabilities"].shape == (1, len(model_spec().classes))


def test_the_code_of_a_new_card_runs_where_graphs_are(tmp_path, monkeypatch) -> None:
    """The version of the card has ONNX graphs."""
    shutil.copytree(VERSION, tmp_path / "registry/conv2d_fsq/v0.2.0")
    shutil.copy(VERSION.parents[2] / "modelreg.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    spec = modelreg.load("v0.2.0")._opened.spec
    space: dict[str, object] = {}
    exec(code_of(model_card.render(facts(version="0.2.0", spec=spec))), space)  # noqa: S102 that is the test

    np.testing.assert_allclose(space["probabilities"].sum(), 1)


def test_a_new_card_imports_only_the_public_api() -> None:
    """It imports modelreg and numpy."""
    imports = [line for line in code_of(model_card.render(facts())).splitlines() if "import" in line]

    assert imports == ["import modelreg", "import numpy as np"]


@pytest.mark.parametrize(("graphs", "predict", "train"), [(True, True, False), (False, False, True)])
def test_a_new_card_names_the_extra_to_install(graphs, predict, train) -> None:
    """This is [predict] with ONNX graphs, and [train] without."""
    text = model_card.render(facts(graphs=graphs))

    assert ("'.[predict]'" in text, "'.[train]'" in text) == (predict, train)


def test_a_new_card_names_the_modelreg_that_resumed_the_training() -> None:
    """It differs from the version that started the training."""
    run = facts().run.model_copy(update={"resumed_by": ("0.4.0",)})

    assert "resumed by modelreg 0.4.0" in model_card.render(facts(run=run))


@pytest.mark.parametrize(("arithmetic", "said"), [(None, True), ("float32", False)])
def test_a_new_card_states_whether_its_estimate_depends_on_the_processor(arithmetic, said) -> None:
    """An estimate by integer kernels does."""
    made = estimate({"checkpoint.safetensors": "a" * 64, "normalization.json": "b" * 64}).model_copy(
        update={"arithmetic": arithmetic}
    )

    assert ("depends on the processor" in model_card.render(facts(estimate=made))) is said
