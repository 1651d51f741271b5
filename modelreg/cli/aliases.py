"""`modelreg promote`, `rollback` and `history`: move aliases and list their changes."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelreg.cli import git, host
from modelreg.cli.console import draw, emit_json, note, say, table
from modelreg.errors import Problem, RegistryError, VerificationFailed
from modelreg.registry import filenames

if TYPE_CHECKING:
    from modelreg.records.aliases import AliasChange, AliasLog
    from modelreg.registry.aliases import Stamp

Alias = Annotated[str, typer.Argument(help="Name of lowercase letters, digits, - and _.", metavar="ALIAS")]
By = Annotated[
    str | None, typer.Option("--by", help="Author.", metavar="NAME", show_default="git user.name and user.email")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def promote(
    reference: Annotated[
        str, typer.Argument(help="Version: v0.2.0, MODEL@v0.2.0, MODEL@latest or a tag.", metavar="REF")
    ],
    alias: Alias,
    why: Annotated[str, typer.Option(help="Reason, recorded in the history.", metavar="TEXT")],
    by: By = None,
    as_json: Json = False,
) -> None:
    """Point an alias to a version.

    The version is verified first. Every command that accepts a version also accepts MODEL@ALIAS.

    Example: modelreg promote v0.1.0 production --why "passed the field trial"
    """
    from modelreg.registry import aliases, versions
    from modelreg.verification import integrity

    root, _ = host.project()
    folder = host.version_folder(reference)
    if folder != root / filenames.REGISTRY / folder.parent.name / folder.name:
        message = f"is not a version of the registry in {host.shown(root)}"
        raise RegistryError("cannot promote", [Problem(reference, "alias.version-elsewhere", message)])
    stamp, model, version = _stamp(by, why), folder.parent.name, folder.name.removeprefix("v")
    aliases.promoted(
        versions.aliases(root, model), alias, version, stamp
    )  # refuses a bad alias before files are hashed
    if problems := integrity.inspect(folder).problems:
        raise VerificationFailed(f"{model}@{folder.name} does not verify; the alias was not moved", problems)
    _change(root, model, alias, lambda log: aliases.promoted(log, alias, version, stamp), as_json=as_json)


def rollback(
    model: Annotated[str, typer.Argument(help="Model name.", metavar="MODEL")],
    alias: Alias,
    why: Annotated[str | None, typer.Option(help="Reason, recorded in the history.", metavar="TEXT")] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Move an alias back to its previous version.

    Each further call goes back one more promotion. The history keeps every change.

    Example: modelreg rollback conv2d_fsq production --why "misses trotting in the rain"
    """
    from modelreg.registry import aliases

    root, _ = host.project()
    stamp = _stamp(by, why)
    _change(root, model, alias, lambda log: aliases.rolled_back(log, alias, stamp), as_json=as_json)


def history(
    model: Annotated[
        str | None, typer.Argument(help="Model name.", metavar="[MODEL]", show_default="the default model")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the changes of a model's aliases.

    Each line shows the time, the alias, the version before and after, the author and the reason.

    Example: modelreg history conv2d_fsq
    """
    from modelreg.registry import versions

    root, project = host.project()
    name = model or project.default_model
    versions.refuse_unknown_model(root, name)
    log = versions.aliases(root, name)
    if as_json:
        emit_json(log.to_document())
    elif not log.changes:
        say(f"{name} has no aliases")
        say(f"next: modelreg promote {name}@latest ALIAS --why TEXT")
    else:
        columns = ("when", "alias", "from", "to", "by", "why")
        draw(table(columns, [_row(change) for change in log.changes]), sys.stdout)
        say(", ".join(f"{alias}: v{versions[-1]}" for alias, versions in log.standing.items()))


def _stamp(by: str | None, why: str | None) -> "Stamp":
    from modelreg.registry.aliases import Stamp

    return Stamp(by or git.author(host.project()[0]), host.now(), why)


def _change(root: Path, model: str, alias: str, move: Callable[["AliasLog"], "AliasLog"], *, as_json: bool) -> None:
    """Move an alias and print its version."""
    from modelreg.registry import aliases

    log, moved = aliases.change(root, model, move)
    version = log.standing[alias][-1]
    if as_json:
        emit_json({"model": model, "alias": alias, "version": version, "moved": moved})
        return
    say(f"{model}@{alias} is v{version}{'' if moved else ' already'}")
    if moved:
        note(f"next: git add {filenames.REGISTRY}/{model}/{filenames.ALIASES}")


def _row(change: "AliasChange") -> tuple[str, ...]:
    before = f"v{change.previous}" if change.previous else "-"
    why = change.why or "-"
    return (
        change.at[:16].replace("T", " "),
        change.alias,
        before,
        f"v{change.version}",
        change.by,
        f"rolled back: {why}" if change.action == "rollback" else why,
    )
