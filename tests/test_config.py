"""config: YAML into strict settings, every error with its dotted path."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg import config
from modelreg.config import ProjectConfig, TimeSplit, TrainConfig
from modelreg.errors import InputError


def test_the_default_is_a_valid_configuration() -> None:
    """The built-in default needs no key of its own."""
    assert config.settle(config.default(), TrainConfig, "x").training.epochs == 40


def test_every_default_is_written() -> None:
    """The rendered configuration reads back as itself and names every key."""
    settings = TrainConfig()

    assert config.settle(settings.to_document(), TrainConfig, "x") == settings


def test_assignments_go_on_top() -> None:
    """A dotted path reaches inside; the value is YAML."""
    settings = config.settle({"training": {"seed": 4}}, TrainConfig, "x", ["training.epochs=3", "model.levels=[4, 4]"])

    assert (settings.training.seed, settings.training.epochs, settings.model.levels) == (4, 3, (4, 4))


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"training": {"epoch": 3}}, "x: training.epoch: unknown key; did you mean training.epochs"),
        ({"epochs": 3}, "x: epochs: unknown key; did you mean training.epochs"),
        ({"qwxyz": 3}, "x: qwxyz: unknown key$"),
        ({"training": {"epochs": "3"}}, "x: training.epochs: "),
        ({"training": {"epochs": 0}}, "x: training.epochs: "),
        ({"data": {"window": 9, "fold": 2}}, "x: data: .*even window"),
        ({"split": {"by": "magic"}}, "x: split"),
        ({"split": {"by": "time", "test": 0.6, "validation": 0.5}}, "leave nothing to train on"),
        ({"model": {"widths": [8]}}, "x: model: 1 widths but 3 kernels"),
        ({"model": {"kernels": [[1, 4], [1, 3], [1, 3]]}}, "must be odd"),
        ({"model": {"levels": [1]}}, "x: model.levels.0: "),
        ({"model": {"name": "tcn_vae", "levels": [8]}}, "x: model.levels: unknown key"),
        ({"data": {"sources": [{"kind": "dsads"}]}}, "x: data.sources.0.path: "),
        (
            {"data": {"sources": [{"kind": "hapt", "path": 3}]}},
            "x: data.sources.0.path: ",
        ),
        ({"model": {"name": "conv2d_fsq_hsmm", "hsmm": {"chunk": 60}}}, "chunk: 60 windows of one class last longer"),
        ({"quality": {"limits": {"std_min": 5, "std_max": 1}}}, "std_min must lie below"),
        ({"quality": {"limits": {"channels": {"ax": [2, 1]}}}}, "channels.ax: the lower limit"),
        ({"split": {"by": "subject", "test": "p6"}}, "x: split.test: "),
        ({"split": {"by": "subject", "test": [6]}}, "x: split.test.0: "),
        ({"data": {"sources": []}}, "data.sources"),
        ("text", "must be a mapping"),
        ({"training": {"seed": object()}}, "not a plain value"),
    ],
)
def test_what_breaks_a_rule_is_named(document, problem) -> None:
    """The error has the dotted path and the rule."""
    with pytest.raises(InputError, match=problem):
        config.settle(document, TrainConfig, "x")


def test_a_split_by_time_leaves_the_rest_to_train_on() -> None:
    """The shares of the two held-out pieces come as they are given."""
    split = config.settle({"split": {"by": "time", "test": 0.5, "validation": 0.4}}, TrainConfig, "x").split

    assert split == TimeSplit(by="time", test=0.5, validation=0.4)


def test_all_problems_come_at_once() -> None:
    """Two faults, two problems."""
    with pytest.raises(InputError) as caught:
        config.settle({"training": {"epoch": 3, "batch_size": 1}}, TrainConfig, "x")

    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: {c: 1, c: 2}\n", "line 2, column 11: duplicate key 'c'"),
        ("a: &x [1]\nb: *x\n", "line 2, column 4: an alias; write the value out"),
        ("a: [1\n", "line 2, column 1"),
        ("\x00", "special characters"),
        ("a: !!python/object:os.system {}", "could not determine a constructor"),
        ("- " * 3000, "x"),
    ],
)
def test_yaml_that_is_not_plain_is_refused(text, problem) -> None:
    """Duplicate keys, broken syntax, tags and absurd nesting give a place."""
    with pytest.raises(InputError, match=problem):
        config.parse_yaml(text, "x")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("-2", -2),
        ("007", "007"),
        ("0x1f", 31),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2026-11-21", "2026-11-21"),
        ("true", True),
        ("~", None),
        ("", None),
        ("1.2.3", "1.2.3"),
        ("1_000", "1_000"),
        ("'1'", "1"),
    ],
)
def test_plain_words_are_read_as_yaml_1_2_does(text, value) -> None:
    """1e-3 is a number; `no` and a date are words."""
    found = config.parse_yaml(f"a: {text}", "x")["a"]

    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("assignment", ["training.epochs", "=3", "a..b=1", ".a=1"])
def test_a_bad_assignment_is_named(assignment) -> None:
    """An assignment is a.b=value."""
    with pytest.raises(InputError, match=r"write it as a\.b=value"):
        config.settle(None, TrainConfig, "x", [assignment])


def test_an_assignment_into_a_value_is_refused() -> None:
    """A number has no parts."""
    with pytest.raises(InputError, match="epochs has no parts"):
        config.settle({"training": {"epochs": 3}}, TrainConfig, "x", ["training.epochs.x=1"])


def test_an_assignment_names_a_part_of_a_list_by_its_number() -> None:
    """As the messages do; the other parts stay as they are."""
    listed = {"data": {"sources": [{"kind": "hapt", "path": "a"}, {"kind": "hapt", "path": "b"}]}}
    found = config.settle(listed, TrainConfig, "x", ["data.sources.1.path=c"])

    assert [source.path for source in found.data.sources] == ["a", "c"]


@pytest.mark.parametrize("part", ["1", "-1", "01", "x", "9" * 5000])
def test_an_assignment_to_no_part_of_a_list_is_refused(part) -> None:
    """It says how many there are."""
    listed = {"data": {"sources": [{"kind": "hapt", "path": "a"}]}}
    with pytest.raises(InputError, match=f"sources has no part {part}: it has 1, counted from 0"):
        config.settle(listed, TrainConfig, "x", [f"data.sources.{part}.path=c"])


def test_a_file_is_read(tmp_path) -> None:
    """Settings come from a YAML file."""
    (tmp_path / "c.yaml").write_text("gates: {accuracy: {min: 0.5}}\n")

    assert config.load(tmp_path / "c.yaml", ProjectConfig).gates["accuracy"].min == 0.5


def test_a_file_that_is_not_utf8_is_refused(tmp_path) -> None:
    """The byte is named."""
    (tmp_path / "c.yaml").write_bytes(b"a: \xff")
    with pytest.raises(InputError, match="not UTF-8 at byte 3"):
        config.load(tmp_path / "c.yaml", ProjectConfig)


def test_a_gate_needs_a_bound() -> None:
    """A gate without min and max would pass everything."""
    with pytest.raises(InputError, match="give min, max or both"):
        config.settle({"gates": {"accuracy": {}}}, ProjectConfig, "x")


@pytest.mark.parametrize(
    "form", ["v{version}", "{model}-v{version}", "a.b/{version}", "{version}/{model}", "_{version}"]
)
def test_a_tag_is_named_by_version_and_model(form) -> None:
    """The version once, the model at most once, in any order."""
    assert config.settle({"tag_format": form}, ProjectConfig, "x").tag_format == form


@pytest.mark.parametrize(
    "form",
    [
        *("v", "{foo}{version}", "{0}{version}", "{version}{version}", "{model}{version}{model}", "{version!r}"),
        *("a {version}", "-{version}", "/{version}", ".{version}", "{version}.", "{version}/", "{version}\n"),
        *("a..{version}", "ü{version}", "a/.b{version}", "v~{version}", "v^{version}", "v:{version}", "v@{{version}"),
    ],
)
def test_a_tag_that_git_would_refuse_is_refused(form) -> None:
    """Another place holder, none or two, a blank, a path that is none."""
    with pytest.raises(InputError, match="tag_format"):
        config.settle({"tag_format": form}, ProjectConfig, "x")


@given(st.from_regex(config.TAG_FORMAT, fullmatch=True))
def test_git_takes_every_tag(form) -> None:
    """Whatever the pattern accepts is a tag, and no option of `git tag`."""
    tag = form.replace("{version}", "1.2.3-rc.1").replace("{model}", "conv2d_fsq")
    found = subprocess.run(["git", "check-ref-format", f"refs/tags/{tag}"], check=False).returncode

    assert (found, tag[:1] == "-") == (int(tag.endswith(".lock") or ".lock/" in tag), False)


def test_the_project_is_found_upwards(tmp_path) -> None:
    """As git finds its own."""
    (tmp_path / "modelreg.yaml").write_text("")
    (tmp_path / "a" / "b").mkdir(parents=True)

    assert config.find_project(tmp_path / "a" / "b") == tmp_path


def test_outside_there_is_no_project(tmp_path) -> None:
    """No modelreg.yaml, no project."""
    assert config.find_project(tmp_path) is None
