"""The attention of SAM's image encoder, without its large intermediates.

segment_anything writes out every pair of an image's 4,096 tokens for 12 heads at once, several times over:
0.8 GB a copy in float32. The bias that follows from the tokens' positions is needed as a whole by torch's
fused attention too, but only for a few heads at a time.
"""

import torch
from segment_anything.modeling.image_encoder import Attention, ImageEncoderViT, get_rel_pos
from torch import nn
from torch.nn import functional

# Numbers of bias at a time: one head of a whole image on a processor, for its caches, and 16 on a GPU.
_BIAS_NUMBERS = {"cpu": 2**24, "cuda": 2**28}


def fuse_attention(encoder: ImageEncoderViT) -> None:
    """Let the encoder compute with `FusedAttention`, for inference; its weights stay the same tensors."""
    for block in encoder.blocks:
        block.attn = FusedAttention(block.attn)


class FusedAttention(nn.Module):
    """`segment_anything`'s, equal up to rounding: softmax(q k / sqrt(d) + height bias + width bias) v.

    tokens: (B, H, W, C) -> (B, H, W, C), C being heads * d.
    """

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self._attention = attention

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        images, height, width, _ = tokens.shape
        count, heads = height * width, self._attention.num_heads
        qkv = self._attention.qkv(tokens).reshape(images, count, 3, heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).flatten(1, 2)  # each (B * heads, H * W, d)
        by_height, by_width = self._bias(query.unflatten(1, (height, width)))
        mixed = torch.empty_like(query)
        at_once = _largest_divisor(len(query), _BIAS_NUMBERS[tokens.device.type] // count**2)
        bias = by_height.new_empty(at_once, count, height, width)
        for first in range(0, len(query), at_once):
            rows = slice(first, first + at_once)
            torch.add(by_height[rows, :, :, None], by_width[rows, :, None, :], out=bias)
            mixed[rows] = functional.scaled_dot_product_attention(
                query[None, rows], key[None, rows], value[None, rows], attn_mask=bias.flatten(2)[None]
            )[0]
        joined = mixed.reshape(images, heads, height, width, -1).permute(0, 2, 3, 1, 4).flatten(3)
        return self._attention.proj(joined)

    def _bias(self, query: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """query: (N, H, W, d) -> (N, H * W, H) by the other token's row, (N, H * W, W) by its column."""
        _, height, width, _ = query.shape
        rows = get_rel_pos(height, height, self._attention.rel_pos_h)
        columns = get_rel_pos(width, width, self._attention.rel_pos_w)
        by_height = torch.einsum("nhwc,hkc->nhwk", query, rows).flatten(1, 2)
        by_width = torch.einsum("nhwc,wkc->nhwk", query, columns).flatten(1, 2)
        return by_height, by_width


def _largest_divisor(count: int, limit: int) -> int:
    """Of `count`, from 1 to `limit`: parts of one size, so that none is computed in another shape."""
    return next(size for size in range(max(1, min(count, limit)), 0, -1) if count % size == 0)
