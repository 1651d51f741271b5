"""A real HTTP server of a model on loopback, and a client of it."""

import http.client
import json
import threading
import time
from contextlib import contextmanager

import uvicorn
from prometheus_client.parser import text_string_to_metric_families

from modelreg.runtime import bundle_loader, server
from modelreg.runtime.pipeline import Pipeline, open_backend, sha256_of
from modelreg.runtime.server import Served


class Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str):
        """Return status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.headers, content

    def infer(self, document: object, **headers: str):
        """Return the status and the document of POST /infer."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        status, _, content = self.ask("POST", "/infer", body, **{"content_type": "application/json", **headers})
        return status, json.loads(content)

    def metric(self, name: str, **labels: str) -> float:
        """Return one sample of /metrics; 0 if it was never counted."""
        families = text_string_to_metric_families(self.ask("GET", "/metrics")[2].decode())
        samples = [sample for family in families for sample in family.samples]
        return next((s.value for s in samples if s.name == name and labels.items() <= s.labels.items()), 0.0)


@contextmanager
def serving(served: Served):
    """A real server on loopback, in a thread."""
    with server.listen("127.0.0.1", 0) as listening:
        running = uvicorn.Server(server.configuration(served))
        thread = threading.Thread(target=running.run, args=([listening],))
        thread.start()
        while not running.started:
            time.sleep(0.005)
        yield Client(listening.getsockname()[1])
        running.should_exit = True
        thread.join()


def served(loaded: bundle_loader.Package, backend: str = "onnxruntime", **settings) -> Served:
    """The model and settings that `modelreg serve` would serve."""
    open_pipeline = settings.pop("open_pipeline", lambda: Pipeline(loaded, open_backend(loaded, backend)))
    first = settings.pop("first", None)
    return Served(loaded, backend, sha256_of(loaded, backend), open_pipeline, first, **settings)
