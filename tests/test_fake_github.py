"""The fake of GitHub agrees with recordings, with GitHub's OpenAPI description and with its documentation."""

import hashlib
import tracemalloc

import pytest
import requests
from fake_github import FakeGitHub, contract
from fake_github.client import Client
from fake_github.exchange import Request
from fake_github.recorded import keys_of, replay
from fake_github.state import is_tag_name, safe_name

pytest_plugins = ["fake_github.fixtures"]
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
SHA = "a" * 40
OCTETS = {"Accept": "application/octet-stream"}
LATER = {"digest", "immutable", "updated_at", "user_view_type", "status"}  # GitHub added them after the recordings


def as_other(fake, **rights):
    """Return a client with another token."""
    return Client(fake, fake.add_token("other", **rights))


@pytest.mark.parametrize("name", ["release-assets", "release-assets-conflict"])
def test_recordings_have_the_fakes_statuses(name, tmp_path) -> None:
    """The fake answers as GitHub did."""
    assert [
        (row["status"], answer.status_code)
        for row, answer in replay(name, tmp_path)
        if row["status"] != answer.status_code
    ] == []


@pytest.mark.parametrize("name", ["release-assets", "release-assets-conflict"])
def test_recordings_have_the_fakes_keys(name, tmp_path) -> None:
    """No key is missing or added."""
    pairs = [(row["response"], answer.json()) for row, answer in replay(name, tmp_path) if row["status"] != 204]
    pairs[0][1]["assets"] = []  # recorded before there were any

    assert {key.split(".")[-1] for real, ours in pairs for key in keys_of(ours) ^ keys_of(real)} <= LATER


def test_a_recorded_conflict_has_the_fakes_errors(tmp_path) -> None:
    """The list of errors is equal."""
    pairs = [
        (row, answer.json()) for row, answer in replay("release-assets-conflict", tmp_path) if row["status"] == 422
    ]

    assert [row["response"]["errors"] for row, _ in pairs] == [answer["errors"] for _, answer in pairs]


def test_the_contract_finds_a_wrong_field(fake, client) -> None:
    """It checks answers, not only their status."""
    client.create()
    exchange = fake.requests.pop()
    exchange.response.body = exchange.response.body.replace(b'"draft":true', b'"draft":"yes"')

    assert "'yes'" in next(contract.find_problems(exchange.request, exchange.response))


def test_the_contract_finds_a_field_that_github_ignores(fake, client) -> None:
    """Otherwise a misspelt field would not be noticed."""
    client.create(pre_release=True)
    exchange = fake.requests.pop()

    assert "pre_release" in next(contract.find_problems(exchange.request, exchange.response))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("", 200),
        ("/immutable-releases", 200),
        ("/commits/main", 200),
        (f"/commits/{SHA}", 200),
        ("/commits/unknown", 422),
        ("/git/ref/tags/v0.1.0", 200),
        ("/git/ref/tags/v0", 404),
        ("/git/matching-refs/tags/v0", 200),
        (f"/git/tags/{hashlib.sha1(b'tag v0.1.0', usedforsecurity=False).hexdigest()}", 200),
        ("/releases", 200),
        ("/releases/latest", 404),
        ("/releases/tags/v1.0.0", 404),
        ("/releases/7", 404),
    ],
)
def test_reading_is_as_described(fake, client, draft, path, status) -> None:
    """Drafts have no tag yet. The fixture checks the documents against the description of GitHub."""
    fake.repo.immutable = True
    fake.add_tag("v0.1.0", SHA, annotated=True)

    assert client.get(client.base + path).status_code == status


def test_the_token_identifies_the_user(fake, client) -> None:
    """With its scopes."""
    assert client.get(f"{fake.api_url}/user").headers["X-OAuth-Scopes"] == "repo"


def test_a_bad_token_is_refused(fake) -> None:
    """Even for public documents."""
    with Client(fake, "wrong") as client:
        assert client.get(client.base).json()["message"] == "Bad credentials"


@pytest.mark.parametrize(("private", "statuses"), [(False, [200, 401, 401]), (True, [404, 404, 401])])
def test_without_a_token_only_public_repositories_can_be_read(fake, private, statuses) -> None:
    """And nothing can be written."""
    fake.repo.private = private
    with Client(fake, token=None) as client:
        answers = [client.get(client.base), client.create(), client.get(f"{fake.api_url}/user")]

    assert [answer.status_code for answer in answers] == statuses


@pytest.mark.parametrize("denied", [403, 404])
def test_without_the_right_to_push_nothing_is_written(fake, denied) -> None:
    """GitHub answers in two ways."""
    fake.repo.denied = denied
    with as_other(fake, push=False) as client:
        assert client.create().status_code == denied


def test_drafts_are_visible_only_with_the_right_to_push(fake, draft) -> None:
    """Without it the answer is 404."""
    with as_other(fake, push=False) as client:
        assert [client.get(f"{client.base}/releases").json(), client.get(draft["url"]).status_code] == [[], 404]


