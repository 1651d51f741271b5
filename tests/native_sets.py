"""Native sets of recordings as folders and archives, and the shipped configurations that read them: for tests only."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from places import places

from modelreg import config, strict_yaml
from modelreg.config import TrainConfig
from modelreg.errors import InputError
from modelreg.records.base import shared_folder


def write_folder(folder: Path, found: dict[str, bytes]) -> Path:
    """Write files by their native names."""
    for name, data in found.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def write_archive(path: Path, found: dict[str, bytes], *others: tarfile.TarInfo) -> Path:
    """Write a .tar.xz of the same names, and members without content."""
    with tarfile.open(path, "w:xz") as archive:
        for name, data in found.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for member in others:
            archive.addfile(member)
    return path


def faults(read: Callable[[], object]) -> list[tuple[str, str]]:
    """Return `(where, rule)` of each problem that a call raises, places without their folders."""
    with pytest.raises(InputError) as caught:
        read()
    return [(where.rpartition("/")[2], rule) for where, rule in places(caught.value.problems)]


def shipped(name: str, path: Path, *changes: str) -> TrainConfig:
    """A shipped configuration, on other recordings, with other values."""
    document = strict_yaml.parse(shared_folder("configs").joinpath(name).read_text("utf-8"), name)
    return config.settle(document, TrainConfig, name, [f"data.sources.0.path={path}", *changes])
