"""Training of the miniature Stable Diffusion: text tower, latents, UNet, whole pipeline.

As in Stable Diffusion, the text model is CLIP's own text tower and stays frozen; the UNet learns
on latents that were encoded once.
"""

import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.training_utils import compute_snr
from open_clip import CLIP
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from xpaste_ray.categories import display_name
from xpaste_ray.embedded import DIFFUSION_CATEGORIES, SIDE_PX
from xpaste_ray.embedded.scenes import DIFFUSION_STYLE, compose_scene
from xpaste_ray.embedded.train.clip import TEMPLATES, tokenize
from xpaste_ray.embedded.train.loop import TrainOptions, autocast, device, save_whole, train
from xpaste_ray.embedded.train.vae import to_pixels
from xpaste_ray.rng import int_seed_for, rng_for

OPTIONS = TrainOptions(steps=8000, learning_rate=7e-4, ema_decay=0.998, warmup_steps=200)

_BATCH = 32
_SCENES_PER_CATEGORY = 400
_EMPTY_PROMPT_SHARE = 0.10  # so that the pipeline's classifier-free guidance has its other half
_MAIN_TEMPLATE_SHARE = 0.70  # the rest is drawn from all templates
_MAX_WEIGHT = 5.0  # of an error in the clean latents: min-SNR, Hang et al. 2023, arXiv:2303.09556


def text_tower(clip: CLIP) -> CLIPTextModel:
    """The same network as `clip`'s text side in transformers' class, which diffusers uses."""
    width = clip.ln_final.weight.shape[0]
    blocks = clip.transformer.resblocks
    config = CLIPTextConfig(
        vocab_size=clip.token_embedding.weight.shape[0],
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=clip.text_projection.shape[1],
        num_hidden_layers=len(blocks),
        num_attention_heads=blocks[0].attn.num_heads,
        max_position_embeddings=clip.positional_embedding.shape[0],
        hidden_act="gelu",
        bos_token_id=clip.token_embedding.weight.shape[0] - 2,
        eos_token_id=clip.token_embedding.weight.shape[0] - 1,
        pad_token_id=clip.token_embedding.weight.shape[0] - 1,
    )
    tower = CLIPTextModel(config)
    inner = getattr(tower, "text_model", tower)
    state = {
        "embeddings.token_embedding.weight": clip.token_embedding.weight,
        "embeddings.position_embedding.weight": clip.positional_embedding,
        "final_layer_norm.weight": clip.ln_final.weight,
        "final_layer_norm.bias": clip.ln_final.bias,
    }
    for number, block in enumerate(blocks):
        prefix = f"encoder.layers.{number}"
        for part in ("weight", "bias"):
            state |= {
                f"{prefix}.layer_norm1.{part}": getattr(block.ln_1, part),
                f"{prefix}.layer_norm2.{part}": getattr(block.ln_2, part),
                f"{prefix}.mlp.fc1.{part}": getattr(block.mlp.c_fc, part),
                f"{prefix}.mlp.fc2.{part}": getattr(block.mlp.c_proj, part),
                f"{prefix}.self_attn.out_proj.{part}": getattr(block.attn.out_proj, part),
            }
            thirds = getattr(block.attn, f"in_proj_{part}").chunk(3)
            for name, third in zip(("q_proj", "k_proj", "v_proj"), thirds, strict=True):
                state[f"{prefix}.self_attn.{name}.{part}"] = third
    inner.load_state_dict({key: value.detach().cpu() for key, value in state.items()}, strict=True)
    return tower.eval().requires_grad_(False)


# Stable Diffusion's noise, with velocity prediction as in its version 2.1 and down to pure noise (Lin
# et al. 2023, arXiv:2305.08891): the layout is decided where the input is nearly all noise, and there
# a small network that predicts the noise learns nothing of it.
_NOISE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}


def training_schedule() -> DDPMScheduler:
    """The forward process. (DPM-Solver's own `add_noise` is for image-to-image: before a sampler's
    `set_timesteps` it takes the noise of step T - t.)"""
    return DDPMScheduler(**_NOISE)


def sampling_schedule() -> DPMSolverMultistepScheduler:
    return DPMSolverMultistepScheduler(**_NOISE)


def new_unet(text_width: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=SIDE_PX // 4,
        in_channels=4,
        out_channels=4,
        block_out_channels=(64, 128, 192),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=text_width,
        attention_head_dim=4,
        norm_num_groups=16,
    )


