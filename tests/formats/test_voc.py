import json
from io import BytesIO
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import supervision
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco_mask
from torchvision.datasets import VOCDetection, VOCSegmentation

from tests.formats.conftest import CATEGORIES, make_annotation, make_sample, rectangle
from xpaste_ray.categories import Category
from xpaste_ray.formats.images import ImageEncoding
from xpaste_ray.formats.voc import decode_label_png, encode_label_png, object_map, voc_colours

CLEAN_NAME = 'new\nline <&"]]> \ufffd ü😀'


@pytest.fixture
def voc_root(tmp_path, make_dataset):
    """The dataset under the path that VOC's readers insist on."""
    (tmp_path / "VOCdevkit").mkdir()
    (tmp_path / "VOCdevkit" / "VOC2012").symlink_to(make_dataset("voc"))
    return tmp_path


def test_masks_load_with_torchvision(voc_root):
    loaded = VOCSegmentation(str(voc_root), year="2012", image_set="train")
    image, classes = loaded[0]
    assert len(loaded) == 5 and image.size == classes.size == (32, 24) and classes.mode == "P"
    values = np.asarray(classes)
    # 7 is the second category, 3 the first, 1203 the third
    assert (values[15, 1], values[3, 3], values[6, 6], values[3, 21], values[0, 31]) == (2, 1, 0, 3, 0)


def test_boxes_load_with_torchvision_and_count_from_one(voc_root):
    loaded = VOCDetection(str(voc_root), year="2012", image_set="train")
    _, target = loaded[0]
    boxes = [entry["bndbox"] for entry in target["annotation"]["object"]]
    assert boxes[0] == {"xmin": "1", "ymin": "15", "xmax": "10", "ymax": "20"}  # x 0, y 14, 10 x 6
    assert target["annotation"]["object"][0]["name"] == CLEAN_NAME
    assert target["annotation"]["object"][0]["occluded"] == "1"
    assert loaded[2][1]["annotation"]["object"] == []


def test_dataset_loads_with_supervision(make_dataset):
    dataset = make_dataset("voc")
    read = supervision.DetectionDataset.from_pascal_voc(
        str(dataset / "JPEGImages"), str(dataset / "Annotations")
    )
    detections = read.annotations[str(dataset / "JPEGImages" / "000000.jpg")]
    assert detections.xyxy.tolist() == [[0, 14, 10, 20], [2, 2, 14, 12], [20, 2, 29, 19]]
    names = [read.classes[index] for index in detections.class_id]
    assert names == [CLEAN_NAME, CATEGORIES[0].name, CATEGORIES[2].name]


def test_objects_are_numbered_as_in_the_xml_and_crowds_are_void(make_dataset):
    dataset = make_dataset("voc")
    objects = decode_label_png(dataset / "SegmentationObject" / "000001.png")
    # the crowd is 20 x 10, the object over it 5 x 5
    assert dict(zip(*np.unique(objects, return_counts=True), strict=True)) == {0: 768 - 200, 1: 25, 255: 175}
    root = ElementTree.parse(dataset / "Annotations" / "000001.xml").getroot()
    assert [entry.findtext("source_id") for entry in root.findall("object")] == ["3-1-test"]
    classes = decode_label_png(dataset / "SegmentationClass" / "000001.png")
    assert np.array_equal(classes == 255, objects == 255) and (classes[objects == 1] == 1).all()


def test_annotations_say_where_they_come_from(make_dataset):
    root = ElementTree.parse(make_dataset("voc") / "Annotations" / "000000.xml").getroot()
    under, ring, copied = root.findall("object")
    keys = ("category_id", "origin", "z_order", "instance_id", "source_id")
    assert {key: ring.findtext(key) for key in keys} == {
        "category_id": "3", "origin": "pool", "z_order": "1",
        "instance_id": "3-0-test", "source_id": "3-0-test",
    }  # fmt: skip
    assert json.loads(ring.findtext("provenance")) == {"prompt": "a photo of a cup", "seed": 7}
    assert json.loads(copied.findtext("provenance")) == {"background_id": "c", "annotation_id": 2}
    assert copied.find("instance_id") is None and under.find("provenance") is None
    assert root.findtext("source/background_id") == "b/../0.jpg"


