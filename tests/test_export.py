"""`modelreg export`, and the export in a release and in `verify`."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import hailo_stub
import hef_builder
import numpy as np
import onnxruntime
import pytest
import untraced
from two_device import write_two_device

from modelreg import files
from modelreg.artifacts import bundle_archive
from modelreg.cli.main import main
from modelreg.records.base import load
from modelreg.records.export import BundleRecord, ParityRecord
from modelreg.records.int8 import Int8Estimate
from modelreg.records.metrics import EvalMetrics
from modelreg.records.model import ModelSpec
from modelreg.registry import filenames
from modelreg.runtime.pipeline import Pipeline
from modelreg.verification import exports as export_checks
from modelreg.verification import integrity
from modelreg.verification.exports import find_calibration_problems
from modelreg.verification.version_files import VersionFiles
from modelreg.workflows import export_run

TINY = """
data: {sources: [{kind: npy, path: data/dataset.json}], window: 100, hop: 100}
split: {by: subject, test: 2, validation: 1}
model: {widths: [4, 8], kernels: [[2, 5], [1, 3]], levels: [4, 3], hidden: 8}
training: {epochs: 2, batch_size: 16, threads: 1, learning_rate: 0.01}
evaluation: {replicates: 100}
"""
RUN = "runs/conv2d_fsq-001"
VERSION = "registry/conv2d_fsq/v0.1.0"


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """A registry with a run that was exported for Hailo-8 and released."""
    root = tmp_path_factory.mktemp("walked")
    assert main(["init", "--sample", str(root)]) == 0
    (root / "data").mkdir()
    write_two_device(root / "data")
    (root / "tiny.yaml").write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("SOURCE_DATE_EPOCH", "1795255200")
        for command in ("train tiny.yaml", "evaluate", "export --target hailo8", "release v0.1.0 --roll-changelog"):
            assert main(command.split()) == 0
    return root


@pytest.fixture
def here(walked, monkeypatch):
    """The registry as the working directory."""
    monkeypatch.chdir(walked)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795255200")
    return walked


def bundle(root: Path) -> BundleRecord:
    """The run's bundle.json."""
    return load(root / RUN / "hailo8" / "bundle.json", BundleRecord)


