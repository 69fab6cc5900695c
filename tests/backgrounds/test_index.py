import json
import pickle
import time

import numpy as np
import pyarrow as pa
import pytest

from tests.backgrounds.material import encoded, picture, small_dataset
from xpaste_ray.backgrounds import Backgrounds, resolve_source
from xpaste_ray.backgrounds.index import cut_parts, index_part, write_index
from xpaste_ray.backgrounds.layout import PART, ROWS_PER_BATCH
from xpaste_ray.backgrounds.sources import Catalogue, FolderSource, items_table
from xpaste_ray.errors import ConfigError


def _files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _indexed(source, folder, rows_a_part):
    folder.mkdir()
    catalogue = source.catalogue()
    parts = [index_part(source, part) for part in reversed(cut_parts(catalogue.items, rows_a_part))]
    write_index(folder, source, catalogue, reversed(parts))
    return _files(folder)


def test_bytes_depend_neither_on_the_parts_nor_on_the_order_of_work(tmp_path):
    source = resolve_source(small_dataset(tmp_path / "data"))
    (tmp_path / "data" / "images" / "c.jpg").write_bytes(b"")
    results = [_indexed(source, tmp_path / f"{rows}", rows) for rows in (1, 2, 100)]
    assert results[0] == results[1] == results[2]


def test_nothing_tells_where_the_data_lies(tmp_path):
    for place in ("here", "elsewhere"):
        small_dataset(tmp_path / place / "data")
        _indexed(resolve_source(tmp_path / place / "data"), tmp_path / place / "index", 256)
    assert _files(tmp_path / "here" / "index") == _files(tmp_path / "elsewhere" / "index")
    assert str(tmp_path).encode() not in b"".join(_files(tmp_path / "here" / "index").values())


def test_fingerprint_is_of_the_contents(tmp_path, index):
    path = small_dataset(tmp_path)
    before = index(path).fingerprint
    (tmp_path / "images" / "not-in-the-dataset.jpg").write_bytes(b"")
    assert index(path).fingerprint == before
    (tmp_path / "images" / "c.jpg").write_bytes(encoded(picture(64, 48, seed=99), "JPEG"))
    changed = index(path).fingerprint
    assert changed != before
    path.write_text(path.read_text().replace('"category_id": 18', '"category_id": 44'))
    assert index(path).fingerprint not in (before, changed)


def test_categories_of_unusable_annotations_are_kept_by_image(tmp_path, index):
    """A dog without a mask on a.jpg: it is there, and its category is known."""
    path = small_dataset(tmp_path)
    before = index(path).fingerprint
    content = json.loads(path.read_text())
    content["annotations"][0] |= {"category_id": 18, "segmentation": []}
    path.write_text(json.dumps(content))
    found = index(path)
    assert [found.rejected_category_ids(row) for row in range(3)] == [(18,), (), ()]
    assert found.present_category_ids(0).tolist() == [18, 44] and found.fingerprint != before


def test_changed_image_is_an_error_that_names_it(tmp_path, index):
    path = small_dataset(tmp_path)
    found = index(path)
    image = tmp_path / "images" / "b.jpg"
    data = image.read_bytes()
    for changed in (data[:-40], data + b"\0", data[:300] + bytes([data[300] ^ 1]) + data[301:], b""):
        image.write_bytes(changed)
        with pytest.raises(ConfigError, match="b.jpg.*run the command again"):
            found.load(1)
    image.unlink()
    with pytest.raises(ConfigError, match="b.jpg: missing_file"):
        found.load(1)
    image.write_bytes(data)  # also with another time: only the bytes count
    assert found.load(1).shape == (40, 60, 3)


def test_copies_in_other_processes_open_the_same_files(tmp_path, index):
    found = index(small_dataset(tmp_path)).without_categories(["dog"])
    sent = pickle.dumps(found)
    copy = pickle.loads(sent)
    assert len(sent) < 1500
    assert copy.fingerprint == found.fingerprint and len(copy) == len(found) == 2
    assert copy.annotations(0) == found.annotations(0)
    assert np.array_equal(copy.load(1), found.load(1))


