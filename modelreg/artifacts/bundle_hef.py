"""A HEF in its bundle: bundle.json keeps what it says, and its file is one of the bundle's, named after the network."""

from collections.abc import Iterator, Mapping

from modelreg.artifacts import hef_compatibility, hef_file
from modelreg.errors import InputError, Problem
from modelreg.records.export import BundleRecord


def file_name(record: BundleRecord) -> str:
    """Return the name of a bundle's HEF, as compile.py gives it."""
    return f"{record.network}.hef"


def find_record_problems(record: BundleRecord) -> Iterator[Problem]:
    """Yield where bundle.json contradicts itself about its HEF; that it has none is no problem."""
    stated = {name: digest for name, digest in record.files.items() if name.endswith(".hef")}
    wanted = {file_name(record): record.hef.sha256} if record.hef else {}
    if stated != wanted:
        yield Problem(
            "files",
            "todo.bundle-hef",
            f"its compiled networks are {stated or 'none'}, but `hef` is of {wanted or 'none'}",
        )
    if record.hef:
        misfits = hef_compatibility.find_misfits(
            record.hef, record, size_limit=record.hef.size
        )  # how large was decided when it came
        yield from (problem.under("hef") for problem in misfits)


def find_file_problems(bundle: Mapping[str, bytes], record: BundleRecord) -> Iterator[Problem]:
    """Yield where the HEF of a whole bundle is none, is damaged, or says something else than bundle.json."""
    if record.hef:
        name = file_name(record)
        try:
            found = hef_file.parse_hef(bundle.get(name, b""), name)
        except InputError as error:
            yield from error.problems
        else:
            if found != record.hef:
                yield Problem(name, "todo.bundle-hef", "says something else than `hef` of bundle.json")
