"""latency.json and int8.json in a release: gates judge them, and `verify` compares them with the graphs."""

import json
import shutil

import pytest
from example_export import estimate, write_export
from example_release import carry_out
from example_run import NOW, write_registry, write_run

from modelreg import files
from modelreg.artifacts import exports
from modelreg.cli.export import show_estimate
from modelreg.cli.main import main
from modelreg.config import ProjectConfig
from modelreg.errors import GateFailed, InputError
from modelreg.records.base import load
from modelreg.records.export import BundleRecord
from modelreg.records.gates import Gate, GateReport
from modelreg.records.int8 import UNSTEADY, LayerNoise
from modelreg.records.latency import Hardware, LatencyRecord, LatencySpread
from modelreg.records.metrics import EvalMetrics
from modelreg.registry import filenames, versions
from modelreg.release.plan import Request, gate_outcomes
from modelreg.verification import integrity

SPREAD = {"p50_ms": 0.05, "p95_ms": 0.06, "p99_ms": 0.1, "max_ms": 0.4}


@pytest.fixture
def root(tmp_path):
    """A registry with a run that was exported for Hailo-8."""
    run = write_run(write_registry(tmp_path / "r") / "runs" / "conv2d_fsq-001")
    write_export(run, files.sha256(run / "checkpoint.safetensors"))
    return tmp_path / "r"


def run_of(root):
    """The run of the registry."""
    return root / "runs" / "conv2d_fsq-001"


def measured(root, **changes):
    """Write a latency.json into the run, as `modelreg bench` does."""
    record = LatencyRecord(
        **SPREAD,
        model="conv2d_fsq",
        version=None,
        backend="onnxruntime",
        sha256=files.sha256(run_of(root) / "onnx/encoder.onnx"),
        threads=1,
        windows=100,
        warm_up=200,
        measured=NOW,
        device_part=LatencySpread(**SPREAD),
        windows_per_s=1e4,
        hardware=Hardware(board=None, processor=None, machine="aarch64", cores=4, system="Linux"),
        packages={},
    )
    (run_of(root) / "latency.json").write_bytes(record.model_copy(update=changes).to_bytes())


def released(root, **gates: Gate):
    """Make a version; return its folder."""
    project = ProjectConfig(gates={name.replace("__", "."): gate for name, gate in gates.items()})
    return carry_out(root, Request("v0.1.0", run_of(root), roll_changelog=True), project).folder


def test_gates_judge_latency_and_the_8_bit_estimate(root) -> None:
    """By path; `verify` gives the same verdicts."""
    measured(root)
    bounds = {"int8__accuracy_drop": Gate(max=0.1), "int8__snr_db": Gate(min=30), "latency__p95_ms": Gate(max=0.06)}
    folder = released(root, **bounds)
    outcomes = load(folder / "gates.json", GateReport).outcomes

    assert [outcome.value for outcome in outcomes] == [0.1, 30.0, 0.06]
    assert integrity.inspect(folder, complete=True).problems == ()


@pytest.mark.parametrize("path", ["int8__accuracy_drop", "latency__p95_ms"])
def test_a_figure_over_its_limit_prevents_the_release(root, path) -> None:
    """The message has the limit."""
    measured(root)

    with pytest.raises(GateFailed, match=r"exceeds the limit 0\.05"):
        released(root, **{path: Gate(max=0.05)})


@pytest.mark.parametrize(
    ("path", "place"),
    [("latency.p95_ms", "latency.json"), ("int8.snr_db", "hailo8/int8.json or hailo8l/int8.json")],
)
def test_a_missing_figure_fails_its_gate(root, path, place) -> None:
    """The release exports graphs only, so the figure stays missing."""
    (run_of(root) / "hailo8" / "int8.json").unlink()
    project = ProjectConfig(gates={path: Gate(max=1)}, targets=("onnx",))
    (outcome,) = gate_outcomes(root, run_of(root), project)

    assert outcome.failure == f"{path} not found in {place}"


