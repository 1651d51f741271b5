"""Write schemas/ from the records: one JSON Schema for each document that enters or leaves."""

from pathlib import Path

from modelreg import config, files
from modelreg.records import (
    ablation,
    aliases,
    audit,
    base,
    calibration,
    calibration_v1,
    comparison,
    crossval,
    data,
    draft,
    export,
    gates,
    hef,
    hsmm,
    int8,
    latency,
    manifest,
    metrics,
    model,
    provenance,
    pseudonyms,
    run,
)

DOCUMENTS: tuple[type[base.Record], ...] = (
    ablation.AblationRecord,
    aliases.AliasLog,
    audit.AuditRecord,
    audit.RandomSplit,
    calibration.ConfidenceRecord,
    calibration_v1.ConfidenceRecordV1,
    comparison.Comparison,
    config.ProjectConfig,
    config.TrainConfig,
    crossval.CrossValidation,
    data.DataRecord,
    data.Normalization,
    data.NpyMetadata,
    data.QualityReport,
    draft.DataDraft,
    export.BundleRecord,
    export.ParityRecord,
    gates.GateReport,
    hef.HefInfo,
    hsmm.HsmmSpec,
    int8.Int8Estimate,
    latency.LatencyRecord,
    metrics.EvalMetrics,
    model.ModelSpec,
    provenance.Provenance,
    pseudonyms.PseudonymMap,
    run.Epoch,
    run.RunRecord,
    manifest.Manifest,
)


def main(folder: Path) -> None:
    """Write the schema of every document into `folder`."""
    for record in DOCUMENTS:
        files.write_atomic(folder / f"{record.__name__}.schema.json", files.to_json(base.json_schema(record)))


if __name__ == "__main__":
    main(Path(__file__).parents[1] / "schemas")
