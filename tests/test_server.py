"""The HTTP server returns the model's result or an error with a rule, never a 500 status."""

import asyncio
import http.client
import json
import socket
import threading
import time

import example_bundle
import hailort_stub
import numpy as np
import pytest
from example_bundle import VERSION, bundle, example, write_bundle
from serving import Client, served, serving

from modelreg.registry import versions
from modelreg.rules import catalogue
from modelreg.runtime import bundle_loader
from modelreg.runtime.api_schema import Contract
from modelreg.runtime.backends import BackendError
from modelreg.runtime.connections import ClientLimits
from modelreg.runtime.pipeline import Pipeline, open_backend, sha256_of
from modelreg.runtime.smoothing import Majority
from modelreg.runtime.worker import Bounds, Sessions, Worker

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
KEY = "0123456789abcdef0123"


@pytest.fixture(scope="module")
def released():
    """The released example, read once."""
    return bundle_loader.read_export(VERSION)


@pytest.fixture(scope="module")
def client(released):
    """A server of the released example."""
    with serving(served(released, first=Pipeline.load(VERSION))) as made:
        yield made


def window(number: int = 0) -> list[list[float]]:
    """A window in the layout of the API, (T, C)."""
    return example().test.x[number][:, 0].T.tolist()


# Answers


def test_a_result_is_that_of_the_pipeline(client) -> None:
    """The two fields that EdgeInfer reads, and the fields of a classifier."""
    with Pipeline.load(VERSION) as pipeline:
        expected = pipeline.infer(example().test.x[3])
    classes = example().spec.classes

    assert client.infer({"x": window(3)}) == (
        200,
        {
            "latent": expected.projection.tolist(),
            "motif_scores": expected.probabilities.tolist(),
            "label": classes[expected.label],
            "probabilities": dict(zip(classes, expected.probabilities.tolist(), strict=True)),
            "codes": [expected.code_index],
        },
    )


def test_a_session_has_a_smoothed_state(client) -> None:
    """The majority of its last windows, which can differ from the label of the newest one."""
    labels = [client.infer({"x": window(n)})[1]["label"] for n in (0, -1)]
    *_, last = [client.infer({"x": window(n), "session": "a"})[1] for n in (0, 0, 0, -1)]

    assert (labels[0] != labels[1], last["label"], last["state"]) == (True, labels[1], labels[0])


def test_sessions_do_not_mix(client) -> None:
    """A new session starts with its own first window."""
    client.infer({"x": window(0), "session": "b"})

    assert len({tuple(client.infer({"x": window(-1), "session": "c"})[1][key] for key in ("label", "state"))}) == 1


def test_sessions_are_bounded() -> None:
    """The least recently used session is dropped."""
    sessions = Sessions(Majority(), 3)
    for name in "abcade":
        sessions.smooth(name, type("Answer", (), {"label": 0}))

    assert (len(sessions), list(sessions._states)) == (3, ["a", "d", "e"])


def test_healthz_describes_the_model(client, released) -> None:
    """With the digest of the file that the backend runs."""
    status, _, content = client.ask("GET", "/healthz")
    said = json.loads(content)

    assert (status, said.pop("uptime_s") >= 0, said) == (
        200,
        True,
        {
            "ok": True,
            "model": "conv2d_fsq",
            "version": "0.2.0",
            "backend": "onnxruntime",
            "sha256": sha256_of(released, "onnxruntime"),
        },
    )


def test_metrics_count_requests_and_rejections(client) -> None:
    """By status and reason; and they time the windows."""
    names = {
        "modelreg_requests_total": {"path": "/infer", "status": "200"},
        "modelreg_rejected_total": {"reason": "content type"},
        "modelreg_inference_seconds_count": {},
    }
    before = {name: client.metric(name, **labels) for name, labels in names.items()}
    client.infer({"x": window()})
    client.infer({"x": window()}, content_type="text/plain")
    after = {name: client.metric(name, **labels) for name, labels in names.items()}

    assert {name: after[name] - before[name] for name in names} == dict.fromkeys(names, 1.0)


def test_metrics_do_not_grow_with_paths(client) -> None:
    """Every unknown path is `other`."""
    for number in range(5):
        client.ask("GET", f"/x{number}")

    assert b"/x3" not in client.ask("GET", "/metrics")[2]


def test_the_docs_load_nothing_from_elsewhere(client) -> None:
    """A device may have no network."""
    status, headers, content = client.ask("GET", "/docs")

    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert not any(word in content for word in (b"src=", b"href=", b"import("))


# Refusals

GOOD = [[0.0] * 6] * 100


