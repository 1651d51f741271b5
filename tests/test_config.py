"""config: YAML into strict settings; each problem names file, line, key and value."""

import datetime as dt
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import places

from modelreg import config, config_errors, strict_yaml
from modelreg.config import ProjectConfig, TimeSplit, TrainConfig
from modelreg.errors import InputError, Problem


def test_the_default_is_a_valid_configuration() -> None:
    """The built-in default is complete."""
    assert config.settle(config.default(), TrainConfig, "x").training.epochs == 40


def test_every_default_is_written() -> None:
    """The rendered configuration reads back as itself and names every key."""
    settings = TrainConfig()

    assert config.settle(settings.to_document(), TrainConfig, "x") == settings


def test_assignments_go_on_top() -> None:
    """A dotted path reaches inside; the value is YAML."""
    settings = config.settle({"training": {"seed": 4}}, TrainConfig, "x", ["training.epochs=3", "model.levels=[4, 4]"])

    assert (settings.training.seed, settings.training.epochs, settings.model.levels) == (4, 3, (4, 4))


def refused(document, assignments=(), text=None) -> list[Problem]:
    """What is wrong with a training's settings."""
    with pytest.raises(InputError) as caught:
        config.settle(document, TrainConfig, "x", assignments, text)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"training": {"epoch": 3}}, ("x: training.epoch", "config.unknown-key")),
        ({"epochs": 3}, ("x: epochs", "config.unknown-key")),
        ({"training": {"epochs": "3"}}, ("x: training.epochs", "config.invalid-value")),
        ({"training": {"epochs": 0}}, ("x: training.epochs", "config.invalid-value")),
        ({"data": {"window": 9, "fold": 2}}, ("x: data", "config.inconsistent")),
        ({"split": {"by": "magic"}}, ("x: split.by", "config.invalid-value")),
        ({"split": {"test": 2}}, ("x: split.by", "config.missing-key")),
        ({"split": {"by": "time", "test": 0.6, "validation": 0.5}}, ("x: split", "config.inconsistent")),
        ({"model": {"name": "tcn"}}, ("x: model.name", "config.invalid-value")),
        ({"model": 5}, ("x: model", "config.invalid-value")),
        ({"model": {"widths": [8]}}, ("x: model", "config.inconsistent")),
        ({"model": {"kernels": [[1, 4], [1, 3], [1, 3]]}}, ("x: model", "config.inconsistent")),
        ({"model": {"levels": [1]}}, ("x: model.levels.0", "config.invalid-value")),
        ({"model": {"name": "tcn_vae", "levels": [8]}}, ("x: model.levels", "config.unknown-key")),
        ({"data": {"sources": [{"path": "p"}]}}, ("x: data.sources.0.kind", "config.missing-key")),
        ({"data": {"sources": [{"kind": "dsads"}]}}, ("x: data.sources.0.path", "config.missing-key")),
        ({"data": {"sources": [{"kind": "hapt", "path": 3}]}}, ("x: data.sources.0.path", "config.invalid-value")),
        ({"model": {"name": "conv2d_fsq_hsmm", "hsmm": {"chunk": 60}}}, ("x: model.hsmm", "config.inconsistent")),
        ({"model": {"name": "conv2d_fsq_hsmm", "hsmm": 3}}, ("x: model.hsmm", "config.invalid-value")),
        ({"quality": {"limits": {"std_min": 5, "std_max": 1}}}, ("x: quality.limits", "config.inconsistent")),
        ({"quality": {"limits": {"channels": {"ax": [2, 1]}}}}, ("x: quality.limits", "config.inconsistent")),
        ({"quality": {"limits": {"channels": {"ax": [2]}}}}, ("x: quality.limits.channels.ax", "config.invalid-value")),
        ({"split": {"by": "subject", "test": "p6"}}, ("x: split.test", "config.invalid-value")),
        ({"split": {"by": "subject", "test": [6]}}, ("x: split.test.0", "config.invalid-value")),
        ({"data": {"sources": []}}, ("x: data.sources", "config.invalid-value")),
        ({1: 2}, ("x: 1", "config.unknown-key")),
        ({"training": {2: 3}}, ("x: training.2", "config.unknown-key")),
        ("text", ("x", "config.not-a-mapping")),
        (dt.date(2026, 1, 1), ("x", "config.not-a-mapping")),
        ({"training": {"seed": object()}}, ("x", "config.not-plain")),
    ],
)
def test_a_problem_has_the_path_that_the_user_wrote(document, problem) -> None:
    """Not pydantic's, which names union members; and a value is one problem."""
    assert places(refused(document)) == [problem]


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("lr", "training.learning_rate"),
        ("training.lr", "training.learning_rate"),
        ("training.bs", "training.batch_size"),
        ("training.epoch", "training.epochs"),
        ("learning-rate", "training.learning_rate"),
        ("model.width", "model.widths"),
        ("data.sources.0.devices.0.channels.0.colum", "data.sources[].devices[].channels[].column"),
        ("optimiser", "training.optimizer"),
    ],
)
def test_an_unknown_key_is_given_the_nearest_one(path, meant) -> None:
    """By spelling or initials, over all keys, those of the same mapping first."""
    parts = tuple(int(part) if part.isdigit() else part for part in path.split("."))

    assert config_errors.nearest_keys(parts, TrainConfig) == [meant]


