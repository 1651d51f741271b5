"""References and paths of versions and exports."""

import pytest
from places import places

from modelreg.errors import RegistryError
from modelreg.registry import references
from modelreg.registry.references import Registry

FOLDERS = ("registry/m/v0.1.0", "registry/m/v0.2.0", "registry/other/v3.0.0", "runs/m-001", "dist")


@pytest.fixture
def root(tmp_path):
    """A registry of empty versions, with a run, and a bundle's archive under dist/."""
    for folder in FOLDERS:
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "runs/m-001/config.json").touch()
    (tmp_path / "dist/bundle.tar.gz").touch()
    return tmp_path


@pytest.fixture(params=[references.version_folder, references.export_path], ids=["version", "export"])
def find(request, root):
    """One of the two functions, called from the root of the registry."""
    return lambda text: request.param(text, root, lambda: Registry(root, "m"))


def no_registry() -> Registry:
    """Fail if the registry is searched."""
    raise AssertionError("the registry was searched")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("v0.1.0", "m/v0.1.0"),
        ("latest", "m/v0.2.0"),
        ("other@latest", "other/v3.0.0"),
        ("registry/m/v0.1.0", "m/v0.1.0"),
    ],
)
def test_a_reference_or_a_path_names_a_version(root, find, text, place) -> None:
    """A reference without a model uses the default model."""
    assert find(text) == root / "registry" / place


@pytest.mark.parametrize(
    ("text", "where", "rule"),
    [
        ("v9.0.0", "m@v9.0.0", "version.unknown"),
        ("nowhere/v0.1.0", "nowhere/v0.1.0", "reference.path-missing"),
        ("dist/nothing.tar.gz", "dist/nothing.tar.gz", "reference.path-missing"),
        ("a/" * 2001, f"{'a/' * 20}…", "reference.invalid"),
        (f"{'a' * 256}/b", f"{'a' * 40}…", "reference.invalid"),
    ],
)
def test_an_unknown_version_or_path_is_refused(find, text, where, rule) -> None:
    """So is a text that is too long for a path."""
    with pytest.raises(RegistryError) as caught:
        find(text)

    assert places(caught.value.problems) == [(where, rule)]


@pytest.mark.parametrize("look_up", [references.version_folder, references.export_path])
@pytest.mark.parametrize("text", ["registry/m/v0.1.0", "{root}/registry/m/v0.1.0"])
def test_a_path_needs_no_registry(root, look_up, text) -> None:
    """A path is absolute, or relative to a folder that the caller gives."""
    assert look_up(text.format(root=root), root, no_registry) == root / "registry/m/v0.1.0"


def test_an_existing_folder_wins_over_a_reference(root) -> None:
    """A folder with the name of a version does not need a leading `./`."""
    assert references.version_folder("v0.1.0", root / "registry/m", no_registry) == root / "registry/m/v0.1.0"


def test_a_version_keeps_the_links_of_its_path(root) -> None:
    """Symbolic links are not resolved, and `..` removes the component before it."""
    (root / "link").symlink_to(root / "registry/m/v0.1.0")
    found = references.version_folder("link/", root, no_registry)

    assert (found, references.version_folder("dist/../link", root, no_registry)) == (root / "link", root / "link")


def test_a_run_is_not_a_version(root) -> None:
    """But a run has exports."""
    with pytest.raises(RegistryError) as caught:
        references.version_folder("runs/m-001", root, no_registry)

    assert places(caught.value.problems) == [("runs/m-001", "reference.run-not-version")]


@pytest.mark.parametrize("text", ["runs/m-001", "dist/bundle.tar.gz"])
def test_an_export_is_of_a_run_or_a_bundle(root, text) -> None:
    """A folder or an archive."""
    assert references.export_path(text, root, no_registry) == root / text


def test_an_archive_is_found_without_a_folder_before_it(root) -> None:
    """The name of an existing archive is a path."""
    assert references.export_path("bundle.tar.gz", root / "dist", no_registry) == root / "dist/bundle.tar.gz"