def tree(folder: Path) -> dict[str, str]:
    """The digest of every file below a folder."""
    return {p.relative_to(folder).as_posix(): files.sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_an_export_writes_graphs_and_a_bundle(walked) -> None:
    """All their files."""
    names = {
        p.relative_to(walked / RUN).as_posix() for part in ("onnx", "hailo8") for p in (walked / RUN / part).iterdir()
    }

    assert names == {
        *(f"onnx/{name}" for name in ("encoder.onnx", "head.onnx", "model.onnx", "parity.json", "test_vectors.npz")),
        *(f"hailo8/{name}.onnx" for name in ("encoder", "head", "model")),
        *(f"hailo8/{name}" for name in ("bundle.json", "parity.json", "normalization.json", "calibration.npy")),
        *(f"hailo8/{name}" for name in ("model_script.alls", "test_vectors.npz", "README.md", "sha256sum.txt")),
        *("hailo8/compile.py", "hailo8/compile.sh", "hailo8/model_config.json", "hailo8/int8.json"),
        "hailo8/calibration.json",
    }


def test_a_small_calibration_set_is_a_warning(here, tmp_path, capsys) -> None:
    """With the number of windows."""
    code = main(["export", RUN, "--target", "hailo8", "--out", str(tmp_path / "out")])
    shown = " ".join(capsys.readouterr().err.split())
    windows = bundle(here).calibration.shape[0]

    assert (code, f"warning: calibration.npy: has {windows} windows; Hailo's compiler recommends" in shown) == (0, True)


def test_exporting_again_changes_no_byte(here, tmp_path) -> None:
    """In another process and to another folder."""
    command = [sys.executable, "-m", "modelreg", "export", RUN, "--target", "hailo8", "--out", str(tmp_path / "out")]
    subprocess.run(command, check=True, capture_output=True, env=untraced.environment())
    again = tree(tmp_path / "out")

    assert again == {name: digest for name, digest in tree(here / RUN).items() if name in again}


def test_the_parity_is_recorded(walked) -> None:
    """For both paths, on real windows and edge cases."""
    parity = load(walked / RUN / "onnx/parity.json", ParityRecord)

    assert (parity.windows, len(parity.edge_cases), parity.whole.codes) == (54, 6, 60 * 2)


def test_the_test_vectors_are_outputs_of_the_graphs(walked) -> None:
    """The encoder gives the projections in test_vectors.npz."""
    vectors = np.load(walked / RUN / "hailo8/test_vectors.npz")
    session = onnxruntime.InferenceSession(walked / RUN / "hailo8/encoder.onnx")
    answer = session.run(None, {"windows": vectors["windows"][:1]})[0]

    np.testing.assert_allclose(answer, vectors["projection"][:1], atol=1e-5)


@pytest.mark.parametrize(
    "place", [RUN, f"{RUN}/hailo8", f"{RUN}/hailo8.tar.gz", VERSION], ids=["run", "bundle", "packed", "version"]
)
def test_the_runtime_reproduces_torch(walked, place) -> None:
    """From every kind of export, for two devices and nine channels, within 1e-5."""
    vectors = np.load(walked / RUN / "onnx/test_vectors.npz")
    with Pipeline.load(walked / place) as pipeline:
        answers = [pipeline.infer(window) for window in vectors["windows_raw"]]

    for name in ("projection", "code", "logits"):
        np.testing.assert_allclose([getattr(a, name) for a in answers], vectors[name], atol=1e-5, rtol=0)


def test_calibration_is_normalized_training_windows_nhwc(walked) -> None:
    """Device rows, timesteps, channels; balanced over classes, as in bundle.json."""
    values = np.load(walked / RUN / "hailo8/calibration.npy")
    record = bundle(walked).calibration

    assert (values.shape, values.dtype, record.values, set(record.class_windows.values())) == (
        (54, 2, 100, 9),
        np.float32,
        "normalized",
        {18},
    )


def test_normalization_on_the_chip_uses_raw_windows(here, tmp_path) -> None:
    """The model script normalizes if and only if the calibration set is raw."""
    main(["export", RUN, "--target", "hailo8", "--normalize", "chip", "--out", str(tmp_path)])
    scripts = [(folder / "hailo8/model_script.alls").read_text() for folder in (tmp_path, here / RUN)]
    raw = np.load(tmp_path / "hailo8/calibration.npy")

    assert (["normalization(" in script for script in scripts], abs(raw).max() > 20) == ([True, False], True)


def test_sha256sum_accepts_the_bundle(walked) -> None:
    """The one of coreutils."""
    done = subprocess.run(
        ["sha256sum", "--check", "--quiet", "sha256sum.txt"], cwd=walked / RUN / "hailo8", check=False
    )

    assert done.returncode == 0


def test_the_archive_has_the_files_of_the_folder(walked) -> None:
    """Without owner and time."""
    with tarfile.open(walked / RUN / "hailo8.tar.gz") as archive:
        members = archive.getmembers()
        found = {m.name: hashlib.sha256(archive.extractfile(m).read()).hexdigest() for m in members}

    assert (found, {(m.mtime, m.uid, m.uname) for m in members}) == (tree(walked / RUN / "hailo8"), {(0, 0, "")})


@pytest.mark.parametrize("normalize", ["host", "chip"])
def test_an_exported_bundle_compiles(here, tmp_path, normalize) -> None:
    """With the stub of the compiler, which checks every call and quantizes."""
    main(["export", RUN, "--target", "hailo8", "--normalize", normalize, "--out", str(tmp_path)])
    stub = hailo_stub.install(tmp_path / "stub")
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(stub)}
    done = subprocess.run(
        ["sh", "compile.sh"], cwd=tmp_path / "hailo8", env=environment, capture_output=True, text=True, check=False
    )

    assert (done.returncode, (tmp_path / "hailo8/conv2d_fsq.hef").is_file(), done.stderr) == (0, True, "")


