"""A small consistent run folder and registry, made without torch. Its numbers are of random predictions:
a fixture of the tests, never reported."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save as save_tensors

from modelreg import files
from modelreg.artifacts import npz
from modelreg.config import ProjectConfig, TrainConfig
from modelreg.evaluation import metrics
from modelreg.records import fsq
from modelreg.records.data import DataRecord, Limits, Normalization, PartRecord, PartRecords, SourceRecord
from modelreg.records.hsmm import CategoricalEmission, Gaussian, HsmmSpec
from modelreg.records.metrics import EvalMetrics, EvaluationSettings, Protocol
from modelreg.records.model import Channel, Conv2dFsqSettings, InputSpec, ModelSpec
from modelreg.records.run import Environment, Epoch, Evaluation, GitState, RunRecord
from modelreg.registry import runs
from modelreg.registry.filenames import CHECKPOINT, CONFIG, DATA, HISTORY, METRICS, NORMALIZATION, PREDICTIONS, RUN
from modelreg.release import init

NOW = "2026-11-21T10:00:00Z"
CLASSES = ("rest", "walk", "run|fast")
CHANNELS = (Channel(name="ax", unit="g"), Channel(name="ay", unit="g"))
SETTINGS = Conv2dFsqSettings(widths=(4,), kernels=((1, 3),), levels=(3, 2), hidden=5)
SUBJECTS = {"train": ("s1", "s2"), "validation": ("s3",), "test": ("s4", "s5")}


def write_run(folder: Path, *, seed: int = 0, status: str = "trained") -> Path:
    """Write a run as `train` and `evaluate` leave it."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    (folder / CHECKPOINT).write_bytes(save_tensors(tensors(rng)))
    data, config = data_record(), TrainConfig(model=SETTINGS, evaluation=EvaluationSettings(replicates=100))
    (folder / CONFIG).write_bytes(config.to_bytes())
    (folder / DATA).write_bytes(data.to_bytes())
    (folder / NORMALIZATION).write_bytes(normalization().to_bytes())
    (folder / HISTORY).write_bytes(files.to_line(epoch().to_document()))
    recorded = predictions(rng)
    (folder / PREDICTIONS).write_bytes(npz.npz_bytes(recorded.arrays()))
    digest = files.sha256(folder / PREDICTIONS)
    files_ = runs.seal(folder, (CHECKPOINT, CONFIG, DATA, HISTORY, NORMALIZATION))
    run = run_record(digest).model_copy(update={"status": status, "files": files_})
    (folder / RUN).write_bytes(run.to_bytes())
    checkpoint = files.sha256(folder / CHECKPOINT)
    (folder / METRICS).write_bytes(eval_metrics(recorded, checkpoint, digest).to_bytes())
    return folder


def write_registry(root: Path, project: ProjectConfig | None = None) -> Path:
    """Write what `modelreg init` writes, with settings of one's own."""
    for name, text in init.documents().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    with (root / "CHANGELOG.md").open("a") as changelog:
        changelog.write("\n### Added\n\n- First model.\n")
    (root / "modelreg.yaml").write_bytes((project or ProjectConfig()).to_bytes())
    return root


