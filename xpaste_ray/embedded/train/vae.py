"""Training of the miniature Stable Diffusion's image autoencoder, a real `AutoencoderKL`."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn import functional

from xpaste_ray.embedded import SIDE_PX
from xpaste_ray.embedded.scenes import DIFFUSION_STYLE, compose_scene, object_names
from xpaste_ray.embedded.train.loop import TrainOptions, autocast, device, train
from xpaste_ray.rng import rng_for

OPTIONS = TrainOptions(steps=2000, learning_rate=2e-3, ema_decay=0.99)
_BATCH = 16


def train_vae(seed: int, work_dir: Path) -> AutoencoderKL:
    """Four latent channels at a quarter of the side: 64 px images become (4, 16, 16) latents."""
    torch.manual_seed(seed)
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=SIDE_PX,
        mid_block_add_attention=False,
    ).to(device(), memory_format=torch.channels_last)
    names = object_names()

    def loss_of_step(step: int) -> torch.Tensor:
        scenes = []
        for member in range(_BATCH):
            rng = rng_for(seed, "vae-training", step, member)
            scenes.append(compose_scene(rng, names[rng.integers(len(names))], DIFFUSION_STYLE, SIDE_PX)[0])
        pixels = to_pixels(np.stack(scenes))
        with autocast():
            posterior = model.encode(pixels).latent_dist
            noise = torch.Generator().manual_seed(step)
            mean, std = posterior.mean.float(), posterior.std.float()
            latents = mean + std * torch.randn(mean.shape, generator=noise).to(mean)
            decoded = model.decode(latents).sample.float()
        kl = 0.5 * (mean.square() + std.square() - 1 - 2 * std.log()).mean()
        return functional.l1_loss(decoded, pixels) + 0.5 * functional.mse_loss(decoded, pixels) + 1e-5 * kl

    return train("vae", model, loss_of_step, OPTIONS, work_dir)


def to_pixels(images: np.ndarray) -> torch.Tensor:
    """(N, H, W, 3) uint8 RGB -> (N, 3, H, W) float32 in [-1, 1] on the training device."""
    tensor = torch.from_numpy(images).to(device()).permute(0, 3, 1, 2)
    return (tensor / 127.5 - 1).contiguous(memory_format=torch.channels_last)
