"""A small pool and backgrounds, and the app over them, once for all tests of the service."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backgrounds.material import small_dataset
from tests.conftest import seal_discs
from tests.serve.asking import Asking
from xpaste_ray.config.serve import ServeSettings


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    """The pool is at run/pools/pool: 4 bananas, 3 frogs and 5 lions. photos.json: see `small_dataset`."""
    folder = tmp_path_factory.mktemp("served")
    seal_discs(folder / "run", {"banana": 4, "frog": 3, "lion": 5})
    small_dataset(folder / "photos")
    return folder


@pytest.fixture(scope="session")
def told(place) -> ServeSettings:
    """Canvases of 64 px, and everything at its default but that nobody needs a token."""
    return ServeSettings(
        pool=str(place / "run/pools/pool"),
        backgrounds=str(next((place / "photos").glob("*.json"))),
        presets=("demo", "xpaste"),
        options={"canvas.size_hw": [64, 64]},
        recipes={"small": {"preset": "demo", "options": {"blend": ["gaussian"], "instances": [2, 4]}}},
        insecure=True,
    )


@pytest.fixture(scope="session")
def asking(told) -> Iterator[Asking]:
    with Asking(told) as one:
        yield one


@pytest.fixture
def ask_with(told) -> Iterator:
    """ask_with(limits={"count": 2}, ...): an app of the test's own, with other settings."""
    opened = []

    def other(limits=None, **changes) -> Asking:
        ceilings = told.limits.model_copy(update=limits or {})
        opened.append(Asking(told.model_copy(update={"limits": ceilings, **changes})))
        return opened[-1]

    yield other
    for one in opened:
        one.close()
