"""The table of `make fuzz`."""

import re
from collections import Counter, defaultdict
from types import SimpleNamespace

import fuzz_counts


def test_a_line_has_inputs_and_rules() -> None:
    """The most frequent rules are named, the others counted."""
    rules = {f"a.rule-{n}": 9 - n for n in range(6)}
    first, total = fuzz_counts.lines_of({"YAML": Counter({fuzz_counts.READ: 5, **rules})})

    named = "a.rule-0 9, a.rule-1 8, a.rule-2 7, a.rule-3 6, 2 other rules"
    assert re.sub(" +", " ", first) == f"YAML 44 inputs 5 read 39 refused: {named}"
    assert total.startswith("all ")


def test_the_counts_of_the_workers_are_added(monkeypatch) -> None:
    """What a worker sends at its end."""
    worker = SimpleNamespace(config=SimpleNamespace(workeroutput={}))
    monkeypatch.setattr(fuzz_counts, "COUNTS", {"URL": Counter(read=3)})
    fuzz_counts.pytest_sessionfinish(worker)
    monkeypatch.setattr(fuzz_counts, "COUNTS", found := defaultdict(Counter))
    for _ in range(2):
        fuzz_counts.pytest_testnodedown(SimpleNamespace(workeroutput=worker.config.workeroutput))

    assert found == {"URL": Counter(read=6)}