def test_damaged_index_says_what_to_do(tmp_path, index):
    found = index(small_dataset(tmp_path))
    (found.folder / "annotations.arrow").write_bytes(b"ARROW1")
    with pytest.raises(ConfigError, match="remove its folder"):
        Backgrounds(found.folder, found.source)
    manifest = found.folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 2', '"format": 0'))
    with pytest.raises(ConfigError, match="index format 0 is not 2"):
        Backgrounds(found.folder, found.source)


def _made_up(n):
    row = {"id": f"train/{n:012d}.jpg", "path": f"train/{n:012d}.jpg", "image_id": n}
    row["category_ids"] = [n % 3] if n % 5 else []
    if n % 7 == 6:
        lost = {
            "rejected_annotations": ["image_rejected"] * (n % 5),
            "annotations": [],
            "rejected_category_ids": [],
        }
        return row | {"status": "rejected", "reason": "truncated"} | lost
    annotations = [
        {"id": 10 * n + k, "category_id": n % 3, "iscrowd": int(k == 3), "x": k, "y": 1, "width": 2,
         "height": 3, "area": 6, "counts": b"%d" % (10 * n + k)}
        for k in range(n % 5)
    ]  # fmt: skip
    usable = {"status": "ok", "height": 100 + n % 50, "width": 200, "identity": f"{n:032x}"}
    return (
        row | usable | {"rejected_annotations": [], "rejected_category_ids": [], "annotations": annotations}
    )


def _many(folder, images):
    """An index of made-up images: every 7th broken, image n with n % 5 annotations of category n % 3."""
    rows = [_made_up(n) for n in range(images)]
    made = pa.Table.from_pylist(rows, schema=PART)
    folder.mkdir()
    source = FolderSource(folder)
    parts = [made.slice(start, 256) for start in range(0, images, 256)]
    write_index(
        folder,
        source,
        Catalogue(items_table({"id": made["id"].to_pylist(), "path": made["path"].to_pylist()})),
        parts,
    )
    return Backgrounds(folder, source)


def test_rows_are_found_across_record_batches(tmp_path):
    images = 3 * ROWS_PER_BATCH + 17
    found = _many(tmp_path / "index", images)
    usable = [n for n in range(images) if n % 7 != 6]
    assert len(found) == len(usable)
    for row in [*range(0, len(usable), 97), len(usable) - 1]:
        n = usable[row]
        assert found.image_id(row) == n and found.size_hw(row) == (100 + n % 50, 200)
        assert found.row_of_id(f"train/{n:012d}.jpg") == row
        annotations = found.annotations(row)
        assert [one.id for one in annotations] == [10 * n + k for k in range(n % 5)]
        assert [one.rle["counts"] for one in annotations] == [b"%d" % (10 * n + k) for k in range(n % 5)]
        assert [one.iscrowd for one in annotations] == [int(k == 3) for k in range(n % 5)]
    assert found.annotated_rows.tolist() == [row for row, n in enumerate(usable) if n % 5]
    found.manifest["categories"] = [{"id": n, "name": f"c{n}"} for n in range(3)]
    kept = found.without_categories(["c1"])
    assert [kept.image_id(row) for row in range(len(kept))] == [n for n in usable if n % 3 != 1 or not n % 5]


def test_large_index_opens_at_once(tmp_path):
    """Printed, not judged: the time to open an index of 100,000 images and to look at one of them."""
    folder = _many(tmp_path / "index", 100_000).folder
    began = time.perf_counter()
    found = Backgrounds(folder, FolderSource(tmp_path))
    found.size_hw(len(found) - 1)
    opened = time.perf_counter()
    for row in range(0, len(found), 100):
        found.annotations(row)
    looked = (time.perf_counter() - opened) / len(range(0, len(found), 100))
    print(f"open {1e3 * (opened - began):.1f} ms, annotations of an image {1e6 * looked:.0f} us")
    assert len(found) == 85_715
