"""`modelreg data`: the quality of recordings on the terminal, as JSON and as a page; the folds."""

import json
import shlex

import numpy as np
import pytest
from two_device import write_two_device

from modelreg.cli.main import main
from modelreg.records.base import load
from modelreg.records.data import QualityReport


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def broken(here):
    """Windows of two devices, with a flat channel in one subject's."""
    path = write_two_device(here)
    x = np.load(here / "all_x.npy")
    x[np.load(here / "all_subject.npy") == "s1", 0, 0] = 1.0
    np.save(here / "all_x.npy", x)
    return path.name


def test_the_sample_exceeds_no_threshold(here, capsys) -> None:
    """The built-in recordings pass the built-in thresholds, and the next step is a training."""
    main(["data", "check"])
    out = capsys.readouterr().out

    assert ("0 of 140 recordings have a problem" in out, "next        modelreg train\n" in out) == (True, True)


def test_the_table_fits_80_columns(here, capsys, monkeypatch) -> None:
    """No line is longer, none is wrapped into the next."""
    monkeypatch.setenv("COLUMNS", "80")
    main(["data", "check"])

    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_problems_are_named(here, broken, capsys) -> None:
    """With device and channel, recordings, and the next step."""
    main(["data", "check", broken])
    out = capsys.readouterr().out

    assert "\nphone acc_x: constant  [quality.threshold]\n  in all: s1\n  next: " in out


def test_the_first_ten_lines_are_an_overview(here, broken, capsys, monkeypatch) -> None:
    """Then come the details."""
    monkeypatch.setenv("COLUMNS", "80")
    main(["data", "check", broken])
    first, details = capsys.readouterr().out.split("\n\n", 1)
    lines = first.splitlines()

    assert (len(lines) <= 10, max(map(len, lines)) <= 80, "[quality.threshold]" in details) == (True, True, True)
    assert [line.split()[0] for line in lines if line[0] != " "] == [
        "recordings",
        "classes",
        "rate",
        "gravity",
        "wrong",
        "next",
    ]


def test_many_problems_are_counted(here, capsys, monkeypatch) -> None:
    """The page and the JSON have all."""
    monkeypatch.setattr("modelreg.cli.data.SHOWN", 1)
    path = write_two_device(here)
    x = np.load(here / "all_x.npy")
    x[:, 0], x[:, 5] = np.nan, 1.0
    np.save(here / "all_x.npy", x)
    main(["data", "check", path.name])
    out = capsys.readouterr().out

    assert ("\nand 5 more; list all with --json or --out DIR\n" in out, out.count("  next: ")) == (True, 1)


def test_a_setting_is_overridden(here, broken, capsys) -> None:
    """As `train` does it."""
    main(["data", "check", broken, "--set", "split={by: subject, test: 9}"])

    assert "\nsplit: test and validation take 10 of 6 subjects  [split.no-training]\n" in capsys.readouterr().out


def test_the_next_step_trains_on_what_was_checked(here, capsys) -> None:
    """The command can be pasted."""
    path = write_two_device(here)
    main(["data", "check", path.name, "--set", "data.window=50"])
    found = capsys.readouterr().out.split("\n\n")[0].split("next        ")[1]

    assert shlex.split(found.replace("\\\n", "")) == [
        "modelreg",
        "train",
        "--set",
        'data.sources=[{"kind":"npy","path":"dataset.json"}]',
        "--set",
        "data.window=50",
    ]


def test_one_subject_is_said_with_the_setting_that_helps(here, capsys) -> None:
    """The split by subject is impossible."""
    path = write_two_device(here)
    np.save(here / "all_subject.npy", np.full(len(np.load(here / "all_subject.npy")), "s1"))
    main(["data", "check", path.name])
    out = capsys.readouterr().out

    assert ("[split.one-recording]" in out, "split.no-training" in out) == (True, False)


def test_strict_fails(here, broken) -> None:
    """Exit 3."""
    assert main(["data", "check", broken, "--strict"]) == 3


def test_json_is_the_record(here, capsys) -> None:
    """What is printed is a whole QualityReport."""
    main(["data", "check", "--json"])

    assert len(QualityReport.model_validate_json(capsys.readouterr().out).recordings) == 140


def test_out_writes_json_and_page(here, capsys) -> None:
    """The record, and a page that shows it."""
    main(["data", "check", "--out", "look"])

    assert (
        len(load(here / "look/quality.json", QualityReport).recordings),
        (here / "look/quality.html").is_file(),
    ) == (
        140,
        True,
    )


def test_an_unknown_source_is_refused(here, capsys) -> None:
    """Exit 3, with what it can be."""
    code = main(["data", "check", "sampel"])

    assert (code, "[recordings.source-unknown]" in capsys.readouterr().err) == (3, True)


