import os
import pickle
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.backgrounds.material import (
    encoded,
    exif,
    picture,
    png,
    png_chunk,
    small_dataset,
    write_dataset,
)
from xpaste_ray.backgrounds import resolve_source
from xpaste_ray.backgrounds.sources import FolderSource, list_images, parse_colours
from xpaste_ray.errors import ConfigError


def test_folder_is_listed_by_name_with_sizes_after_exif_rotation(tmp_path, index):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "b.jpg").write_bytes(encoded(picture(20, 30), "JPEG", exif=exif(6)))
    (tmp_path / "in" / "sub" / "a.PNG").write_bytes(encoded(picture(9, 8), "PNG"))
    found = index(tmp_path / "in")
    assert [(found.id(row), found.size_hw(row)) for row in range(len(found))] == [
        ("b.jpg", (30, 20)),
        ("sub/a.PNG", (9, 8)),
    ]
    assert found.load(0).shape == (30, 20, 3)
    assert np.array_equal(found.load(1), picture(9, 8))
    assert found.sizes_hw.tolist() == [[30, 20], [9, 8]]
    assert not found.is_lvis and found.categories == () and found.annotations(0) == ()
    assert found.neg_category_ids(0) is None and found.image_id(0) is None
    assert found.present_category_ids(0).tolist() == [] and found.annotated_rows.tolist() == []


def test_unusable_files_are_rejected_with_a_reason(tmp_path, index):
    good = encoded(picture(), "PNG")
    files = {
        "good.png": good,
        "webp-called.jpg": encoded(picture(), "WEBP"),
        "text.png": b"not an image",
        "empty.jpg": b"",
        "torn.png": good[: len(good) // 2],
        "animation.gif": encoded(picture(), "GIF"),
        "sky.fits": b"SIMPLE  =                    T",
        "credits.json": b"{}",
        ".hidden.png": b"",
        "bomb.png": png(50_000, 50_000, bytes(1000)),
        "inflates.png": png(1, 1, b"\0abc", png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(20 << 20)))),
    }
    (tmp_path / "in").mkdir()
    for name, data in files.items():
        (tmp_path / "in" / name).write_bytes(data)
    (tmp_path / "in" / "nowhere.png").symlink_to("gone.png")
    found = index(tmp_path / "in")
    assert [found.id(row) for row in range(len(found))] == ["good.png", "webp-called.jpg"]
    assert dict(found.rejected) == {
        "empty_file": 1,
        "missing_file": 1,
        "oversized_metadata": 1,
        "too_many_pixels": 1,
        "truncated": 1,
        "unsupported_format": 3,
    }
    assert dict(found.rejected_images()) == {
        "animation.gif": "unsupported_format",
        "bomb.png": "too_many_pixels",
        "inflates.png": "oversized_metadata",
        "empty.jpg": "empty_file",
        "nowhere.png": "missing_file",
        "sky.fits": "unsupported_format",
        "text.png": "unsupported_format",
        "torn.png": "truncated",
    }
    assert len(found) + sum(found.rejected.values()) == found.manifest["images"]


