"""U2-Net and IS-Net through rembg: what stands out in an image, whatever its category."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xpaste_ray.cache import local_file
from xpaste_ray.config.segment import SaliencyMethod
from xpaste_ray.errors import ConfigError
from xpaste_ray.models.segmenters import Shown, SoftMask
from xpaste_ray.models.soft_masks import resized, stretched
from xpaste_ray.storage import locate

_OPTION = "segment.methods.*"


@dataclass(frozen=True, slots=True)
class _Network:
    """What rembg's session of a network does before it: subtract, divide, resize."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    side_px: int


_NETWORKS = {
    "u2net": _Network((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 320),
    "isnet": _Network((0.5, 0.5, 0.5), (1.0, 1.0, 1.0), 1024),
}


class SaliencySegmenter:
    """One mask for every image, by onnxruntime on CPU. Raises ConfigError.

    rembg prepares the image (U2-Net 320 pixels, where X-Paste has 256; IS-Net 1024), and the first side
    output is taken. rembg's own way to the mask would round it to 8 bits before it is resized, and make
    NaN of a constant one. Source: Qin et al. 2020, 2022; X-Paste, stage B.
    """

    micro_batch = 1  # the published files take one image at a time

    def __init__(self, settings: SaliencyMethod) -> None:
        self._settings = settings
        self._network = _NETWORKS[settings.network]
        self._session = _open(settings, self._network)

    def __call__(self, shown: Sequence[Shown]) -> list[list[SoftMask]]:
        return [[SoftMask(self._mask(one.image))] for one in shown]

    def _mask(self, image: np.ndarray) -> np.ndarray:
        network = self._network
        side_wh = (network.side_px, network.side_px)
        inputs = self._session.normalize(Image.fromarray(image), network.mean, network.std, side_wh)
        salience = self._session.inner_session.run(None, inputs)[0][0, 0]
        mask = resized(salience, image.shape[:2])
        return stretched(mask) if self._settings.renormalise else np.clip(mask, 0, 1)


def _open(settings: SaliencyMethod, network: _Network) -> Any:
    """A session of rembg with the user's own file: nothing is looked for elsewhere, or downloaded."""
    base, onnxruntime = _imported()
    path = _model_file(settings.model)

    class OwnFile(base.BaseSession):  # type: ignore[name-defined,misc]
        @classmethod
        def download_models(cls, *args: Any, **kwargs: Any) -> str:
            return str(path)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = settings.threads, 1
    try:
        session = OwnFile(settings.network, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's have no base of their own
        raise ConfigError(
            f"{_OPTION}.model: onnxruntime cannot load {path.name!r} ({error}): give the ONNX file of a "
            "U2-Net or an IS-Net"
        ) from None
    _check_shape(session.inner_session.get_inputs()[0].shape, settings, network)
    return session


def _imported() -> tuple[Any, Any]:
    """rembg's sessions and onnxruntime, which is first: without it, rembg ends the process."""
    try:
        onnxruntime = import_module("onnxruntime")
        return import_module("rembg.sessions.base"), onnxruntime
    except ImportError as error:
        package = (error.name or "rembg").partition(".")[0]
        raise ConfigError(
            f"{_OPTION}: kind saliency needs {package}: pip install 'xpaste-ray[saliency]'"
        ) from None


def _model_file(model: str) -> Path:
    try:
        path = local_file(locate(model)) if "://" in model else Path(model)
    except FileNotFoundError:
        path = Path(model)
    if path.suffix != ".onnx" or not path.is_file():
        raise ConfigError(
            f"{_OPTION}.model: {model!r} is no .onnx file: give one of U2-Net or IS-Net, such as u2net.onnx "
            "or isnet-general-use.onnx of rembg's releases"
        )
    return path


def _check_shape(shape: Sequence[Any], settings: SaliencyMethod, network: _Network) -> None:
    """Sides may be free, and are then names instead of numbers."""
    sides = [side for side in shape[2:] if isinstance(side, int)]
    if any(side != network.side_px for side in sides):
        raise ConfigError(
            f"{_OPTION}.network: {settings.network} takes {network.side_px} x {network.side_px} pixels, and "
            f"the model {' x '.join(map(str, sides))}: set it to the network that the file holds"
        )
