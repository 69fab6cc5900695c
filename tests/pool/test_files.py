"""Pools out to files and back: export, import, merge."""

import json
import shutil

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.compose.pools import pixels, write_pool
from tests.conftest import CATEGORIES, disc
from tests.pool.pairs import seal_pairs
from xpaste_ray.categories import Category, lvis_categories
from xpaste_ray.config import CutoutSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.pool import open_pool, write
from xpaste_ray.pool.check import check_pool
from xpaste_ray.pool.export import export_pool, for_vocabulary
from xpaste_ray.pool.importing import import_pool, plan_import
from xpaste_ray.pool.merge import merge_pools
from xpaste_ray.storage import locate

SETTINGS = CutoutSettings()


def imported(given, out, vocabulary=None, settings=SETTINGS):
    """The pool, and how many files were rejected by reason."""
    kept, rejected = import_pool(plan_import(locate(given), vocabulary), locate(out), settings)
    pool = open_pool(out)
    assert len(pool) == kept and list(check_pool(locate(out))) == []
    rejects = pq.read_table(out / "rejects.parquet")
    assert rejects.num_rows == rejected.total()
    return pool, dict(rejected)


def same_instances(one, other):
    assert one.instance_ids == other.instance_ids
    for row in range(len(one)):
        assert np.array_equal(one.instance(row).rgba, other.instance(row).rgba)
        assert one.provenance(row) == other.provenance(row)


def rgba_file(path, rgba):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgba).save(path)
    return path


def cutout(side_px=20, radius_px=6, grey=90):
    rgba = pixels(side_px, side_px, grey)
    rgba[..., 3] = disc(side_px, radius_px) * np.uint8(255)
    return rgba


# --- export --------------------------------------------------------------------------------------


def test_an_export_is_read_as_xpastes_training_code_does(make_pool, tmp_path):
    """Class numbers from 0 by category id, `*` before the path of an RGBA file: banana 45, lion 649."""
    pool = make_pool({"banana": 2, "lion": 1})
    export_pool(pool, locate(tmp_path / "out"))
    index = {
        int(key): paths for key, paths in json.loads((tmp_path / "out" / "index.json").read_text()).items()
    }
    assert {key: len(paths) for key, paths in index.items()} == {0: 2, 2: 1}  # the frog, 1, has none
    for number, path in enumerate([*index[0], *index[2]]):
        assert path.startswith("*/")
        image = Image.open(path.removeprefix("*"))
        assert image.mode == "RGBA" and np.array_equal(np.array(image), pool.instance(number).rgba)


def test_class_numbers_are_a_vocabularys_own(make_pool, tmp_path):
    """In LVIS, whose ids count from 1, class numbers are ids less one."""
    pool, categories = for_vocabulary(make_pool({"banana": 1, "lion": 1}), lvis_categories())
    export_pool(pool, locate(tmp_path / "out"), categories, relative=True)
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert index == {"44": ["*images/45/00000000.png"], "648": ["*images/649/00000001.png"]}


def test_a_vocabulary_that_lacks_a_category_is_an_error(make_pool):
    with pytest.raises(ConfigError, match="--vocabulary has no category 'lion'"):
        for_vocabulary(make_pool({"banana": 1, "lion": 1}), [Category(7, "Banana")])


def test_b9_no_name_gets_into_a_path(tmp_path):
    names = ["../../up", "/root", "a\nb", "nul\0", "x" * 300, "日本 🍌", "food_(mix)'"]
    pool = write_pool(tmp_path / "pool", {name: pixels(4, 4, 50) for name in names})
    export_pool(pool, locate(tmp_path / "deep" / "out"), relative=True)
    found = sorted(path.relative_to(tmp_path / "deep").as_posix() for path in tmp_path.glob("**/*.png"))
    ids = [CATEGORIES[row % 3].id for row in range(7)]
    assert found == sorted(f"out/images/{ids[row]}/{row:08d}.png" for row in range(7))
    back, rejected = imported(tmp_path / "deep" / "out", tmp_path / "back")
    assert back.instance_ids == names and rejected == {}


# --- import --------------------------------------------------------------------------------------


def test_what_was_exported_comes_back_as_it_was(make_pool, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "ROWS_PER_SHARD", 2)
    pool = make_pool({"banana": 3, "lion": 2})
    export_pool(pool, locate(tmp_path / "out"))
    shutil.move(tmp_path / "out", tmp_path / "elsewhere")  # its provenance names no place
    back, rejected = imported(tmp_path / "elsewhere", tmp_path / "back")
    same_instances(pool, back)
    assert back.categories == pool.categories and rejected == {}
    assert [shard["rows"] for shard in back.manifest["shards"]] == [2, 2, 1]


