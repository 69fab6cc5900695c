"""Text-to-image architectures with random weights: speed does not depend on what the weights are.

`SD15` and `SDXL` are the published configurations of stable-diffusion-v1-5 and stable-diffusion-xl-base-1.0
(their `config.json` files; what is not named is the class's default). The tiny ones are the same classes.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from xpaste_ray.embedded import DIFFUSION_DIR

# X-Paste's sampler: DPM-Solver++, second order, as diffusers has it for Stable Diffusion.
_SCHEDULER = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1,
    "algorithm_type": "dpmsolver++", "solver_order": 2,
}  # fmt: skip
_VAE = {
    "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4,
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
    "norm_num_groups": 32,
}  # fmt: skip
_CLIP_L = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "projection_dim": 768, "hidden_act": "quick_gelu",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Architecture:
    """`text` has one text encoder's configuration, or SDXL's two. `side_px`: the images' usual side."""

    name: str
    side_px: int
    unet: dict[str, Any]
    vae: dict[str, Any]
    text: tuple[dict[str, Any], ...]

    @property
    def is_xl(self) -> bool:
        return len(self.text) == 2


SD15 = Architecture(
    "SD 1.5",
    512,
    {
        "sample_size": 64, "in_channels": 4, "out_channels": 4, "cross_attention_dim": 768,
        "block_out_channels": (320, 640, 1280, 1280), "layers_per_block": 2, "attention_head_dim": 8,
        "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
        "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
    },
    {**_VAE, "sample_size": 512, "scaling_factor": 0.18215},
    (_CLIP_L,),
)  # fmt: skip

SDXL = Architecture(
    "SDXL",
    1024,
    {
        "sample_size": 128, "in_channels": 4, "out_channels": 4, "cross_attention_dim": 2048,
        "block_out_channels": (320, 640, 1280), "layers_per_block": 2, "attention_head_dim": (5, 10, 20),
        "transformer_layers_per_block": (1, 2, 10), "use_linear_projection": True,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
    {**_VAE, "sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True},
    (
        _CLIP_L,
        {
            "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32,
            "num_attention_heads": 20, "projection_dim": 1280, "hidden_act": "gelu",
        },
    ),
)  # fmt: skip

_TINY_VAE = {
    **_VAE, "block_out_channels": (16, 16, 32, 32), "layers_per_block": 1, "norm_num_groups": 8,
    "sample_size": 64,
}  # fmt: skip
_TINY_TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "projection_dim": 32,
}  # fmt: skip
_TINY_UNET = {
    "sample_size": 8, "in_channels": 4, "out_channels": 4, "block_out_channels": (32, 64),
    "layers_per_block": 1, "attention_head_dim": 4, "norm_num_groups": 8,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}  # fmt: skip

TINY_SD = Architecture("tiny SD", 64, {**_TINY_UNET, "cross_attention_dim": 32}, _TINY_VAE, (_TINY_TEXT,))
TINY_SDXL = Architecture(
    "tiny SDXL",
    64,
    {
        **_TINY_UNET, "cross_attention_dim": 64, "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 32 + 6 * 8,
    },
    {**_TINY_VAE, "force_upcast": True},
    (_TINY_TEXT, _TINY_TEXT),
)  # fmt: skip


def save_random(architecture: Architecture, folder: Path, dtype: torch.dtype, device: str = "cpu") -> Path:
    """Write the pipeline with random weights (the same ones every time on one machine) to a folder."""
    torch.manual_seed(0)
    tokenizer = _tokenizer(folder.parent / f"{folder.name}-tokenizer")
    scheduler = DPMSolverMultistepScheduler(**_SCHEDULER)
    with _made_as(dtype, device):
        parts: dict[str, Any] = {
            "unet": UNet2DConditionModel(**architecture.unet),
            "vae": AutoencoderKL(**architecture.vae),
            "scheduler": scheduler,
            "tokenizer": tokenizer,
            "text_encoder": CLIPTextModel(_text_config(architecture.text[0], tokenizer)),
        }
        if architecture.is_xl:
            second = CLIPTextModelWithProjection(_text_config(architecture.text[1], tokenizer))
            parts |= {"text_encoder_2": second, "tokenizer_2": tokenizer}
    pipeline: DiffusionPipeline
    if architecture.is_xl:
        pipeline = StableDiffusionXLPipeline(**parts, add_watermarker=False)
    else:
        pipeline = StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    pipeline.save_pretrained(folder)
    return folder


def unet_flops(architecture: Architecture) -> int:
    """Floating-point operations (2 a multiply-add) of one UNet forward of one image, without guidance."""
    shape = (1, 4, *(architecture.unet["sample_size"],) * 2)
    with torch.device("meta"):
        unet = UNet2DConditionModel(**architecture.unet)
        added = None
        if architecture.is_xl:
            added = {
                "text_embeds": torch.empty(1, architecture.text[1]["projection_dim"]),
                "time_ids": torch.empty(1, 6),
            }
        texts = torch.empty(1, 77, architecture.unet["cross_attention_dim"])
        return _flops(lambda: unet(torch.empty(shape), torch.ones(1), texts, added_cond_kwargs=added))


def decode_flops(architecture: Architecture) -> int:
    """Floating-point operations of decoding one image by the VAE."""
    with torch.device("meta"):
        vae = AutoencoderKL(**architecture.vae)
        latents = torch.empty(1, 4, *(architecture.unet["sample_size"],) * 2)
        return _flops(lambda: vae.decode(latents))


def _flops(run: Callable[[], Any]) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def _text_config(values: dict[str, Any], tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
        **values,
        vocab_size=49408,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _tokenizer(folder: Path) -> CLIPTokenizer:
    """The embedded model's tokenizer with CLIP's 77 tokens: which tokens they are costs nothing."""
    shutil.copytree(DIFFUSION_DIR / "tokenizer", folder, dirs_exist_ok=True)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "model_max_length": 77}))
    return CLIPTokenizer.from_pretrained(folder)


@contextmanager
def _made_as(dtype: torch.dtype, device: str) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)
