"""What operating systems do differently with open files, folders, locks and ports.

The other modules call these functions and work on Linux, macOS and Windows: `mypy --platform` finds names that one of
these systems does not have. Windows cannot open a folder: none is synced there, and a folder is locked by a file in the
user's temporary folder. Windows has no file modes for owner, group and others.
"""

import errno
import mmap
import os
import socket
import stat
import tempfile
from pathlib import Path

OPENS_FOLDERS = hasattr(os, "O_DIRECTORY")
HAS_MODES = os.name == "posix"
FOLDER: int = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)  # nothing else, and no link to one
BINARY: int = getattr(os, "O_BINARY", 0)  # without it, Windows changes line endings
NOT_WAITING: int = getattr(os, "O_NONBLOCK", 0)  # a pipe without a writer is opened at once
_NO_LOCKS = (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # no locks of folders, as on NFS


def open_to_read(path: Path) -> int:
    """Return a descriptor of a file of any kind. Raises OSError, or ValueError for a name that no file can have."""
    return os.open(path, os.O_RDONLY | NOT_WAITING | BINARY)


def open_new(path: Path, mode: int) -> int:
    """Return a descriptor to write a new file. Raises FileExistsError if it exists. Windows ignores the mode."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, mode)


def others_access(descriptor: int) -> int:
    """Return the mode of an open file if group or others can access it, else 0. Always 0 on a system without modes."""
    mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    return mode if HAS_MODES and mode & 0o077 else 0


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to disk, where the system can."""
    if not OPENS_FOLDERS:
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock(folder: Path, *, wait: bool) -> int:
    """Return a descriptor that locks a folder until it is closed or the process ends, however it ends.

    A file system that cannot lock is used without locks. Raises BlockingIOError or FileNotFoundError if another process
    holds the lock or has just renamed the folder.
    """
    descriptor, opened = _open_lockable(folder)
    try:
        _claim(descriptor, wait=wait)
        _refuse_renamed(folder, opened)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _open_lockable(folder: Path) -> tuple[int, os.stat_result]:
    """Return a descriptor that can be locked in place of a folder, and the folder that it belongs to."""
    if OPENS_FOLDERS:
        descriptor = os.open(folder, os.O_RDONLY | FOLDER)
        return descriptor, os.fstat(descriptor)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    return os.open(_lock_file(found), os.O_RDWR | os.O_CREAT, 0o600), found


def _lock_file(found: os.stat_result) -> Path:
    """Return the lock file of a folder, whatever its name. It is not removed: another process may have opened it."""
    locks = Path(tempfile.gettempdir()) / "modelreg-locks"
    locks.mkdir(exist_ok=True)
    return locks / f"{found.st_dev:x}-{found.st_ino:x}.lock"


def _claim(descriptor: int, *, wait: bool) -> None:
    import filelock  # takes 12 ms

    try:
        held = filelock.lock_descriptor(descriptor, blocking=wait)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return
    if not held:
        raise BlockingIOError(errno.EWOULDBLOCK, "locked by another process")


def _refuse_renamed(folder: Path, opened: os.stat_result) -> None:
    if not os.path.samestat(opened, folder.stat()):
        raise BlockingIOError(errno.EWOULDBLOCK, "renamed since it was opened")


def release_pages(mapped: mmap.mmap) -> None:
    """Release the memory of a mapped file; the next use reads the file. Windows releases it when memory is short."""
    if hasattr(mapped, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def reserve_port(listening: socket.socket) -> None:
    """Set a socket up to listen on a port that no other process listens on.

    SO_REUSEADDR permits a new start while connections of a stopped server remain. On Windows the option of this name
    permits two servers on one port.
    """
    option = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
    listening.setsockopt(socket.SOL_SOCKET, option, 1)
