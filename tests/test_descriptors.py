"""descriptors: locks of folders, and what else differs between systems."""

import contextlib
import mmap
import os
import socket
import subprocess
import sys
import tempfile
import threading
from types import SimpleNamespace

import pytest
from places import places

from modelreg import descriptors, files
from modelreg.errors import InputError
from modelreg.verification import keys

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
HOLD = """
import sys, tempfile
from pathlib import Path
from modelreg import descriptors
descriptors.OPENS_FOLDERS, tempfile.tempdir = {opens!r}, {temporary!r}
descriptors.lock(Path(sys.argv[1]), wait=False)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=[True, False], ids=["folder", "lock file"])
def folder(request, tmp_path, monkeypatch):
    """A folder, on a system that opens folders and on one that does not."""
    monkeypatch.setattr(descriptors, "OPENS_FOLDERS", request.param)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


@contextlib.contextmanager
def locked(folder, *, wait=False):
    """Hold the lock of a folder."""
    descriptor = descriptors.lock(folder, wait=wait)
    try:
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def held_by_another(folder):
    """Hold the lock of a folder in another process; it is killed at the end."""
    code = HOLD.format(opens=descriptors.OPENS_FOLDERS, temporary=tempfile.gettempdir())
    command = [sys.executable, "-c", code, folder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield
        process.kill()


def test_a_locked_folder_is_locked_for_another_process(folder) -> None:
    """It can ask without waiting."""
    with held_by_another(folder):
        assert files.is_locked(folder)


def test_a_killed_process_holds_no_lock(folder) -> None:
    """The system releases it."""
    with held_by_another(folder):
        pass

    assert not files.is_locked(folder)


def test_a_closed_lock_can_be_taken_again(folder) -> None:
    """By the same process."""
    with locked(folder):
        pass
    with locked(folder):
        assert files.is_locked(folder)


def test_a_lock_waits_for_another(folder) -> None:
    """If asked to."""
    descriptor = descriptors.lock(folder, wait=False)
    later = threading.Timer(0.2, os.close, [descriptor])
    later.start()
    with locked(folder, wait=True):
        assert later.finished.is_set()


def test_a_lock_leaves_nothing_in_the_folder(folder) -> None:
    """And nothing next to it: a folder of the registry has only its files."""
    with locked(folder):
        found = [*folder.iterdir(), *folder.parent.iterdir()]

    assert sorted(path.name for path in found) == ["folder", "temporary"]


def test_a_lock_follows_the_folder_not_its_name(folder) -> None:
    """A staged folder gets its final name while it is locked; a new one of the old name is free."""
    with locked(folder):
        renamed = folder.rename(folder.with_name("final"))
        folder.mkdir()

        assert (files.is_locked(renamed), files.is_locked(folder)) == (True, False)


@pytest.mark.parametrize(("name", "error"), [("file", NotADirectoryError), ("missing", FileNotFoundError)])
def test_only_a_folder_is_locked(folder, name, error) -> None:
    """A file and a missing folder are refused."""
    (folder / "file").touch()
    with pytest.raises(error):
        descriptors.lock(folder / name, wait=False)


def test_a_link_to_a_folder_is_not_locked(folder) -> None:
    """Where it leads may change."""
    (folder / "link").symlink_to(folder)
    with pytest.raises(OSError, match="link"):
        descriptors.lock(folder / "link", wait=False)


def test_a_staged_folder_is_locked_while_it_is_filled(folder) -> None:
    """On both kinds of system it is renamed at the end."""
    target = folder / "v1"
    with files.staged_folder(target) as staged:
        (staged / "file").touch()
        with pytest.raises(InputError) as caught, files.staged_folder(target):
            pass

    assert (places(caught.value.problems), [path.name for path in folder.iterdir()]) == (
        [(str(target), "files.locked")],
        ["v1"],
    )


def test_a_mode_is_judged_where_the_system_has_modes(tmp_path, monkeypatch) -> None:
    """On Windows every file seems to be open to others."""
    (tmp_path / "key").write_bytes(b"secret")
    (tmp_path / "key").chmod(0o666)
    monkeypatch.setattr(descriptors, "HAS_MODES", False)

    assert keys.read_secret(tmp_path / "key") == b"secret"


@pytest.fixture
def listening():
    """A socket."""
    with socket.socket() as made:
        yield made


def test_a_port_can_be_used_again_at_once(listening) -> None:
    """On POSIX, while connections of a stopped server remain."""
    descriptors.reserve_port(listening)

    assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


def test_a_port_is_not_shared_on_windows(listening, monkeypatch) -> None:
    """There SO_REUSEADDR would permit a second server on it."""
    monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_KEEPALIVE, raising=False)  # an option that Linux has
    descriptors.reserve_port(listening)
    chosen = [listening.getsockopt(socket.SOL_SOCKET, name) for name in (socket.SO_KEEPALIVE, socket.SO_REUSEADDR)]

    assert chosen == [1, 0]


def test_pages_are_released_where_the_system_can() -> None:
    """A mapped file of Windows has no `madvise`."""
    descriptors.release_pages(SimpleNamespace())

    calls = []
    descriptors.release_pages(SimpleNamespace(madvise=calls.append))
    assert calls == [mmap.MADV_DONTNEED]