def tensors(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The tensors of SETTINGS, by the names of modelreg.ml.factory."""
    shapes = {
        "device_part.conv1.weight": (4, 2, 1, 3),
        "device_part.conv1.bias": (4,),
        "device_part.bn1.weight": (4,),
        "device_part.bn1.bias": (4,),
        "device_part.bn1.running_mean": (4,),
        "device_part.bn1.running_var": (4,),
        "device_part.bn1.num_batches_tracked": (),
        "device_part.projection.weight": (2, 4),
        "device_part.projection.bias": (2,),
        "host_part.head.0.weight": (5, 2),
        "host_part.head.0.bias": (5,),
        "host_part.head.3.weight": (3, 5),
        "host_part.head.3.bias": (3,),
    }
    kinds = {"device_part.bn1.num_batches_tracked": np.int64}
    drawn = {name: np.asarray(rng.normal(size=shape), kinds.get(name, np.float32)) for name, shape in shapes.items()}
    return {**drawn, "device_part.bn1.running_var": np.abs(drawn["device_part.bn1.running_var"])}


def model_spec() -> ModelSpec:
    """The network of SETTINGS; 28 + 8 + 10 + 15 + 18 = 79 parameters."""
    return ModelSpec(
        settings=SETTINGS,
        input=InputSpec(channels=CHANNELS, devices=("watch",), timesteps=16, rate_hz=50.0),
        classes=CLASSES,
        quantizer=fsq.spec((3, 2)),
        parameters=79,
    )


def hsmm_spec() -> HsmmSpec:
    """How the classes follow each other: two codes, durations around three windows."""
    others = ((0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0))
    return HsmmSpec(
        states=CLASSES,
        initial=(0.5, 0.25, 0.25),
        transition=others,
        durations=Gaussian(mean=(3.0, 3.0, 4.0), sd=(1.0, 1.0, 2.0)),
        emission=CategoricalEmission(table=((0.5, 0.5),) * 3),
    )


def predictions(rng: np.random.Generator, windows: int = 60) -> metrics.Predictions:
    """Random answers for the two test subjects."""
    return metrics.Predictions(
        logits=rng.normal(size=(windows, 3)).astype(np.float32),
        y=np.arange(windows) % 3,
        subject=np.array([f"s{4 + i % 2}" for i in range(windows)]),
        recording=np.array([f"s{4 + i % 2}-r" for i in range(windows)]),
        start=np.arange(windows, dtype=np.int64) * 8,
        code=rng.integers(0, 6, windows),
    )


def eval_metrics(recorded: metrics.Predictions, checkpoint: str, digest: str) -> EvalMetrics:
    """What `evaluate` makes of predictions."""
    settings = EvaluationSettings(replicates=100)
    data = data_record()
    return EvalMetrics(
        **dict(metrics.compute(recorded, classes=CLASSES, levels=(3, 2), settings=settings)),
        model="conv2d_fsq",
        classes=CLASSES,
        parameters=79,
        settings=settings,
        protocol=Protocol(
            split="subject",
            parts=data.parts,
            evaluations=1,
        ),
        checkpoint_sha256=checkpoint,
        predictions_sha256=digest,
    )


def data_record() -> DataRecord:
    """Three parts of five subjects."""
    parts = {
        name: PartRecord(
            subjects=subjects,
            recordings=len(subjects),
            windows=60,
            dropped=0,
            class_windows=dict.fromkeys(CLASSES, 20),
            digest=files.sha256_bytes(name.encode()),
        )
        for name, subjects in SUBJECTS.items()
    }
    source = SourceRecord(kind="npy", name="planted", digest="a" * 64, license="CC0-1.0", citation="none.")
    return DataRecord(
        sources=(source,),
        classes=CLASSES,
        channels=CHANNELS,
        devices=("watch",),
        rate_hz=50.0,
        window=16,
        hop=8,
        labels="majority",
        fold=1,
        split="subject",
        gap=0,
        parts=PartRecords(**parts),
    )


def normalization() -> Normalization:
    """What the training part would give."""
    return Normalization(
        per="channel",
        samples=100,
        data_digest=files.sha256_bytes(b"train"),
        channels=CHANNELS,
        devices=("watch",),
        rate_hz=50.0,
        timesteps=16,
        fold=1,
        mean=((0.0, 0.5),),
        std=((1.0, 2.0),),
        limits=Limits(),
    )


def epoch() -> Epoch:
    """One line of a history."""
    return Epoch(
        number=1,
        train_loss=1.0,
        train_accuracy=0.5,
        validation_loss=1.1,
        validation_accuracy=0.4,
        learning_rate=1e-3,
        gradient_norm=0.5,
        perplexity=3.0,
        used_share=0.5,
        best=True,
    )


ENVIRONMENT = Environment(
    modelreg="0.1.0",
    python="3.11.7",
    packages={"torch": "2.13.0"},
    machine="x86_64",
    device="cpu",
    threads=2,
    git=GitState(commit="c" * 40, dirty=False),
)


def run_record(digest: str) -> RunRecord:
    """A trained run that was evaluated once."""
    return RunRecord(
        model=model_spec(),
        seed=0,
        status="trained",
        started=NOW,
        finished=NOW,
        environment=ENVIRONMENT,
        epochs=1,
        best_epoch=1,
        best_validation_loss=1.1,
        stopped="epochs",
        files={},
        evaluations=(Evaluation(at=NOW, part="test", predictions_sha256=digest, environment=ENVIRONMENT),),
    )
