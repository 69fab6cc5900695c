"""Models of the Hugging Face Hub: hub:owner/name@commit, fetched once by `xpaste models fetch`.

They lie in the Hub's own cache, where `HF_HOME` says. A run never downloads: what is not there is an error
before anything starts, so a cluster's nodes cannot end up with different files.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from xpaste_ray.errors import ConfigError

PREFIX = "hub:"

_REFERENCE = re.compile(r"hub:([\w.-]+/[\w.-]+)@([0-9a-f]{40})")
_WANTED = (  # fnmatch, whose * also takes slashes
    "*.json", "*.txt", "*.model",
    "model.safetensors", "*/model.safetensors", "*diffusion_pytorch_model.safetensors",
    "open_clip_model.safetensors", "*-of-?????.safetensors",
)  # fmt: skip
_LEFT_OUT = ("*.fp16*", "*non_ema*", "onnx/*", "flax/*")
_SHA256_HEX = 64  # how the cache names the blob of a large file


@dataclass(frozen=True, slots=True)
class HubModel:
    """A repository of models at one commit."""

    repository: str
    commit: str

    @property
    def name(self) -> str:
        """For recipes and provenance: a commit says what every file is."""
        return f"{self.repository}@{self.commit[:12]}"


def parse_hub(model: str, option: str) -> HubModel:
    """ConfigError if it is no repository at a full commit: a branch may be something else tomorrow."""
    found = _REFERENCE.fullmatch(model)
    if not found:
        raise ConfigError(
            f"{option}: {model!r} must be hub:owner/name@commit, with the 40 hex digits of a commit, as the "
            "repository's page shows under Files, History"
        )
    return HubModel(*found.groups())


def hub_folder(model: HubModel, option: str) -> Path:
    """Where this machine has it. ConfigError if it has not, or not all of it."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return _snapshot(model, local_files_only=True)
    except LocalEntryNotFoundError:
        raise ConfigError(
            f"{option}: {model.repository} at {model.commit[:12]} is not on this machine: run `xpaste models "
            "fetch` with the same --preset and --set (on every node, or with HF_HOME on a shared disk)"
        ) from None


def fetch_hub(model: HubModel, option: str) -> Path:
    """Download what is missing, configurations and safetensors only, and check it. ConfigError."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = _snapshot(model, local_files_only=False)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ConfigError(
            f"{option}: {model.repository} at {model.commit[:12]} cannot be fetched ({_first_line(error)}): "
            "check the network and the reference; a gated repository needs `hf auth login`"
        ) from None
    check_blobs(folder, option)
    return folder


def _snapshot(model: HubModel, local_files_only: bool) -> Path:
    from huggingface_hub import snapshot_download  # slow to import, and rarely needed

    told = snapshot_download(
        model.repository,
        revision=model.commit,
        allow_patterns=list(_WANTED),
        ignore_patterns=list(_LEFT_OUT),
        local_files_only=local_files_only,
    )
    return Path(told)


def check_blobs(folder: Path, option: str) -> None:
    """Hold every large file against its SHA-256, which names it in the cache. ConfigError."""
    for path in sorted(folder.rglob("*.safetensors")):
        blob = path.resolve()
        if len(blob.name) == _SHA256_HEX and _sha256(blob) != blob.name:
            raise ConfigError(
                f"{option}: {path} is damaged (its SHA-256 is another): remove {blob} and run `xpaste models "
                "fetch` again"
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
