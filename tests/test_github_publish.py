"""Publishing and comparing against a fake of GitHub: what is whole, what conflicts, what is waited for."""

import logging

import pytest
from delivering import TAG, Time, make_parcel, publish, session, stored
from fake_github import FakeGitHub

from modelreg.errors import InputError, ModelregError, PublishConflict, RemoteError
from modelreg.release.github import plan as github_plan
from modelreg.release.github import publish as github_publish
from modelreg.release.github.http_client import Secret

pytest_plugins = ["delivery_fixtures"]
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
CHECKPOINT = "conv2d_fsq-v0.1.0-checkpoint.safetensors"


def test_a_version_is_published_whole(github, parcel) -> None:
    """Every file with its digest, under the tag."""
    publish(github, parcel)
    release = github.published(TAG)

    assert (github.digests(release), release.body, len(github.releases)) == (parcel.digests, parcel.expected.body, 1)


def test_published_again_nothing_is_sent(github, parcel) -> None:
    """A finished release is read, and no more."""
    publish(github, parcel)
    before = len(github.requests)
    outcome = publish(github, parcel)

    assert (outcome.sent, {exchange.method for exchange in github.requests[before:]}) == ((), {"GET"})


def test_publishing_is_the_last_change(github, parcel) -> None:
    """Until then nobody sees it."""
    publish(github, parcel)
    changes = [e.method for e in github.requests if e.method != "GET"]

    assert changes == ["POST"] * (len(parcel.expected.assets) + 1) + ["PATCH"]


def test_a_lagging_list_makes_no_second_draft(github, parcel) -> None:
    """The draft's number is kept while the list lacks it."""
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


def test_anothers_draft_is_left_alone(github, parcel) -> None:
    """It is named."""
    theirs = github.add_release(TAG, {"x": b"1"}, draft=True, body="mine")
    outcome = publish(github, parcel)

    assert (len(outcome.notices), github.digests(theirs).keys()) == (1, {"x"})


def test_a_draft_that_lost_its_tag_is_found_by_its_marker(github, parcel) -> None:
    """GitHub names a draft untagged-… when somebody changes its notes alone."""
    github.add_release("untagged-0123", draft=True, body=parcel.expected.body)
    publish(github, parcel)

    assert [(release.tag_name, release.draft) for release in github.releases] == [(TAG, False)]


def test_a_burnt_tag_is_a_conflict(github, parcel) -> None:
    """GitHub tells it when the draft becomes public, and not before: an immutable release had the tag."""
    github.repo.burnt.add(TAG)
    with pytest.raises(PublishConflict, match="was used by an immutable release, and GitHub takes it never again"):
        publish(github, parcel)


def test_a_repository_of_immutable_releases_is_published_to(github, parcel) -> None:
    """All files are in the draft before it becomes public."""
    github.repo.immutable = True
    publish(github, parcel)

    assert (github.published(TAG).immutable, publish(github, parcel).sent) == (True, ())


@pytest.mark.parametrize("kind", ["401", "403_denied", "404"])
def test_a_refusal_is_no_reason_to_try_again(github, parcel, kind) -> None:
    """Exit 7, once."""
    fault = github.fail("GET", "releases", kind, times=99)
    with pytest.raises(RemoteError) as caught:
        publish(github, parcel)

    assert (caught.value.exit_code, fault.hits) == (7, 1)


def test_a_server_that_stays_down_is_given_up(github, parcel) -> None:
    """After some attempts, each after a longer pause."""
    github.fail("GET", "releases", "503", times=99)
    time = Time()
    with pytest.raises(RemoteError, match="gave up after 6 attempts"):
        publish(github, parcel, time=time)

    assert all(later > earlier for earlier, later in zip(time.slept, time.slept[1:], strict=False))


def test_an_upload_that_never_goes_well_is_given_up(github, parcel) -> None:
    """The others arrive, once each."""
    github.fail("POST", "checkpoint", "502_starter", times=99)
    with pytest.raises(RemoteError, match="gave up after 6 attempts"):
        publish(github, parcel)

    assert (github.published(TAG), stored(github.requests).keys()) == (None, parcel.digests.keys() - {CHECKPOINT})


