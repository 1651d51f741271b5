"""A document whose values carry the reason for them, written as YAML with the reasons as comments.

Names and texts of a document may come from files of strangers: whatever they are, the YAML reads back as the same
document.
"""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from modelreg import strict_yaml
from modelreg.errors import InputError
from modelreg.escaping import one_line

WIDTH = 100  # characters of a line, if its words permit
INDENT = 2
WHOLE = 1e15  # floats below it are written without `.0`
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*( [A-Za-z0-9_./-]+)*")


class Noted(NamedTuple):
    """A value of a document, and the reason for it."""

    value: Any  # JSON values, which may contain others of this kind
    why: str


class Decision(NamedTuple):
    """One value of a document that has a reason."""

    setting: str  # dotted path
    value: Any
    why: str


def plain(node: Any) -> Any:
    """Return a document without the reasons."""
    match node:
        case Noted():
            return plain(node.value)
        case Mapping():
            return {key: plain(value) for key, value in node.items()}
        case list() | tuple():
            return [plain(value) for value in node]
        case _:
            return node


def decisions(node: Any, place: str = "") -> Iterator[Decision]:
    """Yield every value that has a reason, in the order of the document."""
    match node:
        case Noted():
            yield Decision(place, plain(node.value), node.why)
            yield from decisions(node.value, place)
        case Mapping():
            for key, value in node.items():
                yield from decisions(value, f"{place}.{key}".lstrip("."))
        case list() | tuple():
            for number, value in enumerate(node):
                yield from decisions(value, f"{place}.{number}".lstrip("."))


def render(document: Mapping[str, Any], head: str = "") -> str:
    """Return a document as YAML, each reason as a comment above its value, or behind it if the line holds both.

    `head` is the comment at the beginning.
    """
    return "".join(f"{line}\n" for line in [*comment(head), *_lines(document, 0)])


def comment(text: str, indent: int = 0) -> list[str]:
    """Return a text as lines of a comment; a paragraph ends with a newline."""
    start = " " * indent + "# "
    return [
        start + one_line(line)
        for paragraph in text.split("\n")
        if paragraph
        for line in textwrap.wrap(paragraph, WIDTH - len(start), break_long_words=False, break_on_hyphens=False)
    ]


def scalar(value: Any) -> str:
    """Return a value as YAML on one line. A text that is not plain is quoted."""
    if isinstance(value, float) and value.is_integer() and abs(value) < WHOLE:
        return str(int(value))
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and _reads_back(value):
        return value
    if one_line(value) == value and _reads_back(quoted := "'" + value.replace("'", "''") + "'", value):
        return quoted
    return '"' + "".join(map(_escaped, value)) + '"'


def _reads_back(text: str, value: str | None = None) -> bool:
    try:
        return bool(strict_yaml.parse(text, "") == (text if value is None else value))
    except InputError:
        return False


def _escaped(character: str) -> str:
    """Return a character as it is written between double quotes."""
    if character in '"\\':
        return f"\\{character}"
    return character if " " <= character <= "~" else f"\\U{ord(character):08x}"


def _lines(node: Any, indent: int) -> Iterator[str]:
    """Yield the lines of a mapping or a list, its entries below each other."""
    start = " " * indent
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _with_reason(_entry(f"{start}{scalar(key)}:", _bare(value), indent), value, indent)
        return
    for value in node:
        yield from _with_reason(_item(start, _bare(value), indent), value, indent)


def _with_reason(lines: Iterator[str], node: Any, indent: int) -> Iterator[str]:
    """Yield the lines of a value with its reason."""
    if not isinstance(node, Noted) or not node.why:
        yield from lines
        return
    first, *others = lines
    behind = f"{first} # {one_line(node.why)}"
    if not others and "\n" not in node.why and len(behind) <= WIDTH:
        yield behind
        return
    yield from comment(node.why, indent)
    yield first
    yield from others


def _bare(node: Any) -> Any:
    return node.value if isinstance(node, Noted) else node


def _entry(start: str, value: Any, indent: int) -> Iterator[str]:
    """Yield the lines of one key of a mapping: on one line if that holds them."""
    if (short := _flow(value, WIDTH - len(start) - 1)) is not None:
        yield f"{start} {short}"
        return
    yield start
    yield from _lines(value, indent + INDENT)


def _item(start: str, value: Any, indent: int) -> Iterator[str]:
    """Yield the lines of one entry of a list: on one line if that holds them."""
    if (short := _flow(value, WIDTH - indent - INDENT)) is not None:
        yield f"{start}- {short}"
        return
    first = True
    for line in _lines(value, indent + INDENT):
        text = line.lstrip()
        if first:  # comments above the first key, and the dash in front of it
            yield f"{start}{text}" if text.startswith("# ") else f"{start}- {text}"
            first = text.startswith("# ")
        else:
            yield line


def _flow(value: Any, width: int) -> str | None:
    """Return a value on one line; None if it has reasons inside, nests mappings in a list, or is too long."""
    if isinstance(value, Mapping | list | tuple):
        parts = list(_flow_parts(value))
        if any(part is None for part in parts):
            return None
        text = ", ".join(part for part in parts if part is not None)
        text = f"{{{text}}}" if isinstance(value, Mapping) else f"[{text}]"
        return text if len(text) <= width or not parts else None
    return scalar(value)


def _flow_parts(value: Mapping[str, Any] | Sequence[Any]) -> Iterator[str | None]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            text = None if isinstance(inner, Noted) else _flow(inner, WIDTH)
            yield None if text is None else f"{scalar(key)}: {text}"
        return
    for inner in value:
        yield None if isinstance(inner, Noted | Mapping) else _flow(inner, WIDTH)
