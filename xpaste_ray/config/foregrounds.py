"""Masks from image-level labels (EM-Paste, section 3.1)."""

from typing import Annotated

from pydantic import ConfigDict, Field

from xpaste_ray.config.base import Section
from xpaste_ray.config.classifier import CamSettings, ClassifierSettings, FeatureSettings
from xpaste_ray.config.em import EmSettings
from xpaste_ray.config.images import ImagesSettings
from xpaste_ray.config.resources import ResourceSettings
from xpaste_ray.config.segment import SegmentSettings
from xpaste_ray.config.select import CutoutSettings


class Foregrounds(Section):
    """Labelled images, what proposes segments, what knows the categories, and how one is chosen."""

    images: ImagesSettings
    segment: SegmentSettings
    classifier: ClassifierSettings
    cam: CamSettings = CamSettings()
    features: FeatureSettings = FeatureSettings()
    em: EmSettings = EmSettings()
    cutout: CutoutSettings = CutoutSettings()


class ForegroundSettings(Section):
    """Everything that foregrounds are made from."""

    model_config = ConfigDict(extra="ignore")  # a preset may say what is made of them, too

    seed: Annotated[int, Field(ge=0)]
    foregrounds: Foregrounds
    resources: ResourceSettings
