"""Tables of the reference pages, from the JSON Schemas and the sources of records."""

import ast
import inspect
import io
import json
import re
import textwrap
import tokenize
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from modelreg.records import base

WORDS = {"string": "text", "integer": "integer", "number": "number", "boolean": "true or false", "null": "null"}
Schema = Mapping[str, Any]
Links = Callable[[str], str]  # from the name of a nested record to a link
HUGE = 1e15  # a bound beyond it is that of the type


class Field(NamedTuple):
    """A key of a record: its schema, and what the page says about it."""

    name: str
    schema: Schema
    required: bool
    meaning: str
    unit: str
    example: str


@cache
def records() -> dict[str, type[base.Record]]:
    """Return every record that is imported, by its name."""
    found: dict[str, type[base.Record]] = {}
    waiting = list(base.Record.__subclasses__())
    while waiting:
        record = waiting.pop()
        found[record.__name__] = record
        waiting += record.__subclasses__()
    return found


def fields(record: type[base.Record], schema: Schema) -> Iterator[Field]:
    """Yield the keys of a record in their order."""
    for name, part in schema.get("properties", {}).items():
        meaning = part.get("description") or _comment(record, name)
        example = yaml(part["examples"][0]) if part.get("examples") else ""
        yield Field(name, part, name in schema.get("required", ()), meaning, part.get("unit", ""), example)


def _comment(record: type[base.Record], name: str) -> str:
    """Return the comment that ends a field's definition, in the class that defines it."""
    for owner in record.__mro__:
        if name in inspect.get_annotations(owner):
            return _comments(owner).get(name, "")
    return ""


@cache
def _comments(record: type[base.Record]) -> dict[str, str]:
    source = textwrap.dedent(inspect.getsource(record))
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    body = ast.parse(source).body[0]
    assert isinstance(body, ast.ClassDef)  # noqa: S101 what getsource returns
    assigned = [node for node in body.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    return {
        node.target.id: lines.get(node.end_lineno or 0, "") for node in assigned if isinstance(node.target, ast.Name)
    }


def type_of(schema: Schema, links: Links) -> str:
    """Return a schema's type in words; a nested record is a link to its own table."""
    if reference := schema.get("$ref"):
        return links(reference.rsplit("/", 1)[-1])
    choices = schema.get("oneOf") or schema.get("anyOf")
    if choices:
        return " or ".join(dict.fromkeys(type_of(choice, links) for choice in choices))
    return _simple(schema, links)


def _simple(schema: Schema, links: Links) -> str:
    if "const" in schema:
        return code(yaml(schema["const"]))
    if "enum" in schema:
        return " or ".join(code(yaml(value)) for value in schema["enum"])
    if schema.get("type") == "array":
        return _list(schema, links)
    if schema.get("type") == "object":
        values = _values(schema)
        return f"mapping of names to {type_of(values, links)}" if values else "mapping"
    return WORDS.get(schema.get("type", ""), "any JSON value") + _bounds(schema)


def _values(schema: Schema) -> Schema | None:
    """Return the schema of a mapping's values."""
    found = schema.get("additionalProperties") or next(iter(schema.get("patternProperties", {}).values()), None)
    return found if isinstance(found, dict) else None


def _list(schema: Schema, links: Links) -> str:
    if items := schema.get("prefixItems"):
        return f"list of {len(items)}: " + ", ".join(dict.fromkeys(type_of(item, links) for item in items))
    return f"list of {type_of(schema.get('items', {}), links)}"


def _bounds(schema: Schema) -> str:
    signs = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
    bounds = [f"{sign} {schema[key]:g}" for key, sign in signs if abs(schema.get(key, HUGE)) < HUGE]
    return f" ({', '.join(bounds)})" if bounds else ""


def default_of(field: Field) -> str:
    """Return a field's default as YAML has it; nested settings have their own table."""
    if field.required or "default" not in field.schema:
        return "required"
    value = field.schema["default"]
    nested = (isinstance(value, dict) and value) or (isinstance(value, list) and value and isinstance(value[0], dict))
    return "its defaults" if nested else code(yaml(value))


def yaml(value: Any) -> str:
    """Write a value as YAML's flow style has it, on one line."""
    if isinstance(value, str):
        return (
            value
            if re.fullmatch(r"[A-Za-z][\w. /-]*", value) and value not in ("true", "false", "null")
            else json.dumps(value)
        )
    if isinstance(value, list):
        return f"[{', '.join(map(yaml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {yaml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def code(text: str) -> str:
    """Mark text as code."""
    return f"`{text}`" if text else ""


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ("---",) * len(heads), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|")


def places(schema: Schema) -> dict[str, str]:
    """Return the nested records of a schema, each with the dotted path at which it is first found."""
    found: dict[str, str] = {}
    waiting = [(schema, "")]
    while waiting:
        part, path = waiting.pop(0)
        for key, value in part.get("properties", {}).items():
            for name, inner in _references(value, f"{path}{key}"):
                if name not in found:
                    found[name] = inner
                    waiting.append((schema["$defs"][name], f"{inner}."))
    return found


def _references(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield the records that a key's value may be; one of a list is N, one of a mapping NAME."""
    if isinstance(value, list):
        for item in value:
            yield from _references(item, path)
    elif isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"].rsplit("/", 1)[-1], path
        for key in ("anyOf", "oneOf", "prefixItems"):
            yield from _references(value.get(key), path)
        yield from _references(value.get("items"), f"{path}.N")
        yield from _references(_values(value), f"{path}.NAME")


def kind_of(schema: Schema) -> str:
    """Return `kind: csv` of a record that is chosen by a fixed value of its kind, by or name."""
    keys = ((key, schema.get("properties", {}).get(key, {})) for key in ("kind", "by", "name"))
    return next((f"{key}: {part['const']}" for key, part in keys if "const" in part), "")


def summary(record: type[base.Record]) -> str:
    """Return what a record's docstring says, on one line."""
    return first_paragraph(inspect.getdoc(record))


def first_paragraph(text: str | None) -> str:
    """Return the first paragraph of a text on one line."""
    return " ".join((text or "").split("\n\n")[0].split())
