import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, norm

from xpaste_ray.compose.sizes import (
    clipped_share,
    cutout_problem,
    draw_size_hw,
    size_problem,
)
from xpaste_ray.config import SizeSettings
from xpaste_ray.rng import rng_for

PRIOR = SizeSettings(rule="prior")
CANVAS = (640, 640)


def _size(rule, own_hw, uniform=0.5, canvas_hw=CANVAS, usual=(0.2, 0.1), normal=0.0, **options):
    return draw_size_hw(own_hw, canvas_hw, SizeSettings(rule=rule, **options), usual, normal, uniform)


@pytest.mark.parametrize(
    ("rule", "own_hw", "uniform", "options", "size_hw"),
    [
        pytest.param("object", (100, 50), 1.0, {"factor": (0.3, 1.0)}, (100, 50), id="object-1"),
        pytest.param("object", (100, 50), 0.0, {"factor": (0.3, 1.0)}, (30, 15), id="object-0.3"),
        pytest.param("image", (100, 50), 0.5, {"factor": (0.2, 0.4)}, (192, 96), id="image"),
        pytest.param("pixels", (100, 50), 0.0, {"pixels": (32, 256)}, (64, 32), id="pixels-tall"),
        pytest.param("pixels", (50, 100), 0.5, {"pixels": (32, 256)}, (80, 160), id="pixels-half: 64 to 256"),
        pytest.param("pixels", (50, 50), 0.5, {"pixels": (32, 256)}, (144, 144), id="pixels-square"),
        pytest.param("pixels", (50, 100), 0.3, {"pixels": (40, 60)}, (40, 60), id="pixels-1.5-at-most"),
        pytest.param("pixels", (100, 400), 1.0, {"pixels": (32, 256)}, (128, 256), id="pixels-aspect-2"),
        pytest.param("pixels", (400, 100), 1.0, {"pixels": (32, 256)}, (256, 128), id="pixels-aspect-0.5"),
        pytest.param("prior", (50, 50), 0.5, {}, (128, 128), id="prior-mean-0.2"),
        pytest.param("prior", (50, 200), 0.5, {}, (64, 256), id="prior-aspect-4"),
        pytest.param("prior", (50, 50), 1.0, {"aspect_jitter": (1.0, 4.0)}, (64, 256), id="prior-jitter-4"),
        # 143.1 x 114.5: the width is cut to 114, and 114 / 0.8 = 142.5 is cut again
        pytest.param("prior", (50, 40), 0.5, {}, (142, 114), id="prior-truncates-twice"),
    ],
)
def test_sizes_by_hand(rule, own_hw, uniform, options, size_hw):
    assert _size(rule, own_hw, uniform, **options) == size_hw


@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.floats(0, 1),
    st.tuples(st.integers(8, 300), st.integers(0, 300)).map(lambda pair: (pair[0], sum(pair))),
    st.sampled_from([(0.5, 2.0), (1.0, 1.0), (0.1, 10.0)]),
)
def test_pixels_keep_both_sides_and_the_aspect_ratio_in_range(own_hw, uniform, pixels, aspect):
    height, width = _size("pixels", own_hw, uniform, pixels=pixels, aspect=aspect)
    assert pixels[0] <= min(height, width) and max(height, width) <= pixels[1]
    assert (width - 0.5) / (height + 0.5) <= aspect[1] and (width + 0.5) / (height - 0.5) >= aspect[0]


def test_longer_sides_in_pixels_are_uniform_over_what_the_shorter_one_leaves():
    """Aspect 2, sides 32 to 256: 64 to 256."""
    draws = rng_for(0, "test").random(4000)
    longer = [max(_size("pixels", (50, 100), float(u), pixels=(32, 256))) for u in draws]
    assert min(longer) == 64 and max(longer) == 256
    assert kstest(longer, "uniform", (63.5, 193)).pvalue > 1e-4


