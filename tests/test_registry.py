"""registry: the order of versions, and resolved references."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import places
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
    (tmp_path / "registry" / "m" / ".v9.9.8.pull").mkdir()
    (tmp_path / "registry" / "other" / "v3.0.0").mkdir(parents=True)
    return tmp_path


def test_versions_come_in_their_order(root) -> None:
    """Sorted by precedence, not by name. Other folders are ignored."""
    assert [folder.name for folder in versions.version_folders(root, "m")] == ORDER


def test_versions_of_all_models_come_by_model(root) -> None:
    """Models are sorted by name."""
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
    ("text", "right"),
    [
        ("v01.0.0", "v1.0.0"),
        ("1.00.0", "v1.0.0"),
        ("v1.0.0-rc.01", "v1.0.0-rc.1"),
        ("v01.2.3-a.00+01", "v1.2.3-a.0+01"),
        ("v01.0", None),
        ("v1.0.0-", None),
    ],
)
def test_leading_zeros_are_named_where_nothing_else_is_wrong(text, right) -> None:
    """With the version to write."""
    with pytest.raises(RegistryError) as caught:
        versions.parse_version(text)
    (problem,) = caught.value.problems

    assert (problem.where, problem.rule, problem.next) == (text, "version.invalid", f"write {right}" if right else "")
    assert ("invalid version: leading zero" in problem.message) == bool(right)


@pytest.mark.parametrize(
    ("reference", "rule", "named"),
    [
        ("m@v9.0.0", "version.unknown", "m: v0.1.0, v0.2.0"),
        ("nobody@latest", "version.unknown", "m, other"),
        ("m@../x", "reference.invalid", ""),
        ("v1", "version.invalid", ""),
        ("m@v01.0.0", "version.invalid", "leading zero"),
        (f"v1.0.0-{'a' * 75}", "version.invalid", "80"),
        ("M@v1.0.0", "reference.invalid", ""),
        ("other", "reference.model-only", ""),
        ("m@prod", "alias.unknown", "none"),
    ],
)
def test_an_unknown_reference_is_refused(root, reference, rule, named) -> None:
    """The message lists the versions or models of the registry."""
    with pytest.raises(RegistryError) as caught:
        versions.resolve(reference, root, "m")
    (found,) = caught.value.problems

    assert (found.rule, named in found.message) == (rule, True)


@pytest.mark.parametrize(("model", "named"), [("nobody", "m, other"), ("nobody", "none")])
def test_an_unknown_model_is_refused(root, tmp_path_factory, model, named) -> None:
    """The message lists the models of the registry."""
    place = root if named != "none" else tmp_path_factory.mktemp("empty")
    with pytest.raises(RegistryError) as caught:
        versions.refuse_unknown_model(place, model)

    assert places(caught.value.problems) == [(model, "model.unknown")]
    assert named in caught.value.problems[0].message


@given(st.text(max_size=20))
def test_a_reference_never_leaves_the_registry(tmp_path_factory, text) -> None:
    """Any text resolves to a folder of the registry, or is refused."""
    root = tmp_path_factory.getbasetemp()
    try:
        found = versions.resolve(text, root, "m")
    except RegistryError:
        return
    assert found.resolve().is_relative_to(root / "registry")


def test_a_missing_registry_has_no_version(tmp_path) -> None:
    """A folder without registry/ is an empty registry."""
    assert versions.versions(tmp_path) == []


@given(st.integers(0, 90), st.sampled_from(["", "v"]))
def test_a_version_that_is_parsed_fits_its_record(length, prefix) -> None:
    """A version that the manifest would refuse is refused first."""
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
    """The same registry with other files and folders; v1.0.0 is a file."""
    for name in STRAYS:
        path = root / "registry" / name
        path.touch() if name in ("m/v1.0.0", "stray.txt") else path.mkdir(exist_ok=True)
    (root / "registry" / ".gitkeep").touch()
    (root / "registry" / "other" / ".gitkeep").touch()
    return root


def test_unexpected_files_are_found(untidy) -> None:
    """Models, versions, leftovers and .gitkeep are expected."""
    expected = {(f"registry/{name}", "registry.file-unexpected") for name in STRAYS}

    assert set(places(versions.find_strays(untidy))) == expected


def test_unexpected_files_are_not_listed_as_versions(untidy) -> None:
    """A file with the name of a version is not a version."""
    assert [folder.name for folder in versions.version_folders(untidy)] == [*ORDER, "v3.0.0"]


def test_a_leftover_of_an_interrupted_release_is_a_notice(untidy) -> None:
    """It is not unexpected."""
    assert [notice.where for notice in versions.find_leftovers(untidy)] == [
        "registry/m/.v9.9.8.pull",
        "registry/m/.v9.9.9.staged",
    ]


@pytest.mark.parametrize("find", [versions.find_strays, versions.find_leftovers])
def test_a_missing_registry_has_no_unexpected_file(tmp_path, find) -> None:
    """A folder without registry/ is an empty registry."""
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
    """The manifest is read without changes."""
    folder = write_manifest(json.dumps(MANIFEST))

    assert versions.read_version(folder).manifest == Manifest.model_validate_json(json.dumps(MANIFEST))


def test_the_same_weights_are_found_despite_a_broken_version(tmp_path) -> None:
    """`verify` reports an invalid manifest."""
    checkpoint = tmp_path / "checkpoint.safetensors"
    checkpoint.write_bytes(b"weights")
    twin = {**MANIFEST["files"][0], "sha256": files.sha256(checkpoint)}
    other = {**MANIFEST, "version": "0.2.0"}
    manifests = {"v0.1.0": "{", "v0.2.0": json.dumps(other), "v0.3.0": json.dumps({**MANIFEST, "files": [twin]})}
    for name, text in manifests.items():
        files.write_atomic(make_version(tmp_path, name) / "manifest.json", text.encode())

    assert [found.folder.name for found in versions.same_weights(tmp_path, "m", files.sha256(checkpoint))] == ["v0.3.0"]


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
    """Strict JSON and the record refuse what `verify` refuses."""
    folder = write_manifest(text)

    with pytest.raises(InputError):
        versions.read_version(folder)


def test_a_large_document_is_read_with_its_schema() -> None:
    """Which stops at the first errors."""
    data = json.dumps({**MANIFEST, "files": [{}] * versions.SMALL}).encode()
    with pytest.raises(InputError) as caught:
        versions.parse_document(data, Manifest, "manifest.json")

    assert caught.value.problems[-1].rule == "document.more-problems"
