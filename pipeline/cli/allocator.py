"""The C library's allocator, set for a process that embeds."""

import ctypes
import os

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MOST_IN_THE_HEAP = 32 * 2**20  # bytes of a block, the most that glibc takes


def keep_freed_memory() -> None:
    """Take from one heap for every thread, and keep what is freed for what comes next.

    By default glibc gives every thread a heap of its own, and returns what is large to the system.
    The outputs of a model's layers are MBs that live for milliseconds: each of their pages is then
    faulted in and filled with zeros anew, at times a fifth of the time of a ViT-B/32 in int8. And
    what passes from a loading thread to an embedding one leaves gaps in many heaps, which grow with
    the length of a run.

    Blocks above 32 MB are still returned: kept as well, they leave gaps of their own.

    For the process as a whole and for good, so only a command may call it. Does nothing with
    another C library than glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _MOST_IN_THE_HEAP)
        mallopt(_M_TRIM_THRESHOLD, -1)  # never
