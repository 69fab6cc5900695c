import json
import pickle

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from torch.utils.data import DataLoader
from torchvision.models.detection import maskrcnn_resnet50_fpn
from torchvision.transforms import v2

from tests.backgrounds.material import small_dataset
from tests.compose.options import options
from tests.conftest import CATEGORIES
from xpaste_ray.backgrounds import MixedBackgrounds
from xpaste_ray.compose.compositor import Compositor
from xpaste_ray.errors import ConfigError
from xpaste_ray.torch import ComposedDataset, detection_collate, per_object

COUNTS = {"banana": 2, "lion": 2}


@pytest.fixture
def dataset(make_pool, backgrounds):
    return ComposedDataset(make_pool(COUNTS), backgrounds, options("count=6"), seed=0)


def _same(first, second):
    return torch.equal(first[0], second[0]) and all(
        torch.equal(torch.as_tensor(first[1][key]), torch.as_tensor(second[1][key])) for key in first[1]
    )


def test_item_is_the_composed_sample_in_torchvisions_convention(make_pool, backgrounds, dataset):
    composed = Compositor(make_pool(COUNTS, "again"), backgrounds, options("count=6"), 0).compose(3)
    image, target = dataset[3]
    assert image.dtype == torch.uint8 and np.array_equal(image.permute(1, 2, 0), composed.image)
    annotations = composed.sample.annotations
    assert target["labels"].tolist() == [a.category_id for a in annotations]
    assert target["masks"].dtype == torch.uint8 and target["masks"].shape == (len(annotations), 64, 64)
    assert target["masks"].sum((1, 2)).tolist() == target["area"].tolist() == [a.area for a in annotations]
    for (x1, y1, x2, y2), a in zip(target["boxes"].tolist(), annotations, strict=True):
        assert (x1, y1, x2 - x1, y2 - y1) == a.bbox
    assert target["image_id"] == 3 and target["pasted"].all()


def test_any_order_and_any_worker_give_the_same_sample(dataset):
    loaded = []
    for workers in (0, 2):
        loader = DataLoader(dataset, batch_size=2, num_workers=workers, collate_fn=detection_collate)
        loaded.append([item for images, targets in loader for item in zip(images, targets, strict=True)])
    assert len(loaded[0]) == 6
    for index in (5, 0, 3):
        assert _same(loaded[0][index], dataset[index]) and _same(loaded[1][index], dataset[index])


def test_each_epoch_has_its_own_samples(dataset):
    first = dataset[1]
    dataset.set_epoch(1)
    assert dataset[1][1]["image_id"] == 7 and not _same(first, dataset[1])
    dataset.set_epoch(0)
    assert _same(first, dataset[1])


def test_negative_index_counts_from_the_end_and_others_are_errors(dataset):
    assert len(dataset) == 6 and _same(dataset[-1], dataset[5])
    with pytest.raises(IndexError, match="sample 6 of 6"):
        dataset[6]


def test_it_survives_pickling(dataset):
    assert _same(pickle.loads(pickle.dumps(dataset))[2], dataset[2])


def test_transforms_of_torchvision_move_boxes_and_masks_together(make_pool, backgrounds):
    flip = v2.RandomHorizontalFlip(1.0)
    plain = ComposedDataset(make_pool(COUNTS), backgrounds, options("count=2"))
    flipped = ComposedDataset(make_pool(COUNTS, "again"), backgrounds, options("count=2"), transforms=flip)
    (image, target), (mirrored, moved) = plain[0], flipped[0]
    assert torch.equal(image.flip(2), mirrored) and torch.equal(target["masks"].flip(2), moved["masks"])
    assert torch.equal(64 - target["boxes"][:, [2]], moved["boxes"][:, [0]])


def test_sample_without_objects_has_empty_tensors(make_pool, backgrounds):
    _, target = ComposedDataset(make_pool(COUNTS), backgrounds, options("instances=[0, 0]"))[0]
    assert target["boxes"].shape == (0, 4) and target["masks"].shape == (0, 64, 64)


def test_objects_of_the_background_are_told_apart(make_pool, annotated_backgrounds):
    dataset = ComposedDataset(make_pool(COUNTS), annotated_backgrounds, options("count=20"))
    pasted = torch.cat([dataset[index][1]["pasted"] for index in range(20)])
    assert pasted.any() and not pasted.all()
    assert {category.name for category in dataset.categories} > {"banana", "frog", "lion"}


