import pickle

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from tests.backgrounds.material import encoded, picture, png, small_dataset
from xpaste_ray.backgrounds import open_or_index, resolve_source
from xpaste_ray.errors import ConfigError
from xpaste_ray.formats.voc import encode_label_png
from xpaste_ray.sources.annotated import Objects, object_of, object_uri
from xpaste_ray.sources.voc import is_voc, open_voc
from xpaste_ray.storage import locate

OPTION = "sources.real.annotations"


def test_objects_of_a_dataset_are_listed_without_its_crowds(tmp_path):
    images = open_or_index(resolve_source(small_dataset(tmp_path / "data")), tmp_path / "cache")
    listed = Objects(images)
    assert [(row["category"], row["uri"]) for row in listed.listing.to_pylist()] == [
        ("cat", "a.jpg#1"), ("cup", "a.jpg#4"), ("dog", "b.jpg#2"), ("cup", "b.jpg#6")
    ]  # fmt: skip
    assert listed.notes == []


def test_contents_are_the_same_elsewhere(tmp_path):
    indexes = [
        open_or_index(resolve_source(small_dataset(tmp_path / place)), tmp_path / "cache")
        for place in ("here", "there")
    ]
    assert len({Objects(images).contents for images in indexes}) == 1


def test_what_the_index_left_out_is_told(tmp_path):
    path = small_dataset(tmp_path / "data")
    text = path.read_text().replace('"segmentation": [[10, 10', '"segmentation": [[1e9, 10')
    path.write_text(text)
    (tmp_path / "data/images/c.jpg").unlink()
    listed = Objects(open_or_index(resolve_source(path), tmp_path / "cache"))
    assert listed.notes == ["1 image left out: missing_file", "1 annotation left out: bad_polygon"]


def test_names_of_images_may_hold_what_separates_them_from_ids():
    assert object_of(object_uri("a#1.jpg", 42)) == ("a#1.jpg", 42)


# --- VOC -----------------------------------------------------------------------------------------

OBJECTS = np.zeros((20, 30), np.uint8)
OBJECTS[2:8, 3:9], OBJECTS[10:18, 12:28], OBJECTS[9, :] = 1, 2, 255
CLASSES = np.take(np.array([0, 12, 15, *[0] * 252, 255], np.uint8), OBJECTS)  # dog, person


def _voc(root, names=("dog", "person"), classes=None, objects=OBJECTS, **files):
    """One image with two objects: 6x6 pixels from (3, 2), 16x8 from (12, 10); void between them."""
    place = locate(root)
    written = {
        "JPEGImages/000007.jpg": encoded(picture(20, 30), "JPEG"),
        "SegmentationObject/000007.png": encode_label_png(objects),
    }
    if names:
        tags = "".join(f"<object><name>{name}</name></object>" for name in names)
        written["Annotations/000007.xml"] = f"<annotation>{tags}</annotation>".encode()
    if classes is not None:
        written["SegmentationClass/000007.png"] = encode_label_png(classes)
    for name, data in (written | files).items():
        (place / name).write_whole(data)
    return place


def _indexed(place, cache):
    images = open_or_index(open_voc(place, OPTION, cache), cache)
    names = {category.id: category.name for category in images.categories}
    return [(names[a.category_id], a.bbox_xywh, a.area) for a in images.annotations(0)]


FOUND = [("dog", (3, 2, 6, 6), 36), ("person", (12, 10, 16, 8), 128)]


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_voc_objects_are_named_by_the_xml(tmp_path, s3, where):
    place = _voc(tmp_path / "voc" if where == "disk" else f"{s3()}/voc")
    assert is_voc(place) and _indexed(place, tmp_path / "cache") == FOUND


def test_without_xml_the_class_map_names_them_by_vocs_own_list(tmp_path):
    assert _indexed(_voc(tmp_path / "voc", (), CLASSES), tmp_path / "cache") == FOUND


