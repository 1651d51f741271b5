"""A HEF is attached to its bundle atomically, and `verify` checks it there."""

import contextlib
import shutil
import subprocess
from pathlib import Path

import hef_builder
import pytest
from example_export import write_export
from example_run import write_registry, write_run
from hef_builder import network
from places import places

from modelreg import files
from modelreg.artifacts import attach_hef, bundle_archive, bundle_hef, exports
from modelreg.artifacts import hef_file as hef_reader
from modelreg.cli.main import main
from modelreg.errors import InputError, Problem, RegistryError, VerificationFailed
from modelreg.records.base import load
from modelreg.records.export import NOT_COMPILED, NOT_COMPILED_IN_0_2, BundleRecord
from modelreg.registry import filenames
from modelreg.verification import exports as export_checks
from modelreg.verification import integrity
from modelreg.verification.version_files import VersionFiles

NET = "conv2d_fsq"
BUNDLE = f"hailo8/{filenames.BUNDLE}"


def fitting(arch: int = 1, **settings) -> bytes:
    """Return a HEF that fits the example's bundle."""
    return hef_builder.hef(network(NET, (1, 16, 2), 2, (-4.0, 4.0), **settings), arch=arch)


def hef_file(data: bytes) -> hef_reader.HefFile:
    """Return a HEF as the reader returns it."""
    return hef_reader.HefFile(data, hef_reader.parse_hef(data, "x.hef"))


FITTING = hef_file(fitting())
RANDOM = hef_file(hef_builder.hef(network(NET, (1, 16, 2), 2, (0.0, 0.99999))))


