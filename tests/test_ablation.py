"""ablate: the grid of switched-off components, its trainings, and its table."""

import json

import numpy as np
import pytest
from example_records import CLASSES, LEVELS, SETTINGS, example_metrics, example_predictions, example_run_record
from places import places
from sklearn.metrics import accuracy_score
from two_device import write_two_device

from modelreg.cli.main import main
from modelreg.config import TrainConfig, settle
from modelreg.documents.report import ablation
from modelreg.errors import InputError
from modelreg.evaluation import metrics
from modelreg.records.ablation import AblationRecord
from modelreg.records.base import load
from modelreg.records.metrics import ClusterUsage, Interval, SegmentScores, TemporalMetrics
from modelreg.registry import filenames, runs
from modelreg.workflows import ablate, ablation_grid
from modelreg.workflows.ablation_grid import Trained

SYSTEMS = {
    "conv2d_fsq_hsmm": ["full", "no_hsmm"],
    "conv2d_vq": ["full", "no_vq", "no_reconstruction", "all_off"],
    "conv2d_vq_hdp_hsmm": ["full", "no_vq", "no_hdp", "no_hsmm", "no_reconstruction", "all_off"],
    "tcn_vae": ["full", "no_elbo", "no_domain", "all_off"],
}
TINY = """
data:
  sources: [{kind: npy, path: data/dataset.json}]
  window: 100
  hop: 100
split: {by: subject, test: 2, validation: 1}
model: {name: conv2d_fsq_hsmm, widths: [4], kernels: [[2, 5]], levels: [4, 3], hsmm: {chunk: 4, max_duration: 10}}
training: {epochs: 2, batch_size: 16, threads: 1, learning_rate: 0.01}
evaluation: {replicates: 100}
"""


def settings(name: str, **changes) -> TrainConfig:
    """A configuration of a system."""
    return settle({"model": {"name": name, **changes}}, TrainConfig, "test")


def trained(seed: int, **changes) -> Trained:
    """A finished trial of made-up predictions."""
    predictions = example_predictions(seed=seed)
    computed = metrics.compute(predictions, classes=CLASSES, levels=LEVELS, settings=SETTINGS)
    measured = example_metrics().model_copy(update={**dict(computed), **changes})
    run = example_run_record().model_copy(
        update={"seed": seed, "started": "2026-11-21T10:00:00Z", "finished": "2026-11-21T10:01:30Z"}
    )
    return Trained(f"full-seed{seed}", run, measured, predictions)


# The grid


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_grid_has_each_component_off_alone_and_all_off(name) -> None:
    """In the order in which the table shows them."""
    assert list(ablation_grid.variants(settings(name))) == SYSTEMS[name]


@pytest.mark.parametrize("name", SYSTEMS)
def test_variants_are_configurations_that_a_file_could_state(name) -> None:
    """Each is read back from its own document, and no two are equal."""
    grid = list(ablation_grid.variants(settings(name)).values())

    assert [settle(variant.to_document(), TrainConfig, "again") for variant in grid] == grid
    assert len({variant.to_bytes() for variant in grid}) == len(grid)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_variant_has_the_components_off_that_its_name_states(name) -> None:
    """The full system has none off, the last variant all."""
    full = settings(name)
    lacks = {variant: ablation_grid.off(full, config) for variant, config in ablation_grid.variants(full).items()}

    assert lacks["full"] == ()
    assert all(off == (variant.removeprefix("no_"),) for variant, off in lacks.items() if variant.startswith("no_"))
    assert lacks.get("all_off", tuple(ablation_grid.components(full))) == tuple(ablation_grid.components(full))


def test_a_component_that_is_off_is_not_switched_off_again() -> None:
    """One component is left: switched off alone and all switched off are the same variant."""
    assert list(ablation_grid.variants(settings("conv2d_vq", reconstruction=0))) == ["full", "no_vq"]


@pytest.mark.parametrize(("name", "changes"), [("conv2d_fsq", {}), ("conv2d_fsq_hsmm", {"hsmm": False})])
def test_a_system_without_components_is_refused(name, changes) -> None:
    """The error names the model setting."""
    with pytest.raises(InputError) as caught:
        ablation_grid.variants(settings(name, **changes))

    assert places(caught.value.problems) == [("model", "ablate.no-components")]


# The table


def test_means_are_over_the_seeds() -> None:
    """A value that a variant does not have is null, not zero."""
    found = ablation_grid.summarize("full", (), [trained(0), trained(1, codes=None)])
    each = [trial.outcome for trial in found.trials]

    assert found.mean.accuracy == pytest.approx(np.mean([outcome.accuracy for outcome in each]))
    assert (found.mean.perplexity, found.mean.active_clusters) == (each[0].perplexity, None)
    assert found.mean.seconds == 90