def test_or_by_the_label_map_of_the_folder(tmp_path):
    labels = b"# label:color_rgb:parts:actions\nbackground:0,0,0::\ncup:1,1,1::\nmug:2,2,2::\n"
    classes = np.where(OBJECTS < 255, OBJECTS, 255).astype(np.uint8)
    place = _voc(tmp_path / "voc", (), classes, **{"labelmap.txt": labels})
    assert [name for name, *_ in _indexed(place, tmp_path / "cache")] == ["cup", "mug"]


def test_masks_are_those_of_the_map_void_left_out(tmp_path):
    images = open_or_index(open_voc(_voc(tmp_path / "voc"), OPTION, tmp_path / "c"), tmp_path / "c")
    masks = [coco_mask.decode(a.rle).astype(bool) for a in images.annotations(0)]
    assert np.array_equal(masks, [OBJECTS == 1, OBJECTS == 2])


def test_sixteen_bits_have_their_own_void(tmp_path):
    objects = np.where(OBJECTS == 255, np.uint16(65535), OBJECTS)
    assert _indexed(_voc(tmp_path / "voc", objects=objects), tmp_path / "cache") == FOUND


def test_voc_is_converted_once_and_again_when_it_changes(tmp_path):
    place, cache = _voc(tmp_path / "voc"), tmp_path / "cache"
    made = open_voc(place, OPTION, cache).annotations
    assert open_voc(place, OPTION, cache).annotations == made
    _voc(tmp_path / "voc", ("cat", "person"))
    assert open_voc(place, OPTION, cache).annotations != made


def test_another_node_converts_for_itself(tmp_path):
    source = open_voc(_voc(tmp_path / "voc"), OPTION, tmp_path / "cache")
    sent = pickle.dumps(source)
    source.annotations.unlink()
    assert pickle.loads(sent).annotations.is_file()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"names": ()}, "SegmentationClass/000007.png is not readable"),
        ({"names": (), "classes": OBJECTS[:9]}, "differ in size"),
        (
            {"names": (), "classes": np.zeros_like(OBJECTS)},
            "object 1, of which neither Annotations/000007.xml",
        ),
        ({"Annotations/000007.xml": b"<annotation>"}, "000007.xml is not readable"),
        ({"Annotations/000007.xml": b'<!DOCTYPE a [<!ENTITY b "c">]><a/>'}, "it declares entities"),
        ({"SegmentationObject/000007.png": b"GIF89a"}, "000007.png is not readable .unsupported_format"),
        (
            {"SegmentationObject/000007.png": png(50_000, 50_000, b"")},
            "000007.png is not readable .too_many_pixels",
        ),
        (
            {"SegmentationObject/000007.png": encoded(picture(20, 30), "PNG")},
            "is no map of objects: it has colours",
        ),
        (
            {"SegmentationObject/000008.png": encode_label_png(OBJECTS)},
            "000008.png has no image in JPEGImages",
        ),
    ],
)
def test_damaged_voc_is_an_error_that_names_the_file(tmp_path, files, message):
    with pytest.raises(ConfigError, match=rf"sources\.real\.annotations: .*{message}"):
        open_voc(_voc(tmp_path / "voc", **files), OPTION, tmp_path / "cache")


def test_folder_without_object_masks_is_an_error(tmp_path):
    place = _voc(tmp_path / "voc")
    (place / "SegmentationObject/000007.png").remove()
    with pytest.raises(ConfigError, match="SegmentationObject has no .png: object masks are what is cut out"):
        open_voc(place, OPTION, tmp_path / "cache")


def test_palette_maps_of_other_tools_are_read(tmp_path):
    """VOC's own files are palette PNGs, compressed as Pillow does."""
    image = Image.fromarray(OBJECTS, "P")
    image.putpalette([n for n in range(256) for _ in range(3)])
    place = _voc(tmp_path / "voc", **{"SegmentationObject/000007.png": encoded(image, "PNG")})
    assert _indexed(place, tmp_path / "cache") == FOUND
