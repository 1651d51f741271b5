"""A folder that cannot be written is found before anything is computed."""

import os
from pathlib import Path

import pytest
from example_export import write_export
from example_run import write_registry, write_run
from places import places

from modelreg import files
from modelreg.cli.main import main
from modelreg.errors import InputError

RUN = "runs/conv2d_fsq-001"
COMMANDS = {
    "train": "runs",
    "ablate ablation.yaml": "runs",
    "import old.pth --as conv2d_fsq": "runs",
    f"evaluate {RUN}": RUN,
    f"evaluate {RUN} --protocol loso": RUN,
    f"evaluate {RUN} --protocol random": RUN,
    f"export {RUN}": RUN,
    f"export {RUN} --out closed/onnx": "closed",
    f"bench {RUN} --out closed/latency.json": "closed",
    f"compare {RUN} {RUN} --html closed/page.html": "closed",
    "data check sample --out closed/quality": "closed",
    "release v0.1.0": "registry",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A registry with a run; the working directory."""
    root = write_registry(tmp_path / "r")
    run = write_run(root / RUN)
    write_export(run, files.sha256(run / "checkpoint.safetensors"))
    (root / "closed").mkdir()
    (root / "ablation.yaml").write_text("model: {name: conv2d_fsq_hsmm}\n")
    monkeypatch.chdir(root)
    return root


def close(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make a folder read-only, also for root, whom permissions do not stop."""
    allowed = os.access

    def access(path, mode: int) -> bool:
        return not (mode & os.W_OK and Path(path).is_relative_to(folder)) and allowed(path, mode)

    patch.setattr(os, "access", access)


@pytest.mark.needs("torch", "onnxruntime", "matplotlib")
@pytest.mark.parametrize(("command", "closed"), COMMANDS.items(), ids=COMMANDS)
def test_a_read_only_folder_is_found_first(here, monkeypatch, capsys, command, closed) -> None:
    """Exit 3, at the folder, before anything is read or written."""
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*")}
    close(monkeypatch, here / closed)
    monkeypatch.setattr("modelreg.cli.host.reading", lambda *_, **__: pytest.fail("reads recordings"))
    code = main(command.split())
    shown = capsys.readouterr().err

    assert (code, "[files.not-writable]" in shown, str(here / closed) in shown) == (3, True, True)
    assert {path: path.stat().st_mtime_ns for path in here.rglob("*")} == before


def test_the_nearest_existing_folder_decides(tmp_path, monkeypatch) -> None:
    """For a file or a folder that does not exist yet."""
    (tmp_path / "open").mkdir()
    close(monkeypatch, tmp_path / "closed")
    (tmp_path / "closed").mkdir()
    files.refuse_unwritable(tmp_path / "open/new/file.json", tmp_path / "open")
    with pytest.raises(InputError) as caught:
        files.refuse_unwritable(tmp_path / "closed/a/b.json", tmp_path / "closed", tmp_path / "open")

    assert places(caught.value.problems) == [(str(tmp_path / "closed"), "files.not-writable")]
