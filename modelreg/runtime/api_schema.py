"""The HTTP API: parse requests, render responses, and describe both in an OpenAPI document.

A window is sent in raw units in time order: (T, C) for a model of one device, (D, T, C) for several devices. Every
response has `latent` (the encoder's output) and `motif_scores` (the probabilities in class order), which the EdgeInfer
service reads. A TCN-VAE returns only these. A classifier also returns the label and, where the model has them, the code
and the prediction set with whether the model abstains; it supports sessions.
"""

from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np

from modelreg.errors import Problem
from modelreg.records.model import InputSpec, ModelSpec, TcnVaeSettings
from modelreg.rules import catalogue
from modelreg.runtime.backends import Floats
from modelreg.runtime.postprocess import Answer

SESSION_LENGTH = 128  # characters
BYTES_PER_NUMBER, BYTES_EXTRA = 40, 4096  # body limit: enough for indented JSON with 17 digits a number
JSON = "application/json"
LARGEST = float(np.finfo(np.float32).max)
SCORE = {"type": "number", "minimum": 0, "maximum": 1}


class Refusal(NamedTuple):
    """An error response."""

    status: int
    reason: str  # from a small fixed set: it is a label of the metrics
    problems: tuple[Problem, ...]

    def body(self) -> bytes:
        """Return the JSON body of the response."""
        return msgspec.json.encode({"error": self.reason, "problems": [_described(each) for each in self.problems]})


class Ask(NamedTuple):
    """A well-formed request."""

    window: Floats  # (C, D, T), raw; D and T are folded if the model folds them
    session: str | None


class Contract:
    """The HTTP API of one model."""

    def __init__(self, spec: ModelSpec, *, sets: bool = False) -> None:
        """Set `sets` if the model is calibrated and returns prediction sets."""
        self._spec, self._sets = spec, sets
        self._classifies = not isinstance(spec.settings, TcnVaeSettings)
        self._request = _request_type(spec.input, sessions=self._classifies)
        self._decoder = msgspec.json.Decoder(self._request)
        self.body_limit = BYTES_EXTRA + BYTES_PER_NUMBER * int(np.prod(spec.input.shape))

    def read(self, body: bytes) -> Ask | Refusal:
        """Return the request in a body."""
        try:
            request: Any = self._decoder.decode(body)
        except msgspec.ValidationError as error:
            return Refusal(422, "invalid", (_invalid(str(error)),))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return Refusal(400, "not JSON", (Problem("body", "serve.body-not-json", str(error)),))
        samples = np.array(request.x, dtype=np.float32)  # (T, C) or (D, T, C)
        rows = samples.reshape(-1, *samples.shape[-2:]).transpose(2, 0, 1)  # (C, D, T)
        session = request.session if self._classifies else None
        return Ask(np.ascontiguousarray(rows).reshape(self._spec.input.shape), session)

    def answer(self, answer: Answer, state: int | None) -> bytes:
        """Return the JSON body for an answer; `state` is the class after smoothing, None without a session."""
        probabilities = answer.probabilities.tolist()
        body: dict[str, Any] = {"latent": answer.projection.tolist(), "motif_scores": probabilities}
        if self._classifies:
            body |= self._classified(answer, probabilities, state)
        return msgspec.json.encode(body)

    def _classified(self, answer: Answer, probabilities: list[float], state: int | None) -> dict[str, Any]:
        """Return the fields that only classifiers have."""
        classes = self._spec.classes
        fields: dict[str, Any] = {
            "label": classes[answer.label],
            "probabilities": dict(zip(classes, probabilities, strict=True)),
        }
        if answer.code_index is not None:
            fields["codes"] = [answer.code_index]
        if answer.members is not None:
            fields |= {"set": [classes[member] for member in answer.members], "abstain": bool(answer.abstains)}
        if state is not None:
            fields["state"] = classes[state]
        return fields

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
                "/metrics": {"get": {**_plain("Metrics in Prometheus format", "text/plain", refused), **secured}},
                "/openapi.json": {"get": {**_plain("This document", JSON, refused), **secured}},
                "/docs": {"get": {**_plain("This document as an HTML page", "text/html", refused), **secured}},
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
        schema["properties"]["x"]["description"] = f"A window in raw units, one row for each sample: {channels}"
        return {
            "operationId": "infer",
            "summary": "Run the model on one window in raw units",
            "requestBody": {"required": True, "content": {JSON: {"schema": schema}}},
            "responses": {
                "200": {"description": "The result", "content": {JSON: {"schema": self._answer_schema()}}},
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
        sets = {
            "set": {"type": "array", "items": name, "description": "The prediction set; it may be empty"},
            "abstain": {"type": "boolean", "description": "Whether the set does not allow to name one class"},
        }
        return {
            "label": {**name, "description": "The most probable class"},
            "probabilities": {"type": "object", "properties": dict.fromkeys(classes, SCORE), "required": classes},
            **({} if self._spec.levels is None else {"codes": code}),
            **(sets if self._sets else {}),
            "state": {**name, "description": "The class after smoothing, with `session`"},
        }


def _request_type(spec: InputSpec, *, sessions: bool) -> type[msgspec.Struct]:
    """Return the type of a request; msgspec checks the shape while it decodes."""
    shape: Any = Annotated[float, msgspec.Meta(ge=-LARGEST, le=LARGEST)]
    sizes = (len(spec.channels), spec.timesteps, *((len(spec.devices),) if len(spec.devices) > 1 else ()))
    for size in sizes:
        shape = Annotated[list[shape], msgspec.Meta(min_length=size, max_length=size)]
    session = Annotated[str, msgspec.Meta(min_length=1, max_length=SESSION_LENGTH)]
    fields: list[Any] = [("x", shape)]
    if sessions:
        fields.append(("session", session | None, None))
    return msgspec.defstruct("Request", fields, forbid_unknown_fields=True)


def _invalid(text: str) -> Problem:
    """Return msgspec's text, `message - at $.place`, as a problem."""
    message, _, place = text.partition(" - at ")
    return Problem(place.strip("`").removeprefix("$.") or "body", "serve.request-invalid", message)


def _described(problem: Problem) -> dict[str, str]:
    return {**problem._asdict(), "next": problem.next or catalogue.find(problem.rule).next}


# Parts of the OpenAPI document

_REFUSAL = {
    "type": "object",
    "required": ["error", "problems"],
    "additionalProperties": False,
    "properties": {
        "error": {"type": "string", "description": "The kind of error; a label of the metrics"},
        "problems": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["where", "rule", "message", "next"],
                "additionalProperties": False,
                "properties": {
                    "where": {"type": "string", "description": "The field or header"},
                    "rule": {"type": "string", "description": "The stable id of the broken rule"},
                    "message": {"type": "string", "description": "What is wrong"},
                    "next": {"type": "string", "description": "What to do about it"},
                },
            },
        },
    },
}
_MEANING = {
    "400": "The body is not JSON",
    "401": "The API key is missing or wrong",
    "408": "The body did not arrive in time",
    "413": "The body is larger than a window of this model can be",
    "415": "The content type is not application/json",
    "422": "The window does not fit the model: fields, shape or limits",
    "503": "The backend is not available, or too many requests are waiting",
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
            "sha256": {**text, "description": "The digest of the file that the backend runs: the HEF or encoder.onnx"},
            "why": {**text, "description": "Why the server is not ready"},
        },
    }
    content = {JSON: {"schema": schema}}
    return {
        "summary": "Whether the server is ready",
        "responses": {
            "200": {"description": "Ready", "content": content},
            "503": {"description": "Not ready; `why` has the reason", "content": content},
        },
    }
