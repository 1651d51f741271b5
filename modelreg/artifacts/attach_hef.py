"""The way of a HEF back into the bundle that it was compiled from, and which devices have one that they take.

Whether it really was, only a device can show; what can be seen is checked before anything is written. A bundle is
replaced as a whole: its folder in one rename, then the archive beside it.
"""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from modelreg import files
from modelreg.artifacts import bundle_archive, exports, hef_compatibility
from modelreg.artifacts.bundle_hef import file_name
from modelreg.artifacts.hef_file import HefFile
from modelreg.errors import InputError, Problem, RegistryError, VerificationFailed
from modelreg.records.base import load, parse
from modelreg.records.export import HAILO, NOT_COMPILED, BundleRecord, HailoArch, Target
from modelreg.records.hef import HefInfo
from modelreg.registry import filenames, runs

README = "README.md"

Bundle = tuple[BundleRecord, dict[str, bytes]]  # bundle.json, and the other files but sha256sum.txt


def attach(run: Path, file: HefFile, size_limit: int = hef_compatibility.SIZE_LIMIT) -> Path:
    """Take a HEF into a run's bundle, in place of one that is there; return where it lies.

    Raises VerificationFailed where it does not fit, InputError where the run has no whole bundle, RegistryError for a
    version, which never changes. Then nothing is written. Killed at any moment, it is finished by running it again.
    """
    if (run / filenames.MANIFEST).exists():
        what = "a version never changes; make a new one: modelreg release vX.Y.Z --from REF --hef FILE"
        raise RegistryError("cannot attach", [Problem(str(run), "todo.attach-hef", what)])
    runs.load_run(run)
    for target in HAILO:
        files.recover_folder(run / target)
    target = choose([target for target in HAILO if exports.has(run, target)], file.info, str(run))
    if stale := [each for each in exports.find_changed(run, target) if not each.where.endswith(".hef")]:
        raise InputError("cannot attach to a bundle that is not whole", stale)
    record, found = with_hef(open_bundle(run / target), file, f"{run}/{target}", size_limit)
    whole = bundle_archive.sealed(record, found, record.version)
    parse(whole[filenames.BUNDLE], BundleRecord, filenames.BUNDLE)  # the network's name became a path
    files.write_folder(run / target, whole)
    files.write_atomic(run / f"{target}.tar.gz", bundle_archive.pack(whole))
    return run / target / file_name(record)


def open_bundle(folder: Path) -> Bundle:
    """Read an exported bundle but for a HEF in it. Raises InputError where it is not what was exported."""
    record = load(folder / filenames.BUNDLE, BundleRecord)
    names = record.files.keys() - {file_name(record)}
    found = {name: files.read_bytes(folder / name, bundle_archive.BUNDLE_LIMIT) for name in sorted(names)}
    changed = [name for name, data in found.items() if files.sha256_bytes(data) != record.files[name]]
    if changed:
        what = "was changed since it was exported; export again"
        raise InputError(
            "not a whole bundle", [Problem(str(folder / name), "todo.attach-hef", what) for name in changed]
        )
    return record, found


def choose(available: Collection[HailoArch], info: HefInfo, where: str) -> HailoArch:
    """Return the bundle that a HEF goes into: that for its own chip, else one for a chip that takes it.

    Where there is neither, it is one that the HEF will not fit. Raises InputError where there is no bundle at all.
    """
    if not available:
        what = f"has no bundle; make one with `modelreg export {where} --target hailo8` (or hailo8l), and compile it"
        raise InputError("nothing to attach to", [Problem(where, "todo.attach-hef", what)])
    taking = hef_compatibility.RUNS_ON.get(info.hw_arch, ())
    return min(available, key=lambda target: (target != info.hw_arch, target not in taking))


def with_hef(bundle: Bundle, file: HefFile, where: str, size_limit: int = hef_compatibility.SIZE_LIMIT) -> Bundle:
    """Return a bundle with a HEF in it, still to be sealed. Raises VerificationFailed where it does not fit."""
    record, found = bundle
    if misfits := list(hef_compatibility.find_misfits(file.info, record, size_limit)):
        raise VerificationFailed(f"this HEF does not fit {where}; nothing was written", misfits)
    name = file_name(record)
    says = f"`{name}` fits in chip, names, shapes and range: `bundle.json` states them. Whether it computes what\n"
    says += "`encoder.onnx` does, a device must show: feed it `test_vectors.npz`."
    told = {README: found[README].replace(NOT_COMPILED.encode(), says.encode())} if README in found else {}
    return record.model_copy(update={"hef": file.info}), {**found, **told, name: file.data}


def refuse_loss(place: Path, targets: Iterable[Target]) -> None:
    """Raise InputError where an export would replace a bundle that holds a HEF: no command could make it again."""
    problems = [
        Problem(
            str(place / target),
            "todo.attach-hef",
            "holds a HEF that was attached to it; move the folder away to export again",
        )
        for target in targets
        if target != filenames.ONNX and exports.has(place, target)
        if load(place / target / filenames.BUNDLE, BundleRecord).hef
    ]
    if problems:
        raise InputError("cannot export", problems)


def find_device_problems(folder: Path, device: HailoArch) -> Iterator[Problem]:
    """Yield why a device could not run a version: no HEF in its bundles, or none that the device takes."""
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
        what = "has no compiled network: compile its bundle, then `modelreg release vX.Y.Z --from REF --hef FILE`"
        yield Problem(device, "todo.attach-hef", what)
    elif all(reasons.values()):
        yield from (Problem(where, "todo.attach-hef", reason) for where, reason in reasons.items() if reason)
