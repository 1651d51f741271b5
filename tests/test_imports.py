"""Start-up: what a command does not need is never loaded."""

import subprocess
import sys
from time import perf_counter

import pytest
from example_run import write_registry, write_run

SLOW = ("torch", "onnx", "onnxruntime", "onnxsim", "requests", "jsonschema", "scipy", "matplotlib", "numba")
PROBE = """
import sys
from modelreg.cli.main import main
code = main(sys.argv[1:])
print([name for name in {slow!r} if name in sys.modules])
sys.exit(code)
"""


def loaded(arguments, cwd) -> str:
    """Return the last line that the probe prints: which slow modules a command has loaded."""
    command = [sys.executable, "-c", PROBE.format(slow=SLOW), *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "command",
    [["--help"], ["--version"], *([name, "--help"] for name in ("train", "release", "serve", "bench", "compare"))],
)
def test_help_loads_nothing_slow(tmp_path, command) -> None:
    """None of torch, onnx, requests, jsonschema and similar packages."""
    assert loaded(command, tmp_path) == "[]"


@pytest.mark.parametrize("command", [["init"], ["data", "check"], ["doctor"]])
def test_light_commands_load_no_torch(tmp_path, command) -> None:
    """A new registry and a data check do not need them either."""
    assert loaded(command, tmp_path) == "[]"


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A registry with one version."""
    root = write_registry(tmp_path_factory.mktemp("released"))
    write_run(root / "runs" / "conv2d_fsq-001")
    command = [sys.executable, "-m", "modelreg", "release", "v0.1.0", "--roll-changelog"]
    subprocess.run(command, cwd=root, capture_output=True, check=True)
    return root


@pytest.mark.parametrize("command", [["list"], ["show"]])
def test_reading_the_registry_loads_nothing_slow(released, command) -> None:
    """What was verified is read by its records alone."""
    assert loaded(command, released) == "[]"


def test_verify_loads_only_the_validator(released) -> None:
    """It works where torch is not installed."""
    assert loaded(["verify"], released) == "['jsonschema']"


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_without_torch_a_command_names_the_extra(tmp_path, command) -> None:
    """Exit 3, with the command that installs it."""
    probe = "import sys; sys.modules['torch'] = None; from modelreg.cli.main import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", probe, command], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    first, step = done.stderr.splitlines()[:2]
    assert (done.returncode, first) == (3, "error: torch: not installed  [install.extra-missing]")
    assert step.startswith("  next: pip install '")
    assert "[train]" in step


# The public API

API = ("modelreg.api", "numpy", "torch", "onnxruntime", "pandas", "scipy", "pydantic")


def python(code: str) -> str:
    """Return what a new Python prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        ("modelreg.__version__, dir(modelreg)", []),
        ("modelreg.versions", ["modelreg.api", "numpy", "pydantic"]),
    ],
)
def test_the_api_is_imported_on_first_use(use, expected) -> None:
    """Without any package of an extra."""
    assert python(f"import sys, modelreg; {use}; print([n for n in {API!r} if n in sys.modules])") == str(expected)


def seconds(code: str) -> float:
    """Return how long a new Python takes."""
    start = perf_counter()
    python(code)
    return perf_counter() - start


@pytest.mark.no_cover
def test_import_modelreg_costs_less_than_15_ms() -> None:
    """Beyond Python itself; the best of several, for other processes only make it slower."""
    pairs = [(seconds("pass"), seconds("import modelreg")) for _ in range(9)]
    bare, imported = (min(times) for times in zip(*pairs, strict=True))

    assert imported - bare < 0.015
