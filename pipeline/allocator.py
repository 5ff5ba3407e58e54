"""The C library's allocator, set for a process that embeds."""

import ctypes

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
    """Take from one heap for every thread, and keep what is freed for what comes next.

    By default glibc gives every thread a heap of its own and returns what is large to the system.
    The outputs of a model's layers are tens of MB that live for milliseconds: each of their pages
    is then faulted in and filled with zeros anew, a third of the time of a ViT-L/14 in int8. And
    what passes from a loading thread to an embedding one leaves gaps in many heaps, which grow with
    the length of a run.

    For the process as a whole and for good, so only a command may call it. Memory in use stays at
    its peak. Does nothing with another C library than glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)  # never
