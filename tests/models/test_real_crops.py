import shutil

import numpy as np
import pytest

from xpaste_ray.config import RealSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.masks import encode_png
from xpaste_ray.models.real_crops import open_real_crops, settled
from xpaste_ray.runs import write_json
from xpaste_ray.storage import locate


def _folder(root, **counts):
    """`counts[name]` images of a category, the k-th all of grey level k."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for level in range(count):
            (root / name / f"{level:03d}.png").write_bytes(encode_png(np.full((4, 6, 3), level, np.uint8)))
    return root


def _open(where, per_category=64):
    return open_real_crops(RealSettings(crops=str(where), per_category=per_category))


def _levels(crops, category):
    return [int(one.pixels()[0, 0, 0]) for one in crops.of(category)]


def test_folders_are_known_by_the_categories_names_but_for_case_and_underscores(tmp_path):
    crops = _open(_folder(tmp_path, Hot_Dog=3, frog=1))
    assert _levels(crops, "hot dog") == [0, 1, 2]
    assert _levels(crops, "lion") == []


def test_what_is_no_image_file_is_left_alone(tmp_path):
    folder = _folder(tmp_path, frog=1)
    (folder / "frog" / "Thumbs.db").write_bytes(b"x")
    (folder / "frog" / "more").mkdir()
    shutil.copy(folder / "frog" / "000.png", folder / "frog" / "more")
    (folder / "top.png").write_bytes(b"x")
    assert len(_open(folder).of("frog")) == 1


def test_of_too_many_the_same_ones_are_taken_each_time_not_the_first(tmp_path):
    folder = _folder(tmp_path, frog=40)
    taken = _levels(_open(folder, 8), "frog")
    assert len(set(taken)) == 8 and taken == sorted(taken)
    assert taken != list(range(8))
    assert _levels(_open(folder, 8), "frog") == taken


def test_content_follows_from_the_images_taken_and_not_from_where_they_are(tmp_path):
    folder = _folder(tmp_path / "a", frog=2, lion=1)
    was = _open(folder).content(["frog"])
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    assert _open(moved).content(["frog"]) == was
    assert _open(folder, 1).content(["frog"]) != was
    (folder / "lion" / "000.png").unlink()
    assert _open(folder).content(["frog"]) == was
    (folder / "frog" / "001.png").write_bytes(encode_png(np.full((4, 6, 3), 9, np.uint8)))
    assert _open(folder).content(["frog"]) != was


def test_broken_image_is_told_by_its_name_before_anything_starts(tmp_path):
    folder = _folder(tmp_path, frog=2)
    (folder / "frog" / "001.png").write_bytes(b"no image")
    crops = _open(folder)
    for read in (lambda: crops.content(["frog"]), crops.of("frog")[1].pixels):
        with pytest.raises(ConfigError, match=r"score.real.crops: .*frog/001.png is no usable image.*remove"):
            read()


def test_folder_without_images_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"score.real.crops: .* holds no images: give a folder with"):
        _open(tmp_path / "nowhere")


def test_folder_in_an_object_store_is_read_from_there(tmp_path, s3):
    here, there = _folder(tmp_path, frog=2), locate(s3()) / "crops"
    for name in ("frog/000.png", "frog/001.png"):
        (there / name).write_whole((here / name).read_bytes())
    assert _levels(_open(there), "frog") == [0, 1]
    assert _open(there).content(["frog"]) == _open(here).content(["frog"])


def test_current_pool_of_a_run_in_an_object_store_keeps_the_options_of_its_address(s3):
    run = f"{s3()}/run"
    write_json(locate(run) / "pool.json", {"current": "pools/abc"})
    for given, expected in ((f"{run}/?region=eu", f"{run}/pools/abc?region=eu"), (run, f"{run}/pools/abc")):
        assert settled(RealSettings(crops=given)).crops == expected


def test_cut_outs_of_a_run_are_shown_on_white(make_pool):
    pool = make_pool({"banana": 1, "frog": 3})
    (crop,) = _open(pool.folder).of("Banana")
    shown = crop.pixels()
    rgba = pool.instance(0).rgba
    assert np.array_equal(shown[rgba[..., 3] > 128], rgba[rgba[..., 3] > 128][:, :3])
    assert (shown[0, 0] == 255).all()  # a corner of the disc's box
    assert len(_open(pool.folder, 2).of("frog")) == 2


def test_content_of_a_pool_is_the_pools(make_pool):
    one, same, other = (make_pool({"banana": n}, name) for n, name in ((1, "a"), (1, "b"), (2, "c")))
    contents = [_open(pool.folder).content(["banana"]) for pool in (one, same, other)]
    assert contents[0] == contents[1] != contents[2]
