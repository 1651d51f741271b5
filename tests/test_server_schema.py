"""What schemathesis makes of the OpenAPI document: the server answers as it says, and never with a 5xx."""

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
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of what schemathesis brings along
]


@pytest.fixture(scope="module")
def document():
    """The document of a running server."""
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
    ids=["infer", "infer not so", "healthz", "metrics", "docs"],
)
def test_the_server_keeps_its_document(document, path, mode) -> None:
    """Status, media type, headers and body; what the document allows and what it does not."""
    operations = {o.label: o for o in (result.ok() for result in document.get_all_operations())}
    cases = operations[path].as_strategy(generation_mode=mode)

    @settings(max_examples=10, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=cases)
    def check(case) -> None:
        answer = case.call()
        excluded = []
        if answer.status_code == 413:  # which it takes for an acceptance
            excluded = [negative_data_rejection]
        elif b"out of limits" in answer.content:  # numbers that no schema of ours forbids
            excluded = [positive_data_acceptance]
        case.validate_response(answer, excluded_checks=excluded)

    check()
