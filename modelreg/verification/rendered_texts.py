"""Whether the card, the gates and the bill of materials of a version are what its templates render (rule 14)."""

from collections.abc import Iterator

from modelreg import files
from modelreg.documents import model_card, sbom
from modelreg.documents.template_versions import Templates
from modelreg.errors import Problem
from modelreg.evaluation import gates as gate_rules
from modelreg.records.gates import GateReport
from modelreg.records.manifest import Manifest
from modelreg.registry import filenames
from modelreg.registry.version_documents import VersionDocuments
from modelreg.verification.version_files import VersionFiles


def find_card_problems(here: VersionFiles, templates: Templates, documents: VersionDocuments) -> Iterator[Problem]:
    """Render the card again."""
    text = model_card.read_card(here.folder)
    for place, what in model_card.find_differences(text, documents, templates):
        yield Problem(f"{filenames.CARD}: {place}", what)


def find_gate_problems(here: VersionFiles, templates: Templates, gates: GateReport | None) -> Iterator[Problem]:
    """Judge the gates again, on the documents that are here."""
    if gates is not None:
        documents = gate_rules.read_documents(here.folder, here.present)
        yield from gate_rules.find_gate_problems(gates, documents, filenames.GATES, templates.gate)


def find_sbom_problems(
    here: VersionFiles, manifest: Manifest, templates: Templates, documents: VersionDocuments
) -> Iterator[Problem]:
    """Render the bill of materials again; versions of modelreg 0.2 and older have none."""
    if filenames.SBOM not in here.present:
        return
    data = files.read_bytes(here.folder / filenames.SBOM)
    for place, what in sbom.find_differences(data, documents, manifest, here.digests, templates):
        yield Problem(f"{filenames.SBOM}: {place}", what)