def test_torchvisions_mask_rcnn_trains_on_it(dataset):
    model = maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=700, min_size=64, max_size=64
    )
    images, targets = detection_collate([dataset[0], dataset[1]])
    losses = model([image / 255 for image in images], list(targets))
    assert all(torch.isfinite(loss) for loss in losses.values()) and "loss_mask" in losses


def test_backgrounds_are_those_of_the_options(make_pool, tmp_path, monkeypatch):
    """By name as `xpaste compose` takes them, without the categories that the options exclude."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pool = make_pool(COUNTS)
    assert ComposedDataset(pool, "embedded:photos", options("count=2"))[0][0].shape == (3, 64, 64)
    file = small_dataset(tmp_path / "coco")
    dog_free = options("count=12", "exclude_categories=[dog]")
    coco = COCO(str(file))
    with_dog = set(coco.getImgIds(catIds=coco.getCatIds(catNms=["dog"])))
    assert with_dog
    dataset = ComposedDataset(pool, file, dog_free)
    used = {dataset.plan(number).background_id for number in range(12)}
    assert not used & {coco.imgs[number]["file_name"] for number in with_dog}


def test_contexts_are_those_of_the_options_or_open_already(
    make_pool, annotated_backgrounds, backgrounds, tmp_path, monkeypatch
):
    """Whoever opens them, and in any worker process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pool, ratio = make_pool(COUNTS), ("count=6", "background_draw=in-turn", "mix=[1, 1]")
    given = options(*ratio, f"contexts={backgrounds.source.root}")
    named = ComposedDataset(pool, annotated_backgrounds, given)
    opened = ComposedDataset(pool, MixedBackgrounds(annotated_backgrounds, backgrounds), options(*ratio))
    used = [named.plan(number).background_id for number in range(6)]
    assert [name.startswith("context:") for name in used] == [False, True] * 3
    loader = DataLoader(named, batch_size=2, num_workers=2, collate_fn=detection_collate)
    loaded = [item for images, targets in loader for item in zip(images, targets, strict=True)]
    assert all(_same(loaded[number], opened[number]) for number in range(6))
    assert _same(pickle.loads(pickle.dumps(named))[1], opened[1])
    with pytest.raises(ConfigError, match="have contexts already"):
        ComposedDataset(pool, MixedBackgrounds(annotated_backgrounds, backgrounds), given)


def test_cropping_transforms_keep_targets_together(make_pool, backgrounds):
    cropping = v2.Compose([v2.RandomCrop(24), v2.SanitizeBoundingBoxes(labels_getter=per_object)])
    settings = options("count=6", "instances=[8, 8]", "place.rule=inside")
    dataset = ComposedDataset(make_pool(COUNTS), backgrounds, settings, transforms=cropping)
    torch.manual_seed(0)
    numbers = []
    for _, target in (dataset[index] for index in range(6)):
        names = ("boxes", "labels", "masks", "area", "iscrowd", "pasted")
        (number,) = {len(target[name]) for name in names}
        numbers.append(number)
    assert min(numbers) < 8


def test_labels_are_the_backgrounds_own_where_names_are_the_same(make_pool, tmp_path, monkeypatch):
    """Backgrounds with banana as 1 and a lamp under the lion's number."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    lion = next(category.id for category in CATEGORIES if category.name == "lion")
    file = small_dataset(tmp_path / "coco")
    content = json.loads(file.read_text())
    names = {1: "Banana", 18: "dog", 44: "cup", lion: "lamp"}
    content["categories"] = [{"id": number, "name": name} for number, name in names.items()]
    file.write_text(json.dumps(content))
    dataset = ComposedDataset(make_pool(COUNTS), file, options("count=8", "instances=[6, 6]"))
    names = {category.id: category.name for category in dataset.categories}
    assert len(names) == len(dataset.categories) and names[1] == "Banana" and names[lion] == "lamp"
    (new,) = (number for number, name in names.items() if name == "lion")
    pasted = {int(n) for _, t in map(dataset.__getitem__, range(8)) for n in t["labels"][t["pasted"]]}
    assert pasted == {1, new}
