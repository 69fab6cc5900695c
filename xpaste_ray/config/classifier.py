"""What knows which categories an image, or a segment of it, shows."""

from typing import Annotated, Literal

from pydantic import Field

from xpaste_ray.config.base import Dtype, Fraction, PositiveInt, Section, Template

Seconds = Annotated[float, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]


class _Classifier(Section):
    """dtype, micro_batch (images or segments at a time, always in that shape) and threads: of its use, not
    of its training."""

    dtype: Dtype = "float32"
    micro_batch: PositiveInt = 16
    threads: PositiveInt = 1


class ResNetClassifier(_Classifier):
    """torchvision's ResNet, fine-tuned on the image labels: each category by itself (multi-label).

    weights: what the training begins with: a folder with model.safetensors, or hub:owner/name@revision; null
    for random numbers. side_px: of the square that it is shown. held_out: part of the images that it is not
    trained on, and measured by. patience: epochs without a better mAP there (of equals, a lower loss), after
    which it ends.
    micro_batch's counterpart in training is `batch`: of all workers together, so that their number changes
    rounding only. train_threads: of each training process.
    """

    kind: Literal["resnet"]
    arch: Literal["resnet18", "resnet34", "resnet50", "resnet101"] = "resnet50"
    weights: str | None = None
    side_px: Annotated[int, Field(ge=32, le=1024, multiple_of=32)] = 224
    epochs: PositiveInt = 30
    patience: PositiveInt = 5
    batch: PositiveInt = 64
    learning_rate: PositiveFloat = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    train_threads: PositiveInt = 2


class TrainedClassifier(_Classifier):
    """A classifier that was trained already, by an earlier run or by the user: `model` is a folder with
    model.safetensors (state of torchvision's ResNet) and classifier.json (arch, side_px, categories by
    output, mean and deviation of the pixels)."""

    kind: Literal["trained"]
    model: str


class ClipClassifier(_Classifier):
    """CLIP without training: its probability of a category is that of `template` with the category's name
    against those with all other categories of the images. `model`: as `score.model`."""

    kind: Literal["clip"]
    model: str
    template: Template = "a photo of {name}"
    logit_scale: PositiveFloat = 100.0


AnyClassifier = ResNetClassifier | TrainedClassifier | ClipClassifier
ClassifierSettings = Annotated[AnyClassifier, Field(discriminator="kind")]


class CamSettings(Section):
    """Where in an image the classifier sees a category: Grad-CAM (Selvaraju et al. 2017), of its last
    convolution. threshold: part of the map's maximum from which a pixel counts (EM-Paste, step 1, gives no
    number); their centre of gravity is what segments are measured from."""

    threshold: Fraction = 0.5


class FeatureSettings(Section):
    """What of a segment the classifier is shown (EM-Paste, step 1): the segment, eroded by `erode` of the
    shorter side of its box, on its box, all else grey, padded with grey to a square."""

    erode: Annotated[float, Field(ge=0, lt=0.5)] = 0.02
    grey: Annotated[int, Field(ge=0, le=255)] = 128
