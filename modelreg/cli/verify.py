"""`modelreg verify`."""

from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelreg.cli import git, github_session, host
from modelreg.cli.console import emit_json, listed, note, note_all, say
from modelreg.cli.reproduce import reproducer
from modelreg.errors import InputError, ModelregError, Notice, Problem, RegistryError, VerificationFailed
from modelreg.registry import filenames

if TYPE_CHECKING:
    from modelreg.records.export import HailoArch
    from modelreg.registry.version_notes import VersionNotes
    from modelreg.verification.keys import PublicKey
    from modelreg.verification.verify import CheckResult, Options, Published, Verification


def verify(
    reference: Annotated[
        str | None,
        typer.Argument(
            help="Version: v0.1.0, MODEL@v0.1.0, MODEL@latest, an alias, a tag, or a folder. Default: all versions.",
            metavar="[REF]",
        ),
    ] = None,
    complete: Annotated[
        bool,
        typer.Option("--complete", help="Fail if a release asset is not on this machine."),
    ] = False,
    remote: Annotated[
        bool, typer.Option("--remote", help="Also compare with the digests of the GitHub release. Requires REF.")
    ] = False,
    download: Annotated[
        bool, typer.Option("--download", help="With --remote: download every file and compare its bytes.")
    ] = False,
    key: Annotated[
        Path | None, typer.Option(help="Public key (PEM) that must have signed every version.", metavar="FILE")
    ] = None,
    changed: Annotated[
        bool,
        typer.Option("--changed", help="Only check versions that were changed or removed since the last git commit."),
    ] = False,
    device: Annotated[
        Literal["hailo8", "hailo8l"] | None,
        typer.Option(help="Require a compiled network (HEF) for this device. Requires REF."),
    ] = None,
    reproduce: Annotated[
        bool,
        typer.Option(
            "--reproduce", help="Recompute predictions and metrics from the weights and the data. Requires REF."
        ),
    ] = False,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="As --reproduce, and train again from the recorded configuration.")
    ] = False,
    fold: Annotated[
        str | None,
        typer.Option(
            help="With --retrain: also train this fold of a cross-fitted version again, or `all`.", metavar="NAME"
        ),
    ] = None,
    data_folder: Annotated[
        Path | None,
        typer.Option("--data", help="With --reproduce: folder of the recordings, or its parent.", metavar="DIR"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check the integrity of a version or of the whole registry.

    Checks every digest, document and metric, and reports all problems at once. Nothing is written, and no server is
    contacted without --remote.

    Example: modelreg verify conv2d_fsq@v0.1.0
    """
    single = {"--remote": remote, "--device": device, "--reproduce": reproduce, "--retrain": retrain}
    _refuse_misuse(reference, [name for name, given in single.items() if given], changed=changed)
    if fold and not retrain:
        raise typer.BadParameter("requires --retrain", param_hint="--fold")
    from modelreg.registry.version_notes import read_notes
    from modelreg.verification.verify import CheckResult, Options, Ports, verify_registry
    from modelreg.verification.verify import verify as verify_version

    options = Options(
        complete=complete,
        key=_public_key(key) if key else None,
        remote=remote,
        download=download,
        device=device,
        reproduce="training" if retrain else "predictions" if reproduce else None,
    )
    ports = Ports(fetch_release=_fetch_release, run_on_device=_device_runner(), reproduce=reproducer(data_folder, fold))
    folders, removed = _changed() if changed else (_folders(reference), [])
    found = [verify_version(folder, options, ports) for folder in folders]
    around = verify_registry(host.project()[0]) if reference is None and (found or not changed) else CheckResult((), ())
    if reference is None and not changed and not found and not around.problems:
        empty = Problem(str(host.project()[0] / filenames.REGISTRY), "registry.empty", "the registry has no version")
        raise RegistryError("nothing was verified", [empty])
    problems = [*around.problems, *removed, *(problem for each in found for problem in each.outside)]
    described = [read_notes(folder) for folder in folders]
    if as_json:
        documents = [_document(each, notes) for each, notes in zip(found, described, strict=True)]
        emit_json({"versions": documents, "problems": listed(problems), "notices": listed(around.notices)})
    else:
        _show(found, around.notices, described)
    broken = [problem.under(each.reference) for each in found for problem in each.found]
    if broken or problems:
        raise VerificationFailed("verification failed", [*broken, *problems])


def _refuse_misuse(reference: str | None, of_one: list[str], *, changed: bool) -> None:
    """Raise BadParameter for options that exclude each other; `of_one` are the given options that need a version."""
    if of_one and reference is None:
        raise typer.BadParameter("requires a version (REF)", param_hint=", ".join(of_one))
    if changed and reference is not None:
        raise typer.BadParameter("cannot be used with a version (REF)", param_hint="--changed")


def _public_key(path: Path) -> "PublicKey":
    from modelreg.verification import keys

    return keys.load_public(path)


def _fetch_release(folder: Path, options: "Options") -> "Published":
    """Compare a version with its published release; the port of `verify` for --remote."""
    from modelreg.cli.publish_checks import expected_release
    from modelreg.registry import versions
    from modelreg.release.github import plan, publish
    from modelreg.verification.verify import Published

    root, project = host.project()
    wanted = expected_release(root, project, folder)
    version = versions.read_version(folder).manifest
    name = plan.asset_name(version.model, version.version, filenames.SIGNATURE)
    with github_session.connect(root, project) as client, TemporaryDirectory() as scratch:
        problems = publish.find_remote_problems(client, wanted, Path(scratch) if options.download else None)
        signature = publish.published_file(client, wanted.tag, name, Path(scratch)) if options.key else None
    return Published(wanted.tag, len(wanted.assets), tuple(problems), name, signature)


def _device_runner() -> "Callable[[Path, HailoArch], CheckResult] | None":
    """Return the port of `verify` that runs a version on a Hailo device; None if HailoRT is not installed."""
    return _run_on_device if find_spec("hailo_platform") else None


def _run_on_device(folder: Path, device: "HailoArch") -> "CheckResult":
    """Run the test vectors of a version's bundle on the device of this machine."""
    from modelreg.records.export import HAILO
    from modelreg.runtime.pipeline import Pipeline
    from modelreg.verification.verify import CheckResult

    reference = f"{folder.parent.name}@{folder.name}"
    own_first = sorted(HAILO, key=lambda target: target != device)
    here = [path for target in own_first if (path := folder / target / filenames.ARCHIVE).is_file()]
    if not here:
        return CheckResult((), (Notice(reference, "not run: its bundle is not on this machine"),))
    try:
        with Pipeline.load(here[0], "hailo"):
            answered = Notice(reference, f"reproduces its test vectors on the {device} of this machine")
    except ModelregError as error:
        found = error.problems or (Problem(device, "verify.device-failed", error.summary),)
        return CheckResult(tuple(problem.under(reference) for problem in found), ())
    return CheckResult((), (answered,))


def _folders(reference: str | None) -> list[Path]:
    from modelreg.registry import versions

    if reference is not None:
        return [host.version_folder(reference)]
    return list(versions.version_folders(host.project()[0]))


def _changed() -> tuple[list[Path], list[Problem]]:
    """Return the versions changed since the last commit, and a problem for each removed one. Raises InputError."""
    from modelreg.registry import versions

    root, _ = host.project()
    if not git.is_repository(root):
        what = "is not a git repository, or git is not installed"
        raise InputError("cannot find the changed versions", [Problem(str(root), "git.not-a-repository", what)])
    parts = [PurePosixPath(path).parts for path in git.changes(root)]
    places = sorted({path[:3] for path in parts if len(path) > 3 and path[0] == filenames.REGISTRY})
    there = [folder for folder in versions.version_folders(root) if folder.relative_to(root).parts in places]
    gone = [
        f"{model}@{version}"
        for _, model, version in places
        if not (root / filenames.REGISTRY / model / version).exists()
    ]
    return there, [Problem(name, "version.removed", "was removed after the last commit") for name in gone]


def _show(found: "Sequence[Verification]", general: Iterable[Notice], described: "Sequence[VersionNotes]") -> None:
    note_all(general)
    note_all(notice.under(each.reference) for each in found for notice in each.notices)
    for each, notes in zip(found, described, strict=True):
        for passed in each.passed:
            note(str(passed))
        if not each.found:
            say(f"{each.reference}{notes.suffix}: {each.files} files verified")
        for waived in notes.waived:
            note(f"{each.reference}: {waived}")
    if not found:
        say("no versions changed since the last commit")


def _document(found: "Verification", notes: "VersionNotes") -> dict[str, object]:
    return {
        "version": found.reference,
        "files": found.files,
        **notes.to_document(),
        "problems": listed(found.found),
        "notices": listed(found.notices),
    }
