import io
import struct
import subprocess
import sys
import textwrap
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.backgrounds.material import encoded, exif, picture, png, png_chunk
from xpaste_ray.errors import RowError
from xpaste_ray.pictures.decode import check, decode, upright
from xpaste_ray.pictures.headers import read_header

PICTURE = picture()
FILES = {
    "baseline": encoded(PICTURE, "JPEG", quality=90),
    "progressive": encoded(PICTURE, "JPEG", quality=90, progressive=True),
    "restarts": encoded(PICTURE, "JPEG", restart_marker_rows=1),
    "grey": encoded(Image.fromarray(PICTURE).convert("L"), "JPEG"),
    "cmyk": encoded(Image.fromarray(PICTURE).convert("CMYK"), "JPEG"),
    "png": encoded(PICTURE, "PNG"),
    "rgba": encoded(Image.fromarray(PICTURE).convert("RGBA"), "PNG"),
    "webp": encoded(PICTURE, "WEBP"),
    "lossless": encoded(PICTURE, "WEBP", lossless=True),
    "animated-webp": encoded(
        PICTURE, "WEBP", save_all=True, append_images=[Image.fromarray(255 - PICTURE)], lossless=True
    ),
}
LOSSLESS = ("png", "rgba", "lossless", "animated-webp")


def _reason(data):
    with pytest.raises(RowError) as caught:
        check(data)
    return caught.value.reason


@pytest.mark.parametrize("name", FILES)
def test_whole_files_decode_to_contiguous_rgb(name):
    header, image = check(FILES[name]), decode(FILES[name])
    assert image.shape == (48, 64, 3) and image.dtype == np.uint8 and image.flags.c_contiguous
    assert header.upright_size_hw == (48, 64)
    if name in LOSSLESS:
        assert np.array_equal(image, PICTURE)
    elif name == "grey":
        assert (image[..., :1] == image).all()
    else:
        assert np.abs(image.astype(int) - PICTURE).mean() < 15


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("left", [-1, -2, -12, 0.9, 0.75, 0.5, 0.3, 0.05])
def test_cut_files_are_refused(name, left):
    data = FILES[name]
    end = len(data) + left if left < 0 else int(len(data) * left)
    assert _reason(data[:end]) == "truncated"


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith(("webp", "lossless"))])
def test_files_whose_end_was_never_written_are_refused(name):
    data = FILES[name]
    assert _reason(data[: len(data) // 2] + bytes(len(data) - len(data) // 2)) == "truncated"


@pytest.mark.parametrize("name", ["baseline", "progressive", "restarts", "grey", "cmyk"])
@pytest.mark.parametrize("left", [0.97, 0.7, 0.5])
def test_cut_jpeg_that_was_given_an_end_again_is_refused(name, left):
    data = FILES[name]
    assert _reason(data[: int(len(data) * left)] + b"\xff\xd9") == "truncated"


@pytest.mark.parametrize("name", FILES)
def test_what_follows_the_image_is_ignored(name):
    assert np.array_equal(decode(FILES[name] + b"\xff\xd8\xff\xda junk" * 50), decode(FILES[name]))
    check(FILES[name] + b"\xff\xd8\xff\xda junk" * 50)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied(kind, orientation):
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(PICTURE, kind, exif=exif(orientation), **options)
    plain = decode(encoded(PICTURE, kind, **options))
    operation = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
                 6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}.get(orientation)  # fmt: skip
    image = Image.fromarray(plain)
    expected = image.transpose(Image.Transpose[operation]) if operation else image
    assert np.array_equal(decode(data), np.asarray(expected))
    assert np.array_equal(upright(plain, orientation), np.asarray(expected))
    header = check(data)
    assert header.size_hw == (48, 64) and header.upright_size_hw == decode(data).shape[:2]


@pytest.mark.parametrize(
    "tiff", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"??" * 9]
)
def test_damaged_exif_leaves_the_image_as_it_is(tiff):
    payload = b"Exif\0\0" + tiff
    segment = b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload
    data = FILES["baseline"][:2] + segment + FILES["baseline"][2:]
    assert read_header(data).orientation == 1 and np.array_equal(decode(data), decode(FILES["baseline"]))


