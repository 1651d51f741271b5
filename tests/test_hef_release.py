"""A HEF is added to a released version as a patch with the same weights and documents, which verifies."""

import json
import shutil
from pathlib import Path

import hef_builder
import pytest
from example_export import write_export
from example_release import carry_out, now, planned
from example_run import write_registry, write_run
from hef_builder import network
from places import places

from modelreg import files
from modelreg.artifacts import attach_hef, bundle_archive, hef_file
from modelreg.artifacts import exports as artifact_exports
from modelreg.cli.main import main
from modelreg.config import ProjectConfig
from modelreg.errors import GateFailed, InputError, ModelregError, RegistryError, VerificationFailed
from modelreg.records.base import load
from modelreg.records.export import BundleRecord
from modelreg.records.gates import Gate, GateReport
from modelreg.records.manifest import Manifest
from modelreg.records.provenance import Provenance
from modelreg.registry import filenames, versions
from modelreg.release import patch, steps
from modelreg.release.plan import Request
from modelreg.release.steps import Ports
from modelreg.verification import integrity
from modelreg.verification.consistency import UNCHANGED

MODEL = Path("registry/conv2d_fsq")
PROJECT = ProjectConfig()
PORTS = Ports(now)


def compiled(arch: int = 1, **settings) -> hef_file.HefFile:
    """Return a HEF of the example's bundle."""
    group = network("conv2d_fsq", (1, 16, 2), 2, settings.get("input_range", (-4.0, 4.0)))
    data = hef_builder.hef(group, arch=arch)
    return hef_file.HefFile(data, hef_file.parse_hef(data, "x.hef"))


