import subprocess
import sys

import cv2
import numpy as np
import pytest

from xpaste_ray.errors import RowError
from xpaste_ray.models import matting
from xpaste_ray.models.matting import matte, refined, trimap_of
from xpaste_ray.models.soft_masks import resized, stretched

LIMITS = (85, 170)


def disc(side, radius):
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return np.hypot(x, y) < radius


def picture(mask, noise=4):
    """Green on grey, with noise of that many levels in both."""
    image = np.where(mask[..., None], (40, 160, 60), (200, 200, 190)).astype(np.float64)
    return (image + np.random.default_rng(0).normal(0, noise, image.shape)).clip(0, 255).astype(np.uint8)


def unsure(mask, sigma):
    """What a coarse network may say of it: the mask, blurred."""
    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma)


def test_trimap_is_background_below_85_and_foreground_from_170():
    levels = np.array([[0, 84.9, 85, 127, 169.9, 170, 255]]) / 255
    assert trimap_of(levels, LIMITS).tolist() == [[0, 0, 0.5, 0.5, 0.5, 1, 1]]


@pytest.mark.parametrize("noise", [4, pytest.param(0, id="flat")])
def test_alpha_follows_the_edge_that_the_probabilities_only_suspect(noise):
    """The object begins at column 50, the network says 46: matting finds 50. Flat colours make the equations
    nearly singular."""
    truth, said = np.mgrid[:96, :96][1] >= 50, np.mgrid[:96, :96][1] >= 46
    probability = unsure(said, 14)
    alpha = refined(picture(truth, noise), probability, LIMITS)
    assert alpha.dtype == np.float32 and alpha.min() == 0 and alpha.max() == 1
    band = trimap_of(cv2.GaussianBlur(probability, (5, 5), 0), LIMITS) == 0.5
    assert np.mean((probability > 0.5)[band] == truth[band]) < 0.75
    assert np.mean((alpha > 0.5)[band] == truth[band]) > 0.99


def test_what_is_sure_stays():
    probability = unsure(disc(96, 27), 11)
    trimap = trimap_of(probability, LIMITS)
    alpha = matte(picture(disc(96, 30)), trimap, probability)
    assert (alpha[trimap == 0] == 0).all() and (alpha[trimap == 1] == 1).all()


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        pytest.param(1.0, 0.0, (1.0, 0.0), id="nothing-unknown"),
        pytest.param(0.0, 0.0, (0.0, 0.0), id="all-background"),
        pytest.param(1.0, 1.0, (1.0, 1.0), id="all-foreground"),
        pytest.param(0.5, 0.5, (0.5, 0.5), id="all-unknown"),
        pytest.param(0.5, 0.0, (0.5, 0.0), id="no-sure-foreground"),
        pytest.param(1.0, 0.5, (1.0, 0.5), id="no-sure-background"),
    ],
)
def test_without_two_sures_and_an_unknown_the_probabilities_stay(left, right, expected):
    probability = np.full((32, 32), left, np.float32)
    probability[:, 16:] = right
    alpha = matte(picture(disc(32, 9)), trimap_of(probability, LIMITS), probability)
    assert (alpha[0, 0], alpha[-1, -1]) == expected and np.isfinite(alpha).all()


@pytest.mark.parametrize("size_hw", [(1, 1), (2, 40), (40, 1), (3, 3)])
def test_tiny_images_are_no_trouble(size_hw):
    probability = np.linspace(0, 1, size_hw[0] * size_hw[1], dtype=np.float32).reshape(size_hw)
    alpha = refined(np.zeros((*size_hw, 3), np.uint8), probability, LIMITS)
    assert alpha.shape == size_hw and np.isfinite(alpha).all()


@pytest.fixture
def solved(monkeypatch):
    """(shape, unknown pixels) of the equations that are solved."""
    sizes = []
    solve = matting._closed_form

    def noted(image, trimap):
        sizes.append((trimap.shape, np.count_nonzero(trimap == 0.5)))
        return solve(image, trimap)

    monkeypatch.setattr(matting, "_closed_form", noted)
    return sizes


def test_work_is_bounded_whatever_the_image(solved):
    """Of 52,000 unknown pixels about half are solved for, and the edge is still where it is."""
    truth = disc(768, 240)
    alpha = refined(picture(truth), unsure(truth, 40), LIMITS)
    ((_, unknown_px),) = solved
    assert 20_000 < unknown_px < 30_000
    assert np.mean((alpha > 0.5) == truth) > 0.999


def test_equations_are_only_made_around_the_unknown(solved):
    trimap = np.zeros((200, 300))
    trimap[50:70, 100:140], trimap[55:65, 105:135] = 0.5, 1
    matte(np.zeros((200, 300, 3), np.uint8), trimap, trimap.astype(np.float32))
    assert solved == [((24, 44), 20 * 40 - 10 * 30)]


_DIGEST = """
import hashlib
from tests.models.test_matting import LIMITS, disc, picture, unsure
from xpaste_ray.models.matting import _closed_form, trimap_of
trimap = trimap_of(unsure(disc(256, 80), 30), LIMITS)
assert (trimap == 0.5).sum() > 10_000
print(hashlib.sha256(_closed_form(picture(disc(256, 84)), trimap).tobytes()).hexdigest())
"""


def test_bytes_do_not_depend_on_the_threads_of_blas():
    """OpenBLAS sums more than 10,000 numbers with all threads that it is given."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", _DIGEST], capture_output=True, text=True, check=True,
            env={"OPENBLAS_NUM_THREADS": threads, "PYTHONPATH": ":".join(filter(None, sys.path))},
        ).stdout
        for threads in ("1", "2")
    }  # fmt: skip
    assert len(digests) == 1


def test_mask_is_stretched_between_its_extremes():
    assert stretched(np.array([[0.2, 0.3, 0.4]])).tolist() == [pytest.approx([0, 0.5, 1])]


@pytest.mark.parametrize("value", [0.0, 0.7, 1.0])
def test_constant_mask_shows_nothing(value):
    """X-Paste's code divides by zero here."""
    assert not stretched(np.full((4, 4), value, np.float32)).any()


def test_mask_that_is_not_finite_rejects_its_image():
    with pytest.raises(RowError, match="mask_not_finite"):
        resized(np.array([[0, np.nan]]), (4, 4))
