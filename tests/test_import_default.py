"""import without a configuration: the embedded sample and the defaults of a system, or an example of what is needed."""

import json
import re

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from legacy_networks import AblationFsq, Conv2dVq, PooledFsq, TcnVae, UnpooledFsq, _one_thread, seeded
from places import places

from modelreg import config
from modelreg.cli.main import main
from modelreg.config import TrainConfig
from modelreg.errors import InputError
from modelreg.ml.legacy_conversion import Adopted, Needs, Unsaid
from modelreg.records.base import load
from modelreg.registry import filenames, runs
from modelreg.workflows import import_checkpoint, import_default
from modelreg.workflows.import_checkpoint import Older

__all__ = ["_one_thread"]  # a fixture

TINY = (4, 4, 6)
FITTING = {
    "tcn_vae": lambda: seeded(TcnVae, 7, TINY, channels=6),
    "conv2d_fsq": lambda: seeded(UnpooledFsq, classes=7, channels=6),
    "conv2d_vq_tokens": lambda: seeded(Conv2dVq, 8, 7, channels=6, devices=1),
}
ENCODERS = {  # the tensors of an encoder alone, and the heads that it lacks
    "tcn_vae": (("tcn_encoder.",), "latent mean (device_part.heads), classifier (host_part.head)"),
    "conv2d_fsq": (("encoder.", "projection."), "classifier (host_part.head)"),
    "conv2d_vq_tokens": (("encoder.",), "codebook (host_part.quantizer), classifier (host_part.head)"),
}
OTHERS = {  # a network, its system, and where it does not fit
    "tcn": (lambda: seeded(TcnVae, 12, TINY), "tcn_vae", {"channels", "classes"}),
    "pooled": (lambda: seeded(PooledFsq), "conv2d_fsq", {"channels", "classes", "model.levels"}),
    "levels": (lambda: seeded(PooledFsq, classes=7, channels=6), "conv2d_fsq", {"model.levels"}),
    "ablation": (lambda: seeded(AblationFsq, 7), "conv2d_fsq", {"channels", "model.levels"}),
    "tokens": (lambda: seeded(Conv2dVq, 8), "conv2d_vq_tokens", {"channels", "devices", "classes"}),
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A registry as the working directory."""
    main(["init", "--sample", str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bring(tensors, model: str, *options: str) -> int:
    """Import a file with these tensors."""
    torch.save(tensors, "old.pth")
    return main(["import", "old.pth", "--as", model, *options])


@pytest.mark.parametrize("model", FITTING)
def test_a_checkpoint_that_fits_the_sample_needs_no_configuration(place, capsys, model) -> None:
    """It takes the settings of its own system, and says so."""
    assert bring(FITTING[model]().state_dict(), model) == 0
    run = place / f"runs/{model}-001"
    said = capsys.readouterr()

    assert (load(run / filenames.CONFIG, TrainConfig).model.name, runs.load_run(run).model.settings.name) == (
        *(model, model),
    )
    assert ("the embedded sample recordings (6 channels" in said.err, f"the defaults of {model}" in said.err) == (
        *(True, True),
    )
    assert f"next: modelreg evaluate runs/{model}-001" in said.out


def test_the_default_without_a_configuration_trains_no_folds(place, monkeypatch) -> None:
    """Although the built-in configuration may."""
    document = config.default() | {"evaluation": {"protocol": "loso", "replicates": 100}}
    monkeypatch.setattr(config, "default", lambda: document)
    assert bring(FITTING["conv2d_fsq"]().state_dict(), "conv2d_fsq") == 0
    settings = load(place / "runs/conv2d_fsq-001" / filenames.CONFIG, TrainConfig).evaluation

    assert (settings.protocol, settings.replicates) == ("holdout", 100)


def test_a_cross_fitted_configuration_is_not_imported(place, capsys) -> None:
    """Exit 3: nothing is trained."""
    (place / "folds.yaml").write_text("evaluation: {protocol: loso}\nmodel: {levels: [8, 8, 8, 8, 8, 8, 8, 8]}\n")

    assert bring(FITTING["conv2d_fsq"]().state_dict(), "conv2d_fsq", "--config", "folds.yaml") == 3
    assert "[import.cross-fitted]" in capsys.readouterr().err


@pytest.mark.parametrize("model", ENCODERS)
def test_an_encoder_alone_is_imported_as_one(place, capsys, model) -> None:
    """Its missing heads are listed, and it has no metrics."""
    parts, lacks = ENCODERS[model]
    whole = FITTING[model]().state_dict()

    assert bring({name: tensor for name, tensor in whole.items() if name.startswith(parts)}, model) == 0
    assert f"missing in old.pth: {lacks}" in capsys.readouterr().out
    assert not (place / f"runs/{model}-001" / filenames.METRICS).exists()


def test_levels_that_no_tensor_shows_are_named(place, capsys) -> None:
    """They are a default, which the training may not have had."""
    assert bring(FITTING["conv2d_fsq"]().state_dict(), "conv2d_fsq") == 0
    assert "model.levels: [8, 6, 5, 5, 4]: the default of conv2d_fsq" in capsys.readouterr().err


@pytest.mark.parametrize("name", OTHERS)
def test_a_checkpoint_that_needs_other_data_is_refused_with_an_example(place, capsys, name) -> None:
    """Every misfit is listed, no run is left, and stdout has a configuration to fill in."""
    make, model, expected = OTHERS[name]
    assert bring(make().state_dict(), model) == 3
    said = capsys.readouterr()
    (place / "import.yaml").write_text(said.out)

    assert {where for where in (*expected, "widths") if f"{where}: the checkpoint" in said.err} == expected
    assert (f"modelreg import old.pth --as {model} > import.yaml" in said.err, (place / "runs").exists()) == (
        *(True, False),
    )
    assert main(["import", "old.pth", "--as", model, "--config", "import.yaml"]) == 3
    assert "[config.fill-in]" in capsys.readouterr().err


def older(needs: Needs, levels: int = 0) -> Older:
    """Return a legacy checkpoint with these needs."""
    system = "conv2d_fsq" if levels else "tcn_vae"
    unsaid = {"levels": Unsaid("levels", levels)} if levels else {}
    return Older("old.pth", "a" * 64, system, "layout", Adopted({}, unsaid, needs, {}, (), ()), {})


CHANNELS, CLASSES = st.integers(1, 12), st.none() | st.integers(2, 9)
NEEDS = st.one_of(
    st.builds(Needs, CHANNELS, st.none() | st.integers(1, 3), CLASSES, st.just(False)),
    st.builds(Needs, CHANNELS, st.none(), CLASSES, st.just(True)),
)


def filled(text: str) -> str:
    """Return an example with a name in place of each value to fill in; equal ones for the channels of each device."""
    text = text.replace("FILL IN number", "8").replace("unit: FILL IN", "unit: unit")
    return re.sub(r"(?<=[:-] )FILL IN ([\w ]+)", lambda found: found[1].strip().replace(" ", "_"), text)


@given(needs=NEEDS, levels=st.integers(0, 5))
def test_an_example_that_is_filled_in_has_the_shape_that_is_needed(needs, levels) -> None:
    """It is a configuration, whatever the checkpoint needs."""
    text = import_default.example(older(needs, levels), "modelreg import old.pth --as x --config import.yaml")
    numbered = (f"column_{n}" for n in range(100))
    text = re.sub("FILL IN column", lambda _: next(numbered), filled(text))
    made = config.settle(yaml.safe_load(text), TrainConfig, "import.yaml")
    (source,) = made.data.sources
    shape = (6, 1, 7)
    if source.kind == "csv":
        shape = len(source.devices[0].channels), len(source.devices), len(made.data.classes or ())

    assert list(import_checkpoint.find_misfits(needs, import_checkpoint.Shape(*shape))) == []


def test_an_example_is_refused_until_it_is_filled_in() -> None:
    """Each value that begins with FILL IN is named."""
    text = import_default.example(older(Needs(9, 2, 5), 3), "x")
    with pytest.raises(InputError) as caught:
        config.settle(yaml.safe_load(text), TrainConfig, "import.yaml", text=text)

    assert {rule for _, rule in places(caught.value.problems)} == {"config.fill-in"}
    assert len(caught.value.problems) == 3 + 2 * 9 * 3 + 5 + 3


def test_an_example_fits_a_terminal() -> None:
    """80 columns."""
    text = import_default.example(older(Needs(12, 2, 5, merged=True), 3), "x")

    assert max(map(len, text.splitlines())) <= 80


def test_a_checkpoint_is_imported_with_the_example_that_was_filled_in(place, capsys) -> None:
    """And recordings of that shape."""
    (place / "data").mkdir()
    random = np.random.default_rng(0)
    for number in range(5):
        rows = [f"{x:.3f},{y:.3f},class_{n // 150}" for n, (x, y) in enumerate(random.normal(size=(300, 2)))]
        (place / f"data/s{number}_1.csv").write_text("\n".join(["c1,c2,label", *rows]))
    tensors = seeded(TcnVae, 2, TINY, channels=2).state_dict()
    assert bring(tensors, "tcn_vae") == 3
    text = capsys.readouterr().out.replace("FILL IN the column with the labels", "label")
    columns = iter(("c1", "c2"))
    text = re.sub("FILL IN column", lambda _: next(columns), text)
    (place / "import.yaml").write_text(filled(re.sub(r"FILL IN label of (class) (\d)", r"\1_\2", text)))

    assert bring(tensors, "tcn_vae", "--config", "import.yaml") == 0
    made = json.loads((place / "runs/tcn_vae-001/data.json").read_text())
    assert (made["classes"], [channel["unit"] for channel in made["channels"]]) == (
        *(["class_0", "class_1"], ["unit", "unit"]),
    )


def test_a_problem_of_the_configuration_has_its_line(place, capsys) -> None:
    """In the file of the user."""
    (place / "import.yaml").write_text("split: {by: subject}\nmodel:\n  name: tcn_vae\n  hiden: 3\n")

    assert bring(FITTING["tcn_vae"]().state_dict(), "tcn_vae", "--config", "import.yaml") == 3
    assert "import.yaml:4: unknown key 'hiden'" in capsys.readouterr().err
