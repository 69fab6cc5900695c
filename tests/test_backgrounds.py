import numpy as np
import pytest
from PIL import Image

from xpaste_ray.backgrounds import index_backgrounds
from xpaste_ray.errors import ConfigError


def test_listed_by_name_with_size_after_exif_rotation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.new("RGB", (30, 20)).save(tmp_path / "b.jpg", exif=exif)
    (tmp_path / "sub").mkdir()
    Image.new("L", (8, 9)).save(tmp_path / "sub" / "a.png")
    found = index_backgrounds(tmp_path)
    assert [(image.id, image.size_hw) for image in found.images] == [
        ("b.jpg", (30, 20)),
        ("sub/a.png", (9, 8)),
    ]
    assert found.load("b.jpg").shape == (30, 20, 3)
    assert found.load("sub/a.png").shape == (9, 8, 3)


def test_colours_are_rgb(tmp_path):
    Image.new("RGB", (4, 4), (250, 10, 20)).save(tmp_path / "a.png")
    assert np.array_equal(index_backgrounds(tmp_path).load("a.png")[0, 0], (250, 10, 20))


def test_unreadable_files_are_rejected_with_a_reason(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "good.png")
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.jpg").touch()
    Image.effect_noise((64, 64), 50).save(tmp_path / "torn.jpg")
    torn = (tmp_path / "torn.jpg").read_bytes()
    (tmp_path / "torn.jpg").write_bytes(torn[: len(torn) // 2])
    found = index_backgrounds(tmp_path)
    assert len(found) == 1
    assert dict(found.rejected) == {
        "text.png": "unreadable_background",
        "empty.jpg": "unreadable_background",
        "torn.jpg": "unreadable_background",
    }


@pytest.mark.parametrize(("name", "message"), [("missing", "is not a folder"), ("", "no JPEG, PNG or WebP")])
def test_folder_without_images_is_an_error(tmp_path, name, message):
    with pytest.raises(ConfigError, match=message):
        index_backgrounds(tmp_path / name)