def test_the_rights_of_an_installation_are_not_listed(fake) -> None:
    """It may push nevertheless."""
    with as_other(fake, listed=False) as client:
        assert [client.get(client.base).json()["permissions"]["push"], client.create().status_code] == [False, 201]


def test_an_archived_repository_is_read_only(fake, client) -> None:
    """It can be read."""
    fake.repo.archived = True

    assert [client.get(client.base).json()["archived"], client.create().status_code] == [True, 403]


def test_a_renamed_repository_redirects(fake, client) -> None:
    """By its number, as GitHub does."""
    fake.repo.renamed_from = "acme/old"
    answer = client.get(f"{fake.api_url}/repos/acme/old")

    assert (answer.history[0].status_code, answer.json()["full_name"]) == (301, "acme/models")


def test_a_list_has_pages(fake, client) -> None:
    """The Link header has addresses of another form."""
    for number in range(5):
        fake.add_release(f"v0.{number}.0")
    first = client.get(f"{client.base}/releases", params={"per_page": 2})
    third = client.get(client.get(first.links["next"]["url"]).links["next"]["url"])

    assert [release["tag_name"] for release in third.json()] == ["v0.0.0"]


def test_a_new_draft_is_listed_late(fake, client) -> None:
    """After as many requests as the setting states."""
    fake.repo.list_lag = 2
    client.create()

    assert [len(client.get(f"{client.base}/releases").json()) for _ in range(3)] == [0, 0, 1]


def test_a_tag_has_many_drafts_but_one_release(fake, client) -> None:
    """The second cannot be published."""
    drafts = [client.create().json()["url"] for _ in range(2)]

    assert [client.patch(url, json={"draft": False}).status_code for url in drafts] == [200, 422]


def test_publishing_makes_the_tag(fake, client, draft) -> None:
    """At the head of the branch that the draft names."""
    client.patch(draft["url"], json={"draft": False})

    assert client.get(f"{client.base}/git/ref/tags/v1.0.0").status_code == 200


@pytest.mark.parametrize(("fields", "kept"), [({"body": "new"}, False), ({"body": "new", "tag_name": "v1.0.0"}, True)])
def test_a_draft_that_is_changed_without_its_tag_loses_it(client, draft, fields, kept) -> None:
    """As GitHub does."""
    assert (client.patch(draft["url"], json=fields).json()["tag_name"] == "v1.0.0") == kept


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"tag_name": "v1..0"}, "tag_name is not a valid tag"),
        ({"tag_name": None}, "is not a string"),
        ({"make_latest": True}, "is not a string"),
        ({"make_latest": "yes"}, "is not a possible value"),
        ({"draft": "yes"}, "is not a boolean"),
        ({"target_commitish": "b" * 40}, "target_commitish"),
    ],
)
def test_an_invalid_release_is_refused(client, fields, text) -> None:
    """The answer names the fault."""
    answer = client.create(**fields)

    assert (answer.status_code, text in answer.text) == (422, True)


@pytest.mark.parametrize(("sent", "status"), [("{}", 422), ("{", 400), ("[]", 400)])
def test_a_body_without_a_tag_is_refused(client, sent, status) -> None:
    """Exactly as GitHub does."""
    assert client.post(f"{client.base}/releases", data=sent).status_code == status


@pytest.mark.parametrize(("second", "latest"), [("true", "v2"), ("false", "v1"), ("legacy", "v2")])
def test_make_latest_chooses_the_latest_release(fake, client, second, latest) -> None:
    """The first release is the latest until another is chosen."""
    for tag, choice in (("v1", "true"), ("v2", second)):
        client.create(tag_name=tag, draft=False, make_latest=choice)

    assert client.get(f"{client.base}/releases/latest").json()["tag_name"] == latest


def test_a_prerelease_is_never_the_latest(client) -> None:
    """Even if requested."""
    client.create(draft=False, prerelease=True, make_latest="true")

    assert client.get(f"{client.base}/releases/latest").status_code == 404


def test_an_immutable_release_cannot_change(fake, client, draft) -> None:
    """Its notes may change; its assets, tag and state may not, and its tag is never accepted again."""
    fake.repo.immutable = True
    asset = client.upload(draft).json()
    client.patch(draft["url"], json={"draft": False})
    answers = [
        client.patch(draft["url"], json={"body": "new"}),
        client.patch(draft["url"], json={"draft": True}),
        client.upload(draft, "b.bin"),
        client.delete(asset["url"]),
        client.delete(draft["url"]),
        client.create(draft=False),
    ]

    assert [answer.status_code for answer in answers] == [200, 422, 422, 422, 204, 422]


def test_an_upload_is_stored_with_its_digest(fake, client, draft) -> None:
    """On disk, byte for byte."""
    client.upload(draft, data=b"hello" * 1000)
    stored = fake.releases[0].find("a.bin")

    assert (stored.file.read_bytes(), stored.sha256) == (b"hello" * 1000, hashlib.sha256(b"hello" * 1000).hexdigest())


