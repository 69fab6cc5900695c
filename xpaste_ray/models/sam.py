"""SAM, with prompts that need nobody to click. Source: Kirillov et al. 2023, `segment_anything`.

The networks are segment_anything's own; what is ours is that they see many images at once. `SamPredictor`,
called image by image, and `SamAutomaticMaskGenerator` find the same masks up to rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from segment_anything.modeling import Sam
from segment_anything.utils.amg import batched_mask_to_box, calculate_stability_score
from segment_anything.utils.transforms import ResizeLongestSide
from torchvision.ops import nms

from xpaste_ray.config.segment import SamMethod
from xpaste_ray.errors import RowError
from xpaste_ray.models.device import usable_device
from xpaste_ray.models.folders import SEGMENTER_OPTION, TRANSFORMERS_FILE, model_folder
from xpaste_ray.models.precision import computing_in, images_at_once
from xpaste_ray.models.sam_attention import fuse_attention
from xpaste_ray.models.sam_files import load_sam
from xpaste_ray.models.sam_prompts import SamPrompt, grid_points, prompt_for
from xpaste_ray.models.segmenters import Shown, SoftMask

_POINTS_AT_ONCE = 64  # as SamAutomaticMaskGenerator; the last ones of a grid are padded
_STABILITY_OFFSET = 1.0  # of its too: logits


@dataclass(frozen=True, slots=True)
class _Frame:
    """An image's size, and its size in the encoder's square."""

    size_hw: tuple[int, int]
    input_hw: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Prompts:
    """One an embedding, in pixels of the encoder's square: points (N, K, 2) or boxes (N, 4) xyxy, float64."""

    points: np.ndarray | None = None
    boxes: np.ndarray | None = None


