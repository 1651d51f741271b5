"""The documents of one version as records, from which its texts are rendered."""

from dataclasses import dataclass

from modelreg.records.data import DataRecord
from modelreg.records.gates import GateReport
from modelreg.records.int8 import Int8Estimate
from modelreg.records.metrics import EvalMetrics
from modelreg.records.model import ModelSpec
from modelreg.records.run import RunRecord


@dataclass(frozen=True, kw_only=True)
class VersionDocuments:
    """The records of one version, its model and version, and the license that its model card states."""

    model: str  # conv2d_fsq
    version: str  # 0.2.0
    license: str | None  # Hugging Face's identifier; None: not stated
    spec: ModelSpec  # model_config.json
    metrics: EvalMetrics  # eval_metrics.json
    data: DataRecord
    run: RunRecord
    graphs: bool = False  # the version has ONNX graphs
    gates: GateReport | None = None  # None: released without gates
    estimate: Int8Estimate | None = None  # 8-bit estimate of the first bundle that has one
