"""What torch raises, by kind. The texts are those of torch's own checks (C10_CUDA_CHECK, its allocator,
ATen/cuda/Exceptions.h), of cuDNN and of Triton's launcher."""

import pytest
import torch

from xpaste_ray.errors import DeviceLost
from xpaste_ray.models.cuda import free_cached_memory, is_out_of_memory, is_sticky
from xpaste_ray.stages.faults import Failure, failure_of

TAIL = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below "
    "might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\nCompile with "
    "`TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
)
ACCELERATOR = getattr(torch, "AcceleratorError", RuntimeError)  # from torch 2.8

OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity ..."),
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate more than 1EB memory."),
    ACCELERATOR("CUDA error: out of memory" + TAIL),
    RuntimeError("CUDA error: out of memory" + TAIL),  # before torch 2.8
    RuntimeError("CUDA driver error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
]
STICKY = [
    ACCELERATOR("CUDA error: device-side assert triggered" + TAIL),
    ACCELERATOR("CUDA error: uncorrectable ECC error encountered" + TAIL),
    ACCELERATOR("CUDA error: an illegal memory access was encountered" + TAIL),
    RuntimeError("CUDA error: unspecified launch failure" + TAIL),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx( handle, opa, opb)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_INTERNAL_ERROR when calling `cublasLtMatmul(...)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
    RuntimeError("CUDA driver error: device not ready"),
    RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
    RuntimeError('NVML_SUCCESS == r INTERNAL ASSERT FAILED at CUDACachingAllocator.cpp":1234, please report'),
]
NEITHER = [
    RuntimeError("Expected all tensors to be on the same device, but found at least two devices, cuda:0 and"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in ..."),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling `cublasGemmStridedBatchedEx(...)`"),
    ValueError("a text that quotes CUDA error: device-side assert triggered"),
    MemoryError("the host's"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=str)
def test_out_of_memory_is_known_and_leaves_the_device_usable(error):
    assert is_out_of_memory(error) and not is_sticky(error)
    assert failure_of(error, "x") == Failure("out_of_memory", transient=True)


@pytest.mark.parametrize("error", STICKY, ids=str)
def test_what_breaks_the_context_ends_the_process(error):
    assert is_sticky(error) and not is_out_of_memory(error)
    with pytest.raises(DeviceLost, match="cannot be used any more") as caught:
        failure_of(error, "x")
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", NEITHER, ids=str)
def test_other_errors_are_the_rows(error):
    assert not is_sticky(error) and not is_out_of_memory(error)
    assert failure_of(error, "scoring_failed") == Failure("scoring_failed")


def test_wrapped_errors_count_as_what_they_wrap():
    wrapped = ValueError("backend='inductor' raised")
    wrapped.__cause__ = STICKY[0]
    assert is_sticky(wrapped)
    wrapped.__cause__ = OUT_OF_MEMORY[0]
    assert is_out_of_memory(wrapped) and not is_sticky(wrapped)


def test_memory_can_be_freed_where_cuda_was_never_used():
    free_cached_memory()
