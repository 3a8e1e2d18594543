"""Memory: how a process keeps what it freed, and what it says when it has no more.

By glibc's defaults large tensors go back to the system when they are freed, and the next step waits for their pages to be
given anew and zeroed: a tenth of a search's time on networks of millions of parameters.
"""

import ctypes

import torch

# The parameters of mallopt(3), and what they are set to, in bytes.
MMAP_THRESHOLD, TRIM_THRESHOLD, TOP_PAD = -3, -1, -2
LIMITS = {MMAP_THRESHOLD: 2**25, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 2**26}


def keep_freed_memory() -> None:
    """Let this process keep what it frees for itself. Does nothing where the C library is not glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    for parameter, value in LIMITS.items():
        mallopt(parameter, value)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch could not get the memory that it asked for, on a GPU or a CPU."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return type(error) is RuntimeError and "DefaultCPUAllocator" in str(
        error
    )  # others' words may be anything, or raise


def give_back_memory() -> None:
    """Hand back to the system what this process keeps for itself; as `keep_freed_memory`."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return
    trim(0)
