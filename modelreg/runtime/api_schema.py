"""The HTTP contract: what a request may say, what an answer says, and the OpenAPI document that states both.

A window comes in raw units, as its samples lie in time: (T, C) for a model of one device, (D, T, C) for several. Every
answer has `latent`, the encoder's output, and `motif_scores`, the probabilities in the order of the classes: that is
what the EdgeInfer service reads, and all that a TCN-VAE says. A classifier says the label, the code and the prediction
set too, each only where it has one, and takes part in sessions.
"""

from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np

from modelreg.errors import Problem
from modelreg.records.model import InputSpec, ModelSpec, TcnVaeSettings
from modelreg.runtime.backends import Floats
from modelreg.runtime.postprocess import Answer

SESSION_LENGTH = 128  # characters
BYTES_PER_NUMBER, BYTES_BESIDE = 40, 4096  # of a body, generously: indented JSON of 17 digits
JSON = "application/json"
LARGEST = float(np.finfo(np.float32).max)
SCORE = {"type": "number", "minimum": 0, "maximum": 1}


class Refusal(NamedTuple):
    """Why a request is not answered."""

    status: int
    reason: str  # one word or two, of a small set: a label of the metrics
    problems: tuple[Problem, ...]

    def body(self) -> bytes:
        """Render it."""
        problems = [problem._asdict() for problem in self.problems]
        return msgspec.json.encode({"error": self.reason, "problems": problems})


class Ask(NamedTuple):
    """A request that can be answered, as far as its form goes."""

    window: Floats  # (C, D, T), raw; D and T folded where the model's are
    session: str | None


class Contract:
    """The contract of one model."""

    def __init__(self, spec: ModelSpec, *, sets: bool = False) -> None:
        """`sets`: the model is calibrated, and has prediction sets."""
        self._spec, self._sets = spec, sets
        self._classifies = not isinstance(spec.settings, TcnVaeSettings)
        self._request = _request_type(spec.input, sessions=self._classifies)
        self._decoder = msgspec.json.Decoder(self._request)
        self.body_limit = BYTES_BESIDE + BYTES_PER_NUMBER * int(np.prod(spec.input.shape))

    def read(self, body: bytes) -> Ask | Refusal:
        """Return what a body asks."""
        try:
            asked: Any = self._decoder.decode(body)
        except msgspec.ValidationError as error:
            return Refusal(422, "invalid", (_problem(str(error)),))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return Refusal(400, "not JSON", (Problem("body", "todo.api-schema", str(error)),))
        samples = np.array(asked.x, dtype=np.float32)  # (T, C) or (D, T, C)
        rows = samples.reshape(-1, *samples.shape[-2:]).transpose(2, 0, 1)  # (C, D, T)
        session = asked.session if self._classifies else None
        return Ask(np.ascontiguousarray(rows).reshape(self._spec.input.shape), session)

    def answer(self, answer: Answer, state: int | None) -> bytes:
        """Render an answer; `state` is the class after smoothing, where there is a session."""
        probabilities = answer.probabilities.tolist()
        said: dict[str, Any] = {"latent": answer.projection.tolist(), "motif_scores": probabilities}
        if self._classifies:
            said |= self._classified(answer, probabilities, state)
        return msgspec.json.encode(said)

    def _classified(self, answer: Answer, probabilities: list[float], state: int | None) -> dict[str, Any]:
        """Return what a classifier says beside the two fields of every model."""
        classes = self._spec.classes
        said: dict[str, Any] = {
            "label": classes[answer.label],
            "probabilities": dict(zip(classes, probabilities, strict=True)),
        }
        if answer.code_index is not None:
            said["codes"] = [answer.code_index]
        if answer.members is not None:
            said["set"] = [classes[member] for member in answer.members]
        if state is not None:
            said["state"] = classes[state]
        return said

    def openapi(self, version: str, *, with_key: bool) -> dict[str, Any]:
        """Return the OpenAPI 3.1 document."""
        secured: dict[str, Any] = {"security": [{"key": []}]} if with_key else {}
        refused = ("401",) if with_key else ()
        document: dict[str, Any] = {
            "openapi": "3.1.0",
            "info": {"title": f"modelreg: {self._spec.settings.name}", "version": version},
            "paths": {
                "/infer": {"post": {**self._infer(refused), **secured}},
                "/healthz": {"get": _health()},
                "/metrics": {"get": {**_plain("Metrics as Prometheus reads them", "text/plain", refused), **secured}},
                "/openapi.json": {"get": {**_plain("This document", JSON, refused), **secured}},
                "/docs": {"get": {**_plain("This document for people", "text/html", refused), **secured}},
            },
            "components": {"schemas": {"Refusal": _REFUSAL}},
        }
        if with_key:
            document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        return document

    def _infer(self, refused: tuple[str, ...]) -> dict[str, Any]:
        (request,), definitions = msgspec.json.schema_components([self._request])
        schema = {**definitions.popitem()[1], "title": "Request"} if definitions else request
        channels = ", ".join(f"{c.name} ({c.unit})" for c in self._spec.input.channels)
        schema["properties"]["x"]["description"] = f"A window, one row of numbers each sample: {channels}"
        return {
            "operationId": "infer",
            "summary": "Answer one window in raw units",
            "requestBody": {"required": True, "content": {JSON: {"schema": schema}}},
            "responses": {
                "200": {"description": "The answer", "content": {JSON: {"schema": self._answer_schema()}}},
                **_refusals("400", "408", "413", "415", "422", "503", *refused),
            },
        }

    def _answer_schema(self) -> dict[str, Any]:
        classes = list(self._spec.classes)
        properties = {
            "latent": _array({"type": "number"}, self._spec.projection, "The encoder's output"),
            "motif_scores": _array(SCORE, len(classes), f"Probabilities of {', '.join(classes)}"),
            **(self._classifier_schema() if self._classifies else {}),
        }
        return {
            "type": "object",
            "required": [name for name in properties if name != "state"],
            "additionalProperties": False,
            "properties": properties,
        }

    def _classifier_schema(self) -> dict[str, Any]:
        classes = list(self._spec.classes)
        name = {"enum": classes}
        code = _array({"type": "integer", "minimum": 0}, 1, "The index of the window's code")
        members = {"type": "array", "items": name, "description": "The prediction set: the classes it may be"}
        return {
            "label": {**name, "description": "The most probable class"},
            "probabilities": {"type": "object", "properties": dict.fromkeys(classes, SCORE), "required": classes},
            **({} if self._spec.levels is None else {"codes": code}),
            **({"set": members} if self._sets else {}),
            "state": {**name, "description": "The class after smoothing, with `session`"},
        }


