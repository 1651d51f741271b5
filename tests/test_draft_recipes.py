"""Known formats without a miniature, each on small files by its documents; and the rules of all recipes."""

import shutil
from collections.abc import Callable
from pathlib import Path

import draft_files
import drafts
import numpy as np
import pytest

from modelreg.data.draft import proposal, recipes
from modelreg.data.draft.recipes import Recipe
from modelreg.errors import InputError
from modelreg.records.base import shared_folder

REAL = Path(__file__).parents[2] / "shared" / "data"


def made(
    folder: Path, write: Callable[[Path, object], None], names: tuple[object, ...] = ("s01", "s02", "s03")
) -> Path:
    """Write the files of some subjects."""
    for name in names:
        write(folder / "mine", name)
    return folder / "mine"


def test_geneactiv(tmp_path) -> None:
    """A hundred lines before the rows."""
    found = drafts.draft(made(tmp_path, draft_files.geneactiv))
    device = drafts.source(found)["devices"][0]

    assert (found.name, found.subjects, device["rate_hz"]) == ("geneactiv", ("s01", "s02", "s03"), 50)
    assert (drafts.source(found)["skip"], device["time"]["format"]) == (100, "%Y-%m-%d %H:%M:%S:%f")
    assert drafts.blanks(found) == ["data.sources.0.label"]


def test_movesense(tmp_path) -> None:
    """Packets of four rows; the gyroscope in degrees per second."""
    found = drafts.draft(made(tmp_path, draft_files.movesense))
    units = [channel["unit"] for part in drafts.source(found)["devices"][0]["parts"] for channel in part["channels"]]

    assert (found.name, found.labels) == ("movesense", ("sit", "walk"))
    assert units == ["m/s2"] * 3 + ["deg/s"] * 3
    assert found.devices[0].rate_hz == 50


def test_sensorlog(tmp_path) -> None:
    """Gravity is added; the label is a column of numbers."""
    folder = made(tmp_path, draft_files.sensorlog)
    found = drafts.draft(folder)
    dataset = drafts.read(folder, found)
    values = dataset.recordings[0].signals["phone"].values

    assert (found.name, dataset.classes) == ("sensorlog", ("1", "2"))
    assert np.allclose(values[:, :3], draft_files.motion(one=1.0)[1], atol=1e-3)


def test_opportunity(tmp_path) -> None:
    """Five units of the jacket, in g; label 0 is none."""
    folder = made(tmp_path, draft_files.opportunity, (1, 2, 3))
    found = drafts.draft(folder)
    dataset = drafts.read(folder, found)
    recording = dataset.recordings[0]

    assert (found.name, found.subjects, dataset.rate_hz) == ("opportunity", ("1", "2", "3"), 30)
    assert {dataset.classes[code] for code in np.unique(recording.labels) if code >= 0} == {"stand", "walk"}
    assert abs(np.linalg.norm(recording.signals["back"].values[:, :3], axis=1).mean() - 1) < 0.1


def test_realworld(tmp_path) -> None:
    """Zips, and zips in a zip: these are sessions. Positions without files are left out."""
    folder = made(tmp_path, draft_files.realworld, (1, 2, 3))
    found = drafts.draft(folder)
    dataset = drafts.read(folder, found)

    assert (found.name, found.subjects, dataset.devices) == ("realworld", ("1", "2", "3"), ("chest", "waist"))
    assert [each.name for each in dataset.recordings][:3] == ["1-1-climbingup", "1-1-walking", "1-2-climbingup"]
    assert "Without forearm, head" in found.head


@pytest.mark.parametrize(
    ("name", "write", "subjects"),
    [
        ("dsads", draft_files.dsads, ("p1", "p2", "p3")),
        ("hapt", draft_files.hapt, ("user01", "user02", "user03")),
        ("sp_sw_har", draft_files.sp_sw_har, ("s01", "s02", "s03")),
    ],
)
def test_sets_that_have_their_own_source(tmp_path, name, write, subjects) -> None:
    """The shipped configuration, split by the subjects that are there."""
    folder = made(tmp_path, write, (1, 2, 3))
    found = drafts.draft(folder)
    settings = drafts.settings(found)

    assert (found.name, found.subjects) == (name, subjects)
    assert {each.subject for each in drafts.read(folder, found).recordings} == set(subjects)
    assert settings.split.model_dump() == {"by": "subject", "test": 1, "validation": 1}