def test_image_rule_takes_the_shorter_side_of_the_canvas():
    assert _size("image", (100, 50), 0.0, canvas_hw=(200, 400), factor=(0.5, 0.5)) == (100, 50)


def test_prior_follows_the_clipped_normal():
    """Inside the limits the draws are normal; what is beyond them lies exactly on them."""
    mean, std = 0.2, 0.15
    draws = rng_for(0, "test").standard_normal(20_000)
    shares = np.array([clipped_share(CANVAS, PRIOR, (mean, std), float(z)) for z in draws])
    low, high = 10 / 640, 0.5
    at_low, at_high = np.mean(shares == low), np.mean(shares == high)
    assert at_low == pytest.approx(norm.cdf((low - mean) / std), abs=0.01)
    assert at_high == pytest.approx(norm.sf((high - mean) / std), abs=0.01)
    between = shares[(shares > low) & (shares < high)]
    edges = norm.cdf([(low - mean) / std, (high - mean) / std])
    assert kstest(between, lambda x: (norm.cdf((x - mean) / std) - edges[0]) / np.ptp(edges)).pvalue > 1e-4


@settings(max_examples=40, deadline=None)
@given(st.floats(0.03, 0.6), st.floats(0, 0.3), st.integers(0, 2**32 - 1))
def test_mean_and_spread_of_drawn_sizes_are_those_of_the_clipped_normal(mean, std, seed):
    """2,000 draws, so 5 standard errors, and the two pixels that truncation may take."""
    rng = rng_for(seed, "test")
    draws = zip(rng.standard_normal(2000).tolist(), rng.random(2000).tolist(), strict=True)
    sizes = np.array([_size("prior", (80, 120), u, usual=(mean, std), normal=z) for z, u in draws])
    shares = np.sqrt(sizes.prod(axis=1)) / 640
    exact = np.clip(mean + std * norm.ppf((np.arange(10_000) + 0.5) / 10_000), 10 / 640, 0.5)
    error = 5 * exact.std() / np.sqrt(2000)
    assert -2 / 640 - error <= shares.mean() - exact.mean() <= error
    fourth = ((exact - exact.mean()) ** 4).mean()
    variance_error = 5 * np.sqrt(max(0.0, fourth - exact.var() ** 2) / 2000)
    truncation = 2 / 640 * (2 * exact.std() + 2 / 640)
    assert abs(shares.var() - exact.var()) <= variance_error + truncation


def test_box_area_is_the_share_squared():
    """sqrt(box area / image area) gives the drawn share back, but for the two truncations."""
    for normal in (-1.0, 0.0, 2.0):
        height, width = _size("prior", (80, 120), uniform=0.3, normal=normal)
        share = clipped_share(CANVAS, PRIOR, (0.2, 0.1), normal)
        assert share - 2 / 640 <= math.sqrt(height * width) / 640 <= share


@pytest.mark.parametrize(
    ("size_hw", "problem"),
    [((4, 50), "too_small"), ((5, 50), None), ((640, 50), "too_large"), ((50, 639), None)],
)
def test_sizes_that_are_not_pasted(size_hw, problem):
    assert size_problem(size_hw, CANVAS, PRIOR) == problem


def test_small_cutouts_by_hand():
    """EM-Paste's 700 px: 20 x 35."""
    rule = SizeSettings(rule="object", min_cutout_area_px=700)
    assert cutout_problem((20, 35), rule) is None and cutout_problem((20, 34), rule) == "small_cutout"
    assert cutout_problem((1, 1), PRIOR) is None


@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.floats(0, 1),
    st.floats(-4, 4),
    st.sampled_from(["prior", "object", "image", "pixels"]),
)
def test_sizes_are_always_whole_and_positive(own_hw, uniform, normal, rule):
    height, width = _size(rule, own_hw, uniform, normal=normal)
    assert isinstance(height, int) and isinstance(width, int) and min(height, width) >= 1
