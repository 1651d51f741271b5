"""Publish and compare against a fake of GitHub: complete releases, conflicts, rate limits."""

import logging

import pytest
from delivering import TAG, Time, make_parcel, publish, session, stored
from fake_github import FakeGitHub
from places import places

from modelreg.errors import InputError, ModelregError, PublishConflict, RemoteError
from modelreg.release.github import plan as github_plan
from modelreg.release.github import publish as github_publish
from modelreg.release.github.http_client import Secret

pytest_plugins = ["delivery_fixtures"]
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
CHECKPOINT = "conv2d_fsq-v0.1.0-checkpoint.safetensors"


def test_a_version_is_published_completely(github, parcel) -> None:
    """Every file with its digest, under the tag."""
    publish(github, parcel)
    release = github.published(TAG)

    assert (github.digests(release), release.body, len(github.releases)) == (parcel.digests, parcel.expected.body, 1)


def test_published_again_nothing_is_sent(github, parcel) -> None:
    """A complete release is only read."""
    publish(github, parcel)
    before = len(github.requests)
    outcome = publish(github, parcel)

    assert (outcome.sent, {exchange.method for exchange in github.requests[before:]}) == ((), {"GET"})


def test_publishing_is_the_last_change(github, parcel) -> None:
    """Until then the release is a draft."""
    publish(github, parcel)
    changes = [e.method for e in github.requests if e.method != "GET"]

    assert changes == ["POST"] * (len(parcel.expected.assets) + 1) + ["PATCH"]


def test_a_lagging_list_does_not_create_a_second_draft(github, parcel) -> None:
    """The draft's number is kept while the list does not contain it."""
    github.repo.list_lag = 3
    github.fail("POST", "assets", "502", times=2)
    publish(github, parcel)

    assert len(github.releases) == 1


def test_other_published_bytes_are_a_conflict(github, parcel) -> None:
    """Exit 6, nothing sent."""
    github.add_release(TAG, {parcel.expected.assets[0].name: b"other"})
    with pytest.raises(PublishConflict) as caught:
        publish(github, parcel)

    assert (caught.value.exit_code, {e.method for e in github.requests}) == (6, {"GET"})


def test_another_draft_is_not_changed(github, parcel) -> None:
    """It is named."""
    theirs = github.add_release(TAG, {"x": b"1"}, draft=True, body="mine")
    outcome = publish(github, parcel)

    assert (len(outcome.notices), github.digests(theirs).keys()) == (1, {"x"})


def test_a_draft_that_lost_its_tag_is_found_by_its_marker(github, parcel) -> None:
    """GitHub changes the tag to untagged-… when only the notes are edited."""
    github.add_release("untagged-0123", draft=True, body=parcel.expected.body)
    publish(github, parcel)

    assert [(release.tag_name, release.draft) for release in github.releases] == [(TAG, False)]


def test_a_tag_of_a_deleted_immutable_release_is_a_conflict(github, parcel) -> None:
    """GitHub reports it only when the draft becomes public."""
    github.repo.burnt.add(TAG)
    with pytest.raises(PublishConflict) as caught:
        publish(github, parcel)

    assert places(caught.value.problems) == [(TAG, "github.tag-used")]


def test_an_immutable_release_is_published(github, parcel) -> None:
    """Every file is in the draft before it becomes public."""
    github.repo.immutable = True
    publish(github, parcel)

    assert (github.published(TAG).immutable, publish(github, parcel).sent) == (True, ())


@pytest.mark.parametrize("kind", ["401", "403_denied", "404"])
def test_a_refused_request_is_not_repeated(github, parcel, kind) -> None:
    """Exit 7."""
    fault = github.fail("GET", "releases", kind, times=99)
    with pytest.raises(RemoteError) as caught:
        publish(github, parcel)

    assert (caught.value.exit_code, fault.hits) == (7, 1)


def test_a_server_error_ends_after_six_attempts(github, parcel) -> None:
    """Each pause is longer than the one before."""
    github.fail("GET", "releases", "503", times=99)
    time = Time()
    with pytest.raises(RemoteError) as caught:
        publish(github, parcel, time=time)

    assert ([problem.rule for problem in caught.value.problems], len(time.slept)) == (["github.server-error"], 5)
    assert all(later > earlier for earlier, later in zip(time.slept, time.slept[1:], strict=False))


def test_an_upload_that_always_fails_ends_after_six_attempts(github, parcel) -> None:
    """The other files arrive once each."""
    github.fail("POST", "checkpoint", "502_starter", times=99)
    with pytest.raises(RemoteError) as caught:
        publish(github, parcel)

    assert [problem.rule for problem in caught.value.problems] == ["github.server-error"]
    assert (github.published(TAG), stored(github.requests).keys()) == (None, parcel.digests.keys() - {CHECKPOINT})


