"""open_clip, as we use it, against transformers' CLIPModel: the same weights, written by two hands.

Weights are random, so an error in any of them, in the activation, in the preprocessing or in the scale shows.
"""

import json
import shutil

import numpy as np
import pytest
import torch
from open_clip import CLIP
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import AutoTokenizer, CLIPConfig, CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from xpaste_ray.embedded import CLIP_DIR
from xpaste_ray.models.clip import ClipModel

DIM, SIDE, PATCH, CONTEXT, VOCABULARY = 24, 32, 8, 24, 2048
VISION = {"width": 64, "layers": 2, "heads": 2}
TEXT = {"width": 48, "layers": 2, "heads": 3}
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)  # OpenAI's, nearly
END = 2047

TEXTS = ["a photo of banana", "a photo of hot dog", "a photo of alarm clock"]
# As it is, down in both directions, and up. Beside the centre an even number of pixels is left: of an odd one
# torchvision, as OpenAI's own code, cuts the larger half off before, and transformers after.
SIZES_HW = [(32, 32), (97, 64), (48, 132), (20, 25)]


@pytest.fixture(scope="module")
def open_clip_folder(tmp_path_factory):
    """Saved as open_clip's own models are: a description, weights, a tokenizer."""
    folder = tmp_path_factory.mktemp("open_clip")
    vision = {"image_size": SIDE, "patch_size": PATCH, "width": VISION["width"], "layers": VISION["layers"],
              "head_width": VISION["width"] // VISION["heads"]}  # fmt: skip
    text = {"context_length": CONTEXT, "vocab_size": VOCABULARY, "hf_tokenizer_name": "here", **TEXT}
    torch.manual_seed(0)
    model = CLIP(DIM, CLIPVisionCfg(**vision), CLIPTextCfg(**text), quick_gelu=True)
    for weights in model.parameters():  # biases and norms begin as 0 and 1, which would hide a mistake
        torch.nn.init.normal_(weights, std=0.1 if weights.ndim > 1 else 0.5)
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    told = {
        "model_cfg": {"embed_dim": DIM, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(told), encoding="utf-8")
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        shutil.copy(CLIP_DIR / name, folder)
    return folder


@pytest.fixture(scope="module")
def transformers_model(open_clip_folder, tmp_path_factory):
    """The same weights, saved and loaded as transformers does."""
    theirs = _converted(load_file(open_clip_folder / "open_clip_model.safetensors"))
    vision = {"image_size": SIDE, "patch_size": PATCH, **_layers(VISION)}
    text = {"vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT, **_layers(TEXT),
            "bos_token_id": END - 1, "eos_token_id": END, "pad_token_id": END}  # fmt: skip
    config = CLIPConfig(projection_dim=DIM, vision_config=vision, text_config=text)
    folder = tmp_path_factory.mktemp("transformers")
    CLIPModel(config).save_pretrained(folder)
    save_file(theirs, folder / "model.safetensors", {"format": "pt"})
    model, report = CLIPModel.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    return model.eval()


def _layers(tower):
    """As transformers tells them."""
    return {
        "hidden_size": tower["width"],
        "intermediate_size": 4 * tower["width"],
        "num_hidden_layers": tower["layers"],
        "num_attention_heads": tower["heads"],
        "hidden_act": "quick_gelu",
    }


def _converted(ours):
    """open_clip's state dict under transformers' names."""
    once = {
        "logit_scale": torch.tensor(np.log(100.0), dtype=torch.float32),  # what OpenAI's has
        "visual_projection.weight": ours["visual.proj"].T,
        "text_projection.weight": ours["text_projection"].T,
        "vision_model.embeddings.class_embedding": ours["visual.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": ours["visual.conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": ours["visual.positional_embedding"],
        "text_model.embeddings.token_embedding.weight": ours["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": ours["positional_embedding"],
    }
    norms = {"visual.ln_pre": "vision_model.pre_layrnorm", "visual.ln_post": "vision_model.post_layernorm",
             "ln_final": "text_model.final_layer_norm"}  # fmt: skip
    for mine, tower, layers in (("visual.", "vision_model", VISION), ("", "text_model", TEXT)):
        for number in range(layers["layers"]):
            block, layer = f"{mine}transformer.resblocks.{number}", f"{tower}.encoder.layers.{number}"
            norms |= {f"{block}.ln_1": f"{layer}.layer_norm1", f"{block}.ln_2": f"{layer}.layer_norm2"}
            norms |= {f"{block}.attn.out_proj": f"{layer}.self_attn.out_proj"}
            norms |= {f"{block}.mlp.c_fc": f"{layer}.mlp.fc1", f"{block}.mlp.c_proj": f"{layer}.mlp.fc2"}
            for kind in ("weight", "bias"):
                parts = ours[f"{block}.attn.in_proj_{kind}"].chunk(3)
                once |= {f"{layer}.self_attn.{n}_proj.{kind}": p for n, p in zip("qkv", parts, strict=True)}
    both = {f"{theirs}.{kind}": ours[f"{mine}.{kind}"] for mine, theirs in norms.items()
            for kind in ("weight", "bias")}  # fmt: skip
    return {name: tensor.contiguous().clone() for name, tensor in (once | both).items()}


def _images():
    """Broad shapes with fine noise on them, where antialiasing makes a difference."""
    rng = np.random.default_rng(0)
    for height, width in SIZES_HW:
        y, x = np.mgrid[:height, :width]
        broad = 128 + 90 * np.sin(np.stack([y / 9, x / 7, (x + y) / 11], axis=-1))
        yield np.clip(broad + rng.normal(0, 25, broad.shape), 0, 255).astype(np.uint8)


def _by_pil(image):
    """transformers' own: bicubic and antialiased by Pillow."""
    size, crop = {"shortest_edge": SIDE}, {"height": SIDE, "width": SIDE}
    processor = CLIPImageProcessorPil(size=size, crop_size=crop, image_mean=MEAN, image_std=STD)
    return processor(image, return_tensors="pt")["pixel_values"][0]


def _by_tensor(image):
    """Shorter side to the model's, bicubic on floats and not antialiased; then the centre; by torch alone."""
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
    short = min(image.shape[:2])
    size = [SIDE if side == short else int(SIDE * side / short) for side in image.shape[:2]]
    pixels = functional.interpolate(pixels, size=size, mode="bicubic", align_corners=False, antialias=False)
    top, left = (round((side - SIDE) / 2) for side in size)
    pixels = pixels[0, :, top : top + SIDE, left : left + SIDE]
    return (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


@pytest.fixture(scope="module")
def their_logits(open_clip_folder, transformers_model):
    """their_logits(prepare): (images, texts), as transformers' whole model gives them."""
    tokens = AutoTokenizer.from_pretrained(open_clip_folder)(
        TEXTS, padding="max_length", max_length=CONTEXT, return_tensors="pt"
    )

    def logits(prepare):
        pixels = torch.stack([prepare(image) for image in _images()])
        with torch.inference_mode():
            return transformers_model(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], pixel_values=pixels
            ).logits_per_image.numpy()

    return logits


def _our_logits(folder, resize):
    model = ClipModel(folder, resize=resize)
    return 100 * model.embed_images(list(_images())) @ model.embed_texts(TEXTS).T


@pytest.mark.parametrize(("resize", "prepare"), [("pil", _by_pil), ("tensor", _by_tensor)])
def test_logits_are_those_of_transformers_to_a_thousandth(open_clip_folder, their_logits, resize, prepare):
    ours, theirs = _our_logits(open_clip_folder, resize), their_logits(prepare)
    assert np.abs(ours - theirs).max() < 1e-3
    assert np.ptp(theirs, axis=0).min() > 0.5  # it is no constant that agrees


def test_the_two_ways_to_resize_differ(open_clip_folder):
    pil, tensor = (_our_logits(open_clip_folder, resize) for resize in ("pil", "tensor"))
    assert np.abs(pil - tensor)[0].max() < 1e-3  # of the right size already
    assert np.abs(pil - tensor)[1].max() > 1e-2


def test_gelu_for_quick_gelu_would_be_noticed(open_clip_folder, their_logits, tmp_path):
    """So the folder's `quick_gelu` is heard, and the parity above means something."""
    other = shutil.copytree(open_clip_folder, tmp_path / "gelu")
    told = json.loads((other / "open_clip_config.json").read_text())
    told["model_cfg"]["quick_gelu"] = False
    (other / "open_clip_config.json").write_text(json.dumps(told))
    assert np.abs(_our_logits(other, "pil") - their_logits(_by_pil)).max() > 1e-2
