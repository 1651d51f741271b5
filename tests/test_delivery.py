"""Publishing, pulling and comparing against a fake of GitHub: every fault at every request, and no half release."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
from example_run import write_registry, write_run
from fake_github import FakeGitHub, contract

from modelreg import changelog, delivery, files, publishing, registry
from modelreg.cli import main
from modelreg.config import ProjectConfig
from modelreg.errors import ModelregError, PublishConflict, RemoteError, VerificationFailed
from modelreg.github import API, Client, Secret, Server
from modelreg.publishing import Wanted

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

FAULTS = {
    "reset": {},
    "reset_after": {"bytes": 10},
    "lost": {},
    "lost_502": {},
    "500": {},
    "502": {},
    "502_starter": {},
    "403_secondary": {},
    "403_primary": {},
    "429": {},
}


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """A registry with one version."""
    made = write_registry(tmp_path_factory.mktemp("delivery"), ProjectConfig(repository="acme/models"))
    write_run(made / "runs" / "conv2d_fsq-001")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        patch.setenv("SOURCE_DATE_EPOCH", "1795255200")
        assert main(["release", "v0.1.0", "--roll-changelog"]) == 0
    return made


@pytest.fixture
def fake(tmp_path):
    """GitHub, with the tag."""
    with FakeGitHub(tmp_path) as github:
        github.add_tag("v0.1.0", "c" * 40)
        yield github


def folder_of(root: Path) -> Path:
    """The version's folder."""
    return root / "registry/conv2d_fsq/v0.1.0"


@pytest.fixture
def wanted(root) -> Wanted:
    """The release that it should have."""
    folder = folder_of(root)
    version = registry.read(folder)
    path = folder / registry.MANIFEST
    assets = publishing.assets_of(version.manifest, files.sha256(path), path.stat().st_size, None)
    changes = changelog.section((root / changelog.NAME).read_text(), "v0.1.0") or ""
    return publishing.wanted_release(version.manifest, "v0.1.0", changes, version.metrics(), assets, highest=True)


class Time:
    """A clock that stands still but for sleeping."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, []

    def sleep(self, seconds: float) -> None:
        """Note a pause."""
        self.now += seconds
        self.slept.append(seconds)


def client(fake: FakeGitHub, *, signed: bool = True, time: Time | None = None) -> Client:
    """A session with the fake."""
    time = time or Time()
    secret = Secret(fake.token) if signed else None
    return Client(
        Server("acme/models", secret, lambda: time.now, time.sleep, fake.api_url, jitter=lambda low, high: high)
    )


def published(fake: FakeGitHub, root: Path, wanted: Wanted) -> delivery.Outcome:
    """Publish without a fault."""
    with client(fake) as session:
        return delivery.publish(session, wanted, folder_of(root))


def right(wanted: Wanted) -> dict[str, str]:
    """What the release must hold."""
    return {asset.name: asset.sha256 for asset in wanted.assets}


def test_a_version_is_published_whole(fake, root, wanted) -> None:
    """Every file with its digest, under the tag, as the latest."""
    published(fake, root, wanted)
    release = fake.published("v0.1.0")

    assert (fake.digests(release), release.draft, len(fake.releases)) == (right(wanted), False, 1)


def test_published_again_nothing_is_sent(fake, root, wanted) -> None:
    """A finished release is read, and no more."""
    published(fake, root, wanted)
    before = len(fake.requests)
    outcome = published(fake, root, wanted)

    assert (outcome.sent, {exchange.request.method for exchange in fake.requests[before:]}) == ((), {"GET"})


def test_every_exchange_is_as_github_describes_it(fake, root, wanted) -> None:
    """Held against GitHub's own OpenAPI."""
    published(fake, root, wanted)

    assert contract.check_all(fake.requests) >= len(wanted.assets) + 3


