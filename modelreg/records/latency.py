"""What a benchmark measured: how long a window takes on one machine."""

from typing import Annotated, Literal

from pydantic import Field

from modelreg.records.base import Count, ModelName, Name, Record, Sha256, Timestamp, VersionText

Positive = Annotated[float, Field(gt=0)]


class Hardware(Record):
    """The machine that was measured; its figures hold for no other."""

    board: Name | None  # as its device tree names it; null: it has none
    processor: Name | None
    machine: Name  # x86_64, aarch64
    cores: Annotated[int, Field(ge=1)]
    system: Name


class Spread(Record):
    """Milliseconds of one window after another."""

    p50_ms: Positive
    p95_ms: Positive
    p99_ms: Positive
    max_ms: Positive


class LatencyRecord(Spread):
    """latency.json: single windows, one after another, from raw samples to the answer.

    The quantiles are of the whole: checks, normalization, device part, host part.
    """

    schema_version: Literal[1] = 1
    model: ModelName
    version: VersionText | None  # null: of a run that was not released
    backend: Literal["onnxruntime", "hailo"]
    sha256: Sha256  # of what the backend ran: the HEF, or encoder.onnx
    threads: Annotated[int, Field(ge=1)]
    windows: Annotated[int, Field(ge=100)]
    warm_up: Count  # windows before them
    measured: Timestamp
    device_part: Spread  # of the whole, the backend alone
    windows_per_s: Positive
    hardware: Hardware
    packages: dict[Name, Name]
