"""A composed dataset, read by the libraries that people train with: the same objects in every format."""

import io
import json
from xml.etree import ElementTree

import cv2
import numpy as np
import pandas
import pytest
import supervision
import webdataset
from lvis import LVIS
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from torchvision.datasets import CocoDetection, VOCDetection, VOCSegmentation

from tests.backgrounds.material import small_dataset
from tests.compose.options import options
from tests.conftest import seal_discs
from xpaste_ray.backgrounds import open_or_index, resolve_source
from xpaste_ray.compose.compositor import Compositor
from xpaste_ray.compose.shards import compose_shard, dataset_spec
from xpaste_ray.formats.contract import FORMAT_NAMES
from xpaste_ray.formats.dataset import finish
from xpaste_ray.formats.shards import read_fragment
from xpaste_ray.formats.validate import validate

COUNT = 12


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    """Discs and copied objects on photographs with objects that overlap and crowds.

    Returns the dataset's folder, its samples, and the category names by id.
    """
    root = tmp_path_factory.mktemp("composed")
    pool = seal_discs(root / "run", {"banana": 2, "lion": 3})
    backgrounds = open_or_index(resolve_source(small_dataset(root / "photos")), root / "cache")
    return compose_all_formats(root / "data", pool, backgrounds)


def compose_all_formats(folder, pool, backgrounds):
    settings = options(
        f"count={COUNT}", "samples_per_shard=3", f"output.formats={list(FORMAT_NAMES)}",
        "canvas.fit=keep", "instances=[1, 5]", "copy_rule=both",
        "output.provenance=true", "output.amodal=true",
    )  # fmt: skip
    compositor = Compositor(pool, backgrounds, settings, seed=5)
    spec = dataset_spec(settings, pool, backgrounds, "recipe", {})
    for shard in spec.shards:
        compose_shard(folder, shard, compositor, spec, None)
    finish(folder, spec)
    fragments = [read_fragment(folder, shard) for shard in spec.shards]
    samples = [sample for fragment in fragments for sample in fragment.samples]
    return folder, samples, {category.id: category.name for category in spec.categories}


def union(masks, sample):
    """(H, W) bool: all masks of a sample together."""
    return np.logical_or.reduce([np.zeros((sample.height, sample.width), bool), *masks])


def expected(composed, crowds):
    """By sample: names of its objects in order, and where these are."""
    _, samples, names = composed
    for sample in samples:
        kept = [a for a in sample.annotations if crowds or not a.iscrowd]
        masks = [coco_mask.decode(annotation.segmentation).astype(bool) for annotation in kept]
        yield sample, [names[annotation.category_id] for annotation in kept], union(masks, sample)


def same(composed, read, crowds):
    """Compares what a reader gives for each sample: names and masks of its objects."""
    known = list(expected(composed, crowds))
    assert len(read) == len(known) == COUNT
    for (names, masks), (sample, expected_names, expected_union) in zip(read, known, strict=True):
        assert (names, len(masks)) == (expected_names, len(expected_names))
        assert np.array_equal(union(masks, sample), expected_union)


def decoded(rle):
    """A mask as plain readers see it: {"size", "counts"} of their own types."""
    return coco_mask.decode({"size": list(rle["size"]), "counts": rle["counts"]}).astype(bool)


def test_the_dataset_has_all_kinds_of_objects_and_is_valid(composed):
    dataset, samples, _ = composed
    annotations = [annotation for sample in samples for annotation in sample.annotations]
    assert {a.origin for a in annotations} == {"pool", "copied", "background"}
    assert {a.iscrowd for a in annotations} == {0, 1} and min(a.visible_fraction for a in annotations) < 1
    assert validate(dataset).findings == []


def test_pycocotools(composed):
    dataset, _, names = composed
    coco = COCO(str(dataset / "coco" / "annotations.json"))
    read = [coco.imgToAnns[image] for image in coco.getImgIds()]
    masks = [[coco.annToMask(entry) > 0 for entry in found] for found in read]
    found_names = [[names[entry["category_id"]] for entry in found] for found in read]
    same(composed, list(zip(found_names, masks, strict=True)), crowds=True)


def test_torchvision_coco(composed):
    dataset, samples, names = composed
    loaded = CocoDetection(dataset / "coco" / "images", dataset / "coco" / "annotations.json")
    read = []
    for (image, target), sample in zip(loaded, samples, strict=True):
        assert image.size == (sample.width, sample.height)
        masks = [loaded.coco.annToMask(entry) > 0 for entry in target]
        read.append(([names[entry["category_id"]] for entry in target], masks))
    same(composed, read, crowds=True)


def test_lvis(composed):
    dataset, _, _ = composed
    lvis = LVIS(str(dataset / "lvis" / "annotations.json"))
    read = []
    for image in lvis.get_img_ids():
        found = lvis.load_anns(lvis.get_ann_ids(img_ids=[image]))
        names = [lvis.cats[entry["category_id"]]["name"] for entry in found]
        read.append((names, [lvis.ann_to_mask(entry) > 0 for entry in found]))
    same(composed, read, crowds=False)


def parts(annotation):
    return cv2.connectedComponents(coco_mask.decode(annotation.segmentation), connectivity=8)[0] - 1


