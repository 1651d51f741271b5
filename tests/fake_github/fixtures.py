"""What the tests of the fake itself share: a fake under contract, its owner's client, a draft."""

import pytest

from fake_github import contract
from fake_github.client import Client
from fake_github.server import FakeGitHub


@pytest.fixture
def fake(tmp_path):
    """A fake, whose every exchange is as GitHub describes it."""
    with FakeGitHub(tmp_path) as server:
        yield server
        contract.check_all(server.requests)


@pytest.fixture
def client(fake):
    """The owner's client."""
    with Client(fake) as session:
        yield session


@pytest.fixture
def draft(client):
    """A draft for v1.0.0."""
    return client.create().json()
