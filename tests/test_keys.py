"""keys: key pairs are written and read; only the owner has access to secrets; other files are refused."""

import os
import stat
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from places import places

from modelreg import files
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
def test_a_pair_is_read_as_written(tmp_path, curve, passphrase) -> None:
    """The public key is that of the private key, on the requested curve."""
    path = tmp_path / "key.pem"
    keys.write_pair(path, keys.new(curve), passphrase)
    private = keys.parse_private(keys.read_secret(path), passphrase, "key.pem")

    assert private.public_key() == keys.load_public(tmp_path / "key.pub.pem")
    assert private.curve.name == keys.CURVES[curve].name


def test_only_the_owner_can_read_a_private_key(tmp_path, key) -> None:
    """Independent of the process's umask."""
    old = os.umask(0)
    keys.write_pair(tmp_path / "key.pem", key, None)
    os.umask(old)

    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600


def test_openssl_reads_the_pair(tmp_path, key) -> None:
    """It derives the public key of key.pub.pem."""
    keys.write_pair(tmp_path / "key.pem", key, PASSPHRASE)
    command = ["openssl", "pkey", "-in", "key.pem", "-passin", f"pass:{PASSPHRASE.decode()}", "-pubout"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)

    assert done.stdout == (tmp_path / "key.pub.pem").read_bytes()


@pytest.mark.parametrize("taken", ["key.pem", "key.pub.pem"])
def test_nothing_is_overwritten(tmp_path, key, taken) -> None:
    """If one file exists, nothing is written."""
    (tmp_path / taken).write_text("mine")
    with pytest.raises(InputError) as caught:
        keys.write_pair(tmp_path / "key.pem", key, None)

    assert places(caught.value.problems) == [(str(tmp_path / taken), "key.exists")]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {taken: "mine"}


@pytest.mark.parametrize("name", ["key", "my.key", "key.pem"])
def test_the_public_key_has_the_name_of_the_private_key(tmp_path, name) -> None:
    """With another ending."""
    assert keys.public_path(tmp_path / name).name == f"{name.removesuffix('.pem')}.pub.pem"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_secret_that_others_can_access_is_refused(tmp_path, mode) -> None:
    """The next step is the command that fixes the mode."""
    path = tmp_path / "my key.pem"
    path.write_bytes(b"x")
    path.chmod(mode)
    with pytest.raises(InputError) as caught:
        keys.read_secret(path)
    (found,) = caught.value.problems

    assert (found.where, found.rule, f"chmod 600 '{path}'" in found.next) == (str(path), "key.mode-unsafe", True)


def test_the_size_of_a_secret_is_limited(tmp_path) -> None:
    """Keys are small."""
    path = tmp_path / "key.pem"
    path.write_bytes(bytes(keys.LIMIT + 1))
    path.chmod(0o600)
    with pytest.raises(InputError) as caught:
        keys.read_secret(path)

    assert places(caught.value.problems) == [(str(path), "files.too-large")]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_both_usual_forms_are_read(key, form) -> None:
    """PKCS 8 and the traditional format of OpenSSL, also encrypted."""
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.BestAvailableEncryption(PASSPHRASE))

    assert keys.parse_private(pem, PASSPHRASE, "x").public_key() == key.public_key()


@pytest.mark.parametrize(
    ("written", "given", "rule"),
    [
        (PASSPHRASE, None, "key.encrypted"),
        (PASSPHRASE, b"wrong", "key.passphrase-wrong"),
        (None, PASSPHRASE, "key.not-encrypted"),
    ],
    ids=["missing", "wrong", "unexpected"],
)
def test_a_passphrase_that_does_not_fit_is_refused(key, written, given, rule) -> None:
    """A missing, a wrong and an unexpected passphrase."""
    with pytest.raises(InputError) as caught:
        keys.parse_private(keys.private_pem(key, written), given, "x")

    assert places(caught.value.problems) == [("x", rule)]


@pytest.mark.parametrize("pem", [b"", b"x", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_file_that_is_not_a_key_is_refused(tmp_path, pem) -> None:
    """As a private key and as a public key."""
    path = tmp_path / "key.pub.pem"
    path.write_bytes(pem)
    with pytest.raises(InputError) as private:
        keys.parse_private(pem, None, "x")
    with pytest.raises(InputError) as public:
        keys.load_public(path)

    assert places([*private.value.problems, *public.value.problems]) == [
        ("x", "key.invalid"),
        (str(path), "key.invalid"),
    ]


def test_a_private_key_is_not_a_public_key(tmp_path, key) -> None:
    """The next step of `verify --key key.pem` names the other file."""
    (tmp_path / "key.pem").write_bytes(keys.private_pem(key, None))
    with pytest.raises(InputError) as caught:
        keys.load_public(tmp_path / "key.pem")

    assert ".pub.pem" in caught.value.problems[0].next


UNFIT = {
    "other curve": ec.generate_private_key(ec.SECP256K1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
    "RSA": rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("other", UNFIT.values(), ids=UNFIT)
def test_other_types_of_keys_are_refused(tmp_path, other) -> None:
    """The format has three curves. Private and public keys of other types are refused."""
    (tmp_path / "key.pub.pem").write_bytes(keys.public_pem(other.public_key()))
    for read in (
        lambda: keys.parse_private(keys.private_pem(other, None), None, "x"),
        lambda: keys.load_public(tmp_path / "key.pub.pem"),
    ):
        with pytest.raises(InputError) as caught:
            read()

        assert [each.rule for each in caught.value.problems] == ["key.type-unsupported"]


def test_a_pair_that_was_written_whole_is_complete(tmp_path) -> None:
    """Killed between giving the private key its name and removing the temporary one."""
    private = tmp_path / "key.pem"
    keys.write_pair(private, keys.new("p256"), None)
    files.temporary(private).hardlink_to(private)

    assert (keys.is_complete(private), files.temporary(private).exists(), keys.is_complete(private)) == (
        True,
        False,
        False,
    )
