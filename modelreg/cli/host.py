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
from urllib.parse import urlsplit

from modelreg import __version__
from modelreg.errors import InputError, Problem, RegistryError
from modelreg.registry import filenames

if TYPE_CHECKING:
    from modelreg.config import ProjectConfig, TrainingSettings
    from modelreg.data.cache import Reading
    from modelreg.records.latency import Hardware
    from modelreg.records.run import Environment, GitState
    from modelreg.release.github.client import Client
    from modelreg.release.github.http_client import Secret

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
    from modelreg.registry import versions

    if "/" not in reference and not Path(reference).is_dir():
        root, settings = project()
        return versions.resolve(reference, root, settings.default_model)
    folder = Path(os.path.abspath(reference))  # noqa: PTH100 Path.absolute() keeps `..`, resolve() follows links
    if not folder.is_dir():
        raise RegistryError("unknown version", [Problem(reference, "no such folder")])
    if (folder / filenames.CONFIG).exists():  # a version states its configuration in its provenance
        what = "is a run, not a version; make a version of it with `modelreg release`"
        raise RegistryError("unknown version", [Problem(reference, what)])
    return folder


def runnable(reference: str) -> Path:
    """Return the place of an export: a version by its reference, or the path of one, of a run or of a bundle.

    Raises RegistryError.
    """
    from modelreg.registry import versions

    path = Path(reference)
    if path.exists() or "/" in reference:
        if not path.exists():
            raise RegistryError("nothing to run", [Problem(reference, "no such file or folder")])
        return path.resolve()
    root, settings = project()
    return versions.resolve(reference, root, settings.default_model)


def hardware() -> "Hardware":
    """Return the machine that this runs on."""
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
    """Return the versions of what a benchmark's figures depend on."""
    found = {name: installed(name) for name in ("numpy", "onnxruntime", "hailort")}
    return {"modelreg": __version__, "python": platform.python_version(), **{n: v for n, v in found.items() if v}}


def workplace() -> Path:
    """Return the folder that holds `runs/`: the registry repository's root, else the working directory."""
    from modelreg import config

    return config.find_project(Path.cwd()) or Path.cwd()


@contextmanager
def reading(base: Path | None = None) -> Iterator["Reading"]:
    """Yield how recordings are read here: kept in MODELREG_CACHE, else ~/.cache/modelreg; `off` keeps nothing."""
    from modelreg.cli.console import note
    from modelreg.cli.progress import show_reading
    from modelreg.data.cache import Reading

    with show_reading(sys.stderr, monotonic) as tell:
        yield Reading(base or workplace(), cache_folder(), tell, lambda problem: note(f"notice: {problem}"))


def cache_folder() -> Path | None:
    """Return where what is read is kept; None where nothing is."""
    named = os.environ.get("MODELREG_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return None if named == "off" else Path(named or Path(home) / "modelreg")


def exports_of(version: Path) -> Path:
    """Return where the exports of a version go: beside the registry, for a version never changes."""
    return workplace() / "dist" / f"{version.parent.name}-{version.name}"


def next_version(model: str) -> str:
    """Return the version that a release would take next."""
    from modelreg.registry import versions

    newest = [folder.name for folder in versions.version_folders(workplace(), model)][-1:]
    return f"v{versions.parse_version(newest[0]).bump_minor()}" if newest else "v0.1.0"


def shown(path: Path) -> str:
    """Return a path as a user would type it here, quoted for the shell."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def ready_to_train(settings: "TrainingSettings") -> None:
    """Set what a training needs of the whole process; cuBLAS must be asked for the same bits before CUDA starts."""
    from modelreg.ml import determinism

    if settings.device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    determinism.tune_allocator()


def describe(settings: "TrainingSettings") -> "Environment":
    """Return what a training's result may depend on."""
    from modelreg.records.run import Environment

    return Environment(
        modelreg=__version__,
        python=platform.python_version(),
        packages={name: found for name in RECORDED if (found := installed(name))},
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


def is_repository(folder: Path) -> bool:
    """Say whether a folder lies in a git repository, and git is there to tell."""
    return _git(folder, "rev-parse", "--git-dir") is not None


def git_version() -> str | None:
    """Return the version of git; None where it is not installed."""
    return (_git(Path.cwd(), "version") or "").removeprefix("git version ").strip() or None


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


def author(root: Path) -> str:
    """Return who works here, as git knows it: `Name <mail>`. Raises InputError where it does not."""
    ident = _git(root, "var", "GIT_AUTHOR_IDENT")
    if ident is None:
        what = "git does not know your name; set it with `git config user.name` and `user.email`, or give --by"
        raise InputError("who are you?", [Problem("--by", what)])
    return ident.rsplit(maxsplit=2)[0]


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


def installed(name: str) -> str | None:
    """Return the version of a package that is installed, None where it is not."""
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
    from modelreg.release.github import client as remote
    from modelreg.release.github import http_client

    name = repository(root, project)
    if name is None:
        what = "name it in modelreg.yaml (`repository: owner/name`), or add a git remote `origin` on GitHub"
        raise InputError("no repository to publish to", [Problem(str(root), what)])
    api = api_url() or http_client.API
    own = os.environ.get("SSL_CERT_FILE") or os.environ.get("REQUESTS_CA_BUNDLE")
    server = http_client.Server(name, _token(api), monotonic, sleep, api, total_s, own)
    with remote.Client(server) as client:
        yield client


def repository(root: Path, project: "ProjectConfig") -> str | None:
    """Return owner/name of the repository that versions are published to; None where none is known."""
    return project.repository or _origin(root)


def api_url() -> str | None:
    """Return the address of the server's API, where it is not GitHub's own."""
    return os.environ.get("GITHUB_API_URL")


def token_source() -> str | None:
    """Return where the token would come from, never the token; None where there is none."""
    from modelreg.release.github import http_client

    return _token_found(api_url() or http_client.API)[0]


def _token(api: str) -> "Secret | None":
    """Return the token of GITHUB_TOKEN, GH_TOKEN, or gh's own for the API's host; None where there is none."""
    from modelreg.release.github.http_client import Secret

    _, text = _token_found(api)
    return Secret(text) if text else None


def _token_found(api: str) -> tuple[str, str] | tuple[None, None]:
    for name in ("GITHUB_TOKEN", "GH_TOKEN"):
        if text := os.environ.get(name):
            return name, text
    if which("gh"):
        host = (urlsplit(api).hostname or "").removeprefix("api.")  # that of github.com goes to no other
        command = ["gh", "auth", "token", "--hostname", host]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip():
            return "gh auth token", done.stdout.strip()
    return None, None


def _origin(root: Path) -> str | None:
    """Return owner/name of the remote `origin`, where it is a repository's address."""
    url = (_git(root, "remote", "get-url", "origin") or "").strip()
    match = re.search(r"[/:]([A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+?)(\.git)?/?$", url)
    return match[1] if match and ("://" in url or "@" in url) else None


def git_tag_commit(root: Path, tag: str) -> str | None:
    """Return the commit that a tag names; None where there is no such tag."""
    found = _git(root, "rev-parse", "--verify", "--quiet", f"refs/tags/{tag}^{{commit}}")
    return found.strip() if found else None
