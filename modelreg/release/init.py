"""The files of a new registry repository."""

import os
from pathlib import Path

from modelreg import config
from modelreg.documents import changelog, releases_table
from modelreg.errors import InputError, Problem
from modelreg.registry import filenames

_PROJECT = """\
# The settings of this registry repository; every key may be left out.
default_model: conv2d_fsq
# repository: owner/name          # for releases on GitHub; left out: from the remote `origin`
# license: apache-2.0             # of your models, as Hugging Face names it; goes into every card
assets: external                  # binaries are git-ignored and travel as release assets; or: committed
targets: []                       # what a release exports where the run lacks it: [onnx, hailo8]
# A release must meet its gates: bounds on any number of eval_metrics.json, by its path. Set yours here.
gates:
  accuracy: {min: 0.85}
  # the calibration error that the temperature leaves, beyond what a perfectly calibrated model shows by chance
  confidence.after.equal_mass.error: {max: 0.03, beyond: confidence.after.equal_mass.null_high}
  # sets that are to hold the true class in 90 % of windows: the interval over subjects holds that share
  confidence.sets.lac.interval: {contains: 0.9}
  # of exports: not judged where the version carries none; without `if_exported` a version must carry it
  parity.whole.logits_error: {max: 0.0001, if_exported: true}  # onnx: largest difference from the checkpoint
  int8.accuracy_drop: {max: 0.02, if_exported: true}  # hailo8: the estimated loss in 8 bits
"""

_SAMPLE_WAIVERS = """\
# A gate that may fail, and why: every release prints it, and every card carries it. Take these out for your own data.
waivers:
  - {gate: accuracy, reason: "the built-in recordings are few and show the walk; this model is for no use"}
  - {gate: confidence.after.equal_mass.error, reason: "one person validates, and new people differ from that one"}
  - {gate: confidence.sets.lac.interval, reason: "an interval over subjects needs five people in the test part"}
"""

_CHANGELOG = """\
# Changelog

The format is that of [Keep a Changelog](https://keepachangelog.com/en/1.1.0/); versions follow
[Semantic Versioning](https://semver.org/).

## [Unreleased]

### Added

- The first model.
"""

_RELEASES = f"""\
# Releases

A version is made by `modelreg release vX.Y.Z` out of an evaluated run and never changes. `modelreg verify`
checks every version: digests, documents, and the metrics against the recorded predictions.

{releases_table.START}
{releases_table.HEAD}{releases_table.END}
"""

_IGNORE = """\
/runs/
/dist/
# binaries of a version travel as release assets; for `assets: committed`, take out all of these but the last
/registry/**/*.safetensors
/registry/**/*.npz
/registry/**/*.onnx
/registry/**/*.tar.gz
"""

_WORKFLOW = """\
name: verify
on: [push, pull_request]
permissions:
  contents: read
jobs:
  verify:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - run: pip install modelreg
      - run: modelreg verify
"""


def documents(*, sample: bool = False) -> dict[str, str]:
    """Return every file of a new repository by its path; for the built-in `sample`, with its gates waived."""
    return {
        config.PROJECT_FILE: _PROJECT + (_SAMPLE_WAIVERS if sample else ""),
        changelog.NAME: _CHANGELOG,
        releases_table.NAME: _RELEASES,
        ".gitignore": _IGNORE,
        ".github/workflows/verify.yml": _WORKFLOW,
        f"{filenames.REGISTRY}/{filenames.KEEP}": "",
    }


def missing(folder: Path, *, sample: bool = False) -> dict[str, str]:
    """Return the files that a folder still lacks. Raises InputError where another file has the place of one."""
    lacking = {name: text for name, text in documents(sample=sample).items() if not _holds(folder / name, text)}
    taken = [folder / name for name in lacking if os.path.lexists(folder / name)]
    if taken:
        what = "exists with other content, and is not overwritten"
        raise InputError("cannot make a registry here", [Problem(str(path), "todo.init", what) for path in taken])
    return lacking


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()
