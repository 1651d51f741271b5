"""Templates: a released text renders to the same bytes forever."""

import ast
from pathlib import Path

import pytest
from example_run import write_registry, write_run
from example_version import edit, make_version, reseal
from hypothesis import given
from hypothesis import strategies as st
from places import places

from modelreg import documents, files
from modelreg.documents import template_versions
from modelreg.errors import InputError
from modelreg.records.base import load
from modelreg.records.manifest import Manifest
from modelreg.verification import integrity

# When a modelreg is released, its new templates are pinned here.
FOLDER = Path(documents.__file__).parent / "templates"
PINNED = {
    "card_v1.py": "2db48180758d92da58ee711cc03b159b04d5316bcbb5e3732c5e4f486dbce1f3",
    "gates_v1.py": "596ca61019e52aa988585bb8746a1f0d994238ccc92233b7f6d09b88669cc18e",
    "sbom_v1.py": "22b603df8723aa45ca28219dc54bbbc0851eba1f1928938ae0333654e52c028f",
}


def released(folder: Path) -> Path:
    """Release a run into a new registry; return the version's folder."""
    return make_version(write_registry(folder), write_run(folder / "runs" / "conv2d_fsq-001"))


@pytest.mark.parametrize("name", PINNED)
def test_a_released_template_never_changes(name) -> None:
    """Versions were released with it. For better wording, write the next template."""
    assert files.sha256(FOLDER / name) == PINNED[name]


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.py")))
def test_a_template_imports_records_alone(name) -> None:
    """A phrase in another module could change there."""
    nodes = [node for node in ast.walk(ast.parse((FOLDER / name).read_text())) if isinstance(node, ast.ImportFrom)]
    ours = {str(node.module) for node in nodes if str(node.module).startswith("modelreg")}

    assert {
        name for name in ours if not f"{name}.".startswith(("modelreg.records.", "modelreg.documents.templates."))
    } == set()


def test_a_manifest_without_a_template_means_the_first() -> None:
    """Manifests of early versions have no number."""
    assert template_versions.named(None) == template_versions.named(1)


@given(st.integers().filter(lambda number: number not in template_versions.TEMPLATES))
def test_an_unknown_template_is_refused(number) -> None:
    """For any unknown number."""
    with pytest.raises(InputError) as refused:
        template_versions.named(number)

    assert places(refused.value.problems) == [("manifest.json: templates", "manifest.template-unknown")]


def test_a_new_version_names_its_template(tmp_path) -> None:
    """In its manifest."""
    assert load(released(tmp_path) / "manifest.json", Manifest).templates == template_versions.CURRENT


def test_verify_names_a_template_that_it_does_not_have(tmp_path) -> None:
    """A newer modelreg may have made the version."""
    version = released(tmp_path)
    edit(version / "manifest.json", lambda document: document.update(templates=99))
    reseal(version)

    assert places(integrity.inspect(version).problems) == [("manifest.json: templates", "manifest.template-unknown")]


def test_a_manifest_keeps_its_bytes(tmp_path) -> None:
    """A manifest without a template number is written without the key."""
    manifest = load(released(tmp_path) / "manifest.json", Manifest).model_copy(update={"templates": None})

    assert b"templates" not in manifest.to_bytes()
