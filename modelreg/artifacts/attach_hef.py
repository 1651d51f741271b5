"""Attach a HEF to the bundle that it was compiled from, and find the devices that a version has a HEF for.

The HEF's metadata is compared with the bundle before anything is written. Only a device can show that the HEF computes
the same function. A bundle is replaced as a whole: its folder in one rename, then its archive.
"""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from modelreg import files
from modelreg.artifacts import bundle_archive, exports, hef_compatibility
from modelreg.artifacts.bundle_hef import file_name
from modelreg.artifacts.hef_file import HefFile
from modelreg.errors import InputError, Problem, RegistryError, VerificationFailed
from modelreg.records.base import load, parse
from modelreg.records.export import HAILO, NOT_COMPILED, NOT_COMPILED_IN_0_2, BundleRecord, HailoArch, Target
from modelreg.records.hef import HefInfo
from modelreg.registry import filenames, runs

README = "README.md"
NOT_ATTACHED = "the HEF was not attached; nothing was written"
INFO_LIMIT = files.DOCUMENT_LIMIT // 2  # bytes of a HEF's metadata, so that bundle.json can be read

Bundle = tuple[BundleRecord, dict[str, bytes]]  # bundle.json, and the other files except sha256sum.txt


def attach(run: Path, file: HefFile, size_limit: int = hef_compatibility.SIZE_LIMIT) -> Path:
    """Add a HEF to a run's bundle, replacing an earlier one. Return its path.

    Raises VerificationFailed if the HEF does not fit, InputError if the run has no complete bundle, RegistryError for a
    version, which never changes. Nothing is written then. An interrupted call can be repeated.
    """
    if (run / filenames.MANIFEST).exists():
        what, fix = (
            "a version never changes",
            "create a version with it: `modelreg release vX.Y.Z --from REF --hef FILE`",
        )
        raise RegistryError(NOT_ATTACHED, [Problem(str(run), "version.immutable", what, next=fix)])
    runs.load_run(run)
    for target in HAILO:
        files.recover_folder(run / target)
    target = choose([target for target in HAILO if exports.has(run, target)], file.info, str(run))
    if stale := [each for each in exports.find_changed(run, target) if not each.where.endswith(".hef")]:
        raise InputError(NOT_ATTACHED, stale)
    record, found = with_hef(open_bundle(run / target), file, f"{run}/{target}", size_limit)
    whole = bundle_archive.sealed(record, found, record.version)
    parse(whole[filenames.BUNDLE], BundleRecord, filenames.BUNDLE)  # the network's name is part of a path
    files.write_all({run / target: whole}, {run / f"{target}.tar.gz": bundle_archive.pack(whole)})
    return run / target / file_name(record)


def open_bundle(folder: Path) -> Bundle:
    """Read an exported bundle without its HEF. Raises InputError if a file changed since the export."""
    record = load(folder / filenames.BUNDLE, BundleRecord)
    names = record.files.keys() - {file_name(record)}
    found = {name: files.read_bytes(folder / name, bundle_archive.BUNDLE_LIMIT) for name in sorted(names)}
    changed = [name for name, data in found.items() if files.sha256_bytes(data) != record.files[name]]
    if changed:
        problems = [exports.changed(str(folder / name)) for name in changed]
        raise InputError("cannot read the bundle", problems)
    return record, found


def choose(available: Collection[HailoArch], info: HefInfo, where: str) -> HailoArch:
    """Return the target of the bundle for a HEF: its own chip, else a chip that can run it.

    If there is neither, return a bundle that the HEF does not fit. Raises InputError without any bundle.
    """
    if not available:
        fix = f"run `modelreg export {where} --target hailo8` (or hailo8l) and compile the bundle"
        raise InputError(NOT_ATTACHED, [Problem(where, "hef.bundle-missing", "no compile bundle found", next=fix)])
    taking = hef_compatibility.RUNS_ON.get(info.hw_arch, ())
    return min(available, key=lambda target: (target != info.hw_arch, target not in taking))


def with_hef(bundle: Bundle, file: HefFile, where: str, size_limit: int = hef_compatibility.SIZE_LIMIT) -> Bundle:
    """Return a bundle with a HEF, not yet sealed. Raises VerificationFailed if the HEF does not fit."""
    record, found = bundle
    misfits = list(hef_compatibility.find_misfits(file.info, record, size_limit))
    if (size := len(file.info.to_bytes())) > INFO_LIMIT:
        what = f"{size:,} bytes of metadata, but {filenames.BUNDLE} holds at most {INFO_LIMIT:,}"
        fix = "name the `.hef` file that was compiled from this bundle"
        misfits.append(Problem("metadata", "hef.too-large", what, next=fix))
    if misfits:
        raise VerificationFailed(f"the HEF does not fit {where}; nothing was written", misfits)
    name = file_name(record)
    text = f"`{name}` matches `bundle.json` in chip, names, shapes and range. To check that it computes the same as\n"
    text += "`encoder.onnx`, run it on a device with `test_vectors.npz`."
    readme = {README: _compiled(found[README], text)} if README in found else {}
    return record.model_copy(update={"hef": file.info}), {**found, **readme, name: file.data}


def _compiled(readme: bytes, text: str) -> bytes:
    """Return a README with `text` in place of the sentence that the bundle is not compiled."""
    for sentence in (NOT_COMPILED, NOT_COMPILED_IN_0_2):
        readme = readme.replace(sentence.encode(), text.encode())
    return readme


def refuse_loss(place: Path, targets: Iterable[Target]) -> None:
    """Raise InputError if an export would replace a bundle that has a HEF: no command could restore it."""
    problems = [
        Problem(
            str(place / target), "hef.would-be-lost", "the bundle has an attached HEF, which an export would delete"
        )
        for target in targets
        if target != filenames.ONNX and exports.has(place, target)
        if load(place / target / filenames.BUNDLE, BundleRecord).hef
    ]
    if problems:
        raise InputError("nothing was exported", problems)


def find_device_problems(folder: Path, device: HailoArch) -> Iterator[Problem]:
    """Yield why a device cannot run a version: its bundles have no HEF, or none for this device."""
    try:
        records = [
            load(folder / target / filenames.BUNDLE, BundleRecord) for target in HAILO if exports.has(folder, target)
        ]
    except InputError as error:
        yield from error.problems
        return
    found = {f"{record.hw_arch}/{file_name(record)}": record.hef for record in records if record.hef}
    reasons = {where: hef_compatibility.device_problem(info, device) for where, info in found.items()}
    if not found:
        yield Problem(device, "hef.missing", "the version has no HEF")
    elif all(reasons.values()):
        yield from (Problem(where, "hef.arch-mismatch", reason) for where, reason in reasons.items() if reason)
