"""Where a model's files are, checked before anything starts."""

from pathlib import Path

from xpaste_ray.categories import did_you_mean
from xpaste_ray.embedded import CLIP_DIR, DIFFUSION_DIR
from xpaste_ray.errors import ConfigError

EMBEDDED = {"embedded:diffusion": DIFFUSION_DIR, "embedded:clip": CLIP_DIR}

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")  # formats that can run code when they are read


def model_folder(model: str, option: str) -> Path:
    """The folder of "embedded:..." or of a local path, which must hold safetensors only.

    `option` is the setting's name for the message. Raises ConfigError.
    """
    if model.startswith("embedded:"):
        if model not in EMBEDDED:
            raise ConfigError(f"{option}: no embedded model {model!r}{did_you_mean(model, EMBEDDED)}")
        return EMBEDDED[model]
    folder = Path(model)
    if not folder.is_dir():
        choice = " or ".join(EMBEDDED)
        raise ConfigError(
            f"{option}: the model folder {model!r} does not exist: give a local folder with safetensors "
            f"files, or {choice}"
        )
    files = [path for path in folder.rglob("*") if path.is_file()]
    pickles = sorted(path.name for path in files if path.suffix in _PICKLES)
    if pickles:
        raise ConfigError(
            f"{option}: {model!r} holds {pickles[0]}, a pickle, which can run code when it is read: "
            "convert the weights to safetensors and remove it"
        )
    if not any(path.suffix == ".safetensors" for path in files):
        raise ConfigError(
            f"{option}: {model!r} holds no .safetensors file: save the model as safetensors there"
        )
    return folder
