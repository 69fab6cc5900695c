"""Where a model's files are, checked before anything starts."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from xpaste_ray.cache import local_copy
from xpaste_ray.categories import did_you_mean
from xpaste_ray.embedded import CLIP_DIR, DIFFUSION_DIR
from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import hash_folder
from xpaste_ray.models.hub import PREFIX, check_blobs, hub_folder, parse_hub
from xpaste_ray.storage import locate

EMBEDDED = {"embedded:diffusion": DIFFUSION_DIR, "embedded:clip": CLIP_DIR}

DIFFUSERS_FILE = "model_index.json"
OPEN_CLIP_FILE = "open_clip_config.json"
TRANSFORMERS_FILE = "config.json"  # SAM's too, whoever wrote its weights
MASK_RCNN_FILE = "categories.json"

SEGMENTER_OPTION = "segment.methods.*.model"
"""Where a segmenter's folder is named, for messages of one that does not know its own name."""

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")  # formats that can run code when they are read


def model_folder(model: str, option: str, described_by: str) -> Path:
    """The folder of "embedded:...", of a local path, of hub:owner/name@commit, or this node's copy of one in
    an object store. It must hold whole safetensors files; and no pickles, unless the Hub's cache has some
    that others fetched, which are never read.

    `option` is the setting's name for the message, `described_by` the file that the loader starts
    from. Raises ConfigError.
    """
    if model.startswith("embedded:"):
        if model not in EMBEDDED:
            raise ConfigError(f"{option}: no embedded model {model!r}{did_you_mean(model, EMBEDDED)}")
        return EMBEDDED[model]
    of_hub = model.startswith(PREFIX)
    folder = hub_folder(parse_hub(model, option), option) if of_hub else _given_folder(model, option)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    pickles = [path.name for path in files if path.suffix in _PICKLES]
    if pickles and not of_hub:
        raise ConfigError(
            f"{option}: {model!r} holds {pickles[0]}, a pickle, which can run code when it is read: "
            "convert the weights to safetensors and remove it"
        )
    weights = [path for path in files if path.suffix == ".safetensors"]
    if not weights:
        raise ConfigError(
            f"{option}: {model!r} holds no .safetensors file: save the model as safetensors there"
        )
    for path in weights:
        _check_safetensors(path, option)
    if not (folder / described_by).is_file():
        raise ConfigError(
            f"{option}: {model!r} holds no {described_by}: give the folder that the model was saved to"
        )
    return folder


def _given_folder(model: str, option: str) -> Path:
    try:
        folder = local_copy(locate(model)) if "://" in model else Path(model)
    except FileNotFoundError:
        folder = Path()
    if not folder.name or not folder.is_dir():
        choice = " or ".join(EMBEDDED)
        raise ConfigError(
            f"{option}: the model folder {model!r} does not exist: give a folder with safetensors files "
            f"(a path, s3:// or gs://), hub:owner/name@commit, or {choice}"
        )
    return folder


def _check_safetensors(path: Path, option: str) -> None:
    """Read the header: a truncated file, or a pointer of Git LFS, is found before anything starts."""
    try:
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise ConfigError(
            f"{option}: {path} is not a whole safetensors file ({error}): fetch it again"
        ) from None


def model_name(model: str, folder: Path) -> str:
    """What a model is, wherever it lies, "embedded:clip@1f0c...": results hold no absolute path.

    Reads all of it; ConfigError if a file of the Hub is not what its name says.
    """
    if model.startswith(PREFIX):
        check_blobs(folder, model)
        return parse_hub(model, model).name
    if model.startswith("embedded:"):
        name = model
    else:
        name = locate(model).name if "://" in model else folder.resolve().name
    return f"{name}@{hash_folder(folder)[:12]}"
