"""The HTTP server: POST /infer, GET /healthz, /metrics, /openapi.json, /docs. Starlette on uvicorn (docs/adr/0007).

Each result comes from the model. Without a working backend the server responds 503 with the reason. A request that
does not fit the model gets a 4xx response with the broken rules.
"""

import asyncio
import hmac
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import cached_property
from html import escape
from math import ceil
from time import perf_counter
from typing import Any, NamedTuple

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from modelreg import descriptors
from modelreg.errors import Problem
from modelreg.evaluation.calibration import limit_of
from modelreg.records.calibration import SetKind
from modelreg.runtime.api_schema import JSON, Ask, Contract, Refusal
from modelreg.runtime.backends import Floats
from modelreg.runtime.bundle_loader import Package
from modelreg.runtime.connections import ClientLimits, Connection, Waiting, protocol
from modelreg.runtime.metrics import Telemetry
from modelreg.runtime.pipeline import Pipeline
from modelreg.runtime.smoothing import Majority, Smoother
from modelreg.runtime.worker import Answered, Bounds, Open, Sessions, Worker

OPEN_PATHS = ("/healthz",)  # without a key, for health probes
GRACE_S = 10  # for running requests, after SIGTERM or SIGINT
BACKLOG = 512  # connections that the kernel holds. asyncio accepts all at once, and a process may open 1024 files


class Served(NamedTuple):
    """A model to serve, and how."""

    package: Package
    backend: str
    sha256: str  # of the file that the backend runs: the HEF or encoder.onnx
    open_pipeline: Open
    first: Pipeline | None  # None: the backend is not available yet
    key: str | None = None  # None: requests need no key
    smoother: Smoother = Majority()
    bounds: Bounds = Bounds()
    limits: ClientLimits = ClientLimits()
    sets: SetKind = "pooled"  # those of open_pipeline


class _Sidecar:
    """The state of one server; created on its event loop."""

    def __init__(self, served: Served) -> None:
        self.served, self.started = served, perf_counter()
        calibration = served.package.calibration
        sets = calibration is not None and not isinstance(limit_of(calibration, served.sets), str)
        self.contract = Contract(served.package.spec, sets=sets)
        self.worker = Worker(served.open_pipeline, served.first, served.bounds)
        self.sessions = Sessions(served.smoother, served.bounds.sessions)
        labels = {**self.names, "version": served.package.version or "", "sha256": served.sha256}
        gauges = (lambda: self.worker.waiting, lambda: len(self.sessions), lambda: len(self.waiting))
        self.telemetry = Telemetry(labels, *gauges)
        self.waiting: Waiting = Waiting(served.limits, self.telemetry.closed)

    @property
    def names(self) -> dict[str, str]:
        return {"model": self.served.package.spec.settings.name, "backend": self.served.backend}

    async def infer(self, request: Request) -> Response:
        """POST /infer."""
        read = await self._read(request)
        found = await self._answer(request, read.window) if isinstance(read, Ask) else read
        if isinstance(found, Refusal):
            self.telemetry.rejected(found.reason)
            return _refused(found)
        self.telemetry.inference(found.seconds)
        session = read.session if isinstance(read, Ask) else None
        state = self.sessions.smooth(session, found.answer) if session else None
        return Response(self.contract.answer(found.answer, state), media_type=JSON)

    async def _answer(self, request: Request, window: Floats) -> Answered | Refusal:
        connection: Connection = request.state.connection
        with connection.busy():
            return await self.worker.answer(window)

    async def _read(self, request: Request) -> Ask | Refusal:
        """Return a parsed request; the size of its body and the time to receive it are limited."""
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media != JSON:
            message = f"must be {JSON}, but is {media or 'not set'}"
            return Refusal(415, "content type", (Problem("content-type", "serve.content-type", message),))
        limit, body = self.contract.body_limit, bytearray()
        try:
            async with asyncio.timeout(self.served.limits.body_s):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > limit:
                        message = f"larger than {limit:,} bytes, the limit for a window of this model"
                        return Refusal(413, "too large", (Problem("body", "serve.body-too-large", message),))
        except TimeoutError:
            message = f"did not arrive within {self.served.limits.body_s:g} s"
            return Refusal(408, "slow body", (Problem("body", "serve.body-timeout", message),))
        except ClientDisconnect:
            message = "the connection closed before the end of the body"
            return Refusal(400, "disconnected", (Problem("body", "serve.disconnected", message),))
        return self.contract.read(bytes(body))

    async def healthz(self, _: Request) -> Response:
        """GET /healthz."""
        why_not = self.worker.why_not
        status = {
            **self.names,
            "ok": not why_not,
            "version": self.served.package.version,
            "uptime_s": round(perf_counter() - self.started, 3),
            "sha256": self.served.sha256,
            **({"why": why_not} if why_not else {}),
        }
        return _json(status, 503 if why_not else 200)

    async def metrics(self, _: Request) -> Response:
        """GET /metrics."""
        return Response(self.telemetry.text(), media_type="text/plain; version=0.0.4")

    async def openapi(self, _: Request) -> Response:
        """GET /openapi.json."""
        return _json(self.document)

    async def docs(self, _: Request) -> Response:
        """GET /docs."""
        return Response(self.page, media_type="text/html")

    @cached_property
    def document(self) -> dict[str, Any]:
        """The OpenAPI document."""
        version = self.served.package.version or "0.0.0"
        return self.contract.openapi(version, with_key=self.served.key is not None)

    @cached_property
    def page(self) -> str:
        """The OpenAPI document as HTML."""
        return _page(self.document)


