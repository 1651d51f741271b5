"""The rules of GitHub for releases, and its refusals."""

from typing import Any

from fake_github.exchange import Refusal, failure, invalid
from fake_github.state import Release, Repository, is_tag_name

TYPES: dict[str, type] = {
    "tag_name": str,
    "target_commitish": str,
    "name": str,
    "body": str,
    "draft": bool,
    "prerelease": bool,
    "generate_release_notes": bool,
    "make_latest": str,
    "discussion_category_name": str,
}
NULLABLE = {"name", "body", "target_commitish", "discussion_category_name"}
WORDS = {str: "string", bool: "boolean"}
EDITABLE = ("tag_name", "target_commitish", "name", "body", "draft", "prerelease")


def check_types(document: Any) -> dict[str, Any]:
    """Return the body of a request. Raises a 422 for values of other types."""
    if not isinstance(document, dict):
        raise Refusal(failure(400, "Body should be a JSON object"))
    for name in TYPES.keys() & document.keys():
        value, wanted = document[name], TYPES[name]
        if not isinstance(value, wanted) and not (value is None and name in NULLABLE):
            raise _malformed(f"For 'properties/{name}', {value!r} is not a {WORDS[wanted]}.")
    if document.get("make_latest", "true") not in {"true", "false", "legacy"}:
        raise _malformed(f"For 'properties/make_latest', {document['make_latest']!r} is not a possible value.")
    return document


def _malformed(text: str) -> Refusal:
    return Refusal(failure(422, f"Invalid request.\n\n{text}"))


def new_release(repository: Repository, document: dict[str, Any]) -> Release:
    """Return the draft that `document` describes, not yet stored. Raises a 422."""
    if "tag_name" not in document:
        raise _malformed('"tag_name" wasn\'t supplied.')
    release = Release(
        id=next(repository.numbers),
        tag_name=document["tag_name"],
        target_commitish=document.get("target_commitish") or repository.default_branch,
        created_at=repository.now(),
        name=document.get("name"),
        body=document.get("body"),
        prerelease=document.get("prerelease", False),
        hidden=repository.list_lag,
    )
    if document.get("generate_release_notes"):
        release.body = f"{release.body or ''}\n\n## What's Changed\n"
        release.name = release.name or release.tag_name
    check_names(repository, release)
    return release


def check_names(repository: Repository, release: Release) -> None:
    """Raise a 422 for an invalid tag name or an unknown target."""
    errors = []
    if not is_tag_name(release.tag_name):
        errors = [_custom("tag_name is not a valid tag"), _custom("tag_name is not well-formed")]
    unknown = repository.commit_of(release.target_commitish) is None
    if unknown and release.tag_name not in repository.tags:
        errors.append({"resource": "Release", "code": "invalid", "field": "target_commitish"})
    if errors:
        raise invalid(*errors)


def check_change(release: Release, document: dict[str, Any]) -> None:
    """Raise a 422 if `document` changes what an immutable release keeps."""
    kept = {"tag_name", "target_commitish"} & document.keys()
    changed = any(document[name] != getattr(release, name) for name in kept)
    if release.immutable and (changed or document.get("draft")):
        raise invalid(_custom("state cannot be changed when release is immutable", "state"))


def publish(repository: Repository, release: Release, make_latest: str | None) -> None:
    """Make a draft public and create its tag. Raises a 422 if the tag is used or can never be used again."""
    other = repository.published(release.tag_name)
    if other and other is not release:
        raise invalid({"resource": "Release", "code": "already_exists", "field": "tag_name"})
    if release.tag_name in repository.burnt:
        text = (
            "pre_receive Repository rule violations found\n\nCannot create ref due to creations being restricted.\n\n"
        )
        valid = {"resource": "Release", "code": "custom", "message": "Published releases must have a valid tag"}
        raise invalid(_custom(text, "pre_receive"), _custom("tag_name was used by an immutable release"), valid)
    commit = repository.commit_of(release.target_commitish)
    repository.tags.setdefault(release.tag_name, commit or "0" * 40)
    release.draft, release.published_at = False, repository.now()
    if repository.immutable:
        release.immutable = True
        repository.burnt.add(release.tag_name)
    choose_latest(repository, release, make_latest or "true")


def choose_latest(repository: Repository, release: Release, make_latest: str) -> None:
    """Record which release is the latest."""
    if make_latest == "true" and not release.prerelease:
        repository.latest = release.id
    elif make_latest == "legacy" or repository.latest == release.id:
        repository.latest = None


def _custom(message: str, field: str = "tag_name") -> dict[str, str]:
    return {"resource": "Release", "code": "custom", "field": field, "message": message}
