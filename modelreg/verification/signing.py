"""Signatures over a version: OpenSSF Model Signing v1.0, with elliptic-curve keys in local files.

A signature bundle has three nested layers of JSON: a Sigstore bundle, which names the key; a DSSE envelope, which is
signed; and an in-toto statement, which lists every file with its SHA-256. The format is defined by
https://github.com/ossf/model-signing-spec (v1.0). Its reference implementation, `model-signing`, verifies signatures of
this module, and this module verifies its signatures. The statement is parsed only after its signature was verified.

The digests of a version are signed. `verify` compares every file with the manifest first, and then the manifest with
the signed digests. A release asset that is not on this machine is therefore covered by its signed digest.
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
SIGNATURE_LIMIT = 4 * 2**20  # bytes; about 15,000 files
HASHES: dict[str, hashes.HashAlgorithm] = {
    ec.SECP256R1.name: hashes.SHA256(),
    ec.SECP384R1.name: hashes.SHA384(),
    ec.SECP521R1.name: hashes.SHA512(),
}


class _Key(Record):
    """The key, identified by the SHA-256 of its PEM. Earlier bundles contain the key itself, which proves nothing."""

    hint: Sha256 | None = None
    raw_bytes: Annotated[str | None, Field(alias="rawBytes")] = None
    details: Annotated[str | None, Field(alias="keyDetails")] = None


class _Material(Record):
    """Verification material. Entries of a public log are ignored."""

    public_key: Annotated[_Key, Field(alias="publicKey")]
    log: Annotated[tuple[Any, ...], Field(alias="tlogEntries")] = ()


class _Signature(Record):
    sig: str
    keyid: str | None = None


class _Envelope(Record):
    """A DSSE envelope: the statement in base64, and the signature over its type and bytes."""

    payload: str
    payload_type: Annotated[Literal["application/vnd.in-toto+json"], Field(alias="payloadType")]
    signatures: Annotated[tuple[_Signature, ...], Field(min_length=1, max_length=1)]


class _Bundle(Record):
    media_type: Annotated[Literal["application/vnd.dev.sigstore.bundle.v0.3+json"], Field(alias="mediaType")]
    material: Annotated[_Material, Field(alias="verificationMaterial")]
    envelope: Annotated[_Envelope, Field(alias="dsseEnvelope")]


class _Open(Record):
    """A part of the statement. Unknown fields are ignored, as the format requires."""

    model_config = ConfigDict(extra="ignore")


class _Digest(_Open):
    sha256: Sha256


class _Subject(_Open):
    """The model: its folder's name, which is not verified, and the digest over the digests of all files."""

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
    """Return the digest of every file that a version's signature covers. `manifest` is the bytes of manifest.json."""
    read = validate(manifest, Manifest, filenames.MANIFEST)
    return versions.digests(read, files.sha256_bytes(manifest))


def sign_version(folder: Path, key: PrivateKey) -> bytes:
    """Return the signature bundle of a verified version."""
    return sign(digests_of(files.read_bytes(folder / filenames.MANIFEST)), folder.name, key)


def find_version_problems(folder: Path, key: PublicKey) -> Iterator[Problem]:
    """Yield where a version differs from what this key signed. Its files must match its manifest."""
    path = folder / filenames.SIGNATURE
    if not path.exists():
        yield Problem(filenames.SIGNATURE, "sign.signature-missing", "missing: the version is not signed")
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
    """Return the bundle that signs files by their hex SHA-256. `name` is the name of their folder.

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
    """Yield why a bundle is not of this key, or every file that was added, removed or changed after signing."""
    try:
        signed = signed_digests(bundle, key)
    except InputError as error:
        yield from error.problems
        return
    for path in sorted(signed.keys() | digests.keys()):
        if path not in signed:
            yield Problem(path, "sign.file-unexpected", "unexpected: the signature does not cover this file")
        elif path not in digests:
            yield Problem(path, "sign.file-missing", "missing: signed, but not part of the version")
        elif signed[path] != digests[path]:
            found = f"signed {files.short_digest(signed[path])}, found {files.short_digest(digests[path])}"
            yield Problem(path, "sign.digest-mismatch", f"sha256 mismatch: {found}")


def signed_digests(bundle: bytes, key: PublicKey) -> dict[str, str]:
    """Return the digests that a key signed, by path. Raises InputError for a damaged bundle, another key or method."""
    envelope, hint = _envelope_of(bundle)
    if hint not in (None, fingerprint(key)):
        what = f"signed with key {hint}, expected {fingerprint(key)}"
        raise _refused(Problem(filenames.SIGNATURE, "sign.key-mismatch", what))
    payload, signature = _decoded(envelope.payload, "payload"), _decoded(envelope.signatures[0].sig, "sig")
    try:
        key.verify(signature, _authenticated(payload), ec.ECDSA(HASHES[key.curve.name]))
    except InvalidSignature as error:
        what = f"the signature is not valid for key {fingerprint(key)}"
        raise _refused(Problem(filenames.SIGNATURE, "sign.signature-invalid", what)) from error
    return _digests_in(payload)


def _envelope_of(bundle: bytes) -> tuple[_Envelope, str | None]:
    """Return the envelope of a bundle and the fingerprint of its key."""
    if len(bundle) > SIGNATURE_LIMIT:
        what = f"larger than {SIGNATURE_LIMIT:,} bytes"
        raise _refused(Problem(filenames.SIGNATURE, "files.too-large", what))
    files.parse_json(bundle, filenames.SIGNATURE)  # pydantic accepts duplicate keys
    read = validate(bundle, _Bundle, filenames.SIGNATURE)
    return read.envelope, read.material.public_key.hint


def _digests_in(payload: bytes) -> dict[str, str]:
    where = f"{filenames.SIGNATURE}: payload"
    files.parse_json(payload, where)
    statement = validate(payload, _Statement, where)
    resources = statement.predicate.resources
    signed = {resource.name: resource.digest for resource in resources}
    if len(signed) < len(resources):
        raise _malformed("the statement lists a file twice")
    if _digest_of(resource.digest for resource in resources) != statement.subject[0].digest.sha256:
        raise _malformed("the subject's digest does not match the listed files")
    return signed


def _digest_of(digests: Iterable[str]) -> str:
    """Return the SHA-256 over the raw digests of all files, in the listed order."""
    return files.sha256_bytes(b"".join(map(bytes.fromhex, digests)))


def _sealed(payload: bytes, key: PrivateKey) -> bytes:
    """Return the bundle around a statement."""
    try:
        algorithm = ec.ECDSA(HASHES[key.curve.name], deterministic_signing=True)
    except UnsupportedAlgorithm as error:
        what = "OpenSSL is older than 3.2 and does not support deterministic signatures"
        raise InputError("nothing was signed", [Problem("OpenSSL", "sign.openssl-too-old", what)]) from error
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
    """Return the signed bytes of a payload: DSSE pre-authentication encoding (secure-systems-lab/dsse, protocol.md)."""
    return b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _decoded(text: str, place: str) -> bytes:
    """Decode canonical base64. Other forms are refused: they would be a changed file with the same meaning."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed(f"invalid base64 in {place}: {error}") from error
    if base64.b64encode(data).decode() != text:
        raise _malformed(f"base64 in {place} is not canonical")
    return data


def _malformed(what: str) -> InputError:
    return _refused(Problem(filenames.SIGNATURE, "sign.bundle-invalid", what))


def _refused(problem: Problem) -> InputError:
    return InputError("cannot verify the signature", [problem])
