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
    from modelreg.records.calibration import AbstainRule, SetKind
    from modelreg.runtime.pipeline import Pipeline
    from modelreg.runtime.worker import Open

SERVE = ("onnxruntime", "starlette", "uvicorn", "prometheus_client", "msgspec")  # the packages of the extra [serve]
SHORTEST_KEY = 16
_KINDS: "dict[str, SetKind]" = {"pooled": "pooled", "new-subject": "new_subject"}
_RULES: "dict[str, AbstainRule]" = {"not-single": "not_single", "empty": "empty", "never": "never"}


def serve(
    reference: Annotated[
        str, typer.Argument(help="A version, or the path of a version, run or bundle.", metavar="REF")
    ],
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 for all addresses.", metavar="ADDRESS")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The TCP port; 0 for any free port.", metavar="PORT")
    ] = 9000,
    backend: Annotated[Literal["onnxruntime", "hailo"], typer.Option(help="The backend for the device part.")] = (
        "onnxruntime"
    ),
    threads: Annotated[int, typer.Option(min=1, help="Threads of ONNX Runtime.", metavar="N")] = 1,
    smoothing: Annotated[
        Literal["durations", "majority", "hysteresis"] | None,
        typer.Option(
            help="How to smooth the `state` of a session. Default: durations if the model has them, else majority."
        ),
    ] = None,
    sets: Annotated[
        Literal["pooled", "new-subject"],
        typer.Option(help="The prediction sets: pooled, or with a promise for a new subject (larger)."),
    ] = "pooled",
    abstain: Annotated[
        Literal["not-single", "empty", "never"],
        typer.Option(help="The model abstains if the set has not exactly one class, only if it is empty, or never."),
    ] = "not-single",
    api_key_file: Annotated[
        Path | None,
        typer.Option(help="A file with the API key of requests; required unless on loopback.", metavar="FILE"),
    ] = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Accept requests without a key on any address.")] = False,
) -> None:
    """Serve a model over HTTP.

    Export a run first: modelreg export

    Paths: POST /infer, GET /healthz, /metrics, /openapi.json and /docs. Before it starts, the server verifies the
    digests of the files and runs the test vectors. Without a working backend it responds 503 with the reason, and
    retries.

    Example: modelreg serve runs/conv2d_fsq-001
    """
    this_host.need_extra("serve", *SERVE)
    _refuse_open_door(host, api_key_file, no_auth=no_auth)
    from modelreg.runtime import bundle_loader, server
    from modelreg.runtime import smoothing as smoothers
    from modelreg.runtime.pipeline import Pipeline, open_backend, sha256_of
    from modelreg.runtime.postprocess import SetChoice, calibration

    key = _read_key(api_key_file) if api_key_file else None
    loaded = bundle_loader.read_export(this_host.export_path(reference), compiled=backend == "hailo")
    choice = SetChoice(_KINDS[sets], _RULES[abstain])
    calibration(loaded.calibration, choice)  # refuses sets that the model does not have, without any backend

    def open_pipeline() -> Pipeline:
        return Pipeline(loaded, open_backend(loaded, backend, threads), choice)

    smoother = smoothers.choose(loaded.durations, smoothing)
    first = _try(open_pipeline)
    served = server.Served(
        loaded, backend, sha256_of(loaded, backend), open_pipeline, first, key, smoother, sets=choice.kind
    )
    with server.listen(host, port) as listening:
        place = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
        say(f"{loaded.spec.settings.name} on {backend} at {place}")
        sys.stdout.flush()  # otherwise a pipe or journal shows it only when the server ends
        signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it again when all requests are finished
        server.run(served, listening)


def _try(open_pipeline: "Open") -> "Pipeline | None":
    """Return a pipeline; None if its backend is not available now. Raises VerificationFailed, InputError."""
    from modelreg.runtime.backends import BackendError

    try:
        return open_pipeline()
    except BackendError as error:
        show_error(error)
        note("warning: responding 503 until the backend is available")
        return None


def _refuse_open_door(host: str, api_key_file: Path | None, *, no_auth: bool) -> None:
    """Refuse an address that other machines can reach without a key, unless `no_auth` is set."""
    if api_key_file and no_auth:
        raise typer.BadParameter("cannot be combined with --api-key-file", param_hint="--no-auth")
    if not (_is_loopback(host) or api_key_file or no_auth):
        message = f"other machines can reach {host}: set --api-key-file FILE or --no-auth"
        raise typer.BadParameter(message, param_hint="--host")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a host name: its address is not known
        return False


def _read_key(path: Path) -> str:
    """Return the key in a file. Raises InputError, without the key in the message."""
    from modelreg import files

    key = files.read_text(path, 4096).strip()
    if len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable() or " " in key:
        message = f"must contain one key of at least {SHORTEST_KEY} printable ASCII characters, without spaces"
        raise InputError("cannot use the API key", [Problem(str(path), "serve.key-invalid", message)])
    return key
