"""The machine: time, environment, hardware, installed packages, cache and paths."""

import os
import platform
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from modelreg import __version__
from modelreg.cli import git, installation
from modelreg.errors import InputError, Problem

if TYPE_CHECKING:
    from modelreg.config import ProjectConfig, TrainConfig, TrainingSettings
    from modelreg.data.cache import Reading
    from modelreg.records.latency import Hardware
    from modelreg.records.run import Environment
    from modelreg.registry.references import Identity, Registry

EXPORT = ("torch", "onnx", "onnxsim", "onnxscript", "onnxruntime", "pandas")  # the packages of the extra [export]
RECORDED = ("numpy", "scipy", "torch", "safetensors")


def now() -> str:
    """Return the time as ISO 8601 UTC, to the second. SOURCE_DATE_EPOCH replaces the time if it is set."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        moment = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    except (ValueError, OverflowError, OSError) as error:
        problem = Problem(
            f"SOURCE_DATE_EPOCH={epoch}",
            "environment.source-date-epoch",
            "must be a whole number of seconds since 1970",
        )
        raise InputError("cannot tell the time", [problem]) from error
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def need_extra(extra: str, *modules: str) -> None:
    """Raise InputError if a module of an extra is not installed; it names the command that installs the extra."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        step = installation.command(extra, installation.recorded())
        problem = Problem(", ".join(missing), "install.extra-missing", "not installed", step)
        raise InputError("this command needs an extra of modelreg", [problem])


def project() -> tuple[Path, "ProjectConfig"]:
    """Return the registry of the working directory, with its settings. Raises InputError if there is none."""
    from modelreg import config

    root = config.find_project(Path.cwd())
    if root is None:
        what = f"no {config.PROJECT_FILE} in this folder or above"
        raise InputError("this command needs a registry", [Problem(str(Path.cwd()), "registry.not-found", what)])
    return root, config.load(root / config.PROJECT_FILE, config.ProjectConfig)


def version_folder(reference: str) -> Path:
    """Return the folder of a version, from a reference or a path. Raises RegistryError."""
    from modelreg.registry import references

    return references.version_folder(reference, Path.cwd(), _registry)


def export_path(reference: str) -> Path:
    """Return the path of a version, a run or an export, from a reference or a path. Raises RegistryError."""
    from modelreg.registry import references

    return references.export_path(reference, Path.cwd(), _registry)


def identify(reference: str) -> "Identity":
    """Return the model and number of a version, which may not be here, from a reference. Raises RegistryError."""
    from modelreg.registry import references

    return references.identify(reference, _registry())


def _registry() -> "Registry":
    from modelreg.registry.references import Registry

    root, settings = project()
    return Registry(root, settings.default_model, settings.tag_format)


def usable_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def hardware() -> "Hardware":
    """Return a record of this machine's hardware."""
    from modelreg.records.latency import Hardware

    return Hardware(
        board=_first_match(Path("/proc/device-tree/model"), r"([^\0\n]+)"),
        processor=_first_match(Path("/proc/cpuinfo"), r"(?:model name|Model)\s*:\s*(.+)"),
        machine=platform.machine(),
        cores=os.cpu_count() or 1,
        system=platform.platform(),
    )


def _first_match(path: Path, pattern: str) -> str | None:
    try:
        match = re.search(pattern, path.read_text(errors="replace"))
    except OSError:
        return None
    return match[1].strip()[:100] or None if match else None


def runtime_packages() -> dict[str, str]:
    """Return the versions of the packages that a benchmark depends on."""
    found = {name: installed(name) for name in ("numpy", "onnxruntime", "hailort")}
    return {"modelreg": __version__, "python": platform.python_version(), **{n: v for n, v in found.items() if v}}


def workplace() -> Path:
    """Return the folder of `runs/`: the registry's root, or the working directory outside a registry."""
    from modelreg import config

    return config.find_project(Path.cwd()) or Path.cwd()


