"""Subject ids become pseudonyms before anything is written; the map only grows and stays on the machine."""

import base64
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from csv_folder import source
from hypothesis import given
from hypothesis import strategies as st
from places import places

from modelreg.cli.main import main
from modelreg.config import SubjectSplit, TimeSplit, TrainConfig
from modelreg.data import preparation, pseudonyms
from modelreg.data.cache import Reading
from modelreg.data.recording import Dataset, Recording
from modelreg.errors import InputError
from modelreg.records.data import QualityFinding
from modelreg.registry import filenames

TRAINED = pytest.mark.needs("torch", "pandas", "matplotlib", "tensorboard")
IDS = st.sets(st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=8), max_size=12)


@given(IDS, IDS)
def test_a_subject_keeps_its_pseudonym(first, second) -> None:
    """Whoever comes later."""
    known = pseudonyms.extend({}, first)

    assert known.items() <= pseudonyms.extend(known, first | second).items()


@given(IDS, IDS)
def test_no_two_subjects_share_a_pseudonym(first, second) -> None:
    """Nor does a new one get an old one's."""
    found = pseudonyms.extend(pseudonyms.extend({}, first), second)

    assert len(set(found.values())) == len(first | second)


def test_new_subjects_are_numbered_in_natural_order() -> None:
    """So that a split by counts takes the same subjects."""
    assert pseudonyms.extend({}, ["s10", "s2", "s1"]) == {
        "s1": "subject-001",
        "s2": "subject-002",
        "s10": "subject-003",
    }


def test_an_id_in_the_form_of_a_pseudonym_is_refused() -> None:
    """It could be taken for somebody else's."""
    with pytest.raises(InputError) as caught:
        pseudonyms.extend({}, ["anna", "subject-001"])

    assert places(caught.value.problems) == [("subject-001", "pseudonyms.ambiguous-id")]


NAMES = {"anna": "subject-001", "bo": "subject-002", "7": "subject-003"}


def dataset(*recordings: tuple[str, str]) -> Dataset:
    """A data set of recordings without signals: name and subject of each."""
    made = (Recording(name, subject, name, {}, np.zeros(0, np.int32)) for name, subject in recordings)
    return Dataset((), (), (), (), 50.0, tuple(made))


@pytest.mark.parametrize(
    ("name", "subject", "renamed"),
    [
        ("anna", "anna", "subject-001"),
        ("Anna_walk", "anna", "subject-001_walk"),
        ("walkanna2", "anna", "walksubject-0012"),
        ("bo_plusANNA", "bo", "subject-002_plussubject-001"),
        ("bo_bold_1", "bo", "subject-002_bold_1"),
        ("7_17_70", "7", "subject-003_17_70"),
        ("anna_with_bo", "anna", "subject-001_with_subject-002"),
    ],
)
def test_a_recording_name_loses_the_id(name, subject, renamed) -> None:
    """Short ids only as whole words: `7` is not the 7 of `17`."""
    assert pseudonyms.rename_subjects(dataset((name, subject)), NAMES).recordings[0].name == renamed


def test_a_letter_that_a_pattern_takes_for_another_is_replaced() -> None:
    """A dotless i matches an i where case is ignored, and folds to another letter."""
    renamed = pseudonyms.rename_subjects(dataset(("ann\u0131_walk", "anni")), {"anni": "subject-001"})

    assert [recording.name for recording in renamed.recordings] == ["subject-001_walk"]


def test_what_a_reader_found_names_nobody() -> None:
    """Its message has paths, and texts of a table that may name people without a recording."""
    found = QualityFinding(
        rule="csv.annotation-unused",
        level="problem",
        where="annotations",
        cause="unused",
        message="zoe.csv:2: 'zoe'",
    )
    renamed = pseudonyms.rename_subjects(replace(dataset(("anna-1", "anna")), findings=(found,)), NAMES)

    assert "zoe" not in str([each.to_document() for each in renamed.findings])


def test_two_recordings_never_become_one() -> None:
    """Names that differed by the id's case."""
    with pytest.raises(InputError) as caught:
        pseudonyms.rename_subjects(dataset(("Anna_1", "anna"), ("anna_1", "anna")), NAMES)

    assert places(caught.value.problems) == [("subject-001_1", "pseudonyms.same-recording-name")]


