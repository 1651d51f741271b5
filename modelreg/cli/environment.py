"""What enters from outside: the time, the environment, git, what is installed. Nothing else reads them."""

import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from time import monotonic, sleep
from typing import TYPE_CHECKING

from modelreg import __version__
from modelreg.errors import InputError, Problem, RegistryError

if TYPE_CHECKING:
    from modelreg.config import ProjectConfig, TrainingSettings
    from modelreg.data.reading import Reading
    from modelreg.github import Client, Secret
    from modelreg.records.run import Environment, GitState

EXPORT = ("torch", "onnx", "onnxsim", "onnxscript", "onnxruntime", "pandas")  # what the extra [export] must have
RECORDED = ("numpy", "scipy", "torch", "safetensors")


def now() -> str:
    """Return the time as ISO 8601 UTC, to the second. SOURCE_DATE_EPOCH, where it is set, is the time."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        moment = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    except (ValueError, OverflowError, OSError) as error:
        what = "must be seconds since 1970, as a whole number"
        raise InputError("bad environment", [Problem(f"SOURCE_DATE_EPOCH={epoch}", what)]) from error
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def need_extra(extra: str, *modules: str) -> None:
    """Raise InputError where a module of an extra is not installed, naming the command that installs it."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise InputError(f"{', '.join(missing)} not installed; pip install 'modelreg[{extra}]'")


def project() -> tuple[Path, "ProjectConfig"]:
    """Return the registry repository around the working directory. Raises InputError where there is none."""
    from modelreg import config

    root = config.find_project(Path.cwd())
    if root is None:
        what = "no modelreg.yaml here or above; make a registry repository with `modelreg init`"
        raise InputError("not in a registry repository", [Problem(str(Path.cwd()), what)])
    return root, config.load(root / config.PROJECT_FILE, config.ProjectConfig)


def version_folder(reference: str) -> Path:
    """Return the folder of a reference or of a path, as it was typed. Raises RegistryError."""
    from modelreg import registry, runs

    if "/" not in reference and not Path(reference).is_dir():
        root, settings = project()
        return registry.resolve(reference, root, settings.default_model)
    folder = Path(os.path.abspath(reference))  # noqa: PTH100 Path.absolute() keeps `..`, resolve() follows links
    if not folder.is_dir():
        raise RegistryError("unknown version", [Problem(reference, "no such folder")])
    if (folder / runs.CONFIG).exists():  # a version states its configuration in its provenance
        what = "is a run, not a version; make a version of it with `modelreg release`"
        raise RegistryError("unknown version", [Problem(reference, what)])
    return folder


def workplace() -> Path:
    """Return the folder that holds `runs/`: the registry repository's root, else the working directory."""
    from modelreg import config

    return config.find_project(Path.cwd()) or Path.cwd()


