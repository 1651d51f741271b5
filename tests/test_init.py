"""`init`: the files of a new registry, what it does to an existing one, and the configuration to be filled in."""

import json
import re

import pytest
import yaml
from places import places

from modelreg import config
from modelreg.cli import installation
from modelreg.cli.main import main
from modelreg.errors import InputError
from modelreg.release import init

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FROM_GIT = {"url": "https://git.example.org/a/modelreg", "vcs_info": {"vcs": "git", "commit_id": COMMIT}}


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A new registry, as working directory."""
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    return tmp_path


def test_recordings_are_ignored_by_git(registry) -> None:
    """Nobody publishes recordings of people by following our advice; the map of pseudonyms stays here, too."""
    assert {"/data/", "/.modelreg/", "/runs/"} <= set((registry / ".gitignore").read_text().splitlines())


def test_line_endings_of_versions_stay(registry) -> None:
    """Git changes none, whatever core.autocrlf says."""
    assert "registry/** -text" in (registry / ".gitattributes").read_text().splitlines()


def test_the_settings_can_be_read(registry) -> None:
    """Every gate and every comment of them."""
    settings = config.load(registry / "modelreg.yaml", config.ProjectConfig)

    assert settings.targets == ("onnx", "hailo8")
    assert {"above_baseline", "every_class_tested", "accuracy"} <= settings.judged.keys()


def test_the_starter_is_refused_until_it_is_filled_in(registry) -> None:
    """Every line with FILL IN is named, with its line."""
    with pytest.raises(InputError) as caught:
        config.load(registry / init.MINE, config.TrainConfig)
    lines = [n for n, line in enumerate((registry / init.MINE).read_text().splitlines(), 1) if ': "FILL IN' in line]
    found = places(caught.value.problems)

    assert {rule for _, rule in found} == {"config.fill-in"}
    assert [int(re.search(r"mine\.yaml:(\d+)", place)[1]) for place, _ in found] == lines


def test_the_starter_can_be_filled_in(registry) -> None:
    """With any text, it is a configuration."""
    names = iter("abcdefgh")
    text = re.sub(r'"FILL IN[^"]*"', lambda _: next(names), (registry / init.MINE).read_text())
    (registry / init.MINE).write_text(text)

    assert config.load(registry / init.MINE, config.TrainConfig).data.window == 100


def test_the_sample_needs_no_starter(tmp_path) -> None:
    """`--sample` is for the built-in recordings."""
    assert main(["init", "--sample", str(tmp_path / "a")]) == 0
    assert not (tmp_path / "a" / init.MINE).exists()


def test_an_edited_file_is_left_and_its_absent_lines_are_printed(registry, capsys) -> None:
    """What was deleted is written again."""
    (registry / ".gitignore").write_text("/runs/\n*.bak\n")
    (registry / "RELEASES.md").unlink()
    code = main(["init"])
    printed = capsys.readouterr()

    assert (code, (registry / ".gitignore").read_text()) == (0, "/runs/\n*.bak\n")
    assert (registry / "RELEASES.md").is_file()
    assert "  /data/\n" in printed.err
    assert "  /runs/\n" not in printed.err


def test_settings_that_are_absent_are_printed(registry, capsys) -> None:
    """With their values, to be pasted."""
    (registry / "modelreg.yaml").write_text("default_model: tcn_vae\n")
    main(["init"])

    assert "  above_baseline: true\n" in capsys.readouterr().err.replace("    ", "  ")


@pytest.mark.parametrize("text", ["5", "[above_baseline]", "above_baseline"])
def test_settings_that_are_no_mapping_have_none_of_them(registry, capsys, text) -> None:
    """The file is left as it is."""
    (registry / "modelreg.yaml").write_text(text)

    assert main(["init"]) == 0
    assert "above_baseline: true\n" in capsys.readouterr().err


def test_again_changes_nothing(registry, capsys) -> None:
    """And prints nothing but the next step."""
    capsys.readouterr()
    main(["init"])

    assert not [line for line in capsys.readouterr().out.splitlines() if not line.startswith(("next:", "or:"))]


@pytest.mark.parametrize("name", ["modelreg.yaml", "registry", "configs"])
def test_what_is_in_the_way_is_refused(tmp_path, name) -> None:
    """A link is not followed, a folder not removed; nothing is written."""
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError) as caught:
        init.missing(tmp_path, init.documents())

    assert places(caught.value.problems)[0] == (str(tmp_path / _file_at(name)), "init.place-occupied")


def _file_at(name: str) -> str:
    return {"registry": "registry/.gitkeep", "configs": init.MINE}.get(name, name)


def test_the_workflow_installs_what_is_installed_here() -> None:
    """By its git URL and commit."""
    origin = installation.requirement(FROM_GIT).partition(" @ ")[2]
    workflow = yaml.safe_load(init.documents(origin=origin)[init.WORKFLOW])

    assert workflow["env"]["MODELREG"] == f"git+https://git.example.org/a/modelreg@{COMMIT}"


def test_without_a_url_the_workflow_fails_with_a_message() -> None:
    """It never installs the bare name."""
    assert yaml.safe_load(init.documents()[init.WORKFLOW])["env"]["MODELREG"] == "FILL IN"


@pytest.mark.parametrize(
    "origin",
    [
        None,
        {},
        {"url": "file:///home/me/modelreg", "dir_info": {"editable": True}},
        {"url": "https://user:secret@example.org/m", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
        {"url": "https://example.org/m.whl", "archive_info": {}},
        {"url": 3, "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
        {"url": "https://example.org/m", "vcs_info": {"vcs": "git"}},
        {"url": "ssh://git@example.org/m", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
    ],
)
def test_other_origins_are_no_requirement(origin) -> None:
    """A folder of this machine, a secret in the address, nothing recorded."""
    assert installation.requirement(origin) is None


def test_an_extra_is_installed_from_the_same_place() -> None:
    """From git, or from the checkout."""
    assert installation.command("train", FROM_GIT) == (
        f"pip install 'modelreg[train] @ git+https://git.example.org/a/modelreg@{COMMIT}'"
    )
    assert installation.command("train", {"url": "file:///src/modelreg"}) == "pip install '/src/modelreg[train]'"


def test_no_command_names_the_package_alone() -> None:
    """An index may have another package of that name."""
    assert "FILL IN" in installation.command("train", None)


def test_what_pip_recorded_is_read() -> None:
    """Of this very installation, if anything."""
    recorded = installation.recorded()

    assert recorded is None or json.dumps(recorded)
