"""A version out of a run, or out of a version: decide everything first, then act step by step.

`plan` looks at the run, the registry and git's state and either lists everything that forbids the release, or
returns the steps. It writes nothing; `steps.run` carries the plan out. The version's folder is built beside its
place, checked, and renamed: that is the one moment at which the version comes to be. The steps after it (changelog,
table, commit, tag) can each be seen to be done or not, so a release that was killed between them is finished by
running it again.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import semver

from modelreg import files
from modelreg.artifacts import exports
from modelreg.config import ProjectConfig
from modelreg.documents import changelog, releases_table, template_versions
from modelreg.errors import Failure, GateFailed, InputError, Problem, RegistryError, raise_all
from modelreg.evaluation import gates
from modelreg.records.base import load
from modelreg.records.export import Target
from modelreg.records.gates import Outcome
from modelreg.records.manifest import Manifest
from modelreg.records.run import GitState, RunRecord
from modelreg.registry import filenames, runs, versions
from modelreg.release import from_run, patch

Step = Literal["export", "version", "sign", "changelog", "table", "commit", "tag", "push", "publish"]

REMOTE: tuple[Step, ...] = ("push", "publish")  # they change what others see


@dataclass(frozen=True)
class Request:
    """What the user asked for."""

    version: str
    run: Path  # or, with `addition`, the version that another is made from
    roll_changelog: bool = False
    allow_older: bool = False
    force: bool = False
    commit: bool = False
    tag: bool = False
    sign: bool = False
    publish: bool = False
    addition: patch.Addition | None = None

    @property
    def tagged(self) -> bool:
        """Say whether the version gets a tag: what is published has one."""
        return self.tag or self.publish

    @property
    def committed(self) -> bool:
        """Say whether the version is committed: a tag on a commit without it would lie."""
        return self.commit or self.tagged


@dataclass(frozen=True)
class Situation:
    """What a release finds: the time, git's state, and what the gates say of the run. `steps.observe` returns it."""

    now: str  # ISO 8601, UTC
    git: GitState | None
    outcomes: tuple[Outcome, ...]  # of the project's gates; none for what the release exports first
    changed: tuple[str, ...] = ()  # paths that differ from the commit, relative to the root
    identity: str | None = None  # why git could not commit: no user.name; None: it could
    ignored: frozenset[str] = frozenset()  # names of assets that git would not take into a version's folder
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Plan:
    """A release that nothing forbids: its names, the steps still to take, and all that they need to know."""

    root: Path
    run: Path
    model: str
    version: str
    tag: str
    project: ProjectConfig
    situation: Situation
    steps: tuple[Step, ...] = ()
    missing: tuple[Target, ...] = ()  # exports that the run lacks
    addition: patch.Addition | None = None

    @property
    def folder(self) -> Path:
        """Where the version stands, or will."""
        return self.root / filenames.REGISTRY / self.model / f"v{self.version}"

    @property
    def reference(self) -> str:
        """How the command line names the version."""
        return f"{self.model}@v{self.version}"

    @property
    def message(self) -> str:
        """What the commit and the tag say."""
        return f"Release {self.model} v{self.version}"

    @property
    def local(self) -> tuple[Step, ...]:
        """The steps that change this machine only; there is always one."""
        return tuple(step for step in self.steps if step not in REMOTE)

    @property
    def paths(self) -> tuple[str, ...]:
        """What the release's commit holds, relative to the root."""
        return (self.folder.relative_to(self.root).as_posix(), changelog.NAME, releases_table.NAME)

    def holds(self, path: str) -> bool:
        """Say whether a path, relative to the root, is part of the release's commit."""
        return any(path == ours or path.startswith(f"{ours}/") for ours in self.paths)


def plan(root: Path, request: Request, project: ProjectConfig, situation: Situation) -> Plan:
    """Return the steps of a release. Raises one ModelregError that lists everything in its way."""
    number = versions.parse_version(request.version)
    run = runs.load_run(request.run)
    model = run.model.settings.name
    tag = tag_of(project, model, str(number))
    draft = Plan(root, request.run, model, str(number), tag, project, situation, addition=request.addition)
    broken = [(RegistryError, problem) for problem in releases_table.find_unreadable(root)]
    raise_all("cannot release into a registry that does not verify", broken)
    pending = _pending(draft, request)
    finishing = draft.folder.exists() and bool(pending) and _is_made_of_it(draft)
    failures = [*_text_failures(draft, request), *_git_failures(draft, request, finishing=finishing)]
    if not finishing:
        failures += [*_registry_failures(draft, request, number), *_source_failures(draft, run, number)]
    raise_all(f"cannot release {model} v{number}", failures)
    missing = missing_exports(draft.run, project) if "version" in pending and not draft.addition else ()
    first: tuple[Step, ...] = ("export",) if missing else ()
    return replace(draft, steps=(*first, *pending, *(REMOTE if request.publish else ())), missing=missing)


def missing_exports(run: Path, project: ProjectConfig) -> tuple[Target, ...]:
    """Return the exports that the project's releases carry and a run lacks."""
    return tuple(target for target in project.targets if not exports.has(run, target))


def tag_of(project: ProjectConfig, model: str, version: str) -> str:
    """Return the tag of a version: the project's format for the default model, the model's name before others."""
    form = project.tag_format if model == project.default_model else "{model}-v{version}"
    return form.replace("{model}", model).replace("{version}", version)


def gate_outcomes(root: Path, run: Path, project: ProjectConfig) -> tuple[Outcome, ...]:
    """Hold the project's gates against a run's documents; none where it has no metrics yet.

    A gate on a document that the release will export first is judged when it has.
    """
    if not (run / filenames.METRICS).is_file():
        return ()
    model = runs.load_run(run).model.settings.name
    there = gates.judgeable(run, project.gates, missing_exports(run, project))
    older = {name: _older(root, model, name) for name in gates.named_versions(there)}
    words = template_versions.current().gate
    return tuple(gates.check_gates(gates.read_documents(run), there, older, project.waivers, describe=words))


