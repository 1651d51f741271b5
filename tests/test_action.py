"""action.yml, the workflows of docs/ci.md and of `init`, and the pre-commit hook: linted, and run as on GitHub."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
import yaml
from example_run import write_registry, write_run
from example_version import make_version
from jsonschema import Draft7Validator

from modelreg.cli.main import main
from modelreg.release import init

ROOT = Path(__file__).parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
BLOCKS = re.findall(r"```yaml\n(name:.*?)```", (ROOT / "docs" / "ci.md").read_text(), re.DOTALL)
WORKFLOWS = {yaml.safe_load(block)["name"]: block for block in BLOCKS}
SCRIPTS = {
    **{step["name"]: step["run"] for step in ACTION["runs"]["steps"]},
    **{
        f"{name}, {step.get('name')}": step["run"]
        for name, text in WORKFLOWS.items()
        for job in yaml.safe_load(text)["jobs"].values()
        for step in job["steps"]
        if "run" in step
    },
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A registry under git, with one version."""
    root = write_registry(tmp_path_factory.mktemp("registry"))
    make_version(root, write_run(root / "runs" / "conv2d_fsq-001"))
    (root / ".gitignore").write_text("/runs/\n")
    git(root, "init", "--quiet")
    commit(root)
    return root


@pytest.fixture
def registry(made, tmp_path):
    """A copy of it."""
    return shutil.copytree(made, tmp_path / "registry")


def git(folder: Path, *arguments: str) -> None:
    """Run git with a test identity."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def commit(folder: Path) -> None:
    """Commit everything."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "x")


# The files


@pytest.fixture
def repository(tmp_path):
    """Return a function that writes the action, and workflows that use it under a name."""

    def write(name: str) -> Path:
        (tmp_path / ".github" / "workflows").mkdir(parents=True)
        shutil.copy(ROOT / "action.yml", tmp_path)
        for workflow, text in WORKFLOWS.items():
            path = tmp_path / ".github" / "workflows" / f"{workflow}.yml"
            path.write_text(text.replace("OWNER/modelreg@COMMIT", name))
        git(tmp_path, "init", "--quiet")
        return tmp_path

    return write


PINNED = f"acme/modelreg@{'0' * 40}"


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ("actions", (ROOT / "action.yml").read_text()),
        *(("workflows", text) for text in (*WORKFLOWS.values(), init.documents()[".github/workflows/verify.yml"])),
    ],
    ids=["action", *WORKFLOWS, "init"],
)
def test_each_file_is_valid_by_its_schema(schema, text) -> None:
    """The schemas are those of SchemaStore."""
    schemas = resources.files("check_jsonschema.builtin_schemas.vendor")
    document = {
        "on" if key is True else key: value for key, value in yaml.safe_load(text).items()
    }  # YAML 1.1: on = true
    found = Draft7Validator(json.loads((schemas / f"github-{schema}.json").read_bytes())).iter_errors(document)

    assert [error.message for error in found] == []


@pytest.mark.needs("zizmor")
def test_a_security_audit_finds_nothing(repository) -> None:
    """zizmor: no injection, no broad permission, no action pinned to a tag."""
    done = run(["zizmor", "--offline", "--no-progress", "--persona=pedantic", "."], repository(PINNED))

    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(shutil.which("actionlint") is None, reason="actionlint is not installed")
def test_actionlint_finds_nothing(repository) -> None:
    """It checks expressions, shell code, and the inputs of a local action."""
    done = run(["actionlint"], repository("./"))

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_contains_an_expression(name) -> None:
    """An expression is pasted into the script and run; a variable is not."""
    assert "${{" not in SCRIPTS[name]


def run(command, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a command of this environment."""
    program = Path(sys.executable).with_name(command[0])
    found = str(program) if program.exists() else command[0]
    return subprocess.run([found, *command[1:]], cwd=folder, capture_output=True, text=True, check=False)


# The scripts


class Runner:
    """Run the steps of the action as GitHub's runner does, with expressions in `env` and files for outputs."""

    def __init__(self, folder: Path, temp: Path, **inputs: str) -> None:
        self.folder, self.temp = folder, temp
        self.inputs = {name: str(value["default"]) for name, value in ACTION["inputs"].items()} | inputs
        self.outputs: dict[str, str] = {}
        (temp / "modelreg" / "bin").mkdir(parents=True)
        self.install(f'exec "{sys.executable}" -m modelreg "$@"')

    def install(self, script: str) -> None:
        """Replace the installed modelreg with a script."""
        program = self.temp / "modelreg" / "bin" / "modelreg"
        program.write_text(f"#!/bin/bash\n{script}\n")
        program.chmod(0o700)

    def step(self, name: str) -> "subprocess.CompletedProcess[str]":
        """Run one step."""
        (step,) = [step for step in ACTION["runs"]["steps"] if step["name"] == name]
        (self.temp / "script").write_text(step["run"])
        environment = {
            **os.environ,
            **{key: self._value(text) for key, text in step.get("env", {}).items()},
            "RUNNER_TEMP": str(self.temp),
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_OUTPUT": str(self.temp / "output"),
            "GITHUB_STEP_SUMMARY": str(self.temp / "summary"),
        }
        command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(self.temp / "script")]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        self.outputs = dict(line.split("=", 1) for line in self.read("output").splitlines())
        return done

    def read(self, name: str) -> str:
        """Return the text of a file of the runner."""
        path = self.temp / name
        return path.read_text() if path.exists() else ""

    @property
    def report(self) -> str:
        """The text of the report."""
        return Path(self.outputs["report"]).read_text()

    def _value(self, text: str) -> str:
        """Evaluate the expressions that this action's `env` holds."""
        kind, name = re.fullmatch(r"\$\{\{ (inputs|steps\.verify\.outputs)\.([\w-]+) \}\}", text).groups()
        return self.inputs[name] if kind == "inputs" else self.outputs.get(name, "")


