"""Text-to-image with diffusers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoPipelineForText2Image
from diffusers.utils import logging as diffusers_logging


class DiffusionModel:
    """Any pipeline that `AutoPipelineForText2Image` loads from a local folder."""

    def __init__(self, folder: Path, dtype: str, device: str = "cpu") -> None:
        diffusers_logging.disable_progress_bar()
        self._pipeline = AutoPipelineForText2Image.from_pretrained(
            folder, dtype=getattr(torch, dtype), use_safetensors=True, local_files_only=True
        ).to(device)
        self._pipeline.set_progress_bar_config(disable=True)

    def generate(
        self, texts: Sequence[str], seeds: Sequence[int], steps: int, guidance_scale: float
    ) -> np.ndarray:
        """One image a text: (N, H, W, 3) float32 RGB in [0, 1], NaN where the model broke down.

        Every image has its own CPU generator, so its noise is the same in any batch on any device.
        """
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        result = self._pipeline(
            list(texts),
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            generator=generators,
            output_type="np",
        )
        images: np.ndarray = result.images
        return images
