import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import ledoit_wolf_shrinkage, shrunk_covariance

from xpaste_ray.config.em import EmSettings
from xpaste_ray.foregrounds.likeness import BLOCK, distances_to, learn, ledoit_wolf, moments
from xpaste_ray.rng import rng_for

ALL = EmSettings(inner_fraction=1)


def drawn(name, count, width):
    spread = np.linspace(2, 0.2, width)
    return (1 + spread * rng_for(0, name).standard_normal((count, width))).astype(np.float32)


@pytest.mark.parametrize(("count", "width"), [(3000, 6), (40, 40), (7, 60)])
def test_shrinkage_is_scikit_learns(count, width):
    samples = drawn("shrinkage", count, width)
    assert ledoit_wolf(moments(samples)) == pytest.approx(ledoit_wolf_shrinkage(samples), rel=1e-6)


def test_two_samples_are_shrunk_although_ledoit_and_wolf_would_not():
    """They differ by (2, 0): a variance of 1 along x, 0 along y. Half of it becomes 0.5 everywhere, so x has
    0.75 and y 0.25: a step of 1 along y is 2 standard deviations, not infinitely many."""
    samples = np.array([[1, 0], [3, 0]], np.float32)
    assert ledoit_wolf_shrinkage(samples) == pytest.approx(0)
    likeness, reach = learn(samples, ALL)
    found = distances_to(likeness, np.array([[2, 1], [2, 0], [3, 0]], np.float32))
    assert found == pytest.approx([2, 0, 1 / np.sqrt(0.75)], abs=1e-4)
    assert reach == pytest.approx(found[2]) and likeness.log_determinant == pytest.approx(
        np.log(0.75 * 0.25), abs=1e-4
    )


@pytest.mark.parametrize("shrinkage", ["ledoit-wolf", 0.25])
def test_distance_is_mahalanobis_of_the_shrunk_covariance(shrinkage):
    samples = drawn("distance", 50, 8)
    likeness, reach = learn(samples, ALL.model_copy(update={"shrinkage": shrinkage}))
    part = ledoit_wolf_shrinkage(samples) if shrinkage == "ledoit-wolf" else shrinkage
    covariance = shrunk_covariance(np.cov(samples.T, bias=True), part)
    inverse = np.linalg.inv(covariance)
    expected = [mahalanobis(one, samples.mean(axis=0), inverse) for one in samples]
    assert distances_to(likeness, samples) == pytest.approx(expected, rel=1e-4)
    assert reach == pytest.approx(max(expected), rel=1e-4)
    assert likeness.log_determinant == pytest.approx(np.linalg.slogdet(covariance)[1], abs=1e-4)


@pytest.mark.parametrize("distance", ["mahalanobis", "cosine"])
@pytest.mark.parametrize("shrinkage", ["ledoit-wolf", 0.0, 1.0])
@pytest.mark.parametrize("value", [0.0, 1e-4, 3.0, 6e4])
def test_the_same_sample_over_and_over_is_a_likeness_of_its_own(value, shrinkage, distance):
    """No variance at all, at any size of the features: the sample is at its mean, all else farther."""
    settings = EmSettings(shrinkage=shrinkage, distance=distance)
    likeness, _ = learn(np.full((5, 3), value, np.float16), settings)
    near, far = distances_to(likeness, np.array([[value] * 3, [value + 1, 0, -1]], np.float32))
    assert np.isfinite([near, far]).all() and (near < far or (value == 0.0 and distance == "cosine"))


def test_more_dimensions_than_samples_with_no_shrinkage_is_still_a_distance():
    samples = drawn("wide", 4, 32)
    likeness, _ = learn(samples, EmSettings(shrinkage=0.0, inner_fraction=1))
    found = distances_to(likeness, np.concatenate([samples, samples[:1] + 1]))
    assert np.isfinite(found).all() and found[:4] == pytest.approx(np.sqrt(3), rel=0.02) and found[4] > 100


def test_inner_part_leaves_out_the_farthest():
    """Of ten at 0, 1, .. 8 and 100, the inner 0.9 are all but the last: their mean is 4."""
    samples = np.array([[0], [1], [2], [3], [4], [5], [6], [7], [8], [100]], np.float32)
    likeness, _ = learn(samples, EmSettings(inner_fraction=0.9))
    assert likeness.mean.item() == 4


def test_a_part_of_a_number_is_counted_as_it_is_written():
    """0.07 of 100 are 7, although 0.07 * 100 is 7.000000000000001: the inner seven are those around 49.5."""
    samples = np.arange(100, dtype=np.float32)[:, None]
    likeness, reach = learn(samples, EmSettings(inner_fraction=0.07, shrinkage=0.0))
    assert likeness.mean.item() == pytest.approx(49)  # 46 to 52: of two at 3.5, the first
    assert reach == pytest.approx(3 / 2, rel=1e-3)  # in deviations: variance (9 + 4 + 1) * 2 / 7 = 4


def test_inner_are_two_at_least():
    likeness, _ = learn(np.array([[0.0], [2], [9]], np.float32), EmSettings(inner_fraction=0.01))
    assert likeness.mean.item() == 1


def test_cosine_is_to_the_mean_whatever_the_length():
    likeness, reach = learn(
        np.array([[2, 0], [0, 2]], np.float32), ALL.model_copy(update={"distance": "cosine"})
    )
    found = distances_to(likeness, np.array([[5, 5], [1, 0], [-1, -1], [0, 0]], np.float32))
    assert found == pytest.approx([0, 1 - np.sqrt(0.5), 2, 1], abs=1e-6)
    assert reach == pytest.approx(1 - np.sqrt(0.5)) and likeness.log_determinant is None


def test_what_is_not_finite_is_infinitely_far_and_changes_no_other():
    likeness, _ = learn(drawn("finite", 9, 3), ALL)
    rows = drawn("finite rows", 4, 3)
    expected = distances_to(likeness, rows)
    rows[1, 0], rows[2] = np.nan, np.inf
    assert distances_to(likeness, rows).tolist() == [expected[0], np.inf, np.inf, expected[3]]


@pytest.mark.parametrize("distance", ["mahalanobis", "cosine"])
def test_equal_rows_are_equally_far_wherever_they_stand(distance):
    settings = EmSettings(distance=distance)
    likeness, _ = learn(drawn("place", 300, 70), settings)
    rows = drawn("place rows", 2 * BLOCK + 5, 70)
    rows[[1, 7, BLOCK - 1, BLOCK, 2 * BLOCK + 4]] = rows[0]
    found = distances_to(likeness, rows)
    assert len({*found[[0, 1, 7, BLOCK - 1, BLOCK, 2 * BLOCK + 4]].tolist()}) == 1