def test_publishing_is_the_last_change(fake, root, wanted) -> None:
    """Until then nobody sees it."""
    published(fake, root, wanted)
    changes = [e.request.method for e in fake.requests if e.request.method != "GET"]

    assert changes == ["POST"] * (len(wanted.assets) + 1) + ["PATCH"]


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_at_any_request_leaves_nothing_half(fake, root, wanted, kind) -> None:
    """At request n for each n: one run, or two, end in one whole release, and nothing is sent twice."""
    number, hit = 0, True
    while hit:
        number += 1
        fake.repo.releases.clear()
        fake.faults.clear()
        start = len(fake.requests)
        fault = fake.fail_nth(number, kind, **FAULTS[kind])
        try:
            published(fake, root, wanted)
        except RemoteError:
            assert fake.published("v0.1.0") is None
            published(fake, root, wanted)
        hit = bool(fault.hits)
        release = fake.published("v0.1.0")
        assert fake.digests(release) == right(wanted), f"{kind} at request {number}"
        stored = Counter(
            e.request.target
            for e in fake.requests[start:]
            if e.origin == "uploads" and e.response and e.response.status == 201
        )
        assert set(stored.values()) <= {1}, f"{kind} at request {number}: sent twice"

    assert number > len(wanted.assets) + 4


def test_a_lagging_list_makes_no_second_draft(fake, root, wanted) -> None:
    """The draft's id is kept while the list lacks it."""
    fake.repo.list_lag = 3
    fake.fail("POST", "assets", "502", times=2)
    published(fake, root, wanted)

    assert len(fake.releases) == 1


def test_other_published_bytes_are_a_conflict(fake, root, wanted) -> None:
    """Exit 6, both digests, nothing sent."""
    fake.add_release("v0.1.0", {wanted.assets[0].name: b"other"})
    with pytest.raises(PublishConflict) as caught:
        published(fake, root, wanted)

    assert (caught.value.exit_code, {e.request.method for e in fake.requests}) == (6, {"GET"})


def test_anothers_draft_is_left_alone(fake, root, wanted) -> None:
    """It is named."""
    theirs = fake.add_release("v0.1.0", {"x": b"1"}, draft=True, body="mine")
    outcome = published(fake, root, wanted)

    assert (len(outcome.notices), fake.digests(theirs).keys()) == (1, {"x"})


@pytest.mark.parametrize("kind", ["401", "403_denied", "404"])
def test_a_refusal_is_no_reason_to_try_again(fake, root, wanted, kind) -> None:
    """Exit 7, once."""
    fault = fake.fail("GET", "releases", kind, times=99)
    with pytest.raises(RemoteError) as caught:
        published(fake, root, wanted)

    assert (caught.value.exit_code, fault.hits) == (7, 1)


def test_a_server_that_stays_down_is_given_up(fake, root, wanted) -> None:
    """After some attempts, each after a longer pause."""
    fake.fail("GET", "releases", "503", times=99)
    time = Time()
    with pytest.raises(RemoteError, match="gave up after 6 attempts"), client(fake, time=time) as session:
        delivery.publish(session, wanted, folder_of(root))

    assert all(later > earlier for earlier, later in zip(time.slept, time.slept[1:], strict=False))


def test_a_limit_is_waited_for_as_long_as_it_says(fake, root, wanted) -> None:
    """By Retry-After."""
    fake.fail("GET", "releases", "429", retry_after=17)
    time = Time()
    with client(fake, time=time) as session:
        delivery.publish(session, wanted, folder_of(root))

    assert time.slept[0] == 17


def test_a_limit_beyond_the_total_time_ends_it(fake, root, wanted) -> None:
    """Nobody waits for hours."""
    fake.fail("GET", "releases", "429", retry_after=5000)
    with pytest.raises(RemoteError, match="gave up"):
        published(fake, root, wanted)


def test_a_moved_repository_is_named(fake, root, wanted) -> None:
    """The token does not follow."""
    fake.fail("GET", "releases", "status", status=301, headers={"Location": "http://127.0.0.1:1/elsewhere"})
    with pytest.raises(RemoteError, match="has moved to"):
        published(fake, root, wanted)