def test_an_estimate_that_the_release_will_make_is_not_missing(root) -> None:
    """If the release exports the bundle."""
    (run_of(root) / "hailo8" / "bundle.json").unlink()
    (run_of(root) / "hailo8" / "int8.json").unlink()
    project = ProjectConfig(gates={"int8.snr_db": Gate(min=99)}, targets=("onnx", "hailo8"))

    assert gate_outcomes(root, run_of(root), project) == ()


def export_as_before(root):
    """Write an export of modelreg 0.2 into the run; return the run."""
    return write_export(run_of(root), files.sha256(run_of(root) / "checkpoint.safetensors"), steady=False)


@pytest.mark.parametrize(
    "gate",
    [{"int8__accuracy_drop": Gate(max=0.5)}, {"calibration__ece": Gate(max=1, beyond="int8.accuracy_drop")}],
    ids=["judged", "beyond"],
)
def test_no_release_is_judged_on_an_estimate_that_depends_on_the_processor(root, gate) -> None:
    """Even if the gate passes, because another machine can give another figure."""
    export_as_before(root)

    with pytest.raises(InputError) as caught:
        released(root, **gate)

    assert {problem.rule for problem in caught.value.problems} == {"gates.estimate-not-reproducible"}
    assert all("export again" in problem.next for problem in caught.value.problems)


def test_a_release_with_such_an_estimate_verifies(root) -> None:
    """If no gate judged the estimate; its documents are those of modelreg 0.2."""
    export_as_before(root)
    folder = released(root, accuracy=Gate(min=0))

    assert b"arithmetic" not in b"".join(
        (folder / name).read_bytes() for name in ("eval_metrics.json", "hailo8/int8.json")
    )
    assert integrity.inspect(folder, complete=True).problems == ()


def test_a_version_with_a_gate_on_such_an_estimate_verifies(root) -> None:
    """Its gates are recomputed from its documents."""
    export_as_before(root)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(exports, "find_unsteady", lambda *_: iter(()))  # as modelreg 0.2 released it
        folder = released(root, int8__accuracy_drop=Gate(max=0.5))

    assert integrity.inspect(folder, complete=True).problems == ()


