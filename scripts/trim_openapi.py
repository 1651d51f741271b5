"""Trim GitHub's OpenAPI to the endpoints of releases, for tests/fake_github/openapi.json.

    npm pack @octokit/openapi@23.0.2 && tar xzf octokit-openapi-23.0.2.tgz package/generated/api.github.com.json
    python scripts/trim_openapi.py package/generated/api.github.com.json

Prose, examples and extensions are removed; schemas stay unchanged. The same source gives the same bytes.
"""

import json
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "tests" / "fake_github" / "openapi.json"
REPOSITORY = "/repos/{owner}/{repo}"
OPERATIONS = {
    "/user": ("get",),
    REPOSITORY: ("get",),
    f"{REPOSITORY}/commits/{{ref}}": ("get",),
    f"{REPOSITORY}/git/matching-refs/{{ref}}": ("get",),
    f"{REPOSITORY}/git/ref/{{ref}}": ("get",),
    f"{REPOSITORY}/git/tags/{{tag_sha}}": ("get",),
    f"{REPOSITORY}/immutable-releases": ("get",),
    f"{REPOSITORY}/releases": ("get", "post"),
    f"{REPOSITORY}/releases/assets/{{asset_id}}": ("get", "patch", "delete"),
    f"{REPOSITORY}/releases/latest": ("get",),
    f"{REPOSITORY}/releases/tags/{{tag}}": ("get",),
    f"{REPOSITORY}/releases/{{release_id}}": ("get", "patch", "delete"),
    f"{REPOSITORY}/releases/{{release_id}}/assets": ("get", "post"),
}
PROSE = {"summary", "description", "example", "examples", "externalDocs", "tags", "title", "deprecated"}
NAMES = {"properties", "patternProperties", "schemas", "parameters", "responses", "headers", "paths"}


def without_prose(node: Any, *, names: bool = False) -> Any:
    """Return `node` without documentation; keys of a mapping of `names` are not keywords and stay."""
    if isinstance(node, list):
        return [without_prose(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: item for key, item in node.items() if names or (key not in PROSE and not key.startswith("x-"))}
    return {key: without_prose(item, names=key in NAMES and not names) for key, item in kept.items()}


def find_references(node: Any) -> set[str]:
    """Return every `$ref` in `node`."""
    if isinstance(node, list):
        return {found for item in node for found in find_references(item)}
    if not isinstance(node, dict):
        return set()
    own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
    return own | {found for item in node.values() for found in find_references(item)}


def describe_responses(node: Any) -> None:
    """Give every response the description that OpenAPI requires."""
    responses = [item for path in node["paths"].values() for item in path.values()]
    named = [*node["components"].get("responses", {}).values()]
    for response in [answer for item in responses for answer in item["responses"].values()] + named:
        if "$ref" not in response:
            response["description"] = ""


def components_of(paths: Any, source: dict[str, Any]) -> dict[str, Any]:
    """Return the components that `paths` refer to, sorted by name."""
    found: dict[str, Any] = {}
    waiting = find_references(paths)
    while waiting:
        reference = waiting.pop()
        if reference not in found:
            _, _, kind, name = reference.split("/")
            found[reference] = without_prose(source["components"][kind][name])
            waiting |= find_references(found[reference])
    components: dict[str, Any] = {}
    for reference in sorted(found):
        _, _, kind, name = reference.split("/")
        components.setdefault(kind, {})[name] = found[reference]
    return components


def trim(source: dict[str, Any]) -> dict[str, Any]:
    """Return the part of GitHub's description that is about releases."""
    paths = {
        path: {method: without_prose(source["paths"][path][method]) for method in methods}
        for path, methods in OPERATIONS.items()
    }
    info = {key: source["info"][key] for key in ("title", "version", "license")}
    origin = f"@octokit/openapi {info['version']}, MIT licence, Copyright (c) 2020 Octokit contributors"
    info["description"] = f"Trimmed by scripts/trim_openapi.py from {origin}"
    components = components_of(paths, source)
    trimmed = {"openapi": source["openapi"], "info": info, "servers": source["servers"], "paths": paths}
    describe_responses(trimmed | {"components": components})
    return trimmed | {"components": components}


def main(source: Path) -> None:
    """Write the trimmed description."""
    text = json.dumps(trim(json.loads(source.read_text(encoding="utf-8"))), indent=1, ensure_ascii=False)
    TARGET.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
