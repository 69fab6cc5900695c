"""What can go wrong, sorted by who must act."""


class XPasteError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(XPasteError, ValueError):
    """A wrong option, path or model. Raised before any work starts; the command exits with 2."""


class SchemaError(XPasteError, TypeError):
    """A stage handed over columns that its successor does not accept. A defect in the code."""


class RunError(XPasteError):
    """A run that cannot go on. What is done stays done: the same command continues it once the cause is
    mended. The command exits with 1."""


class StorageError(RunError):
    """A disk or an object store failed. Nothing is damaged: the same command continues the run."""


class LeaseLostError(RunError):
    """Another process took the run over while this one did not answer. This one stops."""


class RowError(XPasteError):
    """One unusable row: it is rejected under `reason`, and its neighbours go on."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class DeviceLost(XPasteError):
    """The GPU, or this process's hold on it, is broken: nothing more can be computed here. No row is to
    blame; the process must end, and a fresh one does the work again."""