def replaced(value: object) -> list[list[object]]:
    """A window with one value in place of another."""
    return [[value, *GOOD[0][1:]], *GOOD[1:]]


@pytest.mark.parametrize(
    ("body", "status", "place", "detail"),
    [
        (b"", 400, "body", "truncated"),
        (b"{", 400, "body", "truncated"),
        (b"\xff\xfe", 400, "body", "malformed"),
        (b'{"x": [[NaN]]}', 400, "body", "malformed"),
        (b'{"x": ' + b"[" * 9000, 422, "x[0][0]", "Expected `float`, got `array`"),
        (b'{"y": ' + b"[" * 9000, 422, "body", "unknown field"),
        (b"[" * 9000, 422, "body", "Expected `object`"),
        ({"x": GOOD[1:]}, 422, "x", "length >= 100"),
        ({"x": [*GOOD, GOOD[0]]}, 422, "x", "length <= 100"),
        ({"x": [[0.0] * 9] * 100}, 422, "x[0]", "length <= 6"),
        ({"x": [GOOD]}, 422, "x[0][0]", "got `array`"),
        ({"x": replaced(None)}, 422, "x[0][0]", "got `null`"),
        ({"x": replaced("1")}, 422, "x[0][0]", "got `str`"),
        ({"x": replaced(True)}, 422, "x[0][0]", "got `bool`"),
        ({"x": [[3e38] * 6] * 100}, 422, "window", "overflow"),
        ({"x": replaced(1e39)}, 422, "x[0][0]", "<= 3.40282346"),
        (json.dumps({"x": replaced(7)}).replace("7", "1e400").encode(), 422, "x[0][0]", "out of range"),
        ({"x": replaced(10**400)}, 422, "x[0][0]", "out of range"),
        ({}, 422, "body", "missing required field `x`"),
        ({"x": GOOD, "session": ""}, 422, "session", "length >= 1"),
        ({"x": GOOD, "session": "s" * 129}, 422, "session", "length <= 128"),
        ({"x": GOOD, "device": "watch"}, 422, "body", "unknown field `device`"),
    ],
    ids=lambda value: str(value)[:12] if isinstance(value, int) else "",
)
def test_an_invalid_body_is_refused_with_its_rule(client, body, status, place, detail) -> None:
    """Each problem has a place, a rule, a message and the next step."""
    found, said = client.infer(body)
    (problem,) = said["problems"]
    rules = {400: "serve.body-not-json", 422: "predict.overflow" if place == "window" else "serve.request-invalid"}

    assert (found, problem["where"], problem["rule"]) == (status, place, rules[status])
    assert (detail in problem["message"], problem["next"]) == (True, catalogue.find(problem["rule"]).next)


def test_a_value_out_of_limits_is_refused(tmp_path) -> None:
    """The limits come from normalization.json."""
    scale = json.loads(bundle()["normalization.json"])
    scale["limits"]["channels"] = {"ax": [-16.0, 16.0]}
    documents = {**bundle(), "normalization.json": json.dumps(scale).encode()}
    record = versions.parse_document(documents["bundle.json"], bundle_loader.BundleRecord, "")
    plain = {k: v for k, v in documents.items() if k not in ("bundle.json", "sha256sum.txt")}
    loaded = bundle_loader.read_export(
        write_bundle(tmp_path, example_bundle.bundle_archive.sealed(record, plain, None))
    )
    with serving(served(loaded, open_pipeline=None, first=Pipeline(loaded, open_backend(loaded, "onnxruntime")))) as c:
        status, said = c.infer({"x": replaced(17)})

    assert (status, said["error"], rules_of(said)) == (422, "out of limits", [("channel ax", "predict.out-of-limits")])


def rules_of(said: dict) -> list[tuple[str, str]]:
    """The place and the rule of each problem of an error response."""
    return [(problem["where"], problem["rule"]) for problem in said["problems"]]


@pytest.mark.parametrize("media", ["text/plain", "", "application/jsonp", "multipart/form-data; boundary=x"])
def test_other_content_types_are_refused(client, media) -> None:
    """415, before the body is read."""
    status, said = client.infer({"x": GOOD}, content_type=media)

    assert (status, rules_of(said)) == (415, [("content-type", "serve.content-type")])


@pytest.mark.parametrize("media", ["application/json; charset=utf-8", "Application/JSON"])
def test_spellings_of_the_json_content_type_are_accepted(client, media) -> None:
    """With a charset, or in capitals."""
    assert client.infer({"x": GOOD}, content_type=media)[0] == 200


