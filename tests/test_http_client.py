"""What an answer means, how long to wait, what a body is; and that no answer, however odd, is a crash."""

import json
from dataclasses import replace

import pytest
from delivering import TAG, publish, session
from fake_github import FakeGitHub
from hypothesis import given
from hypothesis import strategies as st

from modelreg.errors import RemoteError
from modelreg.release.github import http_client
from modelreg.release.github.http_client import API, Answer, Body, Secret

pytest_plugins = ["delivery_fixtures"]
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


def answer(body: bytes = b"[]", **headers: str) -> Answer:
    """Return what a server says, with `_` for `-` in the names of headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer("GET", "https://api.example/repos", 403, named, body)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry_After": "7"}, 7.0),
        ({"Retry_After": "soon"}, 60.0),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": "100", "Date": "Thu, 01 Jan 1970 00:01:30 GMT"}, 10.0),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": "later"}, 60.0),
        ({"x_ratelimit_remaining": "0", "Date": "today"}, 60.0),
        ({"x_ratelimit_remaining": "0"}, 60.0),
        ({}, None),
    ],
)
def test_how_long_a_limit_asks_to_wait(headers, seconds) -> None:
    """By its headers, else a minute; None where it is none."""
    assert http_client._limit_wait(answer(**headers)) == seconds


@given(
    st.dictionaries(st.sampled_from(["Retry-After", "x-ratelimit-remaining", "x-ratelimit-reset", "Date"]), st.text()),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["message", "errors", "code"]), inner),
    ),
)
def test_no_header_and_no_message_is_too_odd(headers, document) -> None:
    """A proxy may send anything."""
    odd = replace(answer(json.dumps(document).encode()), headers=headers)

    assert isinstance(http_client._message(odd), str)
    assert isinstance(http_client._limit_wait(odd), float | None)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>", ""),
        (b"[]", ""),
        (b"[" * 100_000, ""),
        (b'{"message": "\xff"}', ""),
        (b'{"message": "Bad\\u001b[31m"}', "Bad[31m"),
        (b'{"message": "No", "errors": [{"code": "already_exists"}, "x"]}', "No; already_exists; x"),
        (b'{"message": "No", "errors": 7}', "No"),
    ],
)
def test_a_servers_words_are_shown_without_what_a_terminal_obeys(content, words) -> None:
    """And cut, where they are long."""
    assert http_client._message(answer(content)) == words


def test_what_is_no_json_may_be_asked_for_again() -> None:
    """A proxy's page."""
    with pytest.raises(http_client.Retry, match="sent no JSON"):
        http_client.parse(answer(b"<html>"))


def test_a_body_is_a_stream(tmp_path) -> None:
    """Piece by piece, told of as it goes."""
    (tmp_path / "x").write_bytes(b"abc")
    told = []
    with (tmp_path / "x").open("rb") as file:
        body = Body(file, "n", 3, lambda *what: told.append(what))
        pieces = [body.read(1), *body]

    assert (pieces, len(body), told) == ([b"a", b"bc"], 3, [("n", 1, 3), ("n", 3, 3)])


@pytest.mark.parametrize(("token", "known"), [("ghs_secret", True), ("ghp_secret", False)])
def test_a_token_is_never_shown(token, known) -> None:
    """Only whose it is: the rights of an installation cannot be asked."""
    secret = Secret(token)

    assert ("secret" in f"{secret!r}{secret}", secret.of_installation) == (False, known)


def test_the_usual_server_is_githubs() -> None:
    """Where GITHUB_API_URL says nothing else."""
    assert API == "https://api.github.com"


def test_no_answer_is_read_without_end(github, parcel, monkeypatch) -> None:
    """More than any list of releases is refused."""
    monkeypatch.setattr("modelreg.release.github.http_client.JSON_LIMIT", 100)
    with pytest.raises(RemoteError, match="sent too much"):
        publish(github, parcel)


def test_a_list_does_not_lead_the_token_elsewhere(github) -> None:
    """A page on another server is not asked for."""
    for number in range(101):
        github.add_release(f"v9.{number}.0")
    service = github.origins["api"].service
    service.shapes = replace(service.shapes, api="http://127.0.0.9:1")
    with session(github) as client, pytest.raises(RemoteError, match=r"goes on at 127\.0\.0\.9:1, which gets no token"):
        client.releases()


def asset_of(github: FakeGitHub, parcel):
    """A published asset."""
    publish(github, parcel)
    with session(github) as client:
        return client.published(TAG).assets[0]


@pytest.mark.parametrize(("change", "words"), [(-1, "is longer than"), (1, "gave up")])
def test_a_file_of_another_length_than_listed_is_not_taken(github, parcel, tmp_path, change, words) -> None:
    """The list is the limit; what is shorter is asked for again some times."""
    asset = asset_of(github, parcel)
    with session(github) as client, pytest.raises(RemoteError, match=words):
        client.download(asset._replace(size=asset.size + change), tmp_path)


def test_a_download_tells_how_far_it_is(github, parcel, tmp_path) -> None:
    """By the name of the file."""
    asset, told = asset_of(github, parcel), []
    with session(github) as client:
        client.download(asset, tmp_path, lambda *what: told.append(what))

    assert told == [(asset.name, asset.size, asset.size)]
