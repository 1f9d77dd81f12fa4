"""Keep freed memory inside the process: a CPU training step allocates and frees the same large tensors over and over."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # glibc's malloc.h
LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc refuses more
KEPT = 1 << 30


def keep_freed_memory() -> bool:
    """Tell glibc to reuse large blocks instead of handing them back; False where there is no glibc.

    By default large tensors are mapped anew each time, and their pages are zeroed by the kernel at first touch. With
    reuse, the single operations of the augmentation were about ten times as fast (two cores that also did other work).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    settings = ((M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD), (M_TRIM_THRESHOLD, KEPT), (M_TOP_PAD, KEPT // 4))
    return all(mallopt(name, value) == 1 for name, value in settings)