def test_transparent_parts_are_laid_over_white():
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0] = (200, 0, 0, 255)
    rgba[1] = (200, 0, 0, 51)  # a fifth
    assert decode(encoded(rgba, "PNG"))[:, 0].tolist() == [[200, 0, 0], [244, 204, 204]]
    assert decode(encoded(rgba, "WEBP", lossless=True))[:, 0].tolist() == [[200, 0, 0], [244, 204, 204]]
    grey = Image.fromarray(np.array([[[40, 255], [40, 0]]], np.uint8))
    assert decode(encoded(grey, "PNG"))[0].tolist() == [[40] * 3, [255] * 3]


def test_palettes_keep_their_colours_and_their_transparent_entry_is_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    assert decode(encoded(image, "PNG"))[0].tolist() == [[10, 20, 30], [40, 50, 60]]
    assert decode(encoded(image, "PNG", transparency=1))[0].tolist() == [[10, 20, 30], [255, 255, 255]]


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_is_spread_over_the_channels(mode):
    image = Image.fromarray(np.array([[0, 255, 255]], np.uint8)).convert(mode)
    assert decode(encoded(image, "PNG"))[0].tolist() == [[0] * 3, [255] * 3, [255] * 3]


def test_sixteen_bits_are_scaled_not_clipped():
    grey = png(3, 1, b"\0" + struct.pack(">3H", 0, 0x80FF, 0xFFFF), bits=16, colour=0)
    assert decode(grey)[0, :, 0].tolist() == [0, 0x80, 0xFF] and check(grey)
    rgb = png(1, 1, b"\0" + struct.pack(">3H", 0x1234, 0x0100, 0xFEDC), bits=16)
    assert decode(rgb)[0, 0].tolist() == [0x12, 0x01, 0xFE]
    rgba = png(1, 1, b"\0" + struct.pack(">4H", 0x1234, 0x0100, 0xFEDC, 0xFFFF), bits=16, colour=6)
    assert decode(rgba)[0, 0].tolist() == [0x12, 0x01, 0xFE]


@pytest.mark.parametrize(
    ("cmyk", "rgb"),
    [((0, 0, 0, 0), (255, 255, 255)), ((0, 255, 255, 0), (255, 0, 0)), ((0, 0, 0, 255), (0, 0, 0))],
)
def test_adobe_cmyk_is_not_inverted(cmyk, rgb):
    data = encoded(Image.new("CMYK", (16, 16), cmyk), "JPEG", quality=100)
    assert b"Adobe" in data
    assert np.abs(decode(data)[8, 8].astype(int) - rgb).max() <= 3


def test_ycck_is_converted():
    """The Adobe marker says YCCK instead of CMYK: the first three channels are then YCbCr.

    Inks of 100 are stored as 155 (Adobe inverts). Read as Y = Cb = Cr = 155, JFIF's formulas make
    155 + 1.402 x 27, 155 - (0.344 + 0.714) x 27, 155 + 1.772 x 27 = (193, 126, 203) of them. Those are
    the inks, and there is no black: RGB is what they leave of 255.
    """
    data = encoded(Image.new("CMYK", (16, 16), (100, 100, 100, 0)), "JPEG", quality=100)
    marker = data.index(b"Adobe")
    data = data[: marker + 11] + b"\2" + data[marker + 12 :]
    assert np.abs(decode(data)[8, 8].astype(int) - (62, 129, 52)).max() <= 3


def test_first_frame_of_an_animation_counts():
    frames = {"save_all": True, "append_images": [Image.fromarray(255 - PICTURE)]}
    for data in (encoded(PICTURE, "PNG", **frames), encoded(PICTURE, "WEBP", lossless=True, **frames)):
        assert np.array_equal(decode(data), PICTURE) and check(data)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "PPM", "ICO", "PDF"])
