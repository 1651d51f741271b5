"""`modelreg publish`, `pull`, `verify --remote` and `release --publish`, against a fake of GitHub."""

import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Thread, main_thread

import pytest
from delivering import git, stored
from example_run import write_run

from modelreg.cli.main import main
from modelreg.cli.progress import show_transfer

pytest_plugins = ["delivery_fixtures"]
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture
def second(made, tmp_path, monkeypatch):
    """A copy with one more run and an entry in the changelog; the working directory."""
    root = tmp_path / "copy"
    shutil.copytree(made, root)
    write_run(root / "runs" / "conv2d_fsq-002", seed=1)
    text = (root / "CHANGELOG.md").read_text().replace("## [Unreleased]\n", "## [Unreleased]\n\n- more\n")
    (root / "CHANGELOG.md").write_text(text)
    git(root, "commit", "--quiet", "--all", "--message", "more")
    monkeypatch.chdir(root)
    return root


def test_a_version_is_published_compared_pulled_and_verified(hub, made, capsys, tmp_path) -> None:
    """In a clone without binaries."""
    codes = [main(["publish", "v0.1.0"]), main(["verify", "v0.1.0", "--remote", "--download"])]
    shutil.copytree(made, tmp_path / "clone", ignore=shutil.ignore_patterns("*.safetensors", "*.npz"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "clone")
        codes += [main(["pull", "v0.1.0"]), main(["verify", "v0.1.0", "--complete"])]

    assert codes == [0, 0, 0, 0]


def test_published_twice_nothing_is_sent(hub, capsys) -> None:
    """The count is printed."""
    main(["publish", "v0.1.0"])
    capsys.readouterr()
    code = main(["publish", "v0.1.0"])

    assert (code, "0 files sent" in capsys.readouterr().out) == (0, True)


def test_a_dry_run_prints_the_plan_and_changes_nothing(hub, capsys) -> None:
    """The real run takes these steps."""
    code = main(["publish", "v0.1.0", "--dry-run"])
    lines = capsys.readouterr().out.splitlines()

    assert (code, lines[0], lines[-1], len(lines), hub.releases) == (
        0,
        "would create v0.1.0",
        "would publish v0.1.0",
        14,
        [],
    )


def test_a_dry_run_of_a_finished_publication_has_no_steps(hub, capsys) -> None:
    """The release is complete."""
    main(["publish", "v0.1.0"])
    capsys.readouterr()
    main(["publish", "v0.1.0", "--dry-run"])

    assert capsys.readouterr().out == "v0.1.0 is published and complete\n"


def test_a_dry_run_names_other_drafts(hub, capsys) -> None:
    """They are not changed."""
    hub.add_release("v0.1.0", {"x": b"1"}, draft=True)
    main(["publish", "v0.1.0", "--dry-run"])

    assert "another draft for v0.1.0" in capsys.readouterr().err


def test_plan_and_outcome_are_json(hub, capsys) -> None:
    """Neither contains the token."""
    main(["publish", "v0.1.0", "--dry-run", "--json"])
    dry = capsys.readouterr()
    main(["publish", "v0.1.0", "--json"])
    done = capsys.readouterr()

    assert (json.loads(dry.out)["steps"][0], len(json.loads(done.out)["sent"])) == (["create", "v0.1.0"], 12)
    assert hub.token not in f"{dry.out}{dry.err}{done.out}{done.err}"


def test_remote_needs_a_version(hub) -> None:
    """Exit 2."""
    assert main(["verify", "--remote"]) == 2


def test_a_release_with_other_bytes_fails_verification(hub, capsys) -> None:
    """Exit 4, with the digest."""
    main(["publish", "v0.1.0"])
    release = hub.published("v0.1.0")
    next(iter(release.assets.values())).sha256 = "0" * 64

    code, shown = main(["verify", "v0.1.0", "--remote"]), capsys.readouterr().err
    assert (code, "[publish.digest-mismatch]" in shown, "0" * 64 in shown) == (4, True, True)


@pytest.mark.parametrize("command", [["pull", "v0.1.0"], ["verify", "v0.1.0", "--remote"]])
def test_an_unknown_release_is_exit_7(hub, capsys, command) -> None:
    """It was never published."""
    assert (main(command), "[github.release-not-found]" in capsys.readouterr().err) == (7, True)


def test_a_rate_limit_beyond_the_timeout_ends_the_command(hub, capsys) -> None:
    """Exit 7."""
    hub.fail("GET", "/models$", "429", retry_after=30)

    code, shown = main(["publish", "v0.1.0", "--timeout", "5"]), capsys.readouterr().err
    assert (code, "[github.rate-limit]" in shown, "429 API rate limit" in shown) == (7, True, True)


def test_pull_of_a_complete_folder_downloads_nothing(hub, capsys) -> None:
    """A message says that no file was missing."""
    main(["publish", "v0.1.0"])
    main(["pull", "v0.1.0"])

    assert "no file was missing" in capsys.readouterr().out


def test_without_a_repository_the_next_step_names_the_setting(made, tmp_path, monkeypatch, capsys) -> None:
    """modelreg.yaml has no `repository`, and git has no remote."""
    shutil.copytree(made, tmp_path / "copy")
    (tmp_path / "copy/modelreg.yaml").write_text("assets: committed\n")
    monkeypatch.chdir(tmp_path / "copy")

    assert (main(["pull", "v0.1.0"]), "[github.no-repository]" in capsys.readouterr().err) == (3, True)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://github.com/acme/models.git", "acme/models"),
        ("git@github.com:acme/models.git", "acme/models"),
        ("https://github.com/acme/models", "acme/models"),
        ("/srv/models.git", None),
    ],
)
def test_the_repository_is_read_from_origin(tmp_path, url, name) -> None:
    """If modelreg.yaml does not set it."""
    from modelreg.cli.git import origin_repository

    git(tmp_path, "init", "--quiet")
    git(tmp_path, "remote", "add", "origin", url)

    assert origin_repository(tmp_path) == name


