"""The publishing plan leads from any state of the server to one complete release, also after interruptions."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import places

from modelreg import files
from modelreg.documents.report.formatting import escape
from modelreg.records.manifest import FileEntry, Manifest, Tool
from modelreg.records.metrics import FoldMetrics
from modelreg.registry import filenames
from modelreg.release.github import plan
from modelreg.release.github.plan import (
    Asset,
    Create,
    Delete,
    ExpectedRelease,
    Publish,
    RemoteAsset,
    RemoteRelease,
    Upload,
    Withdraw,
    plan_publish,
)


def asset(name: str, content: bytes = b"x") -> Asset:
    """Return a file with this content."""
    return Asset(name, name, len(content), files.sha256_bytes(content))


ASSETS = tuple(asset(f"m-v1.0.0-{name}", name.encode()) for name in ("a.json", "b.onnx", "c.tar.gz"))
MARKER = "<!-- modelreg manifest sha256:abc -->"
EXPECTED = ExpectedRelease(
    tag="v1.0.0",
    title="m v1.0.0",
    body=f"notes {MARKER}",
    prerelease=False,
    latest=True,
    marker=MARKER,
    signature="m-v1.0.0-model.sig",
    assets=ASSETS,
)
SIGNED = EXPECTED._replace(assets=(*ASSETS, asset(EXPECTED.signature, b"sig")))


def remote(found: Asset, number: int = 1, **changes) -> RemoteAsset:
    """Return a file as GitHub lists it."""
    return RemoteAsset(number, found.name, found.size, "uploaded", found.sha256)._replace(**changes)


def release(*assets: RemoteAsset, **changes) -> RemoteRelease:
    """Return our draft with these files."""
    made = RemoteRelease(
        id=7, tag="v1.0.0", draft=True, immutable=False, body=MARKER, assets=assets, upload_url="u", html_url="h"
    )
    return made._replace(**changes)


def kinds(plan: plan.Plan) -> list[str]:
    """Return the steps by their names."""
    return [type(step).__name__ for step in plan.steps]


def test_without_a_release_every_step_is_planned() -> None:
    """The draft is created first and made public last."""
    assert kinds(plan_publish(EXPECTED, [])) == ["Create", "Upload", "Upload", "Upload", "Publish"]


def test_a_file_with_the_right_digest_is_not_sent_again() -> None:
    """Name, size and digest must match."""
    plan = plan_publish(EXPECTED, [release(remote(ASSETS[0]))])

    assert [step.asset for step in plan.steps if isinstance(step, Upload)] == list(ASSETS[1:])


@pytest.mark.parametrize(
    "changes", [{"state": "starter"}, {"sha256": "0" * 64}, {"size": 99}, {"sha256": None}, {"name": "other"}]
)
def test_a_wrong_file_in_our_draft_is_replaced(changes) -> None:
    """An incomplete upload, other bytes, an unknown digest or an unexpected file is deleted first."""
    wrong = remote(ASSETS[0], **changes)
    plan = plan_publish(EXPECTED, [release(wrong, *(remote(a, 2) for a in ASSETS[1:]))])

    assert plan.steps == (Delete(wrong), Upload(ASSETS[0]), Publish())


def test_a_complete_draft_is_published() -> None:
    """Nothing is sent."""
    assert kinds(plan_publish(EXPECTED, [release(*map(remote, ASSETS))])) == ["Publish"]


def test_a_complete_release_has_no_steps() -> None:
    """Nor any conflict."""
    plan = plan_publish(EXPECTED, [release(*map(remote, ASSETS), draft=False)])

    assert (plan.steps, plan.conflicts) == ((), ())


def test_other_bytes_under_a_published_tag_are_a_conflict() -> None:
    """Both digests are named, and nothing is done."""
    wrong = remote(ASSETS[0], sha256="0" * 64)
    plan = plan_publish(EXPECTED, [release(wrong, *map(remote, ASSETS[1:]), draft=False)])

    (conflict,) = plan.conflicts
    assert (plan.steps, conflict.where, conflict.rule) == ((), ASSETS[0].name, "publish.digest-mismatch")
    assert all(digest in conflict.message for digest in ("0" * 64, ASSETS[0].sha256))


@pytest.mark.parametrize(
    ("there", "problem"),
    [
        (ASSETS[1:], ("m-v1.0.0-a.json", "publish.file-missing")),
        ((*ASSETS, asset("stranger")), ("stranger", "publish.file-unexpected")),
    ],
)
def test_a_published_release_of_other_files_is_a_conflict(there, problem) -> None:
    """Missing files and unexpected ones."""
    plan = plan_publish(EXPECTED, [release(*map(remote, there), draft=False)])

    assert places(plan.conflicts) == [problem]


@pytest.mark.parametrize(
    ("immutable", "there", "steps", "conflicts"),
    [
        (False, (), ["Upload"], []),
        (False, ({"state": "starter"},), ["Delete", "Upload"], []),
        (True, (), [], ["publish.release-immutable"]),
        (False, ({"size": 9},), [], ["publish.size-mismatch"]),
        (False, ({},), [], []),
    ],
)
def test_only_a_signature_is_added_to_a_published_release(immutable, there, steps, conflicts) -> None:
    """If it is missing or incomplete."""
    found = [*map(remote, ASSETS), *(remote(SIGNED.assets[-1], 9, **changes) for changes in there)]
    plan = plan_publish(SIGNED, [release(*found, draft=False, immutable=immutable)])

    assert (kinds(plan), [problem.rule for problem in plan.conflicts]) == (steps, conflicts)


def test_nothing_is_added_to_a_release_with_a_conflict() -> None:
    """The conflict is reported, and no step is planned."""
    plan = plan_publish(SIGNED, [release(*map(remote, ASSETS[1:]), draft=False)])

    assert (plan.steps, len(plan.conflicts)) == ((), 1)


def test_a_draft_that_lost_its_tag_is_still_ours() -> None:
    """The marker in its text identifies it. A published release of another tag is not ours."""
    plans = [plan_publish(EXPECTED, [release(tag="untagged-1", draft=draft)]) for draft in (True, False)]

    assert [plan.release and plan.release.id for plan in plans] == [7, None]


def test_other_drafts_are_named_and_not_changed() -> None:
    """Our draft contains the digest of our manifest."""
    plan = plan_publish(EXPECTED, [release(body="mine", id=3, html_url="theirs"), release()])

    assert (plan.release.id, [problem.where for problem in plan.notices]) == (7, ["theirs"])


def test_of_two_drafts_of_ours_the_one_with_the_lowest_number_is_completed() -> None:
    """Every process chooses the same one; the other is named."""
    plan = plan_publish(EXPECTED, [release(remote(ASSETS[0]), id=2, html_url="other"), release(id=1)])

    assert (plan.release.id, [notice.where for notice in plan.notices]) == (1, ["other"])


@pytest.mark.parametrize("older", [release(id=1), release(*map(remote, ASSETS), id=9, draft=False)])
def test_a_draft_of_this_process_is_deleted_where_another_release_is_chosen(older) -> None:
    """An older draft, or one that another process has made public."""
    own = release(remote(ASSETS[0]), id=8)
    plan = plan_publish(EXPECTED, [older, own], created=8)

    assert (plan.release, plan.steps[0], plan.notices) == (older, Withdraw(own), ())


def test_a_draft_with_a_file_of_somebody_else_is_not_deleted() -> None:
    """It is named."""
    own = release(remote(asset("stranger")), id=8, html_url="own")
    plan = plan_publish(EXPECTED, [release(id=1), own], created=8)

    assert (kinds(plan).count("Withdraw"), [notice.where for notice in plan.notices]) == (0, ["own"])


def test_a_fresh_incomplete_upload_is_neither_replaced_nor_published() -> None:
    """Another process may be sending it; the other files are sent meanwhile."""
    fresh = remote(ASSETS[0], 5, state="starter", size=0, sha256=None)
    plan = plan_publish(EXPECTED, [release(fresh)], fresh={5})

    assert (plan.steps, plan.busy) == ((Upload(ASSETS[1]), Upload(ASSETS[2])), (fresh,))


def test_a_fresh_upload_of_a_signature_to_a_published_release_is_waited_for() -> None:
    """As in a draft."""
    fresh = remote(SIGNED.assets[-1], 5, state="starter", size=0, sha256=None)
    plan = plan_publish(SIGNED, [release(*map(remote, ASSETS), fresh, draft=False)], fresh={5})

    assert (plan.steps, plan.conflicts, plan.busy) == ((), (), (fresh,))


def test_a_conflict_is_not_waited_for() -> None:
    """Whatever is uploaded meanwhile."""
    fresh = remote(SIGNED.assets[-1], 5, state="starter", size=0, sha256=None)
    other = remote(ASSETS[0], sha256="0" * 64)
    plan = plan_publish(SIGNED, [release(other, *map(remote, ASSETS[1:]), fresh, draft=False)], fresh={5})

    assert (len(plan.conflicts), plan.steps, plan.busy) == (1, (), ())


def test_releases_of_other_tags_are_ignored() -> None:
    """A draft is created."""
    assert kinds(plan_publish(EXPECTED, [release(tag="v0.9.0", draft=False)]))[0] == "Create"


@dataclass
class Server:
    """A minimal GitHub, which carries out a step or half of it."""

    releases: list[RemoteRelease] = field(default_factory=list)
    published_times: int = 0
    sent: list[str] = field(default_factory=list)

    def act(self, plan: plan.Plan, step: plan.Step, *, half: bool) -> None:
        """Carry out a step; `half` leaves an upload incomplete, and loses the answer of any other step."""
        draft = plan.release or (self.releases[-1] if self.releases else None)
        if isinstance(step, Create):
            self.releases.append(release(id=len(self.releases) + 1))
        elif draft is not None:
            self.releases = [self._changed(r, step, half) if r.id == draft.id else r for r in self.releases]

    def _changed(self, found: RemoteRelease, step: plan.Step, half: bool) -> RemoteRelease:
        if isinstance(step, Delete):
            return found._replace(assets=tuple(a for a in found.assets if a != step.asset))
        if isinstance(step, Upload):
            if not half:
                self.sent.append(step.asset.name)
            new = remote(step.asset, 50 + len(found.assets), **({"state": "starter", "sha256": None} if half else {}))
            return found._replace(assets=(*found.assets, new))
        assert {a.state for a in found.assets} == {"uploaded"}
        assert len(found.assets) == len(ASSETS)
        self.published_times += 1
        return found._replace(draft=False)


@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=8))
def test_a_publication_that_is_interrupted_anywhere_can_be_finished(kills: list[tuple[int, bool]]) -> None:
    """There is one complete release, published once, and no finished file is sent twice."""
    server = Server()
    for stop, half in [*kills, (99, False)]:
        plan = plan_publish(EXPECTED, server.releases)
        for number, step in enumerate(plan.steps):
            if number == stop:
                if half:
                    server.act(plan, step, half=True)
                break
            server.act(plan, step, half=False)
    complete = [r for r in server.releases if not r.draft]

    assert (
        len(complete),
        server.published_times,
        sorted(server.sent),
        plan_publish(EXPECTED, server.releases).steps,
    ) == (
        1,
        1,
        sorted(a.name for a in ASSETS),
        (),
    )


def manifest(*paths: str, size: int = 1) -> Manifest:
    """Return a manifest of these files."""
    return Manifest(
        model="m",
        version="1.0.0",
        created="2026-11-21T10:00:00Z",
        tool=Tool(version="0.2.0"),
        git=None,
        files=tuple(FileEntry(path=path, sha256="a" * 64, size=size, stored="asset") for path in paths),
    )


def assets(*paths: str, size: int = 1) -> tuple[Asset, ...]:
    """Return the assets of a version with these files."""
    return plan.assets_of(manifest(*paths, size=size), "b" * 64, 10, None)


def test_names_are_flat() -> None:
    """A release has no folders."""
    assert [a.name for a in assets("onnx/model.onnx")] == [
        "m-v1.0.0-onnx-model.onnx",
        "m-v1.0.0-manifest.json",
        "m-v1.0.0-sha256sum.txt",
    ]


def test_the_sums_use_the_flat_names() -> None:
    """`gh release download` writes all files into one folder."""
    sums = assets("onnx/model.onnx")[-1].content

    assert sums == f"{'b' * 64}  m-v1.0.0-manifest.json\n{'a' * 64}  m-v1.0.0-onnx-model.onnx\n".encode()


def test_a_signature_is_an_asset() -> None:
    """The sums do not list it, because it may be added later."""
    found = plan.assets_of(manifest("a"), "b" * 64, 10, Asset("", filenames.SIGNATURE, 5, "c" * 64))

    assert ("m-v1.0.0-model.sig" in [a.name for a in found], b"model.sig" in found[-2].content) == (True, False)


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (assets("a", size=0), ("m-v1.0.0-a", "publish.file-size")),
        (assets("a", size=2**31), ("m-v1.0.0-a", "publish.file-size")),
        (assets("a-b", "a/b"), ("m-v1.0.0-a-b", "publish.name-collision")),
        ((asset("a b"),), ("a b", "publish.file-name")),
        ((asset("a..b"),), ("a..b", "publish.file-name")),
        ((asset("ab."),), ("ab.", "publish.file-name")),
        (tuple(asset(f"a{n}") for n in range(1001)), ("assets", "publish.too-many-files")),
    ],
)
def test_files_that_github_would_refuse_or_rename_are_found(found, problem) -> None:
    """Before anything is sent."""
    assert places(plan.find_unfit(found)) == [problem]


def test_usual_files_fit() -> None:
    """They have no problem."""
    assert list(plan.find_unfit(assets("checkpoint.safetensors", "onnx/model.onnx"))) == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.json", "application/json"), ("a.safetensors", "application/octet-stream"), ("a.md", "text/markdown")],
)
def test_content_types_follow_the_suffix(name, kind) -> None:
    """A browser shows text and downloads the rest."""
    assert asset(name).content_type == kind


def fold(number: int) -> FoldMetrics:
    """Return a fold that tests one subject."""
    return FoldMetrics(
        name=f"kfold3-{number:02d}",
        tested=(f"s{number}",),
        validated=("v",),
        windows=1,
        accuracy=1.0,
        balanced_accuracy=1.0,
        macro_f1=1.0,
        codes=None,
        checkpoint_sha256="a" * 64,
        predictions_sha256="b" * 64,
    )


def expected_of(
    version: str = "1.0.0", *, highest: bool = True, subjects: tuple[str, ...] = (), folds: int = 0
) -> ExpectedRelease:
    """Return the release of a version with the example's metrics."""
    import numpy as np
    from example_run import eval_metrics, predictions

    measured = eval_metrics(predictions(np.random.default_rng(0)), "a" * 64, "b" * 64)
    if subjects:
        test = measured.protocol.tested.model_copy(update={"subjects": subjects})
        parts = measured.protocol.parts.model_copy(update={"test": test})
        measured = measured.model_copy(update={"protocol": measured.protocol.model_copy(update={"parts": parts})})
    if folds:
        named = tuple(map(fold, range(folds)))
        crossed = measured.protocol.model_copy(update={"kind": "kfold-subject", "folds": named})
        measured = measured.model_copy(update={"protocol": crossed})
    made = manifest("a").model_copy(update={"version": version})
    found = plan.assets_of(made, "b" * 64, 10, None)
    return plan.expected_release(made, f"v{version}", "### Added\n\n- x", measured, found, highest=highest)