@pytest.mark.parametrize(("steady", "said"), [(True, "8-bit estimate: "), (False, f"8-bit {UNSTEADY}: ")])
def test_show_marks_an_estimate_that_depends_on_the_processor(root, monkeypatch, capsys, steady, said) -> None:
    """Before its figures."""
    write_export(run_of(root), files.sha256(run_of(root) / "checkpoint.safetensors"), steady=steady)
    released(root)
    monkeypatch.chdir(root)
    main(["show"])

    assert (
        f"{said}accuracy -0.1000, macro F1 -0.1000, signal-to-noise ratio of the projection 30.0 dB"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(("arithmetic", "warned"), [("float32", False), (None, True)])
def test_export_marks_an_estimate_that_depends_on_the_processor(capsys, arithmetic, warned) -> None:
    """A new estimate never does."""
    digests = {filenames.CHECKPOINT: "a" * 64, filenames.NORMALIZATION: "b" * 64}
    noisy = (LayerNoise(layer="relu1", snr_db=20.0),)
    made = estimate(digests)
    scheme = made.per_tensor.model_copy(update={"worst_layers": noisy})
    show_estimate(made.model_copy(update={"arithmetic": arithmetic, "per_tensor": scheme, "per_channel": scheme}))

    assert (UNSTEADY in capsys.readouterr().out) is warned


@pytest.mark.parametrize("changes", [{"sha256": "0" * 64}, {"model": "tcn_vae"}], ids=["graphs", "model"])
def test_a_latency_of_another_model_is_refused(root, changes) -> None:
    """Before anything is written."""
    measured(root, **changes)

    with pytest.raises(InputError) as caught:
        released(root)

    assert [(each.where, each.rule) for each in caught.value.problems] == [("latency.json", "bench.other-graphs")]


def test_a_latency_without_graphs_is_an_error(root) -> None:
    """It cannot be compared with anything."""
    measured(root)
    (run_of(root) / "onnx/parity.json").unlink()

    with pytest.raises(InputError, match=r"parity\.json"):
        released(root)


def rewritten(folder, name: str, data: bytes) -> list[str]:
    """Change a document of a version, update all digests, and return the places of the problems of `verify`."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    for entry in manifest["files"]:
        if entry["path"] == name:
            entry |= {"sha256": files.sha256_bytes(data), "size": len(data)}
    (folder / "manifest.json").write_bytes(files.to_json(manifest))
    record = versions.read_version(folder).manifest
    (folder / filenames.SUMS).write_text(versions.sums_text(record, files.sha256(folder / "manifest.json")))
    return [problem.where for problem in integrity.inspect(folder).problems]


@pytest.mark.parametrize(
    ("change", "places"),
    [
        (lambda d: d | {"sha256": "0" * 64}, {"latency.json"}),
        (lambda d: d | {"p95_ms": 0.01}, {"gates.json: latency.p95_ms"}),
        (lambda d: d | {"windows": 1}, {"windows"}),
    ],
    ids=["graphs", "figure", "record"],
)
def test_verify_finds_a_changed_latency(root, change, places) -> None:
    """Even with a matching digest: by the graphs, or by the gate that judged it."""
    measured(root)
    folder = released(root, latency__p95_ms=Gate(max=0.06))
    document = json.loads((folder / "latency.json").read_text())
    found = rewritten(folder, "latency.json", files.to_json(change(document)))

    assert any(place in where for place in places for where in found)


def test_verify_finds_a_card_with_another_estimate(root) -> None:
    """The numbers of the section must be those of int8.json."""
    folder = released(root)
    text = (folder / "model_card.md").read_text()
    found = rewritten(folder, "model_card.md", text.replace("| 30.0 dB |", "| 40.0 dB |").encode())

    assert any(where.startswith("model_card.md: line") for where in found)


def other_int8(folder, name: str, **changes: object) -> bytes:
    """A document that contradicts int8.json."""
    document = json.loads((folder / name).read_text())
    return files.to_json(document | {"int8": document["int8"] | changes})


@pytest.mark.parametrize(
    ("name", "place"),
    [("eval_metrics.json", "eval_metrics.json: int8"), ("hailo8/bundle.json", "hailo8/int8.json: int8 of bundle.json")],
)
def test_verify_finds_a_document_that_repeats_another_estimate(root, name, place) -> None:
    """Both documents are checked."""
    folder = released(root)

    assert place in rewritten(folder, name, other_int8(folder, name, snr_db=99.0))


def test_an_unreadable_estimate_is_one_problem(root) -> None:
    """The documents that repeat it are not compared with it."""
    folder = released(root)
    found = rewritten(folder, "hailo8/int8.json", b"{}")

    assert [where for where in found if where.startswith("eval_metrics.json")] == []


@pytest.mark.parametrize("exported", [True, False])
def test_the_metrics_of_a_version_repeat_its_own_estimate(root, exported) -> None:
    """Even if those of the run were written before the export, or with a bundle that was removed since."""
    path = run_of(root) / filenames.METRICS
    if exported:
        path.write_bytes(load(path, EvalMetrics).model_copy(update={"int8": None}).to_bytes())
    else:
        shutil.rmtree(run_of(root) / "hailo8")
    folder = released(root)

    assert (load(folder / filenames.METRICS, EvalMetrics).int8 is not None) is exported
    assert integrity.inspect(folder, complete=True).problems == ()


def test_verify_finds_a_duration_model_of_another_version(root) -> None:
    """hsmm.json of the bundle is compared with that of the version."""
    folder = released(root)
    record = load(folder / "hailo8/bundle.json", BundleRecord)
    other = record.model_copy(update={"files": {**record.files, filenames.HSMM: "0" * 64}})

    assert "hailo8/bundle.json: files: hsmm.json" in rewritten(folder, "hailo8/bundle.json", other.to_bytes())