def test_a_body_larger_than_any_window_is_refused(client) -> None:
    """413, while it is received."""
    status, said = client.infer(b" " * 100_000)

    assert (status, said["error"], rules_of(said)) == (413, "too large", [("body", "serve.body-too-large")])


@pytest.mark.parametrize(
    ("method", "path", "status", "rule"),
    [
        ("GET", "/infer", 405, "serve.method-not-allowed"),
        ("GET", "/x", 404, "serve.unknown-path"),
        ("PUT", "/", 404, "serve.unknown-path"),
    ],
)
def test_other_paths_and_methods_are_refused_as_json(client, method, path, status, rule) -> None:
    """With a rule, as any other error."""
    found, _, content = client.ask(method, path)
    said = json.loads(content)

    assert (found, set(said), rules_of(said)) == (status, {"error", "problems"}, [(path, rule)])


def test_a_body_that_does_not_arrive_is_refused(released) -> None:
    """408 after the time limit; the server keeps serving."""
    limits = ClientLimits(body_s=0.1)
    with serving(served(released, first=Pipeline.load(VERSION), limits=limits)) as client:
        with socket.create_connection(("127.0.0.1", client.port), 10) as slow:
            head = b"POST /infer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
            slow.sendall(head)
            status = slow.recv(4096).split(b" ")[1]

        assert (status, client.infer({"x": GOOD})[0]) == (b"408", 200)


def test_a_client_may_disconnect_in_its_body(client) -> None:
    """The server keeps serving."""
    with socket.create_connection(("127.0.0.1", client.port), 10) as gone:
        gone.sendall(
            b"POST /infer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
        )

    assert client.infer({"x": GOOD})[0] == 200


# Keys


@pytest.fixture(scope="module")
def locked(released):
    """A server with an API key."""
    with serving(served(released, first=Pipeline.load(VERSION), key=KEY)) as made:
        yield made


@pytest.mark.parametrize(
    "given", [{}, {"authorization": "Bearer x"}, {"authorization": KEY}], ids=["none", "other", "bare"]
)
def test_requests_without_the_key_are_refused(locked, given) -> None:
    """401, except for the health probe."""
    status, said = locked.infer({"x": GOOD}, **given)
    statuses = [locked.ask("GET", path, **given)[0] for path in ("/metrics", "/healthz")]

    assert (status, rules_of(said), statuses) == (401, [("authorization", "serve.unauthorized")], [401, 200])


def test_the_document_describes_the_key(locked) -> None:
    """As a bearer token, with the 401 response."""
    document = json.loads(locked.ask("GET", "/openapi.json", authorization=f"Bearer {KEY}")[2])
    infer = document["paths"]["/infer"]["post"]

    assert (
        document["components"]["securitySchemes"]["key"]["scheme"],
        infer["security"],
        "401" in infer["responses"],
    ) == (
        "bearer",
        [{"key": []}],
        True,
    )


def test_requests_with_the_key_are_answered(locked) -> None:
    """The key is a bearer token."""
    assert locked.infer({"x": GOOD}, authorization=f"Bearer {KEY}")[0] == 200


# Backends that fail


def test_without_a_backend_requests_get_503(tmp_path) -> None:
    """With the reason, which /healthz has too."""
    loaded = bundle_loader.read_export(write_bundle(tmp_path, bundle(compiled=True)))
    with serving(served(loaded, "hailo")) as client:
        while b"being opened" in (health := client.ask("GET", "/healthz"))[2]:
            time.sleep(0.01)
        status, said = client.infer({"x": GOOD})

    assert (health[0], json.loads(health[2])["ok"], status, said["error"]) == (503, False, 503, "no backend")
    (problem,) = said["problems"]
    assert (problem["rule"], "hailo_platform" in problem["message"]) == ("serve.backend-unavailable", True)


def test_a_device_that_fails_is_opened_again(tmp_path, monkeypatch) -> None:
    """503 while it is not available, then 200; it is released in between and at the end."""
    module = hailort_stub.install(monkeypatch, hang=18)
    loaded = bundle_loader.read_export(write_bundle(tmp_path, bundle(compiled=True)))
    with serving(served(loaded, "hailo", bounds=Bounds(retry_s=0.01))) as client:
        statuses = []
        while statuses.count(200) < 2:
            statuses.append(client.infer({"x": GOOD})[0])
        held = module.held

    assert (set(statuses), held, module.held) == ({200, 503}, 1, 0)