def test_a_version_has_the_graphs_and_the_packed_bundle(walked) -> None:
    """And, unpacked, only the bundle's record and the 8-bit estimate."""
    names = {name for name in tree(walked / VERSION) if "/" in name}

    assert names == {
        *(f"onnx/{name}" for name in ("encoder.onnx", "head.onnx", "model.onnx", "parity.json", "test_vectors.npz")),
        *("hailo8/bundle.json", "hailo8/bundle.tar.gz", "hailo8/int8.json"),
    }


@pytest.mark.parametrize("folder", [RUN, VERSION])
def test_metrics_and_bundle_repeat_the_estimate(walked, folder) -> None:
    """In the run and in its version."""
    estimate = load(walked / folder / "hailo8/int8.json", Int8Estimate)
    measured = load(walked / folder / "eval_metrics.json", EvalMetrics)
    packed = load(walked / folder / "hailo8/bundle.json", BundleRecord)

    assert (measured.int8, packed.int8) == (estimate.summary, estimate.summary)


def test_the_version_verifies(here) -> None:
    """With all its files."""
    assert main(["verify", "--complete"]) == 0


def test_the_version_is_in_the_metadata_of_the_graph(walked) -> None:
    """ONNX Runtime reads it."""
    session = onnxruntime.InferenceSession(walked / VERSION / "onnx/model.onnx")

    assert session.get_modelmeta().custom_metadata_map["version"] == "0.1.0"


def test_exporting_a_version_reproduces_its_files(here, tmp_path, capsys) -> None:
    """From the registry and the data, byte for byte."""
    main(["export", "v0.1.0", "--target", "hailo8", "--data", "data", "--out", str(tmp_path)])
    made = tree(tmp_path)

    assert (made["onnx/model.onnx"], made["hailo8.tar.gz"]) == (
        files.sha256(here / VERSION / "onnx/model.onnx"),
        files.sha256(here / VERSION / "hailo8/bundle.tar.gz"),
    )


def test_a_version_is_exported_to_dist(here) -> None:
    """The version itself never changes."""
    before = tree(here / VERSION)
    main(["export", "v0.1.0", "--data", "data"])

    assert ((here / "dist/conv2d_fsq-v0.1.0/onnx/model.onnx").is_file(), tree(here / VERSION) == before) == (True, True)


def test_json_output_is_the_parity_record(here, capsys, tmp_path) -> None:
    """The content of parity.json."""
    main(["export", RUN, "--json", "--out", str(tmp_path)])

    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "onnx/parity.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--target", "hailo10h"], 8, "[export.target-unsupported]"),
        (["--target", "tpu"], 2, "must be one of onnx, hailo8, hailo8l, but is tpu"),
        (["--opset", "11"], 2, "must be 16, 17 or 18"),
        (["nowhere/at/all"], 5, "[reference.path-missing]"),
    ],
)
def test_invalid_arguments_are_refused(here, capsys, arguments, code, words) -> None:
    """With the rule, or the valid values."""
    assert (main(["export", *arguments]), words in " ".join(capsys.readouterr().err.split())) == (code, True)


def test_a_breach_of_parity_writes_nothing(here, tmp_path, monkeypatch) -> None:
    """Exit 8."""
    from modelreg.export import graphs

    made = graphs.export

    def wrong(network, metadata, opset):
        other = type(network)(_settings(), network.shape, network.classes, 0).eval()
        return made(other, metadata, opset)

    monkeypatch.setattr(graphs, "export", wrong)

    assert (main(["export", RUN, "--target", "hailo8", "--out", str(tmp_path / "o")]), (tmp_path / "o").exists()) == (
        8,
        False,
    )


def _settings():
    from modelreg.records.model import Conv2dFsqSettings

    return Conv2dFsqSettings(widths=(4, 8), kernels=((2, 5), (1, 3)), levels=(4, 3), hidden=8)


def test_other_data_are_refused(here, tmp_path, monkeypatch) -> None:
    """The data must be those of the training."""
    x = np.load(here / "data/all_x.npy")
    np.save(here / "data/all_x.npy", x + 1)
    try:
        code = main(["export", RUN, "--out", str(tmp_path / "o")])
    finally:
        np.save(here / "data/all_x.npy", x)

    assert code == 3


