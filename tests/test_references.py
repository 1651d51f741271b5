"""What a user names: references and paths."""

import pytest

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
    """One of the two look-ups, from the root of the registry."""
    return lambda text: request.param(text, root, lambda: Registry(root, "m"))


def no_registry() -> Registry:
    """Stand where there is none."""
    raise AssertionError("the registry was asked for")


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
    """Without a model, the default one's."""
    assert find(text) == root / "registry" / place


@pytest.mark.parametrize("text", ["v9.0.0", "nowhere/v0.1.0", "dist/nothing.tar.gz"])
def test_what_is_not_there_is_refused(find, text) -> None:
    """A reference as well as a path."""
    with pytest.raises(RegistryError, match=text):
        find(text)


@pytest.mark.parametrize("look_up", [references.version_folder, references.export_path])
@pytest.mark.parametrize("text", ["registry/m/v0.1.0", "{root}/registry/m/v0.1.0"])
def test_a_path_needs_no_registry(root, look_up, text) -> None:
    """Relative to where the caller says, or absolute."""
    assert look_up(text.format(root=root), root, no_registry) == root / "registry/m/v0.1.0"


def test_an_existing_folder_wins_over_a_reference(root) -> None:
    """One named like a version needs no `./` before it."""
    assert references.version_folder("v0.1.0", root / "registry/m", no_registry) == root / "registry/m/v0.1.0"


def test_a_version_keeps_the_links_of_its_path(root) -> None:
    """Its folder is named by the link, and `..` goes by the text."""
    (root / "link").symlink_to(root / "registry/m/v0.1.0")
    found = references.version_folder("link/", root, no_registry)

    assert (found, references.version_folder("dist/../link", root, no_registry)) == (root / "link", root / "link")


def test_a_run_is_not_a_version(root) -> None:
    """But has exports."""
    with pytest.raises(RegistryError, match="is a run, not a version"):
        references.version_folder("runs/m-001", root, no_registry)


@pytest.mark.parametrize("text", ["runs/m-001", "dist/bundle.tar.gz"])
def test_an_export_is_of_a_run_or_a_bundle(root, text) -> None:
    """A folder or an archive."""
    assert references.export_path(text, root, no_registry) == root / text


def test_an_archive_is_found_without_a_folder_before_it(root) -> None:
    """Where it exists."""
    assert references.export_path("bundle.tar.gz", root / "dist", no_registry) == root / "dist/bundle.tar.gz"
