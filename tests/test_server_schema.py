"""Test the server against its OpenAPI document with schemathesis; no response is a 5xx."""

import pytest
import schemathesis
from example_bundle import VERSION
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from test_server import served, serving

from modelreg.runtime import bundle_loader
from modelreg.runtime.pipeline import Pipeline

pytestmark = [
    pytest.mark.allow_hosts(["127.0.0.1"]),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # in the dependencies of schemathesis
]


@pytest.fixture(scope="module")
def document():
    """The OpenAPI document of a running server."""
    with serving(served(bundle_loader.read_export(VERSION), first=Pipeline.load(VERSION))) as client:
        yield schemathesis.openapi.from_url(f"http://127.0.0.1:{client.port}/openapi.json")


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("POST /infer", GenerationMode.POSITIVE),
        ("POST /infer", GenerationMode.NEGATIVE),
        ("GET /healthz", GenerationMode.POSITIVE),
        ("GET /metrics", GenerationMode.POSITIVE),
        ("GET /docs", GenerationMode.POSITIVE),
    ],
    ids=["infer", "invalid infer", "healthz", "metrics", "docs"],
)
def test_the_server_conforms_to_its_document(document, path, mode) -> None:
    """Status, media type, headers and body, for valid and invalid requests."""
    operations = {o.label: o for o in (result.ok() for result in document.get_all_operations())}
    cases = operations[path].as_strategy(generation_mode=mode)

    @settings(max_examples=10, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=cases)
    def check(case) -> None:
        answer = case.call()
        excluded = []
        if answer.status_code == 413:  # schemathesis takes it for an acceptance
            excluded = [negative_data_rejection]
        elif b"out of limits" in answer.content:  # the schema does not contain the limits
            excluded = [positive_data_acceptance]
        case.validate_response(answer, excluded_checks=excluded)

    check()
