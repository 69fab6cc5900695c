import json

import numpy as np
import pytest
import torch
from transformers import (
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    Mask2FormerImageProcessor,
    SwinConfig,
)

from tests.models.segmenting import batched, shown
from xpaste_ray.config.segment import Mask2FormerMethod
from xpaste_ray.errors import ConfigError, RowError
from xpaste_ray.models.mask2former import Mask2FormerSegmenter

pytestmark = pytest.mark.usefixtures("one_thread")

QUERIES = 12
CONFIG = Mask2FormerConfig(
    backbone_config=SwinConfig(
        embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 2], window_size=4, image_size=64,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    ),
    feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=32, encoder_layers=1,
    decoder_layers=2, num_attention_heads=2, dim_feedforward=32, num_queries=QUERIES,
    id2label={0: "bus", 1: "frog", 2: "zebra"}, label2id={"bus": 0, "frog": 1, "zebra": 2},
)  # fmt: skip


@pytest.fixture(scope="module")
def network():
    """Sure of "bus" for every query; its masks are random and differ."""
    torch.manual_seed(0)
    network = Mask2FormerForUniversalSegmentation(CONFIG).eval()
    for name, weights in network.named_parameters():
        if "mask_embedder" in name or "mask_projection" in name or "queries" in name:
            torch.nn.init.normal_(weights, std=0.7)
    torch.nn.init.normal_(network.class_predictor.weight, std=0.05)
    with torch.no_grad():
        network.class_predictor.bias.copy_(torch.tensor([3.0, 0.0, 0.0, 0.0]))  # the last: no object
    return network


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mask2former")
    network.save_pretrained(folder)
    return folder


def segmenter(folder, device="cpu", **options):
    values = {"side_px": 64, "micro_batch": 3, "min_score": 0.1, "max_masks": QUERIES, **options}
    return Mask2FormerSegmenter(Mask2FormerMethod(kind="mask2former", model=str(folder), **values), device)


@pytest.mark.parametrize("size_hw", [(64, 64), (48, 96), (301, 33), (20, 20)])
def test_instances_are_soft_masks_in_the_images_frame_best_first(saved, size_hw):
    ((*masks,),) = segmenter(saved)([shown(1, size_hw)])
    assert 1 < len(masks) <= QUERIES
    assert all(one.mask.shape == size_hw and one.mask.dtype == np.float32 for one in masks)
    assert all(0 <= one.mask.min() <= one.mask.max() <= 1 for one in masks)
    scores = [one.score for one in masks]
    assert scores == sorted(scores, reverse=True) and all(0.1 <= score <= 1 for score in scores)


def test_instances_are_those_of_the_librarys_own_way(saved, network):
    """At 384 pixels, the one size that transformers' post-processing knows."""
    one = shown(1, (384, 384))
    ((*masks,),) = segmenter(saved, side_px=384, min_score=0.3)([one])
    processor = Mask2FormerImageProcessor(size={"height": 384, "width": 384})
    with torch.inference_mode():
        output = network(**processor(images=one.image, return_tensors="pt"))
    (expected,) = processor.post_process_instance_segmentation(
        output, threshold=0.3, target_sizes=[(384, 384)], return_binary_maps=True
    )
    hard = [
        (info["score"], mask.numpy() > 0)
        for mask, info in zip(expected["segmentation"], expected["segments_info"], strict=True)
        if info["label_id"] == 0
    ]
    assert len(masks) == len(hard) > 1
    for own in masks:  # the library's scores are of enlarged masks: they, and so the order, differ a little
        same = [mask for score, mask in hard if score == pytest.approx(own.score, abs=0.02)]
        assert max(np.mean((own.mask > 0.5) == mask) for mask in same) > 0.99


def test_padding_of_an_oblong_image_is_cut_off(saved, monkeypatch):
    """Logits that fall from 1 at the top to -1 at the bottom of the image do so in its mask."""
    method = segmenter(saved, max_masks=1, min_score=0)
    forward = method._network.forward

    def ramp(pixel_values):
        output = forward(pixel_values=pixel_values)
        rows = torch.linspace(1, -1, 8)  # the image is 64 x 32 of the 64 x 64 square, so 8 rows of logits
        output.masks_queries_logits[:] = torch.cat([rows, torch.full((8,), 100.0)])[:, None]
        return output

    monkeypatch.setattr(method._network, "forward", ramp)
    (((one),),) = method([shown(1, (100, 200))])
    middle = one.mask[:, 100]
    assert middle[0] == pytest.approx(1 / (1 + np.exp(-1)), abs=0.01)
    assert middle[-1] == pytest.approx(1 / (1 + np.exp(1)), abs=0.01)
    assert (np.diff(middle) <= 1e-6).all()