@pytest.mark.parametrize(
    ("kind", "details", "seconds"),
    [
        ("429", {"retry_after": 17}, 17),
        ("403_secondary", {"retry_after": 17}, 17),
        ("403_secondary", {"retry_after": None}, 60),
    ],
)
def test_a_limit_is_waited_for_as_long_as_it_says(github, parcel, kind, details, seconds) -> None:
    """By Retry-After, else a minute."""
    github.fail("GET", "releases", kind, **details)
    time = Time()
    publish(github, parcel, time=time)

    assert time.slept == [seconds]


def test_a_primary_limit_is_waited_for_until_its_end(github, parcel) -> None:
    """By the server's clock."""
    github.fail("GET", "releases", "403_primary", reset=90)
    time = Time()
    publish(github, parcel, time=time)

    assert 88 <= time.slept[0] <= 90


def test_a_limit_beyond_the_total_time_ends_it(github, parcel) -> None:
    """Nobody waits for hours."""
    github.fail("GET", "releases", "429", retry_after=5000)
    with pytest.raises(RemoteError, match="gave up"):
        publish(github, parcel)


def test_a_moved_repository_is_named(github, parcel) -> None:
    """The token does not follow."""
    github.repo.full_name, github.repo.renamed_from = "acme/new", "acme/models"
    with pytest.raises(RemoteError, match="has moved to"):
        publish(github, parcel)


def test_the_token_goes_to_the_api_and_the_uploads_only(github, parcel, tmp_path) -> None:
    """Not with a redirect."""
    publish(github, parcel)
    with session(github) as client:
        github_publish.find_remote_problems(client, parcel.expected, tmp_path)

    assert {e.origin for e in github.requests if e.authorization} == {"api", "uploads"}


@pytest.mark.parametrize("kind", ["401", "reset", "503", "422_immutable"])
def test_the_token_is_in_no_error_and_no_log(github, parcel, kind, caplog) -> None:
    """Nor is any other header."""
    github.fail("*", "", kind, times=999)
    with caplog.at_level(logging.DEBUG), pytest.raises(ModelregError) as caught:
        publish(github, parcel)

    assert github.token not in f"{caught.value!r} {caught.value} {Secret(github.token)!r} {caplog.text}"
    assert "connection" in caplog.text.lower()


def compare(fake: FakeGitHub, parcel, scratch=None) -> list[str]:
    """What `verify --remote` finds."""
    with session(fake, signed=False) as client:
        return list(map(str, github_publish.find_remote_problems(client, parcel.expected, scratch)))


def test_an_equal_release_has_no_differences(github, parcel) -> None:
    """By GitHub's digests: nothing is downloaded."""
    publish(github, parcel)

    assert (compare(github, parcel), {e.origin for e in github.requests}) == ([], {"api", "uploads"})


def test_an_equal_release_has_no_differences_in_its_bytes(github, parcel, tmp_path) -> None:
    """Each is downloaded."""
    publish(github, parcel)

    assert (compare(github, parcel, tmp_path), sum(e.origin == "objects" for e in github.requests)) == ([], 5)


def test_a_file_says_what_it_is(github, parcel) -> None:
    """By its label, the place in the version, and its content type."""
    publish(github, parcel)
    bundle = github.published(TAG).find("conv2d_fsq-v0.1.0-hailo8-bundle.json")

    assert (bundle.label, bundle.content_type) == ("hailo8/bundle.json", "application/json")


def test_other_bytes_behind_a_right_digest_are_found_by_download(github, parcel, tmp_path) -> None:
    """What the server says is not what it holds."""
    publish(github, parcel)
    github.fail("GET", "", "corrupt", origin="objects")

    assert "holds sha256" in compare(github, parcel, tmp_path)[0]


def test_a_server_without_digests_is_not_believed(github, parcel, tmp_path) -> None:
    """The bytes must be compared."""
    publish(github, parcel)
    github.repo.digests = "null"
    told = compare(github, parcel)[0]

    assert ("compare the bytes with --download" in told, compare(github, parcel, tmp_path)) == (True, [])


@pytest.mark.parametrize("digests", ["null", "absent"])
def test_where_no_digest_is_told_the_bytes_are_read_back(github, parcel, digests) -> None:
    """Each file once, before anybody sees the release."""
    github.repo.digests = digests
    publish(github, parcel)
    order = [e.origin for e in github.requests if e.origin == "objects" or e.method == "PATCH"]

    assert order == ["objects"] * len(parcel.expected.assets) + ["api"]


