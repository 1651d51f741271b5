"""Aliases: their version, their previous versions, and their complete history."""

import json

import pytest
from example_release import carry_out
from example_run import NOW, write_registry, write_run
from hypothesis import given
from hypothesis import strategies as st
from places import places

from modelreg.cli.main import main
from modelreg.errors import InputError, RegistryError
from modelreg.records import base
from modelreg.records.aliases import AliasLog
from modelreg.registry import aliases, version_notes, versions
from modelreg.registry.aliases import Stamp
from modelreg.release.plan import Request
from modelreg.verification import integrity

STAMP = Stamp("Ada <ada@example.org>", NOW, "because")
EMPTY = AliasLog(model="conv2d_fsq")
moves = st.lists(st.tuples(st.sampled_from(["prod", "canary"]), st.sampled_from(["1.0.0", "1.1.0", "2.0.0", None])))


def after(steps) -> AliasLog:
    """Apply steps: a version is promoted; None is a rollback, if one is possible."""
    log = EMPTY
    for alias, version in steps:
        if version:
            log = aliases.promoted(log, alias, version, STAMP)
        elif len(log.standing.get(alias, ())) > 1:
            log = aliases.rolled_back(log, alias, STAMP)
    return log


# The log


@given(moves)
def test_an_alias_is_a_stack(steps) -> None:
    """Promotions push, rollbacks pop. A promotion to the current version changes nothing."""
    model: dict[str, list[str]] = {}
    for alias, version in steps:
        versions = model.setdefault(alias, [])
        if version and versions[-1:] != [version]:
            versions.append(version)
        elif not version and len(versions) > 1:
            versions.pop()

    assert after(steps).standing == {alias: tuple(versions) for alias, versions in model.items() if versions}


@given(moves)
def test_a_log_comes_back(steps) -> None:
    """Each change follows from those before."""
    log = after(steps)

    assert base.validate(log.to_bytes(), AliasLog, "x") == log


@given(moves, st.tuples(st.sampled_from(["prod"]), st.sampled_from(["1.0.0", "2.0.0"])))
def test_a_log_only_grows(steps, step) -> None:
    """Earlier changes are kept."""
    old, new = after(steps), after([*steps, step])

    assert new.changes[: len(old.changes)] == old.changes


@given(moves.filter(lambda steps: len(after(steps).changes) > 1), st.data())
def test_a_change_taken_out_is_found(steps, data) -> None:
    """Except the last change of an alias, which only git keeps."""
    log = after(steps)
    number = data.draw(st.integers(0, len(log.changes) - 1))
    later = [change.alias for change in log.changes[number + 1 :]]
    kept = log.to_document() | {
        "changes": [change for n, change in enumerate(log.to_document()["changes"]) if n != number]
    }
    if log.changes[number].alias in later:
        with pytest.raises(InputError) as caught:
            base.validate(json.dumps(kept).encode(), AliasLog, "x")
        (problem,) = caught.value.problems
        assert (problem.rule, "contradicts the earlier changes" in problem.message) == ("document.invalid-value", True)

        assert [problem.rule for problem in caught.value.problems] == ["document.invalid-value"]


def test_who_when_and_why_are_kept() -> None:
    """With the previous and the new version."""
    log = base.parse(after([("prod", "1.0.0"), ("prod", "2.0.0"), ("prod", None)]).to_bytes(), AliasLog, "x")
    changes = [(c.action, c.previous, c.version, c.by, c.at, c.why) for c in log.changes]

    assert changes == [
        ("promote", None, "1.0.0", *STAMP),
        ("promote", "1.0.0", "2.0.0", *STAMP),
        ("rollback", "2.0.0", "1.0.0", *STAMP),
    ]


@pytest.mark.parametrize(
    ("alias", "rule", "named"), [("prod", "alias.no-previous", "v1.0.0"), ("gone", "alias.unknown", "prod")]
)
def test_an_alias_without_a_previous_version_is_not_rolled_back(alias, rule, named) -> None:
    """The message has the only version, or the existing aliases."""
    with pytest.raises(RegistryError) as caught:
        aliases.rolled_back(after([("prod", "1.0.0")]), alias, STAMP)
    (found,) = caught.value.problems

    assert (found.where, found.rule, named in found.message) == (f"conv2d_fsq@{alias}", rule, True)


