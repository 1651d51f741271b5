"""`modelreg ablate`."""

import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelreg.cli import host
from modelreg.cli.console import draw, emit_json, note, say, table
from modelreg.cli.options import Assignments
from modelreg.cli.progress import show_epochs
from modelreg.errors import InputError

if TYPE_CHECKING:
    from modelreg.config import TrainConfig
    from modelreg.records.ablation import AblationRecord
    from modelreg.workflows.ablation_grid import Trained


def ablate(
    configuration: Annotated[
        Path, typer.Argument(help="Training configuration (YAML) of a model with components.", metavar="CONFIG")
    ],
    seeds: Annotated[str, typer.Option(help="Seeds to train each variant with.", metavar="N,N")] = "0,1,2",
    assignments: Assignments = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder of the runs. Default: runs/ablation-NNN.", metavar="DIR")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print ablation.json.")] = False,
) -> None:
    """Measure the effect of each component of a model.

    Trains the full model, each component switched off alone, and all of them switched off, with every seed. Each
    training is a normal run in the ablation's folder; a finished one is not repeated. Every run has one test-set
    evaluation.

    Example: modelreg ablate runs/conv2d_fsq-001/config.json --set model.name=conv2d_fsq_hsmm --seeds 0,1
    """
    numbers = _numbers(seeds)
    host.need_extra("train", "torch", "safetensors", "tensorboard", "matplotlib", "scipy", "pandas")
    from modelreg import config, files
    from modelreg.documents.report import ablation
    from modelreg.records.ablation import AblationRecord
    from modelreg.registry import filenames, runs
    from modelreg.workflows import ablation_grid, run_checks

    full = host.with_pseudonyms(config.load(configuration, config.TrainConfig, assignments or []))
    grid = ablation_grid.variants(full)
    folder = out_folder or runs.next_ablation(host.workplace() / "runs")
    planned = {
        name: {folder / f"{name}-seed{seed}": ablation_grid.seeded(variant, seed) for seed in numbers}
        for name, variant in grid.items()
    }
    run_checks.refuse_others(
        {place: each for trials in planned.values() for place, each in trials.items()},
        "nothing was trained",
        f"{filenames.CONFIG} differs from the configuration of this command",
    )
    files.refuse_unwritable(folder)
    try:
        trained = {name: [_trained(*trial) for trial in trials.items()] for name, trials in planned.items()}
    except KeyboardInterrupt:
        chosen = [word for assignment in assignments or [] for word in ("--set", assignment)]
        paths = configuration.as_posix(), "--out", folder.as_posix()
        command = ["modelreg", "ablate", *paths, "--seeds", seeds, *chosen]
        note(f"stopped; resume with: {shlex.join(command)}")
        raise
    record = AblationRecord(
        model=full.model.name,
        seeds=numbers,
        variants=tuple(
            ablation_grid.summarize(name, ablation_grid.off(full, grid[name]), found) for name, found in trained.items()
        ),
    )
    files.write_atomic(folder / ablation_grid.RECORD, record.to_bytes())
    files.write_atomic(folder / ablation_grid.TABLE, ablation.ablation_markdown(record).encode())
    _show(record, folder, as_json=as_json)


def _numbers(text: str) -> tuple[int, ...]:
    """Parse seeds: different whole numbers, separated by commas."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words) or len(set(words)) < len(words):
        raise typer.BadParameter(
            "expected different whole numbers, separated by commas, such as 0,1,2", param_hint="--seeds"
        )
    return tuple(map(int, words))


def _trained(folder: Path, config: "TrainConfig") -> "Trained":
    """Train or resume one run of the grid, and evaluate it."""
    from modelreg.workflows import ablate as ablate_workflow
    from modelreg.workflows import training_run

    note(f"training {host.shown(folder)}")
    host.ready_to_train(config.training)
    here = host.describe(config.training)
    with host.reading(new_subjects=True) as reading:
        try:
            show_epochs(ablate_workflow.train(config, folder, reading, here, host.now), config.training)
        except InputError:
            training_run.discard_if_empty(folder)
            with suppress(OSError):  # the folder has other runs of the grid
                folder.parent.rmdir()
            raise
        on_cpu = host.describe(config.training.model_copy(update={"device": "cpu"}))
        ablate_workflow.evaluate(folder, reading, on_cpu, host.now)
    return ablate_workflow.read_trained(folder)


def _show(record: "AblationRecord", folder: Path, *, as_json: bool) -> None:
    from modelreg.documents.report import ablation
    from modelreg.workflows import ablation_grid

    runs = [trial for variant in record.variants for trial in variant.trials]
    note(ablation.ablation_looks(len(runs), sum(trial.evaluations for trial in runs)))
    if as_json:
        emit_json(record.to_document())
        return
    for columns, rows in ablation.ablation_tables(record):
        draw(table(columns, rows, right=columns[1:]), sys.stdout)
    say(f"table: {host.shown(folder / ablation_grid.TABLE)}")
