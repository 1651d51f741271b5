"""What is wrong with settings, in a user's words: file, line, key, value, and the key that was probably meant.

pydantic names the place of an error by its own path, which holds the names of union members; here, a place is the path
that the user wrote. Where several members of a union refuse one value, that value is one problem.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from modelreg import strict_yaml
from modelreg.errors import Problem

FILL_IN = "FILL IN"  # how a value begins that the user must replace
SHOWN = 60  # characters of a value
SUGGESTED = 3  # keys
ADVISED = 100  # problems with a next step that fits them; a text with more of them is not a configuration
TAG_KEYS = {"_system()": "name"}  # discriminators that are functions -> the key that they read

Path = tuple[str | int, ...]

_WORDS = (
    (re.compile(r"^Value error, "), ""),
    (re.compile(r"^(Input|String|List|Tuple|Dictionary) should "), "must "),
    (re.compile(r" after validation, not \d+$"), ""),
    (re.compile(r"\ba valid (array|tuple|list)$"), "a list"),
    (re.compile(r"\ba valid string$"), "text"),
    (re.compile(r"\ba valid integer$"), "a whole number"),
    (re.compile(r"\ba valid number$"), "a number"),
    (re.compile(r"\ba valid boolean$"), "true or false"),
    (re.compile(r"\b(a valid dictionary|an object)$"), "a mapping of keys to values"),
    (re.compile(r"\bbe False$"), "be false"),
    (re.compile(r" match pattern '.*'$", re.DOTALL), " match the expected form"),
)


class Origin(NamedTuple):
    """Where settings were written.

    Attributes:
        where: the file, or what else the document is.
        text: its YAML text; None if it was not read from YAML.
        assignments: the assignments on top of it, by the path that they set, in their order.
    """

    where: str
    text: str | None = None
    assignments: Mapping[Path, str] = {}

    def place(self, path: Path, *, key_in_message: bool = False) -> str:
        """Return `a.yaml:12: training.epochs`, or `--set training.epochs=0`; with a line, the key may be left out."""
        if (assigned := self._assignment(path)) is not None:
            return assigned
        line = strict_yaml.line_of(self.text, path) if self.text else None
        where = self.where if line is None else f"{self.where}:{line}"
        return where if not path or (line and key_in_message) else f"{where}: {dotted(path)}"

    def _assignment(self, path: Path) -> str | None:
        """Return the last assignment that set the value at a path or a part of it."""
        written = tuple(map(str, path))
        for parts, assignment in reversed(list(self.assignments.items())):
            size = min(len(parts), len(written))
            if size and tuple(map(str, parts[:size])) == written[:size]:
                exact = len(parts) == len(written)
                return f"--set {assignment}" if exact else f"--set {assignment}: {dotted(path)}"
        return None


def find_problems(error: ValidationError, record: type[BaseModel], document: Any, origin: Origin) -> Iterator[Problem]:
    """Yield what is wrong with a document that `record` refused, one problem for each value, in their order."""
    for number, (path, details) in enumerate(_by_value(error.errors(), document).items()):
        step = _step(path, details[0], record) if number < ADVISED else ""
        yield _problem(path, details, origin)._replace(next=step)


def find_blanks(document: Any, origin: Origin, path: Path = ()) -> Iterator[Problem]:
    """Yield each value that is still to be filled in, as `modelreg init` writes them."""
    if isinstance(document, str) and document.startswith(FILL_IN):
        yield Problem(
            origin.place(path), "config.fill-in", document.removeprefix(FILL_IN).lstrip(": ") or "fill this in"
        )
    elif isinstance(document, Mapping):
        for key, value in document.items():
            yield from find_blanks(value, origin, (*path, str(key)))
    elif isinstance(document, list):
        for number, value in enumerate(document):
            yield from find_blanks(value, origin, (*path, number))


def dotted(path: Iterable[str | int]) -> str:
    """Return a path as it is written on the command line: `data.sources.0.path`."""
    return ".".join(map(str, path))


def keys_of(record: type[BaseModel], place: str = "") -> Iterator[str]:
    """Yield the dotted path of every key of a record: `data.sources[].kind`, `gates.<name>.min`."""
    for name, field in record.model_fields.items():
        yield f"{place}{name}"
        for suffix, inner in _records_in(field.annotation):
            yield from keys_of(inner, f"{place}{name}{suffix}.")


@cache  # of a few records; each problem with a key asks for them
def _keys(record: type[BaseModel]) -> Mapping[str, list[str]]:
    """Return every key of a record, with the names in it."""
    return {key: [part for part in key.replace("[]", "").split(".") if part != "<name>"] for key in keys_of(record)}


def nearest_keys(path: Path, record: type[BaseModel]) -> list[str]:
    """Return the keys that an unknown key may mean: the same name elsewhere, the initials, or a similar spelling."""
    names = _names(path)
    unknown = str(path[-1]).lower().replace("-", "_")
    others = {key: parts for key, parts in _keys(record).items() if parts != names}
    siblings = [key for key, parts in others.items() if parts[:-1] == names[:-1]]
    return (_similar(unknown, siblings) or _similar(unknown, list(others)))[:SUGGESTED]


def shown(value: Any) -> str:
    """Return a value as YAML writes it on one line, cut to a length that a message can hold."""
    if isinstance(value, str):
        return strict_yaml.cut(f"'{value}'", SHOWN)
    text = ""
    for piece in json.JSONEncoder(ensure_ascii=False, default=str).iterencode(value):
        text += piece
        if len(text) > SHOWN:  # not the rest of a large value
            break
    return strict_yaml.cut(text, SHOWN)


def _similar(unknown: str, keys: Sequence[str]) -> list[str]:
    """Return the keys whose last name is this one, or has these initials, this beginning or nearly this spelling."""
    names = dict.fromkeys(map(_last, keys))
    meant = [name for name in names if unknown in (name, _initials(name))]
    meant = meant or [name for name in names if len(unknown) > 2 and name.startswith(unknown)]
    meant = meant or get_close_matches(unknown, names, n=1)
    return [key for key in keys if _last(key) in meant]


def _by_value(errors: Sequence[ErrorDetails], document: Any) -> dict[Path, list[ErrorDetails]]:
    """Return the errors of each value, by the path that the user wrote, without those that follow from others."""
    placed = [(_written(error, document), error) for error in errors]
    explained = {path[:size] for path, _ in placed for size in range(len(path))}
    explained |= {path for path, error in placed if not _is_vague(error)}
    found: dict[Path, list[ErrorDetails]] = {}
    for path, error in placed:
        if not _is_vague(error) or path not in explained:
            found.setdefault(path, []).append(error)
    return found


def _written(error: ErrorDetails, document: Any) -> Path:
    """Return the parts of a place that are in the document: pydantic also names which member of a union was tried."""
    found: list[str | int] = []
    for part in error["loc"]:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list) and isinstance(part, int):
            document = document[part] if part < len(document) else None
        else:
            continue
        found.append(part)
    if error["type"] == "missing" and error["loc"][-1:] != tuple(found[-1:]):
        found.append(error["loc"][-1])
    if error["type"].startswith("union_tag"):
        found.append(_tag_key(error))
    return tuple(found)


def _tag_key(error: ErrorDetails) -> str:
    """Return the key by which the member of a union is chosen."""
    name = str(error["ctx"]["discriminator"])
    return TAG_KEYS.get(name, name.strip("'"))


def _is_vague(error: ErrorDetails) -> bool:
    """Say whether an error may only follow from another one, at the same value or inside of it.

    A list is too short where its entry is invalid; a mapping is not `false`, and a list not a number.
    """
    return error["type"].endswith("_type") or error["type"] in ("literal_error", "too_short")


def _problem(path: Path, details: Sequence[ErrorDetails], origin: Origin) -> Problem:
    first = details[0]
    value = shown(_value(first))
    match first["type"]:
        case "extra_forbidden":
            where = origin.place(path, key_in_message=True)
            key = strict_yaml.cut(str(path[-1]))
            return Problem(where, "config.unknown-key", f"unknown key '{key}' (value {value})")
        case "missing" | "union_tag_not_found" if isinstance(path[-1], str):
            return Problem(origin.place(path), "config.missing-key", f"required key '{path[-1]}' is missing")
        case "missing":
            return Problem(origin.place(path[:-1]), "config.invalid-value", f"must have more entries, found {value}")
        case "value_error" if isinstance(first["input"], dict):
            return Problem(origin.place(path), "config.inconsistent", _words(first))
    return Problem(origin.place(path), "config.invalid-value", f"{_expected(details)}, found {value}")


def _step(path: Path, error: ErrorDetails, record: type[BaseModel]) -> str:
    """Return the next step for a value or key, or nothing."""
    match error["type"]:
        case "extra_forbidden":
            return _meant_key(path, record)
        case "string_pattern_mismatch":
            return _description(path, record)
        case "missing" | "union_tag_not_found" | "value_error":
            return ""
    return _meant_value(error)


def _value(error: ErrorDetails) -> Any:
    return error["ctx"]["tag"] if error["type"] == "union_tag_invalid" else error["input"]


def _expected(details: Sequence[ErrorDetails]) -> str:
    """Return what a value must be; several members of a union accept different values."""
    words = list(dict.fromkeys(map(_words, details)))
    if all(each.startswith("must be ") for each in words):
        return f"must be {' or '.join(each.removeprefix('must be ') for each in words)}"
    return " or ".join(words)


def _words(error: ErrorDetails) -> str:
    """Return pydantic's message in the words of YAML."""
    if error["type"] == "union_tag_invalid":
        return f"must be one of {error['ctx']['expected_tags']}"
    text = error["msg"]
    for pattern, words in _WORDS:
        text = pattern.sub(words, text)
    return text


