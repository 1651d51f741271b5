"""The map from subject ids to pseudonyms: `.modelreg/pseudonyms.json` at the registry's root, ignored by git."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path

from modelreg import files
from modelreg.errors import InputError, Problem

FOLDER = ".modelreg"
NAME = f"{FOLDER}/pseudonyms.json"
_IGNORE = b"# Who is who stays on this machine.\n*\n"


def reader(root: Path, *, may_grow: bool) -> Callable[[Collection[str]], Mapping[str, str]]:
    """Return what names subjects by the map of a registry.

    With `may_grow`, subjects that are new get a pseudonym, which is on disk before it is used. Without it, a subject
    that the map does not have is refused: the run it belongs to was made with another map. Raises InputError. What is
    returned can be sent to other processes.
    """
    return partial(_names, root, may_grow)


def _names(root: Path, may_grow: bool, subjects: Collection[str]) -> Mapping[str, str]:
    from modelreg.data import pseudonyms

    known = _read(root)
    unknown = set(subjects) - known.keys()
    if (unknown or not known) and not may_grow:
        raise InputError("cannot read the recordings", [_missing(root, len(unknown))])
    if not unknown:
        return known
    if not known and _is_lost(root):
        raise InputError("cannot read the recordings", [_missing(root, 0)])
    with files.sole_writer(_folder(root), root / NAME, wait=True):  # others hold it for a moment only
        found = pseudonyms.extend(_read(root), subjects)
        _write(root, found)
    return found


def _is_lost(root: Path) -> bool:
    """Say whether runs were made with a map: a new one would give their pseudonyms to other subjects."""
    configs = (root / "runs").glob("*/config.json")
    return any(b'"subjects": "pseudonyms"' in files.read_bytes(path) for path in configs)


def _folder(root: Path) -> Path:
    """Return the folder of the map, with its own .gitignore, so that it is never committed."""
    folder = root / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    if not (folder / ".gitignore").is_file():
        files.write_atomic(folder / ".gitignore", _IGNORE)
    return folder


def _read(root: Path) -> Mapping[str, str]:
    from modelreg.records.base import load
    from modelreg.records.pseudonyms import PseudonymMap

    path = root / NAME
    return load(path, PseudonymMap).subjects if path.is_file() else {}


def _write(root: Path, names: Mapping[str, str]) -> None:
    from modelreg.records.pseudonyms import PseudonymMap

    files.write_atomic(root / NAME, PseudonymMap(subjects=dict(names)).to_bytes())


def _missing(root: Path, unknown: int) -> Problem:
    what = f"{unknown} subjects of the recordings are not in it" if unknown else "the file does not exist"
    return Problem(str(root / NAME), "pseudonyms.map-missing", what)
