"""Interpret the answers of a server: values, errors, and which failures may be tried again. No network."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import SplitResult, urlsplit

from modelreg import files
from modelreg.errors import InputError, Problem, RemoteError

LIMIT_WAIT_S = 60.0  # for a rate limit without a time
MESSAGE_LENGTH = 300  # characters of a server's message


def host(url: str) -> str:
    """Return the host and port of an address, without user and password."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return "an invalid address"


def split(url: str, where: str) -> SplitResult:
    """Return the parts of an address that a server sent. Raises RemoteError if it is not one."""
    try:
        found = urlsplit(url)
        _ = found.port  # reading it checks it
    except ValueError as error:
        problem = Problem(where, "github.address-invalid", "the server sent an invalid address")
        raise RemoteError("cannot follow the address", [problem]) from error
    return found


class Retry(Exception):
    """A failure after which another attempt may succeed."""

    def __init__(self, problem: Problem, wait_s: float | None = None) -> None:
        self.problem, self.wait_s = problem, wait_s
        super().__init__(str(problem))


class NotFound(RemoteError):
    """The server does not have what a request names (404)."""


@dataclass(frozen=True)
class Answer:
    """A server's answer to a request, with its whole body."""

    method: str  # of the request
    url: str
    status: int
    headers: Mapping[str, str]  # by name, case-insensitive
    body: bytes = b""
    is_redirect: bool = False
    next: str | None = None  # address of the next page of a list


def parse(answer: Answer) -> Any:
    """Return an answer's JSON. Raises Retry if it is not JSON, such as a proxy's page."""
    try:
        return files.parse_json(answer.body, "answer")
    except InputError as error:
        raise Retry(Problem(host(answer.url), "github.answer-unexpected", "the answer is not JSON")) from error


def refuse(answer: Answer, allow: tuple[int, ...]) -> None:
    """Raise Retry or RemoteError for an error or a redirect, unless `allow` has its status."""
    status = answer.status
    where = f"{answer.method} {urlsplit(answer.url).path}"
    if status in allow:
        return
    if answer.is_redirect:
        place = split(answer.headers["Location"], where)
        message = f"has moved to {host(place.geturl())}{place.path}"
        raise RemoteError("the repository has moved", [Problem(where, "github.repository-moved", message)])
    if status < HTTPStatus.BAD_REQUEST:
        return
    message = f"{status} {_message(answer)}".rstrip()
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise Retry(Problem(where, "github.server-error", message))
    if status in (HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS):
        limit = _limit_wait(answer)
        if limit is not None or status == HTTPStatus.TOO_MANY_REQUESTS:
            raise Retry(Problem(where, "github.rate-limit", message), limit if limit is not None else LIMIT_WAIT_S)
    refused = Problem(where, "github.request-refused", message)
    if "already_exists" in message:  # an earlier attempt arrived, but its answer was lost; or another process was first
        raise Retry(refused)
    kind = NotFound if status == HTTPStatus.NOT_FOUND else RemoteError
    raise kind("the server refused the request", [refused])


def _limit_wait(answer: Answer) -> float | None:
    """Return the seconds to wait until a rate limit ends; None if the answer is not a rate limit."""
    headers = answer.headers
    if "Retry-After" in headers:
        return _number(headers["Retry-After"], LIMIT_WAIT_S)
    if headers.get("x-ratelimit-remaining") == "0":
        now = _date(headers.get("Date", ""))
        return max(_number(headers.get("x-ratelimit-reset", ""), now + LIMIT_WAIT_S) - now, 1.0)
    return LIMIT_WAIT_S if "secondary rate limit" in _message(answer).lower() else None


def _number(text: str, otherwise: float) -> float:
    return float(text) if text.isascii() and text.isdecimal() else otherwise


def _date(text: str) -> float:
    """Return seconds since 1970 by the server's clock; 0 if the text is not a date."""
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _message(answer: Answer) -> str:
    """Return the server's message, without characters that could control a terminal."""
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):  # the latter: nested too deeply
        return ""
    if not isinstance(document, dict):
        return ""
    errors = document.get("errors")
    listed = errors if isinstance(errors, list) else []
    details = [str(e.get("message") or e.get("code") or "") if isinstance(e, dict) else str(e) for e in listed]
    text = "; ".join(part for part in [str(document.get("message", "")), *details] if part)
    return "".join(c for c in text if c.isprintable())[:MESSAGE_LENGTH]


def origin(address: SplitResult) -> tuple[str, str]:
    """Return what two addresses of one server share: the scheme, the host and the port."""
    return address.scheme, address.netloc
