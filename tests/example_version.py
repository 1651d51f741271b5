"""A small released version, made without torch, and what one does who tampers with it."""

import json

from example_release import carry_out

from modelreg import files
from modelreg.records.base import load
from modelreg.records.manifest import Manifest
from modelreg.registry import versions
from modelreg.release.plan import Request


def make_version(root, run, version="v0.1.0"):
    """Release a version of a run."""
    return carry_out(root, Request(version, run, roll_changelog=True, changelog_entry=True)).folder


def edit(path, change):
    """Change a JSON document in place."""
    document = json.loads(path.read_text())
    change(document)
    path.write_bytes(files.to_json(document))


def reseal(version):
    """Make manifest and sums fit the files again, as one who tampers would."""

    def update(document):
        for entry in document["files"]:
            path = version / entry["path"]
            entry["sha256"], entry["size"] = files.sha256(path), path.stat().st_size

    edit(version / "manifest.json", update)
    reseal_sums(version)


def reseal_sums(version):
    """Make sha256sum.txt fit the manifest again."""
    manifest = load(version / "manifest.json", Manifest)
    sums = versions.sums_text(manifest, files.sha256(version / "manifest.json"))
    (version / "sha256sum.txt").write_text(sums)


def drop_bom(version):
    """Leave a version as modelreg 0.1 and 0.2 made them."""
    (version / "bom.cdx.json").unlink()
    edit(version / "manifest.json", lambda d: d.update(files=[e for e in d["files"] if e["path"] != "bom.cdx.json"]))
    reseal(version)