def configuration(served: Served) -> uvicorn.Config:
    """Return the configuration of a server."""
    sidecar = _Sidecar(served)
    return uvicorn.Config(
        _application(sidecar),
        # H11Protocol limits a request head to 64 KiB. httptools, which uvicorn would prefer, has no limit.
        http=protocol(sidecar.waiting, H11Protocol),  # type: ignore[arg-type]  # a function makes them
        access_log=False,
        log_level="warning",
        lifespan="on",
        ws="none",
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=ceil(served.limits.idle_s),
        timeout_graceful_shutdown=GRACE_S,
    )


def _application(sidecar: _Sidecar) -> ASGIApp:
    """Return the ASGI application of a server."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        opening = asyncio.create_task(sidecar.worker.keep_open())
        yield
        opening.cancel()
        with suppress(asyncio.CancelledError):
            await opening
        await asyncio.to_thread(sidecar.worker.close)

    handlers: dict[str, tuple[str, Callable[[Request], Awaitable[Response]]]] = {
        "/infer": ("POST", sidecar.infer),
        "/healthz": ("GET", sidecar.healthz),
        "/metrics": ("GET", sidecar.metrics),
        "/openapi.json": ("GET", sidecar.openapi),
        "/docs": ("GET", sidecar.docs),
    }
    routes = [Route(path, handler, methods=[method]) for path, (method, handler) in handlers.items()]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _no_route})
    return _Door(app, sidecar.served.key, sidecar.telemetry, frozenset(handlers))


class _Door:
    """Checks the key of each request, and counts requests."""

    def __init__(self, app: ASGIApp, key: str | None, telemetry: Telemetry, paths: frozenset[str]) -> None:
        self._app, self._telemetry, self._paths = app, telemetry, paths
        self._expected = f"Bearer {key}".encode() if key else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        connection: Connection = scope["state"]["connection"]
        with connection.request():
            await self._handle(scope, receive, send)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        start, statuses = perf_counter(), [500]

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            await send(message)

        path = scope["path"] if scope["path"] in self._paths else "other"
        if self._expected and path not in OPEN_PATHS and not self._has_key(scope):
            problem = Problem("authorization", "serve.unauthorized", "the API key is missing or wrong")
            await _refused(Refusal(401, "key", (problem,)))(scope, receive, counted)
        else:
            await self._app(scope, receive, counted)
        self._telemetry.request(path, statuses[-1], perf_counter() - start)

    def _has_key(self, scope: Scope) -> bool:
        given = dict(scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(given, self._expected or b"")


def _json(document: object, status: int = 200) -> Response:
    return Response(json.dumps(document), status, media_type=JSON)


def _refused(refusal: Refusal) -> Response:
    headers = {503: {"retry-after": "1"}, 401: {"www-authenticate": "Bearer"}, 408: {"connection": "close"}}.get(
        refusal.status
    )
    return Response(refusal.body(), refusal.status, headers, media_type=JSON)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 the handler is registered for this type only
    path = request.url.path
    if error.status_code == 404:
        refusal = Refusal(404, "no such path", (Problem(path, "serve.unknown-path", "no such path"),))
    else:
        problem = Problem(path, "serve.method-not-allowed", f"does not accept {request.method}")
        refusal = Refusal(error.status_code, "method", (problem,))
    body = refusal.body()
    return Response(body, error.status_code, error.headers, media_type=JSON)


def _page(document: dict[str, Any]) -> str:
    """Return the document as an HTML page without external resources: the paths, then the JSON text."""
    rows = "".join(
        f"<li><code>{method.upper()} {escape(path)}</code> {escape(operation['summary'])}</li>"
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    title = escape(document["info"]["title"])
    whole = escape(json.dumps(document, indent=2))
    return f"<!doctype html><title>{title}</title><h1>{title}</h1><ul>{rows}</ul><pre>{whole}</pre>"


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises OSError if the address is not available."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only if the socket names its protocol. With Nagle, each response takes 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        descriptors.reserve_port(listening)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def run(served: Served, listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT, then finish the running requests."""
    uvicorn.Server(configuration(served)).run([listening])
