import json
import pickle
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.backgrounds.material import encoded, exif, picture
from tests.sources.material import jpeg, write_files
from xpaste_ray.categories import Category
from xpaste_ray.config.images import ImagesSettings
from xpaste_ray.errors import ConfigError, RowError
from xpaste_ray.sources.label_layouts import Listed
from xpaste_ray.sources.labelled import LabelledImages, labelled_units, open_labelled
from xpaste_ray.storage import locate


def _open(path, **options):
    return open_labelled(ImagesSettings(path=str(path), **options))


def _rows(images):
    """What is shown of each image, by name."""
    names = {category.id: category.name for category in images.categories}
    return {
        uri: [names[number] for number in ids] for uri, ids in zip(images.uris, images.label_ids, strict=True)
    }


@pytest.fixture(params=["disk", "s3"])
def root(request, tmp_path):
    return locate(tmp_path / "data" if request.param == "disk" else f"{request.getfixturevalue('s3')()}/data")


# --- folders -------------------------------------------------------------------------------------


def test_folders_are_categories_numbered_by_name(root):
    write_files(root, {"frog/b.JPG": b"12", "frog/deep/a.png": b"1", "cat/x.webp": b"1"})
    images = _open(root)
    assert images.categories == (Category(1, "cat"), Category(2, "frog"))
    assert _rows(images) == {"cat/x.webp": ["cat"], "frog/b.JPG": ["frog"], "frog/deep/a.png": ["frog"]}
    assert str(images.root) == str(root) and images.rejected == {}


def test_what_a_folder_has_beside_is_counted(tmp_path):
    write_files(tmp_path, {"cat/a.jpg": b"1", "stray.jpg": b"1", "cat/x.txt": b"1", "cat/.b.jpg": b"1",
                           ".git/c.jpg": b"1"})  # fmt: skip
    images = _open(tmp_path)
    assert images.uris == ["cat/a.jpg"] and images.rejected == {"no_label": 1}
    assert images.notes == [
        "1 image with 1 label of 1 category",
        "1 file left out: not .jpg, .jpeg, .png, .webp",
        "1 image left out: without a known label",
    ]


