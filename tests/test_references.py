"""References and paths of versions and exports."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import places

from modelreg.config import TAG_FORMAT
from modelreg.errors import InputError, Problem, RegistryError
from modelreg.registry import references
from modelreg.registry.references import Identity, Registry

FOLDERS = ("registry/m/v0.1.0", "registry/m/v0.2.0", "registry/other/v3.0.0", "runs/m-001", "dist")


@pytest.fixture
def root(tmp_path):
    """A registry of empty versions, with a run, and a bundle's archive under dist/."""
    for folder in FOLDERS:
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "runs/m-001/config.json").touch()
    (tmp_path / "dist/bundle.tar.gz").touch()
    return tmp_path


def no_registry_here() -> Registry:
    """Raise what the command line raises outside a registry."""
    raise InputError("no registry", [Problem(".", "registry.not-found", "none")])


def broken_registry() -> Registry:
    """Raise what the command line raises for invalid settings."""
    raise InputError("invalid", [Problem("modelreg.yaml", "config.unknown-key", "x")])


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


# Tags

SEMVER = r"(0|[1-9][0-9]?)\.(0|[1-9])\.(0|[1-9])(-rc\.[1-9]|-beta)?(\+b1)?"


@given(
    tag_format=st.from_regex(TAG_FORMAT, fullmatch=True).filter(lambda text: len(text) <= 60),
    model=st.sampled_from(["m", "conv2d_vq", "v", "v1"]),
    version=st.from_regex(SEMVER, fullmatch=True),
)
def test_every_tag_is_read_again(tag_format, model, version) -> None:
    """Of the default model in any format, and of another model."""
    with TemporaryDirectory() as root:
        (Path(root) / "registry" / model / f"v{version}").mkdir(parents=True)
        registry = Registry(Path(root), "m", tag_format)
        tag = references.tag_of(Identity(model, version), registry.default_model, tag_format)

        assert references.identify(tag, registry) == (model, version)
        assert references.export_path(tag, Path(root), lambda: registry).name == f"v{version}"


@pytest.mark.parametrize(
    ("text", "tag_format", "place"),
    [
        ("other-v3.0.0", "v{version}", "other/v3.0.0"),
        ("m-v0.2.0", "v{version}", "m/v0.2.0"),  # of a time when another model was the default
        ("m/0.2.0", "{model}/{version}", "m/v0.2.0"),
        ("release-0.1.0", "release-{version}", "m/v0.1.0"),
        ("v0.2.0-model", "v{version}-model", "m/v0.2.0"),  # also a number, of a version that does not exist
        ("v0.2.0", "v{version}-model", "m/v0.2.0"),
    ],
)
@pytest.mark.parametrize("look_up", [references.version_folder, references.export_path])
def test_a_tag_names_a_version(root, look_up, text, tag_format, place) -> None:
    """In the format of the registry, or with the model before it."""
    assert look_up(text, root, lambda: Registry(root, "m", tag_format)) == root / "registry" / place


def test_a_text_that_may_be_two_versions_is_refused(root) -> None:
    """It is the tag of one and the number of another."""
    (root / "registry/m/v0.2.0-model").mkdir()
    with pytest.raises(RegistryError) as caught:
        references.identify("v0.2.0-model", Registry(root, "m", "v{version}-model"))

    assert places(caught.value.problems) == [("v0.2.0-model", "reference.ambiguous")]


@pytest.mark.parametrize(
    ("text", "where", "rule"),
    [
        ("other-v9.0.0", "other@v9.0.0", "version.unknown"),
        ("other-v01.0.0", "01.0.0", "version.invalid"),
        ("Other-v1.0.0", "Other-v1.0.0", "reference.invalid"),
        ("tags/v9.0.0", "m@v9.0.0", "version.unknown"),
        ("no/v1.0.0", "no/v1.0.0", "reference.path-missing"),
    ],
)
def test_a_tag_without_a_version_is_refused(root, text, where, rule) -> None:
    """A text with a slash that is not a tag is a path."""
    with pytest.raises(RegistryError) as caught:
        references.version_folder(text, root, lambda: Registry(root, "m", "tags/v{version}"))

    assert places(caught.value.problems) == [(where, rule)]


def test_an_existing_path_wins_over_a_tag(root) -> None:
    """As over any reference."""
    found = references.version_folder("registry/m/v0.1.0", root, lambda: Registry(root, "m", "registry/m/v0.{version}"))

    assert found == root / "registry/m/v0.1.0"


def test_a_version_that_is_not_here_is_identified_by_its_number_or_tag(root) -> None:
    """As `pull` needs it; `latest` needs a version that is here."""
    registry = Registry(root, "m")
    found = [references.identify(text, registry) for text in ("v7.0.0", "new@v1.0.0", "new-v1.0.0", "latest")]

    assert found == [("m", "7.0.0"), ("new", "1.0.0"), ("new", "1.0.0"), ("m", "0.2.0")]


def test_outside_a_registry_a_text_with_a_slash_is_a_path(root) -> None:
    """The error is that of a path."""
    with pytest.raises(RegistryError) as caught:
        references.version_folder("no/v1.0.0", root, no_registry_here)

    assert places(caught.value.problems) == [("no/v1.0.0", "reference.path-missing")]


def test_invalid_settings_are_not_taken_for_no_registry(root) -> None:
    """Their error is shown."""
    with pytest.raises(InputError) as caught:
        references.version_folder("no/v1.0.0", root, broken_registry)

    assert places(caught.value.problems) == [("modelreg.yaml", "config.unknown-key")]
