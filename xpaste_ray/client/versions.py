"""Which versions made an answer, and that they stay the same."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from threading import Lock

from xpaste_ray.client.errors import VersionChanged

HEADERS = {
    "pool": "X-Pool-Version",
    "backgrounds": "X-Backgrounds-Version",
    "package": "X-Package-Version",
}
_MOST_ETAGS = 10_000  # of those that are remembered; about 2 MB

_NEXT = (
    "go on with those that are served now by a new client, or take any with pin=False; what comes is no "
    "longer what came before"
)


@dataclass(frozen=True, slots=True)
class Versions:
    """What an answer's bytes follow from, beside the request."""

    pool: str
    backgrounds: str
    package: str


def changed(detail: str, served: str | None) -> VersionChanged:
    """The error. served: the pool's version now, if it is told."""
    return VersionChanged(f"{detail}: {_NEXT}", served=served)


class Pin:
    """Holds the versions of the first answer, or the given ones, and the ETag of every request. Threads may
    share one."""

    def __init__(self, given: Versions | None) -> None:
        self._held: dict[str, str] = asdict(given) if given else {}
        self._etags: dict[str, str] = {}
        self._lock = Lock()

    @property
    def pool_version(self) -> str | None:
        return self._held.get("pool")

    def check(self, told: Mapping[str, str], request: str, etag: str | None) -> None:
        """VersionChanged if an answer is not by these. told: of `HEADERS`' names those that it tells."""
        with self._lock:
            for name, version in told.items():
                held = self._held.setdefault(name, version)
                if held != version:
                    detail = f"the service now answers by {name} version {version}, not {held}"
                    raise changed(detail, told.get("pool"))
            if etag is None:
                return
            if self._etags.setdefault(request, etag) != etag:
                raise changed(
                    "the same request has another ETag under the same versions, so the service's options are "
                    "others",
                    told.get("pool"),
                )
            if len(self._etags) > _MOST_ETAGS:
                del self._etags[next(iter(self._etags))]
