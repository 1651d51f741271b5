"""signing and the reference implementation of its format: each verifies the signatures of the other."""

import json
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from example_run import write_registry, write_run
from example_version import make_version
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelreg import files
from modelreg.verification import keys, signing

reference = pytest.importorskip("model_signing")

FILES = {"a.txt": b"a", "onnx/b.onnx": b"b", "onnx.json": b"", "z": b"z" * 5000}  # by parts, onnx/ comes before onnx.
KEYS = {curve: keys.new(curve) for curve in keys.CURVES}


@pytest.fixture(params=keys.CURVES)
def folder(request, tmp_path):
    """A folder of files, and a key pair in its parent."""
    keys.write_pair(tmp_path / "key.pem", KEYS[request.param], None)
    write(tmp_path / "v0.1.0")
    return tmp_path / "v0.1.0"


def write(folder: Path) -> None:
    """Write the files."""
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def key_of(folder: Path):
    """Return the private key of a folder."""
    return keys.parse_private((folder.parent / "key.pem").read_bytes(), None, "key.pem")


def sign_ours(folder: Path) -> None:
    """Sign with modelreg."""
    (folder / "model.sig").write_bytes(signing.sign(digests(folder), folder.name, key_of(folder)))


def sign_theirs(folder: Path) -> None:
    """Sign with the reference implementation in the same way as its command: the signature is not covered."""
    hashing = reference.hashing.Config().set_ignored_paths(paths=["model.sig"])
    config = reference.signing.Config().set_hashing_config(hashing)
    config.use_elliptic_key_signer(private_key=folder.parent / "key.pem").sign(folder, folder / "model.sig")


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of every file except the signature."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "model.sig"]
    return {path.relative_to(folder).as_posix(): files.sha256(path) for path in paths}


def is_right_to_us(folder: Path) -> bool:
    """Return whether modelreg verifies the signature."""
    bundle = (folder / "model.sig").read_bytes()
    return not list(signing.find_signature_problems(bundle, digests(folder), key_of(folder).public_key()))


def is_right_to_them(folder: Path) -> bool:
    """Return whether the reference implementation verifies the signature."""
    config = reference.verifying.Config().use_elliptic_key_verifier(public_key=folder.parent / "key.pub.pem")
    try:
        config.verify(folder, folder / "model.sig")
    except (ValueError, InvalidSignature):
        return False
    return True


def payload(folder: Path) -> dict:
    """Return the signed statement."""
    return json.loads(b64decode(json.loads((folder / "model.sig").read_bytes())["dsseEnvelope"]["payload"]))


def test_they_verify_what_we_signed(folder) -> None:
    """On every curve."""
    sign_ours(folder)

    assert is_right_to_them(folder)


def test_we_verify_what_they_signed(folder) -> None:
    """On every curve."""
    sign_theirs(folder)

    assert is_right_to_us(folder)


def test_both_sign_the_same_files(folder) -> None:
    """The same names with the same digests. The order of the list differs, and the subject's digest covers it."""
    listed = []
    for sign in (sign_ours, sign_theirs):
        sign(folder)
        listed.append(sorted(payload(folder)["predicate"]["resources"], key=lambda resource: resource["name"]))

    assert listed[0] == listed[1]


OTHER = keys.new("p256")
TAMPERED = {
    "changed": lambda folder: (folder / "z").write_bytes(b"y" * 5000),
    "extra": lambda folder: (folder / "new").write_text(""),
    "missing": lambda folder: (folder / "a.txt").unlink(),
    "renamed": lambda folder: (folder / "a.txt").rename(folder / "b.txt"),
    "other key": lambda folder: (folder.parent / "key.pub.pem").write_bytes(keys.public_pem(OTHER.public_key())),
}


@pytest.mark.parametrize("sign", [sign_ours, sign_theirs])
@pytest.mark.parametrize("tamper", TAMPERED)
def test_both_refuse_changed_files(tmp_path, sign, tamper) -> None:
    """Unexpected, missing, renamed and changed files, and another key."""
    keys.write_pair(tmp_path / "key.pem", KEYS["p256"], None)
    folder = tmp_path / "v0.1.0"
    write(folder)
    sign(folder)
    TAMPERED[tamper](folder)
    public = keys.load_public(tmp_path / "key.pub.pem")
    ours = list(signing.find_signature_problems((folder / "model.sig").read_bytes(), digests(folder), public))

    assert (bool(ours), is_right_to_them(folder)) == (True, False)


def test_their_command_verifies_what_we_signed(tmp_path) -> None:
    """A third party does not need modelreg."""
    keys.write_pair(tmp_path / "key.pem", KEYS["p384"], None)
    write(tmp_path / "model")
    sign_ours(tmp_path / "model")
    arguments = ["--signature", tmp_path / "model" / "model.sig", "--public_key", tmp_path / "key.pub.pem"]
    command = [sys.executable, "-m", "model_signing", "verify", "key", tmp_path / "model", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout.strip()) == (0, "Verification succeeded")


def test_they_verify_a_version(tmp_path) -> None:
    """modelreg signs the digests of the manifest, and they hash every file of the folder."""
    root = write_registry(tmp_path / "registry")
    version = make_version(root, write_run(root / "runs" / "conv2d_fsq-001"))
    keys.write_pair(version.parent / "key.pem", KEYS["p256"], None)
    (version / "model.sig").write_bytes(signing.sign_version(version, KEYS["p256"]))

    assert is_right_to_them(version)


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """A folder signed by the reference implementation."""
    folder = tmp_path_factory.mktemp("signed") / "v0.1.0"
    keys.write_pair(folder.parent / "key.pem", KEYS["p256"], None)
    write(folder)
    sign_theirs(folder)
    return folder


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.data())
def test_any_flipped_bit_of_their_signature_is_found(signed, data) -> None:
    """At any position."""
    broken = bytearray((signed / "model.sig").read_bytes())
    broken[data.draw(st.integers(0, len(broken) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    assert list(signing.find_signature_problems(bytes(broken), digests(signed), KEYS["p256"].public_key()))
