"""The API's origin: every endpoint that answers with JSON."""

import json
import re
import time
from collections.abc import Callable
from itertools import count
from typing import Any
from urllib.parse import urlencode

from fake_github import access, graphql, rules
from fake_github.exchange import Refusal, Request, Response, failure, invalid, json_response, not_found
from fake_github.shapes import Shapes
from fake_github.state import Asset, Release, Repository, User, safe_name
from fake_github.wire import Body

PER_PAGE, MOST_PER_PAGE, HOURLY = 30, 100, 5000
VERSIONS = {"2022-11-28", "2026-03-10"}
ROUTES = (
    ("GET", r"", "show_repository"),
    ("GET", r"/immutable-releases", "show_immutability"),
    ("GET", r"/commits/(.+)", "show_commit"),
    ("GET", r"/git/ref/tags/(.+)", "show_reference"),
    ("GET", r"/git/matching-refs/tags/(.*)", "match_references"),
    ("GET", r"/git/tags/([0-9a-f]{40})", "show_tag_object"),
    ("GET", r"/releases", "list_releases"),
    ("POST", r"/releases", "create_release"),
    ("GET", r"/releases/latest", "show_latest"),
    ("GET", r"/releases/tags/(.+)", "show_release_of_tag"),
    ("GET", r"/releases/assets/(\d+)", "show_asset"),
    ("PATCH", r"/releases/assets/(\d+)", "change_asset"),
    ("DELETE", r"/releases/assets/(\d+)", "delete_asset"),
    ("GET", r"/releases/(\d+)", "show_release"),
    ("PATCH", r"/releases/(\d+)", "change_release"),
    ("DELETE", r"/releases/(\d+)", "delete_release"),
    ("GET", r"/releases/(\d+)/assets", "list_assets"),
)


