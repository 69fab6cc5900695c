"""SAM from a folder: segment_anything's own weights, or transformers' as they are published.

Both have a config.json, which says which of the two it is, beside safetensors files. Nothing is unpickled.
"""

import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

from xpaste_ray.config.base import PositiveInt, Section
from xpaste_ray.errors import ConfigError
from xpaste_ray.models.folders import TRANSFORMERS_FILE

_WEIGHTS_FILE = "model.safetensors"


class SamShape(Section):
    """What `segment_anything.build_sam` is told, and the constants in it; the defaults are ViT-B's.

    image_size, patch_size: sides in pixels. out_chans: of the image embedding, and of all of the decoder.
    decoder_norm_eps: torch's default, with which SAM was trained; transformers takes 1e-6.
    """

    model_type: Literal["segment-anything"] = "segment-anything"
    encoder_embed_dim: PositiveInt = 768
    encoder_depth: PositiveInt = 12
    encoder_num_heads: PositiveInt = 12
    encoder_global_attn_indexes: tuple[int, ...] = (2, 5, 8, 11)
    encoder_mlp_ratio: float = 4.0
    window_size: PositiveInt = 14
    image_size: PositiveInt = 1024
    patch_size: PositiveInt = 16
    out_chans: PositiveInt = 256
    mask_in_chans: PositiveInt = 16
    num_multimask_outputs: PositiveInt = 3
    decoder_depth: PositiveInt = 2
    decoder_mlp_dim: PositiveInt = 2048
    decoder_num_heads: PositiveInt = 8
    decoder_norm_eps: float = 1e-5
    iou_head_depth: PositiveInt = 3
    iou_head_hidden_dim: PositiveInt = 256


SAM_TYPES: dict[str, SamShape] = {
    "vit_b": SamShape(),
    "vit_l": SamShape(
        encoder_embed_dim=1024, encoder_depth=24, encoder_num_heads=16,
        encoder_global_attn_indexes=(5, 11, 17, 23),
    ),
    "vit_h": SamShape(
        encoder_embed_dim=1280, encoder_depth=32, encoder_num_heads=16,
        encoder_global_attn_indexes=(7, 15, 23, 31),
    ),
}  # fmt: skip
"""The published ones, by the names of `segment_anything.sam_model_registry`."""


def load_sam(folder: Path, option: str) -> Sam:
    """The model, in float32, for inference. The folder holds safetensors and a config.json, either

    - {"type": "vit_b"}, or the fields of `SamShape`, beside segment_anything's own state dict; or
    - what transformers' `SamModel.save_pretrained` writes, as facebook/sam-vit-base is published.

    ConfigError, which names `option`, if they do not fit each other.
    """
    try:
        config = json.loads((folder / TRANSFORMERS_FILE).read_text())
        ours = config.get("model_type") != "sam"
        shape = _own_shape(config) if ours else _shape_of_transformers(folder)
        sam = build_sam(shape)
        weights = _read_weights(folder)
        sam.load_state_dict(weights if ours else _own_names(weights, shape))
    except (ValueError, KeyError, AttributeError, RuntimeError, TypeError) as error:
        raise ConfigError(
            f"{option}: {folder} does not hold a SAM: {_short(error)}; give a folder with "
            f"{TRANSFORMERS_FILE} and the safetensors of segment_anything or of transformers' SamModel"
        ) from error
    return sam


def save_sam(sam: Sam, shape: SamShape, folder: Path) -> None:
    """Write a folder for `load_sam`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TRANSFORMERS_FILE).write_text(shape.model_dump_json(indent=2) + "\n")
    weights = {name: value.detach().cpu().contiguous() for name, value in sam.state_dict().items()}
    save_file(weights, folder / _WEIGHTS_FILE)


def build_sam(shape: SamShape) -> Sam:
    """`segment_anything.build_sam` for any shape, with random weights."""
    grid = (shape.image_size // shape.patch_size,) * 2
    sam = Sam(
        image_encoder=ImageEncoderViT(
            depth=shape.encoder_depth,
            embed_dim=shape.encoder_embed_dim,
            img_size=shape.image_size,
            mlp_ratio=shape.encoder_mlp_ratio,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            num_heads=shape.encoder_num_heads,
            patch_size=shape.patch_size,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=shape.encoder_global_attn_indexes,
            window_size=shape.window_size,
            out_chans=shape.out_chans,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=shape.out_chans,
            image_embedding_size=grid,
            input_image_size=(shape.image_size, shape.image_size),
            mask_in_chans=shape.mask_in_chans,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=shape.num_multimask_outputs,
            transformer=TwoWayTransformer(
                depth=shape.decoder_depth,
                embedding_dim=shape.out_chans,
                mlp_dim=shape.decoder_mlp_dim,
                num_heads=shape.decoder_num_heads,
            ),
            transformer_dim=shape.out_chans,
            iou_head_depth=shape.iou_head_depth,
            iou_head_hidden_dim=shape.iou_head_hidden_dim,
        ),
    )
    for layer in sam.mask_decoder.transformer.layers:
        for norm in (layer.norm1, layer.norm2, layer.norm3, layer.norm4):
            norm.eps = shape.decoder_norm_eps
    return sam.eval()


def _own_shape(config: dict[str, Any]) -> SamShape:
    told = dict(config)
    if "type" not in told:
        return SamShape.model_validate(told)
    kind = told.pop("type")
    if kind not in SAM_TYPES:
        raise ValueError(
            f"{TRANSFORMERS_FILE} has the type {kind!r}, which is none of {', '.join(SAM_TYPES)}"
        )
    return SamShape.model_validate({**SAM_TYPES[kind].model_dump(), **told})


def _read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Of all safetensors files of the folder: large models come in several."""
    weights: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        weights |= load_file(path)
    return weights