def test_amodal_masks_are_told_if_there_are_any(make_dataset):
    """The ring's is the full rectangle of 12 x 10, of which 108 px are seen."""
    root = ElementTree.parse(make_dataset("voc") / "Annotations" / "000000.xml").getroot()
    under, ring, _ = root.findall("object")
    assert coco_mask.area(json.loads(ring.findtext("amodal"))) == 120 and under.find("amodal") is None


@pytest.mark.parametrize(
    ("box", "truncated"),
    [
        pytest.param((1, 1, 30, 22), "0", id="inside"),
        pytest.param((0, 5, 3, 3), "1", id="left"),
        pytest.param((5, 0, 3, 3), "1", id="top"),
        pytest.param((29, 5, 3, 3), "1", id="right"),
        pytest.param((5, 21, 3, 3), "1", id="bottom"),
    ],
)
def test_an_object_at_the_border_counts_as_truncated_and_a_covered_one_as_occluded(
    make_dataset, box, truncated
):
    pair = [make_annotation(rectangle(*box)), make_annotation(rectangle(*box), visible_fraction=0.75,
                                                              origin="background")]  # fmt: skip
    dataset = make_dataset("voc", samples=[make_sample(0, pair)])
    objects = ElementTree.parse(dataset / "Annotations" / "000000.xml").getroot().findall("object")
    assert [entry.findtext("truncated") for entry in objects] == [truncated] * 2
    assert [entry.findtext("occluded") for entry in objects] == ["0", "1"]


def test_ids_that_xml_cannot_hold_do_not_break_the_file(make_dataset):
    odd = make_annotation(rectangle(2, 2, 3, 3), origin="copied", source_id='<&"\x00>/../ü#7')
    dataset = make_dataset("voc", samples=[make_sample(0, [odd], background_id="]]>\x01&")])
    root = ElementTree.parse(dataset / "Annotations" / "000000.xml").getroot()
    assert root.findtext("object/source_id") == '<&"\ufffd>/../ü#7'
    assert root.findtext("source/background_id") == "]]>\ufffd&"
    told = json.loads(root.findtext("object/provenance"))  # JSON writes characters as ASCII: nothing is lost
    assert told == {"background_id": '<&"\x00>/../ü', "annotation_id": 7}


def test_where_masks_overlap_the_later_object_is_on_top():
    pair = [
        make_annotation(rectangle(0, 0, 6, 6), origin="background"),
        make_annotation(rectangle(3, 3, 6, 6)),
    ]
    labels = object_map(make_sample(0, pair))
    assert (labels == 1).sum() == 36 - 9 and (labels == 2).sum() == 36


