"""A plugin of pytest, for `--fast`: the part of the suite that runs where the packages of the extras are not installed.

No list says which tests those are. A test that fails because such a package is missing is skipped, with the package as
the reason; every other failure stays one. A new test so belongs to the fast part where it can run. Tests whose failure
would not name the package are marked `needs`.
"""

import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

OURS = frozenset({"modelreg", *(path.stem for path in Path(__file__).parent.iterdir())})
# Messages of Python about a missing module, and of modelreg about a missing extra (rule install.extra-missing).
MISSING = re.compile(r"No module named '(\w+)|(?:error: |^E? *)(\w+(?:, \w+)*): not installed\b", re.MULTILINE)

# The whole suite draws more examples on the first Python; another one is to show what depends on it.
settings.register_profile("fast", deadline=None, max_examples=10, derandomize=True, database=None)

Report = pytest.TestReport | pytest.CollectReport


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that is marked to need what is missing."""
    named = [name for mark in item.iter_markers("needs") for name in mark.args]
    if missing := sorted(name for name in named if not _is_installed(name)):
        pytest.skip(f"needs {', '.join(missing)}")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """Skip a file that imports what is missing."""
    report = yield
    return _skipped_where_something_is_missing(report, collector.path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Skip a test that failed for want of what is missing."""
    report = yield
    return _skipped_where_something_is_missing(report, item.path)


def missing_in(text: str) -> tuple[str, ...]:
    """Return the modules that a failure is due to: neither ours nor installed."""
    names = {name for found in MISSING.findall(text) for part in found for name in part.split(", ") if name}
    return tuple(sorted(name for name in names - OURS if importlib.util.find_spec(name) is None))


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _skipped_where_something_is_missing(report: Report, path: Path) -> Report:
    text = "\n".join([str(report.longrepr), *(content for _, content in report.sections)]) if report.failed else ""
    if missing := missing_in(text):
        report.outcome, report.longrepr = "skipped", (str(path), 0, f"Skipped: needs {', '.join(missing)}")
    return report