def make_run(folder: Path, targets=("hailo8",)) -> Path:
    """Make an evaluated run with graphs and bundles."""
    run = write_run(folder)
    return write_export(run, files.sha256(run / "checkpoint.safetensors"), targets)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A run with a bundle for a Hailo-8."""
    return make_run(tmp_path_factory.mktemp("template") / "run")


@pytest.fixture
def run(template, tmp_path):
    """A copy of the run, for tests that change it."""
    return Path(shutil.copytree(template, tmp_path / "runs" / "conv2d_fsq-001"))


def tree(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file below a folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_hef_that_fits_is_attached(run) -> None:
    """Its file is named after the network, and bundle.json has its metadata."""
    place = attach_hef.attach(run, FITTING)

    assert (place, place.read_bytes(), load(run / BUNDLE, BundleRecord).hef) == (
        *(run / "hailo8/conv2d_fsq.hef", FITTING.data),
        FITTING.info,
    )


def test_the_bundle_is_sealed_again(run) -> None:
    """sha256sum and find_changed accept it."""
    attach_hef.attach(run, FITTING)
    command = ["sha256sum", "--check", "--strict", "--quiet", "sha256sum.txt"]
    subprocess.run(command, cwd=run / "hailo8", check=True)

    assert list(exports.find_changed(run, "hailo8")) == []


def test_the_archive_has_the_files_of_the_folder(run) -> None:
    """With the same bytes."""
    attach_hef.attach(run, FITTING)

    assert bundle_archive.unpack(run / "hailo8.tar.gz") == tree(run / "hailo8")


def test_only_the_bundle_changes(run) -> None:
    """The HEF, its metadata and digest, and the sentence in the README that the bundle was not compiled."""
    before = tree(run)
    attach_hef.attach(run, FITTING)
    changed = {name for name, data in tree(run).items() if before.get(name) != data}

    names = ("README.md", "bundle.json", "conv2d_fsq.hef", "sha256sum.txt")
    assert (changed, NOT_COMPILED_IN_0_2 in (run / "hailo8/README.md").read_text()) == (
        {"hailo8.tar.gz", *(f"hailo8/{name}" for name in names)},
        False,
    )


@pytest.mark.parametrize("sentence", [NOT_COMPILED, NOT_COMPILED_IN_0_2], ids=["new", "0.2"])
def test_the_readme_of_a_compiled_bundle_names_its_hef(run, sentence) -> None:
    """Instead of the sentence that the bundle is not compiled, also in bundles of modelreg 0.2."""
    record, found = attach_hef.open_bundle(run / "hailo8")
    _, changed = attach_hef.with_hef((record, {**found, "README.md": sentence.encode()}), FITTING, "hailo8")

    assert (sentence.encode() in changed["README.md"], b"conv2d_fsq.hef" in changed["README.md"]) == (False, True)


def test_the_last_hef_replaces_the_others(template, tmp_path) -> None:
    """The bytes are the same as after a single attach."""
    once, twice = (Path(shutil.copytree(template, tmp_path / name)) for name in ("a", "b"))
    attach_hef.attach(once, FITTING)
    for each in (hef_file(fitting(arch=3)), FITTING, FITTING):
        attach_hef.attach(twice, each)

    assert tree(once) == tree(twice)


def test_a_bundle_without_a_readme_gets_none(run) -> None:
    """A README is optional."""
    record = load(run / BUNDLE, BundleRecord)
    rest = {name: (run / "hailo8" / name).read_bytes() for name in record.files if name != "README.md"}
    files.write_folder(run / "hailo8", bundle_archive.sealed(record, rest, None))
    attach_hef.attach(run, FITTING)

    assert not (run / "hailo8/README.md").exists()


@pytest.mark.parametrize(
    ("found", "limit", "problem"),
    [
        (RANDOM, 2**20, ("input conv2d_fsq/input_layer1", "hef.calibration-clipped")),
        (hef_file(hef_builder.hef()), 2**20, ("network_groups", "hef.network-mismatch")),
        (FITTING, 100, ("size", "hef.too-large")),
        (hef_file(fitting(arch=103)), 2**20, ("hw_arch", "hef.arch-mismatch")),
    ],
    ids=["random", "another", "large", "another chip"],
)
def test_a_hef_that_does_not_fit_is_refused(run, found, limit, problem) -> None:
    """Nothing is written."""
    before = tree(run)
    with pytest.raises(VerificationFailed) as caught:
        attach_hef.attach(run, found, limit)

    assert (places(caught.value.problems), tree(run)) == ([problem], before)


def test_metadata_that_would_make_the_bundle_unreadable_are_refused(run, monkeypatch) -> None:
    """A HEF may have text of any length, bundle.json may not."""
    monkeypatch.setattr(attach_hef, "INFO_LIMIT", len(FITTING.info.to_bytes()) - 1)
    before = tree(run)
    with pytest.raises(VerificationFailed) as caught:
        attach_hef.attach(run, FITTING)

    assert (places(caught.value.problems), tree(run)) == ([("metadata", "hef.too-large")], before)


NOTHING = {"numeric": {"scale": 0.0, "zero_point": 0.0, "scales": [], "zero_points": [], "low": 0.0, "high": 0.0}}


def test_what_could_not_be_compared_is_printed(root, capsys) -> None:
    """The HEF states no scale for its input."""
    (root / "x.hef").write_bytes(fitting(input=NOTHING))

    assert main(["hef", "attach", "runs/conv2d_fsq-001", "x.hef"]) == 0
    assert "notice: input conv2d_fsq/input_layer1: the HEF does not state its scale" in capsys.readouterr().err


def test_a_version_says_what_could_not_be_compared(root, capsys) -> None:
    """A patch with such a HEF is released and verifies, also for the device; each command states it."""
    (root / "x.hef").write_bytes(fitting(input=NOTHING, output=NOTHING))
    steps = (
        ["release", "v0.1.1", "--from", "v0.1.0", "--hef", "x.hef"],
        ["verify", "v0.1.1"],
        ["verify", "v0.1.1", "--device", "hailo8"],
    )
    for words in steps:
        assert main(words) == 0
        said = capsys.readouterr().err
        assert ("input conv2d_fsq/input_layer1: the HEF" in said, "output conv2d_fsq/fc1: the HEF" in said) == (
            *(True, True),
        ), words


def test_a_hef_of_compiler_5_is_attached(root) -> None:
    """A long name of the compiler, no list of scales for the input, and outputs quantized per channel."""
    one, many = {"scales": [], "zero_points": []}, {"scales": [0.1, 0.2], "zero_points": [3.0, 128.0]}
    group = network(NET, (1, 16, 2), 2, (-4.0, 4.0), input={"numeric": one}, output={"numeric": many})
    (root / "x.hef").write_bytes(hef_builder.hef(group, version=3, extensions=(25, 26), sdk_version="5.3.0 " * 50))

    assert main(["hef", "attach", "runs/conv2d_fsq-001", "x.hef"]) == 0
    assert main(["release", "v0.1.1", "--from", "v0.1.0", "--hef", "x.hef"]) == 0
    assert main(["verify", "v0.1.1"]) == 0


@pytest.mark.parametrize(
    ("arch", "available", "chosen"),
    [
        (1, ("hailo8", "hailo8l"), "hailo8"),
        (3, ("hailo8", "hailo8l"), "hailo8l"),
        (3, ("hailo8",), "hailo8"),
        (1, ("hailo8l",), "hailo8l"),  # which it does not fit
        (77, ("hailo8l",), "hailo8l"),
    ],
)
def test_a_hef_is_attached_to_the_bundle_of_its_chip(arch, available, chosen) -> None:
    """Or of another chip that can run it."""
    assert attach_hef.choose(available, hef_file(fitting(arch)).info, "run") == chosen


def test_a_hef_for_an_8l_fits_both_bundles(run, tmp_path) -> None:
    """It runs on both chips."""
    both = make_run(tmp_path / "both", ("hailo8", "hailo8l"))
    places = [attach_hef.attach(each, hef_file(fitting(arch))) for each, arch in ((both, 3), (both, 1), (run, 3))]

    assert [place.parent.name for place in places] == ["hailo8l", "hailo8", "hailo8"]


def drop_bundle(run: Path) -> None:
    """Remove the bundle."""
    (run / BUNDLE).unlink()


def damage_graph(run: Path) -> None:
    """Change a file of the bundle."""
    (run / "hailo8/head.onnx").write_bytes(b"other")


def no_run(run: Path) -> None:
    """Make the folder one that is not a run."""
    (run / "run.json").unlink()


def climb(run: Path) -> None:
    """Use a path as the name of the network."""
    record = load(run / BUNDLE, BundleRecord).model_copy(update={"network": "../up"})
    (run / BUNDLE).write_bytes(record.to_bytes())


@pytest.mark.parametrize(
    ("change", "where", "rule"),
    [
        (drop_bundle, "{run}", "hef.bundle-missing"),
        (damage_graph, "hailo8/head.onnx", "export.file-changed"),
        (no_run, "{run}", "run.not-a-run"),
        (climb, "bundle.json: files", ""),
    ],
)
def test_a_complete_bundle_is_required(run, change, where, rule) -> None:
    """Nothing is written."""
    change(run)
    before = tree(run.parent)
    name = "../up" if change is climb else NET
    found = hef_file(hef_builder.hef(network(name, (1, 16, 2), 2, (-4.0, 4.0))))
    with pytest.raises(InputError) as caught:
        attach_hef.attach(run, found)
    first = caught.value.problems[0]

    assert (first.where.startswith(where.format(run=run)), tree(run.parent)) == (True, before)
    assert rule in ("", first.rule)


def test_a_version_is_never_changed(run) -> None:
    """The next step is a new version."""
    (run / "manifest.json").write_bytes(b"{}")
    with pytest.raises(RegistryError) as caught:
        attach_hef.attach(run, FITTING)
    (found,) = caught.value.problems

    assert (found.where, found.rule, "modelreg release" in found.next) == (str(run), "version.immutable", True)


def test_an_export_does_not_delete_a_hef(run) -> None:
    """A HEF was compiled on another machine and cannot be made again here."""
    attach_hef.refuse_loss(run, ("onnx", "hailo8", "hailo8l"))
    attach_hef.attach(run, FITTING)
    with pytest.raises(InputError) as caught:
        attach_hef.refuse_loss(run, ("onnx", "hailo8", "hailo8l"))

    assert places(caught.value.problems) == [(str(run / "hailo8"), "hef.would-be-lost")]


# Interrupted


class Killed(BaseException):
    """An exception that is not caught."""


def attach_killed(run: Path, monkeypatch, at: int) -> int:
    """Attach, killed before step number `at` that changes a name. Return the number of steps."""
    steps = 0

    def dying(real):
        def step(*arguments, **named):
            nonlocal steps
            steps += 1
            if steps == at:
                raise Killed
            return real(*arguments, **named)

        return step

    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        for owner, name in ((Path, "rename"), (Path, "replace"), (Path, "mkdir"), (shutil, "rmtree")):
            patch.setattr(owner, name, dying(getattr(owner, name)))
        attach_hef.attach(run, FITTING)
    return steps


def test_an_interrupted_attach_leaves_one_bundle_or_the_other(run, tmp_path, monkeypatch) -> None:
    """At every step, except for hidden leftovers. The same command finishes an interrupted one."""
    shutil.copytree(run, tmp_path / "done")
    steps = attach_killed(tmp_path / "done", monkeypatch, 0)
    before, after = (tree(each / "hailo8") for each in (run, tmp_path / "done"))
    for at in range(1, steps + 1):
        interrupted = Path(shutil.copytree(run, tmp_path / f"run-{at}"))
        attach_killed(interrupted, monkeypatch, at)
        assert tree(interrupted / "hailo8") in (before, after), at
        attach_hef.attach(interrupted, FITTING)
        assert tree(interrupted) == tree(tmp_path / "done"), at


def test_a_kill_between_two_renames_is_recovered(run) -> None:
    """Between them, the bundle does not have its name."""
    (run / "hailo8").rename(run / ".hailo8.old")

    assert attach_hef.attach(run, FITTING).is_file()


# In a version


@pytest.fixture(scope="module")
def released(template, tmp_path_factory):
    """A registry with a run that has a HEF in its bundle, and the version of this run."""
    root = write_registry(tmp_path_factory.mktemp("released"))
    run = Path(shutil.copytree(template, root / "runs" / "conv2d_fsq-001"))
    attach_hef.attach(run, FITTING)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(root)
        assert main(["release", "v0.1.0", "--roll-changelog"]) == 0
    return root


@pytest.fixture
def version(released):
    """The version, for tests that read it."""
    return released / "registry/conv2d_fsq/v0.1.0"


@pytest.fixture
def root(released, tmp_path, monkeypatch):
    """A copy of the registry as the working directory, for tests that change it."""
    monkeypatch.chdir(shutil.copytree(released, tmp_path / "r"))
    return Path.cwd()


def problems(version: Path) -> list[str]:
    """Return the problems of a version, except digests and sizes."""
    found = integrity.inspect(version, complete=True).problems
    return [str(each) for each in found if each.rule not in ("verify.digest-mismatch", "verify.size-mismatch")]


def test_a_release_contains_the_hef(version) -> None:
    """The file is in the archive, and its metadata in bundle.json."""
    bundle = bundle_archive.unpack(version / "hailo8" / filenames.ARCHIVE)

    assert (problems(version), bundle["conv2d_fsq.hef"], load(version / BUNDLE, BundleRecord).hef) == (
        *([], FITTING.data),
        FITTING.info,
    )


def record_of(version: Path) -> BundleRecord:
    """Return bundle.json."""
    return load(version / BUNDLE, BundleRecord)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"hef": None}, ("files", "hef.record-mismatch")),
        ({"hef": RANDOM.info}, ("files", "hef.record-mismatch")),
        ({"hw_arch": "hailo8l"}, ("hef: hw_arch", "hef.arch-mismatch")),
        ({"network": "other"}, ("hef: network_groups", "hef.network-mismatch")),
    ],
    ids=["none", "another", "chip", "network"],
)
def test_a_record_that_contradicts_its_hef_is_found(version, changes, problem) -> None:
    """The archive is not needed."""
    assert problem in places(bundle_hef.find_record_problems(record_of(version).model_copy(update=changes)))


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "hef.not-a-hef"),
        (b"", "hef.not-a-hef"),
        (FITTING.data[:-1], "hef.invalid"),
        (RANDOM.data, "hef.record-mismatch"),
    ],
    ids=["pointer", "empty", "truncated", "another"],
)
def test_another_file_in_place_of_the_hef_is_found(version, data, rule) -> None:
    """Its header and checksum are read, not only its digest."""
    bundle = {**bundle_archive.unpack(version / "hailo8" / filenames.ARCHIVE), "conv2d_fsq.hef": data}

    assert places(bundle_hef.find_file_problems(bundle, record_of(version))) == [("conv2d_fsq.hef", rule)]


def test_verify_checks_the_hef_in_the_archive(root) -> None:
    """Both checks above run."""
    version = root / "registry/conv2d_fsq/v0.1.0"
    record = record_of(version)
    bundle = bundle_archive.unpack(version / "hailo8" / filenames.ARCHIVE)
    rest = {name: data for name, data in bundle.items() if name not in (filenames.BUNDLE, "sha256sum.txt")}
    lying = bundle_archive.reseal({**rest, "conv2d_fsq.hef": b"stub"}, record)
    archive = version / "hailo8" / filenames.ARCHIVE
    archive.write_bytes(bundle_archive.pack(lying))
    (version / BUNDLE).write_bytes(lying[filenames.BUNDLE])

    assert places(export_problems(version)[-2:]) == [
        ("hailo8/bundle.json: files", "hef.record-mismatch"),
        ("hailo8/bundle.tar.gz: conv2d_fsq.hef", "hef.not-a-hef"),
    ]


def export_problems(version: Path) -> list[Problem]:
    """Return the problems of a version's exports, with new digests."""
    from modelreg.records.data import DataRecord
    from modelreg.records.model import ModelSpec

    digests = {name: files.sha256_bytes(data) for name, data in tree(version).items()}
    spec, data = load(version / "model_config.json", ModelSpec), load(version / "data.json", DataRecord)
    here = VersionFiles(version, "0.1.0", digests, frozenset(digests))
    return [*export_checks.find_graph_problems(here, spec), *export_checks.find_bundle_problems(here, spec, data)]