def known(root: Path):
    """The arguments of the checks of `verify`: the version's files, its model and its data."""
    from modelreg.records.data import DataRecord
    from modelreg.records.model import ModelSpec

    folder = root / VERSION
    found = tree(folder)
    return (
        VersionFiles(folder, "0.1.0", found, frozenset(found)),
        load(folder / filenames.MODEL_CONFIG, ModelSpec),
        load(folder / filenames.DATA, DataRecord),
    )


def test_the_example_has_no_problems(walked) -> None:
    """The tests below each add one."""
    assert [
        *export_checks.find_graph_problems(*known(walked)[:2]),
        *export_checks.find_bundle_problems(*known(walked)),
    ] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "0.2.0"},
        {"hw_arch": "hailo8l"},
        {"model": "other"},
        {"classes": ("rest", "walk", "fly")},
        {"devices": ("phone", "watch")},
        {"device_input": (100, 2, 9)},
        {"normalization": "chip"},
        {"checkpoint_sha256": "0" * 64},
        {"normalization_sha256": "0" * 64},
        {"files": {}},
    ],
)
def test_a_wrong_field_of_bundle_json_is_found(walked, changes) -> None:
    """Each is compared with the model, the data or the digests."""
    record = load(walked / VERSION / "hailo8/bundle.json", BundleRecord).model_copy(update=changes)
    found = [
        *export_checks.find_contradictions(record, "hailo8", "b", *known(walked)),
        *export_checks._find_strangers("b", record, *known(walked)[:2]),
    ]

    assert found


def unpacked(root: Path) -> dict[str, bytes]:
    """The files in the version's archive."""
    return bundle_archive.unpack(root / VERSION / "hailo8/bundle.tar.gz")


def test_random_calibration_is_found(walked) -> None:
    """Its range differs from the one in bundle.json."""
    values = np.random.default_rng(0).random((54, 2, 100, 9), dtype=np.float32)
    buffer = io.BytesIO()
    np.save(buffer, values)
    record = load(walked / VERSION / "hailo8/bundle.json", BundleRecord)
    found = find_calibration_problems({**unpacked(walked), "calibration.npy": buffer.getvalue()}, record, "b")

    assert [problem.rule for problem in found] == ["bundle.calibration-mismatch"]


def test_a_model_script_that_normalizes_twice_is_found(walked) -> None:
    """The calibration set is already normalized."""
    record = load(walked / VERSION / "hailo8/bundle.json", BundleRecord)
    script = b"normalization1 = normalization([0], [1])\n"
    found = find_calibration_problems({**unpacked(walked), "model_script.alls": script}, record, "b")

    assert [(each.where, each.rule) for each in found] == [("b: model_script.alls", "bundle.calibration-mismatch")]


@pytest.mark.parametrize(
    "name", ["onnx/encoder.onnx", "onnx/parity.json", "hailo8/bundle.json", "hailo8/bundle.tar.gz"]
)
def test_a_flipped_bit_is_found(walked, tmp_path, name) -> None:
    """By its digest."""
    copy = tmp_path / "conv2d_fsq" / "v0.1.0"
    shutil.copytree(walked / VERSION, copy)
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)

    assert name in {problem.where for problem in integrity.inspect(copy).problems}


def test_a_release_exports_missing_targets(here, tmp_path, monkeypatch, capsys) -> None:
    """Those that modelreg.yaml lists, with the warnings of `export`."""
    root = tmp_path / "other"
    shutil.copytree(here, root, ignore=shutil.ignore_patterns("onnx", "hailo8*", "v0.1.0", "dist"))
    (root / "modelreg.yaml").write_text("targets: [hailo8]\n")
    (root / "RELEASES.md").unlink()
    (root / "CHANGELOG.md").unlink()
    (root / "modelreg.yaml").rename(root / "keep")
    main(["init", "--sample", str(root)])
    (root / "keep").rename(root / "modelreg.yaml")
    monkeypatch.chdir(root)
    code = main(["release", "v0.1.0", "--roll-changelog"])

    shown = capsys.readouterr()

    assert (code, "export hailo8 into the run" in shown.out, (root / VERSION / "hailo8").is_dir()) == (0, True, True)
    assert "warning: calibration.npy: has" in shown.err