def test_a_key_that_is_like_no_other_has_the_next_step_of_its_rule() -> None:
    """Nothing is guessed."""
    (problem,) = refused({"qwxyz": 3})

    assert (problem.rule, problem.next) == ("config.unknown-key", "")


def test_a_key_of_another_model_is_to_be_removed() -> None:
    """The nearest key would be the key itself."""
    (problem,) = refused({"model": {"name": "tcn_vae", "levels": [8]}})

    assert "remove" in problem.next


def test_a_misspelled_value_is_given_the_nearest_one() -> None:
    """Of the values that the key accepts."""
    problems = refused({"training": {"optimizer": "adaam"}, "split": {"by": "tme"}})

    assert [problem.next for problem in problems] == ["did you mean 'time'?", "did you mean 'adam'?"]


def test_a_text_of_the_wrong_form_has_the_description_of_its_key() -> None:
    """A regular expression would say nothing to most readers."""
    with pytest.raises(InputError) as caught:
        config.settle({"tag_format": "v"}, ProjectConfig, "x")

    assert "{version} once" in caught.value.problems[0].next


@pytest.mark.parametrize("found", [3, "three", [1, 2], None, {"a": 1}, True])
def test_the_value_is_in_the_message(found) -> None:
    """As YAML writes it."""
    (problem,) = refused({"training": {"learning_rat": found}})

    assert config_errors.shown(found) in problem.message


def test_a_long_value_is_cut() -> None:
    """A message is a line."""
    assert len(config_errors.shown(list(range(1000)))) == config_errors.SHOWN


FILE = """\
data:
  window: 100
  sources:
  - kind: dsads
    path: x
    lables: {a: b}
training:
  epochs: "3"

  lr: 0.1
lr: 0.1
model: {widths: [8]}
split:
  test: 2
"""


def test_a_problem_has_its_line(tmp_path) -> None:
    """That of the key; of the mapping, where a key is missing."""
    (tmp_path / "a.yaml").write_text(FILE)
    with pytest.raises(InputError) as caught:
        config.load(tmp_path / "a.yaml", TrainConfig)

    assert places(
        problem._replace(where=problem.where.removeprefix(f"{tmp_path}/")) for problem in caught.value.problems
    ) == [
        ("a.yaml:6", "config.unknown-key"),
        ("a.yaml:13: split.by", "config.missing-key"),
        ("a.yaml:12: model", "config.inconsistent"),
        ("a.yaml:8: training.epochs", "config.invalid-value"),
        ("a.yaml:10", "config.unknown-key"),
        ("a.yaml:11", "config.unknown-key"),
    ]


@pytest.mark.parametrize(
    ("assignment", "where"),
    [
        ("training.epochs=0", "--set training.epochs=0"),
        ("training.lr=0.1", "--set training.lr=0.1"),
        ("lr=0.1", "--set lr=0.1"),
        ("training={epochs: 0}", "--set training={epochs: 0}: training.epochs"),
        ("model.widths=[8]", "--set model.widths=[8]: model"),
    ],
)
def test_a_problem_of_an_assignment_names_the_assignment(assignment, where) -> None:
    """And not the file, which is not wrong."""
    (problem,) = refused({"training": {"epochs": 3}}, [assignment], "training: {epochs: 3}\n")

    assert problem.where == where


def test_a_split_by_time_leaves_the_rest_to_train_on() -> None:
    """The shares of the two held-out pieces come as they are given."""
    split = config.settle({"split": {"by": "time", "test": 0.5, "validation": 0.4}}, TrainConfig, "x").split

    assert split == TimeSplit(by="time", test=0.5, validation=0.4)


