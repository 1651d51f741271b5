"""`modelreg keygen` and `modelreg sign`."""

import os
import sys
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelreg.cli import host
from modelreg.cli.console import say
from modelreg.errors import InputError, Problem, RegistryError, VerificationFailed
from modelreg.registry import filenames

if TYPE_CHECKING:
    from modelreg.verification.keys import PrivateKey

PASSPHRASE_LIMIT = 1000  # bytes; OpenSSL takes 1023

PassphraseFile = Annotated[
    Path | None, typer.Option("--passphrase-file", help="A file that holds the passphrase; left out: you are asked.")
]


def keygen(
    out: Annotated[Path, typer.Option(help="The private key; the public one lies beside it.")] = Path("key.pem"),
    curve: Annotated[Literal["p256", "p384", "p521"], typer.Option(help="The elliptic curve.")] = "p256",
    passphrase_file: PassphraseFile = None,
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="Write the private key as it is: whoever reads it can sign.")
    ] = False,
) -> None:
    """Make a pair of keys to sign versions with.

    The private key is readable by you alone. Nothing that exists is overwritten.

    Example: modelreg keygen --out ~/keys/models.pem
    """
    from modelreg.verification import keys

    if passphrase_file and no_passphrase:
        raise typer.BadParameter("contradicts --passphrase-file", param_hint="--no-passphrase")
    keys.refuse_taken(out)
    key = keys.new(curve)
    keys.write_pair(out, key, None if no_passphrase else _new_passphrase(passphrase_file))
    say(f"wrote {host.shown(out)}: keep it secret, and out of every repository")
    say(f"wrote {host.shown(keys.public_path(out))}: give it to everybody")
    say(f"fingerprint: {keys.fingerprint(key.public_key())}")


def sign(
    reference: Annotated[
        str, typer.Argument(help="v0.2.0, model@v0.2.0, model@latest, or a version's folder.", metavar="REF")
    ],
    key: Annotated[Path, typer.Option(help="Your private key (PEM); `modelreg keygen` makes one.")],
    passphrase_file: PassphraseFile = None,
) -> None:
    """Sign every file of a version: write its model.sig.

    The version must verify, with every asset on this machine. The format is OpenSSF Model Signing v1.0.

    Example: modelreg sign v0.2.0 --key ~/keys/models.pem
    """

    folder = host.version_folder(reference)
    fresh = sign_folder(folder, read_key(key, passphrase_file))
    say(f"{reference}: signed" if fresh else f"{reference}: is signed already, with this key")
    say(f"next: git add {host.shown(folder / filenames.SIGNATURE)}")


def read_key(path: Path, passphrase_file: Path | None) -> "PrivateKey":
    """Return a private key; where it is encrypted, its passphrase is read or asked for. Raises InputError."""
    from modelreg.verification import keys

    pem = keys.read_secret(path)
    passphrase = _from_file(passphrase_file) if passphrase_file else None
    if passphrase is None and keys.is_encrypted(pem):
        passphrase = _ask(f"Passphrase of {path}: ")
    return keys.parse_private(pem, passphrase, str(path))


def sign_folder(folder: Path, key: "PrivateKey") -> bool:
    """Write the signature of a version; False where this key's is there already. Raises VerificationFailed."""
    from modelreg import files
    from modelreg.verification import integrity, signing

    findings = integrity.inspect(folder)
    absent = [
        Problem(where, "todo.sign", "is not on this machine; fetch it with `modelreg pull`")
        for where in findings.absent
    ]
    if problems := [*findings.problems, *absent]:
        raise VerificationFailed("cannot sign; only what was checked can be", problems)
    path = folder / filenames.SIGNATURE
    if not os.path.lexists(path):
        files.write_atomic(path, signing.sign_version(folder, key))
        return True
    if differences := list(signing.find_version_problems(folder, key.public_key())):
        summary = f"is signed otherwise; to sign it anew, remove {host.shown(path)} first"
        raise RegistryError(summary, differences)
    return False


def _new_passphrase(path: Path | None) -> bytes | None:
    """Return the passphrase of a new key, asked for twice; None for an empty one."""
    if path:
        return _from_file(path)
    first = _ask("Passphrase of the new key (empty: none): ", "give --passphrase-file or --no-passphrase")
    if first != _ask("The same again: "):
        raise InputError("the two passphrases differ")
    return first or None


def _from_file(path: Path) -> bytes:
    """Return a passphrase from a file that only its owner may read, without the end of its line."""
    from modelreg.verification import keys

    passphrase = keys.read_secret(path).rstrip(b"\r\n")
    if not passphrase:
        raise InputError("no passphrase", [Problem(str(path), "todo.sign", "is empty")])
    return _bounded(passphrase)


def _ask(prompt: str, otherwise: str = "give --passphrase-file") -> bytes:
    if not sys.stdin.isatty():
        raise InputError(
            "nobody to ask for the passphrase", [Problem("stdin", "todo.sign", f"is no terminal; {otherwise}")]
        )
    try:
        return _bounded(getpass(prompt).encode())
    except EOFError as error:
        raise InputError("no passphrase was given") from error


def _bounded(passphrase: bytes) -> bytes:
    if len(passphrase) > PASSPHRASE_LIMIT:
        raise InputError(f"a passphrase has at most {PASSPHRASE_LIMIT} bytes")
    return passphrase
