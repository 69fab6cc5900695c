"""Training of the miniature CLIP: a real `open_clip.CLIP` with a small configuration."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from open_clip import CLIP
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from safetensors.torch import save_file
from torch.nn import functional
from transformers import CLIPTokenizer

from xpaste_ray.categories import display_name
from xpaste_ray.embedded import CLIP_CATEGORIES, SIDE_PX
from xpaste_ray.embedded.scenes import CLIP_STYLE, compose_scene
from xpaste_ray.embedded.train.loop import TrainOptions, autocast, device, train
from xpaste_ray.embedded.train.tokenizer import CONTEXT_LENGTH
from xpaste_ray.rng import rng_for

OPTIONS = TrainOptions(steps=1400, learning_rate=1e-3, ema_decay=0.99, weight_decay=0.05)
IMAGE_OPTIONS = TrainOptions(steps=800, learning_rate=4e-4, ema_decay=0.99, weight_decay=0.05)

TEMPLATES = (
    "a photo of a single {name}",
    "a photo of {name}",
    "a photo of a {name}",
    "a realistic photo of {name}",
    "a photo of {name} in pure background",
    "{name} in a white background",
    "{name} isolated on white background",
    "{name}",
)


def model_config(vocab_size: int) -> dict[str, object]:
    return {
        "embed_dim": 128,
        "vision_cfg": {"image_size": SIDE_PX, "patch_size": 8, "width": 192, "layers": 6, "head_width": 32},
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": vocab_size,
            "width": 96,
            "heads": 3,
            "layers": 2,
            "hf_tokenizer_name": "embedded",  # open_clip reads the files in this very folder
        },
    }


def train_clip(tokenizer: CLIPTokenizer, seed: int, work_dir: Path) -> CLIP:
    """Both towers together. The text tower is then final: the diffusion model is trained on it."""
    torch.manual_seed(seed)
    config = model_config(len(tokenizer))
    model = CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"]).to(device())
    return train("clip", model, _contrastive_loss(model, tokenizer, seed, first_step=0), OPTIONS, work_dir)


def sharpen_clip(model: CLIP, tokenizer: CLIPTokenizer, seed: int, work_dir: Path) -> CLIP:
    """More steps for the image tower against the finished text tower, on scenes not seen before."""
    model.requires_grad_(False)
    model.visual.requires_grad_(True)
    loss = _contrastive_loss(model, tokenizer, seed, first_step=OPTIONS.steps)
    return train("clip-image", model, loss, IMAGE_OPTIONS, work_dir)


def _contrastive_loss(
    model: CLIP, tokenizer: CLIPTokenizer, seed: int, first_step: int
) -> Callable[[int], torch.Tensor]:
    mean = torch.tensor(OPENAI_DATASET_MEAN, device=device()).view(3, 1, 1)
    std = torch.tensor(OPENAI_DATASET_STD, device=device()).view(3, 1, 1)
    labels = torch.arange(len(CLIP_CATEGORIES), device=device())

    def loss_of_step(step: int) -> torch.Tensor:
        images, texts = batch(seed, first_step + step)
        pixels = torch.from_numpy(images).to(device()).permute(0, 3, 1, 2) / 255.0
        tokens = tokenize(tokenizer, texts).to(device())
        with autocast():
            image, text, scale = model((pixels - mean) / std, tokens)
        logits = scale.clamp(max=100) * image.float() @ text.float().T
        return (functional.cross_entropy(logits, labels) + functional.cross_entropy(logits.T, labels)) / 2

    return loss_of_step


def batch(seed: int, step: int) -> tuple[np.ndarray, list[str]]:
    """One scene and one text of every category: (N, S, S, 3) uint8 RGB and N texts."""
    images, texts = [], []
    for name in CLIP_CATEGORIES:
        rng = rng_for(seed, "clip-training", step, name)
        images.append(compose_scene(rng, name, CLIP_STYLE, SIDE_PX)[0])
        texts.append(TEMPLATES[rng.integers(len(TEMPLATES))].format(name=display_name(name)))
    return np.stack(images), texts


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> torch.Tensor:
    """(N, 24) int64 token ids, padded with the end token."""
    encoded = tokenizer(
        texts, padding="max_length", truncation=True, max_length=CONTEXT_LENGTH, return_tensors="pt"
    )
    return encoded.input_ids


def export_clip(model: CLIP, tokenizer: CLIPTokenizer, tokenizer_dir: Path, out_dir: Path) -> None:
    """Write what `open_clip.create_model_and_transforms("local-dir:...")` reads, in float16."""
    config = {
        "model_cfg": model_config(len(tokenizer)),
        "preprocess_cfg": {
            "mean": OPENAI_DATASET_MEAN,
            "std": OPENAI_DATASET_STD,
            "interpolation": "bicubic",
        },
    }
    shutil.copytree(tokenizer_dir, out_dir, dirs_exist_ok=True)
    (out_dir / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    halves = {
        key: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for key, value in model.state_dict().items()
    }
    weights = out_dir / "open_clip_model.safetensors"
    save_file(halves, weights)
    weights.chmod(0o644)
