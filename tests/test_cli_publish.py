"""`modelreg publish`, `pull`, `verify --remote` and `release --publish`, against a fake of GitHub."""

import io
import json
import re
import shutil
import signal
import subprocess
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
    """A copy with one more run and something to say of it; the working directory."""
    root = tmp_path / "copy"
    shutil.copytree(made, root)
    write_run(root / "runs" / "conv2d_fsq-002", seed=1)
    text = (root / "CHANGELOG.md").read_text().replace("## [Unreleased]\n", "## [Unreleased]\n\n- more\n")
    (root / "CHANGELOG.md").write_text(text)
    git(root, "commit", "--quiet", "--all", "--message", "more")
    monkeypatch.chdir(root)
    return root


def test_the_walk_of_a_release(hub, made, capsys, tmp_path) -> None:
    """Published, compared, pulled by somebody else, verified there."""
    codes = [main(["publish", "v0.1.0"]), main(["verify", "v0.1.0", "--remote", "--download"])]
    shutil.copytree(made, tmp_path / "clone", ignore=shutil.ignore_patterns("*.safetensors", "*.npz"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "clone")
        codes += [main(["pull", "v0.1.0"]), main(["verify", "v0.1.0", "--complete"])]

    assert codes == [0, 0, 0, 0]


def test_published_twice_nothing_is_sent(hub, capsys) -> None:
    """And it says so."""
    main(["publish", "v0.1.0"])
    capsys.readouterr()
    code = main(["publish", "v0.1.0"])

    assert (code, "0 files sent, 12 there" in capsys.readouterr().out) == (0, True)


def test_a_dry_run_prints_the_plan_and_changes_nothing(hub, capsys) -> None:
    """The one that a real run carries out."""
    code = main(["publish", "v0.1.0", "--dry-run"])
    lines = capsys.readouterr().out.splitlines()

    assert (code, lines[0], lines[-1], len(lines), hub.releases) == (
        0,
        "would create v0.1.0",
        "would publish v0.1.0",
        14,
        [],
    )


def test_a_dry_run_after_the_fact_says_that_all_is_done(hub, capsys) -> None:
    """No step is left."""
    main(["publish", "v0.1.0"])
    capsys.readouterr()
    main(["publish", "v0.1.0", "--dry-run"])

    assert capsys.readouterr().out == "v0.1.0 is published as it should be\n"


def test_a_dry_run_names_the_drafts_of_others(hub, capsys) -> None:
    """They are left alone."""
    hub.add_release("v0.1.0", {"x": b"1"}, draft=True)
    main(["publish", "v0.1.0", "--dry-run"])

    assert "is another draft for v0.1.0; it was left alone" in capsys.readouterr().err


def test_plan_and_outcome_are_json(hub, capsys) -> None:
    """For machines."""
    main(["publish", "v0.1.0", "--dry-run", "--json"])
    dry = capsys.readouterr()
    main(["publish", "v0.1.0", "--json"])
    done = capsys.readouterr()

    assert (json.loads(dry.out)["steps"][0], len(json.loads(done.out)["sent"])) == (["create", "v0.1.0"], 12)
    assert hub.token not in f"{dry.out}{dry.err}{done.out}{done.err}"


def test_remote_needs_a_version(hub) -> None:
    """Usage."""
    assert main(["verify", "--remote"]) == 2


def test_a_differing_release_fails_verification(hub, capsys) -> None:
    """Exit 4, with both digests."""
    main(["publish", "v0.1.0"])
    release = hub.published("v0.1.0")
    next(iter(release.assets.values())).sha256 = "0" * 64

    assert (main(["verify", "v0.1.0", "--remote"]), "has sha256 0000" in capsys.readouterr().err) == (4, True)


@pytest.mark.parametrize("command", [["pull", "v0.1.0"], ["verify", "v0.1.0", "--remote"]])
def test_an_unknown_release_is_exit_7(hub, capsys, command) -> None:
    """Nobody published it."""
    assert (main(command), "v0.1.0: has no published release in acme/models" in capsys.readouterr().err) == (7, True)


def test_nobody_waits_longer_than_the_timeout(hub, capsys) -> None:
    """A limit that ends later ends the command."""
    hub.fail("GET", "/models$", "429", retry_after=30)

    assert (main(["publish", "v0.1.0", "--timeout", "5"]), "429 API rate limit" in capsys.readouterr().err) == (7, True)


def test_pull_says_when_nothing_was_missing(hub, capsys) -> None:
    """The folder is whole."""
    main(["publish", "v0.1.0"])
    main(["pull", "v0.1.0"])

    assert "nothing was missing" in capsys.readouterr().out


def test_without_a_repository_nothing_can_be_asked(made, tmp_path, monkeypatch, capsys) -> None:
    """It says where to name it."""
    shutil.copytree(made, tmp_path / "copy")
    (tmp_path / "copy/modelreg.yaml").write_text("assets: committed\n")
    monkeypatch.chdir(tmp_path / "copy")

    assert (main(["pull", "v0.1.0"]), "name it in modelreg.yaml" in capsys.readouterr().err) == (3, True)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://github.com/acme/models.git", "acme/models"),
        ("git@github.com:acme/models.git", "acme/models"),
        ("https://github.com/acme/models", "acme/models"),
        ("/srv/models.git", None),
    ],
)
def test_the_repository_comes_from_origin(tmp_path, url, name) -> None:
    """Where modelreg.yaml says nothing."""
    from modelreg.cli.git import origin_repository

    git(tmp_path, "init", "--quiet")
    git(tmp_path, "remote", "add", "origin", url)

    assert origin_repository(tmp_path) == name