def test_an_import_has_the_same_bytes_each_time_and_a_fingerprint_of_its_contents(make_pool, tmp_path):
    export_pool(make_pool({"frog": 2}), locate(tmp_path / "out"))
    one, _ = imported(tmp_path / "out", tmp_path / "one")
    two, _ = imported(tmp_path / "out", tmp_path / "two")
    for path in one.folder.iterdir():
        assert path.read_bytes() == (two.folder / path.name).read_bytes()
    other, _ = imported(tmp_path / "out", tmp_path / "jpeg", settings=CutoutSettings(encoding="jpeg"))
    assert one.fingerprint == two.fingerprint != other.fingerprint


def test_files_that_a_person_removed_from_an_export_are_counted(make_pool, tmp_path):
    export_pool(make_pool({"frog": 3}), locate(tmp_path / "out"))
    (tmp_path / "out" / "images" / "475" / "00000001.png").unlink()
    back, rejected = imported(tmp_path / "out", tmp_path / "back")
    assert back.instance_ids == ["475-0-test-hand-0", "475-2-test-hand-0"] and rejected == {"missing_file": 1}


def test_an_export_that_somebody_changed_is_read_with_suspicion(make_pool, tmp_path):
    """One image became invisible; another's provenance leads out of the folder."""
    export_pool(make_pool({"frog": 3}), locate(tmp_path / "out"))
    file = tmp_path / "out" / "images" / "475" / "00000000.png"
    Image.new("RGBA", (16, 16), (1, 2, 3, 0)).save(file)
    table = pq.read_table(tmp_path / "out" / "provenance.parquet")
    rows = table.to_pylist()
    rows[1]["file"] = "../secret.png"
    rgba_file(tmp_path / "secret.png", cutout())
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), tmp_path / "out" / "provenance.parquet")
    back, rejected = imported(tmp_path / "out", tmp_path / "back")
    assert back.instance_ids == ["475-2-test-hand-0"]
    assert rejected == {"empty_mask": 1, "outside_folder": 1}
    (tmp_path / "out" / "provenance.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match="provenance.parquet is not of this version, or damaged"):
        plan_import(locate(tmp_path / "out"))


def test_an_index_of_xpastes_is_cleaned_and_counted(tmp_path):
    """By hand: what each line of an index must become."""
    files = tmp_path / "files"
    rgba_file(files / "clean.png", cutout())
    two = cutout(40, 10)
    two[0:3, 0:3, 3] = 255  # a second, smaller object
    rgba_file(files / "raw.png", two)
    image = np.full((30, 30, 3), 200, np.uint8)
    Image.fromarray(image).save(files / "photo.png")
    Image.fromarray(disc(30, 9).astype(np.uint8) * 255).save(files / "mask.png")
    Image.fromarray(np.full((30, 30), 255, np.uint8)).save(files / "full.png")
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(files / "small-mask.png")
    speck = np.zeros((30, 30), np.uint8)
    speck[5:8, 5:8] = 255  # 9 of 900 pixels are 1 %
    Image.fromarray(speck).save(files / "speck.png")
    Image.fromarray(np.zeros((30, 30), np.uint8)).save(files / "nothing.png")
    (files / "broken.png").write_bytes((files / "clean.png").read_bytes()[:60])
    (files / "text.png").write_text("not a picture")
    index = {
        "0": ["*clean.png", "raw.png", "*clean.png", "*both.png"],
        "2": ["photo.png|mask.png", "photo.png|full.png", "photo.png|small-mask.png", "photo.png|speck.png",
              "photo.png|nothing.png", "*broken.png", "*text.png", "*gone.png", "*photo.png", "*both.png"],
    }  # fmt: skip
    rgba_file(files / "both.png", cutout())
    (files / "index.json").write_text(json.dumps(index))
    pool, rejected = imported(files / "index.json", tmp_path / "pool", CATEGORIES)
    assert pool.category_ids.tolist() == [45, 45, 649]
    assert [pool.provenance(row)["uri"] for row in range(3)] == ["clean.png", "raw.png", "photo.png|mask.png"]
    assert [pool.size_hw(row) for row in range(3)] == [(12, 12), (20, 20), (18, 18)]
    assert rejected == {
        "duplicate": 1, "in_two_categories": 2, "area_too_large": 1, "sizes_differ": 1, "area_too_small": 1,
        "empty_mask": 1, "truncated": 1, "unsupported_format": 1, "missing_file": 1, "no_alpha": 1,
    }  # fmt: skip


def test_what_is_no_file_is_one_rejected_row(tmp_path):
    """A folder, a link in a circle, and an address that nothing is read from."""
    rgba_file(tmp_path / "good.png", cutout())
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to("loop.png")
    paths = ["*folder.png", "*loop.png", "*https://a.example/1.png", "*good.png"]
    (tmp_path / "index.json").write_text(json.dumps({"0": paths}))
    (tmp_path / "categories.json").write_text('{"categories": [{"id": 1, "name": "frog"}]}')
    pool, rejected = imported(tmp_path, tmp_path / "pool")
    assert len(pool.instance_ids) == 1
    assert rejected == {"missing_file": 1, "unreadable": 1, "bad_path": 1}


def test_fault_9_a_path_under_two_classes_is_counted_and_belongs_to_neither(tmp_path):
    rgba_file(tmp_path / "in" / "a.png", cutout())
    (tmp_path / "in" / "index.json").write_text('{"0": ["*a.png"], "1": ["*a.png"]}')
    pool, rejected = imported(tmp_path / "in", tmp_path / "pool", CATEGORIES)
    assert len(pool) == 0 and rejected == {"in_two_categories": 2}
    told = pq.read_table(tmp_path / "pool" / "rejects.parquet").to_pylist()
    assert [(row["id"], row["category"]) for row in told] == [("a.png", "banana"), ("a.png", "frog")]


def test_a_folder_of_categories_is_a_pool(tmp_path):
    """Two cut-outs with the same bytes are one; cut-outs keep all of their parts, and no hidden colours."""
    pair = np.full((10, 20, 4), 255, np.uint8)
    pair[..., 3] = 0
    pair[2:8, 2:8] = pair[2:8, 12:18] = (10, 20, 30, 255)
    rgba_file(tmp_path / "in" / "Shoes" / "a.png", pair)
    rgba_file(tmp_path / "in" / "Shoes" / "b.png", pair)
    rgba_file(tmp_path / "in" / "Hats" / "a.png", cutout(300, 140))
    pool, rejected = imported(tmp_path / "in", tmp_path / "pool")
    assert [(one.id, one.name) for one in pool.categories] == [(1, "Hats"), (2, "Shoes")]
    assert rejected == {"duplicate": 1} and pool.sizes_hw.tolist() == [[256, 256], [6, 16]]
    shoes = pool.instance(1).rgba
    assert (shoes[..., :3] == (10, 20, 30)).all() and (shoes[..., 3] == 255).sum() == 72
    again, rejected = imported(tmp_path / "in", tmp_path / "named", [Category(9, "shoes")])
    assert again.category_ids.tolist() == [9] and rejected == {"duplicate": 1, "unknown_category": 1}


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ('{"banana": []}', "is not a class number from 0"),
        ('{"-1": []}', "is not a class number from 0"),
        ('{"0": "a.png"}', "is not a class number from 0"),
        ('{"3": ["a.png"]}', "class number 3, but the vocabulary has 3 categories"),
        ("[1]", "does not hold a JSON object"),
        ("{", "is not readable"),
    ],
)
def test_a_malformed_index_is_an_error(tmp_path, index, message):
    (tmp_path / "index.json").write_text(index)
    with pytest.raises(ConfigError, match=message):
        plan_import(locate(tmp_path), CATEGORIES)


