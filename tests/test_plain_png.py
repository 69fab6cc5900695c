"""Our own PNG files, and those of others."""

import io
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from xpaste_ray.masks import decode_png, encode_png
from xpaste_ray.plain_png import decode_plain

_sides = st.integers(2, 40)  # libpng stores one column otherwise
_shapes = st.one_of(st.tuples(_sides, _sides), st.tuples(_sides, _sides, st.just(3)))


@settings(deadline=None)
@given(arrays(np.uint8, _shapes))
def test_what_we_write_is_read_without_opencv(image):
    decoded = decode_plain(encode_png(image))
    assert decoded is not None and decoded.flags.c_contiguous and np.array_equal(decoded, image)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1"])
def test_what_others_write_is_left_to_opencv(mode):
    noise = np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(file, "png")
    assert decode_plain(file.getvalue()) is None
    if mode in ("L", "RGB", "RGBA"):
        assert np.array_equal(decode_png(file.getvalue()), np.asarray(Image.open(file)))


def test_a_16_bit_file_is_not_taken_for_ours():
    data = bytes(cv2.imencode(".png", np.full((4, 4), 60_000, np.uint16))[1])
    assert decode_plain(data) is None


def test_damage_is_noticed():
    """Cut anywhere, or with any byte of the pixels changed: the checksum of what is inflated tells."""
    image = np.random.default_rng(0).integers(0, 256, (6, 5), np.uint8)
    data = encode_png(image)
    assert all(decode_plain(data[:end]) is None for end in range(len(data) - 12))
    start = data.index(b"IDAT") + 4
    length = int.from_bytes(data[start - 8 : start - 4], "big")
    for at in range(start, start + length):
        changed = bytearray(data)
        changed[at] ^= 4
        decoded = decode_plain(bytes(changed))
        assert decoded is None or np.array_equal(decoded, image)  # some bits of zlib's header mean nothing


def test_more_pixels_than_the_header_says_are_not_inflated():
    """64 MiB of zeros in a file of 4 x 4 pixels."""
    data = encode_png(np.zeros((4, 4), np.uint8))
    start = data.index(b"IDAT") - 4
    bomb = zlib.compress(bytes(64 * 1024**2))
    chunk = len(bomb).to_bytes(4, "big") + b"IDAT" + bomb + bytes(4)
    assert decode_plain(data[:start] + chunk + data[-12:]) is None
