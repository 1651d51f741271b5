"""Metrics of a server for Prometheus. Labels come from small fixed sets, so memory does not grow with requests."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

FAST = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds


class Telemetry:
    """The metrics of one server."""

    def __init__(
        self,
        model: dict[str, str],
        waiting: Callable[[], float],
        sessions: Callable[[], float],
        clients: Callable[[], float],
    ) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "modelreg_requests", "Requests, by path and status", ("path", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "modelreg_request_seconds",
            "Seconds from the request header to the end of the response",
            buckets=FAST,
            registry=self._registry,
        )
        self._inference = Histogram(
            "modelreg_inference_seconds",
            "Seconds for one window, without the HTTP request",
            buckets=FAST,
            registry=self._registry,
        )
        self._rejected = Counter(
            "modelreg_rejected", "Windows without a result, by reason", ("reason",), registry=self._registry
        )
        self._closed = Counter(
            "modelreg_closed_connections",
            "Connections that the server closed, by reason",
            ("reason",),
            registry=self._registry,
        )
        Info("modelreg_model", "The model that is served", registry=self._registry).info(model)
        for name, text, value in (
            ("modelreg_waiting", "Windows that are queued or being computed", waiting),
            ("modelreg_sessions", "Sessions with a stored state", sessions),
            ("modelreg_waiting_connections", "Connections that wait for their client", clients),
        ):
            Gauge(name, text, registry=self._registry).set_function(value)

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.observe(seconds)

    def inference(self, seconds: float) -> None:
        """Count a window with a result."""
        self._inference.observe(seconds)

    def rejected(self, reason: str) -> None:
        """Count a window without a result."""
        self._rejected.labels(reason).inc()

    def closed(self, reason: str) -> None:
        """Count a connection that the server closed."""
        self._closed.labels(reason).inc()

    def text(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self._registry)