def test_class_numbers_without_a_vocabulary_are_an_error(tmp_path):
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(ConfigError, match="--vocabulary lvis"):
        plan_import(locate(tmp_path))


def test_nothing_to_import_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        plan_import(locate(tmp_path / "none"))
    with pytest.raises(ConfigError, match="one folder of RGBA images for each category"):
        plan_import(locate(tmp_path))


def test_cut_outs_of_one_picture_stay_together(tmp_path):
    """Two masks of one photo, of two classes, beside an RGBA image."""
    files = tmp_path / "files"
    rgba_file(files / "clean.png", cutout())
    Image.fromarray(np.full((30, 30, 3), 200, np.uint8)).save(files / "photo.png")
    for radius in (8, 9):
        Image.fromarray(disc(30, radius).astype(np.uint8) * 255).save(files / f"{radius}.png")
    index = {"0": ["*clean.png", "photo.png|8.png"], "2": ["photo.png|9.png"]}
    (files / "index.json").write_text(json.dumps(index))
    pool, rejected = imported(files / "index.json", tmp_path / "pool", CATEGORIES)
    assert rejected == {} and [rows.tolist() for rows in pool.rows_by_source_image] == [[0], [1, 2]]


def test_which_image_an_instance_is_of_survives_files_and_merging(tmp_path, make_pool):
    """EM-Paste's and X-Paste's instances meet in one pool."""
    pairs = seal_pairs(tmp_path / "pairs", {"a": ["banana", "lion"], "b": ["frog"]})
    export_pool(pairs, locate(tmp_path / "out"))
    back, _ = imported(tmp_path / "out", tmp_path / "back")
    same_instances(pairs, back)
    wanted = [rows.tolist() for rows in pairs.rows_by_source_image]
    assert sorted(map(len, wanted)) == [1, 2]
    assert [rows.tolist() for rows in back.rows_by_source_image] == wanted
    both, _ = merged([make_pool({"banana": 2}), pairs], tmp_path / "both")
    moved = [[row + 2 for row in rows] for rows in wanted]
    assert [rows.tolist() for rows in both.rows_by_source_image] == [[0], [1], *moved]


