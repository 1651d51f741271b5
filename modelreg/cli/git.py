"""Git, as the command line needs it: every call of git is here."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelreg.errors import InputError, Problem, RegistryError

if TYPE_CHECKING:
    from modelreg.records.run import GitState


def state(folder: Path) -> "GitState | None":
    """Return the commit a folder is at, or None where there is no repository, commit or git."""
    from modelreg.records.run import GitState

    head = _output(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    if head is None:
        return None
    return GitState(commit=head.strip(), dirty=bool(_output(folder, "status", "--porcelain")))


def is_repository(folder: Path) -> bool:
    """Say whether a folder lies in a git repository, and git is there to tell."""
    return _output(folder, "rev-parse", "--git-dir") is not None


def version() -> str | None:
    """Return the version of git; None where it is not installed."""
    return (_output(Path.cwd(), "version") or "").removeprefix("git version ").strip() or None


def changes(root: Path) -> tuple[str, ...]:
    """Return the paths, relative to `root`, that differ from the commit or are new and not ignored."""
    text = _output(root, "status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--", ".") or ""
    prefix = (_output(root, "rev-parse", "--show-prefix") or "").strip()
    return tuple(entry[3:].removeprefix(prefix) for entry in text.split("\0") if entry)


def tags(root: Path) -> frozenset[str]:
    """Return the names of all tags."""
    return frozenset((_output(root, "tag", "--list") or "").split())


def tag_commit(root: Path, name: str) -> str | None:
    """Return the commit that a tag names; None where there is no such tag."""
    found = _output(root, "rev-parse", "--verify", "--quiet", f"refs/tags/{name}^{{commit}}")
    return found.strip() if found else None


def identity_problem(root: Path) -> str | None:
    """Return in git's words why it could not commit here, or None where it could."""
    done = _run(root, "var", "GIT_COMMITTER_IDENT")
    lines = done.stderr.strip().splitlines() if done and done.returncode else []
    return lines[-1].removeprefix("fatal: ") if lines else None


def author(root: Path) -> str:
    """Return who works here, as git knows it: `Name <mail>`. Raises InputError where it does not."""
    ident = _output(root, "var", "GIT_AUTHOR_IDENT")
    if ident is None:
        what = "git does not know your name; set it with `git config user.name` and `user.email`, or give --by"
        raise InputError("who are you?", [Problem("--by", "todo.git", what)])
    return ident.rsplit(maxsplit=2)[0]


def ignored(root: Path, paths: Sequence[Path]) -> frozenset[str]:
    """Return the names of those paths, existing or not, that git ignores."""
    done = _run(root, "check-ignore", "--", *map(str, paths))
    return frozenset(Path(line).name for line in done.stdout.splitlines()) if done else frozenset()


def origin_repository(root: Path) -> str | None:
    """Return owner/name of the remote `origin`, where it is a repository's address."""
    url = (_output(root, "remote", "get-url", "origin") or "").strip()
    match = re.search(r"[/:]([A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+?)(\.git)?/?$", url)
    return match[1] if match and ("://" in url or "@" in url) else None


def commit(root: Path, paths: tuple[str, ...], message: str) -> None:
    """Commit exactly these paths. Raises RegistryError with git's own words."""
    _must(root, "add", "--", *paths)
    _must(root, "commit", "--quiet", "--message", message, "--", *paths)


def tag(root: Path, name: str, message: str, path: str) -> None:
    """Make an annotated tag at the commit that last changed `path`. Raises RegistryError with git's own words."""
    changed = (_output(root, "log", "--max-count=1", "--format=%H", "--", path) or "").strip()
    _must(root, "tag", "--annotate", "--message", message, name, changed or "HEAD")


def push_tag(root: Path, name: str) -> None:
    """Push one tag to `origin`. Raises RegistryError with git's own words."""
    _must(root, "push", "--quiet", "origin", f"refs/tags/{name}")


def _output(folder: Path, *arguments: str) -> str | None:
    """Return what git prints, or None where it fails or is not installed."""
    done = _run(folder, *arguments)
    return done.stdout if done and done.returncode == 0 else None


def _run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str] | None":
    """Run git in a folder; None where it is not installed."""
    try:
        return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None


def _must(folder: Path, *arguments: str) -> None:
    done = _run(folder, *arguments)
    if done is None or done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()) if done else "git is not installed"
        problem = Problem(f"git {arguments[0]}", "todo.git", words)
        raise RegistryError("git refused; mend it and type the same command again: it goes on from here", [problem])
