"""docs/architecture.md: what it names exists, nothing is missing, and its rows are those of the import contract."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "modelreg"
PAGE = (ROOT / "docs" / "architecture.md").read_text()
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
OUTSIDE = ("modelreg/", "docs/", "tests/", "schemas/", "configs/", "scripts/")
QUOTED = sorted(set(re.findall(r"`([^`\n]+)`", PAGE.replace("```", ""))))
NAMED = [text for text in QUOTED if re.search(r"/|\.(py|md|ya?ml|json)\b", text) and "<" not in text]  # <name>: any
PATHS = sorted({text.partition("::")[0] for text in NAMED})
NAMES = [text for text in NAMED if "::" in text]
TABLE = re.findall(r"^\| (\d) \| `([\w./]+)` \|", PAGE, re.MULTILINE)
LEVELS = [{name.strip() for name in layer.split("|")} for layer in reversed(CONTRACTS[0]["layers"])]


def place(path: str) -> Path:
    """Where a path of the page lies."""
    return (ROOT if path.startswith(OUTSIDE) else PACKAGE) / path


def names_of(module: Path) -> set[str]:
    """The functions, classes and constants of a module."""
    found = set()
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def packages() -> set[str]:
    """Every package and every module outside of one, as the page writes them."""
    inner = {f"{path.parent.relative_to(PACKAGE).as_posix()}/" for path in PACKAGE.rglob("*/__init__.py")}
    return inner | {path.name for path in PACKAGE.glob("*.py") if not path.name.startswith("__")}


def by_row(pairs) -> list[set[str]]:
    """Names by their row, lowest first."""
    rows: dict[int, set[str]] = {}
    for row, name in pairs:
        rows.setdefault(int(row), set()).add(name)
    return [rows[row] for row in sorted(rows)]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_on_the_page_exists(path) -> None:
    """As a file, or as a folder where it ends in a slash."""
    assert place(path).is_dir() if path.endswith("/") else place(path).exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_on_the_page_is_defined_in_its_module(name) -> None:
    """A function that was renamed is renamed on the page."""
    path, _, wanted = name.partition("::")

    assert wanted in names_of(place(path))


def test_every_package_has_a_line() -> None:
    """In the table of packages; and no other has."""
    assert {name for _, name in TABLE} == packages()


def test_the_table_has_the_rows_of_the_contract() -> None:
    """Packages inside of others have no row in the contract."""
    top = [(row, name.strip("/").removesuffix(".py")) for row, name in TABLE if "/" not in name.strip("/")]

    assert by_row(top) == LEVELS


def test_a_package_inside_another_has_its_row() -> None:
    """`release/github/` is imported by what may import `release/`."""
    rows = {name: row for row, name in TABLE}
    inner = {name: row for name, row in rows.items() if "/" in name.strip("/")}

    assert inner == {name: rows[f"{name.partition('/')[0]}/"] for name in inner}


def test_the_diagram_has_the_rows_of_the_contract() -> None:
    """It shows what the table says."""
    drawn = re.findall(r"subgraph r(\d) .*\n(.*)\n", PAGE)

    assert by_row((row, name) for row, nodes in drawn for name in re.findall(r"(\w+)\[", nodes)) == LEVELS


def test_the_diagram_leads_from_the_highest_row_to_the_lowest() -> None:
    """Through every row."""
    arrows = " --> ".join(f"r{row}" for row in range(len(LEVELS) - 1, -1, -1))

    assert arrows in PAGE


def section(heading: str) -> str:
    """A section of the page."""
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_every_import_contract_is_explained() -> None:
    """In the table of contracts; those of the modules of one package share a line."""
    stated = re.findall(r"^\| (?!contract|---)(.*?) \|", section("Import contracts"), re.MULTILINE)
    shared = next(text for text in stated if text.startswith("Modules of "))
    inner = {f"Modules of {package}" for package in re.findall(r"\bof (\w+)", shared)}

    assert (set(stated) - {shared}) | inner == {contract["name"] for contract in CONTRACTS}


def test_every_command_has_its_flow() -> None:
    """And no other has."""
    from modelreg.cli.main import app

    groups = [(f"{group.name} ", group.typer_instance) for group in app.registered_groups]
    commands = {
        prefix + (info.name or info.callback.__name__)
        for prefix, typer in [("", app), *groups]
        for info in typer.registered_commands
    }
    flows = re.findall(r"^\| (`[a-z][^|]*`) \| ", section("Data flow of each command"), re.MULTILINE)

    assert {name for row in flows for name in re.findall(r"`([a-z ]+)`", row)} == commands
