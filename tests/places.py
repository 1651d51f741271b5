"""What tests assert of problems: the place and the rule of each, never the sentence."""

from collections.abc import Iterable

from modelreg.errors import Problem


def places(problems: Iterable[Problem]) -> list[tuple[str, str]]:
    """Return `(where, rule)` of each problem."""
    return [(problem.where, problem.rule) for problem in problems]
