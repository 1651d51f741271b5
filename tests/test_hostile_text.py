"""Text from files never reaches a terminal raw: control characters, newlines and bidirectional marks are escaped."""

import json
import shutil
import unicodedata

import pytest
from example_release import carry_out
from example_run import NOW, write_registry, write_run
from example_version import edit, reseal

from modelreg.cli.main import main
from modelreg.errors import InputError
from modelreg.release.plan import Request

HOSTILE = "evil\x1b[31m\nforged: 12 files verified\u202egnp.exe"
UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode categories
COMMANDS = [["verify"], ["verify", "v0.1.0"], ["list"], ["show", "v0.1.0"], ["history"]]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A registry with one version."""
    root = write_registry(tmp_path_factory.mktemp("made"))
    run = write_run(root / "runs" / "conv2d_fsq-001")
    carry_out(root, Request("v0.1.0", run, roll_changelog=True))
    return root


@pytest.fixture
def root(made, tmp_path, monkeypatch):
    """A copy of the registry, for tests that change it, as the working directory."""
    monkeypatch.chdir(shutil.copytree(made, tmp_path / "r"))
    return tmp_path / "r"


def rename_subject(document, hostile=HOSTILE):
    """Give a test subject a hostile name everywhere in eval_metrics.json."""
    text = json.dumps(document).replace('"s4"', json.dumps(hostile))
    document.clear()
    document.update(json.loads(text))


def set_alias(root):
    """Write a log of aliases with a hostile author and reason."""
    change = {"alias": "production", "action": "promote", "previous": None, "version": "0.1.0"}
    log = {
        "schema_version": 1,
        "model": "conv2d_fsq",
        "changes": [{**change, "by": HOSTILE, "at": NOW, "why": HOSTILE}],
    }
    (root / "registry/conv2d_fsq/aliases.json").write_text(json.dumps(log))


CHANGES = {
    "model": lambda version: edit(version / "manifest.json", lambda d: d.update(model=HOSTILE)),
    "version": lambda version: edit(version / "manifest.json", lambda d: d.update(version=HOSTILE)),
    "created": lambda version: edit(version / "manifest.json", lambda d: d.update(created=HOSTILE)),
    "tool": lambda version: edit(version / "manifest.json", lambda d: d["tool"].update(name=HOSTILE)),
    "path": lambda version: edit(version / "manifest.json", lambda d: d["files"][0].update(path=HOSTILE)),
    "key": lambda version: edit(version / "manifest.json", lambda d: d.update({HOSTILE: 1})),
    "labels": lambda version: edit(version / "model_config.json", lambda d: d["classes"].__setitem__(0, HOSTILE)),
    "channel": lambda version: edit(version / "data.json", lambda d: d["channels"][0].update(name=HOSTILE)),
    "subjects": lambda version: edit(version / "eval_metrics.json", rename_subject),
    "known subjects": lambda version: edit(
        version / "eval_metrics.json", lambda d: d["protocol"]["parts"]["train"].update(subjects=["s4", HOSTILE])
    ),
    "environment": lambda version: edit(version / "run.json", lambda d: d["environment"].update(python=HOSTILE)),
    "card": lambda version: (version / "model_card.md").write_text(HOSTILE),
    "changelog": lambda version: (version.parents[2] / "CHANGELOG.md").write_text(f"## [0.1.0]\n\n- {HOSTILE}\n"),
    "table": lambda version: (version.parents[2] / "RELEASES.md").write_text(f"| {HOSTILE} | {HOSTILE} |\n"),
    "alias": lambda version: set_alias(version.parents[2]),
    "file name": lambda version: (version / HOSTILE.replace("/", "")).touch(),
    "folder name": lambda version: (version.parents[1] / HOSTILE).mkdir(),
    "not JSON": lambda version: (version / "run.json").write_text(HOSTILE),
}
NOT_SHOWN = {"tool", "card", "changelog", "table", "not JSON"}


def change_and_reseal(root, change) -> None:
    """Change a version and make its digests match, if its manifest can still be read."""
    version = root / "registry/conv2d_fsq/v0.1.0"
    change(version)
    try:
        reseal(version)
    except (InputError, FileNotFoundError):
        return


def printed(command, capsys) -> str:
    """Run a command and return what it prints on both streams."""
    main(command)
    return "".join(capsys.readouterr())


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["plain", "json"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_hostile_text_is_escaped(root, capsys, name, as_json) -> None:
    """On stdout and on stderr, in results and in errors."""
    change_and_reseal(root, CHANGES[name])
    shown = [printed([*command, *as_json], capsys) for command in COMMANDS]

    unsafe = {character for text in shown for character in text if unicodedata.category(character) in UNSAFE}
    assert unsafe <= {"\n"}
    assert not [line for text in shown for line in text.splitlines() if line.startswith("forged")]


@pytest.mark.parametrize("name", sorted(CHANGES.keys() - NOT_SHOWN))
def test_a_hostile_text_is_shown_as_an_escape(root, capsys, name) -> None:
    """The text is not dropped: its reader sees the characters."""
    change_and_reseal(root, CHANGES[name])
    shown = "".join(printed(command, capsys) for command in COMMANDS)

    assert ("evil\\x1b[31m\\nforged" in shown, "\\u202e" in shown) == (True, True)


def test_a_hostile_reference_is_escaped(root, capsys) -> None:
    """A reference on the command line appears in the error."""
    shown = printed(["show", HOSTILE], capsys)

    assert ("\\x1b" in shown, "\x1b" in shown) == (True, False)