def test_a_bundle_without_a_hef_has_no_new_key(run) -> None:
    """Bundles of earlier versions verify byte for byte."""
    record = load(run / BUNDLE, BundleRecord)

    assert (record.hef, "hef" in record.to_document(), record.to_bytes()) == (
        *(None, False),
        (run / BUNDLE).read_bytes(),
    )


# On the command line


@pytest.mark.parametrize(
    ("data", "options", "code"),
    [(fitting(), [], 0), (RANDOM.data, [], 4), (b"{}", [], 3), (fitting() + bytes(2**21), ["--max-mb", "1"], 3)],
    ids=["fits", "random", "mock", "too large"],
)
def test_attach_is_0_4_or_3(root, capsys, data, options, code) -> None:
    """The HEF fits, it does not fit, or it is not a HEF."""
    (root / "x.hef").write_bytes(data)

    assert main(["hef", "attach", "runs/conv2d_fsq-001", "x.hef", *options]) == code


def test_attach_prints_the_path_and_the_next_command(root, capsys) -> None:
    """On stdout; the run is not released."""
    shutil.rmtree(root / "registry/conv2d_fsq/v0.1.0")
    (root / "x.hef").write_bytes(fitting())
    main(["hef", "attach", "runs/conv2d_fsq-001", "x.hef"])

    assert capsys.readouterr().out.splitlines() == [
        "attached runs/conv2d_fsq-001/hailo8/conv2d_fsq.hef (compiled for hailo8) and updated the bundle's archive",
        "next: modelreg release v0.1.0 --run runs/conv2d_fsq-001",
    ]


def test_the_next_command_of_a_released_run_adds_the_hef_to_its_version(root, capsys) -> None:
    """The same weights are not released twice."""
    (root / "x.hef").write_bytes(fitting())
    main(["hef", "attach", "runs/conv2d_fsq-001", "x.hef"])
    step = capsys.readouterr().out.splitlines()[-1]

    assert step == "next: modelreg release v0.1.1 --from conv2d_fsq@v0.1.0 --hef x.hef"
    assert main(step.split()[2:]) == 0


def test_the_size_limit_is_an_option(root) -> None:
    """--max-mb, in MiB."""
    large = hef_builder.sealed(
        hef_builder.description(network(NET, (1, 16, 2), 2, (-4.0, 4.0))), configuration=bytes(2 * 2**20)
    )
    (root / "x.hef").write_bytes(large)
    command = ["hef", "attach", "runs/conv2d_fsq-001", "x.hef", "--max-mb"]

    assert [main([*command, size]) for size in ("2", "3")] == [4, 0]
