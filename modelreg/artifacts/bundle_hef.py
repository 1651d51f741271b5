"""The HEF of a bundle: its metadata in bundle.json, and its file, which is named after the network."""

from collections.abc import Iterator, Mapping

from modelreg.artifacts import hef_compatibility, hef_file
from modelreg.errors import InputError, Problem
from modelreg.records.export import BundleRecord
from modelreg.registry.filenames import BUNDLE


def file_name(record: BundleRecord) -> str:
    """Return the file name of a bundle's HEF, the same as in compile.py."""
    return f"{record.network}.hef"


def find_record_problems(record: BundleRecord) -> Iterator[Problem]:
    """Yield where bundle.json contradicts itself about its HEF. A bundle without a HEF is valid."""
    stated = {name: digest for name, digest in record.files.items() if name.endswith(".hef")}
    expected = {file_name(record): record.hef.sha256} if record.hef else {}
    if stated != expected:
        what = f"mismatch: `files` lists {stated or 'no HEF'}, `hef` gives {expected or 'no HEF'}"
        yield Problem("files", "hef.record-mismatch", what)
    if record.hef:
        # its size was checked when it was attached
        misfits = hef_compatibility.find_misfits(record.hef, record, size_limit=record.hef.size)
        yield from (problem.under("hef") for problem in misfits)


def find_file_problems(bundle: Mapping[str, bytes], record: BundleRecord) -> Iterator[Problem]:
    """Yield where the HEF of a complete bundle is missing, damaged, or differs from bundle.json."""
    if record.hef:
        name = file_name(record)
        try:
            found = hef_file.parse_hef(bundle.get(name, b""), name)
        except InputError as error:
            yield from error.problems
        else:
            if found != record.hef:
                what = f"mismatch: the HEF's metadata differs from `hef` of {BUNDLE}"
                yield Problem(name, "hef.record-mismatch", what)
