"""Hide what only POSIX has, in a new process: `python without_posix.py COMMAND...` runs a command of modelreg so.

Python's own modules and numpy are made for the system that they run on, so that they are imported first.
"""

import mmap
import multiprocessing.util
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from types import ModuleType

import numpy as np

MODULES = ("fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty")
NAMES: dict[ModuleType, tuple[str, ...]] = {  # Python's documentation: "Availability: Unix", or "not Windows"
    os: (
        *("O_CLOEXEC", "O_DIRECTORY", "O_DSYNC", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK", "O_RSYNC", "O_SYNC"),
        *(
            "chown",
            "chroot",
            "confstr",
            "copy_file_range",
            "ctermid",
            "fchdir",
            "fchmod",
            "fchown",
            "fdatasync",
            "fork",
        ),
        *("forkpty", "fpathconf", "getegid", "geteuid", "getgid", "getgroups", "getloadavg", "getpgid"),
        *("getpgrp", "getpriority", "getsid", "getuid", "initgroups", "killpg", "lchown", "lockf", "major", "minor"),
        *("mkfifo", "mknod", "nice", "openpty", "pathconf", "pipe2", "posix_fadvise", "posix_fallocate", "pread"),
        *("preadv", "pwrite", "pwritev", "register_at_fork", "sched_getaffinity", "sched_setaffinity", "sendfile"),
        *("setegid", "seteuid", "setgid", "setpgid", "setpriority", "setsid", "setuid", "sync", "sysconf"),
        *("tcgetpgrp", "tcsetpgrp", "ttyname", "uname", "wait", "wait3", "wait4", "waitid", "WNOHANG"),
    ),
    signal: ("SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGUSR1", "SIGUSR2", "alarm", "pause", "sigwait"),
    socket: ("AF_UNIX", "SO_REUSEPORT", "socketpair"),
    mmap: ("MADV_DONTNEED", "MADV_SEQUENTIAL", "MADV_WILLNEED", "MAP_PRIVATE", "MAP_SHARED", "PROT_READ", "PROT_WRITE"),
    time: ("clock_gettime", "tzset"),
}
FIRST = (multiprocessing.util, selectors, shutil, subprocess, tempfile, np)


def hide() -> None:
    """Remove the names, and make the modules fail to be imported."""
    for module, names in NAMES.items():
        for name in names:
            vars(module).pop(name, None)
    for known in (os.supports_dir_fd, os.supports_fd, os.supports_effective_ids):
        known.clear()
    sys.modules.update(dict.fromkeys(MODULES))


if __name__ == "__main__":
    hide()
    from modelreg.__main__ import run

    run()
