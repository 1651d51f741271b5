"""Compare exchanges with GitHub's OpenAPI description, trimmed to releases by scripts/trim_openapi.py.

The description is extended where the server is known to do more: the state of an asset may be `starter`, its digest may
be absent (older servers), an upload may have any content type and an empty label, as gh sends it, and errors and
redirects that are not listed need only a `message`.
"""

import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from openapi_core import OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse

from fake_github.exchange import Exchange, Request, Response

HOSTS = {"api": "https://api.github.com", "uploads": "https://uploads.github.com"}
SLASHED = re.compile(r"^(/repos/[^/]+/[^/]+/(?:git/ref|git/matching-refs|commits|releases/tags)/)(.+)$")
BINARY = "application/octet-stream"
IDENTIFIER = re.compile(rb'(?<="node_id":")\w+|(?<=untagged-)\w+|[0-9]+')


@cache
def description() -> dict[str, Any]:
    """Return the description, with additions for behaviour that GitHub documents in text, and for older servers."""
    document: dict[str, Any] = json.loads(Path(__file__).with_name("openapi.json").read_text(encoding="utf-8"))
    asset = document["components"]["schemas"]["release-asset"]
    asset["properties"]["state"]["enum"].append("starter")
    asset["required"].remove("digest")
    return document


@cache
def _openapi() -> OpenAPI:
    return OpenAPI.from_dict(description())


def check(request: Request, response: Response, repository: str = "acme/models") -> None:
    """Raise AssertionError if an exchange differs from the description of GitHub."""
    found = list(find_problems(request, response, repository))
    assert not found, f"{request.method} {request.target} -> {response.status}: {'; '.join(found)}"


def check_all(exchanges: Iterable[Exchange]) -> int:
    """Check every exchange that has a contract and return their number; if only numbers differ, one is checked."""
    bound = [(e.request, e.response) for e in exchanges if e.response and _has_contract(e.request, e.response)]
    for request, response in bound:
        if (kind := _without_numbers(request, response)) not in _checked:
            check(request, response)
            _checked.add(kind)
    return len(bound)


_checked: set[bytes] = set()


def _without_numbers(request: Request, response: Response) -> bytes:
    """Return an exchange with every number and identifier replaced by 0: counters, times, ports are not new cases."""
    names = " ".join(sorted(request.headers.keys() | response.headers.keys()))
    kind = request.headers.get("content-type")
    heads = f"{request.origin} {request.method} {request.target} {kind} {response.status} {names}".encode()
    return IDENTIFIER.sub(b"0", b" ".join((heads, request.body, response.body)))


def _has_contract(request: Request, response: Response) -> bool:
    return request.origin in HOSTS and response.file is None and not request.path.endswith("/graphql")


def find_problems(request: Request, response: Response, repository: str = "acme/models") -> Iterator[str]:
    """Yield where an exchange differs from GitHub's description; a request is checked only if it was accepted."""
    mock = _mock(request, repository)
    if response.status < 400:
        yield from _refusals(lambda: _openapi().validate_request(mock))
        yield from _unknown_fields(request)
    if response.status >= 400 and not (isinstance(response.json, dict) and response.json.get("message")):
        yield "an error without a message"
    headers = {name: value for name, value in response.headers.items() if name != "Content-Type"}
    kind = response.headers.get("Content-Type", "").partition(";")[0]
    answer = MockResponse(response.body, response.status, headers, kind or "application/json")
    if response.status < 300 or _is_described(request, response, repository):
        yield from _refusals(lambda: _openapi().validate_response(mock, answer))


def _refusals(call: Any) -> Iterator[str]:
    try:
        call()
    except OpenAPIError as error:
        details = getattr(error.__cause__, "schema_errors", None) or [error.__cause__ or error]
        yield f"{type(error).__name__}: {', '.join(str(getattr(detail, 'message', detail)) for detail in details)}"


def _mock(request: Request, repository: str) -> MockRequest:
    kind = BINARY if request.origin == "uploads" else request.headers.get("content-type", "").partition(";")[0]
    headers = {name: value for name, value in request.headers.items() if name != "content-type"}
    data = b"-" if request.origin == "uploads" else request.body or None
    return MockRequest(
        HOSTS[request.origin],
        request.method.lower().replace("head", "get"),
        _path(request, repository),
        args={name: value for name, value in request.query.items() if value},
        headers=headers,
        data=data,
        content_type=kind or "application/json",
    )


def _path(request: Request, repository: str) -> str:
    """Return the path as the template of the description: a repository by name, a reference as one segment."""
    path = re.sub(r"^/repositories/\d+", f"/repos/{repository}", request.path)
    return SLASHED.sub(lambda found: found[1] + quote(found[2], safe=""), path)


def _operation(request: Request, repository: str) -> dict[str, Any]:
    path = _path(request, repository)
    fixed_first = sorted(description()["paths"], key=lambda template: template.count("{"))
    for template in fixed_first:
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path):
            found: dict[str, Any] = description()["paths"][template].get(request.method.lower(), {})
            return found
    return {}


def _is_described(request: Request, response: Response, repository: str) -> bool:
    return str(response.status) in _operation(request, repository).get("responses", {})


def _unknown_fields(request: Request) -> Iterator[str]:
    """Yield fields that GitHub would ignore, such as misspelt ones."""
    if request.origin != "api" or not request.body:
        return
    operation = _operation(request, "acme/models")
    schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    for name in sorted(request.json.keys() - schema.get("properties", {}).keys()):
        yield f"GitHub knows no field {name!r} here"
