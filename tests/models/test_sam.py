"""A tiny SAM of the real classes: what ours finds is what segment_anything finds, image by image."""

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

from tests.models.sams import TINY, method, picture, randomise, save_tiny_sam
from xpaste_ray.errors import ConfigError
from xpaste_ray.models.sam import SamSegmenter
from xpaste_ray.models.sam_attention import fuse_attention
from xpaste_ray.models.sam_files import SAM_TYPES, SamShape, build_sam, load_sam
from xpaste_ray.models.sam_prompts import grid_points, prompt_for
from xpaste_ray.models.segmenters import Shown

SIZES_HW = [(96, 128), (128, 128), (200, 90), (31, 47)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_sam(tmp_path_factory.mktemp("sam"))


@pytest.fixture(scope="module")
def predictor(folder):
    """segment_anything's own, on the same weights."""
    return SamPredictor(load_sam(folder, "test"))


def _shown(sizes_hw=SIZES_HW):
    return [Shown(str(i), "lion", picture(*size, seed=i)) for i, size in enumerate(sizes_hw)]


def _sigmoid(logits):
    return 0.5 + 0.5 * np.tanh(logits / 2)


# --- prompts --------------------------------------------------------------------------------------


def test_centre_box_and_corners_of_an_image_of_40_by_100():
    assert prompt_for(method("m", prompt="centre"), (40, 100)).points.tolist() == [[50, 20]]
    assert prompt_for(method("m", prompt="box", box_margin=0.1), (40, 100)).box_xyxy.tolist() == [
        10,
        4,
        90,
        36,
    ]
    corners = prompt_for(method("m", prompt="corners"), (40, 100))
    assert corners.points.tolist() == [[5, 5], [94, 5], [5, 34], [94, 34]]  # (x, y), 5 px inside
    assert corners.background


def test_corners_of_a_tiny_image_lie_inside():
    assert prompt_for(method("m", prompt="corners"), (4, 3)).points.tolist() == [
        [1, 1],
        [1, 1],
        [1, 2],
        [1, 2],
    ]


def test_grid_lies_in_the_middle_of_equal_cells():
    assert grid_points(2, (40, 100)).tolist() == [[25, 10], [75, 10], [25, 30], [75, 30]]


# --- the same masks as SamPredictor ---------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["centre", "box", "corners"])
def test_batch_finds_what_the_predictor_finds_image_by_image(folder, predictor, prompt):
    settings = method(folder, prompt=prompt, box_margin=0.1)
    found = SamSegmenter(settings)(_shown())
    for one, masks in zip(_shown(), found, strict=True):
        (mask,) = masks
        predictor.set_image(one.image)
        told = prompt_for(settings, one.image.shape[:2])
        points = None if told.points is None else told.points
        logits, quality, _ = predictor.predict(
            point_coords=points,
            point_labels=None if points is None else np.ones(len(points)),
            box=told.box_xyxy,
            return_logits=True,
        )
        best = 2 if prompt == "corners" else int(quality.argmax())
        expected = _sigmoid(-logits[best] if prompt == "corners" else logits[best])
        assert mask.mask.dtype == np.float32 and mask.mask.shape == one.image.shape[:2]
        assert np.abs(mask.mask - expected).max() < 1e-4
        assert mask.score == pytest.approx(quality[best], abs=1e-4)


def test_corners_are_the_background_inverted(folder):
    """Where every logit is positive the points' mask is everything, and the object nothing."""
    segmenter = SamSegmenter(method(folder, prompt="corners"))
    whole = segmenter._sam.mask_decoder.forward

    def everything(**given):
        logits, quality = whole(**given)
        return torch.full_like(logits, 20.0), quality

    segmenter._sam.mask_decoder.forward = everything
    assert segmenter(_shown())[0][0].mask.max() < 1e-6


def test_automatic_masks_are_the_generators(folder):
    """On random weights 3 x 25 masks, of which the thresholds leave a part."""
    settings = method(
        folder, prompt="auto", points_per_side=5, min_iou=0.7, min_stability=0.6, max_overlap_iou=0.8
    )
    generator = SamAutomaticMaskGenerator(
        load_sam(folder, "test"), points_per_side=5, pred_iou_thresh=0.7, stability_score_thresh=0.6,
        box_nms_thresh=0.8,
    )  # fmt: skip
    counts = []
    for one, masks in zip(_shown(), SamSegmenter(settings)(_shown()), strict=True):
        expected = generator.generate(one.image)
        counts.append(len(expected))
        assert [mask.score for mask in masks] == pytest.approx(
            [other["predicted_iou"] for other in expected], abs=1e-4
        )
        for mask, other in zip(masks, expected, strict=True):
            assert np.mean((mask.mask > 0.5) != other["segmentation"]) < 1e-3
    assert 0 < sum(counts) < 4 * 75


def test_points_beyond_64_are_padded_and_change_nothing(folder):
    """A grid of 9 x 9 needs two calls of the decoder, 64 and 17 points. A mask without a pixel has no
    stability, and is the only one that we leave out."""
    settings = method(
        folder, prompt="auto", points_per_side=9, min_iou=0, min_stability=0, max_overlap_iou=1, max_masks=999
    )
    generator = SamAutomaticMaskGenerator(
        load_sam(folder, "test"), points_per_side=9, pred_iou_thresh=0, stability_score_thresh=0,
        box_nms_thresh=1,
    )  # fmt: skip
    (one,) = _shown([(60, 60)])
    (masks,) = SamSegmenter(settings)([one])
    expected = [e for e in generator.generate(one.image) if np.isfinite(e["stability_score"])]
    assert len(masks) == len(expected) > 150
    assert [m.score for m in masks] == pytest.approx([e["predicted_iou"] for e in expected], abs=1e-4)


def test_best_masks_stay_where_there_are_too_many(folder):
    told = {"prompt": "auto", "points_per_side": 4, "min_iou": 0.0, "min_stability": 0.0}
    (all_masks,) = SamSegmenter(method(folder, **told))(_shown([(64, 64)]))
    (three,) = SamSegmenter(method(folder, **told, max_masks=3))(_shown([(64, 64)]))
    assert len(all_masks) > 3
    assert [mask.score for mask in three] == sorted((mask.score for mask in all_masks), reverse=True)[:3]


def test_nothing_good_enough_is_nothing(folder):
    assert SamSegmenter(method(folder, prompt="auto", points_per_side=2, min_stability=1.0, min_iou=1.0))(
        _shown([(64, 64)])
    ) == [[]]


@pytest.mark.parametrize("prompt", ["centre", "auto"])
def test_masks_do_not_depend_on_the_neighbours(folder, prompt):
    """In one shape: bit for bit."""
    told = {"prompt": prompt, "points_per_side": 3, "min_iou": 0.0, "min_stability": 0.0}
    segmenter = SamSegmenter(method(folder, **told))
    first, *_, last = _shown()
    among = segmenter(_shown())[-1]
    alone = segmenter([last, last, last, first])[0]
    assert len(among) == len(alone) > 0
    for one, other in zip(among, alone, strict=True):
        assert np.array_equal(one.mask, other.mask) and one.score == other.score


def test_fused_attention_is_segment_anythings(folder):
    plain, fused = load_sam(folder, "test").image_encoder, load_sam(folder, "test").image_encoder
    fuse_attention(fused)
    pixels = torch.randn(3, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = plain(pixels), fused(pixels)
    assert float((found - expected).abs().max()) < 1e-5 * float(expected.abs().max())


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_gpu_agrees_with_the_processor(folder, dtype):
    expected = SamSegmenter(method(folder))(_shown())
    found = SamSegmenter(method(folder, dtype=dtype), "cuda")(_shown())
    for (one,), (other,) in zip(expected, found, strict=True):
        assert np.mean((one.mask > 0.5) != (other.mask > 0.5)) < (0.001 if dtype == "float32" else 0.05)


# --- folders --------------------------------------------------------------------------------------


def _save_transformers(folder, safe=True):
    """A tiny SamModel of transformers, shaped as TINY is, as its own `save_pretrained` writes it."""
    side = {"image_size": TINY.image_size, "patch_size": TINY.patch_size}
    config = SamConfig(
        vision_config=SamVisionConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, global_attn_indexes=[1],
            window_size=5, output_channels=32, num_pos_feats=16, **side,
        ),
        prompt_encoder_config=SamPromptEncoderConfig(hidden_size=32, **side),
        mask_decoder_config=SamMaskDecoderConfig(
            hidden_size=32, mlp_dim=64, num_attention_heads=4, iou_head_hidden_dim=32
        ),
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = SamModel(config).eval()
        randomise(model)
    model.save_pretrained(folder)
    return model


def test_transformers_folder_computes_what_transformers_does(tmp_path):
    model = _save_transformers(tmp_path)
    sam = load_sam(tmp_path, "test")
    pixels = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(2))
    points = torch.tensor([[[[40.0, 60.0]]], [[[100.0, 20.0]]]])
    with torch.inference_mode():
        expected = model(pixel_values=pixels, input_points=points, input_labels=torch.ones(2, 1, 1).int())
        for i in range(2):
            sparse, dense = sam.prompt_encoder(points=(points[i], torch.ones(1, 1)), boxes=None, masks=None)
            logits, quality = sam.mask_decoder(
                image_embeddings=sam.image_encoder(pixels[i : i + 1]),
                image_pe=sam.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=True,
            )
            assert torch.allclose(logits, expected.pred_masks[i], atol=1e-4, rtol=1e-4)
            assert torch.allclose(quality, expected.iou_scores[i], atol=1e-4, rtol=1e-4)
            assert float(logits.std()) > 0.01  # not all the same


def test_transformers_folder_segments(tmp_path):
    _save_transformers(tmp_path)
    found = SamSegmenter(method(tmp_path))(_shown())
    assert [masks[0].mask.shape for masks in found] == SIZES_HW


def test_every_weight_of_a_transformers_folder_has_a_place(tmp_path):
    """One under a name that nobody knows is an error, as is one that is missing."""
    _save_transformers(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    save_file({**weights, "vision_encoder.surplus": torch.zeros(1)}, path)
    with pytest.raises(ConfigError, match=r"Unexpected key.*image_encoder.surplus"):
        load_sam(tmp_path, "segment.methods.*.model")
    del weights["mask_decoder.iou_token.weight"]
    save_file(weights, path)
    with pytest.raises(ConfigError, match=r"segment.methods.\*.model: .* Missing key.*iou_token"):
        load_sam(tmp_path, "segment.methods.*.model")


def test_saved_model_comes_back_the_same(folder):
    sam = load_sam(folder, "test")
    again = load_sam(save_tiny_sam(folder.parent / "again"), "test")
    for one, other in zip(sam.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", ["vit_b", "vit_l", "vit_h"])
def test_types_have_segment_anythings_shapes(kind):
    from segment_anything import sam_model_registry

    with torch.device("meta"):
        ours = {name: value.shape for name, value in build_sam(SAM_TYPES[kind]).state_dict().items()}
        theirs = {name: value.shape for name, value in sam_model_registry[kind]().state_dict().items()}
    assert ours == theirs


def test_types_have_segment_anythings_constants():
    from segment_anything import sam_model_registry

    with torch.device("meta"):
        ours, theirs = build_sam(SAM_TYPES["vit_b"]), sam_model_registry["vit_b"]()
    assert str(ours) == str(theirs)  # every layer with its arguments, epsilons too
    assert [block.window_size for block in ours.image_encoder.blocks] == [
        block.window_size for block in theirs.image_encoder.blocks
    ]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "vit_x"}, "the type 'vit_x', which is none of vit_b, vit_l, vit_h"),
        ({"type": "vit_b"}, "Error"),  # the weights are another one's
        ({"encoder_depht": 3}, "encoder_depht"),
        ([], "does not hold a SAM"),
        (
            {"model_type": "sam", "vision_config": {"hidden_act": "relu"}},
            "vision_config.hidden_act is 'relu'",
        ),
    ],
)
def test_folder_that_holds_no_sam_says_what_to_give(folder, tmp_path, config, message):
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    with pytest.raises(ConfigError, match=message) as error:
        SamSegmenter(method(tmp_path))
    assert "segment.methods.*.model" in str(error.value) and len(str(error.value)) < 1000


def test_h10_pickles_are_refused(folder, tmp_path):
    """segment_anything's own checkpoints, *.pth, are pickles: refused, also beside safetensors, unread."""

    class Payload:
        def __reduce__(self):
            return (tmp_path.joinpath("it-ran").touch, ())

    (tmp_path / "sam_vit_b_01ec64.pth").write_bytes(pickle.dumps(Payload()))
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(folder / name)
    with pytest.raises(ConfigError, match=r"segment.methods.\*.model: .*sam_vit_b_01ec64.pth, a pickle"):
        SamSegmenter(method(tmp_path))
    assert not (tmp_path / "it-ran").exists()


def test_shape_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="extra"):
        SamShape.model_validate({"heads": 3})
