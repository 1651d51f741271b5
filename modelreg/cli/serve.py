"""`modelreg serve`."""

import ipaddress
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelreg.cli import host as this_host
from modelreg.cli.console import note, say, show_error
from modelreg.errors import InputError, Problem

if TYPE_CHECKING:
    from modelreg.runtime.pipeline import Pipeline
    from modelreg.runtime.worker import Open

SERVE = ("onnxruntime", "starlette", "uvicorn", "prometheus_client", "msgspec")  # what the extra [serve] must have
SHORTEST_KEY = 16


def serve(
    reference: Annotated[
        str, typer.Argument(help="A version, or the path of a version, a run or a bundle.", metavar="REF")
    ],
    host: Annotated[str, typer.Option(help="The address to listen at; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 9000,
    backend: Annotated[Literal["onnxruntime", "hailo"], typer.Option(help="What computes the device part.")] = (
        "onnxruntime"
    ),
    threads: Annotated[int, typer.Option(min=1, help="Of ONNX Runtime, for one window.")] = 1,
    smoothing: Annotated[
        Literal["durations", "majority", "hysteresis"] | None,
        typer.Option(help="What makes the `state` of a session; left out: the model's durations, else majority."),
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(help="A file with the key that requests must bear; not needed on loopback.")
    ] = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Ask nobody for a key, whoever can reach it.")] = False,
) -> None:
    """Answer windows over HTTP: POST /infer, GET /healthz, /metrics, /openapi.json, /docs.

    The files are hashed and the test vectors answered before it starts. Without a working backend it answers 503 and
    says why, and tries again.

    Example: modelreg serve v0.2.0
    """
    this_host.need_extra("serve", *SERVE)
    _refuse_open_door(host, api_key_file, no_auth=no_auth)
    from modelreg.runtime import bundle_loader, server
    from modelreg.runtime import smoothing as smoothers
    from modelreg.runtime.pipeline import Pipeline, open_backend, sha256_of

    key = _read_key(api_key_file) if api_key_file else None
    loaded = bundle_loader.read_export(this_host.export_path(reference), compiled=backend == "hailo")

    def open_pipeline() -> Pipeline:
        return Pipeline(loaded, open_backend(loaded, backend, threads))

    smoother = smoothers.choose(loaded.durations, smoothing)
    first = _try(open_pipeline)
    served = server.Served(loaded, backend, sha256_of(loaded, backend), open_pipeline, first, key, smoother)
    with server.listen(host, port) as listening:
        place = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
        say(f"{loaded.spec.settings.name} on {backend} at {place}")
        sys.stdout.flush()  # into a pipe or a journal it would otherwise come when the server ends
        signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it again when all requests are answered
        server.run(served, listening)


def _try(open_pipeline: "Open") -> "Pipeline | None":
    """Return a pipeline, or None where its backend cannot be had now. Raises VerificationFailed, InputError."""
    from modelreg.runtime.backends import BackendError

    try:
        return open_pipeline()
    except BackendError as error:
        show_error(error)
        note("warning: answering 503 until the backend is available")
        return None


def _refuse_open_door(host: str, api_key_file: Path | None, *, no_auth: bool) -> None:
    """Refuse to be reached from elsewhere by anybody, unless that is said."""
    if api_key_file and no_auth:
        raise typer.BadParameter("contradicts --api-key-file", param_hint="--no-auth")
    if not (_is_loopback(host) or api_key_file or no_auth):
        what = f"{host} can be reached from elsewhere: give --api-key-file FILE, or say --no-auth"
        raise typer.BadParameter(what, param_hint="--host")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which may be anybody's
        return False


def _read_key(path: Path) -> str:
    """Return the key in a file. Raises InputError; the key itself is in no message."""
    from modelreg import files

    key = files.read_text(path, 4096).strip()
    if len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable() or " " in key:
        what = (
            f"must hold one key of at least {SHORTEST_KEY} printable ASCII characters; `openssl rand -hex 32` makes one"
        )
        raise InputError("not a key", [Problem(str(path), "todo.serve", what)])
    return key
