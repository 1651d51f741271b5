"""latency.json: the latency of a window, measured on one machine."""

from typing import Annotated, Literal

from pydantic import Field

from modelreg.records.base import Count, ModelName, Name, Record, Sha256, Timestamp, VersionText

Positive = Annotated[float, Field(gt=0)]


class Hardware(Record):
    """The machine of the measurement; latencies are valid for this machine only."""

    board: Name | None  # from the device tree; null: no device tree
    processor: Name | None
    machine: Name  # x86_64, aarch64
    cores: Annotated[int, Field(ge=1)]
    system: Name


class LatencySpread(Record):
    """Quantiles of the latency of single windows."""

    p50_ms: Positive
    p95_ms: Positive
    p99_ms: Positive
    max_ms: Positive


class LatencyRecord(LatencySpread):
    """latency.json: the latency of single windows, from raw samples to the prediction.

    The quantiles include checks, normalization, device part and host part.
    """

    schema_version: Literal[1] = 1
    model: ModelName
    version: VersionText | None  # null: of an unreleased run
    backend: Literal["onnxruntime", "hailo"]
    sha256: Sha256  # of the file that the backend ran: the HEF, or encoder.onnx
    threads: Annotated[int, Field(ge=1)]
    windows: Annotated[int, Field(ge=100)]
    warm_up: Count  # windows before the measurement
    measured: Timestamp
    device_part: LatencySpread  # the backend only
    windows_per_s: Positive
    hardware: Hardware
    packages: dict[Name, Name]
