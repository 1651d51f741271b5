"""Which release GitHub shows as the latest: stated in every request, and only of the model that may have it."""

import json

import pytest
from delivering import publish
from example_release import carry_out
from example_run import write_registry, write_run

from modelreg.cli.publish_checks import expected_release
from modelreg.config import ProjectConfig
from modelreg.release.plan import Request

pytest_plugins = ["delivery_fixtures"]
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
OTHER_DEFAULT = {"default_model": "conv2d_vq"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A registry in which v0.1.1 was released after v0.2.0."""
    root = write_registry(tmp_path_factory.mktemp("latest"))
    for seed, version in enumerate(("v0.1.0", "v0.2.0", "v0.1.1", "v0.3.0-rc.1")):
        run = write_run(root / "runs" / f"conv2d_fsq-00{seed}", seed=seed)
        carry_out(root, Request(version, run, roll_changelog=True, changelog_entry=True, allow_older=True))
    return root


@pytest.mark.parametrize(
    ("version", "settings", "latest"),
    [
        ("v0.2.0", {}, True),
        ("v0.1.1", {}, False),
        ("v0.3.0-rc.1", {}, False),
        ("v0.2.0", OTHER_DEFAULT, False),
        ("v0.2.0", {**OTHER_DEFAULT, "latest_release": "conv2d_fsq"}, True),
        ("v0.1.1", {**OTHER_DEFAULT, "latest_release": "conv2d_fsq"}, False),
        ("v0.2.0", {"latest_release": "conv2d_vq"}, False),
        ("v0.2.0", {"latest_release": "none"}, False),
    ],
)
def test_the_latest_is_the_highest_stable_version_of_one_model(root, version, settings, latest) -> None:
    """Of the default model, or of the one that modelreg.yaml names."""
    expected = expected_release(root, ProjectConfig(**settings), root / "registry/conv2d_fsq" / version)

    assert expected.latest == latest


@pytest.mark.parametrize("latest", [True, False])
def test_every_request_states_whether_the_release_is_the_latest(github, parcel, latest) -> None:
    """GitHub makes a release the latest whose request says nothing. A draft cannot be it."""
    github.add_release("v9.0.0", {"x": b"1"})
    before = github.repo.latest
    publish(github, parcel._replace(expected=parcel.expected._replace(latest=latest)))
    made = github.published(parcel.expected.tag)
    requests = [each.request for each in github.requests if each.request.method in ("POST", "PATCH")]
    stated = [json.loads(request.body)["make_latest"] for request in requests if not request.query.get("name")]

    assert stated == ["false", "true" if latest else "false"]
    assert github.repo.latest == (made.id if latest else before)
