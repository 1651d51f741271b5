"""Signatures over a version: OpenSSF Model Signing v1.0, with elliptic-curve keys in local files.

A bundle is JSON in three coats: a Sigstore bundle, which names the key; in it a DSSE envelope, which is what is
signed; in that an in-toto statement, which lists every file with its SHA-256. The format is that of
https://github.com/ossf/model-signing-spec (v1.0) and of its reference implementation, `model-signing`: each verifies
what the other signed. Nothing inside the envelope is looked at before its signature is known to be right.

A version is signed by its digests: `verify` has compared every file with the manifest before they are held against
what was signed. So an asset that is not on this machine is covered too, by the digest that was signed of it.
"""

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ConfigDict, Field

from modelreg import files
from modelreg.errors import InputError, Problem
from modelreg.records.base import Record, Sha256, validate
from modelreg.records.manifest import Manifest
from modelreg.registry import filenames, versions
from modelreg.verification.keys import PrivateKey, PublicKey, fingerprint

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
SIGNATURE_LIMIT = 4 * 2**20  # bytes; some 15,000 files
HASHES: dict[str, hashes.HashAlgorithm] = {
    ec.SECP256R1.name: hashes.SHA256(),
    ec.SECP384R1.name: hashes.SHA384(),
    ec.SECP521R1.name: hashes.SHA512(),
}


class _Key(Record):
    """Which key it was: the SHA-256 of its PEM. Older bundles hold the key itself, which proves nothing."""

    hint: Sha256 | None = None
    raw_bytes: Annotated[str | None, Field(alias="rawBytes")] = None
    details: Annotated[str | None, Field(alias="keyDetails")] = None


class _Material(Record):
    """What a verifier needs beside the key; entries of a public log are not looked at."""

    public_key: Annotated[_Key, Field(alias="publicKey")]
    log: Annotated[tuple[Any, ...], Field(alias="tlogEntries")] = ()


class _Signature(Record):
    sig: str
    keyid: str | None = None


class _Envelope(Record):
    """DSSE: base64 of the statement, and the signature over its type and bytes."""

    payload: str
    payload_type: Annotated[Literal["application/vnd.in-toto+json"], Field(alias="payloadType")]
    signatures: Annotated[tuple[_Signature, ...], Field(min_length=1, max_length=1)]


class _Bundle(Record):
    media_type: Annotated[Literal["application/vnd.dev.sigstore.bundle.v0.3+json"], Field(alias="mediaType")]
    material: Annotated[_Material, Field(alias="verificationMaterial")]
    envelope: Annotated[_Envelope, Field(alias="dsseEnvelope")]


class _Open(Record):
    """A part of the statement: what a later version of the format may add is ignored, as the format demands."""

    model_config = ConfigDict(extra="ignore")


class _Digest(_Open):
    sha256: Sha256


class _Subject(_Open):
    """The model: its folder's name, which proves nothing, and the digest over the digests of all files."""

    name: str
    digest: _Digest


class _Resource(_Open):
    name: str
    digest: Sha256
    algorithm: Literal["sha256"]


class _Serialization(_Open):
    method: Literal["files"]
    hash_type: Literal["sha256"]


class _Predicate(_Open):
    serialization: _Serialization
    resources: Annotated[tuple[_Resource, ...], Field(min_length=1)]


class _Statement(_Open):
    type_: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    subject: Annotated[tuple[_Subject, ...], Field(min_length=1, max_length=1)]
    predicate_type: Annotated[Literal["https://model_signing/signature/v1.0"], Field(alias="predicateType")]
    predicate: _Predicate


# A version


def digests_of(manifest: bytes) -> dict[str, str]:
    """Return the digest of every file that a version's signature covers, from the bytes of its manifest."""
    read = validate(manifest, Manifest, filenames.MANIFEST)
    return versions.digests(read, files.sha256_bytes(manifest))


def sign_version(folder: Path, key: PrivateKey) -> bytes:
    """Return the bundle of a version that `verify` has found whole."""
    return sign(digests_of(files.read_bytes(folder / filenames.MANIFEST)), folder.name, key)


def find_version_problems(folder: Path, key: PublicKey) -> Iterator[Problem]:
    """Yield where a version is not what this key signed; its files must have been held against the manifest."""
    path = folder / filenames.SIGNATURE
    if not path.exists():
        yield Problem(filenames.SIGNATURE, "todo.signing", "is missing: nobody has signed this version")
        return
    try:
        bundle = files.read_bytes(path, SIGNATURE_LIMIT)
        digests = digests_of(files.read_bytes(folder / filenames.MANIFEST))
    except InputError as error:
        yield from error.problems
    else:
        yield from find_signature_problems(bundle, digests, key)