def test_a_split_may_list_ids_and_pseudonyms() -> None:
    """A configuration lists ids, a run's config.json lists pseudonyms."""
    split = pseudonyms.rename_split(SubjectSplit(test=("anna", "subject-009"), validation=2), NAMES)

    assert (split.test, split.validation) == (("subject-001", "subject-009"), 2)


def test_an_id_in_a_label_is_found() -> None:
    """The classes are in every document of a version."""
    problems = pseudonyms.find_ids(TrainConfig(), ["rest", "Anna walks"], ["anna"])

    assert places(problems) == [("labels of the recordings", "pseudonyms.id-in-configuration")]


def test_numbers_are_whole_words() -> None:
    """Zero-padded ids, whose pseudonyms hold their digits."""
    names = pseudonyms.extend({}, ["001", "002"])
    renamed = pseudonyms.rename_subjects(dataset(("001-s1", "001"), ("002-s1", "002")), names)

    assert [recording.name for recording in renamed.recordings] == ["subject-001-s1", "subject-002-s1"]


def test_a_split_by_time_lists_nobody() -> None:
    """It stays."""
    assert pseudonyms.rename_split(TimeSplit(by="time"), NAMES) == TimeSplit(by="time")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"path": "home/anna"}, ["data.sources.0.path"]),
        ({"drop": ("anna_.*",)}, ["data.sources.0.drop.0"]),
        ({"path": "7/17"}, []),
        ({"name": "ANNA-study"}, ["data.sources.0.name"]),
    ],
)
def test_an_id_elsewhere_in_the_configuration_is_found(changes, found) -> None:
    """It would be published with the run's configuration."""
    settings = TrainConfig().data.model_copy(update={"sources": (source(**changes),)})
    problems = pseudonyms.find_ids(TrainConfig(data=settings), (), ["anna", "7"])

    assert places(problems) == [(place, "pseudonyms.id-in-configuration") for place in found]


PEOPLE = ("anna", "berta", "carla", "doris", "emily", "frida")
CONFIG = {
    "data": {
        "sources": [
            {
                "kind": "csv", "path": "recordings", "name": "mine", "license": "CC0-1.0", "citation": "made up",
                "devices": [{"name": "watch", "files": r"(?P<subject>[a-z]+)_(?P<session>\w+)\.csv", "rate_hz": 50,
                             "channels": [{"name": "acc_x", "column": "a", "unit": "g"}]}],
                "label": "label",
            }
        ],
        "window": 20, "hop": 20,
    },
    "split": {"by": "subject", "test": ["emily", "frida"], "validation": ["anna"]},
    "model": {"name": "conv2d_fsq"},
    "training": {"epochs": 1, "threads": 1},
    "evaluation": {"replicates": 100},
}  # fmt: skip


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """A registry that was told to use pseudonyms, with recordings of named people and an evaluated run."""
    root = tmp_path_factory.mktemp("registry")
    random = np.random.default_rng(0)
    (root / "recordings").mkdir()
    for name in PEOPLE:
        rows = [
            f"{random.normal() + 3 * k:.3f},{label}" for k, label in enumerate(("rest", "walk")) for _ in range(200)
        ]
        (root / "recordings" / f"{name}_one.csv").write_text("\n".join(["a,label", *rows, ""]))
    (root / "mine.yaml").write_text(json.dumps(CONFIG))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("MODELREG_CACHE", "off")
        assert main(["init"]) == 0
        (root / "modelreg.yaml").write_text("subjects: pseudonyms\n")
        assert main(["train", "mine.yaml", "--out", "runs/conv2d_fsq-001"]) == 0
        assert main(["evaluate"]) == 0
        assert main(["release", "v0.1.0", "--roll-changelog"]) == 0
    return root


@pytest.fixture
def inside(registry, tmp_path, monkeypatch):
    """A copy of the registry as working directory."""
    root = Path(shutil.copytree(registry, tmp_path / "registry"))
    monkeypatch.chdir(root)
    monkeypatch.setenv("MODELREG_CACHE", "off")
    return root


