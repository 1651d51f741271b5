"""The documents of one version as records: what its texts are rendered from."""

from dataclasses import dataclass

from modelreg.records.data import DataRecord
from modelreg.records.gates import GateReport
from modelreg.records.int8 import Int8Estimate
from modelreg.records.metrics import EvalMetrics
from modelreg.records.model import ModelSpec
from modelreg.records.run import RunRecord


@dataclass(frozen=True, kw_only=True)
class VersionDocuments:
    """The records of one version, its names, and the licence that its card states."""

    model: str  # conv2d_fsq
    version: str  # 0.2.0
    license: str | None  # as Hugging Face names it; None: none was stated
    spec: ModelSpec  # model_config.json
    metrics: EvalMetrics  # eval_metrics.json
    data: DataRecord
    run: RunRecord
    graphs: bool = False  # whether it has ONNX graphs
    gates: GateReport | None = None  # None: the release had none
    estimate: Int8Estimate | None = None  # of the first bundle that has one
