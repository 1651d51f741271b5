"""Record in a run's audit.json whether its metrics are too good to be plausible."""

from pathlib import Path

from modelreg import files
from modelreg.data import leakage_audit
from modelreg.records.audit import AuditRecord, RandomSplit
from modelreg.records.base import load
from modelreg.records.metrics import EvalMetrics
from modelreg.registry import filenames


def judge(folder: Path, measured: EvalMetrics, audited: AuditRecord) -> None:
    """Write a run's audit.json: the leakage found between its splits, and what makes the metrics suspicious."""
    chance = load_random_split(folder)
    by_chance = chance.accuracy if chance else None
    doubts = leakage_audit.suspicions(measured.accuracy, len(measured.classes), measured.protocol.split, by_chance)
    shared = [finding for finding in audited.findings if finding.severity != "suspicious"]
    judged = audited.model_copy(update={"findings": (*shared, *doubts)})
    files.write_atomic(folder / filenames.AUDIT, judged.to_bytes())


def load_random_split(folder: Path) -> RandomSplit | None:
    """Return the random-split result of these weights; None if there is none. Raises InputError."""
    path = folder / filenames.RANDOM_SPLIT
    found = load(path, RandomSplit) if path.is_file() else None
    return found if found and found.run_sha256 == files.sha256(folder / filenames.CHECKPOINT) else None
