"""`modelreg verify`."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelreg.cli import host
from modelreg.cli.console import emit_json, note, say
from modelreg.cli.reproduce import reproduced
from modelreg.errors import InputError, Problem, VerificationFailed
from modelreg.registry import filenames

if TYPE_CHECKING:
    from modelreg.records.export import HailoArch
    from modelreg.release.github.client import Client
    from modelreg.verification.integrity import Findings
    from modelreg.verification.keys import PublicKey

REMOTE_S = 900.0  # in all, for comparing a release
EMPTY = "the registry holds no version; make one with: modelreg release v0.1.0"


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
    key: Annotated[
        Path | None, typer.Option(help="A public key (PEM), of which every version checked must hold the signature.")
    ] = None,
    changed: Annotated[
        bool, typer.Option("--changed", help="Only the versions that differ from git's last commit, or are gone.")
    ] = False,
    device: Annotated[
        Literal["hailo8", "hailo8l"] | None,
        typer.Option(help="The version must hold a compiled network (HEF) that this device takes; needs a REF."),
    ] = None,
    reproduce: Annotated[
        bool, typer.Option("--reproduce", help="Predict and measure again, from the weights and the data; needs a REF.")
    ] = False,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="As --reproduce; and train again from the recorded configuration.")
    ] = False,
    data_folder: Annotated[
        Path | None,
        typer.Option("--data", help="With --reproduce: the folder of the recordings, or the one that holds it."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check everything that can be wrong with a version.

    All at once, writing nothing; offline, unless --remote is given.

    Example: modelreg verify conv2d_fsq@v0.1.0
    """
    single = {"--remote": remote, "--device": device, "--reproduce": reproduce, "--retrain": retrain}
    _refuse_misuse(reference, [name for name, given in single.items() if given], changed=changed)
    signer = _public_key(key) if key else None
    folders, removed = _changed() if changed else (_folders(reference), [])
    found = {_name(folder): _inspect(folder, signer, complete=complete) for folder in folders}
    if reproduce or retrain:
        found = {
            _name(folder): reproduced(folder, found[_name(folder)], data_folder, retrain=retrain) for folder in folders
        }
    problems, notices = _around() if reference is None and (found or not changed) else ([], [])
    problems += removed
    if reference is not None:
        problems += _remote_problems(reference, signer, download=download) if remote else []
        problems += _device_problems(reference, device) if device else []
    if as_json:
        emit_json(
            {
                "versions": [_document(name, findings) for name, findings in found.items()],
                "problems": [problem._asdict() for problem in problems],
                "notices": [notice._asdict() for notice in notices],
            }
        )
    else:
        _show(found, notices, "no version differs from the last commit" if changed else EMPTY)
    broken = [Problem(f"{name}: {where}", what) for name, f in found.items() for where, what in f.problems]
    if broken or problems:
        raise VerificationFailed("verification failed", [*broken, *problems])


def _refuse_misuse(reference: str | None, of_one: list[str], *, changed: bool) -> None:
    """Raise BadParameter where options do not go together; `of_one` are the given ones that need a version."""
    if of_one and reference is None:
        raise typer.BadParameter("needs a version to look at", param_hint=", ".join(of_one))
    if changed and reference is not None:
        raise typer.BadParameter("--changed finds the versions itself", param_hint="--changed")


def _device_problems(reference: str, device: "HailoArch") -> list[Problem]:
    """Return why a device could not run a version."""
    from modelreg.artifacts import attach_hef

    folder = host.version_folder(reference)
    found = list(attach_hef.find_device_problems(folder, device))
    if not found:
        note(f"{_name(folder)}: holds a compiled network that a {device} takes")
    return [Problem(f"{_name(folder)}: {where}", what) for where, what in found]


def _public_key(path: Path) -> "PublicKey":
    from modelreg.verification import keys

    return keys.load_public(path)


def _inspect(folder: Path, key: "PublicKey | None", *, complete: bool) -> "Findings":
    """Return what is found of a version, of its signature too where there is a key to hold it against."""
    from modelreg.verification import integrity

    findings = integrity.inspect(folder, complete=complete)
    if key is not None:
        return _with_signature(folder, findings, key)
    unread = [Problem(filenames.SIGNATURE, "was not checked; give the signer's public key with --key")]
    signed = (folder / filenames.SIGNATURE).exists()
    return replace(findings, notices=(*findings.notices, *unread)) if signed else findings