# --- merge ---------------------------------------------------------------------------------------


def merged(pools, out):
    counts = merge_pools(pools, locate(out))
    pool = open_pool(out)
    assert len(pool) == counts["instances"] and list(check_pool(locate(out))) == []
    return pool, counts


def test_pools_are_merged_by_the_names_of_their_categories(make_pool, tmp_path):
    """The other pool calls the lion 45, which is the first one's banana, and knows a lamp as 7."""
    rgba_file(tmp_path / "in" / "Lion" / "a.png", cutout())
    rgba_file(tmp_path / "in" / "lamp" / "a.png", cutout(30))
    theirs, _ = imported(tmp_path / "in", tmp_path / "theirs", [Category(45, "Lion"), Category(7, "lamp")])
    ours = make_pool({"banana": 1, "lion": 1})
    pool, counts = merged([ours, theirs], tmp_path / "both")
    assert [(one.id, one.name) for one in pool.categories] == [
        (45, "banana"), (475, "frog"), (649, "lion"), (7, "lamp")]  # fmt: skip
    assert pool.category_ids.tolist() == [45, 649, 7, 649]
    assert {pool.provenance(row)["category"] for row in range(4)} == {"banana", "lion", "lamp"}
    assert counts == {"instances": 4, "duplicates": 0, "renamed": 0}
    assert np.array_equal(pool.instance(0).rgba, ours.instance(0).rgba)


def test_an_instance_that_is_in_both_is_kept_once_and_another_one_of_its_id_beside_it(make_pool, tmp_path):
    """Two bananas with one id and other pixels: both stay, and the order of the pools gives them no other
    names."""
    pool = make_pool({"banana": 2, "frog": 1})
    export_pool(pool, locate(tmp_path / "out"))
    file = tmp_path / "out" / "images" / "45" / "00000001.png"
    image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    image[0, 0] = 99
    cv2.imwrite(str(file), image)
    other, _ = imported(tmp_path / "out", tmp_path / "other")
    both, counts = merged([pool, other], tmp_path / "both")
    assert counts == {"instances": 4, "duplicates": 2, "renamed": 1}
    assert both.instance_ids[:3] == pool.instance_ids
    assert both.instance_ids[3].startswith("45-1-test-hand-0-")
    thrice, counts = merged([pool, other, pool, other], tmp_path / "thrice")
    same_instances(both, thrice)
    assert counts == {"instances": 4, "duplicates": 8, "renamed": 1}


def test_encodings_stay_as_they_are_stored(make_pool, tmp_path):
    raw = make_pool({"frog": 1})
    export_pool(raw, locate(tmp_path / "out"))
    packed, _ = imported(tmp_path / "out", tmp_path / "packed", settings=CutoutSettings(encoding="jpeg"))
    pool, counts = merged([raw, packed], tmp_path / "both")
    assert pool.column("encoding").to_pylist() == ["raw", "jpeg"] and counts["renamed"] == 1
    assert np.array_equal(pool.instance(1).rgba, packed.instance(0).rgba)


def test_a_folder_that_holds_something_is_not_written_to(make_pool, tmp_path):
    pool = make_pool({"frog": 1})
    with pytest.raises(ConfigError, match="is there already"):
        merge_pools([pool, pool], locate(pool.folder))
    export_pool(pool, locate(tmp_path / "out"))
    with pytest.raises(ConfigError, match="is there already"):
        import_pool(plan_import(locate(tmp_path / "out")), locate(pool.folder), SETTINGS)
