"""The HTTP client's small decisions: what an answer means, how long to wait, what a body is."""

import pytest

from modelreg import github
from modelreg.publishing import Asset


class Answer:
    """What requests gives, as far as it is asked."""

    url = "https://api.example/repos"

    def __init__(self, content: bytes = b"[]", **headers: str) -> None:
        self.content, self.headers = content, {name.replace("_", "-"): value for name, value in headers.items()}

    def json(self):
        """Parse the content."""
        import json

        return json.loads(self.content)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry_After": "7"}, 7.0),
        ({"Retry_After": "soon"}, 60.0),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": "100", "Date": "Thu, 01 Jan 1970 00:01:30 GMT"}, 10.0),
        ({"x_ratelimit_remaining": "0"}, 60.0),
        ({}, None),
    ],
)
def test_how_long_a_limit_asks_to_wait(headers, seconds) -> None:
    """By its headers, else a minute; None where it is none."""
    assert github._limit_wait(Answer(**headers)) == seconds


def test_what_is_no_json_may_be_asked_for_again() -> None:
    """A proxy's page."""
    with pytest.raises(github.Retry, match="sent no JSON"):
        github._json(Answer(b"<html>"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>", ""),
        (b"[]", ""),
        (b'{"message": "Bad\\u001b[31m"}', "Bad[31m"),
        (b'{"message": "No", "errors": [{"code": "already_exists"}, "x"]}', "No; already_exists; x"),
    ],
)
def test_a_servers_words_are_shown_without_what_a_terminal_obeys(content, words) -> None:
    """And cut, where they are long."""
    assert github._message(Answer(content)) == words


def test_a_body_is_a_stream(tmp_path) -> None:
    """Piece by piece, told of as it goes."""
    (tmp_path / "x").write_bytes(b"abc")
    told = []
    with github._Body(Asset("n", "x", 3, "0" * 64), tmp_path, lambda *what: told.append(what)) as body:
        pieces = list(body)

    assert (pieces, len(body), told[0]) == ([b"abc"], 3, ("n", 3, 3))


def test_rendered_content_is_a_body_too(tmp_path) -> None:
    """sha256sum.txt lies in no folder under its flat name."""
    with github._Body(Asset("n", None, 2, "0" * 64, b"ab"), tmp_path, github.tell_nobody) as body:
        assert (body.read(1), body.read()) == (b"a", b"b")


def test_a_token_is_never_shown() -> None:
    """Neither by repr nor by str."""
    secret = github.Secret("ghp_secret")

    assert "ghp_secret" not in f"{secret!r}{secret}"
