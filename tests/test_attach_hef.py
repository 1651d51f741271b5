"""A HEF goes into its bundle whole or not at all, and `verify` looks into it there."""

import contextlib
import shutil
import subprocess
from pathlib import Path

import hef_builder
import pytest
from example_export import write_export
from example_run import write_registry, write_run
from hef_builder import network

from modelreg import files
from modelreg.artifacts import attach_hef, bundle_archive, bundle_hef, exports
from modelreg.artifacts import hef_file as hef_reader
from modelreg.cli.main import main
from modelreg.errors import InputError, Problem, RegistryError, VerificationFailed
from modelreg.records.base import load
from modelreg.records.export import NOT_COMPILED, BundleRecord
from modelreg.registry import filenames
from modelreg.verification import exports as export_checks
from modelreg.verification import integrity
from modelreg.verification.version_files import VersionFiles

NET = "conv2d_fsq"
BUNDLE = f"hailo8/{filenames.BUNDLE}"


def fitting(arch: int = 1, **settings) -> bytes:
    """A HEF that the example's bundle makes."""
    return hef_builder.hef(network(NET, (1, 16, 2), 2, (-4.0, 4.0), **settings), arch=arch)


def hef_file(data: bytes) -> hef_reader.HefFile:
    """A HEF as it is loaded."""
    return hef_reader.HefFile(data, hef_reader.parse_hef(data, "x.hef"))


FITTING = hef_file(fitting())
RANDOM = hef_file(hef_builder.hef(network(NET, (1, 16, 2), 2, (0.0, 0.99999))))


def make_run(folder: Path, targets=("hailo8",)) -> Path:
    """An evaluated run with graphs and bundles."""
    run = write_run(folder)
    return write_export(run, files.sha256(run / "checkpoint.safetensors"), targets)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A run with a bundle for a Hailo-8."""
    return make_run(tmp_path_factory.mktemp("template") / "run")


@pytest.fixture
def run(template, tmp_path):
    """The same, to be changed."""
    return Path(shutil.copytree(template, tmp_path / "runs" / "conv2d_fsq-001"))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_hef_that_fits_is_taken(run) -> None:
    """As the network's file, with what it says in bundle.json."""
    place = attach_hef.attach(run, FITTING)

    assert (place, place.read_bytes(), load(run / BUNDLE, BundleRecord).hef) == (
        *(run / "hailo8/conv2d_fsq.hef", FITTING.data),
        FITTING.info,
    )


def test_the_bundle_is_sealed_again(run) -> None:
    """By the oracle for sums, and by ourselves."""
    attach_hef.attach(run, FITTING)
    command = ["sha256sum", "--check", "--strict", "--quiet", "sha256sum.txt"]
    subprocess.run(command, cwd=run / "hailo8", check=True)

    assert list(exports.find_changed(run, "hailo8")) == []


def test_the_archive_is_the_folder(run) -> None:
    """The same files, packed as ever."""
    attach_hef.attach(run, FITTING)

    assert bundle_archive.unpack(run / "hailo8.tar.gz") == tree(run / "hailo8")


def test_nothing_but_the_bundle_changes(run) -> None:
    """In it: the HEF, what states it, and the sentence that it was never compiled."""
    before = tree(run)
    attach_hef.attach(run, FITTING)
    changed = {name for name, data in tree(run).items() if before.get(name) != data}

    names = ("README.md", "bundle.json", "conv2d_fsq.hef", "sha256sum.txt")
    assert (changed, NOT_COMPILED in (run / "hailo8/README.md").read_text()) == (
        {"hailo8.tar.gz", *(f"hailo8/{name}" for name in names)},
        False,
    )


def test_the_last_one_counts(template, tmp_path) -> None:
    """After another, or twice, the bytes are those of once."""
    once, twice = (Path(shutil.copytree(template, tmp_path / name)) for name in ("a", "b"))
    attach_hef.attach(once, FITTING)
    for each in (hef_file(fitting(arch=3)), FITTING, FITTING):
        attach_hef.attach(twice, each)

    assert tree(once) == tree(twice)