def _request_type(spec: InputSpec, *, sessions: bool) -> type[msgspec.Struct]:
    """Return the type of a request: what msgspec decodes is of the right shape."""
    shape: Any = Annotated[float, msgspec.Meta(ge=-LARGEST, le=LARGEST)]
    sizes = (len(spec.channels), spec.timesteps, *((len(spec.devices),) if len(spec.devices) > 1 else ()))
    for size in sizes:
        shape = Annotated[list[shape], msgspec.Meta(min_length=size, max_length=size)]
    session = Annotated[str, msgspec.Meta(min_length=1, max_length=SESSION_LENGTH)]
    fields: list[Any] = [("x", shape)]
    if sessions:
        fields.append(("session", session | None, None))
    return msgspec.defstruct("Request", fields, forbid_unknown_fields=True)


def _problem(text: str) -> Problem:
    """Return msgspec's message, `what - at $.place`, as a problem."""
    what, _, place = text.partition(" - at ")
    return Problem(place.strip("`").removeprefix("$.") or "body", "todo.api-schema", what)


# Parts of the OpenAPI document

_REFUSAL = {
    "type": "object",
    "required": ["error", "problems"],
    "additionalProperties": False,
    "properties": {
        "error": {"type": "string", "description": "The kind of problem, a label of the metrics"},
        "problems": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["where", "rule", "message"],
                "properties": {key: {"type": "string"} for key in ("where", "rule", "message", "next")},
            },
        },
    },
}
_MEANING = {
    "400": "Not JSON",
    "401": "No key, or another one",
    "408": "The body did not come in time",
    "413": "The body is larger than any window",
    "415": "Not application/json",
    "422": "Not a window of this model: shape, limits",
    "503": "No backend, or too many requests at once; it says which",
}


def _array(items: dict[str, Any], size: int, description: str) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": size, "maxItems": size, "description": description}


def _refusals(*statuses: str) -> dict[str, Any]:
    content = {JSON: {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    return {status: {"description": _MEANING[status], "content": content} for status in statuses}


def _plain(summary: str, media: str, refused: tuple[str, ...]) -> dict[str, Any]:
    return {
        "summary": summary,
        "responses": {"200": {"description": "", "content": {media: {}}}, **_refusals(*refused)},
    }


def _health() -> dict[str, Any]:
    text = {"type": "string"}
    schema = {
        "type": "object",
        "required": ["ok", "model", "version", "backend", "uptime_s", "sha256"],
        "properties": {
            "ok": {"type": "boolean"},
            "model": text,
            "version": {"type": ["string", "null"]},
            "backend": text,
            "uptime_s": {"type": "number", "minimum": 0},
            "sha256": {**text, "description": "Of what the backend runs: the HEF, or encoder.onnx"},
            "why": {**text, "description": "Why it is not ready"},
        },
    }
    content = {JSON: {"schema": schema}}
    return {
        "summary": "Whether windows are answered",
        "responses": {
            "200": {"description": "They are", "content": content},
            "503": {"description": "They are not, and why", "content": content},
        },
    }
