"""The source windows: rows that continue each other become recordings; every sample is there once, with its label."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packing import KINDS, packed, zipped
from places import places
from window_files import cut, described, faults, read, source, texts, write

from modelreg import config
from modelreg.data import leakage_audit, preparation, windows
from modelreg.data.cache import Reading
from modelreg.data.normalization import fit
from modelreg.data.recording import UNLABELLED, Dataset, Recording, Signal
from modelreg.data.sources import registry as sources
from modelreg.data.sources import window_files as parsing
from modelreg.data.sources import window_overlap
from modelreg.errors import InputError, Notice
from modelreg.records.data import PARTS, Limits
from modelreg.records.model import InputSpec
from modelreg.records.source import WindowsSource
from modelreg.rules import catalogue

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
W, HOP = 32, 16


def signal(samples: int, seed: int = 0) -> np.ndarray:
    """Two channels that do not repeat, (samples, 2)."""
    return np.random.default_rng(seed).normal(size=(samples, 2)).astype(np.float32)


def values(recording: Recording) -> np.ndarray:
    """The samples of the only device."""
    return recording.signals["waist"].values


def whole(count: int = 6, seed: int = 0) -> np.ndarray:
    """The windows of one signal, half of each in common with the next."""
    return cut(signal(W + (count - 1) * HOP, seed), W, HOP)


def recut(dataset: Dataset, window: int = W, hop: int = HOP) -> windows.Windows:
    """Cut the recordings of a data set."""
    return windows.cut(dataset.recordings, classes=dataset.classes, window=window, hop=hop, labels="majority")


# Continuous recordings


@relaxed
@given(window=st.integers(9, 24), data=st.data(), count=st.integers(1, 6), seed=st.integers(0, 99))
def test_any_signal_cut_at_any_overlap_comes_back(tmp_path_factory, window, data, count, seed) -> None:
    """To the bit, each sample once."""
    hop = data.draw(st.integers(1, window - 2)) if count > 1 else window
    made = signal(window + (count - 1) * hop, seed)
    rows = texts(cut(made, window, hop), ["s1"] * count, ["walk"] * count)
    folder = write(tmp_path_factory.mktemp("cut"), rows)
    dataset, _ = read(folder, source(window, (window - hop) / window))

    (recording,) = dataset.recordings
    assert values(recording).tobytes() == made.tobytes()


@relaxed
@given(
    runs=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(2, 5)), min_size=1, max_size=5),
    hop=st.sampled_from([8, 16, 24]),
)
def test_recordings_cut_again_are_the_windows_of_the_files(tmp_path_factory, runs, hop) -> None:
    """With their labels and subjects, if each recording has one label."""
    pieces = [cut(signal(W + (count - 1) * hop, seed), W, hop) for seed, (_, _, count) in enumerate(runs)]
    rows = np.concatenate(pieces)
    subjects, labels = ([run[k] for run in runs for _ in range(run[2])] for k in (0, 1))
    folder = write(tmp_path_factory.mktemp("cut"), texts(rows, subjects, labels))
    dataset, _ = read(folder, source(W, 1 - hop / W))
    again = recut(dataset, W, hop)
    order = np.argsort(subjects, kind="stable")

    assert again.x[:, :, 0].tobytes() == rows[order].tobytes()
    assert [dataset.classes[y] for y in again.y] == [labels[n] for n in order]
    assert [again.subjects[n] for n in again.subject] == [subjects[n] for n in order]


@relaxed
@given(labels=st.lists(st.sampled_from("xyz"), min_size=2, max_size=12), hop=st.sampled_from([4, 8, 16, 24]))
def test_a_window_that_is_cut_again_has_its_label_or_is_dropped(tmp_path_factory, labels, hop) -> None:
    """Whatever the labels: a sample has a label only if all windows with it agree."""
    made = signal(W + (len(labels) - 1) * hop)
    folder = write(tmp_path_factory.mktemp("cut"), texts(cut(made, W, hop), ["s"] * len(labels), labels))
    dataset, _ = read(folder, source(W, 1 - hop / W))
    again = recut(dataset, W, hop)

    assert [dataset.classes[y] for y in again.y] == [labels[start // hop] for start in again.start]
    assert len(again.y) + again.dropped == len(labels)


@relaxed
@given(kept=st.lists(st.booleans(), min_size=5, max_size=20))
def test_windows_between_which_some_are_missing_are_joined_while_they_overlap(tmp_path_factory, kept) -> None:
    """Three quarters are in common, so that one or two windows may be missing."""
    hop = W // 4
    kept = [True, True, *kept]
    made = signal(W + (len(kept) - 1) * hop)
    rows = np.flatnonzero(kept)
    folder = write(tmp_path_factory.mktemp("cut"), texts(cut(made, W, hop)[rows], ["s"] * len(rows), ["x"] * len(rows)))
    dataset, _ = read(folder, source(W, 0.75))

    runs = np.split(rows, np.flatnonzero(np.diff(rows) >= 4) + 1)
    expected = [made[run[0] * hop : run[-1] * hop + W] for run in runs]
    assert [values(found).tolist() for found in dataset.recordings] == [piece.tolist() for piece in expected]


def test_a_window_that_does_not_continue_begins_a_recording(tmp_path) -> None:
    """The number of the session rises; the rows of a subject need not be together."""
    rows = np.concatenate([whole(3, 1), whole(2, 2), whole(2, 3)])
    subjects = ["s2", "s2", "s10", "s2", "s10", "s10", "s10"]
    order = [0, 1, 3, 2, 4, 5, 6]
    folder = write(tmp_path, texts(rows[order], [subjects[n] for n in order], ["x"] * 7))
    dataset, _ = read(folder, source(W, 0.5))

    assert [(r.name, r.subject, r.session, len(r.labels)) for r in dataset.recordings] == [
        ("s2-1", "s2", "1", W + HOP),
        ("s2-2", "s2", "2", W),
        ("s10-1", "s10", "1", W),
        ("s10-2", "s10", "2", W),
        ("s10-3", "s10", "3", W + HOP),
    ]


def test_missing_values_continue_missing_values(tmp_path) -> None:
    """NaN in both windows."""
    made = signal(W + HOP)
    made[HOP + 3] = np.nan
    dataset, _ = read(write(tmp_path, texts(cut(made, W, HOP), ["s"] * 2, ["x"] * 2)), source(W, 0.5))

    np.testing.assert_array_equal(values(dataset.recordings[0]), made)


def test_windows_at_rest_are_joined(tmp_path) -> None:
    """Constant samples agree."""
    dataset, _ = read(write(tmp_path, texts(np.ones((3, 2, W)), ["s"] * 3, ["x"] * 3)), source(W, 0.5))

    assert [len(found.labels) for found in dataset.recordings] == [W + 2 * HOP]


def test_samples_of_two_labels_are_unlabelled_and_counted(tmp_path) -> None:
    """Half of two windows."""
    dataset, notices = read(write(tmp_path, texts(whole(4), ["s"] * 4, list("xxyy"))), source(W, 0.5))
    expected = [0] * 2 * HOP + [UNLABELLED] * HOP + [1] * 2 * HOP

    assert dataset.recordings[0].labels.tolist() == expected
    assert notices == [
        ".: train: 4 windows are 1 recording, because 3 continue the window before",
        ".: 16 samples are unlabelled, because windows that have them in common differ in label",
    ]


def test_each_window_is_a_recording_without_overlap(tmp_path) -> None:
    """In the order of the file; nothing is remarked."""
    rows = np.concatenate([whole(1, seed) for seed in range(12)])
    dataset, notices = read(write(tmp_path, texts(rows, ["s"] * 12, ["x"] * 12)), source(W, 0))

    np.testing.assert_array_equal([values(found).T for found in dataset.recordings], rows)
    assert (dataset.recordings[-1].name, notices) == ("s-12", [])


# Files and settings


def test_parts_are_read_one_after_another(tmp_path) -> None:
    """A subject of both has further sessions; the part is the split that the source assigns."""
    write(tmp_path, texts(whole(2, 1), ["s1"] * 2, ["x"] * 2))
    write(tmp_path, texts(whole(2, 2), ["s1", "s2"], ["x", "y"], part="test"))
    dataset, _ = read(tmp_path, source(W, 0.5))

    assert [(found.name, found.part) for found in dataset.recordings] == [
        ("s1-1", "test"),
        ("s1-2", "train"),
        ("s2-1", "test"),
    ]


def flat(**changes: Any) -> dict[str, Any]:
    """Settings without a group `part`."""
    channels = [{"name": "ax", "unit": "g", "files": "x/acc_x.txt", "scale": 2}]
    channels.append({"name": "wx", "unit": "deg/s", "files": "x/gyro_x.txt"})
    patterns = {"subject_files": "x/subject.txt", "label_files": "x/y.txt"}
    return {"devices": [{"name": "waist", "channels": channels}], **patterns, **changes}


def test_one_part_needs_no_name(tmp_path) -> None:
    """Its split is not assigned."""
    dataset, notices = read(write(tmp_path, texts(whole(), ["s"] * 6, ["x"] * 6, "x")), source(W, 0.5, **flat()))

    assert [found.part for found in dataset.recordings] == [None]
    assert notices == [".: 6 windows are 1 recording, because 5 continue the window before"]


def test_values_are_scaled(tmp_path) -> None:
    """By channel, in its unit."""
    dataset, _ = read(write(tmp_path, texts(whole(2), ["s"] * 2, ["x"] * 2, "x")), source(W, 0.5, **flat()))

    np.testing.assert_array_equal(values(dataset.recordings[0]), signal(W + HOP) * np.array([2, 1], np.float32))
    assert [(channel.name, channel.unit) for channel in dataset.channels] == [("ax", "g"), ("wx", "deg/s")]


def test_devices_have_the_same_channels(tmp_path) -> None:
    """Each from its files."""
    devices = [
        {"name": name, "channels": [{"name": "x", "unit": "g", "files": f"x/{file}.txt"}]}
        for name, file in (("left", "acc_x"), ("right", "gyro_x"))
    ]
    rows = texts(whole(), ["s"] * 6, ["x"] * 6, "x")
    dataset, _ = read(write(tmp_path, rows), source(W, 0.5, **flat(devices=devices)))

    assert dataset.devices == ("left", "right")
    found = [dataset.recordings[0].signals[name].values for name in dataset.devices]
    np.testing.assert_array_equal(np.hstack(found), signal(W + 5 * HOP))


def test_numbers_may_be_separated_by_any_character(tmp_path) -> None:
    """And blanks may be around them."""
    rows = texts(whole(), ["s"] * 6, ["x"] * 6, separator=" ; ")
    dataset, _ = read(write(tmp_path, rows), source(W, 0.5, separator=";"))

    np.testing.assert_array_equal(values(dataset.recordings[0]), signal(W + 5 * HOP))


def test_classes_are_those_of_the_map(tmp_path) -> None:
    """Also those without a window; without a map the labels of the files. 2 comes before 10."""
    write(tmp_path, texts(whole(3), ["s"] * 3, ["10", "10", "2"]))
    labels = {"10": "walk", "3": "run", "2": None}

    assert read(tmp_path, source(W, 0.5))[0].classes == ("2", "10")
    assert read(tmp_path, source(W, 0.5, labels=labels))[0].classes == ("2", "3", "10")


def test_other_files_are_remarked(tmp_path) -> None:
    """Hidden ones are not."""
    write(tmp_path, texts(whole(), ["s"] * 6, ["x"] * 6) | {"train/X.txt": "", ".git/x": "", "train/.y.txt": ""})

    assert read(tmp_path, source(W, 0.5))[1][0] == ".: 1 of 5 files match no pattern and are not read: train/X.txt"


def anywhere(**changes: Any) -> WindowsSource:
    """The same source, with files at any depth."""
    document = described(W, 0.5)
    for owner, name in [
        (document, "subject_files"),
        (document, "label_files"),
        *((channel, "files") for channel in document["devices"][0]["channels"]),
    ]:
        owner[name] = rf"(?:.*/)?{owner[name]}"
    return source(**(document | changes))


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_is_as_good_as_a_folder(tmp_path, kind) -> None:
    """The path is that of the archive."""
    rows = texts(whole(), ["s"] * 6, ["x"] * 6)
    (tmp_path / f"cut{kind}").write_bytes(packed({name: text.encode() for name, text in rows.items()}, kind))
    unpacked, _ = read(write(tmp_path / "d", rows), source(W, 0.5))
    dataset, notices = read(tmp_path, source(W, 0.5, path=f"cut{kind}"))

    assert dataset.sources == unpacked.sources
    np.testing.assert_array_equal(values(dataset.recordings[0]), values(unpacked.recordings[0]))
    assert notices == [f"cut{kind}: train: 6 windows are 1 recording, because 5 continue the window before"]


def test_archives_in_a_folder_are_read_where_a_pattern_may_match_their_files(tmp_path) -> None:
    """Also in a further archive, as UCI packs its data sets; with a folder beside."""
    train, test = (texts(whole(seed=n), [f"s{n}"] * 6, ["x"] * 6, part) for n, part in enumerate(("train", "test")))
    inner = zipped({f"UCI HAR Dataset/{name}": text.encode() for name, text in train.items()})
    write(tmp_path / "d", {f"set/{name}": text for name, text in test.items()})
    (tmp_path / "d/har.zip").write_bytes(zipped({"UCI HAR Dataset.zip": inner, "UCI HAR Dataset.names": b"x"}))
    dataset, notices = read(tmp_path, anywhere(path="d"))

    assert [(found.name, found.part) for found in dataset.recordings] == [("s0-1", "train"), ("s1-1", "test")]
    assert notices[0] == "d: 1 of 9 files match no pattern and are not read: har.zip/UCI HAR Dataset.names"


def test_a_fault_in_an_archive_is_named(tmp_path) -> None:
    """The path of the archive, and that of the file in it."""
    found = texts(whole(), ["s"] * 6, ["x"] * 6)
    line("acc_x", 2, "1 2\n")(found)
    (tmp_path / "cut.zip").write_bytes(zipped({name: text.encode() for name, text in found.items()}))

    assert faults(tmp_path, source(W, 0.5, path="cut.zip")) == [("cut.zip/train/acc_x.txt:2", "csv.row-width")]


def test_a_damaged_archive_is_named(tmp_path) -> None:
    """Before it is searched for files."""
    (tmp_path / "cut.zip").write_bytes(b"no archive")

    assert faults(tmp_path, source(W, 0.5, path="cut.zip")) == [("cut.zip", "recordings.archive-damaged")]


def test_archives_are_unpacked_next_to_the_cache(tmp_path) -> None:
    """Where the data sets may be larger than the folder of temporary files."""
    rows = {name: text.encode() for name, text in texts(whole(), ["s"] * 6, ["x"] * 6).items()}
    (tmp_path / "cut.tar.xz").write_bytes(packed(rows, ".tar.xz"))
    (tmp_path / "cache").mkdir()

    assert Reading(tmp_path, tmp_path / "cache").scratch == tmp_path / "cache"
    assert Reading(tmp_path, tmp_path / "none").scratch is None
    assert sources.read(source(W, 0.5, path="cut.tar.xz"), Reading(tmp_path, tmp_path / "cache")).recordings


def test_numbers_may_have_a_decimal_comma(tmp_path) -> None:
    """As many languages write them."""
    found = texts(whole(), ["s"] * 6, ["x"] * 6)
    write(tmp_path, {name: text.replace(".", ",") for name, text in found.items()})
    dataset, _ = read(tmp_path, source(W, 0.5, decimal=","))

    np.testing.assert_array_equal(values(dataset.recordings[0]), signal(W + 5 * HOP))


@pytest.mark.parametrize("encoding", ["utf-16-le", "latin-1"])
def test_files_may_have_another_encoding(tmp_path, encoding) -> None:
    """Those of numbers and those of texts."""
    for name, text in texts(whole(), ["s"] * 6, ["größe"] * 6).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(text.encode(encoding))
    dataset, _ = read(tmp_path, source(W, 0.5, encoding=encoding.removesuffix("-le")))

    assert dataset.classes == ("größe",)
    np.testing.assert_array_equal(values(dataset.recordings[0]), signal(W + 5 * HOP))


def test_a_text_may_mean_a_missing_value(tmp_path) -> None:
    """The one that is configured; it is part of the cache's key."""
    made = signal(W + HOP)
    made[HOP + 3, 0] = -999
    write(tmp_path / "d", texts(cut(made, W, HOP), ["s"] * 2, ["x"] * 2))
    reading = Reading(tmp_path / "d", tmp_path / "cache")
    plain, missing = (
        values(sources.read(source(W, 0.5, missing=texts), reading).recordings[0]) for texts in (["NA"], ["-999"])
    )

    np.testing.assert_array_equal(plain, made)
    np.testing.assert_array_equal(np.isnan(missing), made == -999)