@contextmanager
def reading(base: Path | None = None, *, new_subjects: bool = False) -> Iterator["Reading"]:
    """Yield how recordings are read: cached in MODELREG_CACHE or ~/.cache/modelreg; `off` disables the cache.

    With `new_subjects`, a subject without a pseudonym gets one if the configuration requires pseudonyms.
    """
    from modelreg.cli import pseudonym_map
    from modelreg.cli.console import note
    from modelreg.cli.progress import show_reading
    from modelreg.data.cache import Reading

    with show_reading(sys.stderr, monotonic) as show:
        yield Reading(
            base or workplace(),
            cache_folder(),
            show,
            lambda notice: note(f"notice: {notice}"),
            pseudonym_map.reader(workplace(), may_grow=new_subjects),
        )


def with_pseudonyms(settings: "TrainConfig") -> "TrainConfig":
    """Return a configuration that names subjects as the modelreg.yaml of the working directory says."""
    from modelreg import config

    if config.find_project(Path.cwd()) is None or project()[1].subjects != "pseudonyms":
        return settings
    return settings.model_copy(update={"subjects": "pseudonyms"})


def cache_folder() -> Path | None:
    """Return the folder of the cache; None if it is disabled."""
    named = os.environ.get("MODELREG_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return None if named == "off" else Path(named or Path(home) / "modelreg")


def exports_of(version: Path) -> Path:
    """Return the folder for exports of a version, outside the registry: a version never changes."""
    return workplace() / "dist" / f"{version.parent.name}-{version.name}"


def next_version(model: str) -> str:
    """Return the next version to release."""
    from modelreg.registry import versions

    newest = [folder.name for folder in versions.version_folders(workplace(), model)][-1:]
    return f"v{versions.parse_version(newest[0]).bump_minor()}" if newest else "v0.1.0"


def release_step(run: Path) -> str:
    """Return the command that releases a run; if its weights are released, the command that verifies that version."""
    from modelreg.registry import runs

    if version := released_as(run):
        return f"modelreg verify {version}  (the run is released)"
    return f"modelreg release {next_version(runs.load_run(run).model.settings.name)} --run {shown(run)}"


def released_as(run: Path) -> str | None:
    """Return the newest version with the weights of a run, as `MODEL@vX.Y.Z`; None if they are not released."""
    from modelreg.registry import filenames, runs, versions

    record = runs.load_run(run)
    digest = record.files.get(filenames.CHECKPOINT, "")
    found = list(versions.same_weights(workplace(), record.model.settings.name, digest))
    return found[-1].reference if found else None


def shown(path: Path) -> str:
    """Return a path relative to the working directory if it is inside, quoted for the shell."""
    here = Path.cwd()
    return shlex.quote((path.relative_to(here) if path.is_relative_to(here) else path).as_posix())


def ready_to_train(settings: "TrainingSettings") -> None:
    """Set up the process for training. cuBLAS must be set to deterministic mode before CUDA starts."""
    from modelreg.ml import determinism

    if settings.device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    determinism.tune_allocator()


def describe(settings: "TrainingSettings") -> "Environment":
    """Return the environment that the result of a training may depend on.

    Raises RegistryError if git refuses the repository: its commit is never left out silently.
    """
    from modelreg.records.run import Environment

    return Environment(
        modelreg=__version__,
        python=platform.python_version(),
        packages={name: found for name in RECORDED if (found := installed(name))},
        machine=platform.machine(),
        device=settings.device,
        threads=settings.threads,
        git=(state := git.state(Path.cwd())),
        git_absent=None if state else git.why_unknown(Path.cwd()),
    )


def installed(name: str) -> str | None:
    """Return the version of an installed package, or None."""
    from importlib.metadata import PackageNotFoundError, version  # 20 ms

    try:
        return version(name)
    except PackageNotFoundError:
        return None