def test_links_are_followed_and_one_to_nowhere_is_not_there(tmp_path):
    write_files(tmp_path / "elsewhere", {"a.jpg": b"1"})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cat").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "dog").mkdir()
    (tmp_path / "data" / "dog" / "b.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert _rows(_open(tmp_path / "data")) == {"cat/a.jpg": ["cat"]}


def test_names_that_differ_in_case_and_underscores_are_one_category(tmp_path):
    write_files(tmp_path, {"hot_dog/a.jpg": b"1", "Hot Dog/b.jpg": b"1"})
    images = _open(tmp_path)
    assert images.categories == (Category(1, "Hot Dog"),)
    assert images.label_ids == [(1,), (1,)]


def test_vocabulary_gives_ids_by_name_or_by_id(tmp_path):
    write_files(tmp_path, {"frog/a.jpg": b"1", "45/b.jpg": b"1", "no such/c.jpg": b"1"})
    images = _open(tmp_path, vocabulary="lvis")
    assert [(one.id, one.name) for one in images.categories] == [(45, "banana"), (475, "frog")]
    assert images.rejected == {"no_label": 1, "unknown_category": 1}
    assert "1 label left out: of categories that are not in the vocabulary: 'no such'" in images.notes
    assert len(images.vocabulary) == 1203


def test_vocabulary_that_knows_none_is_an_error_with_the_nearest_name(tmp_path):
    write_files(tmp_path / "data", {"frogg/a.jpg": b"1"})
    (tmp_path / "names.txt").write_text("frog\n")
    with pytest.raises(ConfigError, match="no image with a label.*'frogg' is unknown; did you mean 'frog'"):
        _open(tmp_path / "data", vocabulary=str(tmp_path / "names.txt"))
    with pytest.raises(ConfigError, match=r"^foregrounds\.images\.vocabulary: .*neither lvis nor a file"):
        _open(tmp_path / "data", vocabulary="lvs")


def test_one_class_with_one_image_is_enough(tmp_path):
    write_files(tmp_path, {"cat/a.jpg": b"1"})
    assert len(_open(tmp_path)) == 1


def test_images_option_has_no_meaning_for_folders(tmp_path):
    write_files(tmp_path, {"cat/a.jpg": b"1"})
    with pytest.raises(ConfigError, match=r"foregrounds\.images\.images goes with voc, coco and list"):
        _open(tmp_path, images=str(tmp_path))


# --- VOC -----------------------------------------------------------------------------------------


def _xml(*names):
    objects = "".join(f"<object><name>{name}</name><bndbox/></object>" for name in names)
    return f"<annotation>{objects}</annotation>".encode()


def test_voc_labels_are_the_names_of_its_xml(root):
    xml = {"1": _xml("sofa", " cat", "sofa"), "2": _xml("dog")}
    write_files(root, {f"JPEGImages/{stem}.jpg": b"1" for stem in xml})
    write_files(root, {f"Annotations/{stem}.xml": data for stem, data in xml.items()})
    images = _open(root)
    assert _rows(images) == {"1.jpg": ["cat", "sofa"], "2.jpg": ["dog"]}
    assert images.categories == (Category(1, "cat"), Category(2, "dog"), Category(3, "sofa"))
    assert str(images.root) == f"{root}/JPEGImages" and images.rejected == {}


def test_what_is_wrong_in_a_voc_folder_is_counted(tmp_path):
    write_files(tmp_path, {
        "JPEGImages/good.jpg": b"1", "Annotations/good.xml": _xml("cat", ""),
        "JPEGImages/bare.jpg": b"1",
        "JPEGImages/empty.jpg": b"1", "Annotations/empty.xml": _xml(),
        "JPEGImages/torn.jpg": b"1", "Annotations/torn.xml": b"<annotation><obj",
        "JPEGImages/bomb.jpg": b"1", "Annotations/bomb.xml": b"<!DOCTYPE a [<!ENTITY b 'c'>]><annotation/>",
        "JPEGImages/code.jpg": b"1", "Annotations/code.xml": b"<?xml version='1.0' encoding='no'?><a/>",
        "Annotations/gone.xml": _xml("cat"),
    })  # fmt: skip
    images = _open(tmp_path)
    assert images.uris == ["good.jpg"]
    assert images.rejected == {"no_label": 2, "missing_image": 1, "unreadable_xml": 3, "unnamed_object": 1}


def test_voc_images_may_lie_elsewhere_and_a_folder_without_xml_is_an_error(tmp_path):
    write_files(tmp_path, {"voc/Annotations/1.xml": _xml("cat"), "voc/JPEGImages/2.jpg": b"1",
                           "elsewhere/1.jpg": b"1"})  # fmt: skip
    assert _open(tmp_path / "voc", images=str(tmp_path / "elsewhere")).uris == ["1.jpg"]
    with pytest.raises(ConfigError, match="has no .xml"):
        _open(tmp_path / "elsewhere", labels="voc")


def test_list_of_voc_s_names_its_images(root):
    for stem, name in {"1": "cat", "2": "dog", "3": "cow"}.items():
        write_files(root, {f"JPEGImages/{stem}.jpg": b"1", f"Annotations/{stem}.xml": _xml(name)})
    write_files(root, {"ImageSets/Main/train.txt": b"1\n3  1\n\ngone\n"})
    images = _open(root / "ImageSets" / "Main" / "train.txt")
    assert _rows(images) == {"1.jpg": ["cat"], "3.jpg": ["cow"]}
    assert images.rejected == {"missing_image": 1}
    with pytest.raises(ConfigError, match="cannot be read"):
        _open(root / "ImageSets" / "Main" / "val.txt")


# --- COCO and LVIS -------------------------------------------------------------------------------


CATEGORIES = [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}, {"id": 9, "name": "cow"}]


def _coco(pairs, names=("a.jpg", "b.jpg"), **more):
    entries = [{"id": number, "file_name": name} for number, name in enumerate(names, 1)]
    annotations = [
        {"id": number, "image_id": image, "category_id": category, "iscrowd": number % 2}
        for number, (image, category) in enumerate(pairs, 1)
    ]
    told = {"images": entries, "annotations": annotations, "categories": CATEGORIES, **more}
    return json.dumps(told).encode()