def test_linked_folders_are_followed_once(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").write_bytes(b"")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    assert [name for name, _, _ in list_images(tmp_path / "in")] == ["link/a.png"]


def test_names_that_are_not_utf8_are_counted(tmp_path, index):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(encoded(picture(), "PNG"))
    try:
        with open(os.fsencode(tmp_path / "in") + b"/\xff.png", "wb") as file:  # noqa: PTH123
            file.write(encoded(picture(), "PNG"))
    except OSError:
        pytest.skip("this file system has no such names")
    assert dict(index(tmp_path / "in").rejected_images()) == {"\\udcff.png": "missing_file"}


@pytest.mark.parametrize(
    ("text", "colours", "size_hw"),
    [
        ("black", ("#000000",), (640, 640)),
        ("White", ("#ffffff",), (640, 640)),
        ("#102030:64x48", ("#102030",), (48, 64)),
        ("black,grey,#FF0000:30x20", ("#000000", "#808080", "#ff0000"), (20, 30)),
    ],
)
def test_colours(text, colours, size_hw, index):
    source = parse_colours(text)
    assert (source.colours, source.size_hw) == (colours, size_hw)
    found = index(text)
    image = found.load(len(colours) - 1)
    assert image.shape == (*size_hw, 3) and image.dtype == np.uint8 and image.flags.c_contiguous
    assert found.size_hw(0) == size_hw
    assert (image == tuple(bytes.fromhex(colours[-1][1:]))).all()
    assert found.id(0) == f"{colours[0]}:{size_hw[1]}x{size_hw[0]}"


@pytest.mark.parametrize(
    "text", ["#12345", "#gggggg", "black:0x5", "black:99999x99999", "black,black", "black:4x4,white"]
)
def test_wrong_colours_are_refused(text):
    with pytest.raises(ConfigError, match="backgrounds: "):
        resolve_source(text)


def test_what_a_folder_means(tmp_path):
    small_dataset(tmp_path / "ours")
    assert resolve_source(tmp_path / "ours").kind == "dataset"
    assert resolve_source(str(tmp_path / "ours" / "images")) == FolderSource(tmp_path / "ours" / "images")
    image = {"id": 1, "file_name": "a.jpg", "height": 8, "width": 8}
    for split in ("train2017", "val2017"):
        name = f"annotations/instances_{split}.json"
        write_dataset(tmp_path / "coco", [image], [], name=name, images_in=split)
    with pytest.raises(
        ConfigError, match="several annotation files .instances_train2017.json, inst.*give one"
    ):
        resolve_source(tmp_path / "coco")
    source = resolve_source(tmp_path / "coco" / "annotations" / "instances_val2017.json")
    assert source.root.name == "val2017"


@pytest.mark.parametrize("name", ["missing", "missing.json", "missing.parquet"])
def test_what_is_not_there_is_named(tmp_path, name):
    with pytest.raises(ConfigError, match=f"backgrounds: .*{name} is not a folder, a COCO or LVIS file"):
        resolve_source(tmp_path / name)


def test_folder_without_images_is_an_error(tmp_path, index):
    (tmp_path / "in").mkdir()
    with pytest.raises(ConfigError, match="no JPEG, PNG or WebP file: give a folder with images"):
        index(tmp_path / "in")
    (tmp_path / "in" / "a.png").touch()
    with pytest.raises(ConfigError, match="no image is usable .1 empty_file."):
        index(tmp_path / "in")
    with pytest.raises(ConfigError, match="--images goes with an annotation file"):
        resolve_source(tmp_path / "in", images=tmp_path)
    with pytest.raises(ConfigError, match="--images .*gone is not a folder"):
        resolve_source(tmp_path / "in", images=tmp_path / "gone")


def test_sources_are_small_to_send(tmp_path):
    source = resolve_source(small_dataset(tmp_path))
    assert pickle.loads(pickle.dumps(source)) == source and len(pickle.dumps(source)) < 1000


def test_rows_and_ids_are_inverse(tmp_path, index):
    (tmp_path / "in").mkdir()
    for number in range(3):
        Image.new("RGB", (4, 4)).save(tmp_path / "in" / f"{number}.png")
    (tmp_path / "in" / "1.png").write_bytes(b"")
    found = index(tmp_path / "in")
    assert [found.row_of_id(found.id(row)) for row in range(len(found))] == [0, 1]
    with pytest.raises(KeyError):
        found.row_of_id("1.png")


def test_relative_paths_hold_wherever_a_worker_stands(tmp_path, monkeypatch):
    small_dataset(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    for text in ("in", "in/images", "in/annotations.json"):
        assert resolve_source(text) == resolve_source(tmp_path / text)
