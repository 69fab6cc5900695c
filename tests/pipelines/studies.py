"""A tiny real study: a few images, a pool of discs, a narrow detector."""

from pathlib import Path

import yaml

from tests.backgrounds.material import square, write_dataset
from tests.conftest import CATEGORIES, seal_discs

SET = {
    "compose.canvas.size_hw": [64, 64],
    "compose.instances": [1, 1],
    "resources.train": {"actors": 1},
    "train.detector.arch": "resnet18_fpn",
    "train.detector.side_px": 64,
    "train.detector.detections": 5,
    "train.iterations": 2,
    "train.batch": 2,
    "train.warm_up": 0,
    "train.threads": 1,
    "train.repeat_threshold": 0,
}
ARMS = {"real": {}, "pasted": {"paste": "discs"}}


def labelled_images(folder: Path) -> Path:
    """Two images of two categories, an object each."""
    images = [{"id": n, "file_name": f"{n}.jpg", "height": 48, "width": 64} for n in (1, 2)]
    annotations = [
        {"id": n, "image_id": n, "category_id": CATEGORIES[n - 1].id, "iscrowd": 0, "area": 400,
         "bbox": [10, 10, 20, 20], "segmentation": [square(10, 10, 20)]}
        for n in (1, 2)
    ]  # fmt: skip
    categories = [{"id": one.id, "name": one.name} for one in CATEGORIES]
    write_dataset(folder, images, annotations, categories)
    return folder


def write_study(folder: Path, **changes) -> Path:
    """A study's file of two arms and two seeds. changes: of its sections."""
    data = labelled_images(folder / "data")
    seal_discs(folder / "discs", {"banana": 2, "frog": 2})
    told = {
        "name": "tiny",
        "preset": "demo",
        "set": SET,
        "data": {"train": str(data), "test": str(data)},
        "seeds": [0, 1],
        "baseline": "real",
        "pools": {"discs": {"path": str(folder / "discs" / "pools" / "pool")}},
        "arms": ARMS,
        **changes,
    }
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(told, sort_keys=False))
    return file


def bytes_of(folder: Path) -> dict[str, bytes]:
    """What a study is judged by: weights, tables, plots."""
    names = ["study.md", "study.json", *(str(path.relative_to(folder)) for path in folder.glob("plots/*"))]
    names += [str(path.relative_to(folder)) for path in folder.glob("arms/*/*/detector/model.safetensors")]
    return {name: (folder / name).read_bytes() for name in sorted(names)}
