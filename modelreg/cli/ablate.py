"""`modelreg ablate`."""

import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelreg.cli import host
from modelreg.cli.console import draw, emit_json, note, say, table
from modelreg.cli.progress import show_epochs
from modelreg.errors import InputError

if TYPE_CHECKING:
    from modelreg.config import TrainConfig
    from modelreg.records.ablation import AblationRecord
    from modelreg.workflows.ablation_grid import Trained


def ablate(
    configuration: Annotated[Path, typer.Argument(help="A YAML file of a system with components.", metavar="CONFIG")],
    seeds: Annotated[str, typer.Option(help="Train each variant with each of these.", metavar="N,N")] = "0,1,2",
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Override a setting; may be repeated.", metavar="A.B=C")
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="The grid's folder; left out: runs/ablation-NNN.", metavar="DIR")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print ablation.json.")] = False,
) -> None:
    """Train a system with its components switched off in turn, over seeds, and show what each is worth.

    The variants are the full system, each component off alone, and all off. Each training is a normal run in the grid's
    folder; one that is finished is not trained again. Every run's held-out part is looked at once.

    Example: modelreg ablate configs/hapt.yaml --set model.name=conv2d_fsq_hsmm --seeds 0,1
    """
    host.need_extra("train", "torch", "safetensors", "tensorboard", "matplotlib", "scipy", "pandas")
    from modelreg import config, files
    from modelreg.documents.report import ablation
    from modelreg.records.ablation import AblationRecord
    from modelreg.registry import runs
    from modelreg.workflows import ablation_grid

    full = config.load(configuration, config.TrainConfig, assignments or [])
    numbers = _numbers(seeds)
    grid = ablation_grid.variants(full)
    folder = out_folder or runs.next_ablation(host.workplace() / "runs")
    try:
        trained = {name: [_trained(folder, name, variant, seed) for seed in numbers] for name, variant in grid.items()}
    except KeyboardInterrupt:
        chosen = [word for assignment in assignments or [] for word in ("--set", assignment)]
        command = ["modelreg", "ablate", str(configuration), "--seeds", seeds, *chosen, "--out", str(folder)]
        note(f"stopped; go on with: {shlex.join(command)}")
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
    """Read seeds: whole numbers with commas between, each once."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words) or len(set(words)) < len(words):
        raise typer.BadParameter("write different whole numbers with commas between, as 0,1,2", param_hint="--seeds")
    return tuple(map(int, words))


def _trained(grid: Path, variant: str, config: "TrainConfig", seed: int) -> "Trained":
    """Train and evaluate one run of the grid, or what is left of it to do."""
    from modelreg.workflows import ablate as ablate_workflow
    from modelreg.workflows import ablation_grid, training_run

    config, folder = ablation_grid.seeded(config, seed), grid / f"{variant}-seed{seed}"
    note(f"{variant}, seed {seed}")
    host.ready_to_train(config.training)
    here = host.describe(config.training)
    with host.reading() as reading:
        try:
            show_epochs(ablate_workflow.train(config, folder, reading, here, host.now), config.training)
        except InputError:
            training_run.discard_if_empty(folder)
            with suppress(OSError):  # other runs of the grid are there
                grid.rmdir()
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
