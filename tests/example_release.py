"""Releases without a command line: git in memory, and the other ports of `modelreg release`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from example_run import NOW

from modelreg.config import ProjectConfig
from modelreg.errors import Problem, RegistryError
from modelreg.records.run import GitState
from modelreg.release import steps
from modelreg.release.plan import Plan, Request, complete, draft, gate_outcomes
from modelreg.release.steps import Git, Ports

IGNORED = ("runs/", "dist/")  # as in the .gitignore of `init`; binaries are recognized by their suffix
BINARY = (".safetensors", ".npz", ".onnx", ".tar.gz")


def now() -> str:
    """The time of every example."""
    return NOW


@dataclass
class FakeGit:
    """A repository in memory: the committed bytes, and the commit of each tag. The folder's files are committed."""

    root: Path
    identity: str | None = None  # why git cannot commit
    ignored: frozenset[str] = frozenset()  # names of files
    committed: dict[str, bytes] = field(default_factory=dict)
    log: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)  # message and paths, the oldest first
    tags: dict[str, int] = field(default_factory=dict)  # the number of the commit
    pushed: set[str] = field(default_factory=set)
    cut_off: frozenset[str] = frozenset()  # paths whose last change is not in the history
    remote: bool = True  # whether there is an `origin` that can be reached

    def __post_init__(self) -> None:
        self.commit(self.root, ("",), "start")

    def port(self) -> Git:
        """Return the operations that a release uses."""
        return Git(
            state=lambda root: GitState(commit=f"{len(self.log):040x}", dirty=bool(self.changes(root))),
            changes=self.changes,
            tags=lambda root: frozenset(self.tags),
            ignored=lambda root, paths: frozenset(path.name for path in paths) & self.ignored,
            is_cut_off=lambda root, path: path in self.cut_off,
            identity_problem=lambda root: self.identity,
            commit=self.commit,
            tag=self.tag,
            push=self.push,
        )

    def changes(self, root: Path) -> tuple[str, ...]:
        """Return the files that differ from the commit."""
        found = _tracked(root)
        return tuple(sorted(path for path in {*found, *self.committed} if found.get(path) != self.committed.get(path)))

    def commit(self, root: Path, paths: tuple[str, ...], message: str) -> None:
        """Commit the files at or below these paths."""
        found = _tracked(root)
        kept = {path: data for path, data in self.committed.items() if not _below(path, paths)}
        self.committed = kept | {path: data for path, data in found.items() if _below(path, paths)}
        self.log.append((message, paths))

    def tag(self, root: Path, tag: str, message: str, path: str) -> None:
        """Tag the last commit that has a path."""
        self.tags[tag] = max(number for number, (_, paths) in enumerate(self.log) if path in paths)

    def push(self, root: Path, tag: str) -> None:
        """Push a tag. Raises RegistryError without the tag or a remote."""
        if not self.remote or tag not in self.tags:
            raise RegistryError("not pushed", [Problem("git push", "git.command-failed", "refused")])
        self.pushed.add(tag)


def _tracked(root: Path) -> dict[str, bytes]:
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    return {n: p.read_bytes() for n, p in found.items() if not n.startswith(IGNORED) and not n.endswith(BINARY)}


def _below(path: str, paths: tuple[str, ...]) -> bool:
    return any(not folder or path == folder or path.startswith(f"{folder}/") for folder in paths)


def planned(root: Path, request: Request, project: ProjectConfig, ports: Ports) -> Plan:
    """Return the plan of a release, as `modelreg release` makes it."""
    drafted = draft(root, request, project, steps.observe(root, request, ports))
    return complete(drafted, gate_outcomes(root, request.run, project))


def carry_out(
    root: Path,
    request: Request,
    project: ProjectConfig | None = None,
    ports: Ports | None = None,
    on_step: Callable[[object], None] = lambda _: None,
) -> Plan:
    """Release as `modelreg release` does, with these ports only."""
    ports = ports or Ports(now)
    found = planned(root, request, project or ProjectConfig(), ports)
    steps.run(found, ports, on_step)
    return found
