"""Memory that a step frees and the next one wants again."""

from __future__ import annotations

import contextlib
import ctypes

# of glibc's malloc.h, and its largest threshold for blocks that are mapped one by one
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_BLOCK, _KEPT = 2**25, 2**28


def keep_freed_memory() -> None:
    """Make the process keep up to 256 MiB that is free at the end of a heap, where its C library is glibc.

    Handed back, activations are faulted in again, page by page: up to a tenth of a step.
    """
    with contextlib.suppress(OSError, TypeError, AttributeError):  # no such library, or one without mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
        mallopt(_TRIM_THRESHOLD, _KEPT)
