"""The publishing plan: from any state of the server, however often it is interrupted, to one complete release."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg import files
from modelreg.records.manifest import FileEntry, Manifest, Tool
from modelreg.registry import filenames
from modelreg.release.github import plan
from modelreg.release.github.plan import (
    Asset,
    Create,
    Delete,
    Publish,
    RemoteAsset,
    RemoteRelease,
    Upload,
    ExpectedRelease,
    plan_publish,
)


def asset(name: str, content: bytes = b"x") -> Asset:
    """A file with this content."""
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
    """How GitHub lists a file."""
    return RemoteAsset(number, found.name, found.size, "uploaded", found.sha256)._replace(**changes)


def release(*assets: RemoteAsset, **changes) -> RemoteRelease:
    """Our draft with these files."""
    made = RemoteRelease(
        id=7, tag="v1.0.0", draft=True, immutable=False, body=MARKER, assets=assets, upload_url="u", html_url="h"
    )
    return made._replace(**changes)


def kinds(plan: plan.Plan) -> list[str]:
    """The steps, by their names."""
    return [type(step).__name__ for step in plan.steps]


def test_from_nothing_everything_is_done() -> None:
    """A draft first, the files, and publishing last."""
    assert kinds(plan_publish(EXPECTED, [])) == ["Create", "Upload", "Upload", "Upload", "Publish"]


def test_what_is_right_is_not_sent_again() -> None:
    """By name, size and digest."""
    plan = plan_publish(EXPECTED, [release(remote(ASSETS[0]))])

    assert [step.asset for step in plan.steps if isinstance(step, Upload)] == list(ASSETS[1:])


@pytest.mark.parametrize(
    "changes", [{"state": "starter"}, {"sha256": "0" * 64}, {"size": 99}, {"sha256": None}, {"name": "other"}]
)
def test_what_is_not_right_is_replaced(changes) -> None:
    """Half-uploaded, of other bytes, of an unknown digest, or a stranger's: deleted from the draft first."""
    wrong = remote(ASSETS[0], **changes)
    plan = plan_publish(EXPECTED, [release(wrong, *(remote(a, 2) for a in ASSETS[1:]))])

    assert plan.steps == (Delete(wrong), Upload(ASSETS[0]), Publish())


def test_a_complete_draft_is_published() -> None:
    """Nothing is sent."""
    assert kinds(plan_publish(EXPECTED, [release(*map(remote, ASSETS))])) == ["Publish"]


def test_a_finished_release_is_left_alone() -> None:
    """Run again, it is no step and no conflict."""
    plan = plan_publish(EXPECTED, [release(*map(remote, ASSETS), draft=False)])

    assert (plan.steps, plan.conflicts) == ((), ())


def test_other_bytes_under_a_published_tag_are_a_conflict() -> None:
    """Both digests are named, and nothing is done."""
    wrong = remote(ASSETS[0], sha256="0" * 64)
    plan = plan_publish(EXPECTED, [release(wrong, *map(remote, ASSETS[1:]), draft=False)])

    assert (plan.steps, str(plan.conflicts[0])) == (
        (),
        f"{ASSETS[0].name}: has sha256 {'0' * 64} there, {ASSETS[0].sha256} here",
    )


@pytest.mark.parametrize(
    ("there", "problem"),
    [
        (ASSETS[1:], "m-v1.0.0-a.json: is missing"),
        ((*ASSETS, asset("stranger")), "stranger: is there, but not part of the version"),
    ],
)
def test_a_published_release_of_other_files_is_a_conflict(there, problem) -> None:
    """Too few, or too many."""
    plan = plan_publish(EXPECTED, [release(*map(remote, there), draft=False)])

    assert list(map(str, plan.conflicts)) == [problem]


@pytest.mark.parametrize(
    ("immutable", "there", "steps", "conflicts"),
    [
        (False, (), ["Upload"], []),
        (False, ({"state": "starter"},), ["Delete", "Upload"], []),
        (True, (), [], ["cannot join the release any more: it is immutable"]),
        (False, ({"size": 9},), [], ["has 9 bytes there, 3 here"]),
        (False, ({},), [], []),
    ],
)
def test_only_a_signature_may_come_later(immutable, there, steps, conflicts) -> None:
    """It joins a published release that lacks it, or has it half."""
    found = [*map(remote, ASSETS), *(remote(SIGNED.assets[-1], 9, **changes) for changes in there)]
    plan = plan_publish(SIGNED, [release(*found, draft=False, immutable=immutable)])

    assert (kinds(plan), [problem.what for problem in plan.conflicts]) == (steps, conflicts)


def test_nothing_joins_a_release_of_other_files() -> None:
    """The conflict is told, and no step is taken."""
    plan = plan_publish(SIGNED, [release(*map(remote, ASSETS[1:]), draft=False)])

    assert (plan.steps, len(plan.conflicts)) == ((), 1)


def test_a_draft_that_lost_its_tag_is_still_ours() -> None:
    """By the marker in its text; a published release of another tag is none of ours, whatever it says."""
    plans = [plan_publish(EXPECTED, [release(tag="untagged-1", draft=draft)]) for draft in (True, False)]

    assert [plan.release and plan.release.id for plan in plans] == [7, None]


def test_drafts_of_others_are_named_and_left_alone() -> None:
    """Ours bears the digest of our manifest."""
    plan = plan_publish(EXPECTED, [release(body="mine", id=3, html_url="theirs"), release()])

    assert (plan.release.id, [problem.where for problem in plan.notices]) == (7, ["theirs"])


def test_of_two_drafts_of_ours_the_fuller_one_is_gone_on_with() -> None:
    """The other is named."""
    plan = plan_publish(EXPECTED, [release(id=1, html_url="empty"), release(remote(ASSETS[0]), id=2)])

    assert (plan.release.id, [problem.where for problem in plan.notices]) == (2, ["empty"])


