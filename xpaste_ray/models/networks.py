"""What each segmentation method computes with, known by its contents."""

from xpaste_ray.config.segment import AnyMethod, FullMethod, GrabCutMethod, MaskRcnnMethod, SaliencyMethod
from xpaste_ray.fingerprints import hash_file
from xpaste_ray.models.folders import MASK_RCNN_FILE, TRANSFORMERS_FILE, model_folder, model_name
from xpaste_ray.models.saliency import onnx_file


def network_name(method: AnyMethod, option: str) -> str | None:
    """As `folders.model_name` says it; None for a method without weights. ConfigError if they are not there.

    `option`: the setting's name, for messages.
    """
    match method:
        case GrabCutMethod() | FullMethod():
            return None
        case SaliencyMethod():
            file = onnx_file(method.model, option)
            return f"{file.name}@{hash_file(file)[:12]}"
    described_by = MASK_RCNN_FILE if isinstance(method, MaskRcnnMethod) else TRANSFORMERS_FILE
    return model_name(method.model, model_folder(method.model, option, described_by))