def test_coco_labels_are_its_categories_under_its_ids_crowds_too(root):
    pairs = [(1, 7), (1, 3), (1, 7), (2, 3)]  # every other one a crowd
    write_files(root, {"annotations.json": _coco(pairs), "images/a.jpg": b"1", "images/b.jpg": b"1"})
    for images in (_open(root), _open(root / "annotations.json")):
        assert dict(zip(images.uris, images.label_ids, strict=True)) == {"a.jpg": (3, 7), "b.jpg": (3,)}
        assert images.categories == (Category(3, "dog"), Category(7, "cat"))
        assert images.vocabulary == tuple(Category(one["id"], one["name"]) for one in CATEGORIES)


def test_names_that_no_file_can_have_are_not_there(tmp_path):
    names = ("a.jpg", "\ud800.jpg", "x" * 300, "nul\0.jpg", "b.jpg/c.jpg")
    write_files(tmp_path, {"annotations.json": _coco([(number, 7) for number in range(1, 6)], names),
                           "images/a.jpg": b"1", "images/b.jpg": b"1"})  # fmt: skip
    images = _open(tmp_path)
    assert images.uris == ["a.jpg"] and images.rejected == {"missing_image": 3, "bad_path": 1}


def test_coco_s_own_layout_is_found(tmp_path):
    write_files(tmp_path, {"annotations/instances_val2017.json": _coco([(1, 7)]), "val2017/a.jpg": b"1"})
    images = _open(tmp_path)
    assert images.uris == ["a.jpg"] and images.root.name == "val2017"
    assert images.rejected == {"no_label": 1}


def test_licence_and_page_of_coco_come_along(tmp_path):
    images = [{"id": 1, "file_name": "a.jpg", "license": 2, "flickr_url": "https://f.example/1"},
              {"id": 2, "file_name": "b.jpg", "license": ["odd"], "flickr_url": 3}]  # fmt: skip
    licenses = [{"id": 2, "name": "CC BY", "url": "https://cc.example/by"}]
    write_files(tmp_path, {"annotations.json": _coco([(1, 7), (2, 7)], images=images, licenses=licenses),
                           "images/a.jpg": b"1", "images/b.jpg": b"1"})  # fmt: skip
    (unit,) = labelled_units(_open(tmp_path), 8)
    assert [(one.licence, one.page) for one in unit.prompts] == [
        ("https://cc.example/by", "https://f.example/1"),
        (None, None),
    ]


def test_what_is_wrong_in_a_coco_file_is_counted(tmp_path):
    names = ("a.jpg", "gone.jpg", "../outside.jpg", "bare.jpg")
    pairs = [(1, 7), (2, 7), (3, 7), (99, 7), (1, 55)]
    write_files(tmp_path, {"annotations.json": _coco(pairs, names), "images/a.jpg": b"1",
                           "images/bare.jpg": b"1"})  # fmt: skip
    images = _open(tmp_path)
    assert images.uris == ["a.jpg"]
    assert images.rejected == {"no_label": 1, "missing_image": 1, "bad_path": 1, "unknown_image": 1,
                               "unknown_category": 1}  # fmt: skip


def test_vocabulary_gives_coco_s_categories_other_ids_by_name(tmp_path):
    write_files(tmp_path, {"data/annotations.json": _coco([(1, 7), (2, 3)]), "data/images/a.jpg": b"1",
                           "data/images/b.jpg": b"1", "names.txt": b"cow\nDOG\n"})  # fmt: skip
    images = _open(tmp_path / "data", vocabulary=str(tmp_path / "names.txt"))
    assert images.label_ids == [(2,)] and images.categories == (Category(2, "DOG"),)
    assert images.rejected == {"no_label": 1, "unknown_category": 1}


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"[]", "not readable"),
        (b'{"images": []}', "has no images"),
        (_coco([("1", 7)]), "whole numbers"),
        (_coco([], images=[{"id": 1}]), "no file_name"),
        (_coco([], images=[{"id": 1, "file_name": "a.jpg"}] * 2), "more than once"),
        (_coco([], annotations=[{"id": 1, "image_id": 1}]), "lacks 'category_id'"),
        (_coco([], categories=CATEGORIES + CATEGORIES[:1]), "several categories of one id"),
        (_coco([], categories=[{"id": 1, "name": ""}]), "category 1 has no name"),
        (_coco([], categories=[{"id": "1", "name": "cat"}]), "whole numbers"),
        (_coco([(1, 7)], categories=[]), "no image with a label"),
        (_coco([(1, 7)], names=("elsewhere.jpg",)), r"say where they are \(foregrounds.images.images\)"),
    ],
)
def test_annotation_file_that_is_none_is_an_error(tmp_path, data, told):
    write_files(tmp_path, {"annotations.json": data, "images/a.jpg": b"1"})
    with pytest.raises(ConfigError, match=rf"^foregrounds\.images\.path: .*{told}"):
        _open(tmp_path / "annotations.json")


