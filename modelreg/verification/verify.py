"""Verify one version: its files and documents and, on request, its signature, release, device and reproduction.

Files and documents are always checked, offline. A check that needs a network, a device or the training libraries is a
port: a callable that the command line and the API provide. A requested check without a port is a problem, so that it
never passes silently.
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
    """A published release, compared with the version's folder."""

    tag: str
    files: int  # files that the release must have
    problems: tuple[Problem, ...]  # differences from the version
    signature_name: str  # name of the signature's asset
    signature: bytes | None  # None: missing in the release, or not requested


class CheckResult(NamedTuple):
    """The problems and notices of a check."""

    problems: tuple[Problem, ...]
    notices: tuple[Notice, ...]


@dataclass(frozen=True)
class Options:
    """Checks to run in addition to those of files and documents."""

    complete: bool = False  # a release asset that is not on this machine is a problem, not a notice
    key: "PublicKey | None" = None  # the version and its release must have a signature of this key
    remote: bool = False  # compare the published release
    download: bool = False  # compare the release's bytes, not the digests that the server states
    device: HailoArch | None = None  # the version must have a HEF for this device
    reproduce: Reproduction | None = None  # predict again, or train and predict again


@dataclass(frozen=True)
class Ports:
    """The checks that reach beyond the folder. None: not available."""

    fetch_release: Callable[[Path, Options], Published] | None = None
    run_on_device: Callable[[Path, HailoArch], CheckResult] | None = None
    reproduce: Callable[[Path, Reproduction], CheckResult] | None = None


@dataclass(frozen=True, repr=False)
class Verification:
    """The result for one version."""

    reference: str  # conv2d_fsq@v0.2.0
    files: int  # files whose bytes were compared
    found: tuple[Problem, ...]  # problems of the version
    outside: tuple[Problem, ...]  # problems of its release or on a device
    notices: tuple[Notice, ...]
    passed: tuple[Notice, ...]  # checks beyond the folder that passed

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Every problem; empty if the version verifies."""
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
    """Verify a version's folder. Nothing is written."""
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
    """Check the registry as a whole: stray files, the table of RELEASES.md, the aliases."""
    problems = (
        *versions.find_strays(root),
        *releases_table.find_table_problems(root),
        *aliases.find_alias_problems(root),
    )
    return CheckResult(problems, tuple(versions.find_leftovers(root)))


def _joined(one: CheckResult, other: CheckResult) -> CheckResult:
    return CheckResult((*one.problems, *other.problems), (*one.notices, *other.notices))


def _check_signature(folder: Path, findings: Findings, key: "PublicKey | None") -> CheckResult:
    """Check the signature of a version with a key. Without a key, a notice says that it was not checked."""
    name = filenames.SIGNATURE
    if key is None:
        unread = Notice(name, "signature not checked; pass the signer's public key with --key")
        return CheckResult((), (unread,) if (folder / name).exists() else ())
    from modelreg.verification import keys, signing  # cryptography is slow: load it on use

    if problems := tuple(signing.find_version_problems(folder, key)):
        return CheckResult(problems, ())
    signed = f"every file is signed with key {keys.fingerprint(key)}"
    if absent := len(findings.absent):
        signed += f"; {absent} files are not on this machine: only their digests were compared"
    return CheckResult((), (Notice(name, signed),))


def _reproduce(folder: Path, own: CheckResult, how: Reproduction, ports: Ports) -> CheckResult:
    if own.problems:
        return CheckResult((), (Notice("reproduction", "not reproduced, because the version does not verify"),))
    if ports.reproduce is None:
        return _unavailable("reproduction")
    return ports.reproduce(folder, how)


def _check_device(folder: Path, reference: str, device: HailoArch, ports: Ports) -> CheckResult:
    """Check that the version has a HEF for a device, and run it if the device is connected."""
    if problems := tuple(attach_hef.find_device_problems(folder, device)):
        return CheckResult(tuple(problem.under(reference) for problem in problems), ())
    fits = CheckResult((), (Notice(reference, f"has a HEF for {device}"),))
    if ports.run_on_device is None:
        return _joined(fits, CheckResult((), (Notice(reference, f"not run: no {device} device found"),)))
    return _joined(fits, ports.run_on_device(folder, device))


def _check_release(folder: Path, reference: str, options: Options, ports: Ports) -> CheckResult:
    if ports.fetch_release is None:
        return _unavailable("release")
    release = ports.fetch_release(folder, options)
    problems = (*release.problems, *_published_signature(folder, reference, release, options.key))
    same = Notice(release.tag, f"the release on GitHub has the same {release.files} files")
    return CheckResult(problems, () if problems else (same,))


def _published_signature(
    folder: Path, reference: str, release: Published, key: "PublicKey | None"
) -> tuple[Problem, ...]:
    """Return the problems of the signature in the release."""
    if key is None:
        return ()
    if release.signature is None:
        what, fix = "missing: the release is not signed", f"run `modelreg publish {reference}` to add the signature"
        return (Problem(release.signature_name, "sign.signature-missing", what, next=fix),)
    from modelreg.verification import signing

    manifest = files.read_bytes(folder / filenames.MANIFEST)
    return tuple(signing.find_signature_problems(release.signature, signing.digests_of(manifest), key))


def _unavailable(check: str) -> CheckResult:
    problem = Problem(check, "verify.check-unavailable", "not checked: this check is not available here")
    return CheckResult((problem,), ())