@contextmanager
def reading(base: Path | None = None) -> Iterator["Reading"]:
    """Yield how recordings are read here: kept in MODELREG_CACHE, else ~/.cache/modelreg; `off` keeps nothing."""
    from modelreg.cli.console import note
    from modelreg.cli.progress import show_reading
    from modelreg.data.reading import Reading

    named = os.environ.get("MODELREG_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = None if named == "off" else Path(named or Path(home) / "modelreg")
    with show_reading(sys.stderr, monotonic) as tell:
        yield Reading(base or workplace(), cache, tell, lambda problem: note(f"notice: {problem}"))


def next_version(model: str) -> str:
    """Return the version that a release would take next."""
    from modelreg import registry

    newest = [folder.name for folder in registry.version_folders(workplace(), model)][-1:]
    return f"v{registry.parse_version(newest[0]).bump_minor()}" if newest else "v0.1.0"


def shown(path: Path) -> str:
    """Return a path as a user would type it here, quoted for the shell."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def make_cuda_repeatable() -> None:
    """Ask cuBLAS for the same bits on every run; it must be told before CUDA starts."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def describe(settings: "TrainingSettings") -> "Environment":
    """Return what a training's result may depend on."""
    from modelreg.records.run import Environment

    return Environment(
        modelreg=__version__,
        python=platform.python_version(),
        packages={name: found for name in RECORDED if (found := _installed(name))},
        machine=platform.machine(),
        device=settings.device,
        threads=settings.threads,
        git=git_state(Path.cwd()),
    )


def git_state(folder: Path) -> "GitState | None":
    """Return the commit a folder is at, or None where there is no repository, commit or git."""
    from modelreg.records.run import GitState

    commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    if commit is None:
        return None
    return GitState(commit=commit.strip(), dirty=bool(_git(folder, "status", "--porcelain")))


def git_changes(root: Path) -> tuple[str, ...]:
    """Return the paths, relative to `root`, that differ from the commit or are new and not ignored."""
    text = _git(root, "status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--", ".") or ""
    prefix = (_git(root, "rev-parse", "--show-prefix") or "").strip()
    return tuple(entry[3:].removeprefix(prefix) for entry in text.split("\0") if entry)


def git_tags(root: Path) -> frozenset[str]:
    """Return the names of all tags."""
    return frozenset((_git(root, "tag", "--list") or "").split())


def git_identity_problem(root: Path) -> str | None:
    """Return in git's words why it could not commit here, or None where it could."""
    done = _run_git(root, "var", "GIT_COMMITTER_IDENT")
    lines = done.stderr.strip().splitlines() if done and done.returncode else []
    return lines[-1].removeprefix("fatal: ") if lines else None


def git_ignored(root: Path, paths: Sequence[Path]) -> frozenset[str]:
    """Return the names of those paths, existing or not, that git ignores."""
    done = _run_git(root, "check-ignore", "--", *map(str, paths))
    return frozenset(Path(line).name for line in done.stdout.splitlines()) if done else frozenset()


def git_commit(root: Path, paths: tuple[str, ...], message: str) -> None:
    """Commit exactly these paths. Raises RegistryError with git's own words."""
    _git_must(root, "add", "--", *paths)
    _git_must(root, "commit", "--quiet", "--message", message, "--", *paths)


def git_tag(root: Path, tag: str, message: str, path: str) -> None:
    """Make an annotated tag at the commit that last changed `path`. Raises RegistryError with git's own words."""
    commit = (_git(root, "log", "--max-count=1", "--format=%H", "--", path) or "").strip()
    _git_must(root, "tag", "--annotate", "--message", message, tag, commit or "HEAD")


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints, or None where it fails or is not installed."""
    done = _run_git(folder, *arguments)
    return done.stdout if done and done.returncode == 0 else None


def _run_git(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str] | None":
    """Run git in a folder; None where it is not installed."""
    try:
        return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None


def _git_must(folder: Path, *arguments: str) -> None:
    done = _run_git(folder, *arguments)
    if done is None or done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()) if done else "git is not installed"
        problem = Problem(f"git {arguments[0]}", words)
        raise RegistryError("git refused; mend it and type the same command again: it goes on from here", [problem])


def _installed(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # 20 ms

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def git_push_tag(root: Path, tag: str) -> None:
    """Push one tag to `origin`. Raises RegistryError with git's own words."""
    _git_must(root, "push", "--quiet", "origin", f"refs/tags/{tag}")


# GitHub


@contextmanager
def github(root: Path, project: "ProjectConfig", total_s: float) -> Iterator["Client"]:
    """Yield a session with the repository's server. Raises InputError where no repository is known."""
    from modelreg import github as remote

    name = project.repository or _origin(root)
    if name is None:
        what = "name it in modelreg.yaml (`repository: owner/name`), or add a git remote `origin` on GitHub"
        raise InputError("no repository to publish to", [Problem(str(root), what)])
    api = os.environ.get("GITHUB_API_URL") or remote.API
    own = os.environ.get("SSL_CERT_FILE") or os.environ.get("REQUESTS_CA_BUNDLE")
    server = remote.Server(name, _token(), monotonic, sleep, api, total_s, own)
    with remote.Client(server) as client:
        yield client


def _token() -> "Secret | None":
    """Return the token of GITHUB_TOKEN, GH_TOKEN or `gh auth token`; None where there is none."""
    from modelreg.github import Secret

    text = os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN")
    if not text and which("gh"):
        done = subprocess.run(["gh", "auth", "token"], capture_output=True, text=True, check=False)
        text = done.stdout.strip() if done.returncode == 0 else None
    return Secret(text) if text else None


def _origin(root: Path) -> str | None:
    """Return owner/name of the remote `origin`, where it is a repository's address."""
    url = (_git(root, "remote", "get-url", "origin") or "").strip()
    match = re.search(r"[/:]([A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+?)(\.git)?/?$", url)
    return match[1] if match and ("://" in url or "@" in url) else None


def git_tag_object(root: Path, tag: str) -> str | None:
    """Return the object that a tag names, as GitHub tells it; None where there is no such tag."""
    found = _git(root, "rev-parse", "--verify", "--quiet", f"refs/tags/{tag}")
    return found.strip() if found else None
