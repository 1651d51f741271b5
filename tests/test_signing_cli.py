"""`modelreg keygen`, `sign`, `verify --key` and `release --sign-key` on the command line."""

import json
import os
import pty
import shutil
import subprocess
import sys
from io import StringIO

import pytest
from example_run import write_registry, write_run
from example_version import edit, reseal

from modelreg.cli import sign as signing_command
from modelreg.cli.main import main
from modelreg.verification import keys

VERSION = "registry/conv2d_fsq/v0.1.0"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A registry with one signed version and two keys: key.pem, which signed it, and other.pem."""
    root = write_registry(tmp_path_factory.mktemp("signed"))
    write_run(root / "runs" / "conv2d_fsq-001")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for name in ("key.pem", "other.pem"):
            assert main(["keygen", "--out", name, "--no-passphrase"]) == 0
        assert main(["release", "v0.1.0", "--roll-changelog", "--sign-key", "key.pem"]) == 0
    return root


@pytest.fixture
def registry(made, tmp_path, monkeypatch):
    """A copy of the registry as the working directory, for tests that change it."""
    root = shutil.copytree(made, tmp_path / "registry")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def unsigned(registry):
    """The registry without the signature."""
    (registry / VERSION / "model.sig").unlink()
    return registry


def verify(*arguments):
    """Verify the version with the key that signed it."""
    return main(["verify", "v0.1.0", "--key", "key.pub.pem", *arguments])


def test_a_release_is_signed(registry, capsys) -> None:
    """`release --sign-key` leaves a version that `verify --key` accepts, and names the key."""
    assert verify("--complete") == 0
    assert keys.fingerprint(keys.load_public(registry / "key.pub.pem")) in capsys.readouterr().err


def test_signing_later_gives_the_same_bytes(unsigned, made) -> None:
    """The signature is the only file that can be added to a version."""
    assert main(["sign", "v0.1.0", "--key", "key.pem"]) == 0
    assert (unsigned / VERSION / "model.sig").read_bytes() == (made / VERSION / "model.sig").read_bytes()


def test_a_release_killed_before_its_signature_is_finished_by_the_same_command(unsigned, capsys) -> None:
    """The same command finishes a release that was killed before the signature."""
    assert main(["release", "v0.1.0", "--sign-key", "key.pem"]) == 0
    assert (capsys.readouterr().out.splitlines()[0], verify()) == (f"sign {VERSION}", 0)


def test_a_dry_run_signs_nothing_and_reads_no_key(unsigned, capsys) -> None:
    """It prints the step."""
    assert main(["release", "v0.1.0", "--sign-key", "nowhere.pem", "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"would sign {VERSION}"
    assert not (unsigned / VERSION / "model.sig").exists()


def test_signing_twice_changes_nothing(registry, capsys) -> None:
    """The command prints it."""
    assert main(["sign", "v0.1.0", "--key", "key.pem"]) == 0
    assert "already signed with this key" in capsys.readouterr().out


def test_another_signature_is_not_replaced(registry, capsys) -> None:
    """The message names the file to remove first."""
    assert main(["sign", "v0.1.0", "--key", "other.pem"]) == 5
    shown = capsys.readouterr().err
    assert (f"{VERSION}/model.sig: " in shown, "[sign.other-signature]" in shown) == (True, True)


def test_a_version_that_does_not_verify_is_not_signed(unsigned, capsys) -> None:
    """Nothing is written."""
    (unsigned / VERSION / "run.json").write_text("{}")

    assert main(["sign", "v0.1.0", "--key", "key.pem"]) == 4
    assert not (unsigned / VERSION / "model.sig").exists()


def test_a_version_with_a_missing_file_is_not_signed(unsigned, capsys) -> None:
    """The error names the asset and the command that downloads it."""
    (unsigned / VERSION / "predictions.npz").unlink()

    assert main(["sign", "v0.1.0", "--key", "key.pem"]) == 4
    shown = capsys.readouterr().err
    assert "predictions.npz: is not on this machine  [version.asset-missing]" in shown
    assert "modelreg pull" in shown


@pytest.mark.parametrize("complete", [False, True])
def test_only_the_digest_of_a_missing_asset_is_proven(registry, capsys, complete) -> None:
    """A notice says it; with --complete it is a failure."""
    (registry / VERSION / "checkpoint.safetensors").unlink()

    assert verify(*(["--complete"] if complete else [])) == (4 if complete else 0)
    assert complete or "1 files are not on this machine" in capsys.readouterr().err


def test_another_key_is_refused(registry, capsys) -> None:
    """Exit 4."""
    assert main(["verify", "--key", "other.pub.pem"]) == 4
    said = capsys.readouterr().err
    assert ("conv2d_fsq@v0.1.0: model.sig: " in said, "[sign.key-mismatch]" in said) == (True, True)


def test_resealed_changes_are_found_with_the_key(registry, capsys) -> None:
    """Only with the key."""
    edit(registry / VERSION / "run.json", lambda document: document.update(stopped="patience"))
    reseal(registry / VERSION)

    assert (main(["verify"]), verify()) == (0, 4)


def test_an_unsigned_version_fails_with_a_key(unsigned, capsys) -> None:
    """With a key, every version must be signed."""
    assert main(["verify", "--key", "key.pub.pem"]) == 4
    assert "[sign.signature-missing]" in capsys.readouterr().err


def test_an_unchecked_signature_is_a_notice(registry, capsys) -> None:
    """Without a key, `verify` cannot check it."""
    assert main(["verify", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["versions"]

    assert [notice["where"] for notice in found["notices"]] == ["model.sig"]


@pytest.mark.parametrize("name", ["key.pem", "nowhere.pem", "modelreg.yaml"])
def test_an_invalid_public_key_is_refused(registry, name) -> None:
    """Before any file is hashed: exit 3."""
    assert main(["verify", "--key", name]) == 3


def test_a_key_that_others_may_read_is_refused(unsigned, capsys) -> None:
    """Exit 3, with the command that fixes the mode. Nothing is signed."""
    (unsigned / "key.pem").chmod(0o644)

    assert main(["sign", "v0.1.0", "--key", "key.pem"]) == 3
    assert "chmod 600 key.pem" in capsys.readouterr().err


def test_a_release_with_a_bad_key_leaves_nothing(registry) -> None:
    """The key is read before the first step."""
    assert main(["release", "v0.2.0", "--roll-changelog", "--force", "--sign-key", "modelreg.yaml"]) == 3
    assert [path.name for path in (registry / "registry" / "conv2d_fsq").iterdir()] == ["v0.1.0"]


# Passphrases


def write_secret(path, text: str) -> None:
    """Write a file that only its owner may read."""
    path.write_text(text)
    path.chmod(0o600)


def test_a_passphrase_is_read_from_a_file(unsigned) -> None:
    """The newline at the end is ignored. The key cannot be used without the passphrase."""
    write_secret(unsigned / "pass", "correct horse\n")
    write_secret(unsigned / "same", "correct horse")

    assert main(["keygen", "--out", "mine.pem", "--passphrase-file", "pass"]) == 0
    assert main(["sign", "v0.1.0", "--key", "mine.pem"]) == 3
    assert main(["sign", "v0.1.0", "--key", "mine.pem", "--passphrase-file", "same"]) == 0


@pytest.mark.parametrize(
    ("text", "rule"),
    [("\n", "key.passphrase-empty"), ("x" * 1001, "key.passphrase-too-long")],
    ids=["empty", "long"],
)
def test_an_empty_or_long_passphrase_is_refused(registry, capsys, text, rule) -> None:
    """An empty file, and a passphrase that is too long for OpenSSL."""
    write_secret(registry / "pass", text)

    assert main(["keygen", "--out", "mine.pem", "--passphrase-file", "pass"]) == 3
    assert f"[{rule}]" in capsys.readouterr().err
    assert not (registry / "mine.pem").exists()


def test_without_a_terminal_there_is_no_prompt(registry, capsys, monkeypatch) -> None:
    """The error names the options for a script."""
    monkeypatch.setattr(sys, "stdin", StringIO())

    assert main(["keygen", "--out", "mine.pem"]) == 3
    shown = capsys.readouterr().err
    assert ("[key.passphrase-no-terminal]" in shown, "--no-passphrase" in shown) == (True, True)


def test_no_passphrase_contradicts_a_passphrase_file(registry) -> None:
    """A file, or no passphrase."""
    assert main(["keygen", "--passphrase-file", "x", "--no-passphrase"]) == 2


def test_keygen_overwrites_nothing(registry, capsys) -> None:
    """It fails before the prompt for a passphrase."""
    before = (registry / "key.pem").read_bytes()

    assert main(["keygen"]) == 3
    assert (registry / "key.pem").read_bytes() == before


def typed(arguments, folder, *lines: str) -> tuple[int, str]:
    """Run a command in a terminal and type lines at its prompts. Return the exit code and the output."""
    terminal, other = pty.openpty()
    command = [sys.executable, "-m", "modelreg", *arguments]
    with subprocess.Popen(
        command, cwd=folder, stdin=other, stdout=other, stderr=other, start_new_session=True
    ) as process:
        os.close(other)
        shown = b""
        for line in lines:
            while not shown.endswith(b": "):
                shown += os.read(terminal, 1000)
            os.write(terminal, line.encode())
            shown += b"|"
        shown += rest(terminal)
    os.close(terminal)
    return process.returncode, shown.decode()


def rest(terminal: int) -> bytes:
    """Return the remaining output of a terminal."""
    shown = b""
    try:
        while data := os.read(terminal, 1000):
            shown += data
    except OSError:  # Linux: the other end is closed
        pass
    return shown


def test_a_typed_passphrase_is_not_shown(unsigned) -> None:
    """Twice for a new key, and once to sign."""
    made = typed(["keygen", "--out", "mine.pem"], unsigned, "horse\n", "horse\n")
    signed = typed(["sign", "v0.1.0", "--key", "mine.pem"], unsigned, "horse\n")

    assert (made[0], signed[0], "horse" in made[1] + signed[1]) == (0, 0, False)


@pytest.mark.parametrize(
    ("answers", "rule"),
    [(("horse\n", "house\n"), "key.passphrase-mismatch"), (("\x04",), "key.passphrase-missing")],
    ids=["differ", "end"],
)
def test_without_a_passphrase_no_key_is_made(registry, answers, rule) -> None:
    """Two different passphrases, or the end of the input."""
    code, shown = typed(["keygen", "--out", "mine.pem"], registry, *answers)

    assert (code, rule in shown) == (3, True)
    assert not (registry / "mine.pem").exists()


def test_an_empty_passphrase_makes_an_unencrypted_key(registry) -> None:
    """The key can be used without a passphrase."""
    assert typed(["keygen", "--out", "mine.pem"], registry, "\n", "\n")[0] == 0
    assert signing_command.read_key(registry / "mine.pem", None).curve.name == "secp256r1"
