"""The state of the fake: one repository, its releases, and the bytes of their assets on disk."""

import re
import threading
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Literal

START = datetime(2026, 1, 1, tzinfo=UTC)
LARGEST = 2147483648  # bytes; an asset has fewer
MOST_ASSETS = 1000


@dataclass
class User:
    """The owner of a token."""

    login: str = "octocat"
    push: bool = True
    scopes: str = "repo"
    id: int = 1000
    listed: bool = True  # False: an installation, as in GitHub Actions, whose rights GitHub does not list


@dataclass
class Asset:
    """A file of a release."""

    id: int
    name: str
    label: str
    content_type: str
    created_at: str
    file: Path
    state: Literal["uploaded", "starter"] = "starter"
    size: int = 0
    sha256: str | None = None
    updated_at: str = ""
    downloads: int = 0


@dataclass
class Release:
    """A release; a draft until `published_at` is set."""

    id: int
    tag_name: str
    target_commitish: str
    created_at: str
    name: str | None = None
    body: str | None = None
    draft: bool = True
    prerelease: bool = False
    immutable: bool = False
    published_at: str | None = None
    updated_at: str = ""
    assets: dict[int, Asset] = field(default_factory=dict)
    hidden: int = 0  # calls of the list that do not contain it yet

    def find(self, name: str) -> Asset | None:
        """Return the asset of that name."""
        return next((asset for asset in self.assets.values() if asset.name == name), None)


@dataclass
class Repository:
    """The repository and every setting of the fake."""

    full_name: str = "acme/models"
    id: int = 4711
    default_branch: str = "main"
    private: bool = False
    archived: bool = False
    immutable: bool = False  # publishing makes a release immutable
    renamed_from: str | None = None  # an old owner/name that redirects here
    tags: dict[str, str] = field(default_factory=dict)  # name to commit
    annotated: dict[str, str] = field(default_factory=dict)  # name to the tag's own object, for annotated ones
    commits: set[str] = field(default_factory=set)  # pushed commits; those of tags are included
    burnt: set[str] = field(default_factory=set)  # tags that an immutable release has used
    list_lag: int = 0  # calls of the list that do not contain a new draft
    digests: Literal["sha256", "null", "absent"] = "sha256"  # null or absent: an older server
    redirects: bool = True  # False: the API streams the bytes itself, 200
    denied: Literal[403, 404] = 403  # the answer to a write without the right to push
    cut_leaves: Literal["starter", "nothing"] = "starter"  # after a connection that the client lost
    starters_in_release: bool = False  # whether a release's `assets` include incomplete uploads
    releases: dict[int, Release] = field(default_factory=dict)
    latest: int | None = None  # the release that make_latest chose
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    numbers: Iterator[int] = field(default_factory=lambda: count(1001), repr=False)

    def now(self) -> str:
        """Return a time that advances by a second with each call, without a wall clock."""
        return (START + timedelta(seconds=next(self.numbers))).strftime("%Y-%m-%dT%H:%M:%SZ")

    def published(self, tag: str) -> Release | None:
        """Return the published release of `tag`."""
        return next((r for r in self.releases.values() if r.tag_name == tag and not r.draft), None)

    def latest_release(self) -> Release | None:
        """Return the chosen latest release, else the newest that is neither draft nor pre-release."""
        stable = [r for r in self.releases.values() if not r.draft and not r.prerelease]
        chosen = [r for r in stable if r.id == self.latest]
        return next(iter(chosen or sorted(stable, key=lambda r: (r.created_at, r.id), reverse=True)), None)

    def commit_of(self, ref: str) -> str | None:
        """Return the commit that `ref` (commit, tag, branch) names, if it was pushed."""
        short = ref.removeprefix("refs/").removeprefix("tags/").removeprefix("heads/")
        if short == self.default_branch:
            return min(self.commits, default="0" * 39 + "1")
        if short in self.tags:
            return self.tags[short]
        return ref if ref in self.commits | set(self.tags.values()) else None

    def asset(self, number: int) -> tuple[Release, Asset] | None:
        """Return an asset with its release."""
        holders = (release for release in self.releases.values() if number in release.assets)
        return next(((release, release.assets[number]) for release in holders), None)


def safe_name(name: str) -> str:
    """Return the name that GitHub gives to a file: letters, digits, `_ + @ -` and single dots are kept."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    dotted = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9_+@-]+", ".", plain))
    bare = dotted.strip(".")
    return f"default.{bare}".rstrip(".") if name.startswith(".") or not bare else bare


def is_tag_name(name: str) -> bool:
    """Return whether `name` is valid for a tag (git check-ref-format)."""
    bad = re.search(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|^[./]|\.lock(/|$)|[./]$", name)
    return bool(name) and name != "@" and not name.startswith("-") and bad is None
