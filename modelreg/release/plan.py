"""Plan a release: from a run, or from a released version, to the steps that are left.

`draft` makes the refusals that cost nothing: it compares names, the presence of documents and git's state. `complete`
makes those that need a computation: files are hashed and the outcomes of the gates are known. Both list every problem
they find at once and write nothing; `steps.run` carries out the plan.

The version's folder is built next to its final place, verified and renamed. The steps after that (signature, changelog,
table, commit, tag) can each be recognized as done, so running the same release again finishes an interrupted one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import semver

from modelreg import files, strict_yaml
from modelreg.artifacts import exports
from modelreg.config import PROJECT_FILE, ProjectConfig
from modelreg.documents import changelog, releases_table, template_versions
from modelreg.errors import Failure, GateFailed, InputError, Problem, RegistryError, raise_all
from modelreg.evaluation import gates
from modelreg.records.base import load
from modelreg.records.export import Target
from modelreg.records.gates import Outcome
from modelreg.records.manifest import Manifest
from modelreg.records.run import GitState, RunRecord
from modelreg.registry import filenames, references, runs, versions
from modelreg.release import from_run, patch

Step = Literal["evaluate", "export", "version", "sign", "changelog", "table", "commit", "tag", "push", "publish"]

REMOTE: tuple[Step, ...] = ("push", "publish")  # the steps that others can see


@dataclass(frozen=True)
class Request:
    """The release that the user requests."""

    version: str
    run: Path  # with `addition`: the released version that the new one is made from
    evaluate: bool = False  # a run that has no metrics of its latest evaluation
    export: bool = True  # the targets of modelreg.yaml that the run does not have
    roll_changelog: bool = False
    changelog_entry: bool = False  # from facts, if there is nothing under [Unreleased]
    allow_older: bool = False
    force: bool = False
    commit: bool = False
    tag: bool = False
    sign: bool = False
    publish: bool = False
    with_folds: bool = False  # the weights of the folds of a cross-fitted run
    addition: patch.Addition | None = None

    @property
    def tagged(self) -> bool:
        """Say whether the version gets a tag: a published version has one."""
        return self.tag or self.publish

    @property
    def committed(self) -> bool:
        """Say whether the version is committed: a tag must name a commit that contains it."""
        return self.commit or self.tagged


@dataclass(frozen=True)
class Situation:
    """What a release finds outside the run and the registry: the time, git's state. `steps.observe` returns it."""

    now: str  # ISO 8601, UTC
    git: GitState | None = None
    changed: tuple[str, ...] = ()  # paths that differ from the commit, relative to the root
    identity: str | None = None  # why git cannot commit: no user.name; None: it can
    ignored: frozenset[str] = frozenset()  # names of assets that git would ignore in a version's folder
    tags: frozenset[str] = frozenset()
    cut_off: bool = False  # a shallow clone: history ends before the commit of the version
    unpublishable: tuple[Problem, ...] = ()  # why nothing can be published: no repository, no token


@dataclass(frozen=True)
class Plan:
    """A release that nothing prevents: its names, the steps that are left, and everything they need."""

    root: Path
    request: Request
    model: str
    version: str
    tag: str
    project: ProjectConfig
    situation: Situation
    outcomes: tuple[Outcome, ...] = ()  # of the project's gates; none for exports that the release makes first
    steps: tuple[Step, ...] = ()
    missing: tuple[Target, ...] = ()  # exports that the run does not have
    finishing: bool = False  # the version exists and was made by this request

    @property
    def run(self) -> Path:
        """The run, or the version that another is made from."""
        return self.request.run

    @property
    def addition(self) -> patch.Addition | None:
        """What is added to the version that another is made from; None: the version is made from a run."""
        return self.request.addition

    @property
    def folder(self) -> Path:
        """The version's folder, which may not exist yet."""
        return self.root / filenames.REGISTRY / self.model / f"v{self.version}"

    @property
    def reference(self) -> str:
        """The version as the command line names it."""
        return f"{self.model}@v{self.version}"

    @property
    def message(self) -> str:
        """The message of the commit and of the tag."""
        return f"Release {self.model} v{self.version}"

    @property
    def local(self) -> tuple[Step, ...]:
        """The steps that change this machine only; none where only the publication is left."""
        return tuple(step for step in self.steps if step not in REMOTE)

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the release's commit, relative to the root."""
        return (self.folder.relative_to(self.root).as_posix(), changelog.NAME, releases_table.NAME)

    def holds(self, path: str) -> bool:
        """Say whether a path, relative to the root, is part of the release's commit."""
        return files.lies_in(path, self.paths)


