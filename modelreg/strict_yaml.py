"""Read YAML strictly and in bounded time, and find the line of a value.

The safe loader of PyYAML follows YAML 1.1, in which 1e-3 is a text, `no` a truth value, 1:30 a number and 2026-11-21 a
date. Here, plain words are read by the core schema of YAML 1.2, and keys are texts, as written. What a configuration
does not need is refused: aliases, of which a few lines unfold to billions of values; tags, which choose how a value is
constructed; duplicate keys; and texts, numbers and nesting over a limit. So the time is proportional to the text.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import yaml

from modelreg.errors import InputError, Problem

DEEPEST = 100  # values in one another
LIMIT = 2**18  # characters of a document; PyYAML reads 40,000 characters of short values in a second
LONGEST_NUMBER = 1000  # characters
SHOWN = 100  # characters of a message
CANNOT_READ = "cannot read the YAML"

TEXT = "tag:yaml.org,2002:str"
_SURROGATE = re.compile("[\ud800-\udfff]")  # an escape in a quoted text can name one half of a character


class _Loader(yaml.BaseLoader):
    """PyYAML's scanner, parser and composer, with limits. Values are not constructed by PyYAML."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}  # type: ignore[misc]  # ours

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # not in PyYAML's stubs
        if isinstance(event, yaml.AliasEvent):
            raise _refused("aliases are not supported", event.start_mark)
        if event.tag is not None:
            raise _refused("tags are not supported", event.start_mark)
        if self.depth == DEEPEST:
            raise _refused(f"more than {DEEPEST} nested values", event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _refused(what: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(None, None, what, mark)


def _integer(text: str) -> int:
    return int(text, 16 if text.startswith("0x") else 10)


_CONSTRUCTORS: dict[str, Callable[[str], Any]] = {}
for _tag, _constructor, _pattern, _starts in (
    ("null", lambda _: None, r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", lambda text: text.lower() == "true", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", _integer, r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        float,
        r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _starts)
    _CONSTRUCTORS[f"tag:yaml.org,2002:{_tag}"] = _constructor


def parse(text: str, where: str) -> Any:
    """Read one YAML document of at most `LIMIT` characters. Raises InputError with line and column: `a.yaml:12:5`."""
    if len(text) > LIMIT:
        raise InputError(CANNOT_READ, [Problem(where, "files.too-large", f"larger than {LIMIT:,} characters")])
    try:
        node = _composed(text)
        return None if node is None else _value(node)
    except yaml.MarkedYAMLError as error:
        place = _place(where, error.problem_mark)
        raise InputError(CANNOT_READ, [Problem(place, "config.yaml-syntax", cut(str(error.problem)))]) from error
    except yaml.reader.ReaderError as error:
        lines = text[: error.position].split("\n")
        place = f"{where}:{len(lines)}:{len(lines[-1]) + 1}"
        what = f"the character U+{ord(text[error.position]):04X} is not allowed"
        raise InputError(CANNOT_READ, [Problem(place, "config.yaml-syntax", what)]) from error


def _place(where: str, mark: yaml.Mark | None) -> str:
    return f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where


def cut(text: str, limit: int = SHOWN) -> str:
    """Return a text in a length that a message can hold."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


@lru_cache(maxsize=1)  # read once more for the lines of its problems
def _composed(text: str) -> yaml.Node | None:
    return _Loader(text).get_single_node()


def _value(node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {key: _value(value) for key, value in _items(node)}
    if isinstance(node, yaml.SequenceNode):
        return [_value(each) for each in node.value]
    return _scalar(node)


def _scalar(node: yaml.Node) -> Any:
    if node.tag == TEXT:
        return _text(node)
    if len(node.value) > LONGEST_NUMBER:
        raise _refused(f"a number of more than {LONGEST_NUMBER:,} characters", node.start_mark)
    value = _CONSTRUCTORS[node.tag](node.value)
    if value in (math.inf, -math.inf):
        raise _refused("not a finite 64-bit number", node.start_mark)
    return value


def _text(node: yaml.Node) -> str:
    text: str = node.value
    if found := _SURROGATE.search(text):
        raise _refused(f"unpaired surrogate {found[0]!r}", node.start_mark)
    return text


def _items(node: yaml.MappingNode) -> Iterator[tuple[str, yaml.Node]]:
    """Yield the keys and values of a mapping."""
    known: set[str] = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _refused("a key must be a text", key.start_mark)
        if (name := _text(key)) in known:
            raise _refused(f"duplicate key {cut(name)!r}", key.start_mark)
        known.add(name)
        yield name, value


class _Place(NamedTuple):
    line: int
    inside: Mapping[str, "_Place"]


def line_of(text: str, path: Sequence[str | int]) -> int | None:
    """Return the line, from 1, of the key or list entry that a path names; of its nearest parent if it is missing.

    `text` is a document that `parse` reads. Return None where the text has not even the first part of the path.
    """
    line: int | None = None
    inside = _places(text)
    for part in path:
        if (found := inside.get(str(part))) is None:
            break
        line, inside = found
    return line


@lru_cache(maxsize=1)  # a file with many problems asks for the line of each
def _places(text: str) -> Mapping[str, _Place]:
    return _inside(_composed(text))


def _inside(node: yaml.Node | None) -> Mapping[str, _Place]:
    """Return where each key or list entry begins, and what is in its value."""
    if isinstance(node, yaml.MappingNode):
        return {key.value: _Place(key.start_mark.line + 1, _inside(value)) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return {str(n): _Place(each.start_mark.line + 1, _inside(each)) for n, each in enumerate(node.value)}
    return {}
