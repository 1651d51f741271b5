"""The base class of every record, its scalar types, and the functions that read and write a document.

Reading: bytes → strict JSON → JSON Schema (an independent check, from schemas/) → pydantic. Each problem has the dotted
path of its value and the broken rule. Writing: `to_bytes`, the canonical form.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files as package_files
from importlib.resources.abc import Traversable
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from modelreg import files
from modelreg.errors import InputError, Problem

LISTED = 1000  # violations of a JSON Schema; each takes 2 kB

_COMPONENT = "[A-Za-z0-9_][A-Za-z0-9_.+-]*"  # no hidden file, `..`, backslash, control or non-ASCII character
# Characters that a name must not contain, and characters that it must not begin or end with. \u2028 means the same to
# Python, to Rust (pydantic) and to ECMA (the published schemas); \s does not.
_BREAKS = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
_BLANKS = r" \xa0\u1680\u2000-\u200a\u202f\u205f\u3000\ufeff"
_NAME = f"^[^{_BREAKS}{_BLANKS}]([^{_BREAKS}]*[^{_BREAKS}{_BLANKS}])?$"

Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]+$", min_length=64, max_length=64)]
GitCommit = Annotated[str, StringConstraints(pattern="^[0-9a-f]+$", min_length=40, max_length=64)]
RelativePath = Annotated[str, StringConstraints(pattern=f"^{_COMPONENT}(/{_COMPONENT})*$", max_length=240)]
Name = Annotated[str, StringConstraints(pattern=_NAME, min_length=1, max_length=100)]
Remark = Annotated[str, StringConstraints(pattern=_NAME, min_length=1, max_length=500)]  # a sentence that a user wrote
_NAME_READER: TypeAdapter[str] = TypeAdapter(Name)
ModelName = Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9_]*$", max_length=60)]
VersionText = Annotated[
    str,
    StringConstraints(pattern="^[0-9]+\\.[0-9]+\\.[0-9]+(-[0-9A-Za-z.-]+)?(\\+[0-9A-Za-z.-]+)?$", max_length=80),
]
Timestamp = Annotated[
    str,
    StringConstraints(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$", min_length=20, max_length=20),
]
Clock = Callable[[], Timestamp]  # returns the current time
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
LEFT_OUT = Field(exclude_if=lambda value: value is None)  # null is not written, as in documents without the field


def setting(meaning: str, example: Any, unit: str | None = None, **bounds: Any) -> Any:
    """Return a field that a user sets: with a description, an example and a unit, for the configuration reference."""
    extra: Any = {"unit": unit} if unit else None
    return Field(description=meaning, examples=[example], json_schema_extra=extra, **bounds)


class Record(BaseModel):
    """A document or a part of one: frozen, strict, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, populate_by_name=True)

    SIZE_LIMIT: ClassVar[int] = files.DOCUMENT_LIMIT  # bytes of a document

    def to_document(self) -> dict[str, Any]:
        """Return the record as plain JSON values, under the names of the document."""
        return self.model_dump(mode="json", by_alias=True)

    def to_bytes(self) -> bytes:
        """Render the record in canonical JSON."""
        return files.to_json(self.to_document())


AnyRecord = TypeVar("AnyRecord", bound=Record)


def parse(data: bytes, record: type[AnyRecord], where: str) -> AnyRecord:
    """Parse a document: strict JSON, then JSON Schema, then the record. Raises InputError with every problem."""
    if len(data) > record.SIZE_LIMIT:
        raise InputError(f"cannot read {where}", [files.too_large(where, record.SIZE_LIMIT)])
    document = files.parse_json(data, where)
    if problems := schema_problems(document, record, where):
        raise InputError(f"cannot read {where}", problems)
    return validate(data, record, where)


def load(path: Path, record: type[AnyRecord]) -> AnyRecord:
    """Read a document from a file. Raises InputError."""
    return parse(files.read_bytes(path, record.SIZE_LIMIT), record, path.name)


def validate(data: bytes, record: type[AnyRecord], where: str) -> AnyRecord:
    """Parse strict JSON into a record. Raises InputError with the dotted path of every problem."""
    try:
        return record.model_validate_json(data)
    except ValidationError as error:
        document = files.parse_json(data, where)
        problems = [_problem(dotted(where, *_written(part, document)), part) for part in _causes(error.errors())]
        raise InputError(f"cannot read {where}", problems) from error


def _written(error: ErrorDetails, document: Any) -> Iterator[int | str]:
    """Yield the keys and indices of an error that the document has: pydantic also names the record of a union."""
    missing = error["loc"][-1:] if error["type"] == "missing" else ()
    for part in error["loc"]:
        if isinstance(document, dict) and (part in document or (part,) == missing):
            document = document.get(part)
        elif isinstance(document, list) and isinstance(part, int):
            document = document[part] if part < len(document) else None  # a list that is too short
        else:
            continue
        yield part


