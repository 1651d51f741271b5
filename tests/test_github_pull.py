"""Pulling from a fake of GitHub: every byte checked, nothing under its name before it is right."""

import shutil

import pytest
from delivering import MODEL, TAG, make_parcel, publish, pull, session, tree

from modelreg import files
from modelreg.errors import InputError, RemoteError, VerificationFailed
from modelreg.registry import filenames
from modelreg.release.github import pull as github_pull

pytest_plugins = ["delivery_fixtures"]
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture
def public(github, parcel):
    """A fake with the version published."""
    publish(github, parcel)
    return github


def test_what_was_published_comes_back(public, parcel, tmp_path) -> None:
    """Byte for byte, without a token, with nothing beside it."""
    pull(public, tmp_path / TAG)

    assert (tree(tmp_path / TAG), list(tmp_path.glob(".v*"))) == (parcel.tree, [])


def test_only_what_is_missing_is_downloaded(public, parcel, tmp_path) -> None:
    """A clone has the documents already."""
    shutil.copytree(parcel.folder, tmp_path / TAG)
    (tmp_path / TAG / filenames.CHECKPOINT).unlink()

    assert pull(public, tmp_path / TAG) == [filenames.CHECKPOINT]


def test_a_cut_download_goes_on_where_it_ended(github, tmp_path) -> None:
    """By Range, from the last whole mebibyte, and ends with the right bytes."""
    large = make_parcel(tmp_path / "here" / TAG, content={"a.bin": (bytes(range(256)) * 12288, "asset")})
    publish(github, large)
    github.fail("GET", "", "truncated", origin="objects", after=1, bytes=2_500_000)
    pull(github, tmp_path / TAG)
    ranges = [e.request.headers.get("range") for e in github.requests if e.origin == "objects"]

    assert (ranges, tree(tmp_path / TAG)) == ([None, None, "bytes=2097152-"], large.tree)


def test_a_pull_that_ended_leaves_no_folder_and_goes_on(public, parcel, tmp_path) -> None:
    """Nothing has the version's name before it is whole."""
    public.fail("GET", "", "404", origin="objects", after=3)
    with pytest.raises(RemoteError):
        pull(public, tmp_path / TAG)
    there = (tmp_path / TAG).exists()
    pull(public, tmp_path / TAG)

    assert (there, tree(tmp_path / TAG)) == (False, parcel.tree)


def test_a_corrupt_download_never_gets_its_name(public, parcel, tmp_path) -> None:
    """It is thrown away, and comes right the next time."""
    public.fail("GET", "", "corrupt", origin="objects", after=2)
    with pytest.raises(VerificationFailed, match="not what it should be"):
        pull(public, tmp_path / TAG)
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
def test_a_part_may_be_chosen(public, tmp_path, part, paths) -> None:
    """With the manifest that proves it; documents are what git keeps."""
    assert pull(public, tmp_path / TAG, part) == [*paths, filenames.MANIFEST, filenames.SUMS]


def test_a_release_that_lacks_a_file_is_not_whole(public, tmp_path) -> None:
    """All that is missing is named."""
    assets = public.published(TAG).assets
    for number in [n for n, asset in assets.items() if "checkpoint" in asset.name or "card" in asset.name]:
        del assets[number]
    with pytest.raises(RemoteError) as caught:
        pull(public, tmp_path / TAG)

    assert [problem.where for problem in caught.value.problems] == [filenames.CHECKPOINT, filenames.CARD]


def test_a_release_of_somebody_else_is_refused(github, tmp_path) -> None:
    """It has no manifest of ours."""
    github.add_release(TAG, {"x": b"1"})
    with pytest.raises(RemoteError, match="not one of ours"):
        pull(github, tmp_path / TAG)


def test_another_versions_manifest_is_refused(github, parcel, tmp_path) -> None:
    """Under the name of this one."""
    manifest = (parcel.folder / filenames.MANIFEST).read_bytes()
    github.add_release("v0.2.0", {"conv2d_fsq-v0.2.0-manifest.json": manifest})
    with session(github) as client, pytest.raises(VerificationFailed, match="not the version that was asked for"):
        github_pull.pull(client, github_pull.Wish(MODEL, "0.2.0", "v0.2.0", tmp_path / "x"))


def test_a_whole_leftover_is_downloaded_anew(public, parcel, tmp_path) -> None:
    """Its digest was not proven before the kill."""
    asset = public.published(TAG).find("conv2d_fsq-v0.1.0-manifest.json")
    (tmp_path / f".{TAG}.pull").mkdir()
    (tmp_path / f".{TAG}.pull" / f"{asset.id}.part").write_bytes(b"x" * asset.size)
    pull(public, tmp_path / TAG)

    assert tree(tmp_path / TAG) == parcel.tree


def test_a_server_that_sends_the_bytes_itself_is_read_too(public, parcel, tmp_path) -> None:
    """Without a redirect."""
    public.repo.redirects = False
    pull(public, tmp_path / TAG)

    assert tree(tmp_path / TAG) == parcel.tree


def test_two_do_not_pull_into_one_folder(public, tmp_path) -> None:
    """The second is told."""
    scratch = tmp_path / f".{TAG}.pull"
    scratch.mkdir()
    with files.sole_writer(scratch, tmp_path), pytest.raises(InputError) as caught:
        pull(public, tmp_path / TAG)

    assert [problem.rule for problem in caught.value.problems] == ["files.locked"]


@pytest.mark.parametrize(("part", "there"), [("all", True), ("documents", True), ("checkpoint", False)])
def test_a_signature_comes_with_the_documents(github, tmp_path, part, there) -> None:
    """Where the release has one; the manifest does not list it."""
    publish(github, make_parcel(tmp_path / "here" / TAG, b"sig"))

    assert (filenames.SIGNATURE in pull(github, tmp_path / TAG, part)) == there


def test_a_signature_that_is_here_stays(github, tmp_path) -> None:
    """The release's is not fetched."""
    parcel = make_parcel(tmp_path / TAG, b"sig")
    publish(github, parcel)

    assert pull(github, tmp_path / TAG) == []


def test_a_corrupt_signature_never_gets_its_name(github, tmp_path) -> None:
    """GitHub's digest tells."""
    publish(github, make_parcel(tmp_path / "here" / TAG, b"sig"))
    github.fail("GET", "", "corrupt", origin="objects", after=4)
    with pytest.raises(VerificationFailed, match=r"model\.sig"):
        pull(github, tmp_path / TAG)