def test_gravity_is_kept(tmp_path) -> None:
    """As it is stated for each channel."""
    devices = flat()["devices"]
    devices[0]["channels"][0]["gravity"] = "included"
    dataset, _ = read(
        write(tmp_path, texts(whole(), ["s"] * 6, ["x"] * 6, "x")), source(W, 0.5, **flat(devices=devices))
    )

    assert [channel.gravity for channel in dataset.channels] == ["included", None]


def test_nothing_is_parsed_twice(tmp_path, monkeypatch) -> None:
    """The second reading uses the cache."""
    reading = Reading(write(tmp_path / "d", texts(whole(), ["s"] * 6, ["x"] * 6)), tmp_path / "cache")
    first = sources.read(source(W, 0.5), reading)
    monkeypatch.setattr(parsing, "open_table", None)

    again = sources.read(source(W, 0.5), reading)
    assert again.sources == first.sources
    np.testing.assert_array_equal(values(again.recordings[0]), values(first.recordings[0]))


def test_another_scale_is_parsed_again(tmp_path) -> None:
    """The scale is part of the key."""
    reading = Reading(write(tmp_path / "d", texts(whole(), ["s"] * 6, ["x"] * 6, "x")), tmp_path / "cache")
    devices = flat()["devices"]
    sources.read(source(W, 0.5, **flat()), reading)
    devices[0]["channels"][0]["scale"] = 3
    made = values(sources.read(source(W, 0.5, **flat(devices=devices)), reading).recordings[0])

    np.testing.assert_array_equal(made[:, 0], signal(W + 5 * HOP)[:, 0] * np.float32(3))


