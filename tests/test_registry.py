"""registry: versions in order, references resolved."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from modelreg import files
from modelreg.errors import InputError, RegistryError
from modelreg.records.base import VersionText
from modelreg.records.manifest import Manifest
from modelreg.registry import versions

ORDER = ["v0.1.0", "v0.2.0-rc.1", "v0.2.0-rc.2", "v0.2.0-rc.10", "v0.2.0", "v0.10.0", "v1.0.0-alpha"]


@pytest.fixture
def root(tmp_path):
    """A registry of empty folders."""
    for name in reversed(ORDER):
        (tmp_path / "registry" / "m" / name).mkdir(parents=True)
    (tmp_path / "registry" / "m" / "vnext").mkdir()
    (tmp_path / "registry" / "m" / ".v9.9.9.staged").mkdir()
    (tmp_path / "registry" / "other" / "v3.0.0").mkdir(parents=True)
    return tmp_path


def test_versions_come_in_their_order(root) -> None:
    """By precedence, not by name; what is no version is left out."""
    assert [folder.name for folder in versions.version_folders(root, "m")] == ORDER


def test_versions_of_all_models_come_by_model(root) -> None:
    """Models in order of their names."""
    assert [folder.name for folder in versions.version_folders(root)] == [*ORDER, "v3.0.0"]


@pytest.mark.parametrize(
    ("reference", "place"),
    [
        ("v0.2.0", "m/v0.2.0"),
        ("0.2.0", "m/v0.2.0"),
        ("m@v0.2.0-rc.1", "m/v0.2.0-rc.1"),
        ("m@latest", "m/v0.10.0"),
        ("latest", "m/v0.10.0"),
        ("other@v3.0.0", "other/v3.0.0"),
    ],
)
def test_a_reference_is_resolved(root, reference, place) -> None:
    """`latest` is the highest stable version."""
    assert versions.resolve(reference, root, "m") == root / "registry" / place


@pytest.mark.parametrize(
    ("reference", "rule"),
    [
        ("m@v9.0.0", "m has v0.1.0, "),
        ("nobody@latest", "nobody has no version; the registry has versions of"),
        ("m@../x", "write v0.2.0"),
        ("v1", "not a semantic version"),
        (f"v1.0.0-{'a' * 75}", "longer than 80 characters"),
        ("M@v1.0.0", "write v0.2.0"),
    ],
)
def test_an_unknown_reference_is_refused(root, reference, rule) -> None:
    """Exit 5, saying what there is."""
    with pytest.raises(RegistryError, match=rule):
        versions.resolve(reference, root, "m")


@given(st.text(max_size=20))
def test_a_reference_never_leaves_the_registry(tmp_path_factory, text) -> None:
    """Whatever is typed, the result lies inside, or it is refused."""
    root = tmp_path_factory.getbasetemp()
    try:
        found = versions.resolve(text, root, "m")
    except RegistryError:
        return
    assert found.resolve().is_relative_to(root / "registry")


def test_no_registry_holds_no_version(tmp_path) -> None:
    """A folder without registry/ is an empty one."""
    assert versions.versions(tmp_path) == []


@given(st.integers(0, 90), st.sampled_from(["", "v"]))
def test_a_version_that_is_parsed_fits_its_record(length, prefix) -> None:
    """What the manifest would refuse is refused before."""
    text = f"1.0.0-{'a' * (length + 1)}"
    try:
        parsed = versions.parse_version(prefix + text)
    except RegistryError:
        assert len(text) > 80
    else:
        assert TypeAdapter(VersionText).validate_python(str(parsed)) == text


STRAYS = ["m/v1.0", "m/vnext", "m/v1.0.0", "m/.hidden", "m/.vnext", "Conv", "m-2", "stray.txt"]


@pytest.fixture
def untidy(root):
    """The same, with what is no version; v1.0.0 is a file."""
    for name in STRAYS:
        path = root / "registry" / name
        path.touch() if name in ("m/v1.0.0", "stray.txt") else path.mkdir(exist_ok=True)
    (root / "registry" / ".gitkeep").touch()
    (root / "registry" / "other" / ".gitkeep").touch()
    return root


def test_what_is_no_version_is_found(untidy) -> None:
    """Models, versions, left-over stages and .gitkeep are none of it."""
    assert {problem.where for problem in versions.find_strays(untidy)} == {f"registry/{name}" for name in STRAYS}


def test_what_is_no_version_is_not_listed(untidy) -> None:
    """A file named like a version is none."""
    assert [folder.name for folder in versions.version_folders(untidy)] == [*ORDER, "v3.0.0"]


def test_what_an_interrupted_release_left_is_found(untidy) -> None:
    """It is no stray."""
    assert [notice.where for notice in versions.find_leftovers(untidy)] == ["registry/m/.v9.9.9.staged"]


@pytest.mark.parametrize("find", [versions.find_strays, versions.find_leftovers])
def test_no_registry_holds_no_stray(tmp_path, find) -> None:
    """A folder without registry/ is tidy."""
    assert list(find(tmp_path)) == []


MANIFEST = {
    "schema_version": 1,
    "model": "m",
    "version": "0.1.0",
    "created": "2026-11-21T10:00:00Z",
    "tool": {"name": "modelreg", "version": "0.1.0"},
    "git": None,
    "files": [{"path": "checkpoint.safetensors", "sha256": "a" * 64, "size": 1, "stored": "git"}],
}


@pytest.fixture
def write_manifest(root):
    """Writes the manifest of m@v0.1.0 and returns the version's folder."""
    folder = root / "registry" / "m" / "v0.1.0"

    def write(text):
        (folder / "manifest.json").write_text(text)
        return folder

    return write


def test_a_version_is_read(write_manifest) -> None:
    """Its manifest, as it was written."""
    folder = write_manifest(json.dumps(MANIFEST))

    assert versions.read_version(folder).manifest == Manifest.model_validate_json(json.dumps(MANIFEST))


def test_the_same_weights_are_found_beside_a_broken_version(tmp_path) -> None:
    """A manifest that cannot be read is `verify`'s business."""
    checkpoint = tmp_path / "checkpoint.safetensors"
    checkpoint.write_bytes(b"weights")
    twin = {**MANIFEST["files"][0], "sha256": files.sha256(checkpoint)}
    other = {**MANIFEST, "version": "0.2.0"}
    manifests = {"v0.1.0": "{", "v0.2.0": json.dumps(other), "v0.3.0": json.dumps({**MANIFEST, "files": [twin]})}
    for name, text in manifests.items():
        files.write_atomic(make_version(tmp_path, name) / "manifest.json", text.encode())

    assert [found.folder.name for found in versions.same_weights(tmp_path, "m", checkpoint)] == ["v0.3.0"]


def make_version(root, name):
    """Make an empty folder of a version."""
    folder = root / "registry" / "m" / name
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(MANIFEST).replace('"git": null', '"git": null, "git": null'),
        json.dumps(MANIFEST).replace('"size": 1', '"size": NaN'),
        json.dumps(MANIFEST).replace('"size": 1', '"size": 1.0'),
        json.dumps(MANIFEST).replace('"git": null', '"git": null, "extra": 1'),
        json.dumps(MANIFEST)[:-1],
    ],
    ids=["duplicate key", "NaN", "not an integer", "unknown key", "truncated"],
)
def test_reading_stays_strict_without_the_schema(write_manifest, text) -> None:
    """Strict JSON and the record refuse what `verify` would."""
    folder = write_manifest(text)

    with pytest.raises(InputError):
        versions.read_version(folder)
