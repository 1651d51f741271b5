"""Carry out a release: observe the time and git's state, then take the steps of a plan one after the other.

Everything outside this package is passed in as a port: the clock, git, and the operations of other packages. A port
that is None is not available; a plan that needs it is refused before anything is written.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from modelreg import __version__, files
from modelreg.documents import changelog, releases_table, sbom, template_versions
from modelreg.errors import GateFailed, InputError, Problem, VerificationFailed, raise_all
from modelreg.evaluation import gates
from modelreg.records.export import Target
from modelreg.records.gates import GateReport, Outcome
from modelreg.records.manifest import FileEntry, Manifest, Stored, Tool
from modelreg.records.run import GitState
from modelreg.registry import filenames, versions
from modelreg.release import from_run, patch
from modelreg.release.plan import Plan, Request, Situation, Step, gate_outcomes, place_of
from modelreg.verification import integrity

BINARIES = (".safetensors", ".npz", ".onnx")  # which the .gitignore of a registry lists


@dataclass(frozen=True)
class Git:
    """What a release reads from git and does with it; the first argument of each call is the repository's root."""

    state: Callable[[Path], GitState | None]  # None: no repository, no commit, or no git
    changes: Callable[[Path], tuple[str, ...]]  # paths, relative to the root, that differ from the commit
    tags: Callable[[Path], frozenset[str]]
    ignored: Callable[[Path, Sequence[Path]], frozenset[str]]  # the names of those paths that git ignores
    is_cut_off: Callable[[Path, str], bool]  # history ends before the last change of a path: a shallow clone
    identity_problem: Callable[[Path], str | None]  # why git cannot commit; None: it can
    commit: Callable[[Path, tuple[str, ...], str], None]  # exactly these paths, with this message
    tag: Callable[[Path, str, str, str], None]  # tag, message, and a path: the tag names its last commit
    push: Callable[[Path, str], None]  # a tag, to the remote `origin`


@dataclass(frozen=True)
class Ports:
    """What a release needs from outside; a port that is None is not available.

    `evaluate` is used before the plan is complete, because the gates read the metrics.
    """

    now: Callable[[], str]  # ISO 8601, UTC
    git: Git | None = None
    evaluate: Callable[[Path], None] | None = None  # a run
    export: Callable[[Path, tuple[Target, ...]], None] | None = None  # these targets into a run
    sign: Callable[[Path], None] | None = None  # a version's folder
    publish: Callable[[str], None] | None = None  # a version by its reference, once its tag is pushed
    find_publish_problems: Callable[[], Iterable[Problem]] | None = None  # without network: no repository, no token


def observe(root: Path, request: Request, ports: Ports) -> Situation:
    """Return what a release finds: the time, git's state, and why it could not be published. Computes nothing."""
    publishing = ports.find_publish_problems if request.publish else None
    unpublishable = tuple(publishing()) if publishing else ()
    now, git = ports.now(), ports.git
    if git is None:
        return Situation(now, unpublishable=unpublishable)
    state = git.state(root)
    return Situation(
        now=now,
        git=state,
        changed=git.changes(root),
        tags=git.tags(root),
        cut_off=bool(state) and request.tagged and git.is_cut_off(root, place_of(request)),
        identity=git.identity_problem(root),
        ignored=git.ignored(root, _assets(root)),
        unpublishable=unpublishable,
    )


def evaluate(drafted: Plan, ports: Ports) -> Plan:
    """Evaluate the run of a draft; return the draft without that step. Raises InputError if the port is None."""
    if ports.evaluate is None:
        raise InputError(f"cannot release {drafted.model} v{drafted.version}", [_unavailable("evaluate")])
    ports.evaluate(drafted.run)
    return replace(drafted, steps=tuple(step for step in drafted.steps if step != "evaluate"))


def run(plan: Plan, ports: Ports, on_step: Callable[[Step], None] = lambda _: None) -> None:
    """Take the steps of a plan in their order, and call `on_step` after each.

    Raises InputError, before anything is written, if a step needs a port that is None; otherwise what a step raises.
    """
    actions = _actions(plan, ports)
    ready = {step: action for step in plan.steps if (action := actions[step])}
    if absent := [step for step in plan.steps if step not in ready]:
        raise InputError(f"cannot release {plan.model} v{plan.version}", map(_unavailable, absent))
    for step, act in ready.items():
        act()
        on_step(step)


def _unavailable(step: Step) -> Problem:
    return Problem(step, "release.step-unavailable", "this step of the release is not available here")


def _actions(plan: Plan, ports: Ports) -> dict[Step, Callable[[], None] | None]:
    """Return the action of each step; None if its port is not available."""
    git = ports.git
    return {
        "evaluate": None,  # before the plan is complete: `evaluate`
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
    """Build the version's folder, check it as `verify` does, and rename it to its final place.

    The gates are checked once more, because the step before may have exported something. A patch has no such step: the
    gates that its version states are checked where its bundle is made.
    """
    outcomes = () if plan.addition else gate_outcomes(plan.root, plan.run, plan.project)
    raise_all("nothing was written", ((GateFailed, problem) for problem in gates.failures(outcomes)))
    with files.staged_folder(plan.folder) as staged:
        _stage(staged, plan, outcomes)
        problems = integrity.inspect(staged, named=(plan.model, plan.version), complete=True).problems
        if problems:
            raise VerificationFailed("the new version does not verify; nothing was written", problems)


def roll_changelog(plan: Plan) -> None:
    """Move [Unreleased] under the heading of this release; if it is empty, write an entry from the version's facts."""
    path = plan.root / changelog.NAME
    text = files.read_text(path)
    entry = _changelog_entry(plan) if plan.request.changelog_entry else None
    files.write_atomic(path, changelog.roll(text, plan.tag, plan.situation.now[:10], entry).encode())


def _changelog_entry(plan: Plan) -> str:
    if plan.addition:
        return patch.changelog_entry(plan.model, plan.tag, plan.run.name, plan.addition)
    return from_run.changelog_entry(plan.folder, plan.model, plan.tag)


def write_table(root: Path) -> None:
    """Write the table of RELEASES.md from the registry."""
    path = root / releases_table.NAME
    files.write_atomic(path, releases_table.replace(files.read_text(path), versions.versions(root)).encode())


def _assets(root: Path) -> list[Path]:
    """Return the paths that the binaries of a version would have, to find out whether git ignores them."""
    names = [*filenames.ASSETS, filenames.VALIDATION, filenames.FITTED]
    names += (f"{filenames.ONNX}/{name}" for name in filenames.GRAPH_FILES)
    return [root / filenames.REGISTRY / "model" / "v0.0.0" / name for name in names]


def _stage(staged: Path, plan: Plan, outcomes: tuple[Outcome, ...]) -> None:
    """Write every file of the version into the staged folder, the manifest and the checksums last."""
    if plan.addition:
        documents = patch.stage(staged, plan.run, plan.version, plan.addition)
    else:
        report = GateReport(outcomes=outcomes) if outcomes else None
        documents = from_run.stage(staged, plan.run, plan.version, plan.project.license, report)
        if plan.request.with_folds:
            from_run.stage_folds(staged, plan.run)
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
    """Describe a file; binaries are stored as the project configures it, bundles always as release assets."""
    kept: Stored = stored if path.endswith(BINARIES) else "git"
    return FileEntry(
        path=path,
        sha256=files.sha256(staged / path),
        size=(staged / path).stat().st_size,
        stored="asset" if path.endswith(filenames.ARCHIVE) else kept,
    )