def test_the_interval_draws_a_subject_with_the_windows_of_all_seeds() -> None:
    """Against the definition: subjects drawn with replacement, their windows of both seeds scored together."""
    both = [trained(seed) for seed in (0, 1)]
    hits = [(each.predictions.logits.argmax(axis=1) == each.predictions.y).reshape(6, 40) for each in both]
    drawn = (np.random.default_rng([SETTINGS.seed, 1]).random((SETTINGS.replicates, 6)) * 6).astype(int)
    values = np.concatenate(hits, axis=1)[drawn].mean(axis=(1, 2))
    interval = ablation_grid.summarize("full", (), both).intervals["accuracy"]

    assert isinstance(interval, Interval)
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))
    assert accuracy_score(both[0].predictions.y, both[0].predictions.logits.argmax(axis=1)) == hits[0].mean()


def test_the_table_has_codes_clusters_and_durations() -> None:
    """They are in the second table; test-set evaluations are counted."""
    score = SegmentScores(accuracy=0.75, edit=50.0, over_segmentation=1.0, f1_at_50=0.5)
    temporal = TemporalMetrics(streams=1, mean_duration=12.0, alone=score, smoothed=score)
    one = trained(0, clusters=ClusterUsage(active=7, perplexity=5.0), temporal=temporal)
    variant = ablation_grid.summarize("full", (), [one])
    text = ablation.ablation_markdown(AblationRecord(model="conv2d_fsq", seeds=(0,), variants=(variant,)))

    assert "| 0.7500 |" in text
    assert "| 7.0 | 12.0 |" in text
    assert "evaluated 1 time in 1 run" in text


# The command


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A registry with a grid that was stopped in its third training, and then gone on with."""
    root = tmp_path_factory.mktemp("grid")
    main(["init", str(root)])
    (root / "data").mkdir()
    write_two_device(root / "data")
    (root / "tiny.yaml").write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield root


@pytest.fixture(scope="module")
def stopped(finished):
    """What the interrupted command said."""
    train = ablate.train

    def interrupt(config, folder, *rest):
        for epoch in train(config, folder, *rest):
            yield epoch
            if folder.name == "no_hsmm-seed3":
                raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablate, "train", interrupt)
        return main(["ablate", "tiny.yaml", "--seeds", "3", "--set", "model.hidden=9"])


def test_an_interrupted_ablation_is_resumed(finished, stopped, capsys) -> None:
    """A finished run is neither trained nor evaluated again; a started one is resumed."""
    grid = finished / "runs/ablation-001"
    before = (grid / "full-seed3" / filenames.RUN).read_bytes()
    half = (grid / "no_hsmm-seed3" / filenames.HISTORY).read_bytes()
    command = ["ablate", "tiny.yaml", "--seeds", "3", "--set", "model.hidden=9", "--out", "runs/ablation-001"]

    assert (stopped, main(command)) == (130, 0)
    assert (grid / "full-seed3" / filenames.RUN).read_bytes() == before
    assert (grid / "no_hsmm-seed3" / filenames.HISTORY).read_bytes().startswith(half)
    record = load(grid / ablation_grid.RECORD, AblationRecord)
    assert [(v.name, v.off, v.mean.smoothed_accuracy is None) for v in record.variants] == [
        ("full", (), False),
        ("no_hsmm", ("hsmm",), True),
    ]
    out = capsys.readouterr()
    assert out.out.endswith("table: runs/ablation-001/ablation.md\n")
    assert "evaluated 2 times in 2 runs" in out.err
    assert max(map(len, out.out.splitlines())) <= 80
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == record.to_document()


def test_a_grid_of_another_configuration_is_refused(finished, stopped, capsys) -> None:
    """Its runs would not belong to this ablation."""
    assert main(["ablate", "tiny.yaml", "--seeds", "3", "--out", "runs/ablation-001"]) == 3
    assert "[run.other-configuration]" in capsys.readouterr().err


def test_an_ablation_is_not_a_run(finished, stopped) -> None:
    """`evaluate` without a name means the newest run; ablations are numbered separately."""
    assert list(runs.numbered(finished / "runs")) == []
    assert runs.next_ablation(finished / "runs").name == "ablation-002"


@pytest.mark.parametrize("seeds", ["", "a", "1,1", "1,,2", "-1"])
def test_seeds_are_different_whole_numbers(finished, seeds) -> None:
    """Anything else is a usage error."""
    assert main(["ablate", "tiny.yaml", f"--seeds={seeds}"]) == 2


def test_a_run_that_fails_before_its_first_epoch_leaves_nothing(finished) -> None:
    """Neither its folder nor that of the ablation."""
    assert main(["ablate", "tiny.yaml", "--seeds", "3", "--set", "training.batch_size=4", "--out", "none"]) == 3
    assert not (finished / "none").exists()


def test_changed_predictions_are_refused(finished, stopped, capsys) -> None:
    """The table is computed from the predictions of the metrics."""
    folder = finished / "runs/ablation-001/full-seed3"
    kept = (folder / filenames.PREDICTIONS).read_bytes()
    (folder / filenames.PREDICTIONS).write_bytes(b"")
    with pytest.raises(InputError) as caught:
        ablate.read_trained(folder)
    assert places(caught.value.problems) == [(str(folder / filenames.PREDICTIONS), "evaluate.predictions-mismatch")]
    (folder / filenames.PREDICTIONS).write_bytes(kept)
