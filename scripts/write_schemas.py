"""Write schemas/ from the records: one JSON Schema for each document that enters or leaves."""

from pathlib import Path

from modelreg import config, files, gates, provenance
from modelreg.records import aliases, base, calibration, data, export, metrics, model, run, version

DOCUMENTS: tuple[type[base.Record], ...] = (
    aliases.AliasLog,
    config.ProjectConfig,
    config.TrainConfig,
    calibration.ConfidenceRecord,
    data.DataRecord,
    data.Normalization,
    data.NpyMetadata,
    data.QualityReport,
    export.BundleRecord,
    export.ParityRecord,
    gates.GateReport,
    metrics.EvalMetrics,
    model.ModelSpec,
    run.Epoch,
    run.RunRecord,
    version.Manifest,
    provenance.Provenance,
)


def main(folder: Path) -> None:
    """Write the schema of every document into `folder`."""
    for record in DOCUMENTS:
        files.write_atomic(folder / f"{record.__name__}.schema.json", files.to_json(base.json_schema(record)))


if __name__ == "__main__":
    main(Path(__file__).parents[1] / "schemas")
