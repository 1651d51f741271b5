"""The few GraphQL queries that gh finds releases with, recognized by their names."""

from typing import Any

from fake_github.exchange import Refusal, Response, failure, json_response
from fake_github.state import Release, Repository, User

FIELDS = ("tagName", "name", "isDraft", "isLatest", "isPrerelease", "immutable", "createdAt", "publishedAt")


def answer(repository: Repository, user: User | None, document: dict[str, Any]) -> Response:
    """Return the data of a query. Raises a 401 without a token: GraphQL has no anonymous use."""
    if user is None:
        raise Refusal(failure(401, "This endpoint requires you to be authenticated."))
    query, variables = document.get("query", ""), document.get("variables") or {}
    seen = [release for release in reversed(repository.releases.values()) if user.push or not release.draft]
    if "RepositoryReleaseByTag" in query:
        found = next((release for release in seen if release.tag_name == variables.get("tagName")), None)
        inside = found and {"databaseId": found.id, "isDraft": found.draft}
        return json_response(200, {"data": {"repository": {"release": inside}}})
    if "RepositoryReleaseList" in query:
        page = {"hasNextPage": False, "endCursor": None}
        releases = {"nodes": [_node(repository, release) for release in seen], "pageInfo": page}
        return json_response(200, {"data": {"repository": {"releases": releases}}})
    if "__type" in query:
        return json_response(200, {"data": {"Release": {"fields": [{"name": name} for name in FIELDS]}}})
    return json_response(200, {"errors": [{"type": "UNKNOWN", "message": "The fake does not know this query"}]})


def _node(repository: Repository, release: Release) -> dict[str, Any]:
    latest = repository.latest_release()
    return {
        "name": release.name or "",
        "tagName": release.tag_name,
        "isDraft": release.draft,
        "immutable": release.immutable,
        "isLatest": release is latest,
        "isPrerelease": release.prerelease,
        "createdAt": release.created_at,
        "publishedAt": release.published_at,
    }