def _causes(errors: Sequence[ErrorDetails]) -> Iterator[ErrorDetails]:
    """Yield the errors, but not that a list is too short where an entry of it is invalid."""
    broken = {error["loc"][:size] for error in errors for size in range(len(error["loc"]))}
    for error in errors:
        if error["type"] != "too_short" or error["loc"] not in broken:
            yield error


def _problem(place: str, error: ErrorDetails) -> Problem:
    """Return pydantic's error as a problem with a rule."""
    match error["type"]:
        case "missing":
            return Problem(place, "document.key-missing", "required key not found")
        case "extra_forbidden":
            return Problem(place, "document.unknown-key", "unknown key")
        case "union_tag_invalid":
            message = "{tag!r} is invalid, expected one of {expected_tags}".format(**error["ctx"])
            return Problem(place, "document.invalid-value", message)
        case _:
            return Problem(place, "document.invalid-value", error["msg"].removeprefix("Value error, "))


def schema_problems(document: object, record: type[Record], where: str) -> list[Problem]:
    """Return the violations of the record's published JSON Schema in a document, the first `LISTED` of them."""
    violations = _validator(record.__name__).iter_errors(document)
    try:
        errors = sorted(islice(violations, LISTED), key=lambda error: list(map(str, error.path)))
        more = next(violations, None)
    except RecursionError:  # raised while jsonschema quotes a document of brackets only
        return [Problem(where, "document.too-deep", "values are nested too deeply")]
    found = [_schema_problem(dotted(where, *error.path), error.validator, error.message[:300]) for error in errors]
    what = f"more than {LISTED:,} problems; the others are not listed"
    return found if more is None else [*found, Problem(where, "document.more-problems", what)]


def _schema_problem(place: str, keyword: str, message: str) -> Problem:
    match keyword:
        case "required":
            return Problem(place, "document.key-missing", message)
        case "additionalProperties":
            return Problem(place, "document.unknown-key", message)
        case _:
            return Problem(place, "document.invalid-value", message)


def dotted(where: str, *path: str | int) -> str:
    """Return the place of a value: the file, then the dotted path in it."""
    return f"{where}: {'.'.join(map(str, path))}" if path else where


def paired_leaves(one: Any, other: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted path of every value of two documents, with both values; None for a missing value."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted(one.keys() | other.keys()):
            yield from paired_leaves(one.get(name), other.get(name), f"{place}.{name}".lstrip("."))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other, strict=True)):
            yield from paired_leaves(*pair, f"{place}.{index}".lstrip("."))
    else:
        yield place, one, other


def is_name(text: str) -> bool:
    """Return whether a text is a valid Name."""
    try:
        _NAME_READER.validate_python(text)
    except ValidationError:
        return False
    return True


def json_schema(record: type[Record]) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a record, as stored in schemas/."""
    schema = record.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def shared_folder(name: str) -> Traversable:
    """Return the folder `schemas` or `configs`: inside an installed package, next to `modelreg/` in a checkout."""
    inside = package_files("modelreg") / name
    return inside if inside.is_dir() else Path(__file__).parents[2] / name


@cache
def _validator(name: str) -> Any:
    from jsonschema import Draft202012Validator  # 60 ms: loaded when the first document is read
    from jsonschema.validators import extend

    schema = files.parse_json((shared_folder("schemas") / f"{name}.schema.json").read_bytes(), name)
    checks = {"anyOf": _find_none_of, "oneOf": _find_none_of}
    bounded = extend(Draft202012Validator, checks)  # type: ignore[no-untyped-call]  # not typed by types-jsonschema
    return bounded(_inlined(schema, schema.get("$defs", {})))


def _find_none_of(validator: Any, members: Sequence[Any], value: object, _: object) -> Iterator[Exception]:
    """Yield an error if no member of a union fits a value. The members of our unions exclude one another.

    jsonschema's own function keeps every error of every member, which may be one for each byte of a document.
    """
    from jsonschema import ValidationError as Violation

    if not any(next(validator.descend(value, member), None) is None for member in members):
        yield Violation(f"{value!r} is not valid under any of the given schemas")


def _inlined(part: Any, definitions: Mapping[str, Any]) -> Any:
    """Return a schema with every $ref replaced by its definition: a lookup is as slow as a check."""
    if isinstance(part, list):
        return [_inlined(each, definitions) for each in part]
    if not isinstance(part, dict):
        return part
    plain = {key: _inlined(value, definitions) for key, value in part.items() if key not in ("$ref", "$defs")}
    if "$ref" in part:
        named = definitions[part["$ref"].removeprefix("#/$defs/")]
        return {**_inlined(named, definitions), **plain}
    return plain
