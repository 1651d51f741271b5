"""`modelreg promote`, `rollback`, `history`: what aliases name, and what they named."""

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

Alias = Annotated[str, typer.Argument(help="Small letters, digits, - and _: production, canary.", metavar="ALIAS")]
By = Annotated[str | None, typer.Option("--by", help="Who moves it; left out: as git knows you.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def promote(
    reference: Annotated[str, typer.Argument(help="v0.2.0, model@v0.2.0 or model@latest.", metavar="REF")],
    alias: Alias,
    why: Annotated[str, typer.Option(help="Why, in a sentence: it stays in the history.")],
    by: By = None,
    as_json: Json = False,
) -> None:
    """Let an alias name a version, which must verify.

    Commands then take model@alias wherever they take a version.

    Example: modelreg promote conv2d_fsq@v0.2.0 production --why "passed the field trial"
    """
    from modelreg.registry import aliases
    from modelreg.verification import integrity

    root, _ = host.project()
    folder = host.version_folder(reference)
    if folder != root / filenames.REGISTRY / folder.parent.name / folder.name:
        raise RegistryError("cannot promote", [Problem(reference, "todo.aliases", "is no version of this registry")])
    if problems := integrity.inspect(folder).problems:
        raise VerificationFailed(f"{folder.parent.name}@{folder.name} does not verify", problems)
    stamp, version = _stamp(by, why), folder.name.removeprefix("v")
    _change(root, folder.parent.name, alias, lambda log: aliases.promoted(log, alias, version, stamp), as_json=as_json)


def rollback(
    model: Annotated[str, typer.Argument(help="The model.", metavar="MODEL")],
    alias: Alias,
    why: Annotated[str | None, typer.Option(help="Why, in a sentence: it stays in the history.")] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Let an alias name again what it named before its last promotion.

    Typed again, it goes one promotion further back. Nothing is taken out of the history.

    Example: modelreg rollback conv2d_fsq production --why "misses trotting in the rain"
    """
    from modelreg.registry import aliases

    root, _ = host.project()
    stamp = _stamp(by, why)
    _change(root, model, alias, lambda log: aliases.rolled_back(log, alias, stamp), as_json=as_json)


def history(
    model: Annotated[
        str | None, typer.Argument(help="The model; left out: the default model.", metavar="[MODEL]")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the changes of a model's aliases: when, from what to what, who and why.

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
        say(f"{name} has no alias yet; give it one with: modelreg promote {name}@latest ALIAS --why TEXT")
    else:
        columns = ("when", "alias", "from", "to", "by", "why")
        draw(table(columns, [_row(change) for change in log.changes]), sys.stdout)
        say(", ".join(f"{alias}: v{versions[-1]}" for alias, versions in log.standing.items()))


def _stamp(by: str | None, why: str | None) -> "Stamp":
    from modelreg.registry.aliases import Stamp

    return Stamp(by or git.author(host.project()[0]), host.now(), why)


def _change(root: Path, model: str, alias: str, move: Callable[["AliasLog"], "AliasLog"], *, as_json: bool) -> None:
    """Move an alias and print what it names now."""
    from modelreg.registry import aliases

    log, moved = aliases.change(root, model, move)
    version = log.standing[alias][-1]
    if as_json:
        emit_json({"model": model, "alias": alias, "version": version, "moved": moved})
        return
    say(f"{model}@{alias} is v{version}{'' if moved else ' already'}")
    if moved:
        note(f"commit {filenames.REGISTRY}/{model}/{filenames.ALIASES}, so that others see it")


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
