"""Valid records of an imagined evaluation: a fixture of the tests, its numbers are random and never reported."""

import math
from collections.abc import Sequence

import numpy as np

from modelreg import files
from modelreg.evaluation import metrics
from modelreg.records.data import (
    PARTS,
    ChannelQuality,
    ClockQuality,
    DataRecord,
    PartRecord,
    PartRecords,
    QualityReport,
    RecordingQuality,
    SourceRecord,
)
from modelreg.records.metrics import EvalMetrics, EvaluationSettings, Protocol
from modelreg.records.model import Channel, Conv2dFsqSettings, FsqSpec, InputSpec, ModelSpec
from modelreg.records.run import Environment, Epoch, Evaluation, GitState, RunRecord

CLASSES = ("walk", "trot", "lie_down", "a|b *c* <d>")
LEVELS = (8, 6, 5, 5, 4)
SUBJECTS = ("s07", "s08", "s09", "s10", "s11", "s12")
SETTINGS = EvaluationSettings(replicates=200)
CHANNELS = tuple(Channel(name=f"acc_{axis}", unit="g") for axis in "xyz")
AT = "2026-11-21T06:00:00Z"


def example_predictions(
    classes: int = len(CLASSES),
    *,
    subjects: Sequence[str] = SUBJECTS,
    windows: int = 40,
    levels: Sequence[int] | None = LEVELS,
    seed: int = 0,
) -> metrics.Predictions:
    """Draw the predictions of a fair model: `windows` of each subject."""
    rng = np.random.default_rng(seed)
    count = windows * len(subjects)
    y = rng.integers(classes, size=count)
    logits = (rng.normal(size=(count, classes)) + 2 * np.eye(classes)[y]).astype(np.float32)
    return metrics.Predictions(
        logits=logits,
        y=y,
        subject=np.repeat(np.array(subjects), windows),
        recording=np.repeat(np.array([f"{name}-r1" for name in subjects]), windows),
        start=np.tile(np.arange(windows, dtype=np.int64) * 50, len(subjects)),
        code=rng.integers(math.prod(levels), size=count) if levels else None,
    )


def example_metrics(
    classes: tuple[str, ...] = CLASSES,
    *,
    subjects: Sequence[str] = SUBJECTS,
    windows: int = 40,
    levels: tuple[int, ...] | None = LEVELS,
    evaluations: int = 1,
    seed: int = 0,
) -> EvalMetrics:
    """Compute the record of seeded random predictions."""
    recorded = example_predictions(len(classes), subjects=subjects, windows=windows, levels=levels, seed=seed)
    computed = metrics.compute(recorded, classes=classes, levels=levels, settings=SETTINGS)
    data = example_data_record(classes, subjects=subjects)
    return EvalMetrics(
        **dict(computed),
        model="conv2d_fsq",
        classes=classes,
        parameters=45_000,
        settings=SETTINGS,
        protocol=Protocol(
            split="subject",
            parts=data.parts,
            evaluations=evaluations,
        ),
        checkpoint_sha256=files.sha256_bytes(b"checkpoint"),
        predictions_sha256=files.sha256_arrays(recorded.arrays()),
    )


def example_data_record(
    classes: tuple[str, ...] = CLASSES, *, subjects: Sequence[str] = SUBJECTS, windows: int = 40
) -> DataRecord:
    """Return a data set divided by subject, with `subjects` in its test part."""
    people = {"train": ("s01", "s02", "s03"), "validation": ("s04",), "test": tuple(subjects)}
    return DataRecord(
        sources=(SourceRecord(kind="npy", name="field|trip", digest="a" * 64, license="CC0-1.0", citation="None."),),
        classes=classes,
        channels=CHANNELS,
        devices=("collar",),
        rate_hz=50.0,
        window=100,
        hop=50,
        labels="majority",
        fold=1,
        split="subject",
        gap=0,
        parts=PartRecords(**{name: _part(name, people[name], classes, windows) for name in PARTS}),
    )


ENVIRONMENT = Environment(
    modelreg="0.1.0",
    python="3.11.9",
    packages={"numpy": "2.4.6", "torch": "2.13.0"},
    machine="x86_64",
    device="cpu",
    threads=2,
    git=GitState(commit="c" * 40, dirty=True),
)


