"""Publish and pull through the addresses of GitHub Enterprise, private certificates, proxies and a .netrc."""

import ssl
from urllib.parse import urlsplit

import certifi
import pytest
import trustme
from connect_proxy import connect_proxy
from delivering import TAG, enter, tree
from fake_github import FakeGitHub, contract

from modelreg.cli.main import main

pytest_plugins = ["delivery_fixtures"]
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A certificate authority that is not trusted, and the file of its certificate."""
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path_factory.mktemp("ca") / "ca.pem"))
    return made, tmp_path_factory.getbasetemp() / "ca0" / "ca.pem"


@pytest.fixture
def enterprise(authority, tmp_path, monkeypatch, made):
    """GitHub Enterprise: one host with https, its API and uploads under a prefix."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority[0].issue_cert("127.0.0.1").configure_cert(context)
    with FakeGitHub(tmp_path, prefix="/api", tls=context) as fake:
        enter(monkeypatch, fake, made)
        yield fake
        contract.check_all(fake.requests)


def delivered(made, tmp_path) -> bool:
    """Publish, and pull into another folder; return whether the bytes are equal."""
    codes = [main(["publish", TAG]), main(["pull", TAG, "--out", str(tmp_path / "got")])]
    return codes == [0, 0] and tree(tmp_path / "got") == tree(made / "registry/conv2d_fsq" / TAG)


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_enterprise_with_a_private_certificate(enterprise, authority, made, tmp_path, monkeypatch, name) -> None:
    """requests reads only one of the two variables."""
    monkeypatch.setenv(name, str(authority[1]))

    assert (urlsplit(enterprise.api_url).path, delivered(made, tmp_path)) == ("/api/v3", True)


def test_ssl_cert_file_overrides_requests_ca_bundle(enterprise, authority, made, tmp_path, monkeypatch) -> None:
    """If both are set."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority[1]))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())

    assert delivered(made, tmp_path)


def test_an_untrusted_certificate_is_refused_at_once(enterprise, capsys) -> None:
    """The request is not repeated."""
    code = main(["publish", TAG])

    shown = capsys.readouterr().err
    assert (code, "[github.certificate-untrusted]" in shown, "SSL_CERT_FILE" in shown) == (7, True, True)


def test_https_goes_through_the_proxy(enterprise, authority, made, tmp_path, monkeypatch) -> None:
    """The API, the uploads and the downloads."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority[1]))
    with connect_proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        came = delivered(made, tmp_path)
    places = {urlsplit(url).netloc for url in (enterprise.api_url, enterprise.uploads_url, enterprise.objects_url)}

    assert (came, set(proxy.places)) == (True, places)


def test_http_goes_through_the_proxy(hub, made, tmp_path, monkeypatch) -> None:
    """The proxy resolves a name that is unknown here."""
    monkeypatch.setenv("GITHUB_API_URL", "http://api.github.test")
    monkeypatch.setenv("HTTP_PROXY", hub.api_url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    assert delivered(made, tmp_path)


@pytest.mark.parametrize("signed", [True, False])
def test_a_netrc_changes_no_header(hub, made, tmp_path, monkeypatch, signed) -> None:
    """Neither with a token nor without one: not at the API, not at the target of a redirect."""
    main(["publish", TAG])
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    if not signed:
        monkeypatch.delenv("GITHUB_TOKEN")
        monkeypatch.setenv("PATH", "/nowhere")  # no gh with a token of its own
    before = len(hub.requests)
    main(["pull", TAG, "--out", str(tmp_path / "got")])
    seen = {(e.origin, e.authorization) for e in hub.requests[before:]}

    assert seen == {("api", f"Bearer {hub.token}" if signed else None), ("objects", None)}


def test_an_invalid_address_is_refused_at_once(made, monkeypatch, capsys) -> None:
    """The request is not repeated."""
    monkeypatch.chdir(made)
    monkeypatch.setenv("GITHUB_API_URL", "api.github.com")
    code = main(["pull", TAG])

    shown = capsys.readouterr().err
    assert (code, "[github.address-invalid]" in shown, "GITHUB_API_URL" in shown) == (7, True, True)


def test_the_token_of_github_goes_to_no_other_host(tmp_path, monkeypatch) -> None:
    """`gh auth token` is called for the API's host."""
    from modelreg.cli import github_session

    (tmp_path / "gh").write_text('#!/bin/sh\necho "token of $4"\n')
    (tmp_path / "gh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    for name in ("GITHUB_TOKEN", "GH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    found = [github_session._token(api)._value for api in ("https://api.github.com", "https://git.corp/api/v3")]

    assert found == ["token of github.com", "token of git.corp"]
