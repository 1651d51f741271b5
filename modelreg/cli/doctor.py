"""`modelreg doctor`: what is installed, and what it finds around it. No secret is ever part of it."""

import platform
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from modelreg import __version__
from modelreg.cli import git, github_session, host
from modelreg.cli.console import draw, emit_json, table
from modelreg.errors import InputError, ModelregError

if TYPE_CHECKING:
    from modelreg.config import ProjectConfig

ONLINE_S = 30.0  # in all, for asking the server
_REQUIREMENT = re.compile(r"""(?P<name>[\w.-]+(\[\w+\])?)[^;]*(;.*extra == ["'](?P<of>\w+))?""")

Found = dict[str, Any]


def doctor(
    online: Annotated[bool, typer.Option("--online", help="Ask the server what the token may do, once.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what is installed, which extras, which registry, which token: what a report of a fault needs.

    Nothing secret is shown. Nobody is asked anything, but for --online.

    Example: modelreg doctor --json
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
        emit_json({**report, "problems": [problem._asdict() for error in errors for problem in error.problems]})
    else:
        rows = [(part, name, _words(value)) for part, values in report.items() for name, value in values.items()]
        draw(table(("about", "what", "found"), rows), sys.stdout)
    for error in errors:
        raise error


def _installed() -> Found:
    """Return the versions of modelreg, of Python, and of every package that it works with and that is here."""
    names = sorted(
        {name for extra, named in _requirements().items() if extra != "dev" for name in named}, key=str.lower
    )
    packages = {name: version for name in names if (version := host.installed(name))}
    return {"modelreg": __version__, "python": platform.python_version(), **packages}


def _extras() -> Found:
    """Return of each extra whether it is complete, or what it lacks."""
    lacking = {
        extra: [name for name in sorted(named) if host.installed(name) is None]
        for extra, named in _requirements().items()
    }
    return {extra: f"lacks {', '.join(names)}" if names else "complete" for extra, names in lacking.items() if extra}


def _requirements() -> dict[str, set[str]]:
    """Return the packages that each extra names, and under "" those of every installation."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        lines = requires("modelreg") or []
    except PackageNotFoundError:  # run from a folder, without being installed
        lines = []
    named: dict[str, set[str]] = {}
    for match in filter(None, map(_REQUIREMENT.match, lines)):
        named.setdefault(match["of"] or "", set()).add(match["name"])

    def whole(extra: str) -> set[str]:
        """An extra may take in another one: modelreg[train]."""
        inner = re.findall(r"\[(\w+)\]", " ".join(named[extra]))
        return {name for name in named[extra] if "[" not in name}.union(*map(whole, inner))

    return {extra: whole(extra) for extra in named}


def _project(errors: list[ModelregError]) -> "tuple[Path, ProjectConfig] | None":
    """Return the registry repository around the working directory; None where there is none that can be read."""
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
    """Return where versions are published to; online, what the server says that the token may do there."""
    name = github_session.repository(root, project)
    if name is None or not online:
        return {"repository": name}
    try:
        with github_session.connect(root, project, ONLINE_S) as client:
            told = client.repository()
    except ModelregError as error:
        errors.append(error)
        return {"repository": name}
    scopes = told.scopes if told.scopes is not None else "not told (fine-grained tokens have none)"
    return {"repository": name, "archived": told.archived, "the token may push": told.push, "token scopes": scopes}


def _host(url: str | None) -> str:
    """Return the host of an address, without whatever secret may stand before it."""
    return (urlsplit(url).hostname or "?") if url else "api.github.com"


def _machine(root: Path) -> Found:
    cache = host.cache_folder()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "git": git.version(),
        "free bytes": shutil.disk_usage(root).free,
        "cache": str(cache) if cache else None,
    }


def _words(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return "none" if value is None else str(value)
