"""Verify one version: its files and documents, and where asked its signature, release, device and reproduction.

Files and documents are always checked, offline. What needs a network, a device or the training libraries comes through
a port: a callable that the command line and the API fill in. A check that was asked for and has no port is a problem,
never a silent pass.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from modelreg import files
from modelreg.artifacts import attach_hef
from modelreg.documents import releases_table
from modelreg.errors import Notice, Problem
from modelreg.records.export import HailoArch
from modelreg.registry import aliases, filenames, versions
from modelreg.verification import integrity
from modelreg.verification.integrity import Findings

if TYPE_CHECKING:
    from modelreg.verification.keys import PublicKey

Reproduction = Literal["predictions", "training"]


class Published(NamedTuple):
    """What the release of a version holds, compared with the version's folder."""

    tag: str
    files: int  # that the release must hold
    problems: tuple[Problem, ...]  # where it differs
    signature_name: str  # of the signature's asset
    signature: bytes | None  # None: the release has none, or nobody asked


class CheckResult(NamedTuple):
    """What came of a check: what contradicts the version, and what is worth knowing."""

    problems: tuple[Problem, ...]
    notices: tuple[Notice, ...]


@dataclass(frozen=True)
class Options:
    """What to check besides the files and documents."""

    complete: bool = False  # an asset that is not on this machine is a problem, not a notice
    key: "PublicKey | None" = None  # the version must hold a signature by this key, and so must its release
    remote: bool = False  # compare its release
    download: bool = False  # by the bytes, not by the digests that the server states
    device: HailoArch | None = None  # it must hold a compiled network that this device takes
    reproduce: Reproduction | None = None  # predict again; or train again, too


@dataclass(frozen=True)
class Ports:
    """What the checks reach beyond the folder. None: not available here."""

    fetch_release: Callable[[Path, Options], Published] | None = None
    run_on_device: Callable[[Path, HailoArch], CheckResult] | None = None
    reproduce: Callable[[Path, Reproduction], CheckResult] | None = None


@dataclass(frozen=True, repr=False)
class Verification:
    """The result for one version."""

    reference: str  # conv2d_fsq@v0.2.0
    files: int  # that were compared byte for byte
    found: tuple[Problem, ...]  # in the version
    outside: tuple[Problem, ...]  # in its release, or on a device
    notices: tuple[Notice, ...]  # what is worth knowing
    passed: tuple[Notice, ...]  # checks beyond the folder that found nothing

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything that is wrong; empty where the version verifies."""
        return (*self.found, *self.outside)

    @property
    def ok(self) -> bool:
        """Whether the version verifies."""
        return not self.problems

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        problems = "".join(f"\n  {problem}" for problem in self.problems)
        return f"<Verification of {self.reference}: {self.files} files, {len(self.problems)} problems>{problems}"


def verify(folder: Path, options: Options, ports: Ports) -> Verification:
    """Check a version's folder. Writes nothing."""
    reference = f"{folder.parent.name}@{folder.name}"
    findings = integrity.inspect(folder, complete=options.complete)
    signature = _check_signature(folder, findings, options.key)
    own = CheckResult((*findings.problems, *signature.problems), (*findings.notices, *signature.notices))
    if options.reproduce:
        own = _joined(own, _reproduce(folder, own, options.reproduce, ports))
    device = _check_device(folder, reference, options.device, ports) if options.device else CheckResult((), ())
    release = _check_release(folder, reference, options, ports) if options.remote else CheckResult((), ())
    beyond = _joined(release, device)
    return Verification(reference, findings.files, own.problems, beyond.problems, own.notices, beyond.notices)


def verify_registry(root: Path) -> CheckResult:
    """Check what belongs to no single version: stray files, the table of RELEASES.md, the aliases."""
    problems = (
        *versions.find_strays(root),
        *releases_table.find_table_problems(root),
        *aliases.find_alias_problems(root),
    )
    return CheckResult(problems, tuple(versions.find_leftovers(root)))


def _joined(one: CheckResult, other: CheckResult) -> CheckResult:
    return CheckResult((*one.problems, *other.problems), (*one.notices, *other.notices))


def _check_signature(folder: Path, findings: Findings, key: "PublicKey | None") -> CheckResult:
    """Check the signature of a version where there is a key; say where there is none that it was not checked."""
    name = filenames.SIGNATURE
    if key is None:
        unread = Notice(name, "was not checked; give the signer's public key with --key")
        return CheckResult((), (unread,) if (folder / name).exists() else ())
    from modelreg.verification import keys, signing  # cryptography is slow: load it on use

    if problems := tuple(signing.find_version_problems(folder, key)):
        return CheckResult(problems, ())
    reach = "every file"
    if absent := len(findings.absent):
        reach = f"every file; of the {absent} that are not on this machine it proves the digest, not the bytes"
    return CheckResult((), (Notice(name, f"{keys.fingerprint(key)} signed {reach}"),))


def _reproduce(folder: Path, own: CheckResult, how: Reproduction, ports: Ports) -> CheckResult:
    if own.problems:
        return CheckResult((), (Notice("reproduction", "not reproduced: the version does not verify"),))
    if ports.reproduce is None:
        return _unavailable("reproduction")
    return ports.reproduce(folder, how)


def _check_device(folder: Path, reference: str, device: HailoArch, ports: Ports) -> CheckResult:
    """Check that the version holds a HEF for a device; and run it, where there is such a device."""
    if problems := tuple(attach_hef.find_device_problems(folder, device)):
        return CheckResult(tuple(problem.under(reference) for problem in problems), ())
    fits = CheckResult((), (Notice(reference, f"holds a compiled network that a {device} takes"),))
    if ports.run_on_device is None:
        return _joined(fits, CheckResult((), (Notice(reference, "was not run: there is no such device here"),)))
    return _joined(fits, ports.run_on_device(folder, device))


def _check_release(folder: Path, reference: str, options: Options, ports: Ports) -> CheckResult:
    if ports.fetch_release is None:
        return _unavailable("release")
    release = ports.fetch_release(folder, options)
    problems = (*release.problems, *_published_signature(folder, reference, release, options.key))
    same = Notice(release.tag, f"the release on GitHub holds the same {release.files} files")
    return CheckResult(problems, () if problems else (same,))


def _published_signature(
    folder: Path, reference: str, release: Published, key: "PublicKey | None"
) -> tuple[Problem, ...]:
    """Return what is wrong with the signature that the release itself carries."""
    if key is None:
        return ()
    if release.signature is None:
        what = f"is not in the release; `modelreg publish {reference}` adds the signature"
        return (Problem(release.signature_name, "todo.verify", what),)
    from modelreg.verification import signing

    manifest = files.read_bytes(folder / filenames.MANIFEST)
    return tuple(signing.find_signature_problems(release.signature, signing.digests_of(manifest), key))


def _unavailable(check: str) -> CheckResult:
    return CheckResult((Problem(check, "todo.verify", "was not checked: the check is not available here"),), ())
