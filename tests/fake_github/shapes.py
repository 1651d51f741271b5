"""The JSON documents, key by key as GitHub sends them."""

import base64
from dataclasses import dataclass
from typing import Any

from fake_github.state import START, Asset, Release, Repository, User

BORN = START.strftime("%Y-%m-%dT%H:%M:%SZ")
USER_LINKS = {
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
    "organizations_url": "/orgs",
    "repos_url": "/repos",
    "events_url": "/events{/privacy}",
    "received_events_url": "/received_events",
}
REPOSITORY_LINKS = {
    "archive_url": "/{archive_format}{/ref}",
    "assignees_url": "/assignees{/user}",
    "blobs_url": "/git/blobs{/sha}",
    "branches_url": "/branches{/branch}",
    "collaborators_url": "/collaborators{/collaborator}",
    "comments_url": "/comments{/number}",
    "commits_url": "/commits{/sha}",
    "compare_url": "/compare/{base}...{head}",
    "contents_url": "/contents/{+path}",
    "contributors_url": "/contributors",
    "deployments_url": "/deployments",
    "downloads_url": "/downloads",
    "events_url": "/events",
    "forks_url": "/forks",
    "git_commits_url": "/git/commits{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "hooks_url": "/hooks",
    "issue_comment_url": "/issues/comments{/number}",
    "issue_events_url": "/issues/events{/number}",
    "issues_url": "/issues{/number}",
    "keys_url": "/keys{/key_id}",
    "labels_url": "/labels{/name}",
    "languages_url": "/languages",
    "merges_url": "/merges",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "pulls_url": "/pulls{/number}",
    "releases_url": "/releases{/id}",
    "stargazers_url": "/stargazers",
    "statuses_url": "/statuses/{sha}",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "tags_url": "/tags",
    "teams_url": "/teams",
    "trees_url": "/git/trees{/sha}",
}
UNSIGNED = {"verified": False, "reason": "unsigned", "signature": None, "payload": None, "verified_at": None}
COUNTS = ("forks", "open_issues", "stargazers", "watchers", "network", "subscribers")
FEATURES = ("issues", "projects", "wiki", "pages", "discussions")


def node_id(kind: str, number: int) -> str:
    """Return an opaque id."""
    return f"{kind}_{base64.urlsafe_b64encode(number.to_bytes(6, 'big')).decode()}"