def test_a_set_below_the_folder(tmp_path) -> None:
    """The path of the source is that of the set."""
    draft_files.sp_sw_har(tmp_path / "mine/set", 1)

    assert drafts.source(drafts.draft(tmp_path / "mine"))["path"] == "mine/set"


def test_a_set_in_an_archive(tmp_path) -> None:
    """Its patterns begin with the archive."""
    text = draft_files.plain(header="x,gravity.x,rotationRate.x,userAcceleration.x").encode()
    archive = draft_files.packed({"A_DeviceMotion_data/wlk_7/sub_1.csv": text})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/all.zip").write_bytes(archive)
    found = drafts.draft(tmp_path / "mine")

    assert found.name == "motionsense"
    assert drafts.source(found)["devices"][0]["files"].startswith(r"all\.zip/A_DeviceMotion_data/(?P<label>")


@pytest.mark.parametrize(("folder", "name", "count"), [("hapt", "hapt", 30), ("spsw", "sp_sw_har", 23)])
def test_real_sets(folder, name, count) -> None:
    """Archives of tar and xz in the folder."""
    if not (REAL / folder).is_dir():
        pytest.skip("the recordings under ../shared/data are not here")
    found = drafts.draft(REAL / folder)

    assert (found.name, len(found.subjects or ())) == (name, count)
    assert drafts.why(found, "split") == "the split that modelreg uses for this set"


def test_subjects_in_a_file_that_cannot_be_read(tmp_path) -> None:
    """The split is left as it is."""
    folder = tmp_path / "mine"
    for name in ("total_acc_x", "total_acc_y"):
        draft_files.write(folder, f"train/Inertial Signals/{name}_train.txt", "1 2\n3 4\n")
    draft_files.write(folder, "train/y_train.txt", "1\n2\n")
    (folder / "train/subject_train.txt").symlink_to("/etc/hostname")
    found = drafts.draft(folder)

    assert (found.name, found.subjects) == ("uci_har", None)


def test_an_empty_line_has_no_subject(tmp_path) -> None:
    """In the file that names the subject of each window."""
    from test_layouts import LAYOUTS

    folder = shutil.copytree(LAYOUTS / "uci_har", tmp_path / "mine")
    with (folder / "train/subject_train.txt").open("a") as file:
        file.write("\n")

    assert drafts.draft(folder).subjects == ("1", "2")


def test_a_set_with_windows_of_few_subjects(tmp_path) -> None:
    """Windows that overlap cannot be split by time."""
    from test_layouts import LAYOUTS

    assert drafts.settings(drafts.draft(LAYOUTS / "uci_har")).split.by == "subject"


def test_a_set_whose_subjects_are_in_the_rows(tmp_path, monkeypatch) -> None:
    """They are not known if the file is too large to read."""
    from test_layouts import LAYOUTS

    monkeypatch.setattr("modelreg.data.draft.scan.BYTES", 2**10)

    assert drafts.draft(LAYOUTS / "wisdm_v1").subjects is None


def test_a_reason_for_a_setting_that_a_set_lacks_is_left_out() -> None:
    """A device that has no files, for example."""
    assert not proposal.has({"a": [{"b": 1}]}, "a.1.b")
    assert not proposal.has({"a": 1}, "a.b")
    assert proposal.has({"a": [{"b": 1}]}, "a.0.b")


def test_files_with_the_paths_of_a_set_and_other_columns_are_not_that_set(tmp_path) -> None:
    """PAMAP2 has 54 columns."""
    draft_files.write(tmp_path / "mine", "Protocol/subject101.dat", draft_files.plain())

    assert drafts.draft(tmp_path / "mine").name is None


