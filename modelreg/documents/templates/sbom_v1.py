"""bom.cdx.json, template version 1. Versions were released with it: never edit it, write the next one.

A version as a CycloneDX 1.6 bill of materials (https://cyclonedx.org/docs/1.6/json/), with a model card for machines:
what the model is, its files, the data it learnt from, the packages that trained it. Its serial number is that of its
own content. Every phrase is in this module, and it imports records alone.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from modelreg.documents.templates.facts import Facts
from modelreg.records.metrics import EvalMetrics, Interval

Json = dict[str, Any]

MODEL = "model"  # its reference inside the document
CHECKPOINT, CARD, PROVENANCE = "checkpoint.safetensors", "model_card.md", "provenance.json"
DOCUMENTS = {
    CARD,
    "model_config.json",
    "normalization.json",
    "eval_metrics.json",
    "data.json",
    "run.json",
    PROVENANCE,
}  # of which no file is listed


def render(facts: Facts, created: str, tool: str, digests: Mapping[str, str]) -> bytes:
    """Return the document of a version that modelreg `tool` made at `created`.

    `digests` are those of every other file that its manifest lists.
    """
    found = [*_files(digests), *_sources(facts), *_packages(facts)]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": created,
            "tools": {"components": [{"type": "application", "name": "modelreg", "version": tool}]},
            "component": _model(facts, digests),
        },
        "components": found,
        "dependencies": [{"ref": MODEL, "dependsOn": [component["bom-ref"] for component in found]}],
    }
    number = uuid5(NAMESPACE_URL, f"urn:modelreg:bom:{hashlib.sha256(_canonical(document)).hexdigest()}")
    return _canonical({**document, "serialNumber": number.urn})


def _model(facts: Facts, digests: Mapping[str, str]) -> Json:
    return {
        "type": "machine-learning-model",
        "bom-ref": MODEL,
        "name": facts.model,
        "version": facts.version,
        **_licensed(facts.license),
        "hashes": _hashes(digests[CHECKPOINT]),
        "externalReferences": [
            _reference("model-card", CARD, digests),
            _reference("attestation", PROVENANCE, digests),
        ],
        "modelCard": {
            "modelParameters": _parameters(facts),
            "quantitativeAnalysis": {"performanceMetrics": list(_measured(facts.metrics))},
            "considerations": {"useCases": [_use(facts)], "technicalLimitations": list(_limits(facts))},
        },
        "properties": list(_properties(facts)),
    }


def _parameters(facts: Facts) -> Json:
    spec = facts.spec
    names = ", ".join(channel.name for channel in spec.input.channels)
    return {
        "approach": {"type": "supervised"},
        "task": "time-series-classification",
        "architectureFamily": "convolutional neural network with finite scalar quantization",
        "modelArchitecture": spec.settings.name,
        "datasets": [{"ref": _source_ref(number)} for number, _ in enumerate(facts.data.sources)],
        "inputs": [{"format": f"float32 {spec.input.shape}: channels ({names}), device rows, timesteps"}],
        "outputs": [{"format": f"float32 ({len(spec.classes)},): logits of {', '.join(spec.classes)}"}],
    }


def _measured(metrics: EvalMetrics) -> Iterator[Json]:
    """Yield the metrics that the card leads with, then one of each class and of each subject."""
    part = metrics.protocol.part
    for name, value in _headline(metrics):
        yield {"type": name, "value": str(value), "slice": part, **_bounds(metrics, name)}
    for name, row in metrics.per_class.items():
        yield {"type": "f1", "value": str(row.f1), "slice": f"{part}, class {name}"}
    for name, subject in metrics.per_subject.items():
        yield {"type": "accuracy", "value": str(subject.accuracy), "slice": f"{part}, subject {name}"}


def _bounds(metrics: EvalMetrics, name: str) -> Json:
    found = metrics.interval(name)
    if not isinstance(found, Interval):
        return {}
    return {"confidenceInterval": {"lowerBound": str(found.low), "upperBound": str(found.high)}}


def _use(facts: Facts) -> str:
    worn, window = facts.spec.input.devices, facts.spec.input
    return f"Recognize behaviour in windows of {window.timesteps} samples at {window.rate_hz:g} Hz of {', '.join(worn)}"


def _limits(facts: Facts) -> Iterator[str]:
    protocol = facts.metrics.protocol
    yield "Every window gets one of the classes: there is none for anything else."
    yield f"Trained on {len(protocol.parts.train.subjects)} subjects, tested on {len(protocol.tested.subjects)}."
    if protocol.known_subjects:
        yield "Tested on subjects that it was trained on: the metrics say nothing about new ones."


def _properties(facts: Facts) -> Iterator[Json]:
    """Yield what the format has no place for, under names of ours."""
    yield _property("parameters", facts.spec.parameters)
    yield _property("seed", facts.run.seed)
    yield _property("split", facts.data.split)
    for name, part in facts.data.parts.items():
        yield _property(f"{name}:subjects", ", ".join(part.subjects))
        yield _property(f"{name}:windows", part.windows)
        yield _property(f"{name}:sha256", part.digest)


def _files(digests: Mapping[str, str]) -> Iterator[Json]:
    """Yield the weights, predictions, graphs and bundles: what is more than a document."""
    for path in sorted(digests.keys() - set(DOCUMENTS)):
        yield {"type": "file", "bom-ref": f"file:{path}", "name": path, "hashes": _hashes(digests[path])}


def _sources(facts: Facts) -> Iterator[Json]:
    for number, source in enumerate(facts.data.sources):
        yield {
            "type": "data",
            "bom-ref": _source_ref(number),
            "name": source.name,
            **({"description": source.citation} if source.citation else {}),
            **_licensed(source.license),
            "data": [{"type": "dataset", "name": source.name}],
            "properties": [_property("kind", source.kind), _property("arrays:sha256", source.digest)],
        }


def _packages(facts: Facts) -> Iterator[Json]:
    """Yield what trained the model."""
    environment = facts.run.environment
    yield {"type": "platform", "bom-ref": "python", "name": "python", "version": environment.python}
    for name, version in sorted({**environment.packages, "modelreg": environment.modelreg}.items()):
        purl = f"pkg:pypi/{quote(name.lower().replace('_', '-'))}@{quote(version)}"
        yield {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _source_ref(number: int) -> str:
    return f"source:{number}"


def _licensed(name: str | None) -> Json:
    return {"licenses": [{"license": {"name": name}}]} if name else {}


def _reference(kind: str, path: str, digests: Mapping[str, str]) -> Json:
    return {"type": kind, "url": path, "hashes": _hashes(digests[path])}


def _hashes(digest: str) -> list[Json]:
    return [{"alg": "SHA-256", "content": digest}]


def _property(name: str, value: object) -> Json:
    return {"name": f"modelreg:{name}", "value": str(value)}


def _headline(metrics: EvalMetrics) -> Iterator[tuple[str, float]]:
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "log_loss", "brier"):
        yield name, float(getattr(metrics, name))
    yield "ece", metrics.calibration.ece


def _canonical(document: Json) -> bytes:
    """Render the document: sorted keys, two spaces, UTF-8, a newline at the end."""
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()
