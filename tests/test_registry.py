"""registry: versions in order, references resolved."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg import registry
from modelreg.errors import RegistryError

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
    assert [folder.name for folder in registry.version_folders(root, "m")] == ORDER


def test_versions_of_all_models_come_by_model(root) -> None:
    """Models in order of their names."""
    assert [folder.name for folder in registry.version_folders(root)] == [*ORDER, "v3.0.0"]


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
    assert registry.resolve(reference, root, "m") == root / "registry" / place


@pytest.mark.parametrize(
    ("reference", "rule"),
    [
        ("m@v9.0.0", "m has v0.1.0, "),
        ("nobody@latest", "nobody has no version; make one with"),
        ("m@../x", "write v0.2.0"),
        ("v1", "not a semantic version"),
        ("M@v1.0.0", "write v0.2.0"),
    ],
)
def test_an_unknown_reference_is_refused(root, reference, rule) -> None:
    """Exit 5, saying what there is."""
    with pytest.raises(RegistryError, match=rule):
        registry.resolve(reference, root, "m")


@given(st.text(max_size=20))
def test_a_reference_never_leaves_the_registry(tmp_path_factory, text) -> None:
    """Whatever is typed, the result lies inside, or it is refused."""
    root = tmp_path_factory.getbasetemp()
    try:
        found = registry.resolve(text, root, "m")
    except RegistryError:
        return
    assert found.resolve().is_relative_to(root / "registry")


def test_no_registry_holds_no_version(tmp_path) -> None:
    """A folder without registry/ is an empty one."""
    assert registry.versions(tmp_path) == []