def _older(root: Path, model: str, name: str) -> gates.Older | None:
    """Return what a version has that a gate names; None where there is none."""
    try:
        folder = versions.resolve(f"{model}@{name}", root, model)
    except RegistryError:
        return None
    return gates.Older(folder.name, gates.read_documents(folder))


def _pending(draft: Plan, request: Request) -> tuple[Step, ...]:
    """Return the steps on this machine that are not yet done."""
    exists = draft.folder.exists()
    text = _changelog(draft.root)
    rolled = text is not None and changelog.section(text, draft.tag) is not None
    unsigned = request.sign and not (draft.folder / filenames.SIGNATURE).exists()
    uncommitted = unsigned or any(draft.holds(path) for path in draft.situation.changed)
    steps: dict[Step, bool] = {
        "version": not exists,
        "sign": unsigned,
        "changelog": request.roll_changelog and not rolled,
        "table": not exists or releases_table.is_outdated(draft.root),
        "commit": request.committed and (not exists or uncommitted),
        "tag": request.tagged and draft.tag not in draft.situation.tags,
    }
    return tuple(step for step, wanted in steps.items() if wanted)


def _is_made_of_it(draft: Plan) -> bool:
    """Say whether the existing version was made of this very run, or of this version and HEF."""
    if draft.addition:
        return patch.is_made_of(draft.folder, draft.run, draft.addition)
    manifest = load(draft.folder / filenames.MANIFEST, Manifest)
    digests = {entry.path: entry.sha256 for entry in manifest.files}
    assets = [draft.run / name for name in filenames.ASSETS]
    same = all(path.is_file() and digests.get(path.name) == files.sha256(path) for path in assets)
    return same and patch.base_of(draft.folder) is None


def _registry_failures(draft: Plan, request: Request, number: semver.Version) -> Iterator[Failure]:
    if draft.folder.exists():
        yield (
            RegistryError,
            Problem(f"{draft.model} v{number}", "todo.plan", "exists, and a version never changes; take a new number"),
        )
        return
    folders = list(versions.version_folders(draft.root, draft.model))
    newest = folders[-1].name if folders else None
    if newest and number < versions.parse_version(newest) and not request.allow_older:
        yield (
            RegistryError,
            Problem(f"v{number}", "todo.plan", f"is lower than the newest, {newest}; --allow-older if you mean it"),
        )
    checkpoint = draft.run / filenames.CHECKPOINT
    if checkpoint.is_file() and not request.force and not request.addition:
        for twin in versions.same_weights(draft.root, draft.model, checkpoint):
            what = f"has the very bytes of {twin.reference}; --force if you mean it"
            yield RegistryError, Problem(filenames.CHECKPOINT, "todo.plan", what)


def _source_failures(draft: Plan, run: RunRecord, number: semver.Version) -> Iterator[Failure]:
    if draft.addition:
        yield from patch.find_failures(draft.run, number, draft.addition)
    else:
        yield from from_run.find_failures(draft.run, run)
    outcomes = draft.situation.outcomes
    yield from ((GateFailed, problem) for problem in gates.failures(outcomes))
    remedy = "release its run again, exported anew" if draft.addition else "export again"
    unsteady = exports.find_unsteady(outcomes, exports.estimate_of(draft.run), remedy) if outcomes else ()
    yield from ((InputError, problem) for problem in unsteady)


def _text_failures(draft: Plan, request: Request) -> Iterator[Failure]:
    text = _changelog(draft.root)
    if text is None:
        yield InputError, Problem(changelog.NAME, "todo.plan", "is missing; `modelreg init` writes one")
    elif changelog.section(text, draft.tag) is None and not request.roll_changelog:
        what = f"has no section [{draft.tag}]; write one, or give --roll-changelog"
        yield InputError, Problem(changelog.NAME, "todo.plan", what)
    elif changelog.section(text, draft.tag) is None and not changelog.section(text, changelog.UNRELEASED):
        yield InputError, Problem(changelog.NAME, "todo.plan", "has nothing under [Unreleased]; say what is new first")
    if releases_table.read_table(draft.root) is None:
        yield InputError, releases_table.NO_TABLE


def _git_failures(draft: Plan, request: Request, *, finishing: bool) -> Iterator[Failure]:
    if not request.committed:
        return
    situation = draft.situation
    if situation.git is None:
        yield (
            RegistryError,
            Problem(str(draft.root), "todo.plan", "is no git repository with a commit, so nothing can be committed"),
        )
    if situation.git and situation.identity:
        yield RegistryError, Problem("git", "todo.plan", situation.identity)
    for path in situation.changed:
        if not (finishing and draft.holds(path)) and not files.is_leftover(path):
            yield RegistryError, Problem(path, "todo.plan", "is not committed; commit or stash it first")
    if request.tagged and draft.tag in situation.tags and not finishing:
        yield RegistryError, Problem(draft.tag, "todo.plan", "the tag exists")
    if draft.project.assets == "committed":
        yield from ((RegistryError, problem) for problem in _ignored_assets(situation))


def _ignored_assets(situation: Situation) -> Iterator[Problem]:
    for name in sorted(situation.ignored):
        what = "is ignored by git, but modelreg.yaml says `assets: committed`; change .gitignore or modelreg.yaml"
        yield Problem(name, "todo.plan", what)


def _changelog(root: Path) -> str | None:
    path = root / changelog.NAME
    return files.read_text(path) if path.is_file() else None