# A bundle


def sign(digests: Mapping[str, str], name: str, key: PrivateKey) -> bytes:
    """Return the bundle that signs files by their hex SHA-256; `name` is that of their folder.

    The same files and key give the same bytes (RFC 6979).
    """
    listed = dict(sorted(digests.items()))
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": _digest_of(listed.values())}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [filenames.SIGNATURE],
            },
            "resources": [{"name": path, "digest": listed[path], "algorithm": "sha256"} for path in listed],
        },
    }
    return _sealed(files.to_json(statement), key)


def find_signature_problems(bundle: bytes, digests: Mapping[str, str], key: PublicKey) -> Iterator[Problem]:
    """Yield why a bundle is not this key's, or every file that is extra, missing or changed since it was signed."""
    try:
        signed = signed_digests(bundle, key)
    except InputError as error:
        yield from error.problems
        return
    for path in sorted(signed.keys() | digests.keys()):
        if path not in signed:
            yield Problem(path, "todo.signing", "was not signed")
        elif path not in digests:
            yield Problem(path, "todo.signing", "was signed, but is not part of the version")
        elif signed[path] != digests[path]:
            yield Problem(path, "todo.signing", f"has sha256 {digests[path]}, but {signed[path]} was signed")


def signed_digests(bundle: bytes, key: PublicKey) -> dict[str, str]:
    """Return what a key signed, by path. Raises InputError where the bundle is damaged, of another key or method."""
    envelope, hint = _envelope_of(bundle)
    if hint not in (None, fingerprint(key)):
        raise _refusal(f"was made with the key {hint}, not with {fingerprint(key)}")
    payload, signature = _decoded(envelope.payload, "payload"), _decoded(envelope.signatures[0].sig, "sig")
    try:
        key.verify(signature, _authenticated(payload), ec.ECDSA(HASHES[key.curve.name]))
    except InvalidSignature as error:
        raise _refusal(f"is no signature of the key {fingerprint(key)}") from error
    return _digests_in(payload)


def _envelope_of(bundle: bytes) -> tuple[_Envelope, str | None]:
    """Return the envelope of a bundle and the fingerprint of the key that it names."""
    if len(bundle) > SIGNATURE_LIMIT:
        raise _refusal(f"larger than {SIGNATURE_LIMIT} bytes")
    files.parse_json(bundle, filenames.SIGNATURE)  # pydantic alone would take a key that is there twice
    read = validate(bundle, _Bundle, filenames.SIGNATURE)
    return read.envelope, read.material.public_key.hint


def _digests_in(payload: bytes) -> dict[str, str]:
    where = f"{filenames.SIGNATURE}: payload"
    files.parse_json(payload, where)
    statement = validate(payload, _Statement, where)
    resources = statement.predicate.resources
    signed = {resource.name: resource.digest for resource in resources}
    if len(signed) < len(resources):
        raise _refusal("lists a file twice")
    if _digest_of(resource.digest for resource in resources) != statement.subject[0].digest.sha256:
        raise _refusal("the digest of its subject is not that of its files")
    return signed


def _digest_of(digests: Iterable[str]) -> str:
    """Return the SHA-256 over the raw digests of all files, in the order of their list."""
    return files.sha256_bytes(b"".join(map(bytes.fromhex, digests)))


def _sealed(payload: bytes, key: PrivateKey) -> bytes:
    """Return the bundle around a statement."""
    try:
        algorithm = ec.ECDSA(HASHES[key.curve.name], deterministic_signing=True)
    except UnsupportedAlgorithm as error:
        what = "is older than 3.2 and cannot sign without chance; install cryptography from PyPI, which brings its own"
        raise InputError("cannot sign on this machine", [Problem("OpenSSL", "todo.signing", what)]) from error
    signature = key.sign(_authenticated(payload), algorithm)
    document = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": fingerprint(key.public_key())}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return files.to_json(document)


def _authenticated(payload: bytes) -> bytes:
    """Return what is signed of a payload: DSSE's pre-authentication encoding (secure-systems-lab/dsse, protocol.md)."""
    return b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _decoded(text: str, place: str) -> bytes:
    """Return the bytes of base64 in its one canonical form: another would be a changed file with the same meaning."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refusal(f"{place} is no base64: {error}") from error
    if base64.b64encode(data).decode() != text:
        raise _refusal(f"{place} is no canonical base64")
    return data


def _refusal(what: str) -> InputError:
    return InputError("not a signature of this version", [Problem(filenames.SIGNATURE, "todo.signing", what)])
