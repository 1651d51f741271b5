"""Change the code in one place, run the tests that reach it, and list the changes that no test noticed.

    make mutants                                      # every area of tests/mutants.toml
    .mutants/bin/python scripts/mutants.py gates      # one area

Runs in the environment of cosmic-ray, which finds the places and changes the code. The tests run in .venv/, in copies
of the checkout. Places are drawn with a fixed seed. Ends with 1 if fewer than 95 % of the changes are noticed, without
those that tests/mutants.toml lists as equivalent.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "tests/mutants.toml"
COPIED = (
    "modelreg",
    "tests",
    "schemas",
    "registry",
    "configs",
    "docs",
    "scripts",
    "deploy",
    "benchmarks",
    "*.*",
    "Makefile",
)
ENOUGH, PLACES = 0.95, 20  # the share of changes that tests must notice; the number of changes in each area
SLOWER = 5  # times the duration of the unchanged tests: a longer run is one that a change made endless
LATE: list[tuple[str, ...]] = []  # runs that took too long
LEFT_OUT = ("core/NoOp", "core/VariableReplacer", "core/VariableInserter")  # they change nothing, or names only


class Mutant(NamedTuple):
    """One change: the line it changes, before and after."""

    module: str
    line: int
    before: str
    after: str
    code: str  # of the whole module


class Area(NamedTuple):
    """What decides about one thing: modules, the tests that reach them, and the number of places to change."""

    name: str
    modules: tuple[str, ...]
    tests: tuple[str, ...]
    places: int


def places_of(module: str) -> dict[tuple[int, int], list[tuple[Operator, int]]]:
    """Return what can be changed in a module, by its place; annotations are left out, for nothing executes them."""
    code = (ROOT / module).read_text()
    notes, nodes = annotations(code), list(ast_nodes(get_ast(code)))
    found: dict[tuple[int, int], list[tuple[Operator, int]]] = {}
    for name in plugins.operator_names():
        if name in LEFT_OUT:
            continue
        operator = plugins.get_operator(name)()
        for number, (place, _) in enumerate(at for node in nodes for at in operator.mutation_positions(node)):
            if place[0] not in notes:
                found.setdefault(place, []).append((operator, number))
    return found


def mutant_of(module: str, line: int, operator: Operator, number: int) -> Mutant:
    """Return a change of a module."""
    code = (ROOT / module).read_text()
    changed = mutate_code(code, operator, number)
    pairs = zip(code.splitlines(), changed.splitlines(), strict=False)
    before, after = next((one, other) for one, other in pairs if one != other)
    return Mutant(module, line, before.strip(), after.strip(), changed)


def annotations(code: str) -> set[int]:
    """Return the lines of annotations, of type aliases and of `if TYPE_CHECKING`."""
    lines: set[int] = set()
    for node in ast.walk(ast.parse(code)):
        noted = [getattr(node, name, None) for name in ("annotation", "returns")]
        noted += [node] if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" else []
        noted += [node.value] if isinstance(node, ast.AnnAssign) and "TypeAlias" in ast.unparse(node.annotation) else []
        for each in filter(None, noted):
            lines |= set(range(each.lineno, each.end_lineno + 1))
    return lines


def sample(area: Area) -> list[Mutant]:
    """Draw places of an area, and one change at each."""
    rng = random.Random(area.name)
    found = {(module, *at): each for module in area.modules for at, each in places_of(module).items()}
    drawn = rng.sample(sorted(found), min(area.places, len(found)))
    return [mutant_of(place[0], place[1], *rng.choice(found[place])) for place in drawn]


def copy(place: Path) -> Path:
    """Copy what the tests need."""
    for pattern in COPIED:
        for source in ROOT.glob(pattern):
            target = place / source.name
            if source.is_dir():
                shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.is_file():
                shutil.copy(source, target)
    return place


def passes(place: Path, tests: tuple[str, ...], timeout_s: float) -> bool:
    """Run tests in a copy; a run that takes too long fails, and is counted in LATE."""
    command = [str(ROOT / ".venv/bin/python"), "-m", "pytest", "-q", "-x", *tests]
    environment = {**os.environ, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=place,
            env=environment,
            capture_output=True,
            check=False,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        LATE.append(tests)
        return False
    return done.returncode == 0


def survives(mutant: Mutant, place: Path, tests: tuple[str, ...], timeout_s: float) -> bool:
    """Apply a change in a copy, run the tests, and undo it."""
    file = place / mutant.module
    before = file.read_text()
    file.write_text(mutant.code)
    try:
        return passes(place, tests, timeout_s)
    finally:
        file.write_text(before)


def survivors(area: Area, copies: "SimpleQueue[Path]", jobs: int) -> tuple[int, list[Mutant]]:
    """Return the number of changes of an area, and those that survive."""
    place = copies.get()
    began = time.perf_counter()
    if not passes(place, area.tests, 900):
        raise SystemExit(f"{area.name}: the tests fail without a change: {' '.join(area.tests)}")
    timeout_s = SLOWER * (time.perf_counter() - began) + 20
    copies.put(place)

    def judge(mutant: Mutant) -> bool:
        place = copies.get()
        try:
            return survives(mutant, place, area.tests, timeout_s)
        finally:
            copies.put(place)

    drawn = sample(area)
    with ThreadPoolExecutor(jobs) as pool:
        return len(drawn), [mutant for mutant, left in zip(drawn, pool.map(judge, drawn), strict=True) if left]


def report(area: Area, count: int, open_: list[Mutant], equivalent: int) -> None:
    """Print the row of an area, and its survivors that are not explained."""
    noticed = count - len(open_) - equivalent
    print(f"{area.name}: {count} changes, {noticed} noticed, {equivalent} equivalent, {len(open_)} open")
    for mutant in open_:
        print(f"  {mutant.module}:{mutant.line}\n    - {mutant.before}\n    + {mutant.after}")
    sys.stdout.flush()


def main() -> int:
    """Print a row for each area and the survivors; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("areas", nargs="*", help="areas of tests/mutants.toml; default: all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="copies that are tested at the same time")
    given = parser.parse_args()
    table = tomllib.loads(TABLE.read_text())
    explained = {(each["module"], each["before"], each["after"]) for each in table.get("equivalent", [])}
    found = {
        name: Area(name, tuple(each["modules"]), tuple(each["tests"]), PLACES) for name, each in table["area"].items()
    }
    total = noticed = 0
    with tempfile.TemporaryDirectory() as scratch:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(given.jobs):
            copies.put(copy(Path(scratch) / str(number)))
        for area in [found[name] for name in given.areas] or found.values():
            count, left = survivors(area, copies, given.jobs)
            open_ = [mutant for mutant in left if (mutant.module, mutant.before, mutant.after) not in explained]
            equivalent = len(left) - len(open_)
            report(area, count, open_, equivalent)
            total, noticed = total + count - equivalent, noticed + count - len(left)
    share = noticed / total
    late = f", {len(LATE)} of them by taking too long" if LATE else ""
    print(f"{noticed} of {total} noticed ({share:.1%}){late}; at least {ENOUGH:.0%} are required")
    return int(share < ENOUGH)


if __name__ == "__main__":
    sys.exit(main())