def _short(error: Exception) -> str:
    """Without a state dict's hundreds of names."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]}..."


# --- transformers ---------------------------------------------------------------------------------

_FIXED = {
    "vision_config": {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "qkv_bias": True, "num_channels": 3},
    "prompt_encoder_config": {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "num_point_embeddings": 4},
    "mask_decoder_config": {"hidden_act": "relu", "attention_downsample_rate": 2},
}  # what segment_anything cannot be told


def _shape_of_transformers(folder: Path) -> SamShape:
    from transformers import SamConfig  # slow to import

    config = SamConfig.from_pretrained(folder)
    for section, values in _FIXED.items():
        for name, value in values.items():
            if (given := getattr(getattr(config, section), name)) != value:
                raise ValueError(f"{section}.{name} is {given!r}, and segment_anything has {value!r}")
    vision, prompt, decoder = config.vision_config, config.prompt_encoder_config, config.mask_decoder_config
    return SamShape(
        encoder_embed_dim=vision.hidden_size,
        encoder_depth=vision.num_hidden_layers,
        encoder_num_heads=vision.num_attention_heads,
        encoder_global_attn_indexes=tuple(vision.global_attn_indexes),
        encoder_mlp_ratio=vision.mlp_dim / vision.hidden_size,
        window_size=vision.window_size,
        image_size=vision.image_size,
        patch_size=vision.patch_size,
        out_chans=vision.output_channels,
        mask_in_chans=prompt.mask_input_channels,
        num_multimask_outputs=decoder.num_multimask_outputs,
        decoder_depth=decoder.num_hidden_layers,
        decoder_mlp_dim=decoder.mlp_dim,
        decoder_num_heads=decoder.num_attention_heads,
        decoder_norm_eps=decoder.layer_norm_eps,
        iou_head_depth=decoder.iou_head_depth,
        iou_head_hidden_dim=decoder.iou_head_hidden_dim,
    )


_MASK_EMBED = {"conv1": 0, "layer_norm1": 1, "conv2": 3, "layer_norm2": 4, "conv3": 6}
_NECK = {"conv1": 0, "layer_norm1": 1, "conv2": 2, "layer_norm2": 3}
_UPSCALE = {"upscale_conv1": 0, "upscale_layer_norm": 1, "upscale_conv2": 3}

_RENAMED: tuple[tuple[str, str], ...] = (
    (r"^vision_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
    (r"^vision_encoder\.layers\.(\d+)\.layer_norm", r"image_encoder.blocks.\1.norm"),
    (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
    *((rf"^vision_encoder\.neck\.{name}\.", f"image_encoder.neck.{i}.") for name, i in _NECK.items()),
    (r"^vision_encoder\.", "image_encoder."),
    (
        r"^(prompt_encoder\.shared_embedding|shared_image_embedding)\.positional_embedding$",
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    ),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    *(
        (rf"^prompt_encoder\.mask_embed\.{name}\.", f"prompt_encoder.mask_downscaling.{i}.")
        for name, i in _MASK_EMBED.items()
    ),
    (r"^(mask_decoder\.transformer\..*)layer_norm", r"\1norm"),
    *((rf"^mask_decoder\.{name}\.", f"mask_decoder.output_upscaling.{i}.") for name, i in _UPSCALE.items()),
)
"""transformers' names, and segment_anything's; the first that fits."""


def _own_names(weights: Mapping[str, torch.Tensor], shape: SamShape) -> dict[str, torch.Tensor]:
    return {_own_name(name, shape): value for name, value in weights.items()}


def _own_name(name: str, shape: SamShape) -> str:
    if found := re.match(r"mask_decoder\.(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.", name):
        last = shape.iou_head_depth - 1 if found[1] == "iou_prediction_head" else 2
        return found[0] + _layer_of_mlp(name.removeprefix(found[0]), last)
    for pattern, ours in _RENAMED:
        renamed, count = re.subn(pattern, ours, name)
        if count:
            return renamed
    return name


def _layer_of_mlp(name: str, last: int) -> str:
    """transformers' `proj_in`, `layers.0` ... and `proj_out` are layers 0, 1 ... and `last`."""
    if found := re.match(r"layers\.(\d+)\.", name):
        return f"layers.{int(found[1]) + 1}.{name.removeprefix(found[0])}"
    return name.replace("proj_in", "layers.0").replace("proj_out", f"layers.{last}")
