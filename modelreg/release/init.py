"""The files of a new registry repository, and what an existing one is missing."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from modelreg import config, files, strict_yaml
from modelreg.documents import changelog, releases_table
from modelreg.errors import InputError, Problem
from modelreg.registry import filenames

MINE = "configs/mine.yaml"
WORKFLOW = ".github/workflows/verify.yml"

_PROJECT = """\
# Settings of this registry repository. Every key is optional.
default_model: conv2d_fsq
# repository: owner/name          # where releases are published on GitHub (default: the remote `origin`)
# license: apache-2.0             # license of your models, by its Hugging Face identifier; written into every card
# subjects: pseudonyms            # replaces subject ids in new runs, and in all that is made from them
assets: external                  # external: git ignores binaries, they are release assets; committed: git keeps them
targets: [onnx, hailo8]           # exports that every release contains; with onnx, the model is used without torch
gates:                            # a release must pass them; `modelreg release` names the failed ones
  # the accuracy is above that of always predicting the most frequent class: the lower end of its interval over
  # subjects, or, with fewer than 5 test subjects, the accuracy of each
  above_baseline: true
  # every class has windows in the test split; else no metric says anything about it
  every_class_tested: true
  # the accuracy is at most 0.02 below that of the newest stable version; a first release passes
  accuracy: {not_below: latest, tolerance: 0.02}
  # exports: a gate with `if_exported` is skipped if the version has no such export; without it, the export is required
  parity.whole.logits_error: {max: 0.0001, if_exported: true}  # onnx: largest difference from the checkpoint
  int8.accuracy_drop: {max: 0.02, if_exported: true}  # hailo8: estimated loss of accuracy in 8 bits
  # any other number of eval_metrics.json, by its path: macro_f1: {min: 0.8}
# A gate that may fail, with the reason, which every release prints and every card shows:
# waivers:
#   - {gate: accuracy, reason: "fewer channels than the version before"}
"""

_MINE = """\
# A training on your own recordings. `modelreg data init FOLDER` drafts this file from a folder of recordings; or fill
# in each line with FILL IN, then: modelreg data check configs/mine.yaml
# One text file for each recording, with a header: a column of labels and one of each channel. The guide to recordings
# has other layouts: several devices, time stamps, separate label columns, other separators.
data:
  sources:
    - kind: csv
      path: data                   # the folder of the recordings, relative to this repository; git ignores data/
      name: my-recordings
      license: "FILL IN: who may use the recordings, as CC-BY-4.0 or proprietary"
      citation: "FILL IN: who recorded them, when"
      label: "FILL IN: the column with the labels"
      devices:
        - name: watch              # FILL IN if it is another device: phone, collar
          # a regular expression for the path of each file below `path`; (?P<subject>...) is the subject's id
          files: '(?P<subject>[^/_]+)_(?P<session>[^/]+)\\.csv'
          # if the file name is only the id, as anna.csv: '(?P<subject>[^/]+)\\.csv'
          rate_hz: 50              # FILL IN if it is another rate: samples per second
          # time: {column: t, unit: ms}  # the column of time stamps, if there is one; else sample n is at n / rate_hz
          channels:
            - {name: acc_x, column: "FILL IN: the column of the x axis", unit: m/s2}
            - {name: acc_y, column: "FILL IN: the column of the y axis", unit: m/s2}
            - {name: acc_z, column: "FILL IN: the column of the z axis", unit: m/s2}
  window: 100                      # samples in a window: 2 s at 50 Hz
  hop: 50                          # samples from one window to the next
split: {by: subject, test: 3, validation: 1}  # how many subjects are held back for the test and for validation
model: {name: conv2d_fsq}
training: {epochs: 40, scheduler: onecycle, optimizer: adamw, learning_rate: 0.002, weight_decay: 0.01}
"""

_CHANGELOG = """\
# Changelog