def _meant_key(path: Path, record: type[BaseModel]) -> str:
    """Return the next step for an unknown key."""
    if _names(path) in _keys(record).values():
        return f"remove it: this kind of `{dotted(path[:-1])}` does not have the key"
    found = nearest_keys(path, record)
    return f"did you mean {' or '.join(found)}?" if found else ""


def _meant_value(error: ErrorDetails) -> str:
    """Return the next step for a value that is not in a list of values."""
    context = error.get("ctx", {})
    expected = re.findall(r"'([^']*)'", str(context.get("expected_tags", context.get("expected", ""))))
    near = get_close_matches(str(_value(error)), expected, n=1)
    return f"did you mean '{near[0]}'?" if near else ""


def _description(path: Path, record: type[BaseModel]) -> str:
    """Return what the settings say about a key, or nothing."""
    found, text = [record], ""
    for part in path:
        fields = [one.model_fields[part] for one in found if isinstance(part, str) and part in one.model_fields]
        if fields:
            text = fields[0].description or ""
            found = [inner for field in fields for _, inner in _records_in(field.annotation)]
    return text and f"see `{path[-1]}`: {text}"


def _records_in(annotation: Any, suffix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the records of a field's type with what stands between: `[]` for a list, `.<name>` for a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield suffix, annotation
    origin = get_origin(annotation)
    suffix += "[]" if origin is tuple else ".<name>" if origin is dict else ""
    for part in get_args(annotation):
        yield from _records_in(part, suffix)


def _last(key: str) -> str:
    return key.rsplit(".", 1)[-1]


def _initials(name: str) -> str:
    words = name.split("_")
    return "".join(word[:1] for word in words) if len(words) > 1 else ""


def _names(path: Path) -> list[str]:
    """Return the names in a path, without the numbers of list entries."""
    return [str(part) for part in path if not str(part).isdigit()]
