"""A tiny SAM of segment_anything's real classes, with random weights, saved as a user's would be."""

from pathlib import Path

import numpy as np
import torch

from xpaste_ray.config.segment import SamMethod
from xpaste_ray.models.sam_files import SamShape, build_sam, save_sam

TINY = SamShape(
    encoder_embed_dim=32, encoder_depth=2, encoder_num_heads=2, encoder_global_attn_indexes=(1,),
    window_size=5, image_size=128, patch_size=16, out_chans=32, decoder_mlp_dim=64,
    decoder_num_heads=4, iou_head_hidden_dim=32,
)  # fmt: skip
"""8 x 8 tokens; windows of 5 do not divide them, so the padding is computed too."""


def save_tiny_sam(folder: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sam = build_sam(TINY)
        randomise(sam)
        _spread(sam)
    save_sam(sam, TINY, folder)
    return folder


@torch.no_grad()
def randomise(model: torch.nn.Module) -> None:
    """Parameters that begin as zeros, or so small that they would not be missed, too."""
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            parameter.normal_(0, 0.3)


@torch.no_grad()
def _spread(sam: torch.nn.Module) -> None:
    """Logits of some tens, qualities around 0.7, as a trained model's: each threshold leaves some masks."""
    for network in sam.mask_decoder.output_hypernetworks_mlps:
        network.layers[-1].weight *= 40
    last = sam.mask_decoder.iou_prediction_head.layers[-1]
    last.weight *= 0.1
    last.bias.fill_(0.7)


def method(folder: Path, **told) -> SamMethod:
    return SamMethod(kind="sam", model=str(folder), **told)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(height, width, 3) uint8: a bright rectangle on noise."""
    image = np.random.default_rng(seed).integers(0, 120, (height, width, 3), dtype=np.uint8)
    image[height // 4 : height // 2, width // 4 : -width // 4] = 230
    return image
