"""`modelreg verify`."""

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelreg.cli import environment
from modelreg.cli.console import emit_json, note, say
from modelreg.errors import Problem, VerificationFailed

if TYPE_CHECKING:
    from modelreg.integrity import Findings
    from modelreg.records.export import HailoArch

REMOTE_S = 900.0  # in all, for comparing a release


def verify(
    reference: Annotated[
        str | None,
        typer.Argument(
            help="v0.2.0, model@v0.2.0, model@latest, or a version's folder; left out: the whole registry.",
            metavar="[REF]",
        ),
    ] = None,
    complete: Annotated[
        bool,
        typer.Option("--complete", help="An asset that is not on this machine is a failure, not a notice."),
    ] = False,
    remote: Annotated[
        bool, typer.Option("--remote", help="Compare its GitHub release too, by GitHub's digests; needs a REF.")
    ] = False,
    download: Annotated[
        bool, typer.Option("--download", help="With --remote: download every file and compare the bytes.")
    ] = False,
    device: Annotated[
        Literal["hailo8", "hailo8l"] | None,
        typer.Option(help="The version must hold a compiled network (HEF) that this device takes; needs a REF."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check everything that can be wrong with a version.

    All at once, writing nothing; offline, unless --remote is given.

    Example: modelreg verify conv2d_fsq@v0.1.0
    """
    from modelreg import integrity

    for name, given in (("--remote", remote), ("--device", device)):
        if given and reference is None:
            raise typer.BadParameter(f"{name} needs a version", param_hint=name)
    found = {_name(folder): integrity.inspect(folder, complete=complete) for folder in _folders(reference)}
    problems, notices = _around() if reference is None else ([], [])
    if remote and reference is not None:
        problems += _remote_problems(reference, download=download)
    if device and reference is not None:
        problems += _device_problems(reference, device)
    if as_json:
        emit_json(
            {
                "versions": [_document(name, findings) for name, findings in found.items()],
                "problems": [problem._asdict() for problem in problems],
                "notices": [notice._asdict() for notice in notices],
            }
        )
    else:
        _show(found, notices)
    broken = [Problem(f"{name}: {where}", what) for name, f in found.items() for where, what in f.problems]
    if broken or problems:
        raise VerificationFailed("verification failed", [*broken, *problems])


def _device_problems(reference: str, device: "HailoArch") -> list[Problem]:
    """Return why a device could not run a version."""
    from modelreg import attachment

    folder = environment.version_folder(reference)
    found = list(attachment.find_device_problems(folder, device))
    if not found:
        note(f"{_name(folder)}: holds a compiled network that a {device} takes")
    return [Problem(f"{_name(folder)}: {where}", what) for where, what in found]


def _remote_problems(reference: str, *, download: bool) -> list[Problem]:
    """Return where the published release of a version differs from it."""
    from modelreg import delivery
    from modelreg.cli.publish import wanted_release

    root, project = environment.project()
    wanted = wanted_release(root, project, environment.version_folder(reference))
    with environment.github(root, project, REMOTE_S) as client, TemporaryDirectory() as scratch:
        problems = delivery.find_remote_problems(client, wanted, Path(scratch) if download else None)
    if not problems:
        note(f"{wanted.tag}: the release on GitHub holds the same {len(wanted.assets)} files")
    return problems


def _folders(reference: str | None) -> list[Path]:
    from modelreg import registry

    if reference is not None:
        return [environment.version_folder(reference)]
    return list(registry.version_folders(environment.project()[0]))


def _around() -> tuple[list[Problem], list[Problem]]:
    """Return the problems and notices of the registry that are no one version's."""
    from modelreg import registry, release

    root, _ = environment.project()
    return [*registry.find_strays(root), *release.find_table_problems(root)], list(registry.find_leftovers(root))


def _name(folder: Path) -> str:
    return f"{folder.parent.name}@{folder.name}"


def _show(found: "dict[str, Findings]", general: Iterable[Problem]) -> None:
    for notice in general:
        note(f"notice: {notice}")
    for name, findings in found.items():
        for where, what in findings.notices:
            note(f"notice: {name}: {where}: {what}")
        if not findings.problems:
            say(f"{name}: {findings.files} files verified")
    if not found:
        say("the registry holds no version; make one with: modelreg release v0.1.0")


def _document(name: str, findings: "Findings") -> dict[str, object]:
    return {
        "version": name,
        "files": findings.files,
        "problems": [problem._asdict() for problem in findings.problems],
        "notices": [notice._asdict() for notice in findings.notices],
    }
