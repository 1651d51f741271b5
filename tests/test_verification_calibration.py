"""calibration: calibration.json of a version and its metrics follow from the predictions."""

import numpy as np
import pytest
from example_run import CLASSES, write_registry, write_run
from example_version import edit, make_version, reseal

from modelreg import files
from modelreg.artifacts import npz
from modelreg.evaluation import calibration, metrics
from modelreg.records.base import load
from modelreg.records.metrics import EvalMetrics
from modelreg.registry import filenames
from modelreg.verification import integrity


def calibrate(run):
    """Add the calibration that `evaluate` fits on the validation split: 24 windows of two recordings."""
    measured = load(run / filenames.METRICS, EvalMetrics)
    part = measured.protocol.parts.validation
    rng = np.random.default_rng(1)
    y = np.repeat(np.arange(len(CLASSES)), [part.class_windows[name] for name in CLASSES])
    validation = metrics.Predictions(
        logits=(rng.normal(size=(len(y), len(CLASSES))) + 2 * np.eye(len(CLASSES))[y]).astype(np.float32),
        y=y,
        subject=np.full(len(y), part.subjects[0]),
        recording=np.array([f"r{n % 2}" for n in range(len(y))]),
        start=np.arange(len(y)) * 8,
    )
    origin = calibration.Origin(CLASSES, measured.checkpoint_sha256, part.digest)
    record = calibration.fit_calibration(validation, origin, level=measured.settings.level)
    tested = metrics.from_arrays(npz.read_npz(run / filenames.PREDICTIONS), filenames.PREDICTIONS, len(CLASSES))
    found = calibration.measure_calibration(tested, record, measured.settings)
    (run / filenames.VALIDATION).write_bytes(npz.npz_bytes(validation.arrays()))
    (run / filenames.CALIBRATION).write_bytes(record.to_bytes())
    (run / filenames.METRICS).write_bytes(measured.model_copy(update={"confidence": found}).to_bytes())
    return run


@pytest.fixture
def version(tmp_path):
    """A version with a calibration."""
    root = write_registry(tmp_path)
    return make_version(root, calibrate(write_run(root / "runs" / "conv2d_fsq-001")))


def places_of(version):
    """Return the places of a version's problems."""
    return [problem.where for problem in integrity.inspect(version).problems]


def change_calibration(version, change):
    """Change calibration.json, and make the digests match."""
    edit(version / "calibration.json", change)
    reseal(version)


def drop(version, name):
    """Remove a file from a version and its manifest."""
    (version / name).unlink()
    edit(version / "manifest.json", lambda d: d.update(files=[e for e in d["files"] if e["path"] != name]))
    reseal(version)


def test_a_calibrated_version_verifies(version) -> None:
    """The calibration is stored in git, and the validation predictions are an asset."""
    stored = {entry.path: entry.stored for entry in integrity.versions.read_version(version).manifest.files}

    assert (places_of(version), stored["calibration.json"], stored["validation.npz"]) == ([], "git", "asset")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda d: d["temperature"].update(value=2.0), "calibration.json: temperature.value"),
        (lambda d: d["conformal"].update(lac=0.99), "calibration.json: conformal.lac"),
        (lambda d: d.update(checkpoint_sha256="0" * 64), "calibration.json: checkpoint_sha256"),
        (lambda d: d.update(validation_digest="0" * 64), "calibration.json: validation_digest"),
        (lambda d: d.update(classes=["a", "b", "c"]), "calibration.json: classes"),
        (lambda d: d.update(alpha=7), "calibration.json: alpha"),
    ],
)
def test_a_calibration_that_was_changed_is_found(version, change, place) -> None:
    """It is fitted again on the predictions of the validation split."""
    change_calibration(version, change)

    assert place in places_of(version)


def test_without_its_asset_the_metrics_are_still_compared(version) -> None:
    """A clone has no validation.npz, but another temperature gives other metrics on the test split."""
    (version / "validation.npz").unlink()
    change_calibration_only(version)

    assert "eval_metrics.json: confidence.after.temperature" in places_of(version)


def change_calibration_only(version):
    """Change the temperature and the manifest, without validation.npz."""
    edit(version / "calibration.json", lambda d: d["temperature"].update(value=2.0))
    path = version / "calibration.json"

    def update(document):
        for entry in document["files"]:
            if entry["path"] == path.name:
                entry["sha256"], entry["size"] = files.sha256(path), path.stat().st_size

    edit(version / "manifest.json", update)


def test_changed_metrics_are_found(version) -> None:
    """The coverage is computed again."""
    edit(version / "eval_metrics.json", lambda d: d["confidence"]["sets"]["lac"].update(coverage=0.9))
    reseal(version)

    assert "eval_metrics.json: confidence.sets.lac.coverage" in places_of(version)


@pytest.mark.parametrize("name", ["calibration.json", "validation.npz"])
def test_metrics_of_a_calibration_require_both_files(version, name) -> None:
    """The manifest must list them."""
    drop(version, name)
    found = [problem for problem in integrity.inspect(version).problems if problem.where == "manifest.json"]

    assert [(problem.rule, name in problem.message) for problem in found] == [("manifest.file-unlisted", True)]


def test_a_calibration_without_metrics_is_found(version) -> None:
    """A calibration must have metrics."""
    edit(version / "eval_metrics.json", lambda d: d.pop("confidence"))
    reseal(version)
    found = [each for each in integrity.inspect(version).problems if each.where == "eval_metrics.json: confidence"]

    assert [each.rule for each in found] == ["verify.record-mismatch"] * 2
    assert "calibration.json" in found[0].message


@pytest.mark.parametrize("change", [lambda p: p.rows(np.arange(9)), lambda p: p._replace(subject=p.subject + "x")])
def test_a_calibration_is_fitted_on_the_whole_validation_split(version, change) -> None:
    """Not on some of its windows, and not on other subjects."""
    path = version / "validation.npz"
    path.write_bytes(npz.npz_bytes(change(metrics.Predictions(**npz.read_npz(path))).arrays()))
    reseal(version)

    assert any(place.startswith("validation.npz: ") for place in places_of(version))
