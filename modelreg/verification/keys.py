"""Signing keys in local files: EC P-256, P-384 or P-521, in PEM.

A file that holds a secret, a private key or its passphrase, is taken only if nobody but its owner may read it.
"""

import os
import shlex
import stat
from pathlib import Path
from typing import Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from modelreg import files
from modelreg.errors import InputError, Problem

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey
Curve = Literal["p256", "p384", "p521"]

CURVES: dict[Curve, ec.EllipticCurve] = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}
LIMIT = 64 * 2**10  # bytes of a file that holds a key or a passphrase


def new(curve: Curve) -> PrivateKey:
    """Return a new key, from the operating system's randomness."""
    return ec.generate_private_key(CURVES[curve])


def public_path(private: Path) -> Path:
    """Return where the public half of a key file lies: `key.pem` has `key.pub.pem`."""
    return private.with_name(f"{private.name.removesuffix('.pem')}.pub.pem")


def refuse_taken(private: Path) -> None:
    """Raise InputError where one of the two files of a key exists."""
    taken = [path for path in (private, public_path(private)) if os.path.lexists(path)]
    if taken:
        what = "exists, and a key is never overwritten; name another file"
        raise InputError("cannot write the key", [Problem(str(path), "todo.keys", what) for path in taken])


def write_pair(private: Path, key: PrivateKey, passphrase: bytes | None) -> None:
    """Write a key for its owner alone, and its public half beside it. Raises InputError where one of them exists.

    The private file comes last: where it is, both are.
    """
    refuse_taken(private)
    files.write_new(public_path(private), public_pem(key.public_key()), 0o644)
    files.write_new(private, private_pem(key, passphrase), 0o600)


def public_pem(key: PublicKey) -> bytes:
    """Render a public key in PEM."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def private_pem(key: PrivateKey, passphrase: bytes | None) -> bytes:
    """Render a private key in PEM (PKCS #8), encrypted where there is a passphrase."""
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def fingerprint(key: PublicKey) -> str:
    """Return the hex SHA-256 of a public key's PEM: how a signature names its key."""
    return files.sha256_bytes(public_pem(key))


def read_secret(path: Path) -> bytes:
    """Read a file that only its owner may read. Raises InputError with the command that makes it so."""
    with files.open_regular(path) as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            what = f"others may read it (mode {mode:o}); type: chmod 600 {shlex.quote(str(path))}"
            raise InputError("not a safe place for a secret", [Problem(str(path), "todo.keys", what)])
        data = file.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise InputError("not a key", [Problem(str(path), "todo.keys", f"larger than {LIMIT} bytes")])
    return data


def is_encrypted(pem: bytes) -> bool:
    """Say whether a private key needs a passphrase: PKCS #8 and OpenSSL's older form both say so in words."""
    return b"ENCRYPTED" in pem


def parse_private(pem: bytes, passphrase: bytes | None, where: str) -> PrivateKey:
    """Read a private key. Raises InputError, also for a wrong passphrase and a curve that the format does not know."""
    if passphrase is None and is_encrypted(pem):
        raise InputError("cannot read the key", [Problem(where, "todo.keys", "is encrypted; give --passphrase-file")])
    if passphrase is not None and not is_encrypted(pem):
        raise InputError(
            "cannot read the key", [Problem(where, "todo.keys", "is not encrypted, but there is a passphrase for it")]
        )
    try:
        key = serialization.load_pem_private_key(pem, passphrase)
    except (ValueError, UnsupportedAlgorithm) as error:
        what = "the passphrase is wrong, or the file is damaged" if passphrase else "is no private key in PEM"
        raise InputError("cannot read the key", [Problem(where, "todo.keys", what)]) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _unfit(where)
    _refuse_other_curves(key.public_key(), where)
    return key


def load_public(path: Path) -> PublicKey:
    """Read a public key. Raises InputError."""
    try:
        key = serialization.load_pem_public_key(files.read_bytes(path, LIMIT))
    except (ValueError, UnsupportedAlgorithm) as error:
        what = "is no public key in PEM; `modelreg keygen` writes one beside the private key, as key.pub.pem"
        raise InputError("cannot read the key", [Problem(str(path), "todo.keys", what)]) from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise _unfit(str(path))
    _refuse_other_curves(key, str(path))
    return key


def _refuse_other_curves(key: PublicKey, where: str) -> None:
    if key.curve.name not in {curve.name for curve in CURVES.values()}:
        raise _unfit(where)


def _unfit(where: str) -> InputError:
    what = "OpenSSF Model Signing takes elliptic-curve keys on P-256, P-384 or P-521; `modelreg keygen` makes one"
    return InputError("cannot sign with this kind of key", [Problem(where, "todo.keys", what)])
