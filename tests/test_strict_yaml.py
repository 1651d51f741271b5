"""Hostile YAML ends in settings or in a problem with a place, in time proportional to the text; no tag is executed."""

import contextlib
import re
from pathlib import Path

import pytest
from places import places
from timing import processor_seconds

from modelreg import config, config_errors, strict_yaml
from modelreg.errors import InputError, Problem


def problems_of(text: str, folder: Path, record=config.TrainConfig) -> list[Problem]:
    """Return what is wrong with settings."""
    (folder / "c.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        config.load(folder / "c.yaml", record)
    return caught.value.problems


# What YAML can do, and settings do not need

LAUGHS = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
REFUSED = {
    "aliases of aliases": (LAUGHS, 2),
    "a merged alias": ("a: &a {x: 1}\nb: {<<: *a}\n", 2),
    "a tag of Python": ("a: !!python/object/apply:os.system [touch executed]", 1),
    "a tag of another application": ("a: !mine x", 1),
    "an untyped tag": ("a: ! 1", 1),
    "a tag by its address": ("a: !<tag:yaml.org,2002:int> x", 1),
    **{f"!!{name} {value}": (f"a: !!{name} {value}", 1) for name in ("bool", "int", "float") for value in ("x", "''")},
    "a sexagesimal number": ("a: !!int 1" + ":59" * 50_000, 1),
    "a sexagesimal float": ("a: !!float 1" + ":59" * 50_000, 1),
    **{f"!!{name}": (f"a: !!{name} x", 1) for name in ("timestamp", "binary", "set", "omap", "pairs", "str", "seq")},
    "nested lists": ("a: 1\nb: " + "[" * 50_000, 2),
    "nested mappings": ("a: " + "{a: " * 50_000, 1),
    "nested entries": ("- " * 50_000, 1),
    "nested keys": ("? " * 50_000, 1),
    "a number of digits": ("a: 1\nb: " + "9" * 5000, 2),
    "hexadecimal digits": ("a: 1\nb: 0x" + "f" * 5000, 2),
    "a fraction": ("a: 0." + "1" * 5000, 1),
    "a number as a document": ("0x" + "f" * 5000, 1),
    "an infinite number": ("a: 1\nb: 1e999", 2),
    "half a character": (r'a: "\ud800"', 1),
    "half a character in a key": (r'"\udfff": 1', 1),
    "a control character": ("a: 1\nb: \x07", 2),
    "a list as a key": ("? [a]\n: 1", 1),
    "a duplicate key": ("a: 1\n'a': 2", 2),
    "a duplicate key of a megabyte": (("? " + "x" * 100_000 + "\n: 1\n") * 2, 3),
    "two documents": ("a: 1\n---\na: 1", 2),
    "an anchor of two values": ("a: &a 1\nb: &a 2", 2),
    "an unknown tag handle": ("a: !x!" + "y" * 100_000 + " 1", 1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_settings_do_not_need_is_refused(tmp_path, monkeypatch, name) -> None:
    """With line and column, in a message that fits a screen; nothing is executed."""
    monkeypatch.chdir(tmp_path)
    text, line = REFUSED[name]
    (found,) = problems_of(text, tmp_path)

    assert (found.rule, re.sub(r":\d+$", "", found.where)) == ("config.yaml-syntax", f"{tmp_path}/c.yaml:{line}")
    assert len(found.message) < 200
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


def test_a_text_over_the_limit_is_not_read(tmp_path) -> None:
    """Reading it would take a minute."""
    text = "#" * strict_yaml.LIMIT

    assert strict_yaml.parse(text, "x") is None
    assert [problem.rule for problem in problems_of(f"{text}#", tmp_path)] == ["files.too-large"]


def test_keys_are_texts_as_written() -> None:
    """A label 1 is the label "1", and `--set` finds it."""
    assert strict_yaml.parse("{1: a, 0x1f: b, true: c, ~: d, 1.50: e, '': f}", "x") == {
        "1": "a",
        "0x1f": "b",
        "true": "c",
        "~": "d",
        "1.50": "e",
        "": "f",
    }


def test_a_long_key_and_a_large_value_are_cut(tmp_path) -> None:
    """A message is for a screen."""
    (found,) = problems_of(f"? {'x' * 50_000}\n: [{'1, ' * 20_000}]\n", tmp_path)

    assert (found.rule, len(str(found)) < 300 + len(str(tmp_path))) == ("config.unknown-key", True)


# Time

MANY = {
    "unknown keys": lambda n: "".join(f"a{i}: 1\n" for i in range(n // 8)),
    "keys with anchors": lambda n: "".join(f"a{i}: &a{i} 1\n" for i in range(n // 12)),
    "keys of a level": lambda n: "training: {" + ", ".join(f"a{i}: 1" for i in range(n // 10)) + "}",
    "wrong sources": lambda n: "data: {sources: [" + "1," * (n // 2) + "]}",
    "incomplete sources": lambda n: "data: {sources: [" + "{kind: hapt}," * (n // 13) + "]}",
    "wrong labels": lambda n: (
        "data: {sources: [{kind: csv, labels: {" + "".join(f"l{i}: 1," for i in range(n // 8)) + "}}]}"
    ),
    "wrong widths": lambda n: "model: {name: conv2d_fsq, widths: [" + "x," * (n // 2) + "]}",
    "values to fill in": lambda n: "".join(f"a{i}: FILL IN\n" for i in range(n // 14)),
    "a long text": lambda n: "a: " + "x" * n,
    "lines of a text": lambda n: "a: >\n" + "  x\n\n" * (n // 5),
    "an unknown list": lambda n: "a: [" + "1," * (n // 2) + "]",
    "incomplete waivers": lambda n: "waivers: [" + "{}," * (n // 3) + "]",
    "wrong gates": lambda n: "gates: {" + "".join(f"g{i}: 1," for i in range(n // 9)) + "}",
    "comments": lambda n: "#\n" * (n // 2),
    "directives": lambda n: "%A b\n" * (n // 5),
}


def seconds(text: str, path: Path, record) -> float:
    """Return the processor time of reading settings."""
    path.write_text(text)

    def read() -> None:
        with contextlib.suppress(InputError):
            config.load(path, record)

    return processor_seconds(read)


@pytest.mark.no_cover
@pytest.mark.parametrize("name", MANY)
def test_time_is_proportional_to_the_text(tmp_path, name) -> None:
    """Four times the text takes about four times as long, not sixteen times."""
    record = config.ProjectConfig if name in ("incomplete waivers", "wrong gates") else config.TrainConfig
    short, long = (seconds(MANY[name](n), tmp_path / "c.yaml", record) for n in (8_000, 32_000))

    assert long < 9 * max(short, 0.05)


def test_the_first_unknown_keys_have_a_suggestion(tmp_path) -> None:
    """A text with hundreds of unknown keys is not a configuration, and each suggestion takes a millisecond."""
    count = config_errors.ADVISED + 10
    found = problems_of("".join(f"training{i}: 1\n" for i in range(count)), tmp_path)

    assert [bool(problem.next) for problem in found] == [True] * config_errors.ADVISED + [False] * 10


def test_a_nested_value_is_shown_by_its_beginning() -> None:
    """Not read to its end."""
    value = {"a": [1, {"b": "ü"}], "c": "y" * 100}

    assert config_errors.shown(value) == '{"a": [1, {"b": "ü"}], "c": "yyyyyyyyyyyyyyyyyyyyyyyyyyyy...'


def test_the_place_of_a_problem_is_found_in_any_form(tmp_path) -> None:
    """Below a key that is a number, in lists of lists."""
    text = "data:\n  sources:\n  - kind: csv\n    path: x\n    labels:\n      1: walk\n      2: [a]\n"
    found = places(problems_of(text, tmp_path))

    assert (f"{tmp_path}/c.yaml:7: data.sources.0.labels.2", "config.invalid-value") in found
