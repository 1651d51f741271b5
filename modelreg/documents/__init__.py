"""Text rendered from records: model card, SBOM, provenance, changelog, table of releases, reports."""
