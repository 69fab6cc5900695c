"""What every process of our own does once before it works on images: it is one core among others."""

import ctypes
import gc

import cv2

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # glibc's malloc.h
_KEPT_BYTES = 32 * 1024**2  # glibc's own upper limit for the second


def prepare_worker() -> None:
    """Call it when everything is imported and opened."""
    cv2.setNumThreads(1)  # the other cores have workers of their own
    gc.freeze()  # what was imported is no garbage: do not look through it again and again
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Let freed blocks of up to 32 MB be used again instead of given back to the kernel.

    Otherwise every canvas is fetched anew, zeroed page by page: up to a twentieth of a large sample's
    time. Does nothing where the C library has no `mallopt`.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_TRIM_THRESHOLD, 8 * _KEPT_BYTES)


def use_one_heap() -> None:
    """Let all threads allocate from one heap: for a driver, which runs for days and mostly waits.

    Ray's many threads otherwise get heaps of their own, whose holes grow by megabytes a minute even while
    nothing moves. Threads that run already keep theirs. Does nothing where the C library has no `mallopt`.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)
