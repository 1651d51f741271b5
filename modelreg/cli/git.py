"""Run git: every call of git is in this module.

The user's git configuration never changes how a result is read: calls name the format that they read, put NUL between
paths, and override the settings of `STATED`. It still decides what a commit, a tag and a push need: identity, hooks,
signatures, filters, ignored files, addresses. If one of these fails, the error has git's message, and the same command
can be run again (docs/releases.md, "Git settings").

A git that answers with an error is not a missing git: reading raises RegistryError. Only a folder outside of any
repository, and a machine without git, have no state.
"""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modelreg.errors import InputError, Problem, RegistryError

if TYPE_CHECKING:
    from modelreg.records.run import GitState

STATED = {  # settings that are the same for every call
    "core.fsmonitor": "false",  # git looks at the files itself: a monitor could hide a change
    **dict.fromkeys(("color.advice", "color.push", "color.transport"), "never"),  # messages without escape sequences
}
NO_REPOSITORY = "fatal: not a git repository (or any"  # with LC_ALL=C; a broken repository has another message


def state(folder: Path) -> "GitState | None":
    """Return the commit of a folder; None without a repository, a commit or git.

    Raises RegistryError with git's message if git refuses the repository.
    """
    from modelreg.records.run import GitState

    options = ("--porcelain=v2", "--branch", "-z", "--untracked-files=normal")
    entries = (_read(folder, "status", *options) or "").split("\0")
    head = [entry.removeprefix("# branch.oid ") for entry in entries if entry.startswith("# branch.oid ")]
    if not head or head == ["(initial)"]:
        return None
    return GitState(commit=head[0], dirty=any(entry and not entry.startswith("# ") for entry in entries))


def is_repository(folder: Path) -> bool:
    """Say whether git is installed and a folder is in a git repository. Raises RegistryError if git refuses it."""
    return _read(folder, "rev-parse", "--git-dir") is not None


def why_unknown(folder: Path) -> Literal["no repository", "no commit", "git not installed"]:
    """Return why `state` returns None."""
    if version() is None:
        return "git not installed"
    return "no commit" if is_repository(folder) else "no repository"


def version() -> str | None:
    """Return the version of git; None if it is not installed."""
    done = _run(Path.cwd(), "version")
    return done.stdout.removeprefix("git version ").strip() or None if done else None


def changes(root: Path) -> tuple[str, ...]:
    """Return the paths, relative to `root`, that differ from the commit or are new and not ignored."""
    text = _read(root, "status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--", ".") or ""
    prefix = (_read(root, "rev-parse", "--show-prefix") or "").removesuffix("\n") if text else ""
    return tuple(entry[3:].removeprefix(prefix) for entry in text.split("\0") if entry)


def tags(root: Path) -> frozenset[str]:
    """Return the names of all tags."""
    return frozenset((_read(root, "for-each-ref", "--format=%(refname:strip=2)", "refs/tags") or "").split())


def tracked(root: Path) -> tuple[str, ...]:
    """Return the paths below `root`, relative to it, that git tracks."""
    return tuple(path for path in (_read(root, "ls-files", "-z", "--", ".") or "").split("\0") if path)


def tag_commit(root: Path, name: str) -> str | None:
    """Return the commit that a tag names; None if the tag does not exist."""
    found = _read(root, "rev-parse", "--verify", "--quiet", f"refs/tags/{name}^{{commit}}", fails=1)
    return found.strip() if found else None


def identity_problem(root: Path) -> str | None:
    """Return git's message if it cannot commit here; None if it can."""
    done = _run(root, "var", "GIT_COMMITTER_IDENT")
    lines = done.stderr.strip().splitlines() if done and done.returncode else []
    return lines[-1].removeprefix("fatal: ") if lines else None


def author(root: Path) -> str:
    """Return git's author identity, `Name <mail>`. Raises InputError if it is not set."""
    done = _run(root, "var", "GIT_AUTHOR_IDENT")
    if done is None or done.returncode:
        name_them = "set git user.name and user.email, or give --by NAME"
        problem = Problem("git", "git.no-identity", "no author identity", name_them)
        raise InputError("nothing was changed: the history needs an author", [problem])
    return done.stdout.rsplit(maxsplit=2)[0]


def ignored(root: Path, paths: Sequence[Path]) -> frozenset[str]:
    """Return the names of those paths, existing or not, that git ignores."""
    listed = "\0".join(map(str, paths))
    found = _read(root, "check-ignore", "-z", "--stdin", fails=1, given=listed) or ""
    return frozenset(Path(path).name for path in found.split("\0") if path)


