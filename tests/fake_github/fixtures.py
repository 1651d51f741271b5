"""Fixtures of the tests of the fake: a fake under contract, a client, a draft."""

import pytest

from fake_github import contract
from fake_github.client import Client
from fake_github.server import FakeGitHub


@pytest.fixture
def fake(tmp_path):
    """A fake; every exchange is checked against the description of GitHub."""
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