@pytest.fixture
def runner(registry, tmp_path):
    """Return a function that makes a runner with inputs."""
    return lambda **inputs: Runner(registry, tmp_path / "temp", **{k.replace("_", "-"): v for k, v in inputs.items()})


def test_a_sound_registry_is_verified(runner) -> None:
    """The summary and the report contain the result."""
    ran = runner()
    done = ran.step("Verify")

    assert (done.returncode, ran.report.splitlines()[0]) == (0, "### modelreg: verified")
    assert "    conv2d_fsq@v0.1.0: " in ran.report
    assert ran.read("summary") == ran.report


def test_a_broken_registry_fails_the_step(runner, registry) -> None:
    """With verify's own exit code, after the report was written."""
    (registry / "registry" / "conv2d_fsq" / "v0.1.0" / "run.json").write_text("{}")
    ran = runner()
    done = ran.step("Verify")

    assert (done.returncode, ran.report.splitlines()[0]) == (4, "### modelreg: not verified (exit 4)")
    assert re.search(r"^    .*conv2d_fsq@v0\.1\.0: run\.json: ", ran.report, re.MULTILINE)


@pytest.mark.parametrize(
    ("inputs", "arguments"),
    [
        ({}, []),
        ({"complete": "true"}, ["--complete"]),
        ({"complete": "false", "reference": "v0.1.0"}, ["--", "v0.1.0"]),
        ({"key": "my keys/a.pem", "reference": "--json"}, ["--key=my keys/a.pem", "--", "--json"]),
        ({"reference": "$(touch hacked); `touch hacked`"}, ["--", "$(touch hacked); `touch hacked`"]),
    ],
    ids=["nothing", "complete", "reference", "options", "shell"],
)
def test_an_input_is_one_argument(runner, registry, inputs, arguments) -> None:
    """It is neither an option nor shell code."""
    ran = runner(**inputs)
    ran.install("printf '%s\\n' \"$@\"")
    done = ran.step("Verify")

    assert done.stdout.splitlines() == [f"| {argument}" for argument in ["verify", *arguments]]
    assert not (registry / "hacked").exists()


def test_a_name_in_a_finding_is_not_a_command(runner) -> None:
    """A pull request may contain a file of any name."""
    ran = runner()
    ran.install(r"printf 'x\n::add-mask::a\r::error::b\n```\n<img src=x>\n    ~~~: is not in the manifest\n'; exit 4")
    done = ran.step("Verify")
    lines = re.split(r"[\r\n]", done.stdout)

    assert [line for line in lines if line.strip().startswith("::")] == []
    assert [line for line in ran.report.splitlines()[2:] if line and not line.startswith("    ")] == []


def test_a_long_report_is_truncated(runner) -> None:
    """A comment has at most 65,536 characters."""
    ran = runner()
    ran.install("yes | head -c 100000; exit 4")

    assert (ran.step("Verify").returncode, 60_000 < len(ran.report) < 65_536) == (4, True)


def test_a_modelreg_without_compare_gives_a_warning(runner) -> None:
    """The step succeeds."""
    ran = runner(compare_with="v0.1.0")
    ran.install('[[ $1 == verify ]] && echo fine || { echo "No such command" >&2; exit 2; }')
    ran.step("Verify")
    done = ran.step("Compare")

    assert (done.returncode, done.stdout[:11]) == (0, "::warning::")


@pytest.mark.parametrize(("reference", "compared"), [("v0.2.0", "v0.2.0"), ("", "latest")])
def test_a_comparison_is_added_to_the_report(runner, reference, compared) -> None:
    """It follows the findings, also in the summary."""
    ran = runner(compare_with="v0.1.0", reference=reference)
    ran.install('[[ $2 == --help ]] || echo "$@"')
    ran.step("Verify")
    done = ran.step("Compare")

    assert (done.returncode, ran.report.splitlines()[-1]) == (0, f"compare --markdown -- v0.1.0 {compared}")
    assert ran.read("summary") == ran.report


PYTHON = """#!/bin/bash
case "$2" in
  venv) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  pip) test -f "${@: -1}/pyproject.toml" && shift 2 && echo "$@" > "$(dirname "$0")/installed" ;;
esac
"""


