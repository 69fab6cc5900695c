"""The search engines, by the names that the settings have for them."""

from collections.abc import Callable, Sequence

from xpaste_ray.config import EngineName
from xpaste_ray.sources.openverse import ADDRESS as OPENVERSE
from xpaste_ray.sources.openverse import Openverse
from xpaste_ray.sources.search import Api, Engine
from xpaste_ray.sources.wikimedia import ADDRESS as WIKIMEDIA
from xpaste_ray.sources.wikimedia import Wikimedia

_ENGINES: dict[str, tuple[str, str, Callable[[Api, Sequence[str]], Engine]]] = {
    "openverse": ("Openverse", OPENVERSE, Openverse),
    "wikimedia": ("Wikimedia Commons", WIKIMEDIA, Wikimedia),
}


def open_engine(
    name: EngineName, address: str | None = None, licences: Sequence[str] = (), contact: str | None = None
) -> Engine:
    """address: not its public one. Nothing is asked yet."""
    shown, public, engine = _ENGINES[name]
    return engine(Api(shown, address or public, address is not None, contact), licences)