# --- lists ---------------------------------------------------------------------------------------


def test_list_has_several_categories_in_a_row_or_in_several_rows(root):
    text = "path,category,licence\na.jpg,cat; dog ,by\nb.jpg,cat,\n./b.jpg,cow,cc0\nsub/c.jpg,dog,\n"
    write_files(root, {"list.csv": text.encode(), "a.jpg": b"1", "b.jpg": b"1", "sub/c.jpg": b"1"})
    images = _open(root / "list.csv")
    assert _rows(images) == {"a.jpg": ["cat", "dog"], "b.jpg": ["cat", "cow"], "sub/c.jpg": ["dog"]}
    assert images.licences == ["by", "cc0", None]


def test_lists_are_jsonl_and_parquet_too(tmp_path):
    rows = [{"path": "a.jpg", "category": "cat;dog"}, {"path": "b.jpg", "category": "dog"}]
    write_files(tmp_path, {"a.jpg": b"1", "b.jpg": b"1",
                           "list.jsonl": "\n".join(map(json.dumps, rows)).encode()})  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "list.parquet")
    told = [_open(tmp_path / name) for name in ("list.jsonl", "list.parquet")]
    assert _rows(told[0]) == _rows(told[1]) == {"a.jpg": ["cat", "dog"], "b.jpg": ["dog"]}
    assert told[0].contents == told[1].contents


def test_what_is_wrong_in_a_list_is_counted(tmp_path):
    lines = ["path,category", "a.jpg,cat", "a.jpg,", "b.jpg,", "gone.jpg,cat", ",cat", "https://w.example/1.jpg,cat",
             "b.jpg,;", f"{'x' * 300}.jpg,cat"]  # fmt: skip
    write_files(tmp_path, {"list.csv": "\n".join(lines).encode(), "a.jpg": b"1", "b.jpg": b"1"})
    images = _open(tmp_path / "list.csv")
    assert _rows(images) == {"a.jpg": ["cat"]}
    assert images.rejected == {"no_label": 1, "missing_image": 2, "bad_path": 1, "no_path": 1}


def test_list_s_images_may_lie_elsewhere(tmp_path, s3):
    bucket = write_files(f"{s3()}/images", {"b.jpg": b"1"})
    write_files(tmp_path, {"list.csv": f"path,category\na.jpg,cat\n{bucket}/b.jpg,cat\n".encode(),
                           "images/a.jpg": b"1"})  # fmt: skip
    images = _open(tmp_path / "list.csv", images=str(tmp_path / "images"))
    assert images.uris == ["a.jpg", f"{bucket}/b.jpg"]


# --- which of them it is -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "path", "told"),
    [
        ({"data/a.jpg": b"1"}, "data", r"holds a.jpg: no folders.*foregrounds\.images\.labels"),
        ({"data/x/.hide": b"1"}, "data", "no folders of images"),
        ({"data.txt": b"1"}, "data.txt", r"none of a COCO or LVIS file.*foregrounds\.images\.labels"),
        ({}, "nowhere", "is no folder"),
        ({"data/annotations/instances_a.json": b"1", "data/annotations/instances_b.json": b"1"}, "data",
         "several annotation files"),
        ({"list.csv": b"path,other\na.jpg,cat\n", "a.jpg": b"1"}, "list.csv", "1 image left out"),
        ({"list.csv": b"file,category\na.jpg,cat\n"}, "list.csv", "no column 'path'"),
    ],
)  # fmt: skip
def test_place_that_is_nothing_of_it_says_what_it_is(tmp_path, files, path, told):
    write_files(tmp_path, files)
    with pytest.raises(ConfigError, match=told):
        _open(tmp_path / path)