The format is based on [Keep a Changelog](https://keepachangelog.com/en/1.1.0/). Versions follow
[Semantic Versioning](https://semver.org/). `modelreg release` moves the entries under [Unreleased] to the new version;
if there are none, it writes one.

## [Unreleased]
"""

_ATTRIBUTES = """\
# A version keeps its bytes: a changed line ending would break every digest.
registry/** -text
RELEASES.md text eol=lf
CHANGELOG.md text eol=lf
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
# Recordings do not belong into a repository that others can read.
/data/
/.modelreg/
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
  # the git URL and commit of modelreg, as git+https://HOST/OWNER/modelreg@COMMIT
  MODELREG: "{origin}"
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


class Documents(NamedTuple):
    """What `init` does to a folder."""

    written: dict[str, str]  # text of each file that is missing, by its path
    absent_lines: dict[str, tuple[str, ...]]  # of files that exist with other content: the lines that they do not have


def documents(*, sample: bool = False, origin: str | None = None) -> dict[str, str]:
    """Return every file of a new repository by its path.

    `sample` leaves out the configuration of own recordings; `origin` is where modelreg is installed from, as
    `git+https://…@<commit>`.
    """
    own = {} if sample else {MINE: _MINE}
    return {
        config.PROJECT_FILE: _PROJECT,
        changelog.NAME: _CHANGELOG,
        releases_table.NAME: _RELEASES,
        ".gitignore": _IGNORE,
        ".gitattributes": _ATTRIBUTES,
        WORKFLOW: _WORKFLOW.replace("{origin}", origin or "FILL IN"),
        f"{filenames.REGISTRY}/{filenames.KEEP}": "",
        **own,
    }


def missing(folder: Path, documents: dict[str, str]) -> Documents:
    """Return the files that a folder does not have, and the lines that its own files do not have.

    A file that exists is never changed. Raises InputError if something other than a file is in the place of one.
    """
    occupied = [folder / name for name in documents if _is_occupied(folder, name)]
    if occupied:
        problems = [Problem(str(path), "init.place-occupied", "is not a regular file") for path in occupied]
        raise InputError("cannot create a registry repository here; nothing was written", problems)
    present = {name: text for name, text in documents.items() if (folder / name).is_file()}
    absent = {name: _absent_lines(name, text, files.read_text(folder / name)) for name, text in present.items()}
    return Documents(
        {name: text for name, text in documents.items() if name not in present},
        {name: lines for name, lines in absent.items() if lines},
    )


def _is_occupied(folder: Path, name: str) -> bool:
    """Say whether a folder or a link is in the place of a file, or a file in the place of its folder."""
    path = folder / name
    parents = [parent for parent in path.parents if parent.is_relative_to(folder) and parent != folder]
    return path.is_symlink() or path.is_dir() or any(parent.is_symlink() or parent.is_file() for parent in parents)


def _absent_lines(name: str, text: str, existing: str) -> tuple[str, ...]:
    """Return the lines of a new file that an existing one does not have and that matter."""
    if name == config.PROJECT_FILE:
        return tuple(_absent_settings(text, existing))
    if name in (".gitignore", ".gitattributes"):
        return tuple(_effective(text, set(existing.splitlines())))
    if name == releases_table.NAME:
        return tuple(mark for mark in (releases_table.START, releases_table.END) if mark not in existing)
    if name == changelog.NAME and changelog.section(existing, changelog.UNRELEASED) is None:
        return (f"## [{changelog.UNRELEASED}]",)
    return ()


def _effective(text: str, existing: set[str]) -> Iterable[str]:
    return (line for line in text.splitlines() if line and not line.startswith("#") and line not in existing)


def _absent_settings(text: str, existing: str) -> Iterable[str]:
    """Yield the lines of each setting that the existing settings do not have."""
    parsed = strict_yaml.parse(existing, config.PROJECT_FILE)
    there = parsed if isinstance(parsed, dict) else {}
    key = None
    for line in text.splitlines():
        if line and not line.startswith((" ", "#")):
            key = line.partition(":")[0]
        if key and key not in there and not line.lstrip().startswith("#"):
            yield line
