"""Carry a release out: observe what is there, then take the steps of a plan one after the other.

What lies outside this package comes in as ports: the clock, git, and the operations that belong to other packages.
A port that is None is not available; a plan that needs it is refused before anything is written.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from modelreg import __version__, files
from modelreg.config import ProjectConfig
from modelreg.documents import changelog, releases_table, sbom, template_versions
from modelreg.errors import GateFailed, InputError, Problem, VerificationFailed, raise_all
from modelreg.evaluation import gates
from modelreg.records.export import Target
from modelreg.records.gates import GateReport, Outcome
from modelreg.records.manifest import FileEntry, Manifest, Stored, Tool
from modelreg.records.run import GitState
from modelreg.registry import filenames, versions
from modelreg.release import from_run, patch
from modelreg.release.plan import Plan, Situation, Step, gate_outcomes
from modelreg.verification import integrity

BINARIES = (".safetensors", ".npz", ".onnx")  # what the .gitignore of a registry names


@dataclass(frozen=True)
class Git:
    """What a release asks of git and has it do; each call names the repository's root first."""

    state: Callable[[Path], GitState | None]  # None: no repository, no commit, or no git
    changes: Callable[[Path], tuple[str, ...]]  # paths, relative to the root, that differ from the commit
    tags: Callable[[Path], frozenset[str]]
    ignored: Callable[[Path, Sequence[Path]], frozenset[str]]  # the names of those paths that git ignores
    identity_problem: Callable[[Path], str | None]  # why git could not commit; None: it could
    commit: Callable[[Path, tuple[str, ...], str], None]  # exactly these paths, with this message
    tag: Callable[[Path, str, str, str], None]  # tag, message, and the path whose last commit it names
    push: Callable[[Path, str], None]  # a tag, to where the repository came from


@dataclass(frozen=True)
class Ports:
    """What a release needs from outside; a port that is None is not available.

    No step evaluates yet: a run that was not evaluated is refused. `evaluate` is the port by which a release will
    evaluate it.
    """

    now: Callable[[], str]  # ISO 8601, UTC
    git: Git | None = None
    evaluate: Callable[[Path], None] | None = None  # a run
    export: Callable[[Path, tuple[Target, ...]], None] | None = None  # these targets into a run
    sign: Callable[[Path], None] | None = None  # a version's folder
    publish: Callable[[str], None] | None = None  # a version by its reference, its tag being pushed


def observe(root: Path, run: Path, project: ProjectConfig, ports: Ports) -> Situation:
    """Return what a release of a run finds: the time, git's state, and the outcomes of the gates. Raises InputError."""
    now, git = ports.now(), ports.git
    if git is None:
        return Situation(now, None, gate_outcomes(root, run, project))
    return Situation(
        now=now,
        git=git.state(root),
        changed=git.changes(root),
        tags=git.tags(root),
        identity=git.identity_problem(root),
        ignored=git.ignored(root, _assets(root)),
        outcomes=gate_outcomes(root, run, project),
    )


def run(plan: Plan, ports: Ports, tell: Callable[[Step], None] = lambda _: None) -> None:
    """Take the steps of a plan in their order, and `tell` each that is done.

    Raises InputError, before anything is written, where a step needs a port that is None; else what the step raises.
    """
    actions = _actions(plan, ports)
    ready = {step: action for step in plan.steps if (action := actions[step])}
    absent = [step for step in plan.steps if step not in ready]
    if absent:
        problems = [
            Problem(step, "todo.steps", "is a step of this release, but is not available here") for step in absent
        ]
        raise InputError(f"cannot release {plan.model} v{plan.version}", problems)
    for step, act in ready.items():
        act()
        tell(step)


