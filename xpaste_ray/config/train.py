"""How a detector is trained on what the data pipelines made."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from xpaste_ray.config.base import Dtype, Fraction, PositiveInt, Section

DetectorArch = Literal["resnet18_fpn", "resnet50_fpn", "resnet50_fpn_v2"]
PositiveFloat = Annotated[float, Field(gt=0)]


class LightSettings(Section):
    """Brightness and contrast are each multiplied by a factor, up to so much more or less, with
    `probability` each."""

    brightness: Fraction = 0.2  # no public value
    contrast: Fraction = 0.2  # no public value
    probability: Fraction = 0.5  # EM-Paste, training


class DetectorSettings(Section):
    """Mask R-CNN of torchvision, its body a ResNet with a feature pyramid. resnet18_fpn is ours: narrow
    enough for processors.

    weights: what the training begins with: a folder, or hub:owner/name@revision, with model.safetensors, of a
    ResNet or of a whole detector, whose outputs need not be these categories; null for random numbers. A
    body that comes with weights keeps its normalisation and its first level; another one is learnt wholly,
    and its normalisation is that of the whole batch.
    side_px: of the longer side of an image that is looked at, when the training is over. detections: of an
    image, at most, each of at least `min_score`.
    """

    arch: DetectorArch = "resnet50_fpn_v2"
    weights: str | None = None
    side_px: Annotated[int, Field(ge=32, le=4096)] = 640  # X-Paste, R50
    detections: PositiveInt = 300  # LVIS
    min_score: Fraction = 1e-3  # LVIS baselines: 1e-4 to 0.02


class TrainingSettings(Section):
    """What the detector is, and how its training goes. The canvas of `compose` is what it is shown: with fit
    `lsj` that is Large Scale Jittering.

    batch: images of all processes together, so their number changes rounding only. warm_up: iterations in
    which the rate rises; afterwards it falls as a cosine. ema: of the average that the weights are taken from
    in the end. clip_norm: of all gradients together.
    repeat_threshold: images of categories that fewer images show are repeated (Gupta et al. 2019; X-Paste's
    1.11); 0 for each as often. pasted_box_loss, pasted_mask_loss: whether boxes and masks of pasted objects
    are learnt from, beside their categories (X-Paste, 1.9).
    evaluate_every, checkpoint_every: iterations, rounded up to twenty; whatever they are, the weights are the
    same. threads: of each process; workers: processes beside each that has a GPU, which make its images.
    """

    detector: DetectorSettings = DetectorSettings()
    iterations: PositiveInt = 180_000  # X-Paste
    batch: PositiveInt = 64  # X-Paste, R50
    optimizer: Literal["adamw", "sgd"] = "adamw"  # X-Paste; EM-Paste's is SGD
    learning_rate: PositiveFloat = 1e-4  # X-Paste
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4  # no public value
    warm_up: Annotated[int, Field(ge=0)] = 1000  # no public value
    clip_norm: PositiveFloat = 1.0  # no public value
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999  # X-Paste
    repeat_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.001  # X-Paste, LVIS
    light: LightSettings = LightSettings()
    pasted_box_loss: bool = True
    pasted_mask_loss: bool = True
    dtype: Dtype = "float32"
    threads: PositiveInt = 2
    workers: Annotated[int, Field(ge=0)] = 4
    evaluate_every: PositiveInt = 5000
    checkpoint_every: PositiveInt = 1000

    @model_validator(mode="after")
    def _warm_up_ends(self) -> "TrainingSettings":
        if self.warm_up > self.iterations:
            raise ValueError(
                f"warm_up is {self.warm_up} and iterations {self.iterations}: it must end before then"
            )
        return self
