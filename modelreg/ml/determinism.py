"""What a training sets for the whole process: threads, deterministic operators, random state, the allocator."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from modelreg.config import TrainingSettings

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def tune_allocator() -> bool:
    """Keep freed memory in the process instead of giving it back; tell whether that was possible.

    By default glibc may map a large block anew for each activation and unmap it when freed: 13 page faults
    per window, 7 % of the CPU time, in some processes and none in others. With this call there are none;
    benchmarks/training.py measured 1.0 to 1.1 times the windows per second. It changes the whole process, so
    a command calls it, once, before it trains. Elsewhere than under glibc it does nothing.
    """
    libc = ctypes.CDLL(None) if os.name == "posix" else None
    mallopt = getattr(libc, "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, 2**30) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


@contextmanager
def repeatable(settings: TrainingSettings, random: dict[str, Tensor]) -> Iterator[None]:
    """Run with the training's own threads, random state and deterministic operators; restore the caller's.

    On CUDA an operator without a deterministic form warns instead of failing: MaxPool2d has none in torch's
    books, though windows that do not overlap leave it nothing to add up in any order.
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