def test_a_format_by_its_name(tmp_path) -> None:
    """`--as` tries this one only."""
    for subject in ("s01", "s02"):
        draft_files.movesense(tmp_path / "mine", subject)

    assert drafts.draft(tmp_path / "mine", "movesense").name == "movesense"


@pytest.mark.parametrize(("name", "rule"), [("phyphox", "draft.format-mismatch"), ("phyfox", "draft.format-unknown")])
def test_a_format_that_is_not_there(tmp_path, name, rule) -> None:
    """Unknown, or not that of the files."""
    draft_files.movesense(tmp_path / "mine", "s01")
    with pytest.raises(InputError) as caught:
        drafts.draft(tmp_path / "mine", name)

    assert [problem.rule for problem in caught.value.problems] == [rule]


@pytest.mark.parametrize("name", recipes.load())
def test_every_recipe_names_its_format_and_its_license(name) -> None:
    """A set has a whole configuration, an export a reason for each table."""
    recipe = recipes.load()[name]
    if recipe.kind == "export":
        assert all(table.why for table in recipe.tables)
    else:
        assert not recipe.config or (shared_folder("configs") / recipe.config).is_file()


def test_a_recipe_is_whole() -> None:
    """A set has files and one configuration, an export has tables."""
    with pytest.raises(ValueError, match="a set has files"):
        Recipe(title="x", kind="export", files=("a",))
    with pytest.raises(ValueError, match="either config or configuration"):
        Recipe(title="x", kind="set", files=("a",))


def test_the_unit_of_an_export_is_that_of_its_values(tmp_path) -> None:
    """Older versions of Sensor Logger wrote g."""
    time, acceleration, _ = draft_files.motion(one=1.0)
    rows = [(int(1e9 * t) + 10**18, f"{t:.3f}", *np.round(a[::-1], 4)) for t, a in zip(time, acceleration, strict=True)]
    for subject in ("anna", "ben"):
        draft_files.write(
            tmp_path / "mine",
            f"{subject}/walk/TotalAcceleration.csv",
            draft_files.table("time,seconds_elapsed,z,y,x", rows),
        )
    found = drafts.draft(tmp_path / "mine")

    assert found.devices[0].units == ("g",)
    assert "but the norm at rest is 1" in drafts.why(found, "data.sources.0.devices.0.channels")


@pytest.mark.parametrize(("one", "gravity"), [(draft_files.G, "included"), (1.0, "removed"), (0.0, "removed")])
def test_gravity_in_values_is_stronger_than_the_rule_of_an_export(tmp_path, one, gravity) -> None:
    """Sensor Logger writes Accelerometer without gravity. A norm that is not 9.81 m/s2 contradicts nothing."""
    time, acceleration, _ = draft_files.motion(one=one)
    rows = [(int(1e9 * t) + 10**18, f"{t:.3f}", *np.round(a[::-1], 4)) for t, a in zip(time, acceleration, strict=True)]
    for subject in ("anna", "ben"):
        text = draft_files.table("time,seconds_elapsed,z,y,x", rows)
        draft_files.write(tmp_path / "mine", f"{subject}/walk/Accelerometer.csv", text)
    found = drafts.draft(tmp_path / "mine")
    channels = drafts.source(found)["devices"][0]["channels"]
    why = drafts.why(found, "data.sources.0.devices.0.channels")

    assert [(channel["unit"], channel["gravity"]) for channel in channels] == [("m/s2", gravity)] * 3
    assert ("writes Accelerometer without gravity" in why, "but the norm" in why) == (True, gravity == "included")


def test_every_format_is_on_the_page() -> None:
    """Under the name that `--as` takes."""
    page = (Path(__file__).parents[1] / "docs" / "data.md").read_text("utf-8")

    assert [
        name for name in (*recipes.load(), recipes.NONE) if f"`{name}`" not in page and f"--as {name}" not in page
    ] == []
