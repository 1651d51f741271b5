"""Whatever the input, a reader returns a record or raises a ModelregError: never another exception, never without end.

Inputs are valid files after structured changes (mutating.py). `make fuzz` draws many more of them. Each input that once
failed is an explicit example.
"""

import io
import itertools
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from example_run import epoch, model_spec
from fuzzing import folder, fuzz, read_or_refused, written
from hypothesis import example
from hypothesis import strategies as st
from mutating import altered, altered_json
from schema_examples import examples_of
from test_records import EXAMPLES

from modelreg import config, files, strict_yaml
from modelreg.documents import changelog, model_card, releases_table
from modelreg.errors import InputError
from modelreg.records import base
from modelreg.registry import references, runs, versions
from modelreg.registry.references import Registry
from modelreg.release.github.client import Client
from modelreg.release.github.http_client import Secret, Server
from modelreg.release.github.plan import RemoteAsset
from modelreg.runtime.api_schema import Contract, Refusal
from modelreg.verification import keys, signing

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import write_schemas

pytestmark = pytest.mark.no_cover  # a thousand times what other tests do once

__all__ = ["folder"]  # a fixture

ROOT = Path(__file__).parents[1]
VERSION = ROOT / "registry/conv2d_fsq/v0.2.0"


# YAML

SHIPPED = [path.read_bytes() for path in sorted((ROOT / "configs").glob("*.yaml"))]
PROJECT = (ROOT / "modelreg.yaml").read_bytes()
YAML = (
    *(
        b"&a ",
        b"*a",
        b"!!python/object:os.system ",
        b"!!set ",
        b"!!binary ",
        b"!!timestamp ",
        b"!!bool ",
        b"!!float ",
        b"! ",
        b"? ",
        b"- ",
        b"|\n",
        b">-\n",
    ),
    *(
        b"---\n",
        b"...\n",
        b"%YAML 1.1\n",
        b"<<: ",
        b"{a: ",
        b"[[",
        b"a: a: ",
        b"\xef\xbf\xbe",
        b"null: ",
        b"1: ",
        b"1.5: ",
    ),
)


@pytest.mark.parametrize("record", [config.ProjectConfig, config.TrainConfig], ids=lambda record: record.__name__)
@fuzz(altered([PROJECT, *SHIPPED], YAML), 40)
@example(data=b"default_model: " + b"9" * 5000)
def test_yaml_configurations(folder, record, data) -> None:
    """modelreg.yaml, and the configurations of trainings."""
    with read_or_refused("YAML"):
        config.load(written(folder, "c.yaml", data), record)


PARSED = [strict_yaml.parse(data.decode(), "") for data in (PROJECT, *SHIPPED)]


@pytest.mark.parametrize("record", [config.ProjectConfig, config.TrainConfig], ids=lambda record: record.__name__)
@fuzz(altered_json(PARSED, ["gates", "model", "kind", "name", "by"]), 40)
def test_values_of_configurations(folder, record, data) -> None:
    """With the lines of the problems: JSON is YAML."""
    with read_or_refused("YAML"):
        config.load(written(folder, "c.yaml", data), record)


@fuzz(
    altered(
        [b"training.epochs=4", b"data.sources.0.path=x", b"model={name: tcn_vae}", b"a.b.c=[1, 2]"], (b"=", b".", b"0")
    )
)
def test_assignments(data) -> None:
    """--set KEY=VALUE."""
    with read_or_refused("YAML"):
        config.settle(
            {"data": {"sources": [{}]}}, config.TrainConfig, "c.yaml", [data.decode("utf-8", "surrogateescape")]
        )


# JSON


@fuzz(
    altered(
        [record.to_bytes() for record in EXAMPLES], (b"NaN", b"1e400", b"\\ud800", b"\\u0000", b"[" * 5000, b'{"a":')
    ),
    200,
)
def test_json(data) -> None:
    """What is read is JSON that can be written."""
    with read_or_refused("JSON"):
        files.to_json(files.parse_json(data, "x.json"))


SEEDS = {
    record: [*examples_of(base.json_schema(record)), *(made.to_document() for made in EXAMPLES if type(made) is record)]
    for record in write_schemas.DOCUMENTS
}