@pytest.mark.parametrize("alias", ["latest", "v2", "2nd", "Prod", "a b", "", "../x", "x" * 61])
def test_no_alias_looks_like_something_else(alias) -> None:
    """A version, `latest`, a path."""
    with pytest.raises(InputError, match=f"alias {alias}"):
        aliases.promoted(EMPTY, alias, "1.0.0", STAMP)


# In a registry


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A registry with two versions, as the working directory."""
    write_registry(tmp_path)
    for number, version in enumerate(("v0.1.0", "v0.2.0"), 1):
        run = write_run(tmp_path / "runs" / f"conv2d_fsq-00{number}", seed=number)
        (tmp_path / "CHANGELOG.md").write_text("## [Unreleased]\n\n- x\n")
        carry_out(tmp_path, Request(version, run, roll_changelog=True))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795255200")
    return tmp_path


def promote(reference, alias="production", *more) -> int:
    """Run the command."""
    return main(["promote", reference, alias, "--why", "it passed", "--by", "Ada", *more])


@pytest.mark.parametrize("reference", ["conv2d_fsq@production", "production"])
def test_a_reference_may_be_an_alias(root, reference, capsys) -> None:
    """A command that takes a version also takes an alias."""
    assert promote("v0.1.0") == 0
    capsys.readouterr()
    assert main(["show", reference, "--json"]) == 0

    assert json.loads(capsys.readouterr().out)["manifest"]["version"] == "0.1.0"


def test_an_unknown_alias_is_exit_5(root, capsys) -> None:
    """The message lists the versions and the aliases."""
    promote("v0.1.0")

    assert main(["show", "conv2d_fsq@canary"]) == 5
    said = capsys.readouterr().err
    assert [each in said for each in ("[alias.unknown]", "v0.1.0, v0.2.0", "production")] == [True] * 3


@pytest.mark.parametrize(
    ("name", "rule", "words"),
    [("production", "alias.unknown", "none"), ("conv2d_fsq", "reference.model-only", "conv2d_fsq@latest")],
)
def test_a_name_that_is_not_an_alias_is_refused(root, capsys, name, rule, words) -> None:
    """An unknown alias, and a model without a version."""
    assert main(["show", name]) == 5
    said = capsys.readouterr().err
    assert (f"[{rule}]" in said, words in said) == (True, True)


def test_the_registry_has_no_stray(root) -> None:
    """aliases.json is expected next to the versions."""
    promote("v0.1.0")

    assert (list(versions.find_strays(root)), list(aliases.find_alias_problems(root))) == ([], [])


def test_a_leftover_of_a_killed_promotion_is_a_notice(root) -> None:
    """The next promotion replaces it."""
    left = root / "registry/conv2d_fsq/.aliases.json.tmp"
    left.touch()

    assert (list(versions.find_strays(root)), len(list(versions.find_leftovers(root)))) == ([], 1)
    assert (promote("v0.1.0"), left.exists()) == (0, False)


def test_promoting_twice_changes_nothing(root, capsys) -> None:
    """Exit 0, the same bytes."""
    path = root / "registry/conv2d_fsq/aliases.json"
    promote("v0.1.0")
    before = path.read_bytes()
    capsys.readouterr()

    assert (promote("v0.1.0"), capsys.readouterr().out) == (0, "conv2d_fsq@production is v0.1.0 already\n")
    assert path.read_bytes() == before


def test_rolled_back_is_as_before(root, capsys) -> None:
    """The result is also available as JSON."""
    promote("v0.1.0")
    promote("v0.2.0")
    capsys.readouterr()

    assert main(["rollback", "conv2d_fsq", "production", "--by", "Ada", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "model": "conv2d_fsq",
        "alias": "production",
        "version": "0.1.0",
        "moved": True,
    }


def test_the_history_is_a_table(root, capsys) -> None:
    """Time, versions, author and reason in 80 columns, then the current aliases."""
    promote("v0.1.0")
    promote("v0.2.0")
    main(["rollback", "conv2d_fsq", "production", "--by", "Ada"])
    capsys.readouterr()
    main(["history"])
    lines = capsys.readouterr().out.splitlines()

    assert max(map(len, lines)) <= 80
    assert lines[1].split() == ["2026-11-21", "10:00", "production", "-", "v0.1.0", "Ada", "it", "passed"]
    assert lines[3].split()[2:] == ["production", "v0.2.0", "v0.1.0", "Ada", "rolled", "back:", "-"]
    assert lines[-1] == "production: v0.1.0"


def test_the_history_is_the_document(root, capsys) -> None:
    """A model without changes has an empty history."""
    assert main(["history", "conv2d_fsq"]) == 0
    assert "conv2d_fsq has no aliases" in capsys.readouterr().out
    promote("v0.1.0")
    capsys.readouterr()
    main(["history", "conv2d_fsq", "--json"])

    assert json.loads(capsys.readouterr().out) == versions.aliases(root, "conv2d_fsq").to_document()


def test_the_author_comes_from_git(root, monkeypatch, capsys) -> None:
    """If --by is not given."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Grace Hopper")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "grace@example.org")

    assert main(["promote", "v0.1.0", "production", "--why", "x"]) == 0
    assert versions.aliases(root, "conv2d_fsq").changes[0].by == "Grace Hopper <grace@example.org>"