def test_a_release_is_committed_tagged_pushed_and_published(hub, second, tmp_path, monkeypatch, capsys) -> None:
    """GitHub knows the tag once it is pushed."""
    from modelreg.cli.git import push_tag

    def push_and_tell(place, tag):
        push_tag(place, tag)
        hub.add_tag(tag, git(second, "rev-parse", f"refs/tags/{tag}^{{commit}}"), annotated=True)

    monkeypatch.setattr("modelreg.cli.git.push_tag", push_and_tell)
    code = main(["release", "v0.2.0", "--roll-changelog", "--publish"])

    assert (code, hub.published("v0.2.0") is not None) == (0, True)


def test_a_publish_that_fails_leaves_the_version(hub, second, tmp_path, monkeypatch, capsys) -> None:
    """The commands that finish the release are printed."""
    git(second, "remote", "set-url", "origin", str(tmp_path / "nowhere"))
    code = main(["release", "v0.2.0", "--roll-changelog", "--publish"])
    shown = capsys.readouterr().err

    assert (code, (second / "registry/conv2d_fsq/v0.2.0").is_dir(), "[git.command-failed]" in shown) == (5, True, True)
    assert "git push origin v0.2.0 && modelreg publish conv2d_fsq@v0.2.0" in shown


def test_a_release_is_not_started_without_a_token(hub, second, monkeypatch, capsys) -> None:
    """Nothing is computed, printed, committed or tagged first."""
    monkeypatch.delenv("GITHUB_TOKEN")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr("modelreg.release.plan.gate_outcomes", lambda *_: pytest.fail("checked the gates"))
    before = git(second, "rev-parse", "HEAD")
    code = main(["release", "v0.2.0", "--roll-changelog", "--publish"])
    shown = capsys.readouterr()

    assert (code, shown.out, "[github.token-missing]" in shown.err) == (3, "", True)
    assert (git(second, "rev-parse", "HEAD"), git(second, "tag"), hub.requests) == (before, "v0.1.0", [])


