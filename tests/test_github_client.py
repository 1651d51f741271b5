"""What GitHub's documents become: values, or an error that says that they are none."""

from contextlib import suppress

import pytest
from delivering import publish, session
from hypothesis import given
from hypothesis import strategies as st

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
def test_no_document_is_too_odd(document, reader) -> None:
    """It is read, or refused in words: no other error comes out."""
    with suppress(RemoteError):
        client_module._valid(getattr(client_module, reader), document)


@pytest.mark.parametrize(
    ("method", "pattern"),
    [("GET", r"/releases\?"), ("POST", "/releases$"), ("GET", r"/releases/\d+$"), ("GET", "/assets"), ("PATCH", "")],
)
def test_another_document_than_github_sends_is_an_error(github, parcel, method, pattern) -> None:
    """A proxy's JSON, say."""
    github.fail(method, pattern, "status", status=200, message="welcome")
    with pytest.raises(RemoteError, match="cannot read the answer"):
        publish(github, parcel)
    github.requests.clear()  # not as GitHub describes it


@pytest.mark.parametrize(
    ("kind", "words"),
    [("401", "token: was refused (401)"), ("404", "acme/models: is unknown to http://127.0.0.1")],
)
def test_a_repository_that_does_not_show_says_why(github, kind, words) -> None:
    """In words a user can act on."""
    github.fail("GET", "/models$", kind)
    with session(github) as client, pytest.raises(RemoteError) as caught:
        client.repository()

    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("archived", "signed", "found"), [(True, True, (True, True, "repo")), (False, False, (False, False, None))]
)
def test_a_repository_says_what_may_be_done(github, archived, signed, found) -> None:
    """Nobody unknown may push."""
    github.repo.archived = archived
    with session(github, signed=signed) as client:
        assert client.repository() == found


@pytest.mark.parametrize(("name", "found"), [("tags/v0.1.0", "c" * 40), ("tags/v0.2.0", None), ("c" * 40, "c" * 40)])
def test_a_name_gives_its_commit(github, name, found) -> None:
    """Also that of an annotated tag, whose own object is another."""
    github.add_tag("v0.1.0", "c" * 40, annotated=True)
    with session(github) as client:
        assert client.commit(name) == found


def test_what_is_gone_already_is_deleted(github, parcel) -> None:
    """Another process was faster."""
    release = github.add_release("v9", {"x": b"1"}, draft=True)
    with session(github) as client:
        asset = client.release(release.id).assets[0]
        for _ in range(2):
            client.delete(asset)

    assert github.digests(release) == {}
