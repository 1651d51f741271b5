"""The files of a new registry repository."""

import os
from pathlib import Path

from modelreg import config
from modelreg.documents import changelog, releases_table
from modelreg.errors import InputError, Problem
from modelreg.registry import filenames

_PROJECT = """\
# Settings of this registry repository. Every key is optional.
default_model: conv2d_fsq
# repository: owner/name          # where releases are published on GitHub (default: the remote `origin`)
# license: apache-2.0             # license of your models, by its Hugging Face identifier; written into every card
assets: external                  # external: git ignores binaries, they are release assets; committed: git keeps them
targets: []                       # exports that every release contains: [onnx, hailo8]
# A release must pass its gates: bounds on numbers of eval_metrics.json, by path. Set your own here.
gates:
  accuracy: {min: 0.85}
  # calibration error after temperature scaling, beyond what a perfectly calibrated model shows by chance
  confidence.after.equal_mass.error: {max: 0.03, beyond: confidence.after.equal_mass.null_high}
  # coverage of 90 % prediction sets: the interval over subjects must contain 0.9
  confidence.sets.lac.interval: {contains: 0.9}
  # exports: a gate with `if_exported` is skipped if the version has no such export; without it, the export is required
  parity.whole.logits_error: {max: 0.0001, if_exported: true}  # onnx: largest difference from the checkpoint
  int8.accuracy_drop: {max: 0.02, if_exported: true}  # hailo8: estimated loss of accuracy in 8 bits
"""

_SAMPLE_WAIVERS = """\
# Gates that may fail, each with a reason. Every release prints it and every card shows it. Remove for your own data.
waivers:
  - {gate: accuracy, reason: "demonstration only: the built-in sample is small"}
  - {gate: confidence.after.equal_mass.error, reason: "only one validation subject, who differs from the test subjects"}
  - {gate: confidence.sets.lac.interval, reason: "an interval over subjects needs at least 5 test subjects"}
"""

_CHANGELOG = """\
# Changelog

The format is based on [Keep a Changelog](https://keepachangelog.com/en/1.1.0/). Versions follow
[Semantic Versioning](https://semver.org/).

## [Unreleased]

### Added

- First model.
"""

_RELEASES = f"""\
# Releases

`modelreg release vX.Y.Z` creates a version from an evaluated run. A version never changes. `modelreg verify` checks
every version: digests, documents, and the metrics against the recorded predictions.

{releases_table.START}
{releases_table.HEAD}{releases_table.END}
"""

_IGNORE = """\
/runs/
/dist/
# Binaries of a version are release assets. For `assets: committed`, remove all of these lines except the last.
/registry/**/*.safetensors
/registry/**/*.npz
/registry/**/*.onnx
/registry/**/*.tar.gz
"""

# modelreg is installed from a git URL, never by its bare name: a package index may have another package of that name
_WORKFLOW = """\
name: verify
on: [push, pull_request]
permissions:
  contents: read
env:
  # FILL IN: the git URL and a commit of modelreg, as git+https://HOST/OWNER/modelreg@COMMIT
  MODELREG: ""
jobs:
  verify:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - name: Install modelreg
        run: |
          if [[ $MODELREG != git+* ]]; then
            echo "::error::FILL IN MODELREG in .github/workflows/verify.yml: git+https://HOST/OWNER/modelreg@COMMIT"
            exit 1
          fi
          pip install "modelreg @ $MODELREG"
      - run: modelreg verify
"""


def documents(*, sample: bool = False) -> dict[str, str]:
    """Return every file of a new repository by its path; `sample` waives the gates that the built-in sample fails."""
    return {
        config.PROJECT_FILE: _PROJECT + (_SAMPLE_WAIVERS if sample else ""),
        changelog.NAME: _CHANGELOG,
        releases_table.NAME: _RELEASES,
        ".gitignore": _IGNORE,
        ".github/workflows/verify.yml": _WORKFLOW,
        f"{filenames.REGISTRY}/{filenames.KEEP}": "",
    }


def missing(folder: Path, *, sample: bool = False) -> dict[str, str]:
    """Return the files that are missing in a folder. Raises InputError if a file with other content is in the way."""
    absent = {name: text for name, text in documents(sample=sample).items() if not _holds(folder / name, text)}
    taken = [folder / name for name in absent if os.path.lexists(folder / name)]
    if taken:
        message = "exists with other content"
        problems = [Problem(str(path), "init.file-exists", message) for path in taken]
        raise InputError("cannot create a registry repository here; nothing was written", problems)
    return absent


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()
