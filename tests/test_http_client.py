"""Answers, waits and bodies of the HTTP client; every answer is handled."""

import io
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import requests
from delivering import TAG, Time, publish, session
from fake_github import FakeGitHub
from hypothesis import given
from hypothesis import strategies as st
from places import places

from modelreg.errors import Problem, RemoteError
from modelreg.release.github import answers
from modelreg.release.github.answers import Answer
from modelreg.release.github.http_client import API, TRIES, Body, Download, Secret, Server, Transport, _failure
from modelreg.release.github.time_limits import Budget

pytest_plugins = ["delivery_fixtures"]
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


def answer(body: bytes = b"[]", **headers: str) -> Answer:
    """Return an answer, with `_` for `-` in the names of headers."""
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
def test_the_wait_for_a_rate_limit(headers, seconds) -> None:
    """From its headers, or a minute; None if it is not a rate limit."""
    assert answers._limit_wait(answer(**headers)) == seconds


@given(
    st.dictionaries(st.sampled_from(["Retry-After", "x-ratelimit-remaining", "x-ratelimit-reset", "Date"]), st.text()),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["message", "errors", "code"]), inner),
    ),
)
def test_any_header_and_message_is_handled(headers, document) -> None:
    """A proxy may send anything."""
    odd = replace(answer(json.dumps(document).encode()), headers=headers)

    assert isinstance(answers._message(odd), str)
    assert isinstance(answers._limit_wait(odd), float | None)


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
def test_a_servers_message_has_no_control_characters(content, words) -> None:
    """And at most 300 characters."""
    assert answers._message(answer(content)) == words


def test_an_answer_that_is_not_json_may_be_retried() -> None:
    """It may be the page of a proxy."""
    with pytest.raises(answers.Retry) as caught:
        answers.parse(answer(b"<html>"))

    assert places([caught.value.problem]) == [("api.example", "github.answer-unexpected")]


def test_a_body_is_a_stream(tmp_path) -> None:
    """It reports its progress with every chunk."""
    (tmp_path / "x").write_bytes(b"abc")
    told = []
    with (tmp_path / "x").open("rb") as file:
        body = Body(file, "n", 3, lambda *what: told.append(what))
        pieces = [body.read(1), *body]

    assert (pieces, len(body), told) == ([b"a", b"bc"], 3, [("n", 1, 3), ("n", 3, 3)])


@pytest.mark.parametrize(("token", "known"), [("ghs_secret", True), ("ghp_secret", False)])
def test_a_token_is_never_shown(token, known) -> None:
    """Only its kind is known: GitHub does not list the rights of an installation."""
    secret = Secret(token)

    assert ("secret" in f"{secret!r}{secret}", secret.of_installation) == (False, known)


def test_the_default_server_is_github() -> None:
    """Without GITHUB_API_URL."""
    assert API == "https://api.github.com"


def test_the_length_of_an_answer_is_limited(github, parcel, monkeypatch) -> None:
    """The limit is above any list of releases."""
    monkeypatch.setattr("modelreg.release.github.http_client.JSON_LIMIT", 100)
    with pytest.raises(RemoteError) as caught:
        publish(github, parcel)

    assert [problem.rule for problem in caught.value.problems] == ["github.answer-too-long"]


def test_a_list_cannot_lead_the_token_to_another_server(github) -> None:
    """A page on another server is not requested."""
    for number in range(101):
        github.add_release(f"v9.{number}.0")
    service = github.origins["api"].service
    service.shapes = replace(service.shapes, api="http://127.0.0.9:1")
    with session(github) as client, pytest.raises(RemoteError) as caught:
        client.releases()

    (problem,) = caught.value.problems
    assert (problem.rule, "127.0.0.9:1" in problem.message) == ("github.other-server", True)


def asset_of(github: FakeGitHub, parcel):
    """Return a published asset."""
    publish(github, parcel)
    with session(github) as client:
        return client.published(TAG).assets[0]


@pytest.mark.parametrize(("change", "rule"), [(-1, "github.download-too-long"), (1, "github.download-incomplete")])
def test_a_download_of_another_length_than_listed_is_refused(github, parcel, tmp_path, change, rule) -> None:
    """A shorter one is tried again first."""
    asset = asset_of(github, parcel)
    with session(github) as client, pytest.raises(RemoteError) as caught:
        client.download(asset._replace(size=asset.size + change), tmp_path)

    assert places(caught.value.problems) == [(asset.name, rule)]


def test_a_download_reports_its_progress(github, parcel, tmp_path) -> None:
    """With the name of the file."""
    asset, told = asset_of(github, parcel), []
    with session(github) as client:
        client.download(asset, tmp_path, lambda *what: told.append(what))

    assert told == [(asset.name, asset.size, asset.size)]


def transport(time: Time, **settings) -> Transport:
    """Return a session that sends nothing."""
    return Transport(Server("acme/models", None, lambda: time.now, time.sleep, **settings))


def failure(**wait) -> answers.Retry:
    """Return a failure after which another attempt may succeed."""
    return answers.Retry(Problem("x", "github.server-error", "500"), **wait)


def test_each_wait_is_twice_as_long_as_the_one_before() -> None:
    """By half a second at least."""
    time = Time()
    http = transport(time, jitter=min)
    for attempt in range(TRIES - 1):
        http.wait(attempt, failure())

    assert time.slept == [0.5, 1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize("attempt", [TRIES - 1, TRIES + 3])
def test_nothing_is_tried_after_the_last_attempt(attempt) -> None:
    """Attempts count from 0. Publishing counts its own, and could come to a number beyond the last one."""
    time = Time()
    with pytest.raises(RemoteError) as caught:
        transport(time).wait(attempt, failure(wait_s=1.0))

    assert (time.slept, str(attempt + 1) in caught.value.summary) == ([], True)


@pytest.mark.parametrize(
    ("text", "kind"), [("certificate verify failed: CERTIFICATE_VERIFY_FAILED", RemoteError), ("reset", answers.Retry)]
)
def test_a_failed_connection_is_tried_again_unless_its_certificate_is_refused(text, kind) -> None:
    """The certificate will be the same."""
    assert type(_failure("x", requests.ConnectionError(text))) is kind


@pytest.mark.parametrize(("status", "stored"), [(206, b"abcdef"), (200, b"def"), (226, b"def")])
def test_only_partial_content_is_appended(tmp_path, status, stored) -> None:
    """Any other successful answer has the whole file."""
    (tmp_path / "part").write_bytes(b"abc")
    response = SimpleNamespace(
        status_code=status,
        url="https://api.example/x",
        request=SimpleNamespace(method="GET"),
        headers={},
        links={},
        is_redirect=False,
        raw=SimpleNamespace(read1=io.BytesIO(b"def").read),
    )
    download = Download("https://api.example/x", "a", len(stored), tmp_path / "part")
    transport(Time())._store(response, download, lambda *_: None)

    assert (tmp_path / "part").read_bytes() == stored


@pytest.mark.parametrize(("whole", "left"), [(False, 10.0), (True, -90.0)])
def test_the_time_of_transfers_counts_only_where_the_whole_command_is_bounded(whole, left) -> None:
    """Two transfers at the same time count once."""
    time = Time()
    budget = Budget(lambda: time.now, 10.0, whole=whole)
    with budget.transferring():
        with budget.transferring():
            time.sleep(50.0)
        time.sleep(50.0)

    assert budget.left == left