def place_of(request: Request) -> str:
    """Return the path of the requested version, relative to the root."""
    model = runs.load_run(request.run).model.settings.name
    return f"{filenames.REGISTRY}/{model}/v{versions.parse_version(request.version)}"


def draft(root: Path, request: Request, project: ProjectConfig, situation: Situation) -> Plan:
    """Return a release with its local steps. Raises one ModelregError that lists every refusal that costs nothing.

    A file is hashed only if the version exists and its manifest names the run's weights: the release may be finished.
    """
    number = versions.parse_version(request.version)
    run = runs.load_run(request.run)
    model = run.model.settings.name
    found = Plan(root, request, model, str(number), tag_of(project, model, str(number)), project, situation)
    unreadable = [(RegistryError, problem) for problem in releases_table.find_unreadable(root)]
    raise_all("cannot release: a version of the registry cannot be read", unreadable)
    found = replace(found, steps=_pending(found, run))
    left = (
        bool(found.steps) or request.publish
    )  # a publication is repeated: only the server knows whether it is complete
    found = replace(found, finishing=found.folder.exists() and left and _is_made_of_it(found))
    raise_all(f"cannot release {model} v{number}", _refusals(found, run, number))
    return found


def complete(drafted: Plan, outcomes: tuple[Outcome, ...]) -> Plan:
    """Return a plan with all of its steps. Raises one ModelregError that lists what prevents the release.

    `outcomes` are those of `gate_outcomes` for the plan's run.
    """
    found = replace(drafted, outcomes=outcomes)
    if not found.finishing:
        raise_all(f"cannot release {found.model} v{found.version}", _failures(found))
    return outline(found)


def outline(drafted: Plan) -> Plan:
    """Return a draft with the steps of export and publication. Its gates are not judged."""
    exported = drafted.request.export and "version" in drafted.steps and not drafted.addition
    missing = missing_exports(drafted.run, drafted.project) if exported else ()
    evaluated = tuple(step for step in drafted.steps if step == "evaluate")
    first: tuple[Step, ...] = (*evaluated, "export") if missing else evaluated
    remote = REMOTE if drafted.request.publish else ()
    return replace(drafted, steps=(*first, *drafted.steps[len(evaluated) :], *remote), missing=missing)


def missing_exports(run: Path, project: ProjectConfig) -> tuple[Target, ...]:
    """Return the exports that the project's releases contain and a run does not have."""
    return tuple(target for target in project.targets if not exports.has(run, target))


def tag_of(project: ProjectConfig, model: str, version: str) -> str:
    """Return the tag of a version. Each command that takes a reference reads it again."""
    return references.tag_of(references.Identity(model, version), project.default_model, project.tag_format)


def gate_outcomes(root: Path, run: Path, project: ProjectConfig) -> tuple[Outcome, ...]:
    """Check the project's gates on a run's documents; return none if the run has no metrics.

    A gate on a document that the release exports first is checked after the export.
    """
    if not (run / filenames.METRICS).is_file():
        return ()
    model = runs.load_run(run).model.settings.name
    judgeable = gates.judgeable(run, project.judged, missing_exports(run, project))
    older = {name: _older(root, model, name) for name in gates.named_versions(judgeable)}
    words = template_versions.current().gate
    return tuple(gates.check_gates(gates.read_documents(run), judgeable, older, project.waivers, describe=words))


def _older(root: Path, model: str, name: str) -> gates.Older | None:
    """Return the documents of a version that a gate names; None if the version is not found."""
    try:
        folder = versions.resolve(f"{model}@{name}", root, model)
    except RegistryError:
        return None
    return gates.Older(folder.name, gates.read_documents(folder))


