"""`modelreg data init`: what it prints and writes, and what it never replaces."""

import json
from pathlib import Path

import draft_files
import pytest
from draft_files import plain, write

from modelreg import config, strict_yaml
from modelreg.cli.main import main
from modelreg.records.base import validate
from modelreg.records.draft import DataDraft

pytestmark = pytest.mark.needs("pandas", "clevercsv")


@pytest.fixture
def registry(tmp_path, monkeypatch, capsys) -> Path:
    """A new registry with recordings in data/mine, as the working directory."""
    monkeypatch.chdir(tmp_path)
    main(["init"])
    for subject in ("s1", "s2", "s3"):
        for activity in ("walk", "sit"):
            write(tmp_path / "data/mine", f"{subject}/{activity}.csv", plain(600, moving=activity == "walk"))
    capsys.readouterr()
    return tmp_path


def error_rules(capsys) -> list[str]:
    """The rules of the error that was printed as JSON."""
    return [problem["rule"] for problem in json.loads(capsys.readouterr().out)["problems"]]


def test_the_starter_is_replaced(registry, capsys) -> None:
    """The draft loads, and its path is relative to the registry."""
    assert main(["data", "init", "data/mine"]) == 0
    settings = config.load(registry / "configs/mine.yaml", config.TrainConfig)

    assert settings.data.sources[0].to_document()["path"] == "data/mine"
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "wrote configs/mine.yaml",
        "next: modelreg data check configs/mine.yaml",
    ]


def test_the_draft_passes_the_check(registry, capsys) -> None:
    """The next command works."""
    main(["data", "init", "data/mine"])

    assert main(["data", "check", "configs/mine.yaml"]) == 0


def test_what_was_found_is_printed(registry, capsys, monkeypatch) -> None:
    """In 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    main(["data", "init", "data/mine"])
    lines = capsys.readouterr().out.splitlines()

    assert max(map(len, lines)) <= 80
    assert "subjects    3: s1, s2, s3" in lines
    assert any(line.startswith("device  acc xyz   m/s2") for line in lines)


def test_an_edited_file_is_not_replaced(registry, capsys) -> None:
    """Exit 3, and the file stays; `--force` replaces it."""
    mine = registry / "configs/mine.yaml"
    mine.write_text(mine.read_text() + "# mine\n")
    before = mine.read_bytes()

    assert main(["data", "init", "data/mine", "--json"]) == 3
    assert (error_rules(capsys), mine.read_bytes()) == (["draft.edited"], before)
    assert main(["data", "init", "data/mine", "--force"]) == 0
    assert mine.read_bytes() != before


def test_a_draft_is_replaced_until_it_is_edited(registry) -> None:
    """Add recordings, and draft again."""
    main(["data", "init", "data/mine"])
    write(registry / "data/mine", "s4/walk.csv", plain(600))

    assert main(["data", "init", "data/mine"]) == 0
    with (registry / "configs/mine.yaml").open("a") as file:
        file.write("augmentation: {jitter: 0.05}\n")
    assert main(["data", "init", "data/mine"]) == 3


def test_another_file(registry) -> None:
    """Its folder is made."""
    assert main(["data", "init", "data/mine", "--out", "other/a.yaml"]) == 0
    assert (registry / "other/a.yaml").is_file()


def test_outside_a_registry(tmp_path, monkeypatch, capsys) -> None:
    """The draft is below the working directory, the path of other folders absolute."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for subject in ("s1", "s2", "s3"):
        write(tmp_path / "data", f"{subject}/walk.csv", plain())
        write(tmp_path / "data", f"{subject}/sit.csv", plain())

    assert main(["data", "init", "../data"]) == 0
    settings = config.load(tmp_path / "here/configs/mine.yaml", config.TrainConfig)
    assert settings.data.sources[0].to_document()["path"] == str(tmp_path / "data")


