"""bom.cdx.json, template version 2. Once a modelreg is released with it, this module never changes.

It is template version 1, except for a cross-fitted version: there the metrics are those of the folds, and the released
weights were not tested.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from modelreg.documents.templates import sbom_v1
from modelreg.documents.templates.facts import Facts
from modelreg.records.metrics import Protocol

TESTED = "Trained on "  # the sentence of version 1 on the tested subjects begins so
SLICE = "out-of-fold"


def render(facts: Facts, created: str, tool: str, digests: Mapping[str, str]) -> bytes:
    """Return the document of a version that modelreg `tool` made at `created`.

    `digests` are those of every other file that its manifest lists.
    """
    rendered = sbom_v1.render(facts, created, tool, digests)
    protocol = facts.metrics.protocol
    if protocol.folds is None:
        return rendered
    document = {key: value for key, value in json.loads(rendered).items() if key != "serialNumber"}
    card = document["metadata"]["component"]["modelCard"]
    for measured in card["quantitativeAnalysis"]["performanceMetrics"]:
        measured["slice"] = SLICE + measured["slice"].removeprefix(protocol.part)
    limits = card["considerations"]["technicalLimitations"]
    card["considerations"]["technicalLimitations"] = list(_limits(protocol, limits))
    number = uuid5(NAMESPACE_URL, f"urn:modelreg:bom:{hashlib.sha256(_canonical(document)).hexdigest()}")
    return _canonical({**document, "serialNumber": number.urn})


def _limits(protocol: Protocol, limits: list[str]) -> Iterator[str]:
    """Yield the limits of version 1, with what the metrics of folds are."""
    for limit in limits:
        if not limit.startswith(TESTED):
            yield limit
            continue
        yield (
            f"Trained on {len(protocol.parts.train.subjects)} subjects, and not tested. The metrics are "
            f"those of {len(protocol.folds or ())} models that never saw the subjects they predict."
        )


def _canonical(document: dict[str, Any]) -> bytes:
    """Render the document: sorted keys, two spaces, UTF-8, a newline at the end."""
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()
