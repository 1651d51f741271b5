"""Personal data that a release may publish by mistake: tracked recordings, subject ids that are names."""

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from modelreg.errors import Notice
from modelreg.registry import filenames

RECORDINGS = frozenset(
    [
        ".csv",
        ".tsv",
        ".npy",
        ".npz",
        ".parquet",
        ".feather",
        ".h5",
        ".hdf5",
        ".mat",
        ".xlsx",
        ".edf",
        ".bdf",
        ".gt3x",
        ".cwa",
        ".arff",
        ".tar.xz",
    ]
)
OURS = (f"{filenames.REGISTRY}/", "configs/", "schemas/", "docs/", ".github/")  # no recordings of the user's
_CODES = re.compile(
    r"(?:subjects?|subj|sub|participants?|part|users?|persons?|probands?|patients?|volunteers?|dogs?|cats?|cows?|horses?"
    r"|sheep|animals?|id|[a-z]{1,2})?[-_ .]*\d*",
    re.IGNORECASE,
)  # s01, subject-7, p12, dog3, 12
_WORD = re.compile(r"[^\W\d_]{3,}")


def find_recordings(tracked: Iterable[str]) -> Iterator[Notice]:
    """Yield a notice where files that git tracks, relative to the root, look like recordings by their suffix."""
    found = sorted(path for path in tracked if not path.startswith(OURS) and _suffix(path) in RECORDINGS)
    if found:
        others = f" and {len(found) - 1} other tracked files" if len(found) > 1 else ""
        message = (
            f"looks like recordings{others}: who can read the repository can read them. "
            "Remove them from git (`git rm --cached`), and list their folder in .gitignore"
        )
        yield Notice(found[0], message)


def find_names(subjects: Iterable[str]) -> Iterator[Notice]:
    """Yield a notice where subject ids look like personal names: words, not a code with a number."""
    found = sorted({subject for subject in subjects if _WORD.search(subject) and not _CODES.fullmatch(subject)})
    if found:
        shown = ", ".join(found[:3]) + (f" and {len(found) - 3} others" if len(found) > 3 else "")
        message = f"look like names: {shown}. `subjects: pseudonyms` in modelreg.yaml replaces them in new runs"
        yield Notice("subject ids", message)


def _suffix(path: str) -> str:
    suffixes = PurePosixPath(path.lower()).suffixes
    return "".join(suffixes[-2:]) if suffixes[-2:] == [".tar", ".xz"] else "".join(suffixes[-1:])