def _pending(drafted: Plan, run: RunRecord) -> tuple[Step, ...]:
    """Return the steps on this machine that are not yet done."""
    request, situation = drafted.request, drafted.situation
    exists = drafted.folder.exists()
    text = _changelog(drafted.root)
    rolled = text is not None and changelog.section(text, drafted.tag) is not None
    unsigned = request.sign and not (drafted.folder / filenames.SIGNATURE).exists()
    uncommitted = unsigned or any(drafted.holds(path) for path in situation.changed)
    steps: dict[Step, bool] = {
        "evaluate": not exists and request.evaluate and _needs_evaluation(request, run),
        "version": not exists,
        "sign": unsigned,
        "changelog": request.roll_changelog and not rolled,
        "table": not exists or releases_table.is_outdated(drafted.root),
        "commit": request.committed and (not exists or uncommitted),
        "tag": request.tagged and drafted.tag not in situation.tags,
    }
    return tuple(step for step, pending in steps.items() if pending)


def _needs_evaluation(request: Request, run: RunRecord) -> bool:
    """Say whether the run of a request must be evaluated first."""
    if request.addition:
        return False
    return run.status == "trained" and from_run.find_metrics_problem(request.run, run) is not None


def _is_made_of_it(drafted: Plan) -> bool:
    """Say whether the existing version was made from this run, or from this version and HEF."""
    if drafted.addition:
        return patch.is_made_of(drafted.folder, drafted.run, drafted.addition)
    manifest = load(drafted.folder / filenames.MANIFEST, Manifest)
    digests = {entry.path: entry.sha256 for entry in manifest.files}
    recorded = runs.load_run(drafted.run).files.get(filenames.CHECKPOINT)
    if recorded != digests.get(filenames.CHECKPOINT):  # another run: nothing needs to be hashed
        return False
    assets = [drafted.run / name for name in filenames.ASSETS]
    same = all(path.is_file() and digests.get(path.name) == files.sha256(path) for path in assets)
    return same and patch.base_of(drafted.folder) is None


def _refusals(drafted: Plan, run: RunRecord, number: semver.Version) -> Iterator[Failure]:
    """Yield what prevents a release, as far as names, documents and git's state show it."""
    yield from ((InputError, problem) for problem in _text_problems(drafted))
    yield from ((RegistryError, problem) for problem in _git_problems(drafted))
    yield from ((InputError, problem) for problem in drafted.situation.unpublishable)
    if drafted.finishing:
        return
    yield from ((RegistryError, problem) for problem in _number_problems(drafted, number))
    if drafted.addition:
        yield from patch.find_refusals(drafted.run, number, drafted.addition)
    else:
        yield from ((InputError, problem) for problem in from_run.find_refusals(drafted.run, run))
        if drafted.request.with_folds and run.status == "trained":
            yield from ((InputError, problem) for problem in from_run.find_fold_problems(drafted.run, run))
        if drafted.folder.exists():
            return
        yield from ((RegistryError, problem) for problem in _same_weights(drafted, run))
        if run.status == "trained" and not drafted.request.evaluate:
            unmeasured = from_run.find_metrics_problem(drafted.run, run)
            yield from [(InputError, unmeasured)] if unmeasured else []


def _failures(drafted: Plan) -> Iterator[Failure]:
    """Yield what prevents a release, as far as the gates and the contents of files show it."""
    if drafted.addition:
        yield from patch.find_failures(drafted.run, drafted.version, drafted.addition)
    else:
        yield from from_run.find_failures(drafted.run, runs.load_run(drafted.run))
    outcomes = drafted.outcomes
    yield from ((GateFailed, problem) for problem in _gate_problems(drafted))
    remedy = "release its run again, exported anew" if drafted.addition else "export again"
    unsteady = exports.find_unsteady(outcomes, exports.estimate_of(drafted.run), remedy) if outcomes else ()
    yield from ((InputError, problem) for problem in unsteady)