def test_the_token_goes_to_the_api_and_the_uploads_only(fake, root, wanted, tmp_path) -> None:
    """Not with a redirect."""
    published(fake, root, wanted)
    with client(fake) as session:
        delivery.pull(session, delivery.Wish("conv2d_fsq", "0.1.0", "v0.1.0", tmp_path / "got"))
    signed = {e.origin for e in fake.requests if "authorization" in {name.lower() for name in e.request.headers}}

    assert signed == {"api", "uploads"}


@pytest.mark.parametrize("kind", ["401", "reset", "503", "422_immutable"])
def test_the_token_is_in_no_error(fake, root, wanted, kind, capsys) -> None:
    """Nor is any other header."""
    fake.fail("*", "", kind, times=999)
    with pytest.raises(ModelregError) as caught:
        published(fake, root, wanted)

    assert fake.token not in f"{caught.value!r} {caught.value} {Secret(fake.token)!r}"


def pulled(fake: FakeGitHub, folder: Path, **changes) -> list[str]:
    """Pull as anybody may."""
    with client(fake, signed=False) as session:
        return delivery.pull(session, delivery.Wish("conv2d_fsq", "0.1.0", "v0.1.0", folder, **changes))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_was_published_comes_back(fake, root, wanted, tmp_path) -> None:
    """Byte for byte, without a token, with nothing beside it."""
    published(fake, root, wanted)
    pulled(fake, tmp_path / "v0.1.0")

    assert (tree(tmp_path / "v0.1.0"), list(tmp_path.glob(".v*"))) == (tree(folder_of(root)), [])


def test_only_what_is_missing_is_downloaded(fake, root, wanted, tmp_path) -> None:
    """A clone has the documents already."""
    published(fake, root, wanted)
    shutil.copytree(folder_of(root), tmp_path / "v0.1.0")
    (tmp_path / "v0.1.0" / registry.CHECKPOINT).unlink()

    assert pulled(fake, tmp_path / "v0.1.0") == [registry.CHECKPOINT]


@pytest.mark.parametrize("kind", ["truncated", "reset_download", "reset", "502"])
def test_a_cut_download_goes_on_where_it_ended(fake, root, wanted, tmp_path, kind) -> None:
    """By Range, and ends with the right bytes."""
    published(fake, root, wanted)
    fake.fail("GET", "", kind, origin="objects", times=2)
    pulled(fake, tmp_path / "v0.1.0")

    assert tree(tmp_path / "v0.1.0") == tree(folder_of(root))


def test_a_killed_pull_leaves_no_folder_and_goes_on(fake, root, wanted, tmp_path, monkeypatch) -> None:
    """Nothing has the version's name before it is whole."""
    published(fake, root, wanted)
    fake.fail("GET", "", "404", origin="objects", after=3)
    with pytest.raises(RemoteError):
        pulled(fake, tmp_path / "v0.1.0")
    there = (tmp_path / "v0.1.0").exists()
    pulled(fake, tmp_path / "v0.1.0")

    assert (there, tree(tmp_path / "v0.1.0")) == (False, tree(folder_of(root)))


def test_a_corrupt_download_never_gets_its_name(fake, root, wanted, tmp_path) -> None:
    """It is thrown away, and comes right the next time."""
    published(fake, root, wanted)
    fake.fail("GET", "", "corrupt", origin="objects", after=2)
    with pytest.raises(VerificationFailed, match="not what the manifest says"):
        pulled(fake, tmp_path / "v0.1.0")
    pulled(fake, tmp_path / "v0.1.0")

    assert tree(tmp_path / "v0.1.0") == tree(folder_of(root))


def test_a_part_may_be_chosen(fake, root, wanted, tmp_path) -> None:
    """The checkpoint alone, with the manifest that proves it."""
    published(fake, root, wanted)
    came = pulled(fake, tmp_path / "v0.1.0", part="checkpoint")

    assert came == [registry.CHECKPOINT, registry.MANIFEST, registry.SUMS]


