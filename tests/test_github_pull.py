"""Pull from a fake of GitHub: every file is checked before it gets its name."""

import shutil

import pytest
from delivering import MODEL, TAG, make_parcel, publish, pull, session, tree
from places import places

from modelreg import files
from modelreg.errors import InputError, RemoteError, VerificationFailed
from modelreg.registry import filenames
from modelreg.release.github import pull as github_pull

pytest_plugins = ["delivery_fixtures"]
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture
def public(github, parcel):
    """A fake with the published version."""
    publish(github, parcel)
    return github


def test_a_pulled_version_equals_the_published_one(public, parcel, tmp_path) -> None:
    """Byte for byte, without a token, and no other file is left."""
    pull(public, tmp_path / TAG)

    assert (tree(tmp_path / TAG), list(tmp_path.glob(".v*"))) == (parcel.tree, [])


def test_only_missing_files_are_downloaded(public, parcel, tmp_path) -> None:
    """A clone has the documents."""
    shutil.copytree(parcel.folder, tmp_path / TAG)
    (tmp_path / TAG / filenames.CHECKPOINT).unlink()

    assert pull(public, tmp_path / TAG) == [filenames.CHECKPOINT]


def test_an_interrupted_download_is_resumed(github, tmp_path) -> None:
    """With a Range header, from the last byte."""
    large = make_parcel(tmp_path / "here" / TAG, content={"a.bin": (bytes(range(256)) * 12288, "asset")})
    publish(github, large)
    github.fail("GET", "", "truncated", origin="objects", after=1, bytes=2_500_000)
    pull(github, tmp_path / TAG)
    ranges = [e.request.headers.get("range") for e in github.requests if e.origin == "objects"]

    assert (ranges, tree(tmp_path / TAG)) == ([None, None, "bytes=2500000-"], large.tree)


def test_an_interrupted_pull_leaves_no_folder_and_is_resumed(public, parcel, tmp_path) -> None:
    """The folder gets its name once it is complete."""
    public.fail("GET", "", "404", origin="objects", after=3)
    with pytest.raises(RemoteError):
        pull(public, tmp_path / TAG)
    there = (tmp_path / TAG).exists()
    pull(public, tmp_path / TAG)

    assert (there, tree(tmp_path / TAG)) == (False, parcel.tree)


def test_a_corrupt_download_never_gets_its_name(public, parcel, tmp_path) -> None:
    """It is deleted, and the next run downloads it again."""
    public.fail("GET", "", "corrupt", origin="objects", after=2)
    with pytest.raises(VerificationFailed) as caught:
        pull(public, tmp_path / TAG)
    assert [problem.rule for problem in caught.value.problems] == ["pull.digest-mismatch"]
    pull(public, tmp_path / TAG)

    assert tree(tmp_path / TAG) == parcel.tree


@pytest.mark.parametrize(
    ("part", "paths"),
    [
        ("checkpoint", [filenames.CHECKPOINT]),
        ("bundle", ["hailo8/bundle.json"]),
        ("documents", ["hailo8/bundle.json", filenames.CARD]),
    ],
)
def test_a_part_of_a_version_can_be_pulled(public, tmp_path, part, paths) -> None:
    """With the manifest, which proves it. Documents are the files that git stores."""
    assert pull(public, tmp_path / TAG, part) == [*paths, filenames.MANIFEST, filenames.SUMS]


def test_an_incomplete_release_is_refused(public, tmp_path) -> None:
    """Every missing file is named."""
    assets = public.published(TAG).assets
    for number in [n for n, asset in assets.items() if "checkpoint" in asset.name or "card" in asset.name]:
        del assets[number]
    with pytest.raises(RemoteError) as caught:
        pull(public, tmp_path / TAG)

    assert places(caught.value.problems) == [(p, "pull.file-missing") for p in (filenames.CHECKPOINT, filenames.CARD)]


def test_a_release_without_a_manifest_is_refused(github, tmp_path) -> None:
    """modelreg did not make it."""
    github.add_release(TAG, {"x": b"1"})
    with pytest.raises(RemoteError) as caught:
        pull(github, tmp_path / TAG)

    assert places(caught.value.problems) == [("conv2d_fsq-v0.1.0-manifest.json", "pull.manifest-missing")]


def test_another_versions_manifest_is_refused(github, parcel, tmp_path) -> None:
    """Under the name of the requested version."""
    manifest = (parcel.folder / filenames.MANIFEST).read_bytes()
    github.add_release("v0.2.0", {"conv2d_fsq-v0.2.0-manifest.json": manifest})
    with session(github) as client, pytest.raises(VerificationFailed) as caught:
        github_pull.pull(client, github_pull.Wish(MODEL, "0.2.0", "v0.2.0", tmp_path / "x"))

    assert places(caught.value.problems) == [(filenames.MANIFEST, "pull.version-mismatch")]


def test_a_complete_unverified_download_is_repeated(public, parcel, tmp_path) -> None:
    """Its digest was not checked before the interruption."""
    asset = public.published(TAG).find("conv2d_fsq-v0.1.0-manifest.json")
    (tmp_path / f".{TAG}.pull").mkdir()
    (tmp_path / f".{TAG}.pull" / f"{asset.id}.part").write_bytes(b"x" * asset.size)
    pull(public, tmp_path / TAG)

    assert tree(tmp_path / TAG) == parcel.tree


def test_a_server_may_send_the_bytes_without_a_redirect(public, parcel, tmp_path) -> None:
    """As GitHub documents it."""
    public.repo.redirects = False
    pull(public, tmp_path / TAG)

    assert tree(tmp_path / TAG) == parcel.tree


def test_two_processes_cannot_pull_into_one_folder(public, tmp_path) -> None:
    """The second is refused."""
    scratch = tmp_path / f".{TAG}.pull"
    scratch.mkdir()
    with files.sole_writer(scratch, tmp_path), pytest.raises(InputError) as caught:
        pull(public, tmp_path / TAG)

    assert [problem.rule for problem in caught.value.problems] == ["files.locked"]


@pytest.mark.parametrize(("part", "there"), [("all", True), ("documents", True), ("checkpoint", False)])
def test_a_signature_is_pulled_with_the_documents(github, tmp_path, part, there) -> None:
    """If the release has one; the manifest does not list it."""
    publish(github, make_parcel(tmp_path / "here" / TAG, b"sig"))

    assert (filenames.SIGNATURE in pull(github, tmp_path / TAG, part)) == there


def test_an_existing_signature_is_kept(github, tmp_path) -> None:
    """That of the release is not downloaded."""
    parcel = make_parcel(tmp_path / TAG, b"sig")
    publish(github, parcel)

    assert pull(github, tmp_path / TAG) == []


def test_a_corrupt_signature_never_gets_its_name(github, tmp_path) -> None:
    """GitHub's digest shows it."""
    publish(github, make_parcel(tmp_path / "here" / TAG, b"sig"))
    github.fail("GET", "", "corrupt", origin="objects", after=4)
    with pytest.raises(VerificationFailed) as caught:
        pull(github, tmp_path / TAG)

    assert places(caught.value.problems) == [(filenames.SIGNATURE, "pull.digest-mismatch")]
