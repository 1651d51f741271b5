"""Run folders: `runs/<model>-<NNN>`, their files, and which one is the newest."""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path

from modelreg import files
from modelreg.errors import InputError, Problem
from modelreg.records.base import load, parse
from modelreg.records.run import Epoch, RunRecord
from modelreg.registry.filenames import CALIBRATION, ENCODER, FITTED, HISTORY, HSMM, RUN, VALIDATION

ABLATION = "ablation"  # not a model name: these folders contain the runs of a grid
_NAME = re.compile(rf"(?!{ABLATION}-)(?P<model>[a-z][a-z0-9_]*)-(?P<number>[0-9]{{3,}})")


def numbered(runs: Path, model: str | None = None) -> Iterator[tuple[int, Path]]:
    """Yield the number and folder of every run, of one model or of all."""
    for folder in runs.iterdir() if runs.is_dir() else ():
        match = _NAME.fullmatch(folder.name)
        if match and folder.is_dir() and model in (None, match["model"]):
            yield int(match["number"]), folder


def next_folder(runs: Path, model: str) -> Path:
    """Return the folder of the next run. Numbers are shared by all models, so that the highest is the newest."""
    number = max((number for number, _ in numbered(runs)), default=0) + 1
    return runs / f"{model}-{number:03d}"


def next_ablation(runs: Path) -> Path:
    """Return the folder of the next grid of runs. Grids have their own numbers."""
    existing = {folder.name for folder in runs.glob(f"{ABLATION}-*")}
    number = next(number for number in count(1) if f"{ABLATION}-{number:03d}" not in existing)
    return runs / f"{ABLATION}-{number:03d}"


def newest(runs: Path, model: str | None = None) -> Path:
    """Return the run with the highest number. Raises InputError if no run exists."""
    found = max(numbered(runs, model), default=None)
    if found is None:
        what = f"run of {model} not found" if model else "no run found"
        raise InputError("cannot read a run", [Problem(str(runs), "run.none", what)])
    return found[1]


def newest_trained(runs: Path, model: str | None, command: str) -> Path:
    """Return the newest run. Raises InputError if its training is not finished: another run is never taken silently.

    The error names both choices; `command` is what works on a run, as `modelreg evaluate`.
    """
    folder = newest(runs, model)
    if load_run(folder).status == "trained":
        return folder
    others = [other for _, other in sorted(numbered(runs, model), reverse=True) if (other / RUN).is_file()]
    finished = next((other for other in others if load_run(other).status == "trained"), None)
    older = f", or name a finished run: `{command} {finished}`" if finished else ""
    resume = f"finish it with `modelreg train --resume {folder}`{older}"
    problem = Problem(str(folder), "run.not-trained", "the training of the newest run is not finished", resume)
    raise InputError("no run was chosen", [problem])


def interrupted(runs: Path) -> Path | None:
    """Return the newest run if its training has begun and neither ended nor runs now; None if not, or unreadable.

    An unreadable run is reported by the commands that use it.
    """
    found = max(numbered(runs), default=None)
    if found is None or files.is_locked(found[1]):
        return None
    try:
        return found[1] if load_run(found[1]).status == "training" else None
    except InputError:
        return None


def load_run(folder: Path) -> RunRecord:
    """Read run.json. Raises InputError, also if the folder is not a run."""
    if not (folder / RUN).is_file():
        raise InputError("cannot read the run", [Problem(str(folder), "run.not-a-run", f"{RUN} not found")])
    return load(folder / RUN, RunRecord)


def read_history(folder: Path) -> list[Epoch]:
    """Return the epochs in a run's history.jsonl."""
    path = folder / HISTORY
    lines = files.read_bytes(path).splitlines() if path.exists() else []
    return [parse(line, Epoch, f"{path.name}: line {number}") for number, line in enumerate(lines, 1)]


def create(folder: Path, documents: Mapping[str, bytes], record: RunRecord) -> None:
    """Create a run's folder atomically."""
    with files.staged_folder(folder) as staged:
        for name, data in {**documents, RUN: record.to_bytes()}.items():
            files.write_atomic(staged / name, data)


def parts(folder: Path) -> tuple[str, ...]:
    """Return the names of the files that are derived from a run's weights."""
    return tuple(name for name in (ENCODER, HSMM) if (folder / name).is_file())


def calibrated(folder: Path) -> tuple[str, ...]:
    """Return the names of the calibration, and of the predictions that a run has for other splits than the test."""
    return tuple(name for name in (CALIBRATION, VALIDATION, FITTED) if (folder / name).is_file())


def seal(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the digests of a run's files, by name."""
    return {name: files.sha256(folder / name) for name in names}


def find_changed(folder: Path, run: RunRecord) -> Iterator[Problem]:
    """Yield every file of a run that is missing or does not match the digest in run.json."""
    for name, digest in sorted(run.files.items()):
        if not (folder / name).is_file():
            yield Problem(str(folder / name), "run.file-missing", "missing")
        elif files.sha256(folder / name) != digest:
            yield Problem(str(folder / name), "run.file-changed", f"sha256 mismatch: changed since {RUN} was written")


def not_evaluated(folder: Path) -> Problem:
    """Return the problem of a run without metrics."""
    return Problem(str(folder), "run.not-evaluated", "the run has no metrics", evaluate_step(folder))


def evaluate_step(folder: Path) -> str:
    """Return the next step for a run that must be evaluated."""
    return f"evaluate the run with `modelreg evaluate {folder}`"