def test_a_refused_release_does_not_ask_for_a_passphrase(hub, second, monkeypatch, capsys) -> None:
    """The version exists, so the key is not read."""
    monkeypatch.setattr("modelreg.cli.sign.read_key", lambda *_: pytest.fail("read the key"))
    code = main(["release", "v0.1.0", "--run", "runs/conv2d_fsq-002", "--roll-changelog", "--sign-key", "key.pem"])
    shown = capsys.readouterr()

    assert (code, shown.out, "[release.version-exists]" in shown.err) == (5, "", True)


def test_the_steps_on_this_machine_are_json_before_publishing(hub, second, tmp_path, capsys) -> None:
    """They are known even if publishing fails."""
    git(second, "remote", "set-url", "origin", str(tmp_path / "nowhere"))
    main(["release", "v0.2.0", "--roll-changelog", "--publish", "--json"])

    assert json.loads(capsys.readouterr().out)["steps"] == ["version", "changelog", "table", "commit", "tag"]


def test_a_published_release_needs_a_clean_tree(hub, second, capsys) -> None:
    """Nothing is written."""
    (second / "stray").write_text("x")
    code = main(["release", "v0.2.0", "--roll-changelog", "--publish"])

    assert (code, "stray: not committed  [git.uncommitted]" in capsys.readouterr().err) == (5, True)
    assert not (second / "registry/conv2d_fsq/v0.2.0").exists()


def test_a_dry_run_prints_push_and_publish(hub, second, tmp_path, monkeypatch, capsys) -> None:
    """Nothing is pushed."""
    main(["release", "v0.2.0", "--roll-changelog", "--publish", "--dry-run"])

    assert "would push v0.2.0 and publish conv2d_fsq@v0.2.0" in capsys.readouterr().out


def test_ctrl_c_ends_a_publish_that_is_finished_by_running_it_again(hub, heeds_ctrl_c) -> None:
    """During uploads: exit 130, no public release, and no file is stored twice."""
    held = hub.fail("POST", "/assets", "hold", times=2, after=3, seconds=30)
    interrupt = Thread(target=interrupt_when, args=(lambda: held.hits == 2,))
    interrupt.start()
    code = main(["publish", "v0.1.0"])
    interrupt.join()
    half = hub.published("v0.1.0")
    hub.closing.set()  # the server reads on

    assert (code, half, main(["publish", "v0.1.0"])) == (130, None, 0)
    assert stored(hub.requests).most_common(1)[0][1] == 1


def interrupt_when(ready) -> None:
    """Send Ctrl-C once `ready` is true."""
    while not ready():
        time.sleep(0.01)
    signal.pthread_kill(main_thread().ident, signal.SIGINT)


@pytest.mark.parametrize("jobs", ["0", "17"])
def test_the_number_of_uploads_is_limited(hub, jobs) -> None:
    """Exit 2."""
    assert main(["publish", "v0.1.0", "--jobs", jobs]) == 2


def test_uploads_can_be_sequential(hub) -> None:
    """They follow the order of the plan."""
    main(["publish", "v0.1.0", "--jobs", "1"])
    names = [e.request.query["name"] for e in hub.requests if e.origin == "uploads"]

    assert (names[:-2], len(names)) == (sorted(names[:-2]), 12)


def test_a_signature_is_added_to_its_release(hub, second, capsys) -> None:
    """The plan shows it, and `pull` downloads it."""
    main(["publish", "v0.1.0"])
    (second / "registry/conv2d_fsq/v0.1.0/model.sig").write_text("{}")
    git(second, "add", "--all")
    git(second, "commit", "--quiet", "--message", "sign")
    capsys.readouterr()
    codes = [main(["publish", "v0.1.0", "--dry-run"]), main(["publish", "v0.1.0"])]
    codes.append(main(["pull", "v0.1.0", "--out", "got"]))

    assert (codes, capsys.readouterr().out.splitlines()[0]) == ([0, 0, 0], "would upload conv2d_fsq-v0.1.0-model.sig")
    assert (second / "got/model.sig").read_text() == "{}"