class Api:
    """The endpoints of one repository."""

    def __init__(self, repository: Repository, users: dict[str, User]) -> None:
        self.repository, self.users = repository, users
        self.shapes: Shapes  # set once the ports are known
        self.link: Callable[[Asset], str]  # gives a signed address
        self.spent = count(1)

    def answer(self, request: Request, body: Body) -> Response:
        """Answer one request."""
        request.body = body.read()
        headers = self._limits()
        try:
            with self.repository.lock:
                response = self._route(request, headers)
        except Refusal as refusal:
            response = refusal.response
        response.headers = {**headers, **response.headers}
        return response

    def abandon(self, request: Request) -> None:
        """Do nothing: an API call leaves nothing incomplete."""

    def _limits(self) -> dict[str, str]:
        used = next(self.spent)
        return {
            "X-RateLimit-Limit": str(HOURLY),
            "X-RateLimit-Remaining": str(max(HOURLY - used, 0)),
            "X-RateLimit-Used": str(used),
            "X-RateLimit-Reset": str(int(time.time()) + 3600),
            "X-RateLimit-Resource": "core",
            "X-GitHub-Media-Type": "github.v3; format=json",
            "X-GitHub-Request-Id": f"FAKE:{used:06d}",
        }

    def _route(self, request: Request, headers: dict[str, str]) -> Response:
        user = access.identify(request, self.users)
        version = request.headers.get("x-github-api-version", "2022-11-28")
        headers["X-GitHub-Api-Version-Selected"] = version
        if user:
            headers["X-OAuth-Scopes"] = user.scopes
        if version not in VERSIONS:
            raise Refusal(failure(400, f"Version {version} is not supported"))
        if request.path == "/user":
            return self._myself(user)
        if request.path in {"/graphql", "/outside/api/graphql"}:
            return graphql.answer(self.repository, user, _parsed(request))
        inside = access.locate(request, self.repository, user, self.shapes.api)
        for method, pattern, name in ROUTES:
            if method == request.method.replace("HEAD", "GET") and (found := re.fullmatch(pattern, inside)):
                if method != "GET":
                    access.need_push(self.repository, user)
                response: Response = getattr(self, name)(request, user, *found.groups())
                return response
        raise not_found()

    def _myself(self, user: User | None) -> Response:
        if user is None:
            raise Refusal(failure(401, "Requires authentication"))
        return json_response(200, self.shapes.myself(user))

    # The repository

    def show_repository(self, _: Request, user: User | None) -> Response:
        """GET /repos/{owner}/{repo}."""
        return json_response(200, self.shapes.repository_document(user))

    def show_immutability(self, _: Request, user: User | None) -> Response:
        """GET immutable-releases, visible only with the right to push."""
        if not (user and user.push and self.repository.immutable):
            raise not_found()
        return json_response(200, {"enabled": True, "enforced_by_owner": False})

    def show_commit(self, _: Request, __: User | None, ref: str) -> Response:
        """GET commits/{ref}: a commit, a tag or the default branch."""
        if (sha := self.repository.commit_of(ref)) is None:
            raise Refusal(failure(422, f"No commit found for SHA: {ref}"))
        return json_response(200, self.shapes.commit(sha))

    def show_reference(self, _: Request, __: User | None, tag: str) -> Response:
        """GET git/ref/tags/{tag}: exactly that one."""
        if tag not in self.repository.tags:
            raise not_found()
        return json_response(200, self.shapes.reference(tag))

    def match_references(self, request: Request, _: User | None, prefix: str) -> Response:
        """GET git/matching-refs/tags/{tag}: all tags with this prefix."""
        found = [self.shapes.reference(tag) for tag in sorted(self.repository.tags) if tag.startswith(prefix)]
        return self._page(request, found)

    def show_tag_object(self, _: Request, __: User | None, sha: str) -> Response:
        """GET git/tags/{sha}: the object of an annotated tag."""
        tag = next((name for name, own in self.repository.annotated.items() if own == sha), None)
        if tag is None:
            raise not_found()
        return json_response(200, self.shapes.tag_object(tag))

    # Releases

    def list_releases(self, request: Request, user: User | None) -> Response:
        """GET releases: newest first, drafts only with the right to push, new drafts late."""
        shown = []
        for release in sorted(self.repository.releases.values(), key=lambda r: r.id, reverse=True):
            if release.draft and not (user and user.push):
                continue
            if release.draft and release.hidden:
                release.hidden -= 1
                continue
            shown.append(self.shapes.release(release))
        return self._page(request, shown)

    def create_release(self, request: Request, _: User | None) -> Response:
        """POST releases: a draft, or a public release."""
        document = rules.check_types(_parsed(request))
        release = rules.new_release(self.repository, document)
        if not document.get("draft", False):
            rules.publish(self.repository, release, document.get("make_latest"))
        self.repository.releases[release.id] = release
        shown = self.shapes.release(release)
        return json_response(201, shown, Location=shown["url"])

    def show_latest(self, _: Request, __: User | None) -> Response:
        """GET releases/latest."""
        if (release := self.repository.latest_release()) is None:
            raise not_found()
        return json_response(200, self.shapes.release(release))

    def show_release_of_tag(self, _: Request, __: User | None, tag: str) -> Response:
        """GET releases/tags/{tag}: never a draft."""
        if (release := self.repository.published(tag)) is None:
            raise not_found()
        return json_response(200, self.shapes.release(release))

    def show_release(self, _: Request, user: User | None, number: str) -> Response:
        """GET releases/{id}."""
        return json_response(200, self.shapes.release(self._release(number, user)))

    def change_release(self, request: Request, user: User | None, number: str) -> Response:
        """PATCH releases/{id}: edit, publish, or withdraw to a draft."""
        release = self._release(number, user)
        document = rules.check_types(_parsed(request))
        rules.check_change(release, document)
        changes = {name: document[name] for name in rules.EDITABLE if name in document and name != "draft"}
        before = {name: getattr(release, name) for name in changes}
        vars(release).update(changes)
        try:
            self._change_state(release, document)
        except Refusal:
            vars(release).update(before)
            raise
        if release.draft and "tag_name" not in document:
            release.tag_name = f"untagged-{release.id:020x}"  # so GitHub forgets the tag of a draft
        release.updated_at = self.repository.now()
        return json_response(200, self.shapes.release(release))

    def _change_state(self, release: Release, document: dict[str, Any]) -> None:
        if {"tag_name", "target_commitish"} & document.keys() and not release.immutable:
            rules.check_names(self.repository, release)
        if release.draft and document.get("draft") is False:
            rules.publish(self.repository, release, document.get("make_latest"))
        elif document.get("draft"):
            release.draft, release.published_at = True, None
        elif "make_latest" in document and not release.draft:
            rules.choose_latest(self.repository, release, document["make_latest"])

    def delete_release(self, _: Request, user: User | None, number: str) -> Response:
        """DELETE releases/{id}: the tag of an immutable release stays and can never be used again."""
        del self.repository.releases[self._release(number, user).id]
        return Response(204)

    # Assets

    def list_assets(self, request: Request, user: User | None, number: str) -> Response:
        """GET releases/{id}/assets, including incomplete uploads."""
        release = self._release(number, user)
        return self._page(request, [self.shapes.asset(release, asset) for asset in release.assets.values()])

    def show_asset(self, request: Request, user: User | None, number: str) -> Response:
        """GET releases/assets/{id}: the document, or a redirect to the bytes."""
        release, asset = self._asset(number, user)
        if "application/octet-stream" not in request.headers.get("accept", ""):
            return json_response(200, self.shapes.asset(release, asset))
        if asset.state != "uploaded":
            raise not_found()
        asset.downloads += 1
        if self.repository.redirects:
            return Response(302, {"Location": self.link(asset), "Content-Type": "text/html; charset=utf-8"})
        return Response(200, {"Content-Type": asset.content_type}, file=asset.file, size=asset.size)

    def change_asset(self, request: Request, user: User | None, number: str) -> Response:
        """PATCH releases/assets/{id}: another name or label."""
        release, asset = self._asset(number, user)
        self._check_mutable(release, "Cannot update assets on an immutable release.")
        document = _parsed(request)
        name = safe_name(document.get("name", asset.name))
        if release.find(name) not in (None, asset):
            raise invalid({"resource": "ReleaseAsset", "code": "already_exists", "field": "name"})
        asset.name, asset.label = name, document.get("label", asset.label)
        asset.updated_at = self.repository.now()
        return json_response(200, self.shapes.asset(release, asset))

    def delete_asset(self, _: Request, user: User | None, number: str) -> Response:
        """DELETE releases/assets/{id}."""
        release, asset = self._asset(number, user)
        self._check_mutable(release, "Cannot delete assets from an immutable release.")
        del release.assets[asset.id]
        asset.file.unlink(missing_ok=True)
        return Response(204)

    # Common

    @staticmethod
    def _check_mutable(release: Release, message: str) -> None:
        if release.immutable:
            raise Refusal(failure(422, message))

    def _release(self, number: str, user: User | None) -> Release:
        release = self.repository.releases.get(int(number))
        if release is None or (release.draft and not (user and user.push)):
            raise not_found()
        return release

    def _asset(self, number: str, user: User | None) -> tuple[Release, Asset]:
        found = self.repository.asset(int(number))
        if found is None or (found[0].draft and not (user and user.push)):
            raise not_found()
        return found

    def _page(self, request: Request, items: list[Any]) -> Response:
        """Return the requested page; the Link header uses the repository's number, as GitHub does."""
        size = max(1, min(_number(request, "per_page", PER_PAGE), MOST_PER_PAGE))
        page, last = max(1, _number(request, "page", 1)), max(1, -(-len(items) // size))
        inside = re.sub(r"^/repos/[^/]+/[^/]+|^/repositories/\d+", "", request.path)
        base = f"{self.shapes.api}/repositories/{self.repository.id}{inside}"
        ways = {"prev": page - 1, "next": page + 1, "last": last, "first": 1}
        wanted = [
            way for way in ways if (way in {"prev", "first"} and page > 1) or (way in {"next", "last"} and page < last)
        ]
        links = (
            f'<{base}?{urlencode({**request.query, "per_page": size, "page": ways[way]})}>; rel="{way}"'
            for way in wanted
        )
        header = {"Link": ", ".join(links)} if wanted else {}
        return json_response(200, items[(page - 1) * size : page * size], **header)


def _number(request: Request, name: str, default: int) -> int:
    value = request.query.get(name, "")
    return int(value) if value.isascii() and value.isdigit() else default


def _parsed(request: Request) -> Any:
    try:
        return json.loads(request.body)
    except ValueError:
        raise Refusal(failure(400, "Problems parsing JSON")) from None