@pytest.mark.parametrize("mode", ["null", "absent"])
def test_an_older_server_has_no_digest(tmp_path, mode) -> None:
    """The key is null or absent."""
    with FakeGitHub(tmp_path, digests=mode) as fake, Client(fake) as client:
        assert client.upload(client.create().json()).json().get("digest") is None


@pytest.mark.parametrize(
    ("headers", "status", "text"),
    [
        ({"Content-Length": "0"}, 422, "size must be greater than or equal to 1"),
        ({"Content-Length": "2147483648"}, 422, "size must be less than 2147483648"),
        ({"Content-Length": "x"}, 400, "Bad Content-Length: "),
        ({"Transfer-Encoding": "chunked"}, 400, "Bad Content-Length: "),
    ],
)
def test_the_declared_length_decides(client, draft, headers, status, text) -> None:
    """Before a byte is read."""
    request = requests.Request("POST", draft["upload_url"].partition("{")[0], params={"name": "a"}).prepare()
    request.headers = {**client.headers, "Content-Type": "text/plain", **headers}
    answer = client.send(request, timeout=5)

    assert (answer.status_code, text in answer.text) == (status, True)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("a%%%!!!b.txt", "a.b.txt"),
        ("app (15-5).zip", "app.15-5.zip"),
        ("a~b:c@d+e_f.bin", "a.b.c@d+e_f.bin"),
        ("é.txt", "e.txt"),
        (".env", "default.env"),
        ("model-v1.0.0.safetensors", "model-v1.0.0.safetensors"),
    ],
)
def test_special_characters_become_dots(name, given) -> None:
    """As far as the rule is known."""
    assert safe_name(name) == given


def test_names_collide_after_renaming(client, draft) -> None:
    """The returned name counts."""
    assert [client.upload(draft, name).status_code for name in ("a b", "a.b")] == [201, 422]


@pytest.mark.parametrize(
    ("name", "valid"), [("v1.0.0", True), ("a/b", True), ("v1.", False), ("-v", False), ("", False)]
)
def test_tag_names_follow_git(name, valid) -> None:
    """As git check-ref-format documents."""
    assert is_tag_name(name) is valid


def test_an_upload_takes_little_memory(fake, client, draft, tmp_path) -> None:
    """64 MiB of zeros need a few blocks."""
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(64 << 20)
    with (tmp_path / "sparse").open("rb") as file:
        tracemalloc.start()
        client.upload(draft, data=file)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    assert peak < 8 << 20


def test_a_download_is_redirected_without_the_token(client, draft) -> None:
    """The object store refuses two ways to authenticate."""
    url = client.upload(draft).json()["url"]
    redirect = client.get(url, headers=OCTETS, allow_redirects=False)
    store = redirect.headers["Location"]

    assert (
        redirect.status_code,
        redirect.headers["Content-Length"],
        client.get(store).status_code,
        client.get(url, headers=OCTETS).content,
    ) == (302, "0", 400, b"hello")


def test_a_server_may_stream_the_bytes_itself(fake, client, draft) -> None:
    """As the documentation allows."""
    fake.repo.redirects = False
    url = client.upload(draft).json()["url"]

    assert client.get(url, headers=OCTETS, allow_redirects=False).content == b"hello"


@pytest.mark.parametrize(
    ("requested", "status", "part"),
    [("bytes=1-2", 206, b"el"), ("bytes=3-", 206, b"lo"), ("bytes=-2", 206, b"lo"), ("bytes=5-", 416, None)],
)
def test_the_store_serves_ranges(fake, requested, status, part) -> None:
    """Anyone may read the assets of a public release."""
    release = fake.add_release("v1", {"a.bin": b"hello"})
    with Client(fake, token=None) as client:
        url = fake.shapes.download(release, release.find("a.bin"))
        answer = client.get(url, headers={"Range": requested})

    assert (answer.status_code, part or answer.content) == (status, answer.content)


def test_a_changed_address_is_refused(fake, client, draft) -> None:
    """Its signature is invalid."""
    client.upload(draft)
    link = fake.origins["objects"].service.link(fake.releases[0].find("a.bin"))

    assert requests.get(link.replace("sig=", "sig=0"), timeout=5).status_code == 403


def test_enterprise_has_its_api_under_a_prefix(tmp_path) -> None:
    """Its uploads too."""
    with FakeGitHub(tmp_path, prefix="/api") as fake, Client(fake) as client:
        release = client.create().json()

        assert (release["url"].split("/")[3:5], client.upload(release).status_code) == (["api", "v3"], 201)


def test_a_draft_is_found_by_graphql(fake, client, draft) -> None:
    """As the gh command does; the API by tag answers 404."""
    query = {"query": "query RepositoryReleaseByTag", "variables": {"tagName": "v1.0.0"}}
    answer = client.post(f"{fake.api_url}/graphql", json=query).json()

    assert answer["data"]["repository"]["release"] == {"databaseId": draft["id"], "isDraft": True}


def test_a_path_is_decoded_and_a_query_read() -> None:
    """The last of a repeated parameter counts."""
    request = Request("api", "GET", "/a%20b?x=1&x=2", {})

    assert (request.path, request.query) == ("/a b", {"x": "2"})