def test_other_bytes_without_a_digest_are_a_conflict_too(github, parcel) -> None:
    """Found by a download: the size is right."""
    publish(github, parcel)
    github.repo.digests = "null"
    github.fail("GET", "", "corrupt", origin="objects")
    with pytest.raises(PublishConflict, match="has sha256"):
        publish(github, parcel)


def test_lists_are_read_to_their_end(github, parcel) -> None:
    """Page by page."""
    for number in range(101):
        github.add_release(f"v9.{number}.0")
    publish(github, parcel)

    assert any("page=2" in e.request.target for e in github.requests)


def test_many_assets_are_read_to_their_end(github, parcel) -> None:
    """A release of more than a page."""
    github.add_release(TAG, {f"x{n}": b"1" for n in range(101)})
    with pytest.raises(PublishConflict) as caught:
        publish(github, parcel)

    assert len(caught.value.problems) == 101 + len(parcel.expected.assets)


def test_a_wrong_file_in_our_draft_is_replaced(github, parcel) -> None:
    """Deleted, then sent."""
    github.add_release(TAG, {parcel.expected.assets[0].name: b"old"}, draft=True, body=parcel.expected.body)
    publish(github, parcel)

    assert github.digests(github.published(TAG)) == parcel.digests


def test_a_file_that_changed_since_it_was_checked_is_not_sent(github, parcel, tmp_path) -> None:
    """Its size tells at once; its digest would before anybody sees the release."""
    changed = make_parcel(tmp_path / TAG)
    (changed.folder / "model_card.md").write_bytes(b"other")
    with pytest.raises(InputError, match="it was changed after it was checked"):
        publish(github, changed)


def test_what_arrives_with_other_bytes_is_never_published(github, tmp_path) -> None:
    """It is sent again some times, then given up."""
    changed = make_parcel(tmp_path / TAG)
    (changed.folder / "model_card.md").write_bytes(b"# B card\n")
    with pytest.raises(RemoteError, match="gave up after 6 attempts"):
        publish(github, changed)

    assert github.published(TAG) is None


# The signature, which may come later


def test_a_signature_is_published_with_the_version(github, tmp_path) -> None:
    """Where it is there by then."""
    publish(github, make_parcel(tmp_path / TAG, b"sig"))

    assert github.published(TAG).find("conv2d_fsq-v0.1.0-model.sig").size == 3


def test_a_signature_joins_a_published_release(github, parcel, tmp_path) -> None:
    """It alone is sent."""
    publish(github, parcel)

    assert publish(github, make_parcel(tmp_path / TAG, b"sig")).sent == ("conv2d_fsq-v0.1.0-model.sig",)


def test_a_signature_that_joined_half_is_sent_again(github, parcel, tmp_path) -> None:
    """After the half one is deleted."""
    publish(github, parcel)
    github.fail("POST", "model.sig", "502_starter")
    publish(github, signed := make_parcel(tmp_path / TAG, b"sig"))

    assert github.digests(github.published(TAG)) == signed.digests


def test_no_signature_joins_an_immutable_release(github, parcel, tmp_path) -> None:
    """Exit 6, and why."""
    github.repo.immutable = True
    publish(github, parcel)
    with pytest.raises(PublishConflict, match="cannot join the release any more: it is immutable"):
        publish(github, make_parcel(tmp_path / TAG, b"sig"))


def test_a_signature_that_only_the_release_has_is_no_difference(github, parcel, tmp_path) -> None:
    """A clone may lack it."""
    publish(github, make_parcel(tmp_path / TAG, b"sig"))

    assert (publish(github, parcel).sent, compare(github, parcel)) == ((), [])


def test_another_signature_is_a_conflict(github, tmp_path) -> None:
    """Published bytes stay."""
    publish(github, make_parcel(tmp_path / TAG, b"sig"))
    with pytest.raises(PublishConflict, match="has sha256"):
        publish(github, make_parcel(tmp_path / TAG, b"gis"))


def test_a_plan_is_what_is_carried_out(github, parcel) -> None:
    """`--dry-run` prints it."""
    with session(github) as client:
        plan = github_publish.View(client, parcel.expected).plan()

    planned = [step.asset.name for step in plan.steps if isinstance(step, github_plan.Upload)]
    assert sorted(planned) == sorted(publish(github, parcel).sent)