def test_without_pandas_the_extra_is_named(here, capsys, monkeypatch) -> None:
    """Text is not parsed by the light install."""
    monkeypatch.setattr("modelreg.cli.host.find_spec", lambda name: None)
    (here / "d.yaml").write_text("data: {sources: [{kind: dsads, path: x}]}")
    main(["data", "check", "d.yaml"])

    stderr = capsys.readouterr().err
    assert ("[install.extra-missing]" in stderr, "[train]'\n" in stderr) == (True, True)


def test_a_missing_value_has_a_recommendation(here, capsys) -> None:
    """By its gap."""
    write_two_device(here)
    x = np.load(here / "all_x.npy")
    x[0, 0, 0, 0] = np.nan
    np.save(here / "all_x.npy", x)
    main(["data", "check", "dataset.json"])

    assert "missing values: `interpolate` is recommended for 1 recordings" in capsys.readouterr().out


def test_folds_are_commands(here, capsys) -> None:
    """One for each subject; each can be pasted into a shell."""
    (here / "c.yaml").write_text("data: {sources: [{kind: sample}]}")
    main(["data", "folds", "c.yaml"])

    assert capsys.readouterr().out.splitlines()[0] == (
        """modelreg train c.yaml --set 'split={"by": "subject", "test": ["s01"], "validation": ["s02"]}'"""
    )


def test_folds_as_json(here, capsys) -> None:
    """Ten subjects, ten splits."""
    (here / "c.yaml").write_text("data: {sources: [{kind: sample}]}")
    main(["data", "folds", "c.yaml", "--json"])

    assert len(json.loads(capsys.readouterr().out)) == 10


MINE = """\
data:
  sources:
    - kind: csv
      path: phone
      name: mine
      license: CC0-1.0
      citation: none
      separator: ";"
      label: activity
      devices:
        - name: phone
          files: '(?P<subject>\\w+)_(?P<session>\\w+)\\.csv'
          rate_hz: 50
          channels: [{name: ax, column: x, unit: g}, {name: ay, column: y, unit: g}]
"""


def write_csv(folder, files: int, text: str) -> None:
    """Write a configuration of CSV files of equal text."""
    (folder / "phone").mkdir()
    (folder / "mine.yaml").write_text(MINE)
    for number in range(files):
        (folder / "phone" / f"s{number:02d}_1.csv").write_text(text)


@pytest.mark.parametrize("command", [["data", "check"], ["train"]])
@pytest.mark.parametrize(
    ("files", "text", "shown"),
    [
        (54, "x (m/s²);y;activity\n1;2;walk\n", ("[csv.column-missing]", "in 54 places")),
        (2, "x;y;activity\n" + "0,1;2;walk\n" * 12_000, ("[csv.decimal-comma]", "11,999 other rows")),
    ],
    ids=["wrong column", "decimal comma"],
)
@pytest.mark.needs("torch", "pandas")
def test_one_cause_is_one_entry(here, capsys, command, files, text, shown) -> None:
    """For all files and rows, with the next step."""
    write_csv(here, files, text)

    assert main([*command, "mine.yaml"]) == 3
    error = capsys.readouterr().err
    assert (error.count("error: "), error.count("next: ")) == (1, 1)
    assert [words in error for words in shown] == [True, True]


@pytest.mark.needs("torch", "safetensors", "tensorboard", "matplotlib", "scipy")
def test_train_says_what_the_split_cannot_show_and_what_is_wrong_with_the_sensors(here, capsys) -> None:
    """Each with the next step; more than one problem of the sensors is counted."""
    path = write_two_device(here)
    x, y = np.load(here / "all_x.npy"), np.load(here / "all_y.npy")
    y[(y == 2) & (np.load(here / "all_subject.npy") != "s1")] = 1
    x[:, :3] /= 9.80665
    np.save(here / "all_x.npy", x)
    np.save(here / "all_y.npy", y)
    settings = ["training.epochs=1", "training.threads=1", f"data.sources=[{{kind: npy, path: {path.name}}}]"]
    main(["train", *(word for setting in settings for word in ("--set", setting))])
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]

    assert [("'run'" in said[0], "; next: record it with another subject" in said[0]), "looks like g" in said[1]] == [
        (True, True),
        True,
    ]
    assert said[2] == "warning: 1 more problem; list all with: modelreg data check"


@pytest.mark.needs("torch", "safetensors", "tensorboard", "matplotlib", "scipy")
def test_a_refusal_of_train_names_a_split_that_helps(here, capsys) -> None:
    """A class that train misses."""
    path = write_two_device(here)
    y, subject = np.load(here / "all_y.npy"), np.load(here / "all_subject.npy")
    y[(y == 2) & ~np.isin(subject, ["s4", "s5", "s10"])] = 1
    np.save(here / "all_y.npy", y)
    settings = [
        f"data.sources=[{{kind: npy, path: {path.name}}}]",
        "split={by: subject, test: [s5, s10], validation: [s4]}",
    ]
    code = main(["train", *(word for setting in settings for word in ("--set", setting))])

    err = capsys.readouterr().err
    assert (code, "next: --set 'split=" in err) == (3, True)
