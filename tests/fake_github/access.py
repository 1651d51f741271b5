"""Identify the user of a request, and what the user may see or do."""

import re

from fake_github.exchange import Refusal, Request, Response, failure, json_response, not_found
from fake_github.state import Repository, User

TOKEN = re.compile(r"(?:bearer|token) +(\S+)", re.IGNORECASE)


def identify(request: Request, users: dict[str, User]) -> User | None:
    """Return the user of a request; None for an anonymous one. Raises a 401 for a bad token."""
    if not request.headers.get("user-agent"):
        raise Refusal(failure(403, "Request forbidden by administrative rules. Please have a User-Agent header"))
    if request.authorization is None:
        return None
    found = TOKEN.fullmatch(request.authorization.strip())
    user = users.get(found[1]) if found else None
    if user is None:
        raise Refusal(failure(401, "Bad credentials"))
    return user


def locate(request: Request, repository: Repository, user: User | None, api: str) -> str:
    """Return the path inside the repository. Raises a redirect for its old name, a 404 for an invisible one."""
    named = re.fullmatch(r"/repos/([^/]+/[^/]+)(/.*)?", request.path)
    numbered = re.fullmatch(rf"/repositories/{repository.id}(/.*)?", request.path)
    name = named[1].lower() if named else ""
    visible = not repository.private or user is not None
    if visible and repository.renamed_from and name == repository.renamed_from.lower():
        raise Refusal(_moved(request, f"{api}/repositories/{repository.id}{named[2] or '' if named else ''}"))
    if not visible or not (numbered or name == repository.full_name.lower()):
        raise not_found()
    return (numbered[1] if numbered else named[2] if named else None) or ""


def _moved(request: Request, url: str) -> Response:
    query = request.target.partition("?")[2]
    whole = f"{url}?{query}" if query else url
    status, message = (301, "Moved Permanently") if request.method in {"GET", "HEAD"} else (307, "Temporary Redirect")
    document = {"message": message, "url": whole, "documentation_url": "https://docs.github.com/rest"}
    return json_response(status, document, Location=whole)


def need_push(repository: Repository, user: User | None) -> None:
    """Raise the answer of GitHub if the user may not push."""
    if user is None:
        raise Refusal(failure(401, "Requires authentication"))
    if not user.push and repository.denied == 404:
        raise not_found()
    if not user.push:
        raise Refusal(failure(403, "Resource not accessible by personal access token"))
    if repository.archived:
        raise Refusal(failure(403, "Repository was archived so is read-only."))
