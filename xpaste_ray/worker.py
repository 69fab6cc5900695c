"""What every process of our own does once before it works on images: it is one core among others."""

import ctypes
import gc

import cv2

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
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


def give_back_freed_memory() -> None:
    """Hand freed blocks back to the kernel: for a process that runs for days and only waits.

    Does nothing where the C library has no `malloc_trim`.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
