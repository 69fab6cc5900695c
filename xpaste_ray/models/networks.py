"""What each segmentation method computes with, known by its contents."""

from xpaste_ray.config.segment import (
    AnyMethod,
    FelzenszwalbMethod,
    FullMethod,
    GrabCutMethod,
    MaskRcnnMethod,
    MasksMethod,
    SaliencyMethod,
    SlicMethod,
)
from xpaste_ray.fingerprints import hash_file
from xpaste_ray.models.folders import MASK_RCNN_FILE, TRANSFORMERS_FILE, model_folder, model_name
from xpaste_ray.models.mask_files import masks_name
from xpaste_ray.models.saliency import onnx_file


def named_by(method: AnyMethod) -> str:
    """The option that says where a method's files are, if it has any."""
    return "path" if isinstance(method, MasksMethod) else "model"


def network_name(method: AnyMethod, option: str) -> str | None:
    """As `folders.model_name` says it; None for a method without files. ConfigError if they are not there.

    `option`: the setting's name, for messages.
    """
    match method:
        case GrabCutMethod() | FullMethod() | SlicMethod() | FelzenszwalbMethod():
            return None
        case MasksMethod():
            return masks_name(method.path, option)
        case SaliencyMethod():
            file = onnx_file(method.model, option)
            return f"{file.name}@{hash_file(file)[:12]}"
    described_by = MASK_RCNN_FILE if isinstance(method, MaskRcnnMethod) else TRANSFORMERS_FILE
    return model_name(method.model, model_folder(method.model, option, described_by))
