"""Memory that a process keeps for its next use, rather than giving it back to the kernel."""

from __future__ import annotations

import contextlib
import ctypes

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
"""glibc's numbers, from its malloc.h."""
_TOP_PAD_BYTES = 64 << 20
_OLD_MOST_BYTES = 32 << 20
"""glibc took no larger blocks on its heap once."""


def keep_memory(most_bytes: int) -> None:
    """Have freed blocks of up to so many bytes stay with the process.

    By itself glibc hands large blocks, such as frames and what a network computes, back to the kernel as soon as they
    are free, and gets them anew, page by page and zeroed, for the next. Other C libraries are left as they are.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        if libc.mallopt(_M_MMAP_THRESHOLD, most_bytes) or libc.mallopt(_M_MMAP_THRESHOLD, _OLD_MOST_BYTES):
            libc.mallopt(_M_TRIM_THRESHOLD, most_bytes)
            libc.mallopt(_M_TOP_PAD, _TOP_PAD_BYTES)
