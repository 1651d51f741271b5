"""Render the software bill of materials (SBOM), bom.cdx.json, and find where one differs from its version's records.

The format is CycloneDX 1.6 with a machine-readable model card. The templates are `templates/sbom_v1.py` and its
successors.
"""

from collections.abc import Iterator, Mapping

from modelreg import files
from modelreg.documents import template_versions
from modelreg.documents.template_versions import Templates
from modelreg.errors import Problem
from modelreg.records.base import paired_leaves
from modelreg.records.manifest import Manifest
from modelreg.registry import filenames
from modelreg.registry.version_documents import VersionDocuments

SHOWN = 200  # characters of a value in a message


def render(documents: VersionDocuments, created: str, tool: str, digests: Mapping[str, str]) -> bytes:
    """Return the SBOM of a new version, created at `created` by version `tool` of modelreg.

    `digests` has the digest of every other file that the manifest will list, by path.
    """
    return template_versions.current().sbom(documents, created, tool, digests)


def find_differences(
    data: bytes, documents: VersionDocuments, manifest: Manifest, digests: Mapping[str, str], templates: Templates
) -> Iterator[Problem]:
    """Yield every value of an SBOM that differs from the one rendered from the records.

    `digests` has the digest of every file that the manifest lists, by path. Raises InputError if `data` is not JSON.
    """
    others = {path: digest for path, digest in digests.items() if path != filenames.SBOM}
    rendered = templates.sbom(documents, manifest.created, manifest.tool.version, others)
    stated, expected = (files.parse_json(text, filenames.SBOM) for text in (data, rendered))
    for place, theirs, ours in paired_leaves(stated, expected):
        if theirs != ours:
            what = f"the SBOM has {str(theirs)[:SHOWN]!r}, rendered from the records {str(ours)[:SHOWN]!r}"
            yield Problem(place, "sbom.value-mismatch", what)
    if stated == expected and data != rendered:
        yield Problem("format", "sbom.not-canonical", "the values are correct, but the file is not canonical JSON")