@pytest.mark.parametrize(
    ("kind", "details", "seconds"),
    [
        ("429", {"retry_after": 17}, 17),
        ("403_secondary", {"retry_after": 17}, 17),
        ("403_secondary", {"retry_after": None}, 60),
    ],
)
def test_a_rate_limit_is_waited_for(github, parcel, kind, details, seconds) -> None:
    """For the seconds in Retry-After, or for a minute."""
    github.fail("GET", "releases", kind, **details)
    time = Time()
    publish(github, parcel, time=time)

    assert time.slept == [seconds]


def test_a_primary_rate_limit_is_waited_for_until_its_end(github, parcel) -> None:
    """By the server's clock."""
    github.fail("GET", "releases", "403_primary", reset=90)
    time = Time()
    publish(github, parcel, time=time)

    assert 88 <= time.slept[0] <= 90


def test_a_rate_limit_beyond_the_total_time_ends_the_command(github, parcel) -> None:
    """Exit 7."""
    github.fail("GET", "releases", "429", retry_after=5000)
    with pytest.raises(RemoteError) as caught:
        publish(github, parcel)

    assert [problem.rule for problem in caught.value.problems] == ["github.rate-limit"]


def test_a_moved_repository_is_named(github, parcel) -> None:
    """The token is not sent to the new address."""
    github.repo.full_name, github.repo.renamed_from = "acme/new", "acme/models"
    with pytest.raises(RemoteError) as caught:
        publish(github, parcel)

    assert [problem.rule for problem in caught.value.problems] == ["github.repository-moved"]


def test_the_token_is_sent_to_the_api_and_the_uploads_only(github, parcel, tmp_path) -> None:
    """A redirect does not get it."""
    publish(github, parcel)
    with session(github) as client:
        github_publish.find_remote_problems(client, parcel.expected, tmp_path)

    assert {e.origin for e in github.requests if e.authorization} == {"api", "uploads"}


@pytest.mark.parametrize("kind", ["401", "reset", "503", "422_immutable"])
def test_the_token_is_in_no_error_and_no_log(github, parcel, kind, caplog) -> None:
    """Log and error name the connection only."""
    github.fail("*", "", kind, times=999)
    with caplog.at_level(logging.DEBUG), pytest.raises(ModelregError) as caught:
        publish(github, parcel)

    assert github.token not in f"{caught.value!r} {caught.value} {Secret(github.token)!r} {caplog.text}"
    assert "connection" in caplog.text.lower()


def compare(fake: FakeGitHub, parcel, scratch=None) -> list[str]:
    """Return the rules of the problems that `verify --remote` finds."""
    with session(fake, signed=False) as client:
        found = github_publish.find_remote_problems(client, parcel.expected, scratch)
    return [problem.rule for problem in found]


def test_an_equal_release_has_no_differences_by_githubs_digests(github, parcel) -> None:
    """Nothing is downloaded."""
    publish(github, parcel)

    assert (compare(github, parcel), {e.origin for e in github.requests}) == ([], {"api", "uploads"})


def test_an_equal_release_has_no_differences_in_its_bytes(github, parcel, tmp_path) -> None:
    """Each file is downloaded."""
    publish(github, parcel)

    assert (compare(github, parcel, tmp_path), sum(e.origin == "objects" for e in github.requests)) == ([], 5)


def test_an_asset_has_a_label_and_a_content_type(github, parcel) -> None:
    """The label is the path in the version."""
    publish(github, parcel)
    bundle = github.published(TAG).find("conv2d_fsq-v0.1.0-hailo8-bundle.json")

    assert (bundle.label, bundle.content_type) == ("hailo8/bundle.json", "application/json")


def test_other_bytes_behind_a_right_digest_are_found_by_download(github, parcel, tmp_path) -> None:
    """The listed digest is not that of the bytes."""
    publish(github, parcel)
    github.fail("GET", "", "corrupt", origin="objects")

    assert compare(github, parcel, tmp_path) == ["publish.digest-mismatch"]


def test_a_server_without_digests_proves_nothing(github, parcel, tmp_path) -> None:
    """The bytes must be compared."""
    publish(github, parcel)
    github.repo.digests = "null"

    assert compare(github, parcel) == ["publish.digest-unknown"] * len(parcel.expected.assets)
    assert compare(github, parcel, tmp_path) == []


@pytest.mark.parametrize("digests", ["null", "absent"])
def test_without_digests_the_bytes_are_downloaded_before_publishing(github, parcel, digests) -> None:
    """Each file once."""
    github.repo.digests = digests
    publish(github, parcel)
    order = [e.origin for e in github.requests if e.origin == "objects" or e.method == "PATCH"]

    assert order == ["objects"] * len(parcel.expected.assets) + ["api"]


