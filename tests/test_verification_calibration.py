"""calibration: calibration.json of a version and its metrics follow from the predictions."""

import example_run
import numpy as np
import pytest
from example_run import CLASSES, write_registry, write_run
from example_version import edit, make_version, reseal

from modelreg import files
from modelreg.artifacts import npz
from modelreg.evaluation import calibration, calibration_v1, metrics
from modelreg.records.base import load
from modelreg.records.metrics import EvalMetrics
from modelreg.registry import filenames
from modelreg.verification import integrity

VALIDATED = ("s3", "s3b", "s3c", "s3d", "s3e", "s3f")


def validation_of(measured):
    """Return predictions for the validation split, which has windows of six subjects."""
    part = measured.protocol.parts.validation
    rng = np.random.default_rng(1)
    y = np.repeat(np.arange(len(CLASSES)), [part.class_windows[name] for name in CLASSES])
    names = np.array([part.subjects[n % len(part.subjects)] for n in range(len(y))])
    logits = (3 * rng.normal(size=(len(y), len(CLASSES))) + 2 * np.eye(len(CLASSES))[y]).astype(np.float32)
    return metrics.Predictions(logits, y, names, names, np.arange(len(y)) * 8)


def calibrate(run, fit=lambda validation, origin, level: calibration.fit_calibration(validation, origin)):
    """Add the calibration that `evaluate` fits on the validation split."""
    measured = load(run / filenames.METRICS, EvalMetrics)
    validation = validation_of(measured)
    write(run, measured, fit(validation, origin_of(measured), measured.settings.level))
    (run / filenames.VALIDATION).write_bytes(npz.npz_bytes(validation.arrays()))
    return run


def origin_of(measured):
    """Return where the calibration of a run comes from."""
    return calibration.Origin(CLASSES, measured.checkpoint_sha256, measured.protocol.parts.validation.digest)


def write(run, measured, record):
    """Write a calibration, and the metrics of its effect on the recorded predictions."""
    found = calibration.measure_calibration(predictions_of(run), record, measured.settings)
    (run / filenames.CALIBRATION).write_bytes(record.to_bytes())
    (run / filenames.METRICS).write_bytes(measured.model_copy(update={"confidence": found}).to_bytes())


def predictions_of(run):
    """Return the recorded predictions."""
    return metrics.from_arrays(npz.read_npz(run / filenames.PREDICTIONS), filenames.PREDICTIONS, len(CLASSES))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run with six validation subjects, in a registry."""
    monkeypatch.setitem(example_run.SUBJECTS, "validation", VALIDATED)
    return write_run(write_registry(tmp_path) / "runs" / "conv2d_fsq-001")


@pytest.fixture
def version(run):
    """A version with a calibration."""
    return make_version(run.parents[1], calibrate(run))


@pytest.fixture
def first_version(run):
    """A version with a calibration of schema version 1."""
    fit = calibration_v1.fit_calibration
    return make_version(run.parents[1], calibrate(run, lambda v, origin, level: fit(v, origin, level=level)))


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
        (lambda d: d["temperature"].update(fitted=2.0, value=2.0), "calibration.json: temperature.fitted"),
        (lambda d: d["temperature"].update(gain=0.5), "calibration.json: temperature.gain"),
        (lambda d: d["temperature"].update(reason="it helps"), "calibration.json: temperature.reason"),
        (
            lambda d: d["temperature"]["per_subject"]["s3b"].update(log_loss_after=0.1),
            "calibration.json: temperature.per_subject.s3b.log_loss_after",
        ),
        (
            lambda d: d["temperature"]["per_subject"]["s3b"].update(temperature=0.9),
            "calibration.json: temperature.per_subject.s3b.temperature",
        ),
        (lambda d: d["sets"]["pooled"].update(limit=0.99), "calibration.json: sets.pooled.limit"),
        (lambda d: d["sets"].update(new_subject={"limit": 0.99}), "calibration.json: sets.new_subject.limit"),
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


@pytest.mark.parametrize(
    "change", [lambda d: d["temperature"].update(value=2.0), lambda d: d["conformal"].update(raps=1)]
)
def test_a_changed_calibration_of_version_1_is_found(first_version, change) -> None:
    """It is fitted again by the rules of its version; unchanged, it verifies."""
    before = places_of(first_version)
    change_calibration(first_version, change)

    assert (before, any(place.startswith("calibration.json: ") for place in places_of(first_version))) == ([], True)


def test_without_its_asset_the_metrics_are_still_compared(version) -> None:
    """A clone has no validation.npz, but another threshold gives other metrics on the test split."""
    (version / "validation.npz").unlink()
    change_calibration_only(version)

    assert "eval_metrics.json: confidence.sets.pooled.coverage" in places_of(version)


def change_calibration_only(version):
    """Change the threshold and the manifest, without validation.npz."""
    edit(version / "calibration.json", lambda d: d["sets"]["pooled"].update(limit=0.123))
    path = version / "calibration.json"

    def update(document):
        for entry in document["files"]:
            if entry["path"] == path.name:
                entry["sha256"], entry["size"] = files.sha256(path), path.stat().st_size

    edit(version / "manifest.json", update)


def test_changed_metrics_are_found(version) -> None:
    """The coverage is computed again."""
    edit(version / "eval_metrics.json", lambda d: d["confidence"]["sets"]["pooled"].update(coverage=0.5))
    reseal(version)

    assert "eval_metrics.json: confidence.sets.pooled.coverage" in places_of(version)


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
