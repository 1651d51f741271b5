"""What templates render: the records of a version. Attributes may be added, but never renamed or removed."""

from typing import Protocol

from modelreg.records.data import DataRecord
from modelreg.records.gates import GateReport
from modelreg.records.int8 import Int8Estimate
from modelreg.records.metrics import EvalMetrics
from modelreg.records.model import ModelSpec
from modelreg.records.run import RunRecord


class Facts(Protocol):
    """The records of a version, its names, and the licence of its weights."""

    @property
    def model(self) -> str:
        """The model's name: `conv2d_fsq`."""

    @property
    def version(self) -> str:
        """The version without its v: `0.2.0`."""

    @property
    def license(self) -> str | None:
        """The licence's name; None where none was stated."""

    @property
    def metrics(self) -> EvalMetrics:
        """eval_metrics.json."""

    @property
    def spec(self) -> ModelSpec:
        """model_config.json."""

    @property
    def data(self) -> DataRecord:
        """data.json."""

    @property
    def run(self) -> RunRecord:
        """run.json."""

    @property
    def gates(self) -> GateReport | None:
        """gates.json; None: the release had no gates."""

    @property
    def estimate(self) -> Int8Estimate | None:
        """The first int8.json of its bundles; None: there is none."""

    @property
    def graphs(self) -> bool:
        """Whether the version has ONNX graphs. Since template version 2."""