def test_labels_say_what_it_is(tmp_path):
    """A VOC folder is one of folders by category, too, if the user says so."""
    write_files(tmp_path, {"JPEGImages/1.jpg": b"1", "Annotations/1.xml": _xml("cat")})
    assert _rows(_open(tmp_path, labels="folders")) == {"JPEGImages/1.jpg": ["JPEGImages"]}
    for labels in ("folders", "voc"):
        with pytest.raises(ConfigError, match="is no folder"):
            _open(tmp_path / "JPEGImages" / "1.jpg", labels=labels)
    with pytest.raises(ConfigError, match="give the annotation file itself"):
        _open(tmp_path, labels="coco")


# --- what they are to a run ----------------------------------------------------------------------


def test_contents_are_the_same_elsewhere_and_others_when_an_image_is(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    write_files(here, {"cat/a.jpg": b"12", "dog/b.jpg": b"1"})
    shutil.copytree(here, there)
    assert _open(here).contents == _open(there).contents
    (there / "dog" / "b.jpg").write_bytes(b"12")
    assert _open(here).contents != _open(there).contents
    shutil.move(there / "dog", there / "cow")
    shutil.copytree(here / "dog", there / "dog")
    assert _open(here).contents != _open(there).contents


def test_ids_of_images_stay_when_more_are_added(tmp_path):
    def ids():
        units = labelled_units(_open(tmp_path), 2)
        return {one.uri: one.candidate_id for unit in units for one in unit.prompts}

    write_files(tmp_path, {"cat/b.jpg": b"1", "dog/d.jpg": b"1"})
    before = ids()
    write_files(tmp_path, {"cat/a.jpg": b"1", "dog/c.jpg": b"1"})
    after = ids()
    assert len(set(after.values())) == 4 and after.items() >= before.items()
    (tmp_path / "cat" / "b.jpg").write_bytes(b"another image")
    assert ids()["cat/b.jpg"] != before["cat/b.jpg"]


def _listed(label_counts):
    labels = {f"{n:03d}.jpg": {f"c{k:02d}" for k in range(count)} for n, count in enumerate(label_counts)}
    return Listed(locate("/nowhere"), labels, dict.fromkeys(labels, 1))


@given(st.lists(st.integers(1, 12), min_size=1, max_size=40), st.integers(1, 16))
def test_units_hold_whole_images_in_order_and_no_more_pairs_than_asked(label_counts, unit_size):
    images = LabelledImages(_listed(label_counts), ImagesSettings(path="unused"), ())
    units = list(labelled_units(images, unit_size))
    prompts = [one for unit in units for one in unit.prompts]
    assert [(one.index, one.category_id) for one in prompts] == [
        (image, k) for image, count in enumerate(label_counts) for k in range(1, count + 1)
    ]
    assert [(unit.round, unit.number) for unit in units] == [(0, number) for number in range(len(units))]
    of = [{one.index for one in unit.prompts} for unit in units]
    assert sum(map(len, of)) == len(label_counts)  # no image is in two
    for unit, several in zip(units, of, strict=True):
        assert len(unit.prompts) <= unit_size or len(several) == 1
    for unit, (first, *_) in zip(units, [sorted(several) for several in of[1:]], strict=False):
        assert len(unit.prompts) + label_counts[first] > unit_size  # the next one would not have fitted
    assert len({one.candidate_id for one in prompts}) == len(prompts)
    assert {one.source for one in prompts} == {"images"}


def test_images_are_read_for_training_in_any_process(tmp_path):
    turned = encoded(picture(48, 64), "JPEG", exif=exif(6))
    write_files(
        tmp_path, {"cat/a.jpg": turned, "cat/b.jpg": jpeg(height=200, width=100), "dog/c.jpg": b"text"}
    )
    images = pickle.loads(pickle.dumps(_open(tmp_path, max_side_px=100)))
    assert len(images) == 3 and [images.labels(n) for n in range(3)] == [(1,), (1,), (2,)]
    assert images.load(0).shape == (64, 48, 3) and images.load(1).shape == (100, 50, 3)
    assert images.load(0).dtype == np.uint8 and images.upright_size_hw(0) == (64, 48)
    assert images.upright_size_hw(1) == (200, 100)
    assert len({images.key(number) for number in range(3)}) == 3
    with pytest.raises(RowError, match="unsupported_format"):
        images.load(2)
    (tmp_path / "cat" / "a.jpg").unlink()
    with pytest.raises(RowError, match="missing_file"):
        images.load(0)
