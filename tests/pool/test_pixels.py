"""Both encodings of an instance's pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.conftest import disc, seal_discs
from xpaste_ray.config import CutoutSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.masks import straight_cutout
from xpaste_ray.pool import open_pool, seal
from xpaste_ray.pool.pixels import load_pixels, store_pixels

JPEG = CutoutSettings(encoding="jpeg")


def _load(stored, rgba):
    size = {"height": rgba.shape[0], "width": rgba.shape[1]}
    return load_pixels({**size, "encoding": stored.encoding, "rgba": stored.data, "alpha": stored.alpha})


def shaded_disc(side_px=64, radius_px=24):
    """A disc with a smooth shade and a soft edge, on white."""
    y, x = np.mgrid[:side_px, :side_px] * (200 / side_px)
    image = np.stack((y, x, (x + y) / 2), axis=2).astype(np.uint8)
    alpha = (disc(side_px, radius_px) * 255).astype(np.uint8)
    alpha[disc(side_px, radius_px + 1) & (alpha == 0)] = 100
    image[alpha == 0] = 255
    return straight_cutout(image, alpha)


@settings(max_examples=30, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(2, 20), st.integers(2, 20), st.just(4))), st.integers(1, 100))
def test_raw_is_exact_and_the_alpha_of_a_jpeg_is_too(rgba, quality):
    assert np.array_equal(_load(store_pixels(rgba, CutoutSettings()), rgba), rgba)
    settings = CutoutSettings(encoding="jpeg", jpeg_quality=quality)
    loaded = _load(store_pixels(rgba, settings), rgba)
    assert loaded.shape == rgba.shape and np.array_equal(loaded[..., 3], rgba[..., 3])
    assert not loaded.flags.writeable


def test_a_jpeg_is_close_where_the_object_is_seen_and_smaller():
    rgba = shaded_disc()
    stored = store_pixels(rgba, JPEG)
    seen = rgba[..., 3] > 0
    assert np.abs(_load(stored, rgba)[seen].astype(int) - rgba[seen]).max() <= 6
    assert len(stored) < rgba.nbytes / 5


def test_colours_next_to_the_edge_are_kept_for_interpolation():
    """A resize blends a pixel of alpha 0 with its neighbours, so those within a pixel stay as spread."""
    rgba = shaded_disc()
    near = disc(64, 25.5) & (rgba[..., 3] == 0)
    assert near.any()
    assert np.abs(_load(store_pixels(rgba, JPEG), rgba)[near].astype(int) - rgba[near]).max() <= 6


def test_what_is_not_seen_costs_no_bytes():
    """The same object, with noise far outside or with one colour there: within 3 % of the same size."""
    plain, noisy = shaded_disc(), shaded_disc()
    far = ~disc(64, 40)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3))
    noisy[..., :3][far] = noise[far]
    plain[..., :3][far] = 128
    sizes = [len(store_pixels(rgba, JPEG)) for rgba in (plain, noisy)]
    assert sizes[1] < 1.03 * sizes[0]


@pytest.fixture
def jpeg_pool(tmp_path, monkeypatch):
    """Discs, as `make_pool` makes them, sealed as JPEG."""

    def with_jpeg(kept, files, categories, settings, *rest):
        return seal.seal_pool(kept, files, categories, JPEG, *rest)

    def make(counts, folder="jpeg"):
        with monkeypatch.context() as patched:
            patched.setattr("tests.conftest.seal_pool", with_jpeg)
            return seal_discs(tmp_path / folder, counts)

    return make


def test_a_pool_of_jpegs_reads_like_one_of_raw_pixels(jpeg_pool, make_pool):
    counts = {"banana": 2, "lion": 1}
    packed, raw = jpeg_pool(counts), make_pool(counts)
    assert packed.instance_ids == raw.instance_ids and packed.sizes_hw.tolist() == raw.sizes_hw.tolist()
    for row in range(3):
        one, other = packed.instance(row).rgba, raw.instance(row).rgba
        assert np.array_equal(one[..., 3], other[..., 3])
        assert np.abs(one.astype(int) - other).max() <= 6
    assert [pool.column("encoding").to_pylist() for pool in (packed, raw)] == [["jpeg"] * 3, ["raw"] * 3]
    assert packed.provenance(2) == {**raw.provenance(2), "encoding": "jpeg"}


def test_jpegs_are_sealed_to_the_same_bytes(jpeg_pool):
    first, second = jpeg_pool({"frog": 3}, "one"), jpeg_pool({"frog": 3}, "two")
    for path in first.folder.iterdir():
        assert path.read_bytes() == (second.folder / path.name).read_bytes()


def test_a_damaged_jpeg_is_an_error_that_names_the_instance(jpeg_pool):
    pool = jpeg_pool({"frog": 1})
    shard = pool.folder / "shard-00000.arrow"
    data = shard.read_bytes()
    start = data.index(b"\xff\xd8\xff")
    shard.write_bytes(data[:start] + bytes(4) + data[start + 4 :])
    with pytest.raises(ConfigError, match=r"instance 475-0-test-hand-0 is damaged .*seal the pool again"):
        open_pool(pool.folder).instance(0)
