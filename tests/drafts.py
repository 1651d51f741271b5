"""Draft the configuration of a folder, and read the recordings with it: for tests only."""

from pathlib import Path
from typing import Any

from modelreg import config, strict_yaml
from modelreg.config import TrainConfig
from modelreg.data import preparation
from modelreg.data.cache import Reading
from modelreg.data.draft import commented, drafting
from modelreg.data.draft.proposal import Proposal
from modelreg.data.recording import Dataset
from modelreg.data.sources.containers import open_tree


def draft(folder: Path, as_: str | None = None) -> Proposal:
    """Draft the configuration of a folder, whose path is relative to its parent."""
    with open_tree(folder, folder.name) as tree:
        return drafting.draft(tree, drafting.Place(folder.name, folder.name), as_)


def source(proposal: Proposal) -> dict[str, Any]:
    """Return the first source of a draft."""
    found: dict[str, Any] = commented.plain(proposal.document)["data"]["sources"][0]
    return found


def settings(proposal: Proposal) -> TrainConfig:
    """Read the YAML of a draft, as a command does."""
    text = drafting.render(proposal, "mine.yaml")
    return config.settle(strict_yaml.parse(text, "mine.yaml"), TrainConfig, "mine.yaml", text=text)


def read(folder: Path, proposal: Proposal) -> Dataset:
    """Read the recordings of a draft."""
    return preparation.read_dataset(settings(proposal), Reading(folder.parent))


def why(proposal: Proposal, setting: str) -> str:
    """Return the reason for a setting; empty if it has none."""
    found = [decision.why for decision in commented.decisions(proposal.document) if decision.setting == setting]
    return found[0] if found else ""


def blanks(proposal: Proposal) -> list[str]:
    """Return the settings that are left to the user."""
    return [setting for setting, _ in proposal.blanks]