def test_a_bundle_without_a_readme_gets_none(run) -> None:
    """Ours has one; it is no rule."""
    record = load(run / BUNDLE, BundleRecord)
    rest = {name: (run / "hailo8" / name).read_bytes() for name in record.files if name != "README.md"}
    files.write_folder(run / "hailo8", bundle_archive.sealed(record, rest, None))
    attach_hef.attach(run, FITTING)

    assert not (run / "hailo8/README.md").exists()


@pytest.mark.parametrize(
    ("found", "limit", "problem"),
    [
        (RANDOM, 2**20, "it looks as if calibrated on random numbers"),
        (hef_file(hef_builder.hef()), 2**20, "network_groups: tiny; must be one, named conv2d_fsq"),
        (FITTING, 100, f"size: {len(FITTING.data)} bytes; at most 100 are taken"),
        (hef_file(fitting(arch=103)), 2**20, "was compiled for hailo10h or 15 (103), which a hailo8 does not take"),
    ],
    ids=["random", "another", "large", "another chip"],
)
def test_what_does_not_fit_is_refused_and_nothing_written(run, found, limit, problem) -> None:
    """The whole run is what it was."""
    before = tree(run)
    with pytest.raises(VerificationFailed) as caught:
        attach_hef.attach(run, found, limit)

    assert (problem in str(caught.value), tree(run)) == (True, before)


@pytest.mark.parametrize(
    ("arch", "available", "chosen"),
    [
        (1, ("hailo8", "hailo8l"), "hailo8"),
        (3, ("hailo8", "hailo8l"), "hailo8l"),
        (3, ("hailo8",), "hailo8"),
        (1, ("hailo8l",), "hailo8l"),  # and does not fit
        (77, ("hailo8l",), "hailo8l"),
    ],
)
def test_a_hef_goes_to_the_bundle_of_its_chip(arch, available, chosen) -> None:
    """Or of one that takes it."""
    assert attach_hef.choose(available, hef_file(fitting(arch)).info, "run") == chosen


def test_an_8l_hef_goes_into_the_bundle_of_either(run, tmp_path) -> None:
    """It runs on both."""
    both = make_run(tmp_path / "both", ("hailo8", "hailo8l"))
    places = [attach_hef.attach(each, hef_file(fitting(arch))) for each, arch in ((both, 3), (both, 1), (run, 3))]

    assert [place.parent.name for place in places] == ["hailo8l", "hailo8", "hailo8"]


def drop_bundle(run: Path) -> None:
    """Never exported for a chip."""
    (run / BUNDLE).unlink()


def damage_graph(run: Path) -> None:
    """Somebody changed a file."""
    (run / "hailo8/head.onnx").write_bytes(b"other")


def no_run(run: Path) -> None:
    """Some folder."""
    (run / "run.json").unlink()


def climb(run: Path) -> None:
    """A network whose name is a path, everything else being right."""
    record = load(run / BUNDLE, BundleRecord).model_copy(update={"network": "../up"})
    (run / BUNDLE).write_bytes(record.to_bytes())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (drop_bundle, "has no bundle; make one with `modelreg export "),
        (damage_graph, "hailo8/head.onnx: was changed since it was exported"),
        (no_run, "holds no run.json"),
        (climb, "bundle.json: files"),
    ],
)
def test_without_a_whole_bundle_there_is_nothing_to_attach_to(run, change, problem) -> None:
    """Exit 3, nothing written."""
    change(run)
    before = tree(run.parent)
    name = "../up" if change is climb else NET
    found = hef_file(hef_builder.hef(network(name, (1, 16, 2), 2, (-4.0, 4.0))))
    with pytest.raises(InputError) as caught:
        attach_hef.attach(run, found)

    assert (problem in str(caught.value), tree(run.parent)) == (True, before)


def test_a_version_takes_none(run) -> None:
    """It never changes."""
    (run / "manifest.json").write_bytes(b"{}")
    with pytest.raises(RegistryError, match="make a new one: modelreg release"):
        attach_hef.attach(run, FITTING)


