"""Read YAML strictly, and find the line of a value.

The safe loader of PyYAML follows YAML 1.1, in which 1e-3 is a text, `no` a truth value, 1:30 a number and 2026-11-21 a
date. Here, plain words are read by the core schema of YAML 1.2. Duplicate keys are refused, and so are aliases: a few
lines of aliases to aliases unfold to billions of values.
"""

import re
from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import yaml

from modelreg.errors import InputError, Problem

DEEPEST = 100  # values in one another


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}  # type: ignore[misc]  # ours, not SafeLoader's

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise self._refused("aliases are not supported")
        if self.depth == DEEPEST:
            raise self._refused(f"more than {DEEPEST} nested values")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _refused(self, what: str) -> yaml.MarkedYAMLError:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # not in PyYAML's stubs
        return yaml.composer.ComposerError(None, None, what, event.start_mark)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        known: set[Hashable] = set()
        for place, _ in node.value:
            key = self.construct_object(place, deep=True)
            if not isinstance(key, Hashable):
                break  # super refuses it
            if key in known:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", place.start_mark)
            known.add(key)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _starts in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _starts)


def parse(text: str, where: str) -> Any:
    """Read one YAML document. Raises InputError with line and column: `a.yaml:12:5`."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        raise InputError("cannot read the YAML", [Problem(place, "config.yaml-syntax", str(error.problem))]) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # ValueError: an integer of 5,000 digits
        raise InputError("cannot read the YAML", [Problem(where, "config.yaml-syntax", str(error))]) from error


def line_of(text: str, path: Sequence[str | int]) -> int | None:
    """Return the line, from 1, of the key or list entry that a path names; of its nearest parent if it is missing.

    `text` is a document that `parse` reads. Return None where the text has not even the first part of the path.
    """
    node = _root(text)
    line: int | None = None
    for part in path:
        found = _child(node, part)
        if found is None:
            break
        mark, node = found
        line = mark.line + 1
    return line


@lru_cache(maxsize=1)  # a file with many problems asks for the line of each
def _root(text: str) -> yaml.Node | None:
    return _Loader(text).get_single_node()


def _child(node: yaml.Node | None, part: str | int) -> tuple[yaml.Mark, yaml.Node] | None:
    """Return where a key or a list entry begins, and its value."""
    if isinstance(node, yaml.MappingNode):
        return next(((key.start_mark, value) for key, value in node.value if key.value == str(part)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark, node.value[part]
    return None