def test_all_problems_come_at_once() -> None:
    """Two faults, two problems."""
    assert len(refused({"training": {"epoch": 3, "batch_size": 1}})) == 2


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: 1\nb: {c: 1, c: 2}\n", "x:2:11"),
        ("a: &x [1]\nb: *x\n", "x:2:4"),
        ("a: [1\n", "x:2:1"),
        ("a:\n \x00", "x:2:2"),
        ("a: !!python/object:os.system {}", "x:1:4"),
        ("- " * 3000, "x:1:201"),
    ],
    ids=["duplicate key", "alias", "syntax", "NUL", "tag", "nesting"],
)
def test_yaml_that_is_not_plain_is_refused(text, where) -> None:
    """With line and column."""
    with pytest.raises(InputError) as caught:
        strict_yaml.parse(text, "x")

    assert places(caught.value.problems) == [(where, "config.yaml-syntax")]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("data",), 1),
        (("data", "sources", 0, "path"), 5),
        (("data", "sources", 0, "units"), 4),
        (("data", "sources", 1), 3),
        (("model", "widths", 0), 12),
        (("gone",), None),
        ((), None),
    ],
)
def test_a_path_leads_to_a_line(path, line) -> None:
    """What is missing has the line of its nearest parent."""
    assert strict_yaml.line_of(FILE, path) == line


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
    found = strict_yaml.parse(f"a: {text}", "x")["a"]

    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("assignment", ["training.epochs", "=3", "a..b=1", ".a=1"])
def test_a_bad_assignment_is_named(assignment) -> None:
    """An assignment is a.b=value."""
    assert places(refused(None, [assignment])) == [(f"--set {assignment}", "config.assignment")]


def test_an_assignment_into_a_value_is_refused() -> None:
    """A number has no entries."""
    problems = refused({"training": {"epochs": 3}}, ["training.epochs.x=1"])

    assert places(problems) == [("--set training.epochs.x=1", "config.assignment-place")]


def test_an_assignment_names_a_part_of_a_list_by_its_number() -> None:
    """As the messages do; the other parts stay as they are."""
    listed = {"data": {"sources": [{"kind": "hapt", "path": "a"}, {"kind": "hapt", "path": "b"}]}}
    found = config.settle(listed, TrainConfig, "x", ["data.sources.1.path=c"])

    assert [source.path for source in found.data.sources] == ["a", "c"]


@pytest.mark.parametrize("part", ["1", "-1", "01", "x", "9" * 5000])
def test_an_assignment_to_no_part_of_a_list_is_refused(part) -> None:
    """They are counted from 0."""
    listed = {"data": {"sources": [{"kind": "hapt", "path": "a"}]}}
    problems = refused(listed, [f"data.sources.{part}.path=c"])

    assert places(problems) == [(f"--set data.sources.{part}.path=c", "config.assignment-place")]


def test_the_value_of_an_assignment_is_yaml() -> None:
    """Its syntax errors have a column, too."""
    assert places(refused(None, ["training.epochs=[1"])) == [("--set training.epochs:1:3", "config.yaml-syntax")]


def test_a_file_is_read(tmp_path) -> None:
    """Settings come from a YAML file."""
    (tmp_path / "c.yaml").write_text("gates: {accuracy: {min: 0.5}}\n")

    assert config.load(tmp_path / "c.yaml", ProjectConfig).gates["accuracy"].min == 0.5


def test_a_file_that_is_not_utf8_is_refused(tmp_path) -> None:
    """The byte is named."""
    (tmp_path / "c.yaml").write_bytes(b"a: \xff")
    with pytest.raises(InputError) as caught:
        config.load(tmp_path / "c.yaml", ProjectConfig)

    (problem,) = caught.value.problems
    assert (problem.rule, "byte 3" in problem.message) == ("files.not-utf8", True)


def test_a_gate_needs_a_bound() -> None:
    """A gate without min and max would pass everything."""
    with pytest.raises(InputError) as caught:
        config.settle({"gates": {"accuracy": {}}}, ProjectConfig, "x")

    assert places(caught.value.problems) == [("x: gates.accuracy", "config.inconsistent")]


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
    """Another placeholder, none or two of them, a blank, or an invalid path."""
    with pytest.raises(InputError) as caught:
        config.settle({"tag_format": form}, ProjectConfig, "x")

    assert places(caught.value.problems) == [("x: tag_format", "config.invalid-value")]


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


def test_the_last_assignment_that_set_a_value_is_named() -> None:
    """Not one of another key."""
    assignments = {("training", "epochs"): "training.epochs=x", ("data", "hop"): "data.hop=1"}
    origin = config_errors.Origin("a.yaml", None, assignments)

    assert origin.place(("training", "epochs")) == "--set training.epochs=x"


def test_a_part_of_a_list_has_the_description_of_its_key() -> None:
    """The number of a source describes nothing."""
    assert config_errors._description(("data", "sources", 0, "nothing"), TrainConfig).startswith("see `nothing`")


def test_an_integer_of_thousands_of_digits_is_refused(tmp_path) -> None:
    """Python converts none; that is no reason for a traceback."""
    (tmp_path / "a.yaml").write_text(f"training: {{epochs: {'9' * 5000}}}")
    with pytest.raises(InputError) as caught:
        config.load(tmp_path / "a.yaml", TrainConfig)

    assert [problem.rule for problem in caught.value.problems] == ["config.yaml-syntax"]