def origin_repository(root: Path) -> str | None:
    """Return owner/name of the remote `origin`; None if its URL is not that of a server's repository."""
    if "origin" not in (_read(root, "remote") or "").split():
        return None
    url = (_read(root, "remote", "get-url", "origin") or "").strip()
    match = re.search(r"[/:]([A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+?)(\.git)?/?$", url)
    return match[1] if match and ("://" in url or "@" in url) else None


def is_cut_off(root: Path, path: str) -> bool:
    """Say whether the history of a shallow clone ends before the commit that last changed `path`."""
    return _last_change(root, path) in _boundary(root)


def commit(root: Path, paths: tuple[str, ...], message: str) -> None:
    """Commit exactly these paths. Raises RegistryError with git's message."""
    _must(root, "add", "--", *paths)
    _must(root, "commit", "--quiet", "--cleanup=whitespace", "--message", message, "--", *paths)


def tag(root: Path, name: str, message: str, path: str) -> None:
    """Create an annotated tag at the commit that last changed `path`, never at another one.

    Raises RegistryError if the history does not show that commit, or with git's message.
    """
    changed = _last_change(root, path)
    if not changed:
        raise _unfinished(Problem(path, "git.uncommitted", "no commit contains it"))
    if changed in _boundary(root):
        raise _unfinished(Problem(path, "git.shallow-clone", "the history does not show the commit that added it"))
    _must(root, "tag", "--annotate", "--cleanup=whitespace", "--message", message, name, changed)


def push_tag(root: Path, name: str) -> None:
    """Push one tag to `origin`. Raises RegistryError with git's message."""
    _must(root, "push", "--quiet", "--no-follow-tags", "origin", f"refs/tags/{name}")


def _last_change(root: Path, path: str) -> str | None:
    return (_read(root, "rev-list", "--max-count=1", "HEAD", "--", path) or "").strip() or None


def _boundary(root: Path) -> frozenset[str]:
    """Return the commits of a shallow clone whose parents are not in it. They seem to add every file that they have."""
    place = (_read(root, "rev-parse", "--git-path", "shallow") or "").removesuffix("\n")
    path = root / place
    return frozenset(path.read_text().split()) if place and path.is_file() else frozenset()


def _read(folder: Path, *arguments: str, fails: int = 0, given: str | None = None) -> str | None:
    """Return git's standard output; None without git, without a repository, or for the exit code `fails`.

    `given` is the standard input. Raises RegistryError with git's message for any other failure.
    """
    done = _run(folder, *arguments, given=given)
    if done is None or done.returncode == 0:
        return done.stdout if done else None
    if done.returncode == fails or any(line.startswith(NO_REPOSITORY) for line in done.stderr.splitlines()):
        return None
    raise RegistryError("cannot read the git repository; nothing was changed", [_failure(folder, arguments, done)])


def _must(folder: Path, *arguments: str) -> None:
    """Run git for its effect, in the user's language: hooks see it. Raises RegistryError with git's message."""
    done = _run(folder, *arguments, language={})
    if done is None:
        raise _unfinished(Problem(f"git {arguments[0]}", "git.command-failed", "git is not installed"))
    if done.returncode:
        raise _unfinished(_failure(folder, arguments, done))


def _unfinished(problem: Problem) -> RegistryError:
    return RegistryError("a git command failed; the steps before it are done", [problem])


def _run(
    folder: Path, *arguments: str, given: str | None = None, language: Mapping[str, str] = {"LC_ALL": "C"}
) -> "subprocess.CompletedProcess[str] | None":
    """Run git in a folder; return None if it is not installed."""
    try:
        return subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env={**os.environ, **_settings(os.environ), **language},
            input=given,
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="backslashreplace",
        )
    except FileNotFoundError:
        return None


def _settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that give `STATED` to git, after the settings that the environment has already."""
    given = environment.get("GIT_CONFIG_COUNT") or "0"
    if not given.isdecimal():
        return {}  # git refuses it, with a message
    count = int(given)
    found = {"GIT_CONFIG_COUNT": str(count + len(STATED))}
    for number, (key, value) in enumerate(STATED.items(), count):
        found |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return found


def _failure(folder: Path, arguments: Sequence[str], done: "subprocess.CompletedProcess[str]") -> Problem:
    """Return the problem of a failed command, with git's message."""
    lines = [line.strip() for line in done.stderr.splitlines()]
    if permits := [line for line in lines if line.startswith("git config --global --add safe.directory ")]:
        step = f"if you trust the owner of the repository, run `{permits[0]}`"
        return Problem(str(folder), "git.unsafe-repository", lines[0].removeprefix("fatal: "), step)
    text = done.stderr.strip() or done.stdout.strip()
    words = "; ".join(filter(None, map(str.strip, text.splitlines())))
    return Problem(f"git {arguments[0]}", "git.command-failed", words or f"exit code {done.returncode}")