def test_release_and_publish_in_one(hub, second, tmp_path, monkeypatch, capsys) -> None:
    """Commit, tag, push of the tag, and the release; GitHub knows the tag as soon as it is pushed."""
    from modelreg.cli.git import push_tag

    def push_and_tell(place, tag):
        push_tag(place, tag)
        hub.add_tag(tag, git(second, "rev-parse", f"refs/tags/{tag}^{{commit}}"), annotated=True)

    monkeypatch.setattr("modelreg.cli.git.push_tag", push_and_tell)
    code = main(["release", "v0.2.0", "--roll-changelog", "--publish"])

    assert (code, hub.published("v0.2.0") is not None) == (0, True)


def test_a_publish_that_fails_leaves_the_version(hub, second, tmp_path, monkeypatch, capsys) -> None:
    """And says how to go on."""
    git(second, "remote", "set-url", "origin", str(tmp_path / "nowhere"))
    code = main(["release", "v0.2.0", "--roll-changelog", "--publish"])

    assert (
        code,
        (second / "registry/conv2d_fsq/v0.2.0").is_dir(),
        "go on with: git push origin v0.2.0" in capsys.readouterr().err,
    ) == (
        5,
        True,
        True,
    )


def test_as_json_the_steps_on_this_machine_come_before_the_publish(hub, second, tmp_path, capsys) -> None:
    """So they are known where the publish fails."""
    git(second, "remote", "set-url", "origin", str(tmp_path / "nowhere"))
    main(["release", "v0.2.0", "--roll-changelog", "--publish", "--json"])

    assert json.loads(capsys.readouterr().out)["steps"] == ["version", "changelog", "table", "commit", "tag"]


def test_a_release_that_is_published_starts_from_a_clean_tree(hub, second, capsys) -> None:
    """Nothing is staged otherwise."""
    (second / "stray").write_text("x")
    code = main(["release", "v0.2.0", "--roll-changelog", "--publish"])

    assert (code, "stray" in capsys.readouterr().err, (second / "registry/conv2d_fsq/v0.2.0").exists()) == (
        5,
        True,
        False,
    )


def test_a_dry_run_of_both_says_both(hub, second, tmp_path, monkeypatch, capsys) -> None:
    """And does nothing."""
    main(["release", "v0.2.0", "--roll-changelog", "--publish", "--dry-run"])

    assert "would push v0.2.0 and publish conv2d_fsq@v0.2.0" in capsys.readouterr().out


def test_ctrl_c_ends_a_publish_that_is_finished_by_running_it_again(hub, heeds_ctrl_c) -> None:
    """While files are on their way: exit 130 at once, nobody sees a release, and no file is stored twice."""
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
    """Press Ctrl-C."""
    while not ready():
        time.sleep(0.01)
    signal.pthread_kill(main_thread().ident, signal.SIGINT)


@pytest.mark.parametrize("jobs", ["0", "17"])
def test_so_many_at_once_are_too_few_or_too_many(hub, jobs) -> None:
    """Usage."""
    assert main(["publish", "v0.1.0", "--jobs", jobs]) == 2


def test_one_at_a_time_may_be_asked_for(hub) -> None:
    """In the order of the plan."""
    main(["publish", "v0.1.0", "--jobs", "1"])
    names = [e.request.query["name"] for e in hub.requests if e.origin == "uploads"]

    assert (names[:-2], len(names)) == (sorted(names[:-2]), 12)


def test_a_signature_joins_its_release(hub, second, capsys) -> None:
    """The plan says so, and it comes to who pulls."""
    main(["publish", "v0.1.0"])
    (second / "registry/conv2d_fsq/v0.1.0/model.sig").write_text("{}")
    git(second, "add", "--all")
    git(second, "commit", "--quiet", "--message", "sign")
    capsys.readouterr()
    codes = [main(["publish", "v0.1.0", "--dry-run"]), main(["publish", "v0.1.0"])]
    codes.append(main(["pull", "v0.1.0", "--out", "got"]))

    assert (codes, capsys.readouterr().out.splitlines()[0]) == ([0, 0, 0], "would upload conv2d_fsq-v0.1.0-model.sig")
    assert (second / "got/model.sig").read_text() == "{}"


def test_what_is_pulled_elsewhere_is_checked_by_its_sums(hub, tmp_path, capsys, monkeypatch) -> None:
    """Also into the folder where one stands."""
    main(["publish", "v0.1.0"])
    capsys.readouterr()
    main(["pull", "v0.1.0", "--out", str(tmp_path / "got")])
    command = capsys.readouterr().out.splitlines()[-1].removeprefix("next: ")

    assert subprocess.run(["sh", "-c", command], capture_output=True, check=False).returncode == 0


def test_a_pull_into_the_working_directory(hub, tmp_path, monkeypatch) -> None:
    """`--out .`, as one types it."""
    main(["publish", "v0.1.0"])
    shutil.copy("modelreg.yaml", tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    assert (main(["pull", "v0.1.0", "--out", "."]), (tmp_path / "here/manifest.json").is_file()) == (0, True)


def test_files_on_their_way_are_lines_elsewhere() -> None:
    """One when a file is through."""
    stream = io.StringIO()
    with show_transfer(stream) as tell:
        tell("a", 1, 2)
        tell("a", 2, 2)

    assert stream.getvalue() == "a: 2 bytes\n"


def test_files_on_their_way_are_bars_on_a_terminal(monkeypatch) -> None:
    """One each, from several threads, with bytes and rate; a file that is sent again starts over."""
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


def test_the_signature_of_a_release_is_held_against_the_key(hub, second, tmp_path, capsys) -> None:
    """That of the release, not the one here: without it, and with another key's, the check fails."""
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