def test_an_export_over_a_hef_is_refused(run) -> None:
    """It came from another machine, behind a login."""
    attach_hef.refuse_loss(run, ("onnx", "hailo8", "hailo8l"))
    attach_hef.attach(run, FITTING)
    with pytest.raises(InputError, match="holds a HEF that was attached to it; move the folder away"):
        attach_hef.refuse_loss(run, ("onnx", "hailo8", "hailo8l"))


# Interrupted


class Killed(BaseException):
    """Nothing catches it."""


def attach_killed(run: Path, monkeypatch, at: int) -> int:
    """Attach, killed before the `at`-th step that gives or takes a name; return how many steps there were."""
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
    """At every step, but for hidden leftovers; what was interrupted is finished by the same command."""
    shutil.copytree(run, tmp_path / "done")
    steps = attach_killed(tmp_path / "done", monkeypatch, 0)
    before, after = (tree(each / "hailo8") for each in (run, tmp_path / "done"))
    for at in range(1, steps + 1):
        interrupted = Path(shutil.copytree(run, tmp_path / f"run-{at}"))
        attach_killed(interrupted, monkeypatch, at)
        assert tree(interrupted / "hailo8") in (before, after), at
        attach_hef.attach(interrupted, FITTING)
        assert tree(interrupted) == tree(tmp_path / "done"), at


def test_a_kill_between_two_renames_is_mended(run) -> None:
    """The one moment at which the bundle has no name."""
    (run / "hailo8").rename(run / ".hailo8.old")

    assert attach_hef.attach(run, FITTING).is_file()


# In a version


@pytest.fixture(scope="module")
def released(template, tmp_path_factory):
    """A registry whose one run has a HEF in its bundle, and the version that was released of it."""
    root = write_registry(tmp_path_factory.mktemp("released"))
    run = Path(shutil.copytree(template, root / "runs" / "conv2d_fsq-001"))
    attach_hef.attach(run, FITTING)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(root)
        assert main(["release", "v0.1.0", "--roll-changelog"]) == 0
    return root


@pytest.fixture
def version(released):
    """The version, to be read."""
    return released / "registry/conv2d_fsq/v0.1.0"


@pytest.fixture
def root(released, tmp_path, monkeypatch):
    """The registry, to be changed; it is the working directory."""
    monkeypatch.chdir(shutil.copytree(released, tmp_path / "r"))
    return Path.cwd()


def problems(version: Path) -> list[str]:
    """What verify says of a version's exports, its digests left aside."""
    found = integrity.inspect(version, complete=True).problems
    return [str(each) for each in found if "sha256" not in each.what and "bytes, not" not in each.what]


def test_a_release_takes_the_hef_along(version) -> None:
    """In the archive, stated by bundle.json, which git keeps."""
    bundle = bundle_archive.unpack(version / "hailo8" / filenames.ARCHIVE)

    assert (problems(version), bundle["conv2d_fsq.hef"], load(version / BUNDLE, BundleRecord).hef) == (
        *([], FITTING.data),
        FITTING.info,
    )


def record_of(version: Path) -> BundleRecord:
    """What bundle.json states."""
    return load(version / BUNDLE, BundleRecord)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"hef": None}, "its compiled networks are"),
        ({"hef": RANDOM.info}, "its compiled networks are"),
        ({"hw_arch": "hailo8l"}, "hef: hw_arch: was compiled for hailo8 (1), which a hailo8l does not take"),
        ({"network": "other"}, "hef: network_groups: conv2d_fsq; must be one, named other"),
    ],
    ids=["none", "another", "chip", "network"],
)
def test_a_record_that_contradicts_its_hef_is_found(version, changes, problem) -> None:
    """Without the archive."""
    found = [str(each) for each in bundle_hef.find_record_problems(record_of(version).model_copy(update=changes))]

    assert any(problem in each for each in found)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "conv2d_fsq.hef: is a Git LFS pointer"),
        (b"", "conv2d_fsq.hef: is empty"),
        (FITTING.data[:-1], "conv2d_fsq.hef: has"),
        (RANDOM.data, "conv2d_fsq.hef: says something else than `hef` of bundle.json"),
    ],
    ids=["pointer", "empty", "cut off", "another"],
)
def test_what_is_not_the_hef_in_the_bundle_is_found(version, data, problem) -> None:
    """Its header and checksum, not the digest alone."""
    bundle = {**bundle_archive.unpack(version / "hailo8" / filenames.ARCHIVE), "conv2d_fsq.hef": data}

    assert problem in str(next(bundle_hef.find_file_problems(bundle, record_of(version))))