def test_a_backend_is_opened_until_it_succeeds(released) -> None:
    """After any number of failures; the last reason is available."""
    failures = iter([BackendError("no device yet"), BackendError("busy")])
    reasons: list[str] = []

    def open_pipeline() -> Pipeline:
        reasons.append(worker.why_not)
        if failure := next(failures, None):
            raise failure
        return Pipeline(released, open_backend(released, "onnxruntime"))

    async def opened() -> None:
        opening = asyncio.create_task(worker.keep_open())
        while worker.why_not:
            await asyncio.sleep(0.001)
        opening.cancel()

    worker = Worker(open_pipeline, None, Bounds(retry_s=0.0))
    asyncio.run(opened())
    worker.close()

    assert reasons == ["the backend is being opened", "no device yet", "busy"]


def test_a_failed_backend_is_closed_once(released) -> None:
    """Even if several queued windows fail."""
    pipeline = slow(released, 0.0)
    closed: list[int] = []
    pipeline.backend.close = lambda: closed.append(1)
    worker = Worker(lambda: pipeline, pipeline, Bounds())
    refusals = [worker._lose(pipeline, BackendError("gone")) for _ in range(2)]
    worker._thread.shutdown()

    assert (closed, {refusal.status for refusal in refusals}) == ([1], {503})


class Slow:
    """A slow backend."""

    name = "onnxruntime"

    def __init__(self, loaded: bundle_loader.Package) -> None:
        self.inner, self.seconds = open_backend(loaded, "onnxruntime"), 0.0

    def project(self, fed):
        """Return the projection after a delay."""
        time.sleep(self.seconds)
        return self.inner.project(fed)

    def close(self) -> None:
        """Do nothing."""


def slow(released, seconds: float) -> Pipeline:
    """A pipeline on a slow backend."""
    backend = Slow(released)
    pipeline = Pipeline(released, backend)
    backend.seconds = seconds
    return pipeline


def at_once(client: Client, count: int) -> list[int]:
    """The statuses of several requests at the same time."""
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(client.infer({"x": GOOD})[0])) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(statuses)


def test_the_queue_is_bounded(released) -> None:
    """Requests beyond the limit get 503 immediately."""
    with serving(served(released, first=slow(released, 0.3), bounds=Bounds(queue=2))) as client:
        assert at_once(client, 5) == [200, 200, 503, 503, 503]


def test_a_window_that_takes_too_long_gets_503(released) -> None:
    """Its place in the queue is free when the device is done."""
    with serving(served(released, first=slow(released, 0.3), bounds=Bounds(answer_s=0.05))) as client:
        status, said = client.infer({"x": GOOD})

    assert (status, said["error"], rules_of(said)) == (503, "too slow", [("backend", "serve.answer-timeout")])


def test_running_requests_are_finished_at_the_end(released) -> None:
    """After the signal to stop."""
    statuses: list[int] = []
    with serving(served(released, first=slow(released, 0.3))) as client:
        thread = threading.Thread(target=lambda: statuses.append(client.infer({"x": GOOD})[0]))
        thread.start()
        time.sleep(0.1)
    thread.join()

    assert statuses == [200]


def test_an_answer_does_not_wait_for_an_acknowledgement(client) -> None:
    """Nagle's algorithm would delay the body by 40 ms on a connection that stays open."""
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=20)
    taken = []
    for _ in range(10):
        start = time.perf_counter()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        taken.append(time.perf_counter() - start)
    connection.close()

    assert min(taken) < 0.03


# Several devices


def test_several_devices_have_an_axis() -> None:
    """(D, T, C) in the request, (C, D, T) for the model; one device has no axis."""
    spec = example().spec
    two = spec.model_copy(update={"input": spec.input.model_copy(update={"devices": ("watch", "phone")})})
    x = np.random.default_rng(0).normal(size=(2, 100, 6)).astype(np.float32)
    asked = Contract(two).read(json.dumps({"x": x.tolist()}).encode())

    np.testing.assert_array_equal(asked.window, x.transpose(2, 0, 1))


def test_a_folded_window_is_sent_in_time_order() -> None:
    """The earlier half is the first row."""
    spec = example().spec
    folded = spec.model_copy(update={"input": spec.input.model_copy(update={"fold": 2})})
    x = np.random.default_rng(0).normal(size=(100, 6)).astype(np.float32)
    asked = Contract(folded).read(json.dumps({"x": x.tolist()}).encode())

    np.testing.assert_array_equal(asked.window, np.stack([x[:50].T, x[50:].T], axis=1))


def test_a_set_and_a_state_are_named() -> None:
    """With a calibrated model and with a session."""
    answer = Pipeline.load(VERSION).infer(example().test.x[0])._replace(members=(1, 4), abstains=True)
    said = json.loads(Contract(example().spec).answer(answer, 2))

    assert (said["set"], said["abstain"], said["state"]) == (["ABD", "ER"], True, "FEL")
