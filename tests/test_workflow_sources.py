"""The recordings of a version are found by the last component of each path."""

from pathlib import Path

import pytest
from places import places

from modelreg.config import DataSettings, TrainConfig
from modelreg.data.cache import Reading
from modelreg.errors import InputError
from modelreg.records.source import DsadsSource, NpySource, SampleSource
from modelreg.workflows import sources as workflow_sources


def placed(folder: Path, *sources) -> list[str | None]:
    """The path of each source, as it is found from a folder."""
    config = TrainConfig(data=DataSettings(sources=sources))
    return [getattr(source, "path", None) for source in workflow_sources._placed(config, Reading(folder)).data.sources]


def test_what_lies_in_the_folder_is_taken(tmp_path) -> None:
    """By its name; the sample needs none."""
    (tmp_path / "dsads").mkdir()

    assert placed(tmp_path, DsadsSource(kind="dsads", path="dsads"), SampleSource()) == ["dsads", None]


def test_the_folder_itself_may_be_named(tmp_path) -> None:
    """Where there is one source, and it is a folder."""
    assert placed(tmp_path, DsadsSource(kind="dsads", path="dsads")) == ["."]


def test_what_is_not_there_is_named(tmp_path) -> None:
    """With its path in the folder."""
    with pytest.raises(InputError) as caught:
        placed(tmp_path, NpySource(kind="npy", path="a.json"))

    assert places(caught.value.problems) == [(str(tmp_path / "a.json"), "recordings.not-found")]
