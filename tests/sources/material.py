"""Sources of a few images, made in the test."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tests.backgrounds.material import encoded, picture
from xpaste_ray.config import load_settings
from xpaste_ray.config.settings import PoolSettings
from xpaste_ray.masks import encode_png
from xpaste_ray.storage import Location, locate


def jpeg(seed: int = 0, height: int = 48, width: int = 64) -> bytes:
    return encoded(picture(height, width, seed), "JPEG")


def cutout(seed: int = 0, side: int = 32) -> bytes:
    """RGBA PNG: a picture, of which the square from side/4 to 3 side/4 is opaque."""
    alpha = np.zeros((side, side), np.uint8)
    alpha[side // 4 : 3 * side // 4, side // 4 : 3 * side // 4] = 255
    return encode_png(np.dstack((picture(side, side, seed), alpha)))


def write_files(root: str | Path | Location, files: Mapping[str, bytes]) -> Location:
    place = locate(root)
    for name, data in files.items():
        (place / name).write_whole(data)
    return place


def sample(key: str, image: bytes | None, record: object) -> dict[str, bytes]:
    """The members of an img2dataset sample, in the order in which its writer puts them."""
    members = {} if image is None else {f"{key}.jpg": image}
    return members | {f"{key}.json": json.dumps(record, indent=4).encode(), f"{key}.txt": b"a caption"}


def tar(members: Mapping[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as file:
        for name, data in members.items():
            told = tarfile.TarInfo(name)
            told.size = len(data)
            file.addfile(told, io.BytesIO(data))
    return sink.getvalue()


def settings(
    sources: Mapping[str, object], names: object = ("banana", "frog"), **values: object
) -> PoolSettings:
    """Preset demo with other sources; values: "prompts__per_category" for prompts.per_category."""
    told = load_settings("demo").model_dump(mode="json")
    told["sources"], told["categories"]["names"] = dict(sources), names
    for path, value in values.items():
        section, _, option = path.partition("__")
        told[section][option] = value
    return PoolSettings.model_validate(told)