class SamSegmenter:
    """`centre`, `box` and `corners` find one mask an image, the one that the model itself thinks best (by its
    predicted IoU, which is the score); `auto` any number.

    `corners` takes the last of the model's masks, the whole of what the points are on, and what is not in it,
    as DiverGen does.

    On a GPU both networks run in `dtype` by autocast, all else in float32, on processors everything does:
    positions, in half precision, would be off by pixels.
    """

    def __init__(self, settings: SamMethod, device: str = "cpu") -> None:
        self._device = torch.device(usable_device(device))
        folder = model_folder(settings.model, SEGMENTER_OPTION, TRANSFORMERS_FILE)
        self._sam: Sam = load_sam(folder, SEGMENTER_OPTION).to(self._device)
        self._sam.requires_grad_(False)
        fuse_attention(self._sam.image_encoder)
        self._resize = ResizeLongestSide(self._sam.image_encoder.img_size)
        self._settings = settings
        self.micro_batch = images_at_once(settings.micro_batch, device)

    @torch.inference_mode()
    def __call__(self, shown: Sequence[Shown]) -> list[list[SoftMask]]:
        embeddings, frames = self._encode([one.image for one in shown])
        if self._settings.prompt == "auto":
            return [self._all_masks(*one) for one in zip(embeddings.split(1), frames, strict=True)]
        return [[mask] for mask in self._one_mask_each(embeddings, frames)]

    def _encode(self, images: Sequence[np.ndarray]) -> tuple[torch.Tensor, list[_Frame]]:
        """(N, C, h, w) float32. Resized, scaled and padded as SamPredictor does."""
        inputs = [self._resize.apply_image(image) for image in images]
        frames = [
            _Frame(image.shape[:2], resized.shape[:2]) for image, resized in zip(images, inputs, strict=True)
        ]
        pixels = [torch.as_tensor(one).permute(2, 0, 1).to(self._device) for one in inputs]
        batch = torch.stack([self._sam.preprocess(one) for one in pixels])
        with self._autocast():
            embeddings = self._sam.image_encoder(batch)
        return embeddings.float(), frames

    def _one_mask_each(self, embeddings: torch.Tensor, frames: Sequence[_Frame]) -> list[SoftMask]:
        prompts = [prompt_for(self._settings, frame.size_hw) for frame in frames]
        logits, quality = self._decode(embeddings, self._in_inputs(prompts, frames))
        background = prompts[0].background
        best = torch.full_like(quality[:, 0], -1, dtype=torch.long) if background else quality.argmax(1)
        found = []
        for i, frame in enumerate(frames):
            whole = self._at_full_size(logits[i, best[i]][None], frame)[0]
            soft = torch.sigmoid(-whole if background else whole)
            found.append(SoftMask(soft.cpu().numpy(), float(quality[i, best[i]])))
        return found

    def _all_masks(self, embedding: torch.Tensor, frame: _Frame) -> list[SoftMask]:
        """Automatic masks of one image, (1, C, h, w), as SamAutomaticMaskGenerator finds them without crops:
        good and stable ones, of those whose boxes overlap the best. Low resolution until that is known."""
        settings = self._settings
        grid = grid_points(settings.points_per_side, frame.size_hw)
        points = self._resize.apply_coords(grid, frame.size_hw)[:, None]
        at_once = min(_POINTS_AT_ONCE, len(points))
        kept: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        for first in range(0, len(points), at_once):
            here = points[first : first + at_once]
            padded = np.concatenate([here, np.repeat(here[-1:], at_once - len(here), axis=0)])
            logits, quality = self._decode(embedding.expand(at_once, -1, -1, -1), _Prompts(points=padded))
            kept.append(self._good(logits[: len(here)].flatten(0, 1), quality[: len(here)].flatten(), frame))
        logits, quality, boxes = (torch.cat(parts) for parts in zip(*kept, strict=True))
        best = nms(boxes.float(), quality, settings.max_overlap_iou)[: settings.max_masks]
        soft = torch.sigmoid(self._at_full_size(logits[best], frame)).cpu().numpy()
        return [SoftMask(*one) for one in zip(soft, quality[best].tolist(), strict=True)]

    def _in_inputs(self, prompts: Sequence[SamPrompt], frames: Sequence[_Frame]) -> _Prompts:
        """From pixels of the images to those of the encoder's square."""
        resize, pairs = self._resize, list(zip(prompts, frames, strict=True))
        if prompts[0].points is not None:
            return _Prompts(
                points=np.stack([resize.apply_coords(one.points, at.size_hw) for one, at in pairs])
            )
        return _Prompts(
            boxes=np.concatenate([resize.apply_boxes(one.box_xyxy, at.size_hw) for one, at in pairs])
        )

    def _decode(self, embeddings: torch.Tensor, prompts: _Prompts) -> tuple[torch.Tensor, torch.Tensor]:
        """One prompt an embedding -> logits (N, masks, 4 h, 4 w) and predicted IoU (N, masks), float32."""
        points = boxes = None
        if prompts.points is not None:
            on_it = torch.ones(prompts.points.shape[:2], dtype=torch.int, device=self._device)
            points = (self._tensor(prompts.points), on_it)
        else:
            boxes = self._tensor(prompts.boxes)
        sparse, dense = self._sam.prompt_encoder(points=points, boxes=boxes, masks=None)
        # The decoder takes one image's embedding and many prompts. But first of all it adds that embedding
        # to the prompts' dense ones: so these can bring an embedding each, and the image's is nought.
        with self._autocast():
            logits, quality = self._sam.mask_decoder(
                image_embeddings=torch.zeros_like(embeddings[:1]),
                image_pe=self._sam.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=embeddings + dense,
                multimask_output=True,
            )
        return logits.float(), quality.float()

    def _good(
        self, logits: torch.Tensor, quality: torch.Tensor, frame: _Frame
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Those of the masks that are sure and stable enough: logits, predicted IoU, boxes (N, 4) xyxy.

        A mask without a pixel has no stability (0 / 0) and never is.
        """
        if not quality.isfinite().all():
            raise RowError("nan_mask", "half precision may overflow: try dtype bfloat16 or float32")
        sure = quality > self._settings.min_iou
        logits, quality = logits[sure], quality[sure]
        whole = self._at_full_size(logits, frame)
        stable = calculate_stability_score(whole, 0.0, _STABILITY_OFFSET) >= self._settings.min_stability
        return logits[stable], quality[stable], batched_mask_to_box(whole[stable] > 0)

    def _at_full_size(self, logits: torch.Tensor, frame: _Frame) -> torch.Tensor:
        """(N, 4 h, 4 w) -> (N, H, W), in the frame of the image."""
        if not len(logits):
            return logits.new_empty(0, *frame.size_hw)
        return self._sam.postprocess_masks(logits[None], frame.input_hw, frame.size_hw)[0]

    def _autocast(self) -> torch.autocast:
        on_gpu = self._device.type == "cuda"
        return computing_in(self._settings.dtype if on_gpu else "float32", self._device)

    def _tensor(self, numbers: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(numbers, dtype=torch.float, device=self._device)