def test_progress_names_each_file(tmp_path) -> None:
    """The number done, the total and the name."""
    calls: list[tuple[int, int, str]] = []
    write(tmp_path, texts(whole(), ["s"] * 6, ["x"] * 6))
    sources.read(source(W, 0.5), Reading(tmp_path, tell=lambda *what: calls.append(what)))

    assert (calls[0], calls[-1]) == ((0, 4, "train/subject.txt"), (4, 4, "cut"))


# Faults

Change = Callable[[dict[str, str]], object]


def line(name: str, number: int, text: str) -> Change:
    """Replace one line of a file, counted from 1; an empty text removes it."""

    def change(found: dict[str, str]) -> None:
        lines = found[f"train/{name}.txt"].splitlines(keepends=True)
        lines[number - 1] = text
        found[f"train/{name}.txt"] = "".join(lines)

    return change


SHORT = "1 " * (W - 1)
FAULTS: dict[str, tuple[Change, list[tuple[str, str]]]] = {
    "a short row": (line("acc_x", 2, f"{SHORT}\n"), [("train/acc_x.txt:2", "csv.row-width")]),
    "a cut row": (line("acc_x", 6, SHORT), [("train/acc_x.txt:6", "csv.row-width")]),
    "not a number": (line("acc_x", 3, f"{SHORT} x\n"), [("train/acc_x.txt:3", "csv.not-a-number")]),
    "short rows": (line("gyro_x", 1, f"{SHORT}\n"), [("train/gyro_x.txt", "windows.row-length")]),
    "one column": (line("gyro_x", 1, "1,2,3\n"), [("train/gyro_x.txt", "windows.row-length")]),
    "no rows": (lambda f: f.update({"train/acc_x.txt": ""}), [("train/acc_x.txt", "csv.empty")]),
    "no subjects": (lambda f: f.update({"train/subject.txt": "\n"}), [("train/subject.txt", "csv.empty")]),
    "a row less": (line("gyro_x", 4, ""), [("train/gyro_x.txt", "windows.row-count")]),
    "a label less": (line("y", 6, ""), [("train/y.txt", "windows.row-count")]),
    "a blank label": (line("y", 2, "\n"), [("train/y.txt", "windows.row-count")]),
    "an invalid label": (line("y", 2, "a\x01b\n"), [("train/y.txt:2", "csv.name-invalid")]),
    "a decimal comma": (
        line("acc_x", 3, "1,5 " * W + "\n"),
        [("train/acc_x.txt:3", "csv.decimal-comma")],
    ),
    "another encoding": (line("y", 2, "\0\n"), [("train/y.txt:2", "csv.encoding")]),
    "a broken quote": (line("y", 6, '"a\n'), [("train/y.txt:6", "csv.quotes")]),
    "no subject file": (lambda f: f.pop("train/subject.txt"), [(".", "windows.file-missing")]),
    "no channel": (lambda f: f.pop("train/acc_x.txt"), [(".", "windows.file-missing")]),
    "no file": (lambda f: f.clear(), [(".", "windows.file-missing")]),
    "a part without labels": (
        lambda f: f.update({f"test/{name}.txt": "1\n" for name in ("acc_x", "gyro_x", "subject")}),
        [(".: test", "windows.file-missing")],
    ),
}