def test_notes_contain_changes_metrics_instructions_and_the_marker() -> None:
    """The marker identifies our drafts."""
    body = expected_of().body

    assert all(
        part in body
        for part in ("### Added", "| accuracy |", "sha256sum -c m-v1.0.0-sha256sum.txt", expected_of().marker)
    )


def test_the_notes_of_a_cross_fitted_version_do_not_say_that_it_was_tested() -> None:
    """The models of its folds were."""
    body = expected_of(folds=3).body

    assert "(each predicted by one of 3 models that never saw the subject)" in body
    assert "the model was" not in body


def test_a_name_in_the_notes_cannot_forge_markdown() -> None:
    """A subject's name comes from a file."""
    subject = "a|b](http://x) <img src=x>\n# Forged\x1b[2J"
    body = expected_of(subjects=(subject,)).body

    assert f"windows of {escape(subject)} (" in body
    assert [line for line in body.splitlines() if "Forged" in line and not line.startswith("Metrics on ")] == []
    assert r"\<img" in body


@pytest.mark.parametrize(
    ("version", "highest", "found"),
    [("1.0.0", True, (False, True)), ("1.0.0", False, (False, False)), ("1.0.0-rc.1", True, (True, False))],
)
def test_only_the_highest_stable_version_is_the_latest(version, highest, found) -> None:
    """A pre-release is marked as one."""
    made = expected_of(version, highest=highest)

    assert (made.prerelease, made.latest) == found


def test_a_different_size_is_a_conflict() -> None:
    """Even without a digest."""
    wrong = remote(ASSETS[0], size=99, sha256=None)
    plan = plan_publish(EXPECTED, [release(wrong, *map(remote, ASSETS[1:]), draft=False)])

    assert places(plan.conflicts) == [(ASSETS[0].name, "publish.size-mismatch")]


def test_an_incomplete_upload_in_a_published_release_is_a_conflict() -> None:
    """Only a signature is sent again."""
    wrong = remote(ASSETS[0], state="starter")
    plan = plan_publish(EXPECTED, [release(wrong, *map(remote, ASSETS[1:]), draft=False)])

    assert places(plan.conflicts) == [(ASSETS[0].name, "publish.upload-incomplete")]
