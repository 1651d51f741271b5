"""keys: what is written is read again, by its owner alone; everything else is refused in words."""

import os
import stat
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from modelreg.errors import InputError
from modelreg.verification import keys

PASSPHRASE = b"correct horse"
FORMS = {
    "PKCS 8": serialization.PrivateFormat.PKCS8,
    "SEC 1": serialization.PrivateFormat.TraditionalOpenSSL,
}


@pytest.fixture(scope="module")
def key():
    """A key of the smallest curve."""
    return keys.new("p256")


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE], ids=["plain", "encrypted"])
@pytest.mark.parametrize("curve", keys.CURVES)
def test_a_pair_comes_back(tmp_path, curve, passphrase) -> None:
    """The private half gives the public one, of the curve that was asked for."""
    path = tmp_path / "key.pem"
    keys.write_pair(path, keys.new(curve), passphrase)
    private = keys.parse_private(keys.read_secret(path), passphrase, "key.pem")

    assert private.public_key() == keys.load_public(tmp_path / "key.pub.pem")
    assert private.curve.name == keys.CURVES[curve].name


def test_only_its_owner_may_read_a_private_key(tmp_path, key) -> None:
    """Whatever the process's mask allows."""
    old = os.umask(0)
    keys.write_pair(tmp_path / "key.pem", key, None)
    os.umask(old)

    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600


def test_openssl_reads_the_pair(tmp_path, key) -> None:
    """The public half that it derives is the file beside the key."""
    keys.write_pair(tmp_path / "key.pem", key, PASSPHRASE)
    command = ["openssl", "pkey", "-in", "key.pem", "-passin", f"pass:{PASSPHRASE.decode()}", "-pubout"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)

    assert done.stdout == (tmp_path / "key.pub.pem").read_bytes()


@pytest.mark.parametrize("taken", ["key.pem", "key.pub.pem"])
def test_nothing_is_overwritten(tmp_path, key, taken) -> None:
    """Neither half, and then neither is written."""
    (tmp_path / taken).write_text("mine")
    with pytest.raises(InputError, match="never overwritten"):
        keys.write_pair(tmp_path / "key.pem", key, None)

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {taken: "mine"}


@pytest.mark.parametrize("name", ["key", "my.key", "key.pem"])
def test_the_public_half_lies_beside_the_private_one(tmp_path, name) -> None:
    """Under its name, whatever its ending."""
    assert keys.public_path(tmp_path / name).name == f"{name.removesuffix('.pem')}.pub.pem"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_secret_that_others_may_read_is_refused(tmp_path, mode) -> None:
    """The message is the command that mends it."""
    path = tmp_path / "my key.pem"
    path.write_bytes(b"x")
    path.chmod(mode)
    with pytest.raises(InputError) as caught:
        keys.read_secret(path)

    assert f"chmod 600 '{path}'" in str(caught.value)


def test_a_secret_is_bounded(tmp_path) -> None:
    """No key is as large."""
    path = tmp_path / "key.pem"
    path.write_bytes(bytes(keys.LIMIT + 1))
    path.chmod(0o600)
    with pytest.raises(InputError, match="larger than"):
        keys.read_secret(path)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_both_usual_forms_are_read(key, form) -> None:
    """As openssl has written them over the years, encrypted too."""
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.BestAvailableEncryption(PASSPHRASE))

    assert keys.parse_private(pem, PASSPHRASE, "x").public_key() == key.public_key()


@pytest.mark.parametrize(
    ("written", "given", "rule"),
    [
        (PASSPHRASE, None, "is encrypted; give --passphrase-file"),
        (PASSPHRASE, b"wrong", "the passphrase is wrong"),
        (None, PASSPHRASE, "is not encrypted"),
    ],
    ids=["none", "wrong", "needless"],
)
def test_a_passphrase_that_does_not_fit_is_refused(key, written, given, rule) -> None:
    """None where one is needed, a wrong one, one where none is."""
    with pytest.raises(InputError, match=rule):
        keys.parse_private(keys.private_pem(key, written), given, "x")


@pytest.mark.parametrize("pem", [b"", b"x", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_refused(tmp_path, pem) -> None:
    """Whichever half was asked for."""
    (tmp_path / "key.pub.pem").write_bytes(pem)
    with pytest.raises(InputError, match="no private key in PEM"):
        keys.parse_private(pem, None, "x")
    with pytest.raises(InputError, match="no public key in PEM"):
        keys.load_public(tmp_path / "key.pub.pem")


def test_a_private_key_is_no_public_one(tmp_path, key) -> None:
    """`verify --key key.pem` is told which file it is."""
    (tmp_path / "key.pem").write_bytes(keys.private_pem(key, None))
    with pytest.raises(InputError, match=r"as key\.pub\.pem"):
        keys.load_public(tmp_path / "key.pem")


UNFIT = {
    "other curve": ec.generate_private_key(ec.SECP256K1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
    "RSA": rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("other", UNFIT.values(), ids=UNFIT)
def test_other_kinds_of_key_are_refused(tmp_path, other) -> None:
    """The format takes three curves; both halves of the rest are named as unfit."""
    (tmp_path / "key.pub.pem").write_bytes(keys.public_pem(other.public_key()))
    for read in (
        lambda: keys.parse_private(keys.private_pem(other, None), None, "x"),
        lambda: keys.load_public(tmp_path / "key.pub.pem"),
    ):
        with pytest.raises(InputError, match="P-256, P-384 or P-521"):
            read()