@pytest.mark.parametrize(
    ("count", "mode", "void"),
    [pytest.param(254, "P", 255, id="8-bit"), pytest.param(255, "I;16", 65535, id="16-bit")],
)
def test_more_than_254_objects_make_a_wider_png(make_dataset, count, mode, void):
    """Faults B8: no number wraps, and none is taken for void."""
    cells = [rectangle(4 * (i % 20), 4 * (i // 20), 3, 3, (60, 80)) for i in range(count)]
    annotations = [make_annotation(cell) for cell in cells]
    crowd = make_annotation(rectangle(0, 56, 80, 4, (60, 80)), iscrowd=1, origin="background")
    dataset = make_dataset("voc", samples=[make_sample(0, [*annotations, crowd], height=60, width=80)])
    path = dataset / "SegmentationObject" / "000000.png"
    assert Image.open(path).mode == mode
    objects = decode_label_png(path)
    assert set(np.unique(objects)) == {*range(count + 1), void}
    assert all((objects[cell] == number).all() for number, cell in enumerate(cells, 1))
    assert Image.open(dataset / "SegmentationClass" / "000000.png").mode == "P"


def test_more_than_254_categories_make_a_wider_class_png(make_dataset):
    categories = tuple(Category(3 * i, f"c{i}") for i in range(1, 301))
    sample = make_sample(0, [make_annotation(rectangle(0, 0, 2, 2), 900)])
    dataset = make_dataset("voc", samples=[sample], categories=categories)
    classes = decode_label_png(dataset / "SegmentationClass" / "000000.png")
    assert classes.dtype == np.uint16 and classes[0, 0] == 300
    assert Image.open(dataset / "SegmentationObject" / "000000.png").mode == "P"


def test_colours_are_those_of_the_development_kit():
    colours = np.frombuffer(voc_colours(), np.uint8).reshape(256, 3).tolist()
    assert colours[:4] == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert colours[15] == [192, 128, 128] and colours[20] == [0, 64, 128] and colours[255] == [224, 224, 192]


def test_images_keep_their_own_suffix(make_dataset):
    dataset = make_dataset("voc", encoding=ImageEncoding(format="webp"))
    assert (dataset / "JPEGImages" / "000000.webp").is_file()
    root = ElementTree.parse(dataset / "Annotations" / "000000.xml").getroot()
    assert root.findtext("filename") == "000000.webp"


@settings(max_examples=50, deadline=None)
@given(arrays(st.sampled_from([np.uint8, np.uint16]), st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_label_pngs_come_back_with_every_value(labels):
    data = encode_label_png(labels)
    with Image.open(BytesIO(data)) as image:
        assert image.mode == ("P" if labels.dtype == np.uint8 else "I;16")
        assert np.array_equal(np.asarray(image), labels)
    if labels.dtype == np.uint16:
        assert np.array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED), labels)


def test_label_map_decodes_the_class_pngs(make_dataset):
    """Line k says which category value k is, in the colour that the palette has for it."""
    dataset = make_dataset("voc")
    head, *lines = (dataset / "labelmap.txt").read_text(encoding="utf-8").splitlines()
    assert head == "# label:color_rgb:parts:actions"
    assert lines == [
        "background:0,0,0::",
        "cup/../../etc:128,0,0::",
        'new\ufffdline <&"]]> \ufffd ü😀:0,128,0::',
        "z" * 300 + ":128,128,0::",
    ]
    with Image.open(dataset / "SegmentationClass" / "000000.png") as image:
        # the first category's ring, then background
        assert [image.convert("RGB").getpixel(at) for at in ((3, 3), (6, 6))] == [(128, 0, 0), (0, 0, 0)]


def test_label_map_has_no_colours_where_the_pngs_have_none(make_dataset):
    categories = tuple(Category(3 * i, f"c:{i}" if i < 2 else f"#{i}") for i in range(1, 301))
    dataset = make_dataset("voc", samples=[make_sample(0, [])], categories=categories)
    lines = (dataset / "labelmap.txt").read_text(encoding="utf-8").splitlines()
    assert (
        lines[1:3] == ["background:::", "c\ufffd1:::"] and lines[-1] == "\ufffd300:::" and len(lines) == 302
    )


def test_image_sets_are_those_that_readers_ask_for(make_dataset):
    dataset = make_dataset("voc")
    names = [f"{number:06d}" for number in range(5)]
    for path in ("Main/train", "Main/trainval", "Segmentation/train", "Segmentation/trainval"):
        assert (dataset / "ImageSets" / f"{path}.txt").read_text().split() == names


def test_xml_is_a_tag_a_line(make_dataset):
    lines = (make_dataset("voc") / "Annotations" / "000004.xml").read_text(encoding="utf-8").splitlines()
    assert lines[:6] == ['<?xml version="1.0" encoding="UTF-8"?>', "<annotation>",
                         "\t<folder>VOC2012</folder>", "\t<filename>000004.jpg</filename>", "\t<source>",
                         "\t\t<database>xpaste_ray</database>"]  # fmt: skip
    first = lines.index("\t<object>")
    assert lines[first + 6 : first + 12] == [
        "\t\t<bndbox>", "\t\t\t<xmin>2</xmin>", "\t\t\t<ymin>4</ymin>", "\t\t\t<xmax>8</xmax>",
        "\t\t\t<ymax>4</ymax>", "\t\t</bndbox>",
    ]  # fmt: skip
    assert lines[-1] == "</annotation>"