def example_run_record() -> RunRecord:
    """Return a trained run that looked at its test part once."""
    return RunRecord(
        model=example_model_spec(),
        seed=0,
        status="trained",
        started=AT,
        finished=AT,
        environment=ENVIRONMENT,
        epochs=40,
        best_epoch=28,
        best_validation_loss=0.4321,
        stopped="patience",
        files={},
        evaluations=(Evaluation(at=AT, part="test", predictions_sha256="b" * 64, environment=ENVIRONMENT),),
    )


def example_model_spec(classes: tuple[str, ...] = CLASSES, levels: tuple[int, ...] = LEVELS) -> ModelSpec:
    """Return a network of one three-channel device."""
    half_range = tuple((level - 1) * (1 + 1e-3) / 2 for level in levels)
    offset = tuple(0.0 if level % 2 else 0.5 for level in levels)
    return ModelSpec(
        settings=Conv2dFsqSettings(levels=levels),
        input=InputSpec(channels=CHANNELS, devices=("collar",), timesteps=100, rate_hz=50.0),
        classes=classes,
        quantizer=FsqSpec(
            levels=levels,
            epsilon=1e-3,
            half_range=half_range,
            offset=offset,
            shift=tuple(math.atanh(o / h) for o, h in zip(offset, half_range, strict=True)),
            half_width=tuple(level // 2 for level in levels),
            basis=tuple(math.prod(levels[:i]) for i in range(len(levels))),
        ),
        parameters=45_000,
    )


def example_history(epochs: int = 40, best: int = 28) -> list[Epoch]:
    """Return a training whose validation loss turns at epoch `best`."""
    return [
        Epoch(
            number=number,
            train_loss=1.4 * 0.94**number,
            train_accuracy=1 - 0.7 * 0.95**number,
            validation_loss=0.6 + 0.001 * (number - best) ** 2,
            validation_accuracy=0.75 - 0.0005 * (number - best) ** 2,
            learning_rate=1e-3,
            gradient_norm=0.5,
            perplexity=100.0,
            used_share=0.1,
            best=number <= best,
        )
        for number in range(1, epochs + 1)
    ]


def example_quality_report(recordings: int = 30, broken: int = 25) -> QualityReport:
    """Return the quality of two devices in `recordings`, of which the first `broken` break thresholds."""
    source = SourceRecord(kind="csv", name="field|trip", digest="a" * 64, license="CC0-1.0", citation="None.")
    return QualityReport(
        sources=(source,), recordings=tuple(_recording_quality(i, broken=i < broken) for i in range(recordings))
    )


def _recording_quality(number: int, *, broken: bool) -> RecordingQuality:
    missing = 0.002 * (number + 1) if broken else 0.0
    return RecordingQuality(
        recording=f"s{number % 7 + 1:02}-<r{number}>",
        subject=f"s{number % 7 + 1:02}",
        samples=5000,
        labelled=4800,
        score=round(100 - 900 * missing, 3),
        missing_rate=missing,
        recommendation="interpolate" if broken else "none",
        clocks=tuple(
            ClockQuality(
                device=device,
                rate_hz=49.8 + number / 100,
                nominal_hz=50.0,
                offset_s=offset,
                jitter=0.05,
                gaps=2 * broken,
                longest_gap_s=0.9 if broken else 0.02,
                missing_rate=missing,
            )
            for device, offset in (("collar", 0.0), ("phone", 0.25))
        ),
        channels=tuple(
            ChannelQuality(
                device=device,
                channel=channel.name,
                nan=round(5000 * missing),
                inf=0,
                nan_rate=missing,
                inf_rate=0.0,
                constant=broken and device == "phone",
                saturated_rate=0.001 * number,
                mean=0.1,
                std=1.0 + number,
                min=-4.0 - number,
                max=4.0 + number,
            )
            for device in ("collar", "phone")
            for channel in CHANNELS
        ),
        problems=tuple(f"phone {channel.name}: constant" for channel in CHANNELS) if broken else (),
    )


def _part(name: str, subjects: tuple[str, ...], classes: tuple[str, ...], windows: int) -> PartRecord:
    return PartRecord(
        subjects=subjects,
        recordings=len(subjects),
        windows=windows * len(subjects) // len(classes) * len(classes),
        dropped=0,
        class_windows={label: windows * len(subjects) // len(classes) for label in classes},
        digest=files.sha256_bytes(name.encode()),
    )
