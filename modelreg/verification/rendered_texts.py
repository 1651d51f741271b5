"""The model card, the gates and the software bill of materials (SBOM) of a version, rendered again (check 15)."""

from collections.abc import Iterator

from modelreg import files
from modelreg.documents import model_card, sbom
from modelreg.documents.template_versions import Templates
from modelreg.errors import Problem
from modelreg.evaluation import gates as gate_rules
from modelreg.records.gates import GateReport
from modelreg.records.manifest import Manifest
from modelreg.records.metrics import EvalMetrics
from modelreg.registry import filenames
from modelreg.registry.version_documents import VersionDocuments
from modelreg.verification.version_files import VersionFiles

GATES_READ = tuple(place for places in gate_rules.OTHERS.values() for place in places)


def find_card_problems(here: VersionFiles, templates: Templates, documents: VersionDocuments) -> Iterator[Problem]:
    """Render the model card again and compare."""
    text = model_card.read_card(here.folder)
    found = model_card.find_differences(text, documents, templates)
    yield from (problem.under(filenames.CARD) for problem in found)


def find_gate_problems(
    here: VersionFiles,
    templates: Templates,
    gates: GateReport | None,
    metrics: EvalMetrics,  # noqa: ARG001 a check names what it needs; the gates read the metrics by path
) -> Iterator[Problem]:
    """Evaluate the gates again, except those that read a document that cannot be used."""
    if gates is None:
        return
    unusable = {name for name, places in gate_rules.OTHERS.items() if here.unusable(places)}
    outcomes = tuple(each for each in gates.outcomes if not each.reads & unusable)
    documents = gate_rules.read_documents(here.folder, here.present)
    judged = gates.model_copy(update={"outcomes": outcomes})
    yield from gate_rules.find_gate_problems(judged, documents, filenames.GATES, templates.gate)


def find_sbom_problems(
    here: VersionFiles, manifest: Manifest, templates: Templates, documents: VersionDocuments
) -> Iterator[Problem]:
    """Render the SBOM again and compare. Versions of modelreg 0.2 and earlier do not have one."""
    if filenames.SBOM not in here.present:
        return
    data = files.read_bytes(here.folder / filenames.SBOM)
    found = sbom.find_differences(data, documents, manifest, here.digests, templates)
    yield from (problem.under(filenames.SBOM) for problem in found)
