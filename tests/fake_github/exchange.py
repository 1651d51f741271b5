"""A request, its answer, and the log of both."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

DOCUMENTATION = "https://docs.github.com/rest"


@dataclass
class Request:
    """One request as it arrived; `body` is kept if it is JSON."""

    origin: str  # api, uploads, objects, web
    method: str
    target: str
    headers: dict[str, str]  # names in lower case
    body: bytes = b""
    received: int = 0  # bytes of the body that came
    leaves: str | None = None  # what a fault wants this upload to leave

    @property
    def path(self) -> str:
        """The path without the query, decoded."""
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        """The parameters; the last of a repeated parameter counts."""
        parsed = parse_qs(urlsplit(self.target).query, keep_blank_values=True)
        return {name: values[-1] for name, values in parsed.items()}

    @property
    def authorization(self) -> str | None:
        """The Authorization header as sent."""
        return self.headers.get("authorization")

    @property
    def length(self) -> int | None:
        """The declared length of the body; None if it is absent or not a number."""
        declared = self.headers.get("content-length", "")
        return int(declared) if declared.isascii() and declared.isdigit() else None

    @property
    def json(self) -> Any:
        """The body as JSON; None if there is none."""
        return json.loads(self.body) if self.body else None


@dataclass
class Response:
    """An answer: a body in memory, or a part of a file."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    file: Path | None = None
    start: int = 0
    size: int | None = None  # of the part of the file

    @property
    def length(self) -> int:
        """How many bytes the whole body has."""
        return len(self.body) if self.file is None else self.size or 0

    @property
    def json(self) -> Any:
        """The body as JSON; None where it is something else."""
        return json.loads(self.body) if self.headers.get("Content-Type", "").startswith("application/json") else None


@dataclass
class Exchange:
    """A line of the log. `status` is None if the client got no answer; `response` may exist nevertheless."""

    number: int
    request: Request
    response: Response | None = None
    status: int | None = None
    sent: int = 0  # bytes of the answer's body that left
    fault: str | None = None

    @property
    def method(self) -> str:
        """The method of the request."""
        return self.request.method

    @property
    def origin(self) -> str:
        """Which of the servers got the request."""
        return self.request.origin

    @property
    def path(self) -> str:
        """The path of the request, without the query."""
        return self.request.path

    @property
    def authorization(self) -> str | None:
        """The Authorization header as sent."""
        return self.request.authorization

    @property
    def received(self) -> int:
        """The number of bytes of the request's body that arrived."""
        return self.request.received


class Refusal(Exception):
    """An answer that ends the work early."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def json_response(status: int, document: Any, **headers: str) -> Response:
    """Return `document` as GitHub sends it."""
    body = json.dumps(document, separators=(",", ":")).encode()
    return Response(status, {"Content-Type": "application/json; charset=utf-8", **headers}, body)


def failure(status: int, message: str, **fields: Any) -> Response:
    """Return an error as GitHub words it."""
    document = {"message": message, **fields, "documentation_url": DOCUMENTATION, "status": str(status)}
    return json_response(status, document)


def invalid(*errors: dict[str, str]) -> Refusal:
    """Return the refusal of values that break a rule."""
    return Refusal(failure(422, "Validation Failed", errors=list(errors)))


def not_found() -> Refusal:
    """Return the refusal that also hides what the token may not see."""
    return Refusal(failure(404, "Not Found"))