def test_releases_of_other_tags_are_none_of_ours() -> None:
    """Whatever they hold."""
    assert kinds(plan_publish(EXPECTED, [release(tag="v0.9.0", draft=False)]))[0] == "Create"


@dataclass
class Server:
    """GitHub in a few lines: it does what a step says, or half of it."""

    releases: list[RemoteRelease] = field(default_factory=list)
    published_times: int = 0
    sent: list[str] = field(default_factory=list)

    def act(self, plan: plan.Plan, step: plan.Step, *, half: bool) -> None:
        """Carry out a step; `half` leaves an upload as a starter, and loses the answer of anything else."""
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
def test_a_publish_that_is_interrupted_anywhere_can_be_finished(kills: list[tuple[int, bool]]) -> None:
    """However often: in the end one complete release, published once, nothing finished sent twice."""
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
    """A manifest of these files."""
    return Manifest(
        model="m",
        version="1.0.0",
        created="2026-11-21T10:00:00Z",
        tool=Tool(version="0.2.0"),
        git=None,
        files=tuple(FileEntry(path=path, sha256="a" * 64, size=size, stored="asset") for path in paths),
    )


def assets(*paths: str, size: int = 1) -> tuple[Asset, ...]:
    """The assets of a version."""
    return plan.assets_of(manifest(*paths, size=size), "b" * 64, 10, None)


def test_names_are_flat() -> None:
    """A release has no folders."""
    assert [a.name for a in assets("onnx/model.onnx")] == [
        "m-v1.0.0-onnx-model.onnx",
        "m-v1.0.0-manifest.json",
        "m-v1.0.0-sha256sum.txt",
    ]


def test_the_sums_are_of_the_flat_names() -> None:
    """What `gh release download` puts into one folder."""
    sums = assets("onnx/model.onnx")[-1].content

    assert sums == f"{'b' * 64}  m-v1.0.0-manifest.json\n{'a' * 64}  m-v1.0.0-onnx-model.onnx\n".encode()


def test_a_signature_goes_with_it() -> None:
    """Where there is one; the sums do not list what may come after them."""
    found = plan.assets_of(manifest("a"), "b" * 64, 10, Asset("", filenames.SIGNATURE, 5, "c" * 64))

    assert ("m-v1.0.0-model.sig" in [a.name for a in found], b"model.sig" in found[-2].content) == (True, False)


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (assets("a", size=0), "m-v1.0.0-a: has 0 bytes"),
        (assets("a", size=2**31), "m-v1.0.0-a: has 2147483648 bytes"),
        (assets("a-b", "a/b"), "m-v1.0.0-a-b: a/b and a-b would have one name"),
        ((asset("a b"),), "a b: GitHub would rename it"),
        ((asset("a..b"),), "a..b: GitHub would rename it"),
        ((asset("ab."),), "ab.: GitHub would rename it"),
        (tuple(asset(f"a{n}") for n in range(1001)), "assets: 1001 files"),
    ],
)
def test_what_github_would_refuse_or_rename_is_found_before(found, problem) -> None:
    """Nothing is sent first."""
    assert str(next(plan.find_unfit(found))).startswith(problem)


def test_what_fits_is_no_problem() -> None:
    """A usual version."""
    assert list(plan.find_unfit(assets("checkpoint.safetensors", "onnx/model.onnx"))) == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.json", "application/json"), ("a.safetensors", "application/octet-stream"), ("a.md", "text/markdown")],
)
def test_content_types_go_by_the_ending(name, kind) -> None:
    """What a browser makes of it."""
    assert asset(name).content_type == kind


def expected_of(version: str = "1.0.0", *, highest: bool = True) -> ExpectedRelease:
    """The release of a version with the example's metrics."""
    import numpy as np
    from example_run import eval_metrics, predictions

    measured = eval_metrics(predictions(np.random.default_rng(0)), "a" * 64, "b" * 64)
    made = manifest("a").model_copy(update={"version": version})
    found = plan.assets_of(made, "b" * 64, 10, None)
    return plan.expected_release(made, f"v{version}", "### Added\n\n- x", measured, found, highest=highest)


def test_notes_hold_changes_numbers_instructions_and_the_marker() -> None:
    """All that a reader needs, and what tells our drafts."""
    body = expected_of().body

    assert all(
        part in body
        for part in ("### Added", "| accuracy |", "sha256sum -c m-v1.0.0-sha256sum.txt", expected_of().marker)
    )


@pytest.mark.parametrize(
    ("version", "highest", "found"),
    [("1.0.0", True, (False, True)), ("1.0.0", False, (False, False)), ("1.0.0-rc.1", True, (True, False))],
)
def test_only_the_highest_stable_version_is_the_latest(version, highest, found) -> None:
    """And a pre-release says that it is one."""
    made = expected_of(version, highest=highest)

    assert (made.prerelease, made.latest) == found


def test_sizes_that_differ_are_named() -> None:
    """Where no digest says more."""
    wrong = remote(ASSETS[0], size=99, sha256=None)
    plan = plan_publish(EXPECTED, [release(wrong, *map(remote, ASSETS[1:]), draft=False)])

    assert str(plan.conflicts[0]) == f"{ASSETS[0].name}: has 99 bytes there, {ASSETS[0].size} here"


def test_a_half_upload_under_a_published_tag_is_a_conflict() -> None:
    """It was never whole."""
    wrong = remote(ASSETS[0], state="starter")
    plan = plan_publish(EXPECTED, [release(wrong, *map(remote, ASSETS[1:]), draft=False)])

    assert str(plan.conflicts[0]) == f"{ASSETS[0].name}: was never uploaded to its end"
