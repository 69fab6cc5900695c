import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.formats.conftest import make_image
from xpaste_ray.errors import ConfigError, RowError
from xpaste_ray.formats.images import ImageEncoding, checked_size_hw, encode_image, image_name


@pytest.mark.parametrize(
    ("encoding", "name", "worst"),
    [
        pytest.param(ImageEncoding(), "000007.jpg", 12, id="jpeg"),
        pytest.param(ImageEncoding(format="webp", quality=90), "000007.webp", 20, id="webp"),
        pytest.param(ImageEncoding(format="png", quality=1), "000007.png", 0, id="png-has-no-loss"),
    ],
)
def test_image_comes_back_in_rgb(tmp_path, encoding, name, worst):
    rgb, path = make_image(3, (48, 60)), tmp_path / image_name(7, encoding)
    path.write_bytes(encode_image(rgb, encoding))
    assert path.name == name
    assert np.abs(np.asarray(Image.open(path).convert("RGB")).astype(int) - rgb).max() <= worst
    assert checked_size_hw(path.read_bytes()) == (48, 60)


@pytest.mark.parametrize(
    ("subsampling", "factors"), [("4:2:0", (2, 2)), ("4:2:2", (2, 1)), ("4:4:4", (1, 1))]
)
def test_jpeg_stores_colour_as_told(tmp_path, subsampling, factors):
    data = encode_image(make_image(0), ImageEncoding(subsampling=subsampling))
    start = data.index(b"\xff\xc0")  # of the frame header: 10 bytes, then id, factors, table a component
    assert (data[start + 11] >> 4, data[start + 11] & 15) == factors


def test_lower_quality_is_smaller_and_the_same_pixels_give_the_same_bytes():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    sizes = [len(encode_image(noise, ImageEncoding(quality=quality))) for quality in (1, 50, 100)]
    assert sizes == sorted(set(sizes))
    assert encode_image(noise, ImageEncoding()) == encode_image(noise.copy(), ImageEncoding())


def test_names_have_six_digits_or_more():
    names = [image_name(index, ImageEncoding()) for index in (0, 999_999, 1_000_000)]
    assert names == ["000000.jpg", "999999.jpg", "1000000.jpg"]


@pytest.mark.parametrize(
    "fields", [{"format": "gif"}, {"quality": 0}, {"quality": 101}, {"subsampling": "4:1:0"}]
)
def test_wrong_encodings_are_refused_with_what_is_allowed(fields):
    with pytest.raises(ConfigError, match="must be"):
        ImageEncoding(**fields)


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("format_name", ["jpeg", "webp", "png"])
def test_an_image_counts_only_if_every_pixel_is_there(format_name):
    data = encode_image(make_image(0, (480, 640)), ImageEncoding(format=format_name))
    assert checked_size_hw(data) == (480, 640)
    for kept in (len(data) // 2, len(data) - 1):
        with pytest.raises(RowError, match="truncated"):
            checked_size_hw(data[:kept])


def test_of_what_is_no_image_nothing_is_decoded():
    """The second claims 2.5 Gpixel in its header."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", zlib.compress(b"\0" * 99))
    for data, reason in ((b"", "empty_file"), (bomb, "too_many_pixels"), (b"text", "unsupported_format")):
        with pytest.raises(RowError, match=reason):
            checked_size_hw(data)
