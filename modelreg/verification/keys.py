"""Signing keys in local files: EC P-256, P-384 or P-521, in PEM.

A file with a private key or its passphrase is accepted only if its owner alone can read it, where files have modes.
"""

import os
import shlex
from pathlib import Path
from typing import Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from modelreg import descriptors, files
from modelreg.errors import InputError, Problem

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey
Curve = Literal["p256", "p384", "p521"]

CURVES: dict[Curve, ec.EllipticCurve] = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}
LIMIT = 64 * 2**10  # bytes of a file with a key or a passphrase
CANNOT_READ = "cannot read the key"


def new(curve: Curve) -> PrivateKey:
    """Return a new key, generated from the operating system's random source."""
    return ec.generate_private_key(CURVES[curve])


def public_path(private: Path) -> Path:
    """Return the path of the public key of a key file: `key.pub.pem` for `key.pem`."""
    return private.with_name(f"{private.name.removesuffix('.pem')}.pub.pem")


def refuse_taken(private: Path) -> None:
    """Raise InputError if one of the two files of a key pair exists, except for what an interrupted command left."""
    existing = [path for path in (private, public_path(private)) if os.path.lexists(path)]
    interrupted = existing == [public_path(private)] and files.temporary(private).is_file()
    if existing and not interrupted:
        problems = [
            Problem(str(path), "key.exists", "the file exists; keys are never overwritten") for path in existing
        ]
        raise InputError("no key was written", problems)


def is_complete(private: Path) -> bool:
    """Say whether an interrupted command has written a whole pair; remove the second name of its private key."""
    staged = files.temporary(private)
    if not (staged.is_file() and private.is_file() and staged.samefile(private)):
        return False
    staged.unlink()
    return True


def write_pair(private: Path, key: PrivateKey, passphrase: bytes | None) -> None:
    """Write a private key (mode 600) and its public key. Raises InputError if one of the files exists.

    The private key gets its name last: if it exists, so does the public key. Until then it has its temporary name, by
    which an interrupted command is recognized.
    """
    refuse_taken(private)
    staged = files.stage_new(private, private_pem(key, passphrase), 0o600)
    public_path(private).unlink(missing_ok=True)  # left by an interrupted command
    files.write_new(public_path(private), public_pem(key.public_key()), 0o644)
    files.name_new(staged, private)


def public_pem(key: PublicKey) -> bytes:
    """Render a public key in PEM."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def private_pem(key: PrivateKey, passphrase: bytes | None) -> bytes:
    """Render a private key in PEM (PKCS #8), encrypted if there is a passphrase."""
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def fingerprint(key: PublicKey) -> str:
    """Return the hex SHA-256 of a public key's PEM, which identifies the key in a signature."""
    return files.sha256_bytes(public_pem(key))


def read_secret(path: Path) -> bytes:
    """Read a file that only its owner can read. Raises InputError with the `chmod` command otherwise."""
    with files.open_regular(path) as file:
        if mode := descriptors.others_access(file.fileno()):
            what = f"mode {mode:o} gives other users access, expected 600"
            fix = f"run `chmod 600 {shlex.quote(str(path))}`"
            raise InputError(CANNOT_READ, [Problem(str(path), "key.mode-unsafe", what, next=fix)])
        data = file.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise InputError(CANNOT_READ, [Problem(str(path), "files.too-large", f"larger than {LIMIT:,} bytes")])
    return data


def is_encrypted(pem: bytes) -> bool:
    """Return whether a private key needs a passphrase. PKCS #8 and OpenSSL's older format both contain the word."""
    return b"ENCRYPTED" in pem


def parse_private(pem: bytes, passphrase: bytes | None, where: str) -> PrivateKey:
    """Read a private key. Raises InputError, also for a wrong passphrase and an unsupported curve."""
    if passphrase is None and is_encrypted(pem):
        raise InputError(CANNOT_READ, [Problem(where, "key.encrypted", "the key is encrypted")])
    if passphrase is not None and not is_encrypted(pem):
        raise InputError(CANNOT_READ, [Problem(where, "key.not-encrypted", "the key is not encrypted")])
    try:
        key = serialization.load_pem_private_key(pem, passphrase)
    except (ValueError, UnsupportedAlgorithm) as error:
        problem = Problem(where, "key.invalid", "not a private key in PEM")
        if passphrase:
            problem = Problem(where, "key.passphrase-wrong", "wrong passphrase, or a damaged file")
        raise InputError(CANNOT_READ, [problem]) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _unfit(where)
    _refuse_other_curves(key.public_key(), where)
    return key


def load_public(path: Path) -> PublicKey:
    """Read a public key. Raises InputError."""
    try:
        key = serialization.load_pem_public_key(files.read_bytes(path, LIMIT))
    except (ValueError, UnsupportedAlgorithm) as error:
        problem = Problem(
            str(path), "key.invalid", "not a public key in PEM", next="pass the `.pub.pem` file of `modelreg keygen`"
        )
        raise InputError(CANNOT_READ, [problem]) from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise _unfit(str(path))
    _refuse_other_curves(key, str(path))
    return key


def _refuse_other_curves(key: PublicKey, where: str) -> None:
    if key.curve.name not in {curve.name for curve in CURVES.values()}:
        raise _unfit(where)


def _unfit(where: str) -> InputError:
    what = "unsupported type of key, expected an elliptic-curve key on P-256, P-384 or P-521"
    return InputError(CANNOT_READ, [Problem(where, "key.type-unsupported", what)])
