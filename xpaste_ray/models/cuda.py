"""What an error says about the GPU: out of memory, or lost.

The one place that decides. It does not import torch: stages without a network use it too, and a process
that has not loaded torch cannot have met its errors.
"""

import gc
import sys
from collections.abc import Iterator
from typing import Any

# Where the texts come from: c10/cuda (allocator, C10_CUDA_CHECK), ATen/cuda/Exceptions.h (cuBLAS says
# "CUDA error: CUBLAS_STATUS_..."), ATen/cudnn, and Triton's launcher, which compiled networks go through.
_MEMORY_TEXTS = ("out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED")
_DEVICE_TEXTS = (
    "CUDA error:",
    "CUDA driver error:",
    "cuDNN error:",
    "cuDNN Frontend error:",
    "Triton Error [CUDA]:",
    "INTERNAL ASSERT FAILED at CUDACachingAllocator",  # how the allocator meets a GPU that fell off the bus
)
_REFUSALS = ("NOT_SUPPORTED", "BAD_PARAM", "INVALID_VALUE")  # a library declines a shape; the context lives


def is_out_of_memory(error: BaseException) -> bool:
    """The GPU's memory did not suffice: a smaller batch may fit, and the context is intact."""
    return any(_is_memory(one) for one in _causes(error))


def is_sticky(error: BaseException) -> bool:
    """The CUDA context is broken, or may be: every later call of this process would fail as well.

    CUDA reports asynchronously, so the message need not name the true cause: whatever is not known to be
    harmless counts as sticky. A fresh process costs seconds, a broken one every row that follows.
    """
    return any(_is_device(one) and not _is_memory(one) for one in _causes(error))


def free_cached_memory() -> None:
    """Give back what the failed call held: first the dead tensors, then torch's own reserve."""
    gc.collect()
    if (torch := sys.modules.get("torch")) is not None:
        torch.cuda.empty_cache()  # does nothing where CUDA was never used


def _is_memory(error: BaseException) -> bool:
    if _is_torchs(error, "OutOfMemoryError"):
        return True
    return _is_cuda_text(error) and any(text in str(error) for text in _MEMORY_TEXTS)


def _is_device(error: BaseException) -> bool:
    if _is_torchs(error, "AcceleratorError"):  # from torch 2.8; before, a RuntimeError of the same text
        return True
    return _is_cuda_text(error) and not any(text in str(error) for text in _REFUSALS)


def _is_cuda_text(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and any(
        text in str(error) for text in (*_DEVICE_TEXTS, "CUDA out of memory")
    )


def _is_torchs(error: BaseException, name: str) -> bool:
    kind: Any = getattr(sys.modules.get("torch"), name, None)
    return kind is not None and isinstance(error, kind)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from: compilers wrap what they meet."""
    at: BaseException | None = error
    while at is not None:
        yield at
        at = at.__cause__