def test_without_an_author_identity_nothing_is_promoted(root, monkeypatch, capsys) -> None:
    """Exit 3, before the version is hashed and before anything is printed."""
    monkeypatch.setenv("GIT_AUTHOR_NAME", "")
    monkeypatch.setattr(integrity, "inspect", lambda *_: pytest.fail("hashed the version"))

    assert main(["promote", "v0.1.0", "production", "--why", "x"]) == 3
    shown = capsys.readouterr()
    assert (shown.out, "git: no author identity  [git.no-identity]" in shown.err) == ("", True)


def test_an_invalid_alias_is_refused_before_the_version_is_hashed(root, monkeypatch) -> None:
    """Its name is checked first."""
    monkeypatch.setattr(integrity, "inspect", lambda *_: pytest.fail("hashed the version"))

    assert promote("v0.1.0", "Not An Alias") == 3


def test_a_version_that_does_not_verify_is_not_promoted(root, capsys) -> None:
    """Exit 4, and nothing is written."""
    (root / "registry/conv2d_fsq/v0.1.0/model_card.md").write_text("better\n")

    assert promote("v0.1.0") == 4
    assert not (root / "registry/conv2d_fsq/aliases.json").exists()


def test_another_registrys_version_is_not_promoted(root, tmp_path_factory, capsys) -> None:
    """Exit 5."""
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "conv2d_fsq" / "v0.1.0"
    elsewhere.mkdir(parents=True)

    assert promote(str(elsewhere)) == 5


def test_an_unknown_model_has_no_history(root, capsys) -> None:
    """Exit 5."""
    assert (main(["history", "nobody"]), main(["rollback", "nobody", "production", "--by", "Ada"])) == (5, 5)


def test_an_alias_is_not_rolled_back_to_a_missing_version(root, capsys) -> None:
    """The alias is not moved."""
    promote("v0.1.0")
    promote("v0.2.0")
    (root / "registry/conv2d_fsq/v0.1.0").rename(root / "lost")

    assert main(["rollback", "conv2d_fsq", "production", "--by", "Ada"]) == 5
    assert versions.aliases(root, "conv2d_fsq").standing["production"][-1] == "0.2.0"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda d: d | {"model": "other"}, "alias.model-mismatch"),
        (lambda d: d | {"changes": [d["changes"][0] | {"version": "9.9.9"}]}, "alias.version-missing"),
    ],
    ids=["another model", "no version"],
)
def test_a_log_that_does_not_fit_the_registry_is_found(root, change, problem) -> None:
    """`verify` reports the file and the rule."""
    promote("v0.1.0")
    path = root / "registry/conv2d_fsq/aliases.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))

    assert places(aliases.find_alias_problems(root)) == [("conv2d_fsq/aliases.json", problem)]


@pytest.mark.parametrize(
    "change",
    [lambda d: d | {"changes": [*d["changes"], 1]}, lambda d: d | {"changes": d["changes"] * 2}],
    ids=["not a change", "twice"],
)
def test_an_invalid_log_is_found(root, change) -> None:
    """`verify` reports the file and the change."""
    promote("v0.1.0")
    path = root / "registry/conv2d_fsq/aliases.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))

    assert str(next(aliases.find_alias_problems(root))).startswith("conv2d_fsq/aliases.json: changes.1")


def test_a_log_that_cannot_be_read_marks_no_version(tmp_path) -> None:
    """`verify` names it."""
    (tmp_path / "aliases.json").write_text("{")

    assert version_notes.read_notes(tmp_path / "v0.1.0").aliases == ()
