import pytest

from xpaste_ray.backgrounds import open_or_index, resolve_source


@pytest.fixture
def index(tmp_path):
    """Indexes what a text or path means, in a cache of the test's own."""

    def make(what, **options):
        return open_or_index(resolve_source(what, **options), tmp_path / "cache")

    return make
