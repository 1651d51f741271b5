"""docs/security.md: every claim names an existing test, and the stated limits are true."""

import ast
import re
import shutil
from pathlib import Path

import pytest
from example_run import write_registry, write_run
from example_version import edit, make_version, reseal

from modelreg.cli.main import main
from modelreg.release import steps
from modelreg.verification import keys, signing

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = sorted(set(re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE)))
ROWS = [line for line in PAGE.splitlines() if line.startswith("|") and not line.startswith(("| claim", "|---"))]
KEY = keys.new("p256")


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_test_that_is_named_exists(file, name) -> None:
    """In the named file."""
    tree = ast.parse((ROOT / "tests" / file).read_text())

    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:40])
def test_every_claim_names_a_test(row) -> None:
    """Every row of a table names a test."""
    assert re.search(r"`test_\w+\.py::test_\w+`", row)


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A registry with one signed version and the public key, as the working directory."""
    root = write_registry(tmp_path)
    version = make_version(root, write_run(root / "runs" / "conv2d_fsq-001"))
    sign(version, KEY)
    steps.write_table(root)
    monkeypatch.chdir(root)
    return root


def sign(version: Path, key: keys.PrivateKey) -> None:
    """Sign a version, and write the public key into the registry."""
    (version / "model.sig").write_bytes(signing.sign_version(version, key))
    (version.parents[2] / "key.pub.pem").write_bytes(keys.public_pem(key.public_key()))


def lie(root: Path) -> Path:
    """Change a value that no other document contradicts, and make the digests match."""
    version = root / "registry" / "conv2d_fsq" / "v0.1.0"
    edit(version / "run.json", lambda document: document.update(stopped="patience"))
    reseal(version)
    return version


def verified() -> int:
    """Return the exit code of `verify`."""
    return main(["verify", "--complete", "--key", "key.pub.pem"])


def test_a_deleted_version_is_not_found(registry) -> None:
    """A signed version does not list the other versions. Only git's history shows a deletion."""
    later = make_version(registry, write_run(registry / "runs" / "conv2d_fsq-002", seed=1), "v0.2.0")
    sign(later, KEY)
    shutil.rmtree(registry / "registry" / "conv2d_fsq" / "v0.1.0")
    steps.write_table(registry)

    assert verified() == 0


def test_a_key_from_the_same_place_proves_nothing(registry) -> None:
    """A person who can change the registry can also change the key in it."""
    before = (registry / "key.pub.pem").read_bytes()
    sign(lie(registry), keys.new("p256"))
    codes = [verified()]
    (registry / "key.pub.pem").write_bytes(before)

    assert [*codes, verified()] == [0, 4]


def test_a_signed_false_value_verifies(registry) -> None:
    """The owner of the key can sign a false value."""
    sign(lie(registry), KEY)

    assert verified() == 0


def test_invented_predictions_verify(registry) -> None:
    """The predictions of this version are random numbers, and its metrics follow from them."""
    assert verified() == 0
