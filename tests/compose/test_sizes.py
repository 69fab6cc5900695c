import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, norm

from xpaste_ray.compose.sizes import (
    clipped_share,
    draw_size_hw,
    fit_size_table,
    load_size_table,
    size_problem,
    size_table_bytes,
)
from xpaste_ray.config import SizeSettings
from xpaste_ray.errors import ConfigError
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
        pytest.param("pixels", (100, 50), 0.0, {"pixels": (32, 256)}, (32, 16), id="pixels-tall"),
        pytest.param("pixels", (100, 400), 1.0, {"pixels": (32, 256)}, (128, 256), id="pixels-aspect-2"),
        pytest.param("pixels", (400, 100), 1.0, {"pixels": (32, 256)}, (256, 128), id="pixels-aspect-0.5"),
        pytest.param("prior", (50, 50), 0.5, {}, (128, 128), id="prior-mean-0.2"),
        pytest.param("prior", (50, 200), 0.5, {}, (64, 256), id="prior-aspect-4"),
        pytest.param("prior", (50, 50), 1.0, {"aspect_jitter": (1.0, 4.0)}, (64, 256), id="prior-jitter-4"),
    ],
)
def test_sizes_by_hand(rule, own_hw, uniform, options, size_hw):
    assert _size(rule, own_hw, uniform, **options) == size_hw


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


def test_box_area_is_the_share_squared():
    """For shares drawn from the prior, sqrt(box area / image area) gives them back to a pixel."""
    for normal in (-1.0, 0.0, 2.0):
        height, width = _size("prior", (80, 120), uniform=0.3, normal=normal)
        share = clipped_share(CANVAS, PRIOR, (0.2, 0.1), normal)
        assert math.sqrt(height * width) / 640 == pytest.approx(share, abs=1 / 640)


def test_lvis_table_has_the_published_facts():
    table = load_size_table("lvis")
    means = [mean for mean, _ in table.by_category.values()]
    assert len(means) == 1203 and np.mean(means) == pytest.approx(0.157, abs=5e-4)
    assert sum(std == 0 for _, std in table.by_category.values()) == 44
    assert table.of(10**6) == table.overall and 0.05 < table.overall[0] < 0.2


def _coco(boxes):
    return {
        "images": [{"id": 1, "height": 100, "width": 100}, {"id": 2, "height": 100, "width": 400}],
        "annotations": [
            {"image_id": image, "category_id": category, "bbox": [0, 0, *side], "iscrowd": crowd}
            for image, category, side, crowd in boxes
        ],
    }


def test_fit_by_hand(tmp_path):
    """Category 3: shares 0.2 and 0.4 of the side; 7: one, so deviation 0; crowds do not count."""
    coco = _coco(
        [
            (1, 3, (20, 20), 0),
            (2, 3, (80, 80), 0),
            (1, 7, (10, 40), 0),
            (1, 7, (90, 90), 1),
            (1, 7, (0, 5), 0),
        ]
    )
    table, left_out = fit_size_table(coco)
    assert left_out == {"crowd": 1, "empty_box": 1}
    assert table["3"] == pytest.approx([0.3, 0.1]) and table["7"] == pytest.approx([0.2, 0.0])
    path = tmp_path / "sizes.json"
    path.write_bytes(size_table_bytes(table))
    loaded = load_size_table(str(path))
    assert loaded.of(3) == pytest.approx((0.3, 0.1))
    assert loaded.of(99) == pytest.approx((0.8 / 3, np.std([0.2, 0.4, 0.2])))


def test_without_overall_entry_the_categories_are_pooled(tmp_path):
    """Means 0.1 and 0.3, deviations 0: pooled mean 0.2, deviation 0.1."""
    path = tmp_path / "sizes.json"
    path.write_text(json.dumps({"1": [0.1, 0.0], "2": [0.3, 0.0]}))
    assert load_size_table(str(path)).overall == pytest.approx((0.2, 0.1))


@pytest.mark.parametrize("text", ["{}", '{"1": [1]}', '{"a": [1, 2]}', "[]", '{"1": 3}', "{"])
def test_bad_tables_are_errors(tmp_path, text):
    path = tmp_path / "sizes.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="sizes.json"):
        load_size_table(str(path))
    with pytest.raises(ConfigError, match="not a file"):
        load_size_table(str(tmp_path / "none.json"))


def test_nothing_to_fit_is_an_error():
    with pytest.raises(ConfigError, match="no boxes"):
        fit_size_table(_coco([(1, 3, (90, 90), 1)]))


@pytest.mark.parametrize(
    ("size_hw", "problem"),
    [((4, 50), "too_small"), ((5, 50), None), ((640, 50), "too_large"), ((50, 639), None)],
)
def test_sizes_that_are_not_pasted(size_hw, problem):
    assert size_problem(size_hw, CANVAS, PRIOR) == problem


@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.floats(0, 1),
    st.floats(-4, 4),
    st.sampled_from(["prior", "object", "image", "pixels"]),
)
def test_sizes_are_always_whole_and_positive(own_hw, uniform, normal, rule):
    height, width = _size(rule, own_hw, uniform, normal=normal)
    assert isinstance(height, int) and isinstance(width, int) and min(height, width) >= 1