@dataclass(frozen=True)
class Shapes:
    """The documents of one server, with its addresses."""

    api: str
    uploads: str
    web: str
    repository: Repository

    @property
    def base(self) -> str:
        """The repository's address in the API."""
        return f"{self.api}/repos/{self.repository.full_name}"

    @property
    def page(self) -> str:
        """The repository's web page."""
        return f"{self.web}/{self.repository.full_name}"

    def user(self, login: str, number: int = 1000, kind: str = "User") -> dict[str, Any]:
        """Return the short form of a user."""
        url = f"{self.api}/users/{login}"
        return {
            "login": login,
            "id": number,
            "node_id": node_id("U", number),
            "avatar_url": f"{self.web}/avatars/u/{number}?v=4",
            "gravatar_id": "",
            "url": url,
            "html_url": f"{self.web}/{login}",
            **{name: url + tail for name, tail in USER_LINKS.items()},
            "type": kind,
            "user_view_type": "public",
            "site_admin": False,
        }

    def myself(self, user: User) -> dict[str, Any]:
        """Return the document of /user."""
        absent = dict.fromkeys(("name", "company", "location", "email", "hireable", "bio", "twitter_username"))
        counts = dict.fromkeys(("public_repos", "public_gists", "followers", "following"), 0)
        times = {"created_at": BORN, "updated_at": BORN}
        return {**self.user(user.login, user.id), **absent, "blog": "", **counts, **times}

    def repository_document(self, user: User | None) -> dict[str, Any]:
        """Return the repository; with `permissions` only for a known user."""
        known, (owner, name) = self.repository, self.repository.full_name.split("/")
        push = bool(user and user.push and user.listed)
        rights = {"admin": False, "maintain": False, "push": push, "triage": push, "pull": True}
        host = self.page.split("//")[1]
        return {
            "id": known.id,
            "node_id": node_id("R", known.id),
            "name": name,
            "full_name": known.full_name,
            "private": known.private,
            "owner": self.user(owner, 2000, "Organization"),
            "html_url": self.page,
            "url": self.base,
            **{key: self.base + tail for key, tail in REPOSITORY_LINKS.items()},
            "git_url": f"git://{host}.git",
            "ssh_url": f"git@{host}.git",
            "clone_url": f"{self.page}.git",
            "svn_url": self.page,
            **dict.fromkeys(("created_at", "updated_at", "pushed_at"), BORN),
            **dict.fromkeys(("description", "homepage", "language", "mirror_url", "license")),
            **{f"{count}_count": 0 for count in COUNTS},
            **{f"has_{feature}": False for feature in FEATURES},
            **dict.fromkeys(("forks", "open_issues", "watchers", "size"), 0),
            **dict.fromkeys(("fork", "disabled", "is_template", "allow_forking", "web_commit_signoff_required"), False),
            "archived": known.archived,
            "topics": [],
            "visibility": "private" if known.private else "public",
            "default_branch": known.default_branch,
            **({"permissions": rights} if user else {}),
        }

    def download(self, release: Release, asset: Asset) -> str:
        """Return the address of the web download; a draft has none."""
        return f"{self.page}/releases/download/{self._place(release)}/{asset.name}"

    def asset(self, release: Release, asset: Asset) -> dict[str, Any]:
        """Return an asset; `digest` depends on the age of the server."""
        digest = f"sha256:{asset.sha256}" if asset.sha256 and self.repository.digests == "sha256" else None
        return {
            "url": f"{self.base}/releases/assets/{asset.id}",
            "id": asset.id,
            "node_id": node_id("RA", asset.id),
            "name": asset.name,
            "label": asset.label,
            "uploader": self.user("octocat"),
            "content_type": asset.content_type,
            "state": asset.state,
            "size": asset.size,
            **({} if self.repository.digests == "absent" else {"digest": digest}),
            "download_count": asset.downloads,
            "created_at": asset.created_at,
            "updated_at": asset.updated_at or asset.created_at,
            "browser_download_url": self.download(release, asset),
        }

    def release(self, release: Release) -> dict[str, Any]:
        """Return a release with its assets."""
        url = f"{self.base}/releases/{release.id}"
        uploads = f"{self.uploads}/repos/{self.repository.full_name}/releases/{release.id}/assets"
        archives = {kind: f"{self.base}/{kind}/{release.tag_name}" for kind in ("tarball", "zipball")}
        shown = [a for a in release.assets.values() if a.state == "uploaded" or self.repository.starters_in_release]
        return {
            "url": url,
            "assets_url": f"{url}/assets",
            "upload_url": uploads + "{?name,label}",
            "html_url": f"{self.page}/releases/tag/{self._place(release)}",
            "id": release.id,
            "author": self.user("octocat"),
            "node_id": node_id("RE", release.id),
            "tag_name": release.tag_name,
            "target_commitish": release.target_commitish,
            "name": release.name,
            "draft": release.draft,
            "immutable": release.immutable,
            "prerelease": release.prerelease,
            "created_at": release.created_at,
            "updated_at": release.updated_at or release.created_at,
            "published_at": release.published_at,
            "assets": [self.asset(release, asset) for asset in shown],
            **{f"{kind}_url": None if release.draft else address for kind, address in archives.items()},
            "body": release.body,
        }

    def reference(self, tag: str) -> dict[str, Any]:
        """Return a tag as git's reference."""
        annotated = self.repository.annotated.get(tag)
        kind, sha = ("tag", annotated) if annotated else ("commit", self.repository.tags[tag])
        url = f"{self.base}/git/{kind}s/{sha}"
        own = {"ref": f"refs/tags/{tag}", "url": f"{self.base}/git/refs/tags/{tag}"}
        return {**own, "node_id": node_id("REF", len(tag)), "object": {"sha": sha, "type": kind, "url": url}}

    def tag_object(self, tag: str) -> dict[str, Any]:
        """Return the object of an annotated tag."""
        sha, commit = self.repository.annotated[tag], self.repository.tags[tag]
        target = {"sha": commit, "type": "commit", "url": f"{self.base}/git/commits/{commit}"}
        return {
            "node_id": node_id("TA", len(tag)),
            "sha": sha,
            "url": f"{self.base}/git/tags/{sha}",
            "tagger": {"date": BORN, "email": "octocat@example.com", "name": "octocat"},
            "object": target,
            "tag": tag,
            "message": f"{tag}\n",
            "verification": UNSIGNED,
        }

    def commit(self, sha: str) -> dict[str, Any]:
        """Return a commit without its files."""
        person = {"name": "octocat", "email": "octocat@example.com", "date": BORN}
        inner = {
            "author": person,
            "committer": person,
            "message": "A commit",
            "tree": {"sha": sha, "url": f"{self.base}/git/trees/{sha}"},
            "url": f"{self.base}/git/commits/{sha}",
            "comment_count": 0,
            "verification": UNSIGNED,
        }
        return {
            "sha": sha,
            "node_id": node_id("C", 1),
            "commit": inner,
            "url": f"{self.base}/commits/{sha}",
            "comments_url": f"{self.base}/commits/{sha}/comments",
            "html_url": f"{self.page}/commit/{sha}",
            "author": self.user("octocat"),
            "committer": self.user("octocat"),
            "parents": [],
            "stats": {"total": 0, "additions": 0, "deletions": 0},
            "files": [],
        }

    @staticmethod
    def _place(release: Release) -> str:
        return f"untagged-{release.id:020x}" if release.draft else release.tag_name
