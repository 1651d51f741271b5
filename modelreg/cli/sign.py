"""`modelreg keygen` and `modelreg sign`."""

import os
import sys
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from modelreg.cli import host
from modelreg.cli.console import say
from modelreg.errors import InputError, Problem, RegistryError, VerificationFailed
from modelreg.escaping import one_line
from modelreg.registry import filenames

if TYPE_CHECKING:
    from modelreg.verification.keys import PrivateKey

PASSPHRASE_LIMIT = 1000  # bytes; the limit of OpenSSL is 1023

PassphraseFile = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="File with the passphrase.", metavar="FILE", show_default="prompt"),
]


def keygen(
    out: Annotated[
        Path, typer.Option(help="Private key to write; the public key is written next to it.", metavar="FILE")
    ] = Path("key.pem"),
    curve: Annotated[Literal["p256", "p384", "p521"], typer.Option(help="Elliptic curve.")] = "p256",
    passphrase_file: PassphraseFile = None,
    no_passphrase: Annotated[bool, typer.Option("--no-passphrase", help="Do not encrypt the private key.")] = False,
) -> None:
    """Create a key pair for signing versions.

    Only you can read the private key. An existing file is never overwritten.

    Example: modelreg keygen --out ../key.pem
    """
    from modelreg.verification import keys

    if passphrase_file and no_passphrase:
        raise typer.BadParameter("contradicts --passphrase-file", param_hint="--no-passphrase")
    if not keys.is_complete(out):
        keys.refuse_taken(out)
        keys.write_pair(out, keys.new(curve), None if no_passphrase else _new_passphrase(passphrase_file))
    say(f"wrote {host.shown(out)} (private key: keep it secret and out of repositories)")
    say(f"wrote {host.shown(keys.public_path(out))} (public key: share it)")
    say(f"fingerprint: {keys.fingerprint(keys.load_public(keys.public_path(out)))}")


def sign(
    reference: Annotated[
        str,
        typer.Argument(help="Version: v0.2.0, MODEL@v0.2.0, MODEL@latest, a tag or a version folder.", metavar="REF"),
    ],
    key: Annotated[Path, typer.Option(help="Private key (PEM), created by `modelreg keygen`.", metavar="FILE")],
    passphrase_file: PassphraseFile = None,
) -> None:
    """Sign every file of a version.

    Writes model.sig in the format OpenSSF Model Signing v1.0. The version must verify, with all of its files on this
    machine.

    Example: modelreg sign v0.1.0 --key ../key.pem
    """
    folder = host.version_folder(reference)
    fresh = sign_folder(folder, read_key(key, passphrase_file))
    say(f"{reference}: signed" if fresh else f"{reference}: already signed with this key")
    say(f"next: git add {host.shown(folder / filenames.SIGNATURE)}")


def read_key(path: Path, passphrase_file: Path | None) -> "PrivateKey":
    """Return a private key; read or prompt for the passphrase of an encrypted one. Raises InputError."""
    from modelreg.verification import keys

    pem = keys.read_secret(path)
    passphrase = _from_file(passphrase_file) if passphrase_file else None
    if passphrase is None and keys.is_encrypted(pem):
        passphrase = _ask(f"Passphrase of {path}: ")
    return keys.parse_private(pem, passphrase, str(path))


def sign_folder(folder: Path, key: "PrivateKey") -> bool:
    """Write the signature of a version; return False if this key has signed it already.

    Raises VerificationFailed if the version does not verify, RegistryError if its signature is not of this key.
    """
    from modelreg import files
    from modelreg.verification import integrity, signing

    path = folder / filenames.SIGNATURE
    files.temporary(path).unlink(missing_ok=True)  # left by a killed command
    findings = integrity.inspect(folder)
    absent = [Problem(path, "version.asset-missing", "is not on this machine") for path in findings.absent]
    if problems := [*findings.problems, *absent]:
        raise VerificationFailed("not signed: the version does not verify", problems)
    if not os.path.lexists(path):
        files.write_atomic(path, signing.sign_version(folder, key))
        return True
    if differences := list(signing.find_version_problems(folder, key.public_key())):
        message = "the version has another signature, which is not replaced"
        taken = Problem(host.shown(path), "sign.other-signature", message)
        raise RegistryError("not signed", [taken, *differences])
    return False


def _new_passphrase(path: Path | None) -> bytes | None:
    """Return the passphrase of a new key, prompted for twice; None for an empty one."""
    if path:
        return _from_file(path)
    first = _ask("Passphrase of the new key (empty: none): ", "give --passphrase-file or --no-passphrase")
    if first != _ask("Repeat the passphrase: "):
        _refuse("terminal", "key.passphrase-mismatch", "the two passphrases differ")
    return first or None


def _from_file(path: Path) -> bytes:
    """Return a passphrase from a file that only its owner may read, without the line end."""
    from modelreg.verification import keys

    passphrase = keys.read_secret(path).rstrip(b"\r\n")
    if not passphrase:
        _refuse(str(path), "key.passphrase-empty", "the file is empty")
    return _bounded(passphrase, str(path))


def _ask(prompt: str, otherwise: str = "give --passphrase-file") -> bytes:
    if not sys.stdin.isatty():
        _refuse("stdin", "key.passphrase-no-terminal", "cannot prompt for the passphrase: not a terminal", otherwise)
    try:
        return _bounded(getpass(one_line(prompt)).encode(), "terminal")
    except EOFError:
        _refuse("terminal", "key.passphrase-missing", "the input ended before a passphrase")


def _bounded(passphrase: bytes, where: str) -> bytes:
    if len(passphrase) > PASSPHRASE_LIMIT:
        message = f"the passphrase has {len(passphrase)} bytes; the limit is {PASSPHRASE_LIMIT} bytes"
        _refuse(where, "key.passphrase-too-long", message)
    return passphrase


def _refuse(where: str, rule: str, message: str, then: str = "") -> NoReturn:
    raise InputError("cannot read the passphrase", [Problem(where, rule, message, then)])