def _gate_problems(drafted: Plan) -> Iterator[Problem]:
    """Yield the failed gates, each with its line of modelreg.yaml."""
    settings = drafted.root / PROJECT_FILE
    text = files.read_text(settings) if settings.is_file() else ""
    for problem, outcome in gates.failed(drafted.outcomes):
        line = strict_yaml.line_of(text, ("gates", outcome.path))
        place = f"{PROJECT_FILE}:{line}: gates.{outcome.path}" if line else problem.where
        waive = f'or waive it in {PROJECT_FILE}: `waivers: [{{gate: {outcome.path}, reason: "…"}}]`'
        yield problem._replace(where=place, next=f"improve the model or its data, {waive}")


def _number_problems(drafted: Plan, number: semver.Version) -> Iterator[Problem]:
    if drafted.folder.exists():
        yield Problem(drafted.reference, "release.version-exists", "this version exists, and a version never changes")
        return
    folders = list(versions.version_folders(drafted.root, drafted.model))
    newest = folders[-1].name if folders else None
    if newest and number < versions.parse_version(newest) and not drafted.request.allow_older:
        yield Problem(f"v{number}", "release.version-too-low", f"is lower than the newest version, {newest}")


def _same_weights(drafted: Plan, run: RunRecord) -> Iterator[Problem]:
    """Yield the versions that have the weights of the run, by the digest in run.json: nothing is hashed."""
    digest = run.files.get(filenames.CHECKPOINT)
    if digest and not drafted.request.force:
        for twin in versions.same_weights(drafted.root, drafted.model, digest):
            message = f"has the same SHA-256 as the checkpoint of {twin.reference}"
            yield Problem(filenames.CHECKPOINT, "release.same-weights", message)


def _text_problems(drafted: Plan) -> Iterator[Problem]:
    text = _changelog(drafted.root)
    if text is None:
        yield Problem(changelog.NAME, "changelog.missing", "file not found")
    elif changelog.section(text, drafted.tag) is None and not drafted.request.roll_changelog:
        write = f"write the section `## [{drafted.tag}]`, or leave out --no-roll-changelog"
        yield Problem(changelog.NAME, "changelog.section-missing", f"has no section [{drafted.tag}]", write)
    elif (
        "changelog" in drafted.steps
        and not drafted.request.changelog_entry
        and not changelog.has_entries(changelog.section(text, changelog.UNRELEASED))
    ):
        yield Problem(changelog.NAME, "changelog.nothing-new", f"has no entries under [{changelog.UNRELEASED}]")
    if releases_table.read_table(drafted.root) is None:
        yield releases_table.NO_TABLE


def _git_problems(drafted: Plan) -> Iterator[Problem]:
    if not drafted.request.committed:
        return
    situation = drafted.situation
    if situation.git is None:
        yield Problem(str(drafted.root), "git.not-a-repository", "is not in a git repository with a commit")
        return
    if situation.identity:
        yield Problem("git", "git.no-identity", f"no author identity ({situation.identity})")
    for path in situation.changed:
        if not (drafted.finishing and drafted.holds(path)) and not files.is_leftover(path):
            yield Problem(path, "git.uncommitted", "not committed")
    yield from _tag_problems(drafted)
    if drafted.project.assets == "committed":
        yield from _ignored_assets(situation.ignored)


def _tag_problems(drafted: Plan) -> Iterator[Problem]:
    situation = drafted.situation
    if drafted.request.tagged and drafted.tag in situation.tags and not drafted.finishing:
        yield Problem(drafted.tag, "git.tag-exists", "this tag exists")
    if situation.cut_off and "tag" in drafted.steps and not _is_committed_first(drafted):
        message = "the history does not show the commit that added it"
        yield Problem(drafted.reference, "git.shallow-clone", message)


def _is_committed_first(drafted: Plan) -> bool:
    """Say whether the release changes the version's folder and commits it before the tag: that commit is then known."""
    return "sign" in drafted.steps or any(files.lies_in(path, drafted.paths[:1]) for path in drafted.situation.changed)


def _ignored_assets(names: Iterable[str]) -> Iterator[Problem]:
    for name in sorted(names):
        yield Problem(name, "git.asset-ignored", "is ignored by git, but modelreg.yaml has `assets: committed`")


def _changelog(root: Path) -> str | None:
    path = root / changelog.NAME
    return files.read_text(path) if path.is_file() else None
