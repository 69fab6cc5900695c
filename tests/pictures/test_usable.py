import numpy as np
import pytest
from PIL import Image

from tests.backgrounds.material import encoded, exif, picture, png
from xpaste_ray.errors import RowError
from xpaste_ray.pictures.decode import decode_rgba
from xpaste_ray.pictures.usable import mask_defect, read_cutout

PICTURE = picture(40, 60)
ALPHA = np.zeros((40, 60), np.uint8)
ALPHA[5:15, 10:40] = 255  # 10 x 30 px
RGBA = Image.fromarray(np.dstack((PICTURE, ALPHA)), "RGBA")


def _reason(call, *given):
    with pytest.raises(RowError) as caught:
        call(*given)
    return caught.value.reason


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparent_files_give_colours_and_alpha(kind):
    image, mask = read_cutout(encoded(RGBA, kind, lossless=True), 1024)
    assert np.array_equal(mask, ALPHA)
    assert np.array_equal(image[ALPHA > 0], PICTURE[ALPHA > 0])


def test_hidden_colours_do_not_come_through():
    """What is under the transparent part, an old background, is replaced by the object's own colour."""
    rgb = np.where(ALPHA[..., None] > 0, np.uint8([200, 30, 30]), np.uint8([0, 255, 0]))
    rgb[7, 12] = 190  # not one colour only
    image, mask = read_cutout(encoded(np.dstack((rgb, ALPHA)), "PNG"), 15)  # a quarter of the size
    assert max(image.shape[:2]) == 15 and mask.shape == image.shape[:2]
    assert image[..., 1].max() < 100


def test_palette_with_a_transparent_colour_is_a_cut_out():
    indexes = np.where(ALPHA > 0, np.where(PICTURE[..., 0] > 128, 2, 1), 0).astype(np.uint8)
    indexed = Image.fromarray(indexes, "P")
    indexed.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    image, mask = read_cutout(encoded(indexed, "PNG", transparency=0), 1024)
    assert np.array_equal(mask, ALPHA) and set(image[ALPHA > 0][:, 0]) == {0, 255}


def test_grey_with_alpha_is_a_cut_out():
    grey = Image.merge("LA", (Image.fromarray(PICTURE[..., 0]), Image.fromarray(ALPHA)))
    image, mask = read_cutout(encoded(grey, "PNG"), 1024)
    assert np.array_equal(mask, ALPHA) and np.array_equal(image[6, 11], [PICTURE[6, 11, 0]] * 3)


def test_exif_turns_both():
    image, mask = read_cutout(encoded(RGBA, "PNG", exif=exif(6)), 1024)  # 90 degrees clockwise
    assert image.shape == (60, 40, 3) and np.array_equal(mask, np.rot90(ALPHA, -1))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(encoded(PICTURE, "JPEG"), "no_alpha", id="jpeg"),
        pytest.param(encoded(PICTURE, "PNG"), "no_alpha", id="rgb-png"),
        pytest.param(encoded(PICTURE, "WEBP"), "no_alpha", id="rgb-webp"),
        pytest.param(encoded(Image.new("I;16", (9, 9), 7), "PNG"), "no_alpha", id="16-bit-grey"),
        pytest.param(encoded(RGBA, "PNG")[:-40], "truncated", id="cut"),
        pytest.param(encoded(RGBA, "WEBP")[:-4], "truncated", id="cut-webp"),
        pytest.param(b"", "empty_file", id="empty"),
        pytest.param(b"hello", "unsupported_format", id="text"),
        pytest.param(png(50_000, 50_000, b"", colour=6), "too_many_pixels", id="bomb"),
    ],
)
def test_what_is_no_cut_out_says_why(data, reason):
    assert _reason(read_cutout, data, 1024) == reason
    assert _reason(decode_rgba, data) == reason


def _opaque(rows, columns):
    alpha = np.zeros_like(ALPHA)
    alpha[rows, columns] = 255
    return alpha


@pytest.mark.parametrize(
    ("alpha", "reason"),
    [
        pytest.param(np.zeros_like(ALPHA), "empty_mask", id="all-0"),
        pytest.param(ALPHA // 2, "empty_mask", id="nothing-above-half"),
        pytest.param(np.full_like(ALPHA, 255), "opaque_image", id="all-255"),
        pytest.param(_opaque(11, 40), "tiny_mask", id="1-px"),
        pytest.param(_opaque(slice(None), 7), "tiny_mask", id="1-px-wide"),
    ],
)
def test_alpha_that_shows_nothing_is_rejected(alpha, reason):
    """Before they could become empty instances."""
    assert _reason(read_cutout, encoded(np.dstack((PICTURE, alpha)), "PNG"), 1024) == reason


def test_object_of_one_colour_is_rejected():
    black = np.dstack((np.zeros_like(PICTURE), ALPHA))
    assert _reason(read_cutout, encoded(black, "PNG"), 1024) == "black_image"
    assert mask_defect(np.full_like(PICTURE, 90), ALPHA) == "constant_image"
    assert mask_defect(PICTURE, ALPHA) is None


def test_long_thin_object_that_vanishes_when_reduced_is_rejected():
    alpha = np.zeros((8, 2000), np.uint8)
    alpha[3:5] = 255
    data = encoded(np.dstack((picture(8, 2000), alpha)), "PNG")
    assert _reason(read_cutout, data, 64) in ("empty_mask", "tiny_mask")