def test_a_release_that_lacks_a_file_is_not_whole(fake, root, wanted, tmp_path) -> None:
    """All that is missing is named."""
    published(fake, root, wanted)
    release = fake.published("v0.1.0")
    for number in [n for n, a in release.assets.items() if "checkpoint" in a.name or "run.json" in a.name]:
        del release.assets[number]
    with pytest.raises(RemoteError) as caught:
        pulled(fake, tmp_path / "v0.1.0")

    assert [problem.where for problem in caught.value.problems] == [registry.CHECKPOINT, registry.RUN]


def test_a_release_of_somebody_else_is_refused(fake, tmp_path) -> None:
    """It has no manifest of ours."""
    fake.add_release("v0.1.0", {"x": b"1"})
    with pytest.raises(RemoteError, match="not one of ours"):
        pulled(fake, tmp_path / "v0.1.0")


def test_another_versions_manifest_is_refused(fake, root, wanted, tmp_path) -> None:
    """Under the name of this one."""
    published(fake, root, wanted)
    with client(fake) as session, pytest.raises(RemoteError):
        delivery.pull(session, delivery.Wish("conv2d_fsq", "0.2.0", "v0.1.0", tmp_path / "x"))


def compare(fake: FakeGitHub, wanted: Wanted, scratch: Path | None = None) -> list[str]:
    """What `verify --remote` finds."""
    with client(fake, signed=False) as session:
        return list(map(str, delivery.find_remote_problems(session, wanted, scratch)))


def test_an_equal_release_has_no_differences(fake, root, wanted, tmp_path) -> None:
    """By digests, and by bytes."""
    published(fake, root, wanted)

    assert (compare(fake, wanted), compare(fake, wanted, tmp_path)) == ([], [])


def test_other_bytes_behind_a_right_digest_are_found_by_download(fake, root, wanted, tmp_path) -> None:
    """What the server says is not what it holds."""
    published(fake, root, wanted)
    fake.fail("GET", "", "corrupt", origin="objects")

    assert "holds sha256" in compare(fake, wanted, tmp_path)[0]


def test_a_server_without_digests_is_not_believed(fake, root, wanted, tmp_path) -> None:
    """The bytes must be compared."""
    published(fake, root, wanted)
    fake.repo.digests = "null"

    assert ("compare the bytes with --download" in compare(fake, wanted)[0], compare(fake, wanted, tmp_path)) == (
        True,
        [],
    )


def test_the_usual_server_is_githubs() -> None:
    """Where GITHUB_API_URL says nothing else."""
    assert API == "https://api.github.com"


def test_no_answer_is_read_without_end(fake, root, wanted, monkeypatch) -> None:
    """More than any list of releases is refused."""
    monkeypatch.setattr("modelreg.github.JSON_LIMIT", 100)
    with pytest.raises(RemoteError, match="sent too much"):
        published(fake, root, wanted)


def test_an_answer_that_is_no_json_is_asked_for_again(fake, root, wanted) -> None:
    """A proxy's page, once."""
    fake.fail("GET", "releases", "truncated", times=1)
    published(fake, root, wanted)

    assert fake.published("v0.1.0") is not None


def test_lists_are_read_to_their_end(fake, root, wanted) -> None:
    """Page by page."""
    for number in range(101):
        fake.add_release(f"v9.{number}.0")
    published(fake, root, wanted)

    assert any("page=2" in e.request.target for e in fake.requests)


def test_many_assets_are_read_to_their_end(fake, root, wanted) -> None:
    """A release of more than a page."""
    fake.add_release("v0.1.0", {f"x{n}": b"1" for n in range(101)})
    with pytest.raises(PublishConflict) as caught:
        published(fake, root, wanted)

    assert len(caught.value.problems) == 101 + len(wanted.assets)