def test_lines_to_fill_in_are_listed(registry, capsys) -> None:
    """With their lines; the check of the draft names the same ones."""
    for day in (7, 8):
        write(registry / "data/days", f"2024-05-0{day}_08-30-00/acc.csv", plain(header="t,x,y,z"))
    assert main(["data", "init", "data/days"]) == 0
    printed = capsys.readouterr().err.splitlines()
    lines = (registry / "configs/mine.yaml").read_text().splitlines()

    assert [line.split(":")[1] for line in printed] == [
        str(number) for number, line in enumerate(lines, 1) if ": 'FILL IN" in line
    ]
    assert main(["data", "check", "configs/mine.yaml", "--json"]) == 3
    assert error_rules(capsys) == ["config.fill-in"] * 2


def test_json_is_the_record(registry, capsys) -> None:
    """With the reasons of the settings."""
    main(["data", "init", "data/mine", "--json"])
    record = validate(capsys.readouterr().out.encode(), DataDraft, "standard output")

    assert (record.subjects, record.classes, record.recordings) == (("s1", "s2", "s3"), ("sit", "walk"), 6)
    assert record.configuration == strict_yaml.parse((registry / "configs/mine.yaml").read_text(), "mine")
    assert "data.sources.0.devices.0.rate_hz" in {decision.setting for decision in record.decisions}


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["nowhere"], "draft.nothing-found"),
        (["data/mine", "--as", "phyfox"], "draft.format-unknown"),
        (["data/mine", "--as", "phyphox"], "draft.format-mismatch"),
    ],
)
def test_what_cannot_be_drafted(registry, capsys, arguments, rule) -> None:
    """Exit 3; nothing is written."""
    before = (registry / "configs/mine.yaml").read_bytes()

    assert main(["data", "init", *arguments, "--json"]) == 3
    assert (error_rules(capsys), (registry / "configs/mine.yaml").read_bytes()) == ([rule], before)


def test_names_of_subjects_are_not_in_the_draft(registry) -> None:
    """It may be in a repository that others read."""
    for subject in ("Annabelle", "Bartholomew", "Cornelia"):
        for activity in ("walk", "sit"):
            write(registry / "data/named", f"{subject}/{activity}.csv", plain())
    main(["data", "init", "data/named"])

    assert "Annabelle" not in (registry / "configs/mine.yaml").read_text()


def test_a_set_with_its_own_source(registry, capsys) -> None:
    """Its devices are those of the source, and its recordings are counted when they are read."""
    for subject in (1, 2, 3):
        draft_files.hapt(registry / "data/hapt", subject)
    main(["data", "init", "data/hapt"])
    printed = capsys.readouterr().out

    assert "recordings  counted by data check (a file may hold several)" in printed
    assert "duration    counted by data check" in printed
    assert "device  " not in printed


def test_what_is_not_used_is_printed(registry, capsys) -> None:
    """A line for each cause, before the next step."""
    lines = plain(600).splitlines()
    lines[6] = "0.12,0.1"
    write(registry / "data/mine", "s2/sit.csv", "\n".join(lines) + "\n")
    main(["data", "init", "data/mine"])
    printed = capsys.readouterr().out.splitlines()

    assert [line.partition(":")[0] for line in printed[-3:]] == ["skipped", "wrote configs/mine.yaml", "next"]
    assert "s2/sit.csv, line 7" in printed[-3]


def test_a_long_list_and_hours(registry, capsys) -> None:
    """Some subjects, and how many others there are."""
    for subject in range(12):
        for activity in ("walk", "sit"):
            rows = [(f"{60 * n:.0f}", 0.1, 5.9, 7.84) for n in range(100)]
            write(registry / "data/many", f"P{subject:02d}/{activity}.csv", draft_files.table("ms,ax,ay,az", rows))
    main(["data", "init", "data/many"])
    printed = capsys.readouterr().out

    assert "12: P00, P01, P02, P03, P04, P05, P06, P07, and 4 others" in printed
    assert "duration    2.4 min" in printed
