"""What can go wrong between a client and the service, sorted by who must act.

ClientError
    RequestRefused    the request: change it
    VersionChanged    other versions are served than those that were pinned
    ServiceFailed     a defect of the service: tell its operator the request id
    Unavailable       all tries were in vain: try later
    Passing           one try was in vain; told as the cause of `Unavailable`
        Unreachable, Busy, DamagedAnswer

Each can be made of a message alone: so torch brings them out of a DataLoader's workers.
"""

from collections.abc import Sequence

from xpaste_ray.errors import XPasteError


class ClientError(XPasteError):
    """Base of all that a client raises on purpose once it is made."""


class RequestRefused(ClientError):
    """The service does not take this request, however often it is sent.

    status: of HTTP. detail: the service's words. fields: (name, what is wrong) each. request_id: under
    which the operator finds it in the log.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        detail: str = "",
        fields: Sequence[tuple[str, str]] = (),
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.status, self.detail, self.request_id = status, detail, request_id
        self.fields = tuple(fields)


class VersionChanged(ClientError):
    """The same request would give other bytes than before. served: the pool's version now, if it is told."""

    def __init__(self, message: str, *, served: str | None = None) -> None:
        super().__init__(message)
        self.served = served


class ServiceFailed(ClientError):
    """The service took the request and failed. It is not sent again: it would fail again."""

    def __init__(self, message: str, *, status: int = 0, request_id: str = "") -> None:
        super().__init__(message)
        self.status, self.request_id = status, request_id


class Unavailable(ClientError):
    """No whole answer in all tries; the last one's failure is the cause."""

    def __init__(self, message: str, *, tries: int = 0) -> None:
        super().__init__(message)
        self.tries = tries


class Passing(ClientError):
    """Why a try was in vain; the next may not be. retry_after_s: how long the service asks to wait."""

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unreachable(Passing):
    """No connection, a connection that broke, also in the middle of an answer, or silence."""


class Busy(Passing):
    """An answer that says to come again, or that no replica is there."""


class DamagedAnswer(Passing):
    """An answer that is not what was asked for: not whole, changed on the way, or of other samples."""