def test_verify_looks_into_the_archive(root) -> None:
    """The two checks above are part of it."""
    version = root / "registry/conv2d_fsq/v0.1.0"
    record = record_of(version)
    bundle = bundle_archive.unpack(version / "hailo8" / filenames.ARCHIVE)
    rest = {name: data for name, data in bundle.items() if name not in (filenames.BUNDLE, "sha256sum.txt")}
    lying = bundle_archive.reseal({**rest, "conv2d_fsq.hef": b"stub"}, record)
    archive = version / "hailo8" / filenames.ARCHIVE
    archive.write_bytes(bundle_archive.pack(lying))
    (version / BUNDLE).write_bytes(lying[filenames.BUNDLE])
    seen = [str(each) for each in export_problems(version)]

    assert [each.split(": ")[1:3] for each in seen[-2:]] == [
        ["files", "its compiled networks are {'conv2d_fsq.hef'"],
        ["conv2d_fsq.hef", "is text, not a compiled network"],
    ]


def export_problems(version: Path) -> list[Problem]:
    """What is wrong with the exports of a version, its digests taken anew."""
    from modelreg.records.data import DataRecord
    from modelreg.records.model import ModelSpec

    digests = {name: files.sha256_bytes(data) for name, data in tree(version).items()}
    spec, data = load(version / "model_config.json", ModelSpec), load(version / "data.json", DataRecord)
    here = VersionFiles(version, "0.1.0", digests, frozenset(digests))
    return [*export_checks.find_graph_problems(here, spec), *export_checks.find_bundle_problems(here, spec, data)]


def test_a_bundle_without_a_hef_is_the_document_that_it_was(run) -> None:
    """No new key: what older versions hold still verifies, byte for byte."""
    record = load(run / BUNDLE, BundleRecord)

    assert (record.hef, "hef" in record.to_document(), record.to_bytes()) == (
        *(None, False),
        (run / BUNDLE).read_bytes(),
    )


# On the command line


@pytest.mark.parametrize(
    ("data", "options", "code"),
    [(fitting(), [], 0), (RANDOM.data, [], 4), (b"{}", [], 3), (fitting() + bytes(2**21), ["--max-mb", "1"], 3)],
    ids=["fits", "random", "mock", "something added"],
)
def test_attach_is_0_4_or_3(root, capsys, data, options, code) -> None:
    """It fits, it does not, it is none."""
    (root / "x.hef").write_bytes(data)

    assert main(["hef", "attach", "runs/conv2d_fsq-001", "x.hef", *options]) == code


def test_attach_says_where_and_what_is_next(root, capsys) -> None:
    """On stdout."""
    (root / "x.hef").write_bytes(fitting())
    main(["hef", "attach", "runs/conv2d_fsq-001", "x.hef"])

    assert capsys.readouterr().out.splitlines() == [
        "runs/conv2d_fsq-001/hailo8/conv2d_fsq.hef: compiled for hailo8; it fits the bundle, and is in its archive too",
        "next: modelreg release v0.2.0 --run runs/conv2d_fsq-001",
    ]


def test_a_larger_one_may_be_asked_for(root) -> None:
    """--max-mb, in MiB."""
    large = hef_builder.sealed(
        hef_builder.description(network(NET, (1, 16, 2), 2, (-4.0, 4.0))), configuration=bytes(2 * 2**20)
    )
    (root / "x.hef").write_bytes(large)
    command = ["hef", "attach", "runs/conv2d_fsq-001", "x.hef", "--max-mb"]

    assert [main([*command, size]) for size in ("2", "3")] == [4, 0]
