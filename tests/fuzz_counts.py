"""A plugin of pytest, for `make fuzz`: count for each parser what it did with the damaged inputs, over all workers."""

from collections import Counter, defaultdict
from typing import Any

import pytest

READ = "read"
SHOWN = 4  # rules of a parser; the others are counted
COUNTS: defaultdict[str, Counter[str]] = defaultdict(Counter)  # by parser: `READ`, or the rule of the first problem


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the counts of a worker to the process that started it."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["fuzz"] = {parser: dict(count) for parser, count in COUNTS.items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add the counts of a worker."""
    for parser, count in getattr(node, "workeroutput", {}).get("fuzz", {}).items():
        COUNTS[parser].update(count)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print a line for each parser."""
    if COUNTS:
        terminalreporter.section("damaged inputs by parser")
        for line in lines_of(COUNTS):
            terminalreporter.write_line(line)


def lines_of(counts: dict[str, Counter[str]]) -> list[str]:
    """Return a table: inputs, how many were read, how many were refused, and by which rules."""
    rows = [(parser, *_row(count)) for parser, count in sorted(counts.items())]
    rows.append(("all", *_row(sum(counts.values(), Counter()))))
    return [
        f"{parser:16}{total:>10,} inputs{read:>10,} read{refused:>10,} refused: {rules}"
        for parser, total, read, refused, rules in rows
    ]


def _row(count: Counter[str]) -> tuple[int, int, int, str]:
    refused = Counter({rule: number for rule, number in count.items() if rule != READ})
    named = [f"{rule} {number:,}" for rule, number in refused.most_common(SHOWN)]
    others = len(refused) - len(named)
    return (
        count.total(),
        count[READ],
        refused.total(),
        ", ".join([*named, f"{others} other rules"] if others > 0 else named),
    )
