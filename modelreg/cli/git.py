"""Run git: every call of git is in this module."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelreg.errors import InputError, Problem, RegistryError

if TYPE_CHECKING:
    from modelreg.records.run import GitState


def state(folder: Path) -> "GitState | None":
    """Return the commit of a folder; None without a repository, a commit or git."""
    from modelreg.records.run import GitState

    head = _output(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    if head is None:
        return None
    return GitState(commit=head.strip(), dirty=bool(_output(folder, "status", "--porcelain")))


def is_repository(folder: Path) -> bool:
    """Say whether git is installed and a folder is in a git repository."""
    return _output(folder, "rev-parse", "--git-dir") is not None


def version() -> str | None:
    """Return the version of git; None if it is not installed."""
    return (_output(Path.cwd(), "version") or "").removeprefix("git version ").strip() or None


def changes(root: Path) -> tuple[str, ...]:
    """Return the paths, relative to `root`, that differ from the commit or are new and not ignored."""
    text = _output(root, "status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--", ".") or ""
    prefix = (_output(root, "rev-parse", "--show-prefix") or "").strip()
    return tuple(entry[3:].removeprefix(prefix) for entry in text.split("\0") if entry)


def tags(root: Path) -> frozenset[str]:
    """Return the names of all tags."""
    return frozenset((_output(root, "tag", "--list") or "").split())


def tracked(root: Path) -> tuple[str, ...]:
    """Return the paths below `root`, relative to it, that git tracks."""
    return tuple(path for path in (_output(root, "ls-files", "-z", "--", ".") or "").split("\0") if path)


def tag_commit(root: Path, name: str) -> str | None:
    """Return the commit that a tag names; None if the tag does not exist."""
    found = _output(root, "rev-parse", "--verify", "--quiet", f"refs/tags/{name}^{{commit}}")
    return found.strip() if found else None


def identity_problem(root: Path) -> str | None:
    """Return git's message if it cannot commit here; None if it can."""
    done = _run(root, "var", "GIT_COMMITTER_IDENT")
    lines = done.stderr.strip().splitlines() if done and done.returncode else []
    return lines[-1].removeprefix("fatal: ") if lines else None


def author(root: Path) -> str:
    """Return git's author identity, `Name <mail>`. Raises InputError if it is not set."""
    ident = _output(root, "var", "GIT_AUTHOR_IDENT")
    if ident is None:
        name_them = "set git user.name and user.email, or give --by NAME"
        problem = Problem("git", "git.no-identity", "no author identity", name_them)
        raise InputError("nothing was changed: the history needs an author", [problem])
    return ident.rsplit(maxsplit=2)[0]


def ignored(root: Path, paths: Sequence[Path]) -> frozenset[str]:
    """Return the names of those paths, existing or not, that git ignores."""
    done = _run(root, "check-ignore", "--", *map(str, paths))
    return frozenset(Path(line).name for line in done.stdout.splitlines()) if done else frozenset()


def origin_repository(root: Path) -> str | None:
    """Return owner/name of the remote `origin`; None if its URL is not that of a server's repository."""
    url = (_output(root, "remote", "get-url", "origin") or "").strip()
    match = re.search(r"[/:]([A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+?)(\.git)?/?$", url)
    return match[1] if match and ("://" in url or "@" in url) else None


def commit(root: Path, paths: tuple[str, ...], message: str) -> None:
    """Commit exactly these paths. Raises RegistryError with git's message."""
    _must(root, "add", "--", *paths)
    _must(root, "commit", "--quiet", "--message", message, "--", *paths)


def tag(root: Path, name: str, message: str, path: str) -> None:
    """Create an annotated tag at the commit that last changed `path`. Raises RegistryError with git's message."""
    changed = (_output(root, "log", "--max-count=1", "--format=%H", "--", path) or "").strip()
    _must(root, "tag", "--annotate", "--message", message, name, changed or "HEAD")


def push_tag(root: Path, name: str) -> None:
    """Push one tag to `origin`. Raises RegistryError with git's message."""
    _must(root, "push", "--quiet", "origin", f"refs/tags/{name}")


def _output(folder: Path, *arguments: str) -> str | None:
    """Return git's standard output; None if it fails or is not installed."""
    done = _run(folder, *arguments)
    return done.stdout if done and done.returncode == 0 else None


def _run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str] | None":
    """Run git in a folder; return None if it is not installed."""
    try:
        return subprocess.run(
            ["git", *arguments],
            cwd=folder,
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="backslashreplace",
        )
    except FileNotFoundError:
        return None


def _must(folder: Path, *arguments: str) -> None:
    done = _run(folder, *arguments)
    if done is None or done.returncode:
        message = (done.stderr.strip() or done.stdout.strip()) if done else "git is not installed"
        problem = Problem(f"git {arguments[0]}", "git.command-failed", message)
        raise RegistryError("a git command failed; the steps before it are done", [problem])
