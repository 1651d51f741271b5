"""The catalogue of rules: every problem names a rule of it, every rule is used, and each can be read."""

import ast
import re
from pathlib import Path

import pytest

from modelreg import errors
from modelreg.rules import catalogue

PACKAGE = Path(catalogue.__file__).parents[1]
ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*\.[a-z0-9]+(?:-[a-z0-9]+)*")
RULES = catalogue.load()
KINDS = {
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.ModelregError)
}
NAMES = (
    "`",
    "SOURCE_DATE_EPOCH",
    "CHANGELOG.md",
    "RELEASES.md",
    "GitHub",
    "HailoRT",
    "OpenSSL",
    "CUDA",
    "PyTorch",
    "ONNX",
    "HEF",
    "TLS",
    "JSON",
)
TREES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
SCRIPTS = [ast.parse(path.read_text()) for path in sorted((PACKAGE.parent / "scripts").glob("*.py"))]
WORDS = {
    node.value
    for tree in (*TREES.values(), *SCRIPTS)
    for node in ast.walk(tree)
    if isinstance(node, ast.Constant) and isinstance(node.value, str)
}


def calls(*names: str) -> list[tuple[str, ast.Call]]:
    """Every call of a function or class, with its place."""
    return [
        (f"{path}:{node.lineno}", node)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
    ]


def test_every_literal_rule_is_in_the_catalogue() -> None:
    """The second argument of `Problem`, where it is a literal."""
    given = {place: call.args[1] for place, call in calls("Problem") if len(call.args) > 1}
    literals = {place: rule.value for place, rule in given.items() if isinstance(rule, ast.Constant)}

    assert {place: rule for place, rule in literals.items() if rule not in RULES} == {}


def test_no_other_text_that_looks_like_a_rule_of_an_area_is_unknown() -> None:
    """A rule that is an argument of a function that builds the problem."""
    areas = {rule.partition(".")[0] for rule in RULES}
    suspects = {word for word in WORDS if ID.fullmatch(word) and "-" in word and word.partition(".")[0] in areas}

    assert suspects - set(RULES) == set()


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_used(rule) -> None:
    """By a literal of the package."""
    assert rule in WORDS


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.id)
def test_every_rule_can_be_read(rule) -> None:
    """An id of lower-case words, a clause, whole sentences, and an imperative without a full stop."""
    assert ID.fullmatch(rule.id)
    assert rule.summary[0].islower() or rule.summary.startswith(NAMES)
    assert not rule.summary.endswith(".")
    assert rule.cause.endswith((".", ".)"))
    assert rule.next
    assert not rule.next.endswith(".")


def test_no_error_is_raised_without_a_problem() -> None:
    """Which has the rule, the place and the next step."""
    bare = [place for place, call in calls(*KINDS) if len(call.args) + len(call.keywords) < 2]

    assert bare == []
