"""`modelreg doctor`: report the installation and its environment, without any secret."""

import platform
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelreg import __version__
from modelreg.cli import error_text, git, github_session, host
from modelreg.cli.console import draw, emit_json, table
from modelreg.errors import InputError, ModelregError

if TYPE_CHECKING:
    from modelreg.config import ProjectConfig

FREE = "free bytes"
ONLINE_S = 30.0  # the timeout for --online
_REQUIREMENT = re.compile(r"""(?P<name>[\w.-]+(\[\w+\])?)[^;]*(;.*extra == ["'](?P<of>\w+))?""")

Found = dict[str, Any]


def doctor(
    online: Annotated[
        bool, typer.Option("--online", help="Also query GitHub for the permissions of the token.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Show the installation, for a bug report.

    Shows versions, extras, the registry, the source of the GitHub token and the machine. Shows no secrets, and makes no
    network request without --online.

    Example: modelreg doctor
    """
    errors: list[ModelregError] = []
    project = _project(errors)
    report = {
        "installed": _installed(),
        "extras": _extras(),
        "registry": _registry(*project) if project else {"root": None},
        "github": {
            "api": _host(github_session.api_url()),
            "token": github_session.token_source(),
            **(_remote(*project, online=online, errors=errors) if project else {}),
        },
        "machine": _machine(project[0] if project else Path.cwd()),
    }
    if as_json:
        problems = [problem for error in errors for problem in error_text.document_of(error)["problems"]]
        emit_json({**report, "problems": problems})
    else:
        rows = [(area, *_cells(name, value)) for area, values in report.items() for name, value in values.items()]
        draw(table(("area", "item", "value"), rows, whole=("area", "item")), sys.stdout)
    for error in errors:
        raise error


def _installed() -> Found:
    """Return the versions of modelreg, Python and each installed package that an extra names."""
    names = sorted(
        {name for extra, named in _requirements().items() if extra != "dev" for name in named}, key=str.lower
    )
    packages = {name: version for name in names if (version := host.installed(name))}
    return {"modelreg": __version__, "python": platform.python_version(), **packages}


def _extras() -> Found:
    """Return for each extra whether it is complete, or its missing packages."""
    missing = {
        extra: [name for name in sorted(named) if host.installed(name) is None]
        for extra, named in _requirements().items()
    }
    return {extra: f"missing: {', '.join(names)}" if names else "complete" for extra, names in missing.items() if extra}


def _requirements() -> dict[str, set[str]]:
    """Return the packages of each extra, and under "" the packages that are always required."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        lines = requires("modelreg") or []
    except PackageNotFoundError:  # run from a source folder without an installation
        lines = []
    named: dict[str, set[str]] = {}
    for match in filter(None, map(_REQUIREMENT.match, lines)):
        named.setdefault(match["of"] or "", set()).add(match["name"])

    def whole(extra: str) -> set[str]:
        """Return the packages of an extra and of those inside it, such as modelreg[train]."""
        inner = re.findall(r"\[(\w+)\]", " ".join(named[extra]))
        return {name for name in named[extra] if "[" not in name}.union(*map(whole, inner))

    return {extra: whole(extra) for extra in named}


def _project(errors: list[ModelregError]) -> "tuple[Path, ProjectConfig] | None":
    """Return the registry repository around the working directory; None if it is missing or cannot be read."""
    from modelreg import config

    if config.find_project(Path.cwd()) is None:
        return None
    try:
        return host.project()
    except InputError as error:
        errors.append(error)
        return None


def _registry(root: Path, project: "ProjectConfig") -> Found:
    from modelreg.registry import versions

    models: dict[str, list[str]] = {}
    for folder in versions.version_folders(root):
        models.setdefault(folder.parent.name, []).append(folder.name)
    return {
        "root": str(root),
        "default model": project.default_model,
        "assets": project.assets,
        **{f"versions of {model}": versions for model, versions in models.items()},
        "interrupted releases": [problem.where for problem in versions.find_leftovers(root)],
    }


def _remote(root: Path, project: "ProjectConfig", *, online: bool, errors: list[ModelregError]) -> Found:
    """Return the repository for releases and, with `online`, the permissions of the token there."""
    try:
        name = github_session.repository(root, project)
    except ModelregError as error:  # git refuses the repository
        errors.append(error)
        return {"repository": None}
    if name is None or not online:
        return {"repository": name}
    try:
        with github_session.connect(root, project, ONLINE_S) as client:
            found = client.repository()
    except ModelregError as error:
        errors.append(error)
        return {"repository": name}
    scopes = found.scopes if found.scopes is not None else "not reported (fine-grained tokens have none)"
    return {"repository": name, "archived": found.archived, "the token may push": found.push, "token scopes": scopes}


def _host(url: str | None) -> str:
    """Return the host of an address, without a secret that may precede it."""
    return (github_session.hostname(url) or "?") if url else "api.github.com"


def _machine(root: Path) -> Found:
    cache = host.cache_folder()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "git": git.version(),
        FREE: shutil.disk_usage(root).free,
        "cache": str(cache) if cache else None,
    }


def _cells(name: str, value: Any) -> tuple[str, str]:
    """Return an item of the report as it is printed: its name and its value."""
    if name == FREE:
        return "free disk space", f"{value / 2**30:,.1f} GiB"
    if isinstance(value, bool):
        return name, "yes" if value else "no"
    if isinstance(value, list):
        value = ", ".join(value)
    return name, str(value or "none")
