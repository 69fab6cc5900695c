"""Classifiers: what they see of each category, where in an image, and the feature of a segment.

One network each, cut in two: the *body* ends with its last convolution, the *head* makes everything else of
those activations. Grad-CAM (Selvaraju et al. 2017) asks how a category's output changes with the activations,
so only the head is gone through backwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import open_clip
import torch
from open_clip.model import CLIP
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transform import PreprocessCfg
from open_clip.transformer import VisionTransformer
from torch import nn
from torch.nn import functional
from torchvision.models import ResNet

from xpaste_ray.categories import Category, display_name
from xpaste_ray.config.base import Dtype
from xpaste_ray.config.classifier import AnyClassifier, ClipClassifier, ResNetClassifier
from xpaste_ray.errors import ConfigError, RowError
from xpaste_ray.models.classifier_files import MODEL_OPTION, classifier_folder, read_card
from xpaste_ray.models.clip_config import embedding_dim
from xpaste_ray.models.device import usable_device
from xpaste_ray.models.precision import computing_in, images_at_once
from xpaste_ray.models.resnet import load_resnet
from xpaste_ray.models.segment_picture import in_square, out_of_square
from xpaste_ray.models.vocabulary import Vocabulary


class CutNetwork(Protocol):
    """A network in two parts. Activations are (N, ...) of any form."""

    def body(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalised (N, 3, S, S) -> activations."""
        ...

    def head(self, activations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Activations -> features (N, D) and logits (N, C)."""
        ...

    def seen(self, activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        """Where the activations speak for the output that the gradients are of: (N, h, w), 0 and above."""
        ...

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Of each category, (N, C)."""
        ...


def grad_cam(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Where activations speak for an output: (N, K, h, w) twice -> (N, h, w), 0 and above.

    Each channel counts by its gradient's mean; what speaks against the output is cut off (Selvaraju et al.
    2017, equations 1 and 2).
    """
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    return functional.relu((weights * activations).sum(dim=1))


def relevance_of(tokens: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """The same for tokens, each by its own gradient: (N, T, K) twice -> (N, T), 0 and above.

    Where attention chooses which tokens count, the gradient of one says nothing of the others. Behind a plain
    mean all have the same, and this is Grad-CAM (Draelos and Carin 2020, HiResCAM). With the shipped CLIP and
    objects, Grad-CAM's share on the object is that of the object's area; this one's, three times as much.
    """
    return functional.relu((tokens * gradients).sum(dim=2))


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """What the classifier makes of a picture. feature: (D,) float32; probabilities: (C,) float32."""

    feature: np.ndarray
    probabilities: np.ndarray


class Classifier:
    """A cut network with its categories. Everything is shown to it in a grey square of `side_px`.

    micro_batch: pictures at a time; the caller keeps that shape, or results would be rounded otherwise.
    """

    def __init__(
        self,
        network: CutNetwork,
        names: Sequence[str],
        side_px: int,
        mean: Sequence[float],
        std: Sequence[float],
        device: str,
        micro_batch: int,
        dtype: Dtype,
    ) -> None:
        self.side_px, self.micro_batch = side_px, images_at_once(micro_batch, device)
        self._network, self._device, self._dtype = network, device, dtype
        self._vocabulary = Vocabulary(dict(enumerate(names)))
        self._mean, self._std = (
            torch.tensor(values, dtype=torch.float32, device=device).view(3, 1, 1) for values in (mean, std)
        )

    def output_of(self, category: str) -> int | None:
        """Which output is the category's, by its name; None if it does not know it."""
        try:
            return self._vocabulary.label_of(category)
        except RowError:
            return None

    @torch.no_grad()
    def activations(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Images (H, W, 3) uint8 RGB of any sizes -> what `cam` needs of each, float32."""
        made: np.ndarray = self._body([in_square(image, self.side_px) for image in images]).cpu().numpy()
        return list(made)

    def cam(self, activations: np.ndarray, output: int, size_hw: tuple[int, int]) -> np.ndarray:
        """Where in an image of `size_hw` the category of an output is seen: (H, W) float32, 0 and above."""
        leaf = torch.from_numpy(activations)[None].to(self._device).requires_grad_()
        with torch.enable_grad():
            _, logits = self._network.head(leaf)
            (gradients,) = torch.autograd.grad(logits[0, output], leaf)
        with torch.no_grad():
            seen = self._network.seen(leaf, gradients)
        return out_of_square(seen[0].cpu().numpy(), size_hw, self.side_px)

    def cams(self, images: Sequence[np.ndarray], outputs: Sequence[int]) -> list[np.ndarray]:
        """`cam` of one category in each image."""
        made = self.activations(images)
        return [
            self.cam(one, output, (image.shape[0], image.shape[1]))
            for one, output, image in zip(made, outputs, images, strict=True)
        ]

    @torch.no_grad()
    def look(self, pictures: Sequence[np.ndarray]) -> list[Looked]:
        """Pictures of segments, each (side_px, side_px, 3) uint8 RGB."""
        features, logits = self._network.head(self._body(pictures))
        probabilities = self._network.probabilities(logits).float().cpu().numpy()
        return [Looked(*pair) for pair in zip(features.float().cpu().numpy(), probabilities, strict=True)]

    def _body(self, pictures: Sequence[np.ndarray]) -> torch.Tensor:
        """In float32 again, so that the head is."""
        stacked = torch.from_numpy(np.stack(pictures)).to(self._device)
        pixels = (stacked.permute(0, 3, 1, 2).float() / 255 - self._mean) / self._std
        with computing_in(self._dtype, self._device):
            return self._network.body(pixels).float()


def open_classifier(
    settings: AnyClassifier, categories: Sequence[Category], device: str = "cpu", trained: Path | None = None
) -> Classifier:
    """The classifier of the settings, ready to be used. ConfigError.

    categories: all of the images'; what CLIP chooses from. trained: the folder of one that was trained as
    the settings say.
    """
    device = usable_device(device)
    if isinstance(settings, ClipClassifier):
        return _open_clip(settings, categories, device)
    if isinstance(settings, ResNetClassifier):
        if trained is None:
            raise ConfigError(
                "foregrounds.classifier: it is not trained yet: train it first, or give the folder of one "
                "that is, as kind: trained"
            )
        folder = trained
    else:
        folder = classifier_folder(settings)
    card = read_card(folder)
    network = load_resnet(folder, card.arch, len(card.categories), MODEL_OPTION).to(device)
    names = [name for _, name in card.categories]
    return Classifier(
        CutResNet(network),
        names,
        card.side_px,
        card.mean,
        card.std,
        device,
        settings.micro_batch,
        settings.dtype,
    )


class CutResNet:
    """torchvision's: the feature is the mean of each channel of the last convolution, and each category is
    judged by itself."""

    def __init__(self, network: ResNet) -> None:
        self._network = network
        self._body = nn.Sequential(*(part for name, part in network.named_children() if name not in _AFTER))

    def body(self, pixels: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self._body(pixels)
        return made

    def head(self, activations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = activations.mean(dim=(2, 3))
        return features, self._network.fc(features)

    def seen(self, activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        return grad_cam(activations, gradients)

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.sigmoid()


_AFTER = ("avgpool", "fc")  # the head's


class _CutClip:
    """CLIP with the texts of all categories: the feature is the embedding, of unit length, and categories are
    told from each other."""

    def __init__(self, texts: torch.Tensor, logit_scale: float) -> None:
        self._texts, self._scale = texts, logit_scale

    def head(self, activations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = functional.normalize(self.embedding(activations), dim=-1)
        return features, self._scale * features @ self._texts.T

    def embedding(self, activations: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.softmax(dim=-1)


class CutClipResNet(_CutClip):
    """Cut before the attention that pools."""

    def __init__(self, visual: ModifiedResNet, texts: torch.Tensor, logit_scale: float) -> None:
        super().__init__(texts, logit_scale)
        self._visual = visual

    def body(self, pixels: torch.Tensor) -> torch.Tensor:
        visual = self._visual
        made: torch.Tensor = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(pixels)))))
        return made

    def embedding(self, activations: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self._visual.attnpool(activations)
        return made

    def seen(self, activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        return grad_cam(activations, gradients)


class CutClipViT(_CutClip):
    """Cut before the last block: after it, what the patches hold no longer reaches the class token, which is
    all that is pooled."""

    def __init__(self, visual: VisionTransformer, texts: torch.Tensor, logit_scale: float) -> None:
        super().__init__(texts, logit_scale)
        self._visual = visual
        *self._blocks, self._last = visual.transformer.resblocks

    def body(self, pixels: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self._visual._embeds(pixels)
        for block in self._blocks:
            tokens = block(tokens)
        return tokens

    def embedding(self, activations: torch.Tensor) -> torch.Tensor:
        pooled, _ = self._visual._pool(self._last(activations))
        return pooled if self._visual.proj is None else pooled @ self._visual.proj

    def seen(self, activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        relevance = relevance_of(activations[:, 1:], gradients[:, 1:])  # the first is the class token
        return relevance.unflatten(1, self._visual.grid_size)


def _open_clip(settings: ClipClassifier, categories: Sequence[Category], device: str) -> Classifier:
    folder = classifier_folder(settings)
    embedding_dim(folder, MODEL_OPTION)  # refuses what open_clip would fetch
    place = f"local-dir:{folder}"
    model = open_clip.create_model(place, precision="fp32", device=device).eval().requires_grad_(False)
    names = [display_name(one.name) for one in categories]
    texts = _embed_texts(
        model, open_clip.get_tokenizer(place), [settings.template.format(name=n) for n in names]
    )
    told = PreprocessCfg(**open_clip.get_model_preprocess_cfg(model))
    return Classifier(
        _cut_clip(model.visual, texts, settings.logit_scale),
        [one.name for one in categories],
        told.input_size[1],
        told.mean,
        told.std,
        device,
        settings.micro_batch,
        settings.dtype,
    )


def _cut_clip(visual: nn.Module, texts: torch.Tensor, logit_scale: float) -> CutNetwork:
    if isinstance(visual, ModifiedResNet):
        return CutClipResNet(visual, texts, logit_scale)
    if isinstance(visual, VisionTransformer):
        return CutClipViT(visual, texts, logit_scale)
    raise ConfigError(
        f"{MODEL_OPTION}: this CLIP's image tower is a {type(visual).__name__}, and where its activations "
        "are is not known: take one with open_clip's own ViT or ResNet"
    )


@torch.no_grad()
def _embed_texts(model: CLIP, tokenizer: open_clip.SimpleTokenizer, texts: Sequence[str]) -> torch.Tensor:
    """(C, D) of unit length, one text at a time, so that one does not depend on the others."""
    device = next(model.parameters()).device
    rows = [model.encode_text(tokenizer([text]).to(device)) for text in texts]
    return functional.normalize(torch.cat(rows), dim=-1)