def test_other_bytes_without_a_digest_are_a_conflict_too(github, parcel) -> None:
    """The size is equal, so a download finds it."""
    publish(github, parcel)
    github.repo.digests = "null"
    github.fail("GET", "", "corrupt", origin="objects")
    with pytest.raises(PublishConflict) as caught:
        publish(github, parcel)

    assert [problem.rule for problem in caught.value.problems] == ["publish.digest-mismatch"]


def test_all_pages_of_a_list_are_read(github, parcel) -> None:
    """101 releases are two pages."""
    for number in range(101):
        github.add_release(f"v9.{number}.0")
    publish(github, parcel)

    assert any("page=2" in e.request.target for e in github.requests)


def test_all_pages_of_assets_are_read(github, parcel) -> None:
    """101 assets are two pages."""
    github.add_release(TAG, {f"x{n}": b"1" for n in range(101)})
    with pytest.raises(PublishConflict) as caught:
        publish(github, parcel)

    assert len(caught.value.problems) == 101 + len(parcel.expected.assets)


def test_a_wrong_file_in_our_draft_is_replaced(github, parcel) -> None:
    """It is deleted, then sent."""
    github.add_release(TAG, {parcel.expected.assets[0].name: b"old"}, draft=True, body=parcel.expected.body)
    publish(github, parcel)

    assert github.digests(github.published(TAG)) == parcel.digests


def test_a_file_that_changes_before_its_upload_is_not_sent(github, parcel, tmp_path) -> None:
    """Its size differs from the manifest."""
    changed = make_parcel(tmp_path / TAG)
    (changed.folder / "model_card.md").write_bytes(b"other")
    with pytest.raises(InputError) as caught:
        publish(github, changed)

    assert places(caught.value.problems) == [("model_card.md", "publish.file-changed")]


def test_a_draft_with_other_bytes_is_never_published(github, tmp_path) -> None:
    """The file is sent again, six times at most."""
    changed = make_parcel(tmp_path / TAG)
    (changed.folder / "model_card.md").write_bytes(b"# B card\n")
    with pytest.raises(RemoteError) as caught:
        publish(github, changed)

    assert [problem.rule for problem in caught.value.problems] == ["publish.digest-mismatch"]
    assert github.published(TAG) is None


# The signature, which may come later


def test_a_signature_is_published_with_the_version(github, tmp_path) -> None:
    """If it exists by then."""
    publish(github, make_parcel(tmp_path / TAG, b"sig"))

    assert github.published(TAG).find("conv2d_fsq-v0.1.0-model.sig").size == 3


def test_a_signature_is_added_to_a_published_release(github, parcel, tmp_path) -> None:
    """Only the signature is sent."""
    publish(github, parcel)

    assert publish(github, make_parcel(tmp_path / TAG, b"sig")).sent == ("conv2d_fsq-v0.1.0-model.sig",)


def test_an_incomplete_signature_is_sent_again(github, parcel, tmp_path) -> None:
    """It is deleted first."""
    publish(github, parcel)
    github.fail("POST", "model.sig", "502_starter")
    publish(github, signed := make_parcel(tmp_path / TAG, b"sig"))

    assert github.digests(github.published(TAG)) == signed.digests


def test_an_immutable_release_gets_no_signature(github, parcel, tmp_path) -> None:
    """Exit 6."""
    github.repo.immutable = True
    publish(github, parcel)
    with pytest.raises(PublishConflict) as caught:
        publish(github, make_parcel(tmp_path / TAG, b"sig"))

    assert places(caught.value.problems) == [("conv2d_fsq-v0.1.0-model.sig", "publish.release-immutable")]


def test_a_signature_that_only_the_release_has_is_accepted(github, parcel, tmp_path) -> None:
    """A clone may not have it."""
    publish(github, make_parcel(tmp_path / TAG, b"sig"))

    assert (publish(github, parcel).sent, compare(github, parcel)) == ((), [])


def test_another_signature_is_a_conflict(github, tmp_path) -> None:
    """Published bytes never change."""
    publish(github, make_parcel(tmp_path / TAG, b"sig"))
    with pytest.raises(PublishConflict) as caught:
        publish(github, make_parcel(tmp_path / TAG, b"gis"))

    assert places(caught.value.problems) == [("conv2d_fsq-v0.1.0-model.sig", "publish.digest-mismatch")]


def test_the_planned_files_are_sent(github, parcel) -> None:
    """`--dry-run` prints the plan."""
    with session(github) as client:
        plan = github_publish.View(client, parcel.expected).plan()

    planned = [step.asset.name for step in plan.steps if isinstance(step, github_plan.Upload)]
    assert sorted(planned) == sorted(publish(github, parcel).sent)
