"""The bill of materials (SBOM), bom.cdx.json: its bytes, and where one differs from the records of its version.

The format is CycloneDX 1.6 with a machine-readable model card. What is written stands in `templates/sbom_v1.py`.
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
    """Return the SBOM of a new version, made at `created` by the version `tool` of modelreg.

    `digests` are those of every other file that the manifest will list, by path.
    """
    return template_versions.current().sbom(documents, created, tool, digests)


def find_differences(
    data: bytes, documents: VersionDocuments, manifest: Manifest, digests: Mapping[str, str], templates: Templates
) -> Iterator[Problem]:
    """Yield every value of an SBOM that the records do not render to. Raises InputError where it is no JSON.

    `digests` are those of every file that the manifest lists, by path.
    """
    others = {path: digest for path, digest in digests.items() if path != filenames.SBOM}
    expected = templates.sbom(documents, manifest.created, manifest.tool.version, others)
    stated, wanted = (files.parse_json(text, filenames.SBOM) for text in (data, expected))
    for place, theirs, ours in paired_leaves(stated, wanted):
        if theirs != ours:
            yield Problem(
                place, "todo.sbom", f"says {str(theirs)[:SHOWN]!r}, but the records say {str(ours)[:SHOWN]!r}"
            )
    if stated == wanted and data != expected:
        yield Problem("format", "todo.sbom", "the values are right, but the file is not canonical JSON")