def test_only_instances_of_the_category_are_kept(saved):
    """The network gives bus about 0.87, frog and zebra about 0.04."""
    bus, frog = segmenter(saved)([shown(1), shown(1, category="frog")])
    assert len(bus) > 1 and not frog


def test_any_gives_the_same_instances_for_every_category_known_or_not(saved):
    method = segmenter(saved, classes="any")
    assert method.refusal("aardvark") is None
    for one, other in zip(*method([shown(1), shown(1, category="aardvark")]), strict=True):
        assert one.score == other.score and np.array_equal(one.mask, other.mask)


def test_any_is_as_likely_as_all_categories_together(saved):
    """Every query is bus by 0.87, frog or zebra by 0.04 each, and nothing by 0.04."""
    named = [
        segmenter(saved, min_score=0, max_masks=100)([shown(1, category=name)])[0]
        for name in ("bus", "frog", "zebra")
    ]
    (any_,) = segmenter(saved, min_score=0, classes="any")([shown(1)])
    assert len(any_) == QUERIES
    total = sum(one.score for masks in named for one in masks)
    assert sum(one.score for one in any_) == pytest.approx(total, abs=1e-4)
    assert any_[0].score > named[0][0].score


def test_score_and_count_are_limited(saved):
    (everything,) = segmenter(saved, min_score=0)([shown(1)])
    assert len(everything) == QUERIES
    third = everything[2].score
    (best,) = segmenter(saved, min_score=0, max_masks=2)([shown(1)])
    assert [one.score for one in best] == [one.score for one in everything[:2]]
    assert [one.score >= third for one in segmenter(saved, min_score=third)([shown(1)])[0]] == [True] * 3


def test_category_without_a_name_in_the_vocabulary_rejects_its_image_before_any_work(saved, monkeypatch):
    method = segmenter(saved)
    monkeypatch.setattr(method._network, "forward", lambda **_: pytest.fail("computed"))
    with pytest.raises(RowError, match="not_in_vocabulary: aardvark"):
        method([shown(1), shown(2, category="aardvark")])
    assert method.refusal("aardvark") == "not_in_vocabulary" and method.refusal(shown(1).category) is None


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_instances_do_not_depend_on_neighbours(saved, dtype, device):
    method = segmenter(saved, device, dtype=dtype)
    (alone,) = batched(method)([shown(1)])
    others = [shown(2, (30, 200)), shown(3, (96, 40), "frog")]
    for place in range(3):
        among = batched(method)([*others[:place], shown(1), *others[place:]])[place]
        assert [one.score for one in among.value] == [one.score for one in alone.value]
        assert all(np.array_equal(a.mask, b.mask) for a, b in zip(among.value, alone.value, strict=True))


def test_half_precision_is_near(saved):
    precise, half = (
        segmenter(saved, dtype=dtype, min_score=0)([shown(1)])[0] for dtype in ("float32", "bfloat16")
    )
    assert [one.score for one in precise] == pytest.approx([one.score for one in half], abs=0.1)
    assert [one.score for one in precise] != [one.score for one in half]


def test_pickles_are_refused(network, tmp_path):
    network.save_pretrained(tmp_path)
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"segment.methods.\*.model: .* a pickle"):
        segmenter(tmp_path)


def test_code_that_a_folder_brings_is_never_imported(network, tmp_path):
    network.save_pretrained(tmp_path)
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    for name in ("config.json", "preprocessor_config.json"):
        path = tmp_path / name
        values = json.loads(path.read_text()) if path.exists() else {}
        classes = ("AutoConfig", "AutoModelForUniversalSegmentation", "AutoImageProcessor")
        path.write_text(json.dumps(values | {"auto_map": dict.fromkeys(classes, "evil.Evil")}))
    segmenter(tmp_path)([shown(1)])
    assert not (tmp_path / "ran").exists()


def test_weights_that_are_not_all_there_are_refused(network, tmp_path):
    network.model.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="weights are missing, such as class_predictor"):
        segmenter(tmp_path)