def test_a_wrong_file_in_our_draft_is_replaced(fake, root, wanted) -> None:
    """Deleted, then sent."""
    fake.add_release("v0.1.0", {wanted.assets[0].name: b"old"}, draft=True, body=wanted.body)
    published(fake, root, wanted)

    assert fake.digests(fake.published("v0.1.0")) == right(wanted)


def test_what_changes_before_publishing_is_found(fake, root, wanted, monkeypatch) -> None:
    """The draft is read again before it becomes public, and mended."""
    look, spoiled = delivery.find_differences, []

    def find(wanted_, release):
        if not spoiled:
            spoiled.append(release)
            del fake.drafts[0].assets[release.assets[0].id]
            release = release._replace(assets=release.assets[1:])
        return look(wanted_, release)

    monkeypatch.setattr(delivery, "find_differences", find)
    published(fake, root, wanted)

    assert (len(spoiled), fake.digests(fake.published("v0.1.0"))) == (1, right(wanted))


def test_what_changes_after_publishing_is_a_conflict(fake, root, wanted, monkeypatch) -> None:
    """It is read back as anybody reads it."""
    published(fake, root, wanted)
    seen = []

    def differ(*arguments):
        seen.append(1)
        return [] if len(seen) < 1 else [publishing.Problem("x", "is other")]

    monkeypatch.setattr(delivery, "find_differences", differ)
    with pytest.raises(PublishConflict, match="is published with other files"):
        published(fake, root, wanted)


def test_another_version_under_the_tag_is_refused(fake, root, wanted, tmp_path) -> None:
    """Its manifest says so."""
    prefix = "conv2d_fsq-v0.2.0-"
    fake.add_release("v0.2.0", {f"{prefix}manifest.json": (folder_of(root) / registry.MANIFEST).read_bytes()})
    with client(fake) as session, pytest.raises(VerificationFailed, match="not the version that was asked for"):
        delivery.pull(session, delivery.Wish("conv2d_fsq", "0.2.0", "v0.2.0", tmp_path / "x"))


@pytest.mark.parametrize(("part", "count"), [("bundle", 2), ("documents", 10)])
def test_other_parts(fake, root, wanted, tmp_path, part, count) -> None:
    """A version without a bundle gives its manifest; the documents are those that git keeps."""
    published(fake, root, wanted)

    assert len(pulled(fake, tmp_path / "v0.1.0", part=part)) == count


def test_a_file_that_is_longer_than_listed_is_not_stored(fake, root, wanted, tmp_path) -> None:
    """The list is the limit."""
    published(fake, root, wanted)
    with client(fake) as session:
        asset = session.published("v0.1.0").assets[0]
        with pytest.raises(RemoteError, match="is longer than"):
            session.download(asset._replace(size=asset.size - 1), tmp_path / "x")


def test_a_whole_leftover_is_downloaded_anew(fake, root, wanted, tmp_path) -> None:
    """Its digest was not proven before the kill."""
    published(fake, root, wanted)
    asset = fake.published("v0.1.0").find("conv2d_fsq-v0.1.0-manifest.json")
    (tmp_path / ".v0.1.0.pull").mkdir()
    (tmp_path / ".v0.1.0.pull" / f"{asset.id}.part").write_bytes(b"x" * asset.size)
    pulled(fake, tmp_path / "v0.1.0")

    assert tree(tmp_path / "v0.1.0") == tree(folder_of(root))


def test_a_server_that_sends_the_bytes_itself_is_read_too(fake, root, wanted, tmp_path) -> None:
    """Without a redirect."""
    published(fake, root, wanted)
    fake.repo.redirects = False
    pulled(fake, tmp_path / "v0.1.0")

    assert tree(tmp_path / "v0.1.0") == tree(folder_of(root))


def test_a_file_that_is_shorter_than_listed_is_given_up(fake, root, wanted, tmp_path) -> None:
    """After some attempts."""
    published(fake, root, wanted)
    with client(fake) as session:
        asset = session.published("v0.1.0").assets[0]
        with pytest.raises(RemoteError, match="gave up"):
            session.download(asset._replace(size=asset.size + 1), tmp_path / "x")