FITTING, ON_BOTH = compiled(), compiled(3)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A registry with v0.1.0, its graphs, a bundle for a Hailo-8, and an unreleased change."""
    root = write_registry(tmp_path_factory.mktemp("template"))
    run = write_run(root / "runs" / "conv2d_fsq-001")
    write_export(run, files.sha256(run / "checkpoint.safetensors"))
    (root / "CHANGELOG.md").write_text("## [Unreleased]\n\n## [v0.1.1] - x\n\n- x\n\n## [v0.1.0] - x\n\n- x\n")
    carry_out(root, Request("v0.1.0", run))
    return root


@pytest.fixture
def root(template, tmp_path, monkeypatch):
    """A copy of the registry as the working directory."""
    shutil.copytree(template, tmp_path / "r")
    monkeypatch.chdir(tmp_path / "r")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795255200")
    return tmp_path / "r"


def patch_of(root: Path, found: hef_file.HefFile = FITTING, version: str = "v0.1.1", base: str = "v0.1.0") -> Request:
    """Return a request for a patch of a version."""
    path = root.parent / f"{found.info.sha256}.hef"
    path.write_bytes(found.data)
    addition = patch.Addition(path, root / "dist" / f"conv2d_fsq-{base}")
    return Request(version, root / MODEL / base, roll_changelog=version != "v0.1.1", addition=addition)


def tree(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file below a folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def problems(folder: Path) -> list[str]:
    """Return the problems of a version."""
    return list(map(str, integrity.inspect(folder, complete=True).problems))


def test_a_patch_verifies(root) -> None:
    """The base version verifies as well, and is unchanged."""
    before = tree(root / MODEL / "v0.1.0")
    made = carry_out(root, patch_of(root)).folder

    assert (problems(made), problems(root / MODEL / "v0.1.0"), tree(root / MODEL / "v0.1.0")) == ([], [], before)


def test_weights_and_documents_are_the_same(root) -> None:
    """Byte for byte; only the card, the provenance and files with the version number differ."""
    old, new = tree(root / MODEL / "v0.1.0"), tree(carry_out(root, patch_of(root)).folder)
    exports = {*(f"onnx/{name}" for name in filenames.GRAPH_FILES), "hailo8/bundle.json", "hailo8/bundle.tar.gz"}
    made = {"manifest.json", "sha256sum.txt", "model_card.md", "provenance.json", "bom.cdx.json"}

    assert ({name for name in new if new[name] != old.get(name)}, old.keys(), UNCHANGED & new.keys()) == (
        *(exports | made, new.keys()),
        UNCHANGED,
    )


def test_the_bundle_has_the_hef(root) -> None:
    """Byte for byte."""
    made = carry_out(root, patch_of(root)).folder
    bundle = bundle_archive.unpack(made / "hailo8" / filenames.ARCHIVE)
    record = load(made / "hailo8" / filenames.BUNDLE, BundleRecord)

    assert (bundle["conv2d_fsq.hef"], record.hef, record.version) == (FITTING.data, FITTING.info, "0.1.1")


def test_provenance_names_the_base_version_and_the_hef(root) -> None:
    """The base version by the digest of its manifest. The statements about the training are kept."""
    made = carry_out(root, patch_of(root)).folder
    old, new = (load(root / MODEL / v / "provenance.json", Provenance) for v in ("v0.1.0", "v0.1.1"))
    inputs, trained = (each.predicate.build_definition.resolved_dependencies for each in (new, old))

    assert (inputs[: len(trained)], [(each.name, each.digest["sha256"]) for each in inputs[len(trained) :]]) == (
        trained,
        [
            ("version/conv2d_fsq@v0.1.0", files.sha256(root / MODEL / "v0.1.0" / "manifest.json")),
            ("hef/hailo8/conv2d_fsq.hef", FITTING.info.sha256),
        ],
    )
    assert made.name == "v0.1.1"


def test_a_patch_of_a_patch_names_its_own_base_version(root) -> None:
    """One version, and its HEFs."""
    (root / "CHANGELOG.md").write_text("## [Unreleased]\n\n- x\n\n## [v0.1.1] - x\n\n- x\n\n## [v0.1.0] - x\n\n- x\n")
    carry_out(root, patch_of(root))
    made = carry_out(root, patch_of(root, ON_BOTH, "v0.1.2", "v0.1.1")).folder
    inputs = load(made / "provenance.json", Provenance).predicate.build_definition.resolved_dependencies

    assert (problems(made), [each.name for each in inputs[-2:]], inputs[-1].digest["sha256"]) == (
        [],
        ["version/conv2d_fsq@v0.1.1", "hef/hailo8/conv2d_fsq.hef"],
        ON_BOTH.info.sha256,
    )


def test_the_same_patch_twice_gives_the_same_bytes(root, tmp_path) -> None:
    """Two registries are equal."""
    shutil.copytree(root, tmp_path / "other")

    assert tree(carry_out(root, patch_of(root)).folder) == tree(
        carry_out(tmp_path / "other", patch_of(tmp_path / "other")).folder
    )


def drop_bundle(root: Path, project: ProjectConfig = PROJECT) -> None:
    """Release v0.1.0 again from a run without a bundle."""
    shutil.rmtree(root / MODEL / "v0.1.0")
    shutil.rmtree(root / "runs/conv2d_fsq-001/hailo8")
    carry_out(root, Request("v0.1.0", root / "runs/conv2d_fsq-001"), project)


def export_version(root: Path) -> None:
    """Write the same files to dist/ as `modelreg export conv2d_fsq@v0.1.0 --target hailo8`."""
    bundle = artifact_exports.for_version(root / "runs/conv2d_fsq-001", "hailo8", "0.1.0")
    (root / "x.tar.gz").write_bytes(bundle[f"hailo8/{filenames.ARCHIVE}"])
    (root / "dist").mkdir()
    files.write_folder(root / "dist/conv2d_fsq-v0.1.0/hailo8", bundle_archive.unpack(root / "x.tar.gz"))


def test_a_version_without_a_bundle_uses_its_later_export(root) -> None:
    """The HEF was compiled from it."""
    export_version(root)
    drop_bundle(root)
    made = carry_out(root, patch_of(root)).folder

    assert (problems(made), load(made / "hailo8" / filenames.BUNDLE, BundleRecord).hef) == ([], FITTING.info)


def waiting_for_a_bundle(root: Path, bound: float) -> None:
    """Release v0.1.0 without a bundle, with a gate that needs it, and export the bundle later."""
    export_version(root)
    drop_bundle(root, ProjectConfig(gates={"int8.accuracy_drop": Gate(max=bound, if_exported=True)}))


def test_a_gate_without_an_export_is_evaluated_in_the_patch(root) -> None:
    """With the estimate of the bundle."""
    waiting_for_a_bundle(root, 0.5)
    made = carry_out(root, patch_of(root)).folder
    verdicts = [load(root / MODEL / v / filenames.GATES, GateReport).outcomes[0].verdict for v in ("v0.1.0", "v0.1.1")]

    assert (verdicts, problems(made)) == (["not judged: no export", "met"], [])


def test_a_bundle_that_fails_its_gate_cannot_be_released(root) -> None:
    """Also if the weights are the same."""
    waiting_for_a_bundle(root, 0.02)

    assert isinstance(refused(root, patch_of(root)), GateFailed)


def judged_before(root: Path) -> None:
    """Release v0.1.0 again with an estimate that depends on the processor."""
    run = root / "runs/conv2d_fsq-001"
    write_export(run, files.sha256(run / "checkpoint.safetensors"), steady=False)
    shutil.rmtree(root / MODEL / "v0.1.0")
    carry_out(root, Request("v0.1.0", run))


def test_a_gate_refuses_an_estimate_that_depends_on_the_processor(root) -> None:
    """The bundle must be exported again."""
    judged_before(root)
    waiting_for_a_bundle(root, 0.5)
    error = refused(root, patch_of(root))

    assert [problem.rule for problem in error.problems] == ["gates.estimate-not-reproducible"]
    assert (type(error), error.problems[0].next) == (InputError, "export again")


def test_a_gate_refuses_such_an_estimate_of_the_base_version(root) -> None:
    """A version never changes: its run must be exported and released again."""
    judged_before(root)
    error = refused(root, patch_of(root), ProjectConfig(gates={"int8.accuracy_drop": Gate(max=0.5)}))

    assert type(error) is InputError
    assert {problem.rule for problem in error.problems} == {"gates.estimate-not-reproducible"}


def test_a_patch_needs_a_bundle(root) -> None:
    """The next step is the export."""
    drop_bundle(root)

    (found,) = refused(root, patch_of(root)).problems

    assert (found.rule, "modelreg export" in found.next) == ("hef.bundle-missing", True)


def test_a_version_without_graphs_can_have_a_hef(root) -> None:
    """The bundle has its own graphs."""
    export_version(root)
    shutil.rmtree(root / MODEL / "v0.1.0")
    for name in ("hailo8", "onnx"):
        shutil.rmtree(root / "runs/conv2d_fsq-001" / name)
    carry_out(root, Request("v0.1.0", root / "runs/conv2d_fsq-001"))

    assert problems(carry_out(root, patch_of(root)).folder) == []


def refused(root: Path, request: Request, project: ProjectConfig = PROJECT) -> ModelregError:
    """Return the error of a release, and check that nothing was written."""
    before = tree(root)
    with pytest.raises(ModelregError) as caught:
        carry_out(root, request, project)
    assert tree(root) == before
    return caught.value


@pytest.mark.parametrize("version", ["v0.2.0", "v1.1.1", "v0.1.0-rc.1"])
def test_only_a_patch_can_be_made(root, version) -> None:
    """Another minor or major number means that the model changed."""
    error = refused(root, patch_of(root, version=version))

    (problem,) = (each for each in error.problems if each.rule == "release.not-a-patch")
    assert (problem.where, "v0.1.1" in problem.next) == (version, True)


@pytest.mark.parametrize(
    ("found", "rule"),
    [(compiled(103), "hef.arch-mismatch"), (compiled(input_range=(0.0, 0.99999)), "hef.calibration-clipped")],
    ids=["chip", "random"],
)
def test_a_hef_that_does_not_fit_is_refused(root, found, rule) -> None:
    """Exit 4, the same as for `hef attach`."""
    error = refused(root, patch_of(root, found))

    assert (type(error), [problem.rule for problem in error.problems]) == (VerificationFailed, [rule])


def test_a_base_version_must_verify(root) -> None:
    """All its assets are required."""
    (root / MODEL / "v0.1.0" / "predictions.npz").unlink()

    (found,) = refused(root, patch_of(root)).problems

    assert (found.where, found.rule) == ("conv2d_fsq@v0.1.0: predictions.npz", "version.asset-missing")


def test_gates_apply_to_a_patch(root) -> None:
    """They may be stricter than at the release of the base version."""
    assert isinstance(refused(root, patch_of(root), ProjectConfig(gates={"accuracy": Gate(min=1.0)})), GateFailed)


def test_a_patch_needs_its_section(root) -> None:
    """In the changelog, like any release."""
    (root / "CHANGELOG.md").write_text("## [v0.1.0] - x\n")

    assert isinstance(refused(root, patch_of(root)), InputError)


@pytest.mark.parametrize("found", [FITTING, ON_BOTH], ids=["the same", "another"])
def test_a_patch_that_exists_is_refused(root, found) -> None:
    """A version never changes."""
    carry_out(root, patch_of(root))

    assert isinstance(refused(root, patch_of(root, found)), RegistryError)


def test_an_interrupted_patch_is_finished_by_the_same_hef_only(root) -> None:
    """The version exists, and the table is not updated."""
    steps.make_version(planned(root, patch_of(root), PROJECT, PORTS))
    refused(root, patch_of(root, ON_BOTH))

    assert planned(root, patch_of(root), PROJECT, PORTS).steps == ("table",)


def test_an_interrupted_patch_is_not_finished_by_its_run(root) -> None:
    """The weights are the same, but the version differs."""
    steps.make_version(planned(root, patch_of(root), PROJECT, PORTS))
    by_run = Request("v0.1.1", root / "runs/conv2d_fsq-001")

    assert places(refused(root, by_run).problems) == [("conv2d_fsq@v0.1.1", "release.version-exists")]


def test_an_exported_bundle_that_was_changed_is_refused(root) -> None:
    """The problem names the file."""
    export_version(root)
    drop_bundle(root)
    (root / "dist/conv2d_fsq-v0.1.0/hailo8/head.onnx").write_bytes(b"x")

    (found,) = refused(root, patch_of(root)).problems

    assert (Path(found.where).name, found.rule) == ("head.onnx", "export.file-changed")


def test_a_bundle_of_another_version_is_refused(root) -> None:
    """Its graphs have another version number."""
    export_version(root)
    drop_bundle(root)
    folder = root / "dist/conv2d_fsq-v0.1.0/hailo8"
    record, found = attach_hef.open_bundle(folder)
    files.write_folder(folder, bundle_archive.sealed(record, found, "0.3.0"))

    assert ("encoder.onnx", "export.version-mismatch") in places(refused(root, patch_of(root)).problems)


# Lies about the origin


def reseal(folder: Path) -> None:
    """Make the manifest and the sums match the files."""
    manifest = load(folder / "manifest.json", Manifest)
    entries = tuple(
        entry.model_copy(
            update={"sha256": files.sha256(folder / entry.path), "size": (folder / entry.path).stat().st_size}
        )
        for entry in manifest.files
    )
    changed = manifest.model_copy(update={"files": entries})
    (folder / "manifest.json").write_bytes(changed.to_bytes())
    sums = versions.sums_text(changed, files.sha256(folder / "manifest.json"))
    (folder / "sha256sum.txt").write_text(sums)


def lie(folder: Path, change) -> None:
    """Change the last inputs of provenance.json: the base version and the HEF."""
    document = json.loads((folder / "provenance.json").read_text())
    change(document["predicate"]["buildDefinition"]["resolvedDependencies"])
    (folder / "provenance.json").write_bytes(files.to_json(document))
    reseal(folder)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda inputs: inputs[-2]["digest"].update(sha256="0" * 64),
            "version/conv2d_fsq@v0.1.0: mismatch: found 0000",
        ),
        (lambda inputs: inputs[-2].update(digest={}), "version/conv2d_fsq@v0.1.0: mismatch: found no value"),
        (
            lambda inputs: inputs[-2].update(name="version/other@v0.1.0"),
            "found other, expected conv2d_fsq",
        ),
        (lambda inputs: inputs[-1]["digest"].update(sha256="0" * 64), "digest.sha256: mismatch: found 0000"),
        (lambda inputs: inputs.pop(), "resolvedDependencies"),
        (lambda inputs: inputs.pop(-2), "resolvedDependencies"),
        (lambda inputs: inputs.append(inputs[-2]), "resolvedDependencies"),
    ],
)
def test_a_changed_base_version_in_the_provenance_is_found(root, change, problem) -> None:
    """Also if all digests match."""
    made = carry_out(root, patch_of(root)).folder
    lie(made, change)

    assert any(problem in found for found in problems(made))


def test_a_patch_verifies_without_its_base_version(root) -> None:
    """A pulled version verifies on its own."""
    made = carry_out(root, patch_of(root)).folder
    shutil.rmtree(root / MODEL / "v0.1.0")

    assert problems(made) == []


def test_an_unreadable_base_version_is_named(root) -> None:
    """Its manifest is a problem of the patch."""
    made = carry_out(root, patch_of(root)).folder
    (root / MODEL / "v0.1.0/manifest.json").write_text("{")

    assert any("version/conv2d_fsq@v0.1.0: manifest.json" in found for found in problems(made))


def test_a_base_version_with_other_weights_is_named(root) -> None:
    """Also if all digests match."""
    made = carry_out(root, patch_of(root)).folder
    old = root / MODEL / "v0.1.0"
    (old / "run.json").write_bytes((old / "run.json").read_bytes() + b"\n")
    reseal(old)
    lie(made, lambda inputs: inputs[-2]["digest"].update(sha256=files.sha256(old / "manifest.json")))

    assert any("run.json: sha256 as in version/conv2d_fsq@v0.1.0" in found for found in problems(made))


def test_an_unreadable_bundle_record_is_named_once(root) -> None:
    """The other checks run."""
    made = carry_out(root, patch_of(root)).folder
    (made / "hailo8/bundle.json").write_text("{}")
    reseal(made)
    lie(made, lambda inputs: inputs[-2]["digest"].update(sha256="0" * 64))
    found = problems(made)

    named = [sum(word in each for each in found) for word in ("'calibration' is a required", f"found {'0' * 12}…")]
    assert named == [1, 1]


# On the command line


@pytest.fixture
def hef_path(root):
    """A file with a HEF that fits."""
    (root / "x.hef").write_bytes(FITTING.data)
    return root / "x.hef"


def test_release_makes_the_patch(root, hef_path, capsys) -> None:
    """The command prints its steps."""
    code = main(["release", "v0.1.1", "--from", "v0.1.0", "--hef", "x.hef"])

    assert (code, "write registry/conv2d_fsq/v0.1.1" in capsys.readouterr().out, main(["verify"])) == (0, True, 0)


def test_a_dry_run_writes_nothing(root, hef_path, capsys) -> None:
    """It prints the same plan."""
    before = tree(root)

    assert (main(["release", "v0.1.1", "--from", "v0.1.0", "--hef", "x.hef", "--dry-run"]), tree(root)) == (0, before)


def test_a_hef_that_is_not_found_is_refused_before_anything_is_computed(root, monkeypatch, capsys) -> None:
    """Neither a gate nor a digest is printed before."""
    monkeypatch.setattr("modelreg.files.sha256", lambda path: pytest.fail(f"hashed {path}"))
    monkeypatch.setattr("modelreg.release.plan.gate_outcomes", lambda *_: pytest.fail("checked the gates"))
    code = main(["release", "v0.1.1", "--from", "v0.1.0", "--hef", "nowhere.hef"])
    shown = capsys.readouterr()

    assert (code, shown.out, "nowhere.hef: file not found  [hef.file-missing]" in shown.err) == (3, "", True)


@pytest.mark.parametrize(
    "options",
    [
        ["--from", "v0.1.0"],
        ["--hef", "x.hef"],
        ["--from", "v0.1.0", "--hef", "x.hef", "--run", "runs/conv2d_fsq-001"],
        ["--from", "v0.1.0", "--hef", "x.hef", "--model", "conv2d_fsq"],
    ],
)
def test_both_options_are_required(root, hef_path, options) -> None:
    """Exit 2."""
    assert main(["release", "v0.1.1", *options]) == 2


@pytest.mark.parametrize(("origin", "data", "code"), [("v9.0.0", b"", 5), ("v0.1.0", b"stub", 3)])
def test_an_unknown_version_or_an_invalid_hef_is_refused(root, hef_path, origin, data, code) -> None:
    """With the exit code of its kind."""
    hef_path.write_bytes(data or hef_path.read_bytes())

    assert main(["release", "v0.1.1", "--from", origin, "--hef", "x.hef"]) == code


@pytest.mark.parametrize(
    ("found", "device", "code", "words"),
    [
        (FITTING, "hailo8", 0, "conv2d_fsq@v0.1.1: "),
        (FITTING, "hailo8l", 4, "[hef.arch-mismatch]"),
        (ON_BOTH, "hailo8", 0, ""),
        (ON_BOTH, "hailo8l", 0, ""),
    ],
)
def test_verify_checks_for_a_device(root, capsys, found, device, code, words) -> None:
    """A HEF for an 8L runs on both, a HEF for an 8 only on an 8."""
    carry_out(root, patch_of(root, found))

    assert (main(["verify", "v0.1.1", "--device", device]), words in capsys.readouterr().err) == (code, True)


@pytest.mark.parametrize("bundle", [True, False])
def test_a_version_without_a_hef_fails_only_with_device(root, capsys, bundle) -> None:
    """Without --device, a HEF is optional."""
    if not bundle:
        drop_bundle(root)
    codes = [main(["verify", "v0.1.0", *options]) for options in ([], ["--device", "hailo8"])]

    assert (codes, "[hef.missing]" in capsys.readouterr().err) == ([0, 4], True)


def test_one_of_two_hefs_is_enough(root) -> None:
    """Each device has its own HEF."""
    made = carry_out(root, patch_of(root)).folder
    shutil.copytree(made / "hailo8", made / "hailo8l")
    path = made / "hailo8l" / filenames.BUNDLE
    path.write_bytes(load(path, BundleRecord).model_copy(update={"hef": ON_BOTH.info, "hw_arch": "hailo8l"}).to_bytes())

    assert [list(attach_hef.find_device_problems(made, device)) for device in ("hailo8", "hailo8l")] == [[], []]


def test_an_unreadable_bundle_fails_with_device(root) -> None:
    """Its HEF is unknown."""
    (root / MODEL / "v0.1.0/hailo8/bundle.json").write_text("{")

    assert main(["verify", "v0.1.0", "--device", "hailo8"]) == 4


@pytest.mark.parametrize("options", [["--device", "hailo8"], ["v0.1.0", "--device", "hailo10h"]])
def test_a_device_needs_a_version_and_is_one_of_two(root, options) -> None:
    """Exit 2."""
    assert main(["verify", *options]) == 2


def test_a_device_is_part_of_the_findings(root, capsys) -> None:
    """Also in the JSON output."""
    main(["verify", "v0.1.0", "--device", "hailo8l", "--json"])

    assert [each["where"] for each in json.loads(capsys.readouterr().out)["problems"]] == ["conv2d_fsq@v0.1.0: hailo8l"]
