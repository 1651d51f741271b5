"""The generated reference pages are those of the code, and leave no setting without its meaning."""

import json
import re
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from modelreg import config, strict_yaml
from modelreg.records import base
from modelreg.rules import catalogue

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import reference_tables
import write_reference

SETTINGS = [
    (record, schema, owner)
    for owner in (config.TrainConfig, config.ProjectConfig)
    for whole in [base.json_schema(owner)]
    for record, schema in [
        (owner, whole),
        *((reference_tables.records()[name], whole["$defs"][name]) for name in reference_tables.places(whole)),
    ]
]


@pytest.mark.parametrize("name", write_reference.PAGES)
def test_a_reference_page_is_regenerated_unchanged(root, name) -> None:
    """`make reference` writes it again."""
    assert (root / "docs" / name).read_text("utf-8") == write_reference.PAGES[name]()


@pytest.mark.parametrize(("record", "schema", "_"), SETTINGS, ids=lambda value: getattr(value, "__name__", ""))
def test_every_setting_has_a_meaning_and_an_example(record, schema, _) -> None:
    """In its record."""
    assert [key.name for key in reference_tables.fields(record, schema) if not (key.meaning and key.example)] == []


@pytest.mark.parametrize(("record", "schema", "owner"), SETTINGS, ids=lambda value: getattr(value, "__name__", ""))
def test_every_example_is_valid(record, schema, owner) -> None:
    """By the schema of its key."""
    definitions = base.json_schema(owner)["$defs"]
    examples = {
        key.name: strict_yaml.parse(key.example, key.name)
        for key in reference_tables.fields(record, schema)
        if "](" not in key.example
    }
    partial = {"$defs": definitions, "properties": {name: schema["properties"][name] for name in examples}}

    assert [
        error.message for error in Draft202012Validator(partial).iter_errors(json.loads(json.dumps(examples)))
    ] == []


def test_every_rule_has_an_anchor() -> None:
    """Messages name a rule; its place on the page has the same name."""
    anchors = re.findall(r"^### .* \{ #(\S+) \}$", write_reference.rules(), re.MULTILINE)

    assert anchors == list(catalogue.load())