@pytest.mark.parametrize("record", write_schemas.DOCUMENTS, ids=lambda record: record.__name__)
def test_records(record) -> None:
    """Through strict JSON, its JSON Schema and pydantic; and without the schema, as `list` reads."""
    names = list(record.model_fields)

    @fuzz(altered_json(SEEDS[record], names), 10)
    def reads(data) -> None:
        with read_or_refused("JSON records"):
            base.parse(data, record, "x.json").to_bytes()
        with read_or_refused("JSON records"):
            versions.parse_document(data, record, "x.json").to_bytes()

    reads()


@fuzz(altered([files.to_line(epoch().to_document()) * 3], (b"\n", b"\x85", b"\x0c")), 30)
def test_histories(folder, data) -> None:
    """history.jsonl, a record in each line."""
    with read_or_refused("JSON records"):
        runs.read_history(written(folder, "history.jsonl", data).parent)


# Text

MARKDOWN = (
    b"## [",
    b"## ",
    b"```\n",
    b"~~~\n",
    b"[a]: b\n",
    b"- x\n",
    b"<!-- ",
    releases_table.START.encode(),
    releases_table.END.encode(),
)


@fuzz(
    altered(
        [(ROOT / "CHANGELOG.md").read_bytes()[:3000], b"## [Unreleased]\n\n- x\n\n## [v0.1.0] - 2026-11-21\n\n- y\n"],
        MARKDOWN,
    ),
    100,
)
def test_changelogs(folder, data) -> None:
    """A section is found, and [Unreleased] moved."""
    with read_or_refused("Markdown"):
        text = files.read_text(written(folder, "CHANGELOG.md", data))
        changelog.section(text, "v0.1.0")
        changelog.roll(text, "v0.2.0", "2026-11-22", "- z")
        changelog.roll(text, "v0.2.0", "2026-11-22")


@fuzz(altered([(ROOT / "RELEASES.md").read_bytes()], MARKDOWN), 30)
def test_tables_of_releases(folder, data) -> None:
    """RELEASES.md."""
    with read_or_refused("Markdown"):
        written(folder, "RELEASES.md", data)
        releases_table.is_outdated(folder)


@fuzz(altered([(VERSION / "model_card.md").read_bytes()], YAML), 30)
def test_licenses_of_cards(folder, data) -> None:
    """In the front matter of a card."""
    with read_or_refused("YAML"):
        written(folder, "model_card.md", data)
        model_card.stated_license(model_card.read_card(folder))


REFERENCES = (
    b"conv2d_fsq@v0.2.0",
    b"v0.2.0",
    b"latest",
    b"conv2d_fsq@production",
    b"registry/conv2d_fsq/v0.2.0",
    b"1.0.0-rc.1+b",
)


@fuzz(altered(REFERENCES, (b"@", b"v", b"/", b"..", b"a" * 300)), 100)
def test_references(data) -> None:
    """Of a version on the command line, as the operating system passes them."""
    text = data.decode("utf-8", "surrogateescape")
    with read_or_refused("references"):
        references.version_folder(text, ROOT, lambda: Registry(ROOT, "conv2d_fsq"))
    with read_or_refused("references"):
        references.export_path(text, ROOT, lambda: Registry(ROOT, "conv2d_fsq"))


# Signatures

PRIVATE = keys.new("p256")
PEM = keys.public_pem(PRIVATE.public_key())
SIGNED = signing.sign({"a.json": "a" * 64}, "v0.1.0", PRIVATE)


@fuzz(altered([PEM, keys.private_pem(PRIVATE, None), (ROOT / "tests/made_by_0_2_0/key.pub.pem").read_bytes()]), 60)
def test_keys(folder, data) -> None:
    """PEM."""
    with read_or_refused("PEM"):
        keys.load_public(written(folder, "key.pem", data))
    with read_or_refused("PEM"):
        keys.parse_private(data, None, "key.pem")


@fuzz(altered_json([json.loads(SIGNED)]), 60)
def test_signatures(data) -> None:
    """The outer two layers of JSON."""
    with read_or_refused("signatures"):
        signing.signed_digests(data, PRIVATE.public_key())