def changed_since(registry: Path, copy: Path) -> Path:
    """A copy of the registry with a change for the next release in its changelog."""
    shutil.copytree(registry, copy)
    log = copy / "CHANGELOG.md"
    log.write_text(log.read_text().replace("## [Unreleased]\n", "## [Unreleased]\n\n- A change.\n", 1))
    return copy


def test_an_export_of_other_weights_is_not_released(here, tmp_path, monkeypatch, capsys) -> None:
    """Exit 3."""
    root = changed_since(here, tmp_path / "other")
    record = load(root / RUN / "onnx/parity.json", ParityRecord)
    (root / RUN / "onnx/parity.json").write_bytes(record.model_copy(update={"checkpoint_sha256": "0" * 64}).to_bytes())
    monkeypatch.chdir(root)
    code = main(["release", "v0.2.0", "--roll-changelog", "--force"])

    assert (code, "[export.weights-mismatch]" in capsys.readouterr().err) == (3, True)


def test_a_changed_export_is_not_released(here, tmp_path, monkeypatch, capsys) -> None:
    """Exit 3, with the name of the file."""
    root = changed_since(here, tmp_path / "other")
    (root / RUN / "onnx/head.onnx").write_bytes(b"stub")
    monkeypatch.chdir(root)
    code = main(["release", "v0.2.0", "--roll-changelog", "--force"])

    assert (code, "[export.file-changed]" in capsys.readouterr().err) == (3, True)


# With a compiled network


@pytest.fixture
def attached(walked, tmp_path, monkeypatch):
    """The working directory: a copy of the registry with a HEF attached to the run's bundle."""
    monkeypatch.chdir(shutil.copytree(walked, tmp_path / "r"))
    ends = bundle(walked).calibration
    group = hef_builder.network("conv2d_fsq", (2, 100, 9), 2, (min(ends.low), max(ends.high)))
    Path("made.hef").write_bytes(hef_builder.hef(group))
    assert main(["hef", "attach", RUN, "made.hef"]) == 0
    return Path.cwd()


def test_a_bundle_with_a_hef_can_be_compiled_again(attached, tmp_path) -> None:
    """Its digests and bundle.json include the HEF."""
    stub = hailo_stub.install(tmp_path / "stub")
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(stub)}
    done = subprocess.run(["sh", "compile.sh"], cwd=attached / RUN / "hailo8", env=environment, check=False)

    assert done.returncode == 0


def test_an_export_does_not_lose_a_hef(attached, capsys) -> None:
    """Exit 3, and nothing is written; the graphs alone can be exported again."""
    before = tree(attached / RUN)
    codes = [main(["export", RUN, "--target", target]) for target in ("hailo8", "onnx")]

    assert (codes, tree(attached / RUN)) == ([3, 0], before)


def test_a_version_released_without_a_bundle_gets_its_hef(attached, capsys) -> None:
    """With an export of the version to dist/ and a patch release."""
    shutil.rmtree(VERSION)
    shutil.rmtree(Path(RUN) / "hailo8")
    text = Path("CHANGELOG.md").read_text()
    Path("CHANGELOG.md").write_text(text.replace("## [v0.1.0]", "## [v0.1.1] - x\n\n- HEF.\n\n## [v0.1.0]", 1))
    commands = (
        "release v0.1.0",
        "export v0.1.0 --target hailo8 --data data",
        "release v0.1.1 --from v0.1.0 --hef made.hef",
        "verify --complete",
        "verify v0.1.1 --device hailo8",
    )

    assert [main(command.split()) for command in commands] == [0] * 5, capsys.readouterr().err


def test_a_bundle_has_the_documents_of_the_host_part(tmp_path) -> None:
    """The duration model and the calibration of the run, byte for byte."""
    (tmp_path / "hsmm.json").write_bytes(b"durations")
    (tmp_path / "calibration.json").write_bytes(b"temperature")
    spec = load(Path(__file__).parents[1] / "registry/conv2d_fsq/v0.2.0/model_config.json", ModelSpec)
    found = export_run._host_files(export_run._Origin(tmp_path, None, spec, None, None))

    assert (found["hsmm.json"], found["calibration.json"]) == (b"durations", b"temperature")