def test_supervision_yolo(composed):
    """Exact but for the bridges between the parts of a mask: lines of a pixel, no longer than the image."""
    folder = composed[0] / "yolo"
    loaded = supervision.DetectionDataset.from_yolo(
        str(folder / "images"), str(folder / "labels"), str(folder / "data.yaml"), force_masks=True
    )
    for sample, names, mask in expected(composed, crowds=False):
        found = loaded.annotations[str(folder / "images" / f"{sample.index:06d}.jpg")]
        assert [loaded.classes[index] for index in found.class_id] == names
        drawn = union(found.mask, sample)
        bridges = sum(parts(a) - 1 for a in sample.annotations if not a.iscrowd)
        assert not (mask & ~drawn).any() and (drawn & ~mask).sum() <= 64 * bridges


def test_supervision_voc(composed):
    folder = composed[0] / "voc"
    loaded = supervision.DetectionDataset.from_pascal_voc(
        str(folder / "JPEGImages"), str(folder / "Annotations")
    )
    for sample, names, _ in expected(composed, crowds=False):
        found = loaded.annotations[str(folder / "JPEGImages" / f"{sample.index:06d}.jpg")]
        assert [loaded.classes[index] for index in found.class_id] == names
        boxes = [a.bbox for a in sample.annotations if not a.iscrowd]
        assert found.xyxy.tolist() == [[x, y, x + width, y + height] for x, y, width, height in boxes]


def test_torchvision_voc(composed, tmp_path):
    """In its maps the void of crowds lies around the objects, and everything else is background."""
    (tmp_path / "VOCdevkit").mkdir()
    (tmp_path / "VOCdevkit" / "VOC2012").symlink_to(composed[0] / "voc")
    detection = VOCDetection(str(tmp_path), year="2012", image_set="train")
    segmentation = VOCSegmentation(str(tmp_path), year="2012", image_set="train")
    rows = zip(expected(composed, crowds=False), detection, segmentation, strict=True)
    for (_, names, mask), (_, target), (_, classes) in rows:
        assert [entry["name"] for entry in target["annotation"]["object"]] == names
        values = np.asarray(classes)
        assert np.array_equal((values > 0) & (values < 255), mask)


def test_webdataset(composed):
    dataset, samples, names = composed
    urls = sorted(str(path) for path in (dataset / "webdataset").glob("*.tar"))
    read = []
    for entry, sample in zip(
        webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8"), samples, strict=True
    ):
        assert entry["jpg"].shape == (sample.height, sample.width, 3)
        found = entry["json"]["annotations"]
        read.append(([names[a["category_id"]] for a in found], [decoded(a["segmentation"]) for a in found]))
    same(composed, read, crowds=True)


def test_pandas(composed):
    """Through pyarrow, as pandas reads Parquet: a row a sample, the objects as a list of dicts."""
    dataset, samples, names = composed
    table = pandas.read_parquet(dataset / "parquet" / "data").sort_values("image_id")
    read = []
    for row, sample in zip(table.to_dict("records"), samples, strict=True):
        assert Image.open(io.BytesIO(row["image"]["bytes"])).size == (sample.width, sample.height)
        found = row["objects"]
        read.append(([names[a["category_id"]] for a in found], [decoded(a["segmentation"]) for a in found]))
    same(composed, read, crowds=True)


def _told(entry):
    provenance = entry.get("provenance")
    return entry["origin"], entry.get("instance_id"), json.loads(provenance) if provenance else None


def test_every_format_leads_pasted_objects_back(composed):
    """Prompt and seed of the pool's, background and annotation of the copied, for each as in COCO's file."""
    dataset, samples, _ = composed
    coco = json.loads((dataset / "coco" / "annotations.json").read_text())["annotations"]
    told = [_told(entry | {"provenance": json.dumps(entry.get("provenance"))}) for entry in coco]
    for origin, instance_id, provenance in told:
        assert (instance_id is not None) == (origin == "pool")
        assert {"pool": "seed", "copied": "annotation_id"}.get(origin, "") in (provenance or {"": 0})
    parquet = pandas.read_parquet(dataset / "parquet" / "data").sort_values("image_id")
    assert [_told(entry) for objects in parquet["objects"] for entry in objects] == told
    crowds = [entry["iscrowd"] for entry in coco]
    files = [dataset / "voc" / "Annotations" / f"{sample.index:06d}.xml" for sample in samples]
    objects = [entry for file in files for entry in ElementTree.parse(file).iter("object")]
    of_voc = [_told({child.tag: child.text for child in entry}) for entry in objects]
    assert of_voc == [one for one, crowd in zip(told, crowds, strict=True) if not crowd]


def test_category_names_of_any_kind_are_composed_into_every_format(tmp_path):
    """No file is named after one, and each comes back as it was."""
    names = {1: "../../stray", 18: 'dog/\n"<&>', 44: "\u00fc" * 300}
    file = small_dataset(tmp_path / "photos")
    content = json.loads(file.read_text())
    content["categories"] = [{"id": number, "name": name} for number, name in names.items()]
    file.write_text(json.dumps(content))
    pool = seal_discs(tmp_path / "run", {"banana": 2, "lion": 3})
    backgrounds = open_or_index(resolve_source(file), tmp_path / "cache")
    dataset, _, _ = compose_all_formats(tmp_path / "data", pool, backgrounds)
    assert validate(dataset).findings == []
    coco = COCO(str(dataset / "coco" / "annotations.json"))
    known = {category["id"]: category["name"] for category in coco.dataset["categories"]}
    assert names.items() <= known.items()
    assert not any(part in path.name for path in dataset.rglob("*") for part in ("stray", "dog", "\u00fc"))