@pytest.mark.parametrize(("change", "expected"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named(tmp_path, change, expected) -> None:
    """File, line and rule."""
    found = texts(whole(), ["s"] * 6, ["x"] * 6)
    change(found)

    assert faults(write(tmp_path, found), source(W, 0.5)) == expected


SETTINGS = {"channels", "devices", "part", *WindowsSource.model_fields}


@pytest.mark.parametrize(("change", "_"), FAULTS.values(), ids=FAULTS)
def test_a_next_step_names_only_settings_that_the_source_has(tmp_path, change, _) -> None:
    """Rules of rows are those of the source csv, too."""
    found = texts(whole(), ["s"] * 6, ["x"] * 6)
    change(found)
    with pytest.raises(InputError) as caught:
        read(write(tmp_path, found), source(W, 0.5))
    steps = [problem.next or catalogue.find(problem.rule).next for problem in caught.value.problems]

    assert {name for step in steps for name in re.findall(r"`(\w+)", step)} <= SETTINGS


def test_files_of_different_length_are_named_with_their_rows(tmp_path) -> None:
    """Both files and both counts."""
    found = texts(whole(), ["s"] * 6, ["x"] * 6)
    line("gyro_x", 4, "")(found)
    with pytest.raises(InputError) as caught:
        read(write(tmp_path, found), source(W, 0.5))

    assert caught.value.problems[0].message == "5 rows, but train/subject.txt has 6"


def test_all_faults_are_named_at_once(tmp_path) -> None:
    """Of every file."""
    found = texts(whole(), ["s"] * 6, ["x"] * 6)
    line("gyro_x", 4, "x\n")(found)
    line("y", 4, "\x01\n")(found)

    assert faults(write(tmp_path, found), source(W, 0.5)) == [
        ("train/y.txt:4", "csv.name-invalid"),
        ("train/gyro_x.txt:4", "csv.row-width"),
    ]


def test_a_label_without_a_class_is_named_once(tmp_path) -> None:
    """With its first line."""
    write(tmp_path, texts(whole(), ["s"] * 6, list("xxzxzz")))

    assert faults(tmp_path, source(W, 0.5, labels={"x": "walk"})) == [("train/y.txt:3", "sources.label-unmapped")]


def test_two_files_of_a_part_are_refused(tmp_path) -> None:
    """It is not known which one counts."""
    write(tmp_path, texts(whole(), ["s"] * 6, ["x"] * 6) | {"train/y2.txt": "x\n"})

    assert faults(tmp_path, source(W, 0.5, label_files=r"(?P<part>\w+)/y2?\.txt")) == [
        ("train/y2.txt", "windows.file-twice")
    ]


def test_a_file_of_two_channels_is_refused(tmp_path) -> None:
    """A pattern was copied."""
    document = described(W, 0.5)
    channels = document["devices"][0]["channels"]
    channels[1]["files"] = channels[0]["files"]
    write(tmp_path, texts(whole(), ["s"] * 6, ["x"] * 6))

    assert faults(tmp_path, source(**document)) == [("train/acc_x.txt", "windows.file-twice")]


def test_a_link_out_of_the_folder_is_refused(tmp_path) -> None:
    """Before it is read."""
    folder = write(tmp_path / "d", texts(whole(), ["s"] * 6, ["x"] * 6))
    (folder / "train/y.txt").rename(tmp_path / "y.txt")
    (folder / "train/y.txt").symlink_to(tmp_path / "y.txt")

    assert faults(folder, source(W, 0.5)) == [("train/y.txt", "csv.link")]


def test_a_folder_that_is_not_there_is_named(tmp_path) -> None:
    """As it is configured."""
    assert faults(tmp_path, source(W, 0.5, path="none")) == [("none", "files.unreadable")]


# Overlap


def shifted(hop: int, count: int = 6) -> np.ndarray:
    """Windows whose starts are `hop` apart."""
    return cut(signal(W + (count - 1) * hop), W, hop)


OVERLAPS: dict[str, tuple[np.ndarray, float, str, str]] = {
    "less than declared": (shifted(24), 0.5, "windows.no-overlap", "set `overlap: 0.25`"),
    "more than declared": (shifted(8), 0.5, "windows.no-overlap", "set `overlap: 0.75`"),
    "a multiple of the hop": (shifted(16), 0.75, "windows.no-overlap", "set `overlap: 0.5`"),
    "not declared": (shifted(16), 0, "windows.overlap-undeclared", "set `overlap: 0.5`"),
    "none": (np.concatenate([whole(1, seed) for seed in range(6)]), 0.5, "windows.no-overlap", ""),
    "backwards": (whole()[::-1], 0.5, "windows.no-overlap", ""),
}


@pytest.mark.parametrize(("rows", "overlap", "rule", "step"), OVERLAPS.values(), ids=OVERLAPS)
def test_a_wrong_overlap_is_refused(tmp_path, rows, overlap, rule, step) -> None:
    """With the one that was found, if there is one."""
    with pytest.raises(InputError) as caught:
        read(write(tmp_path, texts(rows, ["s"] * 6, ["x"] * 6)), source(W, overlap))

    assert [(problem.rule, problem.next) for problem in caught.value.problems] == [(rule, step)]


def test_windows_of_which_no_two_have_one_subject_do_not_overlap(tmp_path) -> None:
    """As where the file of subjects has other numbers."""
    write(tmp_path, texts(whole(), list("123456"), ["x"] * 6))

    assert faults(tmp_path, source(W, 0.5)) == [(".", "windows.no-overlap")]


def test_the_part_with_an_undeclared_overlap_is_named(tmp_path) -> None:
    """The other one has none."""
    write(tmp_path, texts(np.concatenate([whole(1, seed) for seed in range(6)]), ["s"] * 6, ["x"] * 6, "a"))
    write(tmp_path, texts(whole(), ["s"] * 6, ["x"] * 6, "b"))

    assert faults(tmp_path, source(W, 0)) == [(".: b", "windows.overlap-undeclared")]


def test_windows_at_rest_are_not_an_undeclared_overlap(tmp_path) -> None:
    """A device at rest repeats itself."""
    write(tmp_path, texts(np.ones((6, 2, W)), ["s"] * 6, ["x"] * 6))

    assert faults(tmp_path, source(W, 0)) == []


@given(window=st.integers(16, 80), data=st.data(), count=st.integers(2, 12))
def test_any_overlap_of_an_eighth_is_found(window, data, count) -> None:
    """From the samples alone."""
    hop = data.draw(st.integers(1, window - max(8, window // 8)))
    rows = cut(signal(window + (count - 1) * hop), window, hop)

    assert window_overlap.find_shift(list(rows.transpose(1, 0, 2)), np.array(["s"] * count)) == hop


@given(seed=st.integers(0, 99), count=st.integers(1, 12))
def test_no_overlap_is_found_among_independent_windows(seed, count) -> None:
    """Nor with a single window."""
    rows = signal(count * W, seed).reshape(count, W, 2)

    assert window_overlap.find_shift(list(rows.transpose(2, 0, 1)), np.array(["s"] * count)) is None


# Splits by time, and the audit


def mapped(folder: Path, overlap: float, *, by: str = "time", **data: Any) -> config.TrainConfig:
    """A configuration that reads a folder."""
    document = {"data": {"sources": [described(W, overlap)], "window": W, "hop": HOP} | data, "split": {"by": by}}
    return config.settle(document, config.TrainConfig, "test")


def bouts(count: int = 2) -> dict[str, str]:
    """Recordings of two subjects, cut into windows that overlap by half."""
    rows = [whole(40, seed) for seed in range(2 * count)]
    ids = np.repeat(np.arange(2 * count), 40)
    return texts(np.concatenate(rows), [f"s{n % 2}" for n in ids], ["xy"[n // 2 % 2] for n in ids])


def dealt(dataset: Dataset) -> leakage_audit.Evidence:
    """Deal the windows out at random: most of them then share samples with a window of another split."""
    thirds = {part: dataset.recordings[n::3] for n, part in enumerate(PARTS)}
    parts = windows.deal({part: recut(replace(dataset, recordings=found)) for part, found in thirds.items()}, 0)
    spec = InputSpec(channels=dataset.channels, devices=dataset.devices, timesteps=W, rate_hz=50.0)
    scale = fit(dataset.recordings, spec, per="channel", limits=Limits(), data_digest="0" * 64)
    return leakage_audit.Evidence(thirds, parts, scale, "time", W, dataset.recordings)


def leaks(evidence: leakage_audit.Evidence) -> set[str]:
    """The kinds of leaks of windows that the audit finds."""
    return {finding.kind for finding in leakage_audit.examine(evidence).leaks} - {"normalization"}


def independent(dataset: Dataset) -> Dataset:
    """The same windows as recordings without a known time, as a reader that ignores the overlap makes them."""
    made = recut(dataset)
    recordings = [
        Recording(str(n), "s", str(n), {"waist": Signal(x.T.copy(), 50.0)}, np.full(W, y, np.int32))
        for n, (x, y) in enumerate(zip(made.x[:, :, 0], made.y.tolist(), strict=True))
    ]
    return replace(dataset, recordings=tuple(recordings))


def test_the_audit_finds_windows_that_share_samples(tmp_path) -> None:
    """Dealt at random. Read as independent recordings, the same windows pass."""
    dataset, _ = read(write(tmp_path, bouts()), source(W, 0.5))

    assert leaks(dealt(dataset)) == {"time"}
    assert leaks(dealt(independent(dataset))) == set()


def test_a_split_by_time_shares_no_sample(tmp_path) -> None:
    """The audit has nothing to object."""
    prepared, audit = preparation.prepare_and_audit(mapped(tmp_path, 0.5), Reading(write(tmp_path, bouts())))

    assert (prepared.record.split, audit.leaks) == ("time", ())
    assert all(len(found.y) for found in prepared.windows.values())


def test_windows_without_overlap_cannot_be_split_by_time(tmp_path) -> None:
    """Their time is not known."""
    rows = np.concatenate([whole(1, seed) for seed in range(12)])
    write(tmp_path, texts(rows, ["s"] * 12, ["x", "y"] * 6))
    with pytest.raises(InputError) as caught:
        preparation.prepare(mapped(tmp_path, 0), Reading(tmp_path))

    assert places(caught.value.problems) == [("split.by", "split.time-unknown")]


@pytest.mark.parametrize(("changes", "count"), [({}, 0), ({"hop": 8}, 1), ({"window": 16}, 1)])
def test_other_windows_than_those_of_the_files_are_remarked(tmp_path, changes, count) -> None:
    """Published results are for those of the files."""
    notices: list[Notice] = []
    preparation.prepare(mapped(tmp_path, 0.5, **changes), Reading(write(tmp_path, bouts()), remark=notices.append))

    assert [notice.where for notice in notices].count("data.sources.0") == count


# Settings


def refused(**changes: Any) -> list[tuple[str, str]]:
    """The problems of settings."""
    document = {"data": {"sources": [described(W, 0.5) | changes]}}
    with pytest.raises(InputError) as caught:
        config.settle(document, config.TrainConfig, "x")
    return places(caught.value.problems)


def channel(**changes: Any) -> dict[str, Any]:
    """One channel."""
    return {"name": "ax", "unit": "g", "files": r"(?P<part>\w+)/acc_x\.txt"} | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"overlap": 0.51},
        {"overlap": 0.999},
        {"overlap": 1.0},
        {"window": 1},
        {"devices": [{"name": "a", "channels": [channel()]}, {"name": "b", "channels": [channel(unit="m/s2")]}]},
        {"devices": [{"name": "a", "channels": [channel()]}, {"name": "a", "channels": [channel()]}]},
        {"devices": [{"name": "a", "channels": [channel(), channel()]}]},
        {"devices": [{"name": "a", "channels": [channel(files="acc_x")]}]},
        {"devices": [{"name": "a", "channels": [channel(files=r"(?P<subject>\w+)/(?P<part>\w+)")]}]},
        {
            "devices": [
                {"name": name, "channels": [channel(gravity=how)]} for name, how in (("a", "removed"), ("b", None))
            ]
        },
        {"separator": "1"},
        {"separator": ",", "decimal": ","},
    ],
)
def test_settings_that_do_not_fit_are_refused(changes) -> None:
    """Each with its place."""
    assert [where.partition(".sources.0")[0] for where, _ in refused(**changes)] == ["x: data"]


def test_the_overlap_has_no_default() -> None:
    """Only the user knows it."""
    document = described(W, 0.5)
    del document["overlap"]
    with pytest.raises(InputError) as caught:
        config.settle({"data": {"sources": [document]}}, config.TrainConfig, "x")

    assert places(caught.value.problems) == [("x: data.sources.0.overlap", "config.missing-key")]


@pytest.mark.parametrize(("window", "overlap", "hop"), [(128, 0.5, 64), (126, 0.3333, 84), (100, 0, 100)])
def test_an_overlap_may_be_rounded(window, overlap, hop) -> None:
    """A third is no decimal number."""
    assert source(window, overlap).hop == hop
