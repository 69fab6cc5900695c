"""What becomes of a row whose computation raised."""

from dataclasses import dataclass

from xpaste_ray.errors import ConfigError, DeviceLost, RowError, StorageError
from xpaste_ray.models.cuda import is_out_of_memory, is_sticky


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a row is rejected. transient: it may well succeed another time, so it is worth another try."""

    reason: str
    transient: bool = False


def failure_of(error: Exception, reason: str) -> Failure:
    """What `error` means for the one row that met it: a RowError's reason, or the stage's own, `reason`.

    Raises DeviceLost if the GPU is gone, and ConfigError as it came: those are no row's fault.
    """
    if isinstance(error, ConfigError):
        raise error
    if is_sticky(error):
        raise DeviceLost(f"the GPU cannot be used any more by this process: {error}") from error
    if is_out_of_memory(error):
        return Failure("out_of_memory", transient=True)
    if isinstance(error, RowError):
        return Failure(error.reason)
    if isinstance(error, StorageError):
        return Failure("read_failed", transient=True)
    return Failure(reason)
