"""Datasets whose labels are not read are refused with what to give instead, never taken for folders."""

import json

import pytest

from tests.backgrounds.material import encoded, picture
from tests.formats.conftest import make_dataset  # noqa: F401
from xpaste_ray.backgrounds import resolve_source
from xpaste_ray.backgrounds.sources import FolderSource
from xpaste_ray.errors import ConfigError


def _refusal(path):
    with pytest.raises(ConfigError) as refused:
        resolve_source(path)
    return str(refused.value)


def _place(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(), "PNG") if name.endswith(".png") else b"0 .1 .1 .2 .2\n")


@pytest.mark.parametrize(
    ("name", "images"),
    [("yolo", "images"), ("voc", "JPEGImages"), ("parquet", "data"), ("webdataset", None)],
)
def test_a_dataset_of_ours_is_to_be_converted(make_dataset, name, images):  # noqa: F811
    dataset = make_dataset(name, folder=name)
    said = _refusal(dataset)
    assert f"{dataset} is a dataset in {name}, whose labels are not read" in said
    assert f"`xpaste convert {dataset} --out DIR --format coco`" in said
    if images:
        assert said.endswith(f", or {dataset / images} for its images without labels")
        assert resolve_source(dataset / images).kind in ("folder", "parquet")
    else:
        assert said.endswith("and give DIR")


def test_of_several_formats_the_readable_one_is_named(make_dataset):  # noqa: F811
    both = make_dataset("yolo", "lvis", folder="both")
    assert _refusal(both).endswith(f"give {both / 'lvis'}, whose labels are read")
    assert f"give {both / 'lvis'}, or {both / 'yolo' / 'images'} for" in _refusal(both / "yolo")
    assert resolve_source(both / "lvis").kind == "dataset"
    none = make_dataset("parquet", "voc", folder="none")
    for path in (none, none / "parquet", none / "voc"):
        assert f"`xpaste convert {none} --out DIR --format coco`" in _refusal(path)


def test_runs_and_unfinished_datasets_say_what_to_do(make_dataset):  # noqa: F811
    dataset = make_dataset("coco", folder="run/dataset")
    assert _refusal(dataset.parent).endswith(f"is a run: give its dataset, {dataset}")
    (dataset / "annotations.json").unlink()
    assert "delete its dataset.json and run the command that wrote it again" in _refusal(dataset)
    (dataset / "dataset.json").unlink()
    assert "not finished (it has no dataset.json): run the command that began it again" in _refusal(dataset)


@pytest.mark.parametrize("inside", [".", "VOC2012"])
def test_voc_of_any_origin(tmp_path, inside):
    place = tmp_path / inside
    _place(place, "JPEGImages/a.png", "Annotations/a.xml", "SegmentationClass/a.png")
    assert f"{place} is a PASCAL VOC dataset, whose labels are not read: give a COCO file" in _refusal(
        tmp_path
    )
    assert resolve_source(place / "JPEGImages") == FolderSource(place / "JPEGImages")


@pytest.mark.parametrize(
    ("image", "label", "place"),
    [
        pytest.param("images/a.png", "labels/a.txt", ".", id="flat"),
        pytest.param("images/val/a.png", "labels/val/a.txt", ".", id="split-inside"),
        pytest.param("train/images/a.png", "train/labels/a.txt", "train", id="split-outside"),
    ],
)
def test_yolo_of_any_origin(tmp_path, image, label, place):
    _place(tmp_path, image, label, "data.yaml")
    assert f"{tmp_path / place} is a YOLO dataset, whose labels are not read" in _refusal(tmp_path)
    assert f"or {tmp_path / place / 'images'} for its images" in _refusal(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"formats": ["yolo"]}), json.dumps({"formats": 5})])
def test_other_folders_stay_folders(tmp_path, text):
    _place(tmp_path, "images/a.png", "labels/a.csv", "JPEGImages/b.png")
    (tmp_path / "dataset.json").write_text(text)
    assert resolve_source(tmp_path) == FolderSource(tmp_path)