def test_it_is_installed_from_its_own_commit(runner, tmp_path, monkeypatch) -> None:
    """It uses the constraints and a new environment; scripts/check_wheel.sh tests a real installation."""
    (tmp_path / "python3").write_text(PYTHON)
    (tmp_path / "python3").chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    ran = runner()
    done = ran.step("Install modelreg")
    installed = ran.read("modelreg/bin/installed").split()

    assert done.returncode == 0, done.stderr
    assert installed[-3:] == ["--constraint", str(ROOT / "constraints.txt"), str(ROOT)]


# The workflow of `init`

GENERATED = init.documents()[".github/workflows/verify.yml"]


def generated_step(tmp_path, url: str) -> "subprocess.CompletedProcess[str]":
    """Run the installing step of the generated workflow, with a pip that prints its arguments."""
    (script,) = (
        step["run"]
        for step in yaml.safe_load(GENERATED)["jobs"]["verify"]["steps"]
        if step.get("name") == "Install modelreg"
    )
    (tmp_path / "pip").write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    (tmp_path / "pip").chmod(0o700)
    environment = os.environ | {"MODELREG": url, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("url", [yaml.safe_load(GENERATED)["env"]["MODELREG"], "modelreg"])
def test_a_generated_workflow_never_installs_from_a_package_index(tmp_path, url) -> None:
    """Another package may have the name: until a git URL is filled in, the step fails and names the file."""
    done = generated_step(tmp_path, url)

    assert (done.returncode, "FILL IN MODELREG in .github/workflows/verify.yml" in done.stdout) == (1, True)


def test_a_generated_workflow_installs_from_a_git_url(tmp_path) -> None:
    """One argument: the name and the URL."""
    url = "git+https://example.org/acme/modelreg@" + "0" * 40
    done = generated_step(tmp_path, url)

    assert (done.returncode, done.stdout.splitlines()) == (0, ["install", f"modelreg @ {url}"])


@pytest.mark.parametrize("text", init.documents(sample=True).values(), ids=init.documents(sample=True).keys())
def test_no_generated_file_installs_modelreg_by_its_bare_name(text) -> None:
    """A package index may have another package of this name."""
    assert re.search(r"""install\b[^\n]*\s['"]?modelreg(?!\s*@ )\b""", text) is None


# The hook


(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())


def hook(folder: Path, monkeypatch) -> int:
    """Run the hook's entry as pre-commit does: in the root of the repository, without file names."""
    program, *arguments = shlex.split(HOOK["entry"])
    assert (program, HOOK["always_run"], HOOK["pass_filenames"]) == ("modelreg", True, False)
    monkeypatch.chdir(folder)
    return main(arguments)


def test_the_hook_passes_where_no_version_changed(registry, monkeypatch, capsys) -> None:
    """None is checked."""
    (registry / "CHANGELOG.md").write_text("other")

    assert hook(registry, monkeypatch) == 0
    assert capsys.readouterr().out == "no versions changed since the last commit\n"


@pytest.mark.parametrize("staged", [False, True])
def test_the_hook_refuses_a_broken_version(registry, monkeypatch, capsys, staged) -> None:
    """Before it is committed."""
    (registry / "registry" / "conv2d_fsq" / "v0.1.0" / "run.json").write_text("{}")
    if staged:
        git(registry, "add", "--all")

    assert hook(registry, monkeypatch) == 4
    assert "[verify.size-mismatch]" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["v0.1.0", "v0.1.0/run.json"])
def test_the_hook_refuses_a_deletion(registry, monkeypatch, capsys, name) -> None:
    """Of a version, or of one of its files."""
    path = registry / "registry" / "conv2d_fsq" / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()

    assert hook(registry, monkeypatch) == 4
    assert ("was removed" if path.name == "v0.1.0" else "[verify.file-missing]") in capsys.readouterr().err


def test_the_hook_checks_new_versions_only(registry, monkeypatch, capsys) -> None:
    """A broken version that is already committed does not belong to this commit."""
    folder = registry / "registry" / "conv2d_fsq"
    (folder / "v0.1.0" / "model.sig").write_text("{}")
    commit(registry)
    shutil.copytree(folder / "v0.1.0", folder / "v0.2.0")
    monkeypatch.chdir(registry)
    main(["verify", "--changed", "--json"])

    assert [found["version"] for found in json.loads(capsys.readouterr().out)["versions"]] == ["conv2d_fsq@v0.2.0"]


def test_without_git_the_hook_fails(registry, monkeypatch, capsys) -> None:
    """Without it, changed versions cannot be found."""
    shutil.rmtree(registry / ".git")

    assert hook(registry, monkeypatch) == 3
    assert "[git.not-a-repository]" in capsys.readouterr().err


def test_a_reference_contradicts_changed(registry, monkeypatch) -> None:
    """`--changed` selects the versions."""
    monkeypatch.chdir(registry)

    assert main(["verify", "v0.1.0", "--changed"]) == 2
