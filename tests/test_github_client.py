"""Documents of GitHub become values, or an error."""

from contextlib import suppress

import pytest
from delivering import publish, session
from hypothesis import given
from hypothesis import strategies as st
from places import places

from modelreg.errors import RemoteError
from modelreg.release.github import client as client_module

pytest_plugins = ["delivery_fixtures"]
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
KEYS = ("id", "tag_name", "draft", "immutable", "body", "assets", "upload_url", "html_url", "name", "size", "state")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=8),
    max_leaves=12,
)


@given(JSON, st.sampled_from(["_release", "_asset", "_repository"]))
def test_any_document_is_read_or_refused(document, reader) -> None:
    """No other error is raised."""
    with suppress(RemoteError):
        client_module._valid(getattr(client_module, reader), document)


@pytest.mark.parametrize(
    ("method", "pattern"),
    [("GET", r"/releases\?"), ("POST", "/releases$"), ("GET", r"/releases/\d+$"), ("GET", "/assets"), ("PATCH", "")],
)
def test_an_unexpected_document_is_an_error(github, parcel, method, pattern) -> None:
    """As that of a proxy."""
    github.fail(method, pattern, "status", status=200, message="welcome")
    with pytest.raises(RemoteError) as caught:
        publish(github, parcel)
    assert [problem.rule for problem in caught.value.problems] == ["github.answer-unexpected"]
    github.requests.clear()  # not as GitHub describes it


@pytest.mark.parametrize(
    ("kind", "place"),
    [("401", ("token", "github.token-refused")), ("404", ("acme/models", "github.repository-not-found"))],
)
def test_a_repository_that_cannot_be_read_says_why(github, kind, place) -> None:
    """A refused token and an unknown name are different causes."""
    github.fail("GET", "/models$", kind)
    with session(github) as client, pytest.raises(RemoteError) as caught:
        client.repository()

    assert places(caught.value.problems) == [place]


@pytest.mark.parametrize(
    ("archived", "signed", "found"), [(True, True, (True, True, "repo")), (False, False, (False, False, None))]
)
def test_a_repository_shows_the_rights_of_the_token(github, archived, signed, found) -> None:
    """Without a token nothing may be pushed."""
    github.repo.archived = archived
    with session(github, signed=signed) as client:
        assert client.repository() == found


@pytest.mark.parametrize(("name", "found"), [("tags/v0.1.0", "c" * 40), ("tags/v0.2.0", None), ("c" * 40, "c" * 40)])
def test_a_tag_or_a_digest_gives_its_commit(github, name, found) -> None:
    """An annotated tag is an object with another digest."""
    github.add_tag("v0.1.0", "c" * 40, annotated=True)
    with session(github) as client:
        assert client.commit(name) == found


def test_deleting_an_asset_twice_is_not_an_error(github, parcel) -> None:
    """Another process may have deleted it."""
    release = github.add_release("v9", {"x": b"1"}, draft=True)
    with session(github) as client:
        asset = client.release(release.id).assets[0]
        for _ in range(2):
            client.delete(asset)

    assert github.digests(release) == {}