@torch.no_grad()
def latent_bank(vae: AutoencoderKL, seed: int, work_dir: Path) -> torch.Tensor:
    """Scenes of every category encoded once: (categories, scenes, 4, 16, 16) float32.

    The autoencoder's own latents are rescaled (in its last and first 1x1 convolutions) so that every
    channel of the bank has mean 0 and deviation 1: the noise schedule treats all channels alike.
    """
    path = work_dir / "latents.pt"
    if not path.exists():
        banks = []
        for name in DIFFUSION_CATEGORIES:
            rngs = (rng_for(seed, "latent-bank", name, i) for i in range(_SCENES_PER_CATEGORY))
            scenes = np.stack([compose_scene(rng, name, DIFFUSION_STYLE, SIDE_PX)[0] for rng in rngs])
            parts = np.split(scenes, 8)
            banks.append(torch.cat([vae.encode(to_pixels(part)).latent_dist.mean.cpu() for part in parts]))
        save_whole(torch.stack(banks).contiguous(), path)
    latents = torch.load(path, weights_only=True)
    mean, std = latents.mean((0, 1, 3, 4)), latents.std((0, 1, 3, 4))
    rescale_latents(vae, mean, std)
    return (latents - mean.view(4, 1, 1)) / std.view(4, 1, 1)


@torch.no_grad()
def rescale_latents(vae: AutoencoderKL, mean: torch.Tensor, std: torch.Tensor) -> None:
    """Change the latents to (latents - mean) / std, with the same images decoded from them."""
    channels = len(mean)
    mean, std = mean.to(vae.quant_conv.weight), std.to(vae.quant_conv.weight)
    vae.quant_conv.weight[:channels] /= std.view(-1, 1, 1, 1)
    vae.quant_conv.bias[:channels] = (vae.quant_conv.bias[:channels] - mean) / std
    vae.quant_conv.bias[channels:] -= 2 * std.log()  # log variances
    weight = vae.post_quant_conv.weight
    vae.post_quant_conv.bias += (weight * mean.view(1, -1, 1, 1)).sum((1, 2, 3))
    weight *= std.view(1, -1, 1, 1)
    vae.register_to_config(scaling_factor=1.0)


@torch.no_grad()
def prompt_embeddings(tower: CLIPTextModel, tokenizer: CLIPTokenizer) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states of every (category, template), (C, T, 24, W), and of the empty prompt, (24, W)."""
    texts = [t.format(name=display_name(name)) for name in DIFFUSION_CATEGORIES for t in TEMPLATES]
    states = tower(tokenize(tokenizer, [*texts, ""])).last_hidden_state
    shape = (len(DIFFUSION_CATEGORIES), len(TEMPLATES), *states.shape[1:])
    return states[:-1].reshape(shape).to(device()), states[-1].to(device())


def train_unet(
    vae: AutoencoderKL, tower: CLIPTextModel, tokenizer: CLIPTokenizer, seed: int, work_dir: Path
) -> UNet2DConditionModel:
    torch.manual_seed(seed)
    model = new_unet(tower.config.hidden_size).to(device(), memory_format=torch.channels_last)
    latents = latent_bank(vae, seed, work_dir)
    prompts, empty = prompt_embeddings(tower, tokenizer)
    schedule = training_schedule()

    def loss_of_step(step: int) -> torch.Tensor:
        rng = rng_for(seed, "unet-training", step)
        category = rng.integers(len(latents), size=_BATCH)
        clean = latents[category, rng.integers(latents.shape[1], size=_BATCH)].to(device())
        template = np.where(
            rng.random(_BATCH) < _MAIN_TEMPLATE_SHARE, 0, rng.integers(len(TEMPLATES), size=_BATCH)
        )
        text = prompts[category, template].clone()
        text[torch.from_numpy(rng.random(_BATCH) < _EMPTY_PROMPT_SHARE)] = empty
        draws = torch.Generator().manual_seed(int_seed_for(seed, "unet-noise", step))
        noise = torch.randn(clean.shape, generator=draws).to(clean)
        times = torch.randint(schedule.config.num_train_timesteps, (_BATCH,), generator=draws).to(device())
        noisy = schedule.add_noise(clean, noise, times).contiguous(memory_format=torch.channels_last)
        with autocast():
            predicted = model(noisy, times, text).sample
        errors = (predicted.float() - schedule.get_velocity(clean, noise, times)).square().mean((1, 2, 3))
        # An error in the velocity is one of 1 / sqrt(SNR + 1) in the clean latents.
        weight = compute_snr(schedule, times) + 1
        return (errors * (weight.clamp(max=_MAX_WEIGHT) / weight)).mean()

    return train("unet", model, loss_of_step, OPTIONS, work_dir)


def export_diffusion(
    vae: AutoencoderKL, tower: CLIPTextModel, unet: nn.Module, tokenizer_dir: Path, out_dir: Path
) -> None:
    """Write what `diffusers.AutoPipelineForText2Image.from_pretrained` reads, in float16 safetensors."""
    tokenizer = CLIPTokenizer.from_pretrained(tokenizer_dir)
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=tower,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=sampling_schedule(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to("cpu", dtype=torch.float16).save_pretrained(out_dir, safe_serialization=True)
    shutil.rmtree(out_dir / "tokenizer")  # transformers' own new file, which older versions cannot read
    shutil.copytree(tokenizer_dir, out_dir / "tokenizer")
    for path in out_dir.rglob("*.safetensors"):
        path.chmod(0o644)