def text_of(path: Path) -> str:
    """Every text of a file; arrays of text are UTF-32, and packed. Pictures in pages are unpacked from base64.

    In their base64, four letters of a name occur by chance.
    """
    if path.suffix != ".npz":
        pictures = r"(?<=;base64,)[A-Za-z0-9+/=]+"
        return re.sub(pictures, lambda found: _unpacked(found[0]), path.read_bytes().decode("latin-1"))
    with np.load(path) as arrays:
        return " ".join(map(str, arrays.values()))


def _unpacked(text: str) -> str:
    return base64.b64decode(text).decode("latin-1")


@TRAINED
def test_no_file_of_a_run_or_a_version_names_a_person(registry) -> None:
    """Text, arrays and pictures' texts, and the names of files."""
    made = [path for part in ("runs", "registry") for path in (registry / part).rglob("*") if path.is_file()]
    named = [path for path in made for name in PEOPLE if name in f"{path} {text_of(path)}".lower()]

    assert (len(made) > 20, named) == (True, [])


@TRAINED
def test_the_split_of_the_run_lists_pseudonyms(registry) -> None:
    """In the order of the configuration."""
    split = json.loads((registry / "runs/conv2d_fsq-001" / filenames.CONFIG).read_text())["split"]

    assert (split["test"], split["validation"]) == (["subject-005", "subject-006"], ["subject-001"])


@TRAINED
@pytest.mark.parametrize("pattern", ["anna_.*", "greta.*"])
def test_an_id_of_a_dropped_or_a_former_subject_is_refused(inside, capsys, pattern) -> None:
    """Its recordings are not read, or it is in the map only; the pattern would be published all the same."""
    names = json.loads((inside / ".modelreg/pseudonyms.json").read_text())
    names["subjects"]["greta"] = "subject-099"
    (inside / ".modelreg/pseudonyms.json").write_text(json.dumps(names))
    config = json.loads((inside / "mine.yaml").read_text())
    config["data"]["sources"][0]["drop"] = [pattern]
    config["split"]["validation"] = ["berta"]
    (inside / "dropped.yaml").write_text(json.dumps(config))
    code = main(["train", "dropped.yaml", "--out", "runs/dropped"])

    assert (code, (inside / "runs/dropped").exists()) == (3, False)
    assert "data.sources.0.drop.0" in capsys.readouterr().err


@TRAINED
def test_the_map_is_ignored_by_git(registry) -> None:
    """By a .gitignore of its folder, whatever the registry's own says."""
    assert (registry / ".modelreg/.gitignore").read_text().splitlines()[-1] == "*"


@TRAINED
def test_numbers_can_be_made_again(inside) -> None:
    """From the recordings and the map."""
    assert main(["verify", "v0.1.0", "--reproduce"]) == 0


@TRAINED
def test_without_the_map_numbers_cannot_be_made_again(inside, capsys) -> None:
    """And the error names the file."""
    (inside / ".modelreg/pseudonyms.json").unlink()

    assert main(["verify", "v0.1.0", "--reproduce"]) == 3
    assert "[pseudonyms.map-missing]" in capsys.readouterr().err


@TRAINED
def test_a_verified_version_needs_no_map(inside) -> None:
    """A clone has none."""
    (inside / ".modelreg/pseudonyms.json").unlink()

    assert main(["verify", "v0.1.0"]) == 0


def test_where_there_is_no_map_nothing_is_read() -> None:
    """For example in a workflow that was given none."""
    with pytest.raises(InputError) as caught:
        preparation.read_dataset(TrainConfig(subjects="pseudonyms"), Reading(Path()))

    assert places(caught.value.problems) == [("subjects", "pseudonyms.map-missing")]


@TRAINED
def test_a_lost_map_is_not_made_anew(inside, capsys) -> None:
    """Its pseudonyms would belong to other subjects."""
    (inside / ".modelreg/pseudonyms.json").unlink()
    code = main(["data", "check", "mine.yaml"])
    made = (inside / ".modelreg/pseudonyms.json").exists()

    assert (code, made, "[pseudonyms.map-missing]" in capsys.readouterr().err) == (3, False, True)