def _actions(plan: Plan, ports: Ports) -> dict[Step, Callable[[], None] | None]:
    """Return what each step does; None where its port is not available."""
    git = ports.git
    return {
        "export": partial(ports.export, plan.run, plan.missing) if ports.export else None,
        "version": partial(make_version, plan),
        "sign": partial(ports.sign, plan.folder) if ports.sign else None,
        "changelog": partial(roll_changelog, plan),
        "table": partial(write_table, plan.root),
        "commit": partial(git.commit, plan.root, plan.paths, plan.message) if git else None,
        "tag": partial(git.tag, plan.root, plan.tag, plan.message, plan.paths[0]) if git else None,
        "push": partial(git.push, plan.root, plan.tag) if git else None,
        "publish": partial(ports.publish, plan.reference) if ports.publish else None,
    }


def make_version(plan: Plan) -> None:
    """Build the version's folder, check it as `verify` would, and give it its name.

    The gates are judged once more, for an export may have come since the plan was made. To a patch none comes: the
    gates that its version states are judged where its bundle is made.
    """
    outcomes = () if plan.addition else gate_outcomes(plan.root, plan.run, plan.project)
    raise_all("a gate failed; nothing was written", ((GateFailed, problem) for problem in gates.failures(outcomes)))
    with files.staged_folder(plan.folder) as staged:
        _stage(staged, plan, outcomes)
        problems = integrity.inspect(staged, named=(plan.model, plan.version), complete=True).problems
        if problems:
            raise VerificationFailed(f"{plan.model} v{plan.version} would not verify; nothing was written", problems)


def roll_changelog(plan: Plan) -> None:
    """Move [Unreleased] under the heading of this release."""
    path = plan.root / changelog.NAME
    text = files.read_text(path)
    files.write_atomic(path, changelog.roll(text, plan.tag, plan.situation.now[:10]).encode())


def write_table(root: Path) -> None:
    """Write the table of RELEASES.md from the registry."""
    path = root / releases_table.NAME
    files.write_atomic(path, releases_table.replace(files.read_text(path), versions.versions(root)).encode())


def _assets(root: Path) -> list[Path]:
    """Return where the binaries of a version would lie, for git to say whether it would take them."""
    names = [*filenames.ASSETS, filenames.VALIDATION, *(f"{filenames.ONNX}/{name}" for name in filenames.GRAPH_FILES)]
    return [root / filenames.REGISTRY / "model" / "v0.0.0" / name for name in names]


def _stage(staged: Path, plan: Plan, outcomes: tuple[Outcome, ...]) -> None:
    """Write every file of the version into the staged folder, the manifest last."""
    if plan.addition:
        documents = patch.stage(staged, plan.run, plan.version, plan.addition)
    else:
        report = GateReport(outcomes=outcomes) if outcomes else None
        documents = from_run.stage(staged, plan.run, plan.version, plan.project.license, report)
    stored: Stored = "git" if plan.project.assets == "committed" else "asset"
    paths = sorted(path.relative_to(staged).as_posix() for path in staged.rglob("*") if path.is_file())
    entries = [_entry(staged, path, stored) for path in paths]
    now = plan.situation.now
    digests = {entry.path: entry.sha256 for entry in entries}
    parts = sbom.render(documents, now, __version__, digests)
    files.write_atomic(staged / filenames.SBOM, parts)
    entries.append(_entry(staged, filenames.SBOM, stored))
    manifest = Manifest(
        model=plan.model,
        version=plan.version,
        created=now,
        tool=Tool(version=__version__),
        git=plan.situation.git,
        templates=template_versions.CURRENT,
        files=tuple(sorted(entries, key=lambda entry: entry.path)),
    )
    files.write_atomic(staged / filenames.MANIFEST, manifest.to_bytes())
    sums = versions.sums_text(manifest, files.sha256(staged / filenames.MANIFEST))
    files.write_atomic(staged / filenames.SUMS, sums.encode())


def _entry(staged: Path, path: str, stored: Stored) -> FileEntry:
    """Describe a file; weights, predictions and graphs go where the project keeps them, bundles always travel."""
    kept: Stored = stored if path.endswith(BINARIES) else "git"
    return FileEntry(
        path=path,
        sha256=files.sha256(staged / path),
        size=(staged / path).stat().st_size,
        stored="asset" if path.endswith(filenames.ARCHIVE) else kept,
    )
