import json

import numpy as np
import pytest
import torch
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_V2_Weights, maskrcnn_resnet50_fpn_v2

from tests.models.segmenting import batched, shown
from xpaste_ray.config.segment import MaskRcnnMethod
from xpaste_ray.errors import ConfigError, RowError
from xpaste_ray.models.mask_rcnn import MaskRcnnSegmenter, save_mask_rcnn
from xpaste_ray.models.segmenters import Choosy

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = ["__background__", "bus", "frog", "zebra"]
SIDE = 64


@pytest.fixture(scope="module")
def network():
    """The true architecture, sure of "bus" everywhere; its boxes and masks are random."""
    torch.manual_seed(0)
    network = maskrcnn_resnet50_fpn_v2(
        weights=None, weights_backbone=None, num_classes=4, min_size=SIDE, max_size=SIDE
    ).eval()
    with torch.no_grad():
        network.roi_heads.box_predictor.cls_score.weight.normal_(std=1e-4)
        network.roi_heads.box_predictor.cls_score.bias.copy_(torch.tensor([0.0, 3.0, 0.0, 0.0]))
    return network


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mask-rcnn")
    save_mask_rcnn(network.state_dict(), NAMES, folder)
    return folder


@pytest.fixture(scope="module")
def method(saved):
    return segmenter(saved)


def segmenter(folder, device="cpu", **options):
    values = {"side_px": SIDE, "micro_batch": 3, "min_score": 0.1, "max_masks": 5, **options}
    return MaskRcnnSegmenter(MaskRcnnMethod(kind="mask-rcnn", model=str(folder), **values), device)


@pytest.mark.parametrize("size_hw", [(SIDE, SIDE), (48, 96), (301, 33)])
def test_instances_are_soft_masks_in_the_images_frame_best_first(method, size_hw):
    (masks,) = method([shown(1, size_hw)])
    assert 1 <= len(masks) <= 5
    assert all(one.mask.shape == size_hw and one.mask.dtype == np.float32 for one in masks)
    assert all(0 <= one.mask.min() < one.mask.max() <= 1 for one in masks)
    scores = [one.score for one in masks]
    assert scores == sorted(scores, reverse=True) and all(0.1 <= score <= 1 for score in scores)


def test_instances_are_those_of_the_librarys_own_way(method, network):
    """A square image: one call of torchvision's model."""
    one = shown(1)
    with torch.inference_mode():
        (expected,) = network([torch.from_numpy(one.image).permute(2, 0, 1) / 255])
    (masks,) = method([one])
    assert (expected["labels"][:5] == 1).all() and len(masks) == 5
    assert [own.score for own in masks] == pytest.approx(expected["scores"][:5].tolist(), abs=1e-5)
    for own, mask in zip(masks, expected["masks"][:5, 0].numpy(), strict=True):
        assert np.allclose(own.mask, mask, atol=1e-4)


def test_only_instances_of_the_category_are_kept(method):
    """The network gives bus about 0.87, frog and zebra about 0.04."""
    bus, frog = batched(method)([shown(1), shown(1, category="frog")])
    assert bus.value and frog.value == []


def test_score_and_count_are_limited(saved, method):
    (five,) = method([shown(1)])
    (two,) = segmenter(saved, max_masks=2)([shown(1)])
    assert [one.score for one in two] == [one.score for one in five[:2]]
    assert segmenter(saved, min_score=0.99)([shown(1)]) == [[]]


def test_category_without_a_name_in_the_vocabulary_rejects_its_image(method):
    for name in ("aardvark", "__background__"):
        with pytest.raises(RowError, match="not_in_vocabulary"):
            method([shown(1, category=name)])
        assert isinstance(method, Choosy) and method.refusal(name) == "not_in_vocabulary"
    assert method.refusal("bus_(vehicle)") is None


@pytest.mark.parametrize(
    ("dtype", "device"),
    [
        ("float32", "cpu"),  # bfloat16 takes minutes on a processor that has none
        pytest.param("bfloat16", "cuda", marks=pytest.mark.gpu),
    ],
)
def test_instances_do_not_depend_on_neighbours(saved, dtype, device):
    method = segmenter(saved, device, dtype=dtype)
    (alone,) = batched(method)([shown(1)])
    assert alone.value
    among = batched(method)([shown(2, (30, 64)), shown(3, (64, 40), "frog"), shown(1)])[2]
    assert [one.score for one in among.value] == [one.score for one in alone.value]
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(among.value, alone.value, strict=True))


def test_only_kept_masks_are_painted_at_the_size_of_the_image(method, monkeypatch):
    """All 100 detections of an image of 4,000 x 4,000 would take 6 GB."""
    painted = []
    paint = method._network.transform.postprocess

    def noted(found, *rest):
        painted.append([len(one["masks"]) for one in found])
        return paint(found, *rest)

    monkeypatch.setattr(method._network.transform, "postprocess", noted)
    method([shown(1)])
    assert painted == [[5]]


def test_names_of_torchvisions_own_weights_are_such_a_list():
    """What the docstring of `save_mask_rcnn` says to give: 91 labels, 80 of them COCO's."""
    names = MaskRCNN_ResNet50_FPN_V2_Weights.DEFAULT.meta["categories"]
    assert len(names) == 91 and names[0] == "__background__" and names[6] == "bus"


@pytest.mark.parametrize("names", ["{}", "[]", '["__background__"]', "[1, 2]", "no json"])
def test_categories_that_are_no_list_of_names_are_refused(saved, tmp_path, names):
    (tmp_path / "model.safetensors").symlink_to(saved / "model.safetensors")
    (tmp_path / "categories.json").write_text(names)
    with pytest.raises(ConfigError, match="categories.json of .* is not a list of names by label"):
        segmenter(tmp_path)


def test_other_number_of_categories_than_the_weights_is_refused(saved, tmp_path):
    (tmp_path / "model.safetensors").symlink_to(saved / "model.safetensors")
    (tmp_path / "categories.json").write_text(json.dumps(NAMES[:3]))
    with pytest.raises(ConfigError, match="does not hold the weights of .* for its 3 categories"):
        segmenter(tmp_path)


def test_pickles_are_refused(saved, tmp_path):
    (tmp_path / "model.safetensors").symlink_to(saved / "model.safetensors")
    (tmp_path / "categories.json").write_text(json.dumps(NAMES))
    torch.save({}, tmp_path / "model.pth")
    with pytest.raises(ConfigError, match=r"segment.methods.\*.model: .* a pickle"):
        segmenter(tmp_path)
