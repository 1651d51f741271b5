"""Faults on demand: which request meets which one, and what the client then sees.

Kinds and their details:

reset            RST after the request's headers: nothing was done
reset_after      RST after `bytes` of the body (default 1); an upload `leaves` "starter" (default) or "nothing".
                 A request with a shorter body is read whole and meets the RST before any work
hold             after `bytes` of the body (default 1) no more is read for `seconds` (default 1), or to the fake's end
lost             the work is done, then RST instead of the answer
lost_502         the work is done, then 502
500 502 503      before any work (the body is read)
502_starter      as 502, and an upload leaves an asset in state starter
401 404          as GitHub words them; 403_denied: no right; 422_immutable: as if the release had become immutable
403_secondary    the secondary limit, with Retry-After `retry_after` (default 1 s, None: without)
403_primary      x-ratelimit-remaining 0 and x-ratelimit-reset in `reset` seconds (default 1)
429              with Retry-After `retry_after` (default 1 s, None: without)
status           any `status` with a `message` and `headers`
slow             the work is done, the answer comes after `seconds` (default 1)
stall            the body is answered byte by byte: `bytes` (default 1024) every `seconds` (default 0.05)
truncated        the answer's body ends after `bytes` (default: half), Content-Length says more
reset_download   as truncated, by RST
corrupt          one bit of the answer's body is flipped at offset `at` (default: the middle)
"""

import re
import time
from dataclasses import dataclass, field
from typing import Any

from fake_github.exchange import Request, Response, failure

LIMIT = "API rate limit exceeded for user ID 1000."
SECONDARY = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
SERVER_ERRORS = {"500": "Server Error", "502": "Server Error", "502_starter": "Server Error", "503": "No server"}
PLAIN = {
    "401": (401, "Bad credentials"),
    "403_denied": (403, "Resource not accessible by personal access token"),
    "404": (404, "Not Found"),
    "422_immutable": (422, "Cannot upload assets to an immutable release."),
}
LIMITS = {"403_primary": (403, LIMIT), "403_secondary": (403, SECONDARY), "429": (429, LIMIT)}
ON_THE_WIRE = {
    "reset",
    "reset_after",
    "lost",
    "lost_502",
    "slow",
    "hold",
    "stall",
    "truncated",
    "reset_download",
    "corrupt",
}
KINDS = frozenset({*SERVER_ERRORS, *PLAIN, *LIMITS, *ON_THE_WIRE, "status"})


@dataclass
class Fault:
    """A fault that waits for its requests; `hits` counts the requests that met it."""

    kind: str
    method: str = "*"
    pattern: str = ""
    times: int = 1
    after: int = 0
    origin: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    seen: int = 0
    hits: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no such fault: {self.kind}; there are {', '.join(sorted(KINDS))}")

    def is_due(self, request: Request) -> bool:
        """Return whether `request` shall fail, and count it."""
        wanted = self.method in {"*", request.method} and self.origin in {None, request.origin}
        if not wanted or not re.search(self.pattern, request.target):
            return False
        self.seen += 1
        return self.seen > self.after and self.hits < self.times

    def answer(self) -> Response | None:
        """Return the answer of the fault; None if the fault is not an answer."""
        if self.kind in SERVER_ERRORS:
            return failure(int(self.kind[:3]), SERVER_ERRORS[self.kind])
        if self.kind in PLAIN:
            return failure(*PLAIN[self.kind])
        if self.kind in LIMITS:
            return self._limit()
        if self.kind == "status":
            response = failure(self.details["status"], self.details.get("message", "Error"))
            response.headers.update(self.details.get("headers", {}))
            return response
        return None

    def _limit(self) -> Response:
        response = failure(*LIMITS[self.kind])
        if self.kind == "403_primary":
            reset = int(time.time() + self.details.get("reset", 1))
            response.headers |= {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(reset)}
        elif (wait := self.details.get("retry_after", 1)) is not None:
            response.headers["Retry-After"] = str(wait)
        return response

    def part_of(self, length: int) -> int:
        """Return the number of bytes of a body of `length` that are sent before the cut."""
        return min(int(self.details.get("bytes", length // 2)), length)
