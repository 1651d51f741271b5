"""Documents of a JSON Schema, with every key or few, and with each member of its unions: seeds of changed documents."""

import re
from collections.abc import Mapping
from itertools import product
from typing import Any, NamedTuple

Schema = Mapping[str, Any]

TEXTS = ("a", "walk", "0.1.0", "a" * 64, "2026-11-21T06:00:00Z", "a/b", "v{version}", "a" * 40, "subject-001", "x" * 20)
CHOICES = 4  # of the members of a union


def examples_of(schema: Schema) -> list[Any]:
    """Return documents that have the form of a schema; what only validators know, they may break."""
    return [_Form(schema.get("$defs", {}), choice, full).of(schema) for choice, full in product(range(CHOICES), (1, 0))]


class _Form(NamedTuple):
    """How one document is made."""

    definitions: Schema
    choice: int  # which member of each union
    full: int  # whether optional keys are in it

    def of(self, schema: Schema) -> Any:
        """Return a value of a schema."""
        if "$ref" in schema:
            return self.of(self.definitions[schema["$ref"].removeprefix("#/$defs/")])
        if members := schema.get("anyOf") or schema.get("oneOf"):
            return self.of(members[self.choice % len(members)])
        if values := schema.get("enum") or ([schema["const"]] if "const" in schema else None):
            return values[self.choice % len(values)]
        made = {"object": self.mapping, "array": self.listing, "string": _text, "integer": _number, "number": _number}
        kind = schema.get("type", "null")
        return made[kind](schema) if kind in made else kind == "boolean" or None

    def mapping(self, schema: Schema) -> dict[str, Any]:
        """Return an object."""
        known = schema.get("properties", {})
        found = {name: self.of(known[name]) for name in known if self.full or name in schema.get("required", ())}
        if isinstance(more := schema.get("additionalProperties"), dict):
            found |= {self.of({"type": "string", **schema.get("propertyNames", {})}): self.of(more)}
        return found

    def listing(self, schema: Schema) -> list[Any]:
        """Return an array."""
        listed = schema.get("prefixItems") or [schema.get("items", {})] * max(schema.get("minItems", 0), 2)
        return [self.of(part) for part in listed]


def _text(schema: Schema) -> str:
    return next((text for text in TEXTS if _fits(text, schema)), "x")


def _fits(text: str, schema: Schema) -> bool:
    sized = schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", len(text))
    return sized and re.search(schema.get("pattern", ""), text) is not None


def _number(schema: Schema) -> float:
    if "exclusiveMinimum" in schema:
        return schema["exclusiveMinimum"] + (1 if schema["type"] == "integer" else 0.25)
    return schema.get("minimum", 0)
