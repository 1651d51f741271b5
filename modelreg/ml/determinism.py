"""Process-wide settings of a training: threads, deterministic operators, random state, memory allocator."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from modelreg.config import TrainingSettings

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def tune_allocator() -> bool:
    """Keep freed memory in the process instead of returning it to the system; return whether that was possible.

    By default, glibc may map and unmap a large block for each activation. In some processes this costs 13 page faults
    per window and 7 % of the CPU time. With this call there are none; benchmarks/training.py measured 1.0 to 1.1 times
    the windows per second. The setting applies to the whole process, so a command calls this once before training.
    Without glibc the function does nothing.
    """
    libc = ctypes.CDLL(None) if os.name == "posix" else None
    mallopt = getattr(libc, "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, 2**30) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


@contextmanager
def repeatable(settings: TrainingSettings, random: dict[str, Tensor]) -> Iterator[None]:
    """Run with the threads and random state of the training and deterministic operators; restore those of the caller.

    On CUDA, an operator without a deterministic implementation gives a warning instead of an error. torch lists
    MaxPool2d as one, but its result is deterministic when pooling windows do not overlap.
    """
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    cuda = settings.device == "cuda"
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if cuda else []):
        try:
            torch.set_num_threads(settings.threads)
            torch.use_deterministic_algorithms(True, warn_only=cuda)
            torch.set_rng_state(random["cpu"])
            if cuda:
                torch.cuda.set_rng_state(random["cuda"])
            yield
            random["cpu"] = torch.get_rng_state()
            if cuda:
                random["cuda"] = torch.cuda.get_rng_state()
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