def test_other_formats_are_refused(kind):
    assert _reason(encoded(PICTURE, kind)) == "unsupported_format"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty_file"),
        (b"not an image, whatever it is called", "unsupported_format"),
        (b"SIMPLE  =                    T" + b" " * 2850, "unsupported_format"),  # FITS
        (b"\xff\xd8\xff", "truncated"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"RIFF\x04\0\0\0WEBP", "unreadable"),
        (png(0, 5, b""), "unreadable"),
        (png(2, 2, b"\0abcdef"), "unreadable"),  # one row of two
        (FILES["png"][:60] + b"\xaa" + FILES["png"][61:], "unreadable"),  # a checksum does not hold
    ],
)
def test_broken_files_have_their_reason(data, reason):
    assert _reason(data) == reason


def test_jpeg_that_is_not_huffman_coded_is_refused():
    at = FILES["baseline"].index(b"\xff\xc0")
    assert _reason(FILES["baseline"][:at] + b"\xff\xc9" + FILES["baseline"][at + 2 :]) == "unreadable"


def _text_chunk(kind, megabytes):
    return png_chunk(kind, b"name\0" + (b"\1\0\0\0" if kind == b"iTXt" else b"\0")
                     + zlib.compress(bytes(megabytes * 1024**2), 9))  # fmt: skip


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_metadata_that_inflates_without_end_is_refused(kind):
    assert _reason(png(1, 1, b"\0abc", _text_chunk(kind, 20))) == "oversized_metadata"
    small = png(1, 1, b"\0abc", _text_chunk(kind, 2))
    assert decode(small)[0, 0].tolist() == [*b"abc"] and check(small)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_size_limit_holds_for_every_format(kind):
    side = 16000  # WebP ends at 16,383
    data = bytearray(FILES["baseline" if kind == "JPEG" else "webp"])
    if kind == "JPEG":
        struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, side, side)
    else:
        struct.pack_into("<HH", data, data.index(b"\x9d\x01\x2a") + 3, side, side)
    assert _reason(bytes(data)) == "too_many_pixels"


def test_bombs_cost_no_memory(tmp_path):
    """50,000 x 50,000 pixels and 100 MB texts, in a fresh process that says how far its memory rose."""
    packer = zlib.compressobj(9)
    first, more = (packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    pixels = first + more * 2384 + packer.flush()  # 2.5 GB of zeros
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0))
    magic, end = b"\x89PNG\r\n\x1a\n", png_chunk(b"IEND", b"")
    (tmp_path / "huge.png").write_bytes(magic + head + png_chunk(b"IDAT", pixels) + end)
    for kind in (b"zTXt", b"iTXt", b"iCCP"):
        (tmp_path / f"{kind.decode()}.png").write_bytes(png(1, 1, b"\0abc", _text_chunk(kind, 100)))
    (tmp_path / "texts.png").write_bytes(png(1, 1, b"\0abc", *[_text_chunk(b"zTXt", 15)] * 40))
    code = textwrap.dedent(f"""
        import resource
        from pathlib import Path
        from xpaste_ray.pictures import decode
        from xpaste_ray.errors import RowError
        decode.check(Path({str(tmp_path / "small.png")!r}).read_bytes())
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        before = peak()
        for name in ("huge", "zTXt", "iTXt", "iCCP", "texts"):
            try:
                decode.check((Path({str(tmp_path)!r}) / f"{{name}}.png").read_bytes())
                print("ok")
            except RowError as error:
                print(error.reason)
        print((peak() - before) // 1024)
    """)
    (tmp_path / "small.png").write_bytes(FILES["png"])
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    *outcomes, risen_mb = out.split()
    assert outcomes == ["too_many_pixels", *["oversized_metadata"] * 3, "ok"]
    assert int(risen_mb) < 64


def test_decoding_is_that_of_pillow_within_rounding():
    for name in ("baseline", "progressive", "grey"):
        expected = np.asarray(Image.open(io.BytesIO(FILES[name])).convert("RGB")).astype(int)
        assert np.abs(decode(FILES[name]) - expected).max() <= 1


@pytest.mark.parametrize("name", sorted(FILES))
def test_canvas_can_be_painted_on(name):
    assert decode(FILES[name]).flags.writeable