def _with_signature(folder: Path, findings: "Findings", key: "PublicKey") -> "Findings":
    """Add what is wrong with the signature of a version, or whose it is and how far it reaches."""
    from modelreg.verification import keys, signing

    if problems := tuple(signing.find_problems(folder, key)):
        return replace(findings, problems=(*findings.problems, *problems))
    reach = "every file"
    if absent := len(findings.notices):
        reach = f"every file; of the {absent} that are not on this machine it proves the digest, not the bytes"
    signed = Problem(filenames.SIGNATURE, f"{keys.fingerprint(key)} signed {reach}")
    return replace(findings, notices=(*findings.notices, signed))


def _remote_problems(reference: str, key: "PublicKey | None", *, download: bool) -> list[Problem]:
    """Return where the published release of a version differs from it; with a key, what its signature lacks."""
    from modelreg.cli.publish_checks import wanted_release
    from modelreg.release.github import publish

    root, project = host.project()
    folder = host.version_folder(reference)
    wanted = wanted_release(root, project, folder)
    with host.github(root, project, REMOTE_S) as client, TemporaryDirectory() as scratch:
        problems = publish.find_remote_problems(client, wanted, Path(scratch) if download else None)
        if key is not None:
            problems += _published_signature_problems(client, wanted.tag, folder, key, Path(scratch))
    if not problems:
        note(f"{wanted.tag}: the release on GitHub holds the same {len(wanted.assets)} files")
    return problems


def _published_signature_problems(
    client: "Client", tag: str, folder: Path, key: "PublicKey", scratch: Path
) -> list[Problem]:
    """Return what is wrong with the signature that the release itself carries."""
    from modelreg import files
    from modelreg.registry import versions
    from modelreg.release.github import plan, publish
    from modelreg.verification import signing

    manifest = files.read_bytes(folder / filenames.MANIFEST)
    version = versions.read(folder).manifest
    name = plan.asset_name(version.model, version.version, filenames.SIGNATURE)
    bundle = publish.published_file(client, tag, name, scratch)
    if bundle is None:
        return [Problem(name, f"is not in the release; `modelreg publish {_name(folder)}` adds the signature")]
    return list(signing.find_signature_problems(bundle, signing.digests_of(manifest), key))


def _folders(reference: str | None) -> list[Path]:
    from modelreg.registry import versions

    if reference is not None:
        return [host.version_folder(reference)]
    return list(versions.version_folders(host.project()[0]))


def _changed() -> tuple[list[Path], list[Problem]]:
    """Return the versions that differ from the last commit, and those of it that are gone. Raises InputError."""
    from modelreg.registry import versions

    root, _ = host.project()
    if not host.is_repository(root):
        raise InputError("--changed asks git", [Problem(str(root), "is no git repository, or git is not installed")])
    parts = [PurePosixPath(path).parts for path in host.git_changes(root)]
    places = sorted({path[:3] for path in parts if len(path) > 3 and path[0] == filenames.REGISTRY})
    there = [folder for folder in versions.version_folders(root) if folder.relative_to(root).parts in places]
    gone = [
        f"{model}@{version}"
        for _, model, version in places
        if not (root / filenames.REGISTRY / model / version).exists()
    ]
    return there, [Problem(name, "was removed, but a version never changes") for name in gone]


def _around() -> tuple[list[Problem], list[Problem]]:
    """Return the problems and notices of the registry that are no one version's."""
    from modelreg.registry import aliases, versions
    from modelreg.release import plan

    root, _ = host.project()
    problems = [*versions.find_strays(root), *plan.find_table_problems(root), *aliases.find_problems(root)]
    return problems, list(versions.find_leftovers(root))


def _name(folder: Path) -> str:
    return f"{folder.parent.name}@{folder.name}"


def _show(found: "dict[str, Findings]", general: Iterable[Problem], empty: str) -> None:
    for notice in general:
        note(f"notice: {notice}")
    for name, findings in found.items():
        for where, what in findings.notices:
            note(f"notice: {name}: {where}: {what}")
        if not findings.problems:
            say(f"{name}: {findings.files} files verified")
    if not found:
        say(empty)


def _document(name: str, findings: "Findings") -> dict[str, object]:
    return {
        "version": name,
        "files": findings.files,
        "problems": [problem._asdict() for problem in findings.problems],
        "notices": [notice._asdict() for notice in findings.notices],
    }