def test_a_pull_to_another_folder_is_checked_with_sha256sum(hub, tmp_path, capsys, monkeypatch) -> None:
    """The printed command does it."""
    main(["publish", "v0.1.0"])
    capsys.readouterr()
    main(["pull", "v0.1.0", "--out", str(tmp_path / "got")])
    command = capsys.readouterr().out.splitlines()[-1].removeprefix("next: ")

    assert subprocess.run(["sh", "-c", command], capture_output=True, check=False).returncode == 0


def test_a_pull_into_the_working_directory(hub, tmp_path, monkeypatch) -> None:
    """`--out .`."""
    main(["publish", "v0.1.0"])
    shutil.copy("modelreg.yaml", tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    assert (main(["pull", "v0.1.0", "--out", "."]), (tmp_path / "here/manifest.json").is_file()) == (0, True)


def test_a_transfer_cannot_control_a_terminal() -> None:
    """Names of assets come from a server."""
    stream = io.StringIO()
    with show_transfer(stream) as progress:
        progress("a\x1b[2J\nforged", 2, 2)

    assert stream.getvalue() == "a\\x1b[2J\\nforged: 2 bytes\n"


def test_without_a_terminal_a_transfer_is_a_line() -> None:
    """It is printed once the file is complete."""
    stream = io.StringIO()
    with show_transfer(stream) as tell:
        tell("a", 1, 2)
        tell("a", 2, 2)

    assert stream.getvalue() == "a: 2 bytes\n"


def test_on_a_terminal_each_transfer_is_a_bar(monkeypatch) -> None:
    """Several threads show bytes and rate. A file that is sent again starts over."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    stream = io.StringIO()
    stream.isatty = lambda: True
    with show_transfer(stream) as tell:
        tell("a", 2_000_000, 4_000_000)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda name: tell(name, 1_000_000, 2_000_000), "bc"))
        tell("a", 1_000_000, 4_000_000)
    last = stream.getvalue().rpartition("\x1b[2K")[2]

    assert all(
        re.search(rf"^{name} .*{bytes_}", last, re.MULTILINE)
        for name, bytes_ in (("b", "1.0/2.0 MB"), ("c", "1.0/2.0 MB"))
    )


def test_the_signature_of_a_release_is_checked_with_the_key(hub, second, tmp_path, capsys) -> None:
    """A release without a signature, or with one of another key, fails."""
    key, other = (str(tmp_path / name) for name in ("key.pem", "other.pem"))
    for path in (key, other):
        main(["keygen", "--out", path, "--no-passphrase"])
    main(["publish", "v0.1.0"])
    main(["sign", "v0.1.0", "--key", key])
    check = ["verify", "v0.1.0", "--remote", "--key"]
    codes = [main([*check, key.replace(".pem", ".pub.pem")])]
    git(second, "add", "--all")
    git(second, "commit", "--quiet", "--message", "sign")
    main(["publish", "v0.1.0"])
    codes += [main([*check, path.replace(".pem", ".pub.pem")]) for path in (key, other)]

    assert codes == [4, 0, 4]


def test_a_second_publish_on_this_machine_stops(hub, made, capsys) -> None:
    """Nothing is sent while another process publishes the version."""
    code = f"""
import sys
from pathlib import Path
from modelreg import files
from modelreg.errors import Problem
with files.exclusive(Path({str(made / "registry/conv2d_fsq/v0.1.0")!r}), "", Problem("", "", "")):
    print("locked", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        refused = main(["publish", "v0.1.0"])
        other.communicate()

    assert (refused, "publish.running" in capsys.readouterr().err, hub.releases) == (3, True, [])
    assert main(["publish", "v0.1.0"]) == 0
