"""The C library's allocator, for processes that compose one canvas after another."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_KEPT_BYTES = 32 * 1024**2  # glibc's own upper limit for the second


def keep_freed_memory() -> None:
    """Let freed blocks of up to 32 MB be used again instead of given back to the kernel.

    Otherwise every canvas is fetched anew, zeroed page by page: up to a twentieth of a large sample's
    time. For worker processes of our own; does nothing where the C library has no `mallopt`.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_TRIM_THRESHOLD, 8 * _KEPT_BYTES)