@fuzz(altered_json([json.loads(signing._decoded(json.loads(SIGNED)["dsseEnvelope"]["payload"], ""))]), 60)
def test_signed_statements(data) -> None:
    """The innermost layer, with a valid signature."""
    with read_or_refused("signatures"):
        signing.signed_digests(signing._sealed(data, PRIVATE), PRIVATE.public_key())


# Remotes

RELEASE = {
    "id": 1,
    "tag_name": "v0.1.0",
    "draft": False,
    "immutable": False,
    "body": "x",
    "upload_url": "https://u.example/1{?name}",
    "html_url": "https://h.example",
    "assets": [],
}
ASSET = {"id": 2, "name": "a.json", "size": 3, "state": "uploaded", "digest": "sha256:" + "a" * 64}
ANSWERS = [
    [RELEASE, RELEASE | {"assets": [ASSET]}],
    RELEASE,
    [ASSET],
    {"archived": False, "permissions": {"push": True}},
    {"sha": "a" * 40},
    {"message": "no", "errors": [{"code": "x"}]},
]
NAMES = (
    "Link",
    "Location",
    "Retry-After",
    "Date",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "Content-Type",
    "Content-Encoding",
    "Content-Length",
    "X-OAuth-Scopes",
)
HEADERS = (
    b'<https://api.github.com/x?page=2>; rel="next"',
    b"http://[::1",
    b"//evil.example/x",
    b"https://a.example:99999/",
    b"https://api.github.com/y",
    b"7",
    b"0",
    b"9" * 400,
    b"-1",
    b"Thu, 01 Jan 1970 00:01:30 GMT",
    b"Thu, 01 Jan 99999 00:00:00 +9999",
    b"gzip",
    b"repo, user",
    b"\xb2",
)
ANSWER = st.tuples(
    st.sampled_from([200, 200, 200, 206, 301, 302, 304, 401, 403, 404, 416, 422, 429, 500]),
    st.dictionaries(st.sampled_from(NAMES), altered(HEADERS, HEADERS), max_size=3),
    altered_json(ANSWERS, list(RELEASE)) | altered([json.dumps(each).encode() for each in ANSWERS]),
)


@fuzz(st.tuples(st.integers(0, 5), st.lists(ANSWER, min_size=1, max_size=4)), 60)
def test_answers_of_a_server(folder, data) -> None:
    """Status, headers and body of each answer; the last one is repeated."""
    number, answers = data
    with canned(answers) as client, read_or_refused("HTTP answers"):
        asset = RemoteAsset(2, "a.json", 3, "uploaded", None)
        (
            client.releases,
            lambda: client.release(1),
            lambda: client.published("v0.1.0"),
            client.repository,
            lambda: client.commit("main"),
            lambda: client.download(asset, folder),
        )[number]()


@contextmanager
def canned(answers: list[tuple[int, dict[str, bytes], bytes]]) -> Iterator[Client]:
    """A session whose server gives these answers, and then the last one again."""
    from requests.adapters import HTTPAdapter
    from urllib3 import HTTPResponse

    class Canned(HTTPAdapter):
        left = iter([*answers, *[answers[-1]] * 50])

        def send(self, request, **_):
            status, headers, body = next(self.left)
            named = {name: value.decode("latin-1") for name, value in headers.items()}
            return self.build_response(request, HTTPResponse(io.BytesIO(body), named, status, preload_content=False))

    time = itertools.count()
    server = Server(
        "acme/models", Secret("ghp_secret"), lambda: float(next(time)), lambda _: None, total_s=30.0, jitter=max
    )
    with Client(server) as client:
        for scheme in ("https://", "http://"):
            client.http.session.mount(scheme, Canned())
        yield client


# Requests

CONTRACT = Contract(model_spec())
WINDOW = {"x": [[0.0] * 2] * 16, "session": "a"}


@fuzz(altered_json([WINDOW], ["x", "session"]) | altered([json.dumps(WINDOW).encode()], (b"NaN", b"1e39")), 100)
def test_requests(data) -> None:
    """Bodies of POST /infer."""
    with read_or_refused("requests"):
        if isinstance(found := CONTRACT.read(data), Refusal):
            raise InputError("refused", found.problems)
