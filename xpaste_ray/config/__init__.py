"""Settings: presets in YAML, read into models that refuse what they do not know.

Every section is the recipe of one step, so what a step's fingerprint covers can be read off here.
Only `resources` is in no recipe: where and how wide a run goes never changes a byte of it.
"""

from xpaste_ray.config.compose import (
    Blend,
    CanvasSettings,
    CategoryRuleSettings,
    ColourSettings,
    ComposeSettings,
    FormatName,
    ImageFormat,
    OcclusionSettings,
    OutputSettings,
    PlaceSettings,
    SizeSettings,
    Subsampling,
)
from xpaste_ray.config.presets import (
    PRESETS_DIR,
    change,
    dump_settings,
    kind_of,
    load,
    load_settings,
    parse_settings,
    preset_descriptions,
    preset_names,
)
from xpaste_ray.config.prompts import CategorySettings, PromptSettings
from xpaste_ray.config.resources import ResourceSettings, StageResources, WorkerResources
from xpaste_ray.config.score import RealSettings, ScoreSettings
from xpaste_ray.config.segment import (
    AnyMethod,
    ClipSegMethod,
    FullMethod,
    GrabCutMethod,
    Mask2FormerMethod,
    MaskRcnnMethod,
    SaliencyMethod,
    SamMethod,
    SegmentSettings,
)
from xpaste_ray.config.select import CutoutSettings, SelectSettings
from xpaste_ray.config.settings import DatasetSettings, PoolSettings, Settings
from xpaste_ray.config.sources import (
    AnnotatedSource,
    AnySource,
    CandidatesSource,
    CutoutsSource,
    DiffusionSource,
    FolderSource,
    SearchSource,
    WebDatasetSource,
    WebSource,
)

__all__ = [
    "PRESETS_DIR",
    "AnnotatedSource",
    "AnyMethod",
    "AnySource",
    "Blend",
    "CandidatesSource",
    "CanvasSettings",
    "CategoryRuleSettings",
    "CategorySettings",
    "ClipSegMethod",
    "ColourSettings",
    "ComposeSettings",
    "CutoutSettings",
    "CutoutsSource",
    "DatasetSettings",
    "DiffusionSource",
    "FolderSource",
    "FormatName",
    "FullMethod",
    "GrabCutMethod",
    "ImageFormat",
    "Mask2FormerMethod",
    "MaskRcnnMethod",
    "OcclusionSettings",
    "OutputSettings",
    "PlaceSettings",
    "PoolSettings",
    "PromptSettings",
    "RealSettings",
    "ResourceSettings",
    "SaliencyMethod",
    "SamMethod",
    "ScoreSettings",
    "SearchSource",
    "SegmentSettings",
    "SelectSettings",
    "Settings",
    "SizeSettings",
    "StageResources",
    "Subsampling",
    "WebDatasetSource",
    "WebSource",
    "WorkerResources",
    "change",
    "dump_settings",
    "kind_of",
    "load",
    "load_settings",
    "parse_settings",
    "preset_descriptions",
    "preset_names",
]
