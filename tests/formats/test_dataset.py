import re
from dataclasses import replace

import pytest

from tests.formats.conftest import (
    SPEC,
    all_bytes,
    make_annotation,
    make_image,
    make_sample,
    make_samples,
    rectangle,
    write_dataset,
)
from xpaste_ray.errors import ConfigError
from xpaste_ray.formats import dataset as dataset_module
from xpaste_ray.formats.contract import FORMAT_NAMES
from xpaste_ray.formats.dataset import (
    finish,
    format_folder,
    image_folders,
    is_finished,
    missing_shards,
    read_images,
    write_shard,
)
from xpaste_ray.formats.images import ImageEncoding, encode_image
from xpaste_ray.formats.shards import Shard, fragment_path, write_fragment
from xpaste_ray.runs import write_whole
from xpaste_ray.storage import aside_of

ALL = replace(SPEC, formats=FORMAT_NAMES, polygons=True)


def test_bytes_do_not_depend_on_the_order_of_shards(make_dataset):
    forward = all_bytes(make_dataset(folder="a", polygons=True))
    backward = all_bytes(make_dataset(folder="b", polygons=True, backwards=True))
    assert forward == backward and len(forward) > 30


@pytest.mark.parametrize("name", ["coco", "lvis", "yolo", "voc"])
def test_bytes_of_sample_files_do_not_depend_on_the_size_of_shards(make_dataset, name):
    small, large = (
        all_bytes(make_dataset(name, folder=f"of-{size}", samples_per_shard=size)) for size in (1, 5)
    )
    for files in (small, large):
        files.pop("dataset.json")
        for path in [path for path in files if path.startswith("fragments/")]:
            del files[path]
    assert small == large


def test_one_format_lies_at_the_root_and_several_in_folders(make_dataset):
    one = make_dataset("coco", folder="one")
    assert sorted(path.name for path in one.iterdir()) == [
        "annotations.json",
        "dataset.json",
        "fragments",
        "images",
    ]
    several = make_dataset("coco", "voc", folder="several")
    assert sorted(path.name for path in several.iterdir()) == ["coco", "dataset.json", "fragments", "voc"]
    assert (several / "coco" / "annotations.json").read_bytes() == (one / "annotations.json").read_bytes()


def test_no_file_is_named_after_a_category_or_a_background(make_dataset):
    """Names with '/', '..', NUL, newlines and 300 characters leave no trace in paths (faults B9)."""
    dataset = make_dataset()
    assert [path.name for path in dataset.parent.iterdir()] == ["data"]
    assert all(re.fullmatch("[A-Za-z0-9./-]+", path) for path in all_bytes(dataset))


def test_an_image_of_several_formats_is_one_file(make_dataset):
    dataset = make_dataset()
    inodes = {(folder / "000003.jpg").stat().st_ino for folder in image_folders(dataset, ALL)}
    assert len(image_folders(dataset, ALL)) == 4 and len(inodes) == 1


def test_images_are_copied_where_there_are_no_links(make_dataset, monkeypatch):
    def refuse(*args):
        raise PermissionError("no links here")

    linked = all_bytes(make_dataset(folder="a"))
    monkeypatch.setattr(dataset_module.os, "link", refuse)
    copied = make_dataset(folder="b")
    assert all_bytes(copied) == linked
    assert (copied / "coco/images/000000.jpg").stat().st_nlink == 1


def test_writing_a_shard_again_leaves_the_same_files(tmp_path, make_dataset):
    dataset = make_dataset()
    before = all_bytes(dataset)
    write_dataset(dataset, replace(SPEC, formats=FORMAT_NAMES))
    assert all_bytes(dataset) == before


def test_a_link_left_by_a_process_that_died_is_replaced(tmp_path):
    first, second = tmp_path / "a" / "0.jpg", tmp_path / "b" / "0.jpg"
    write_whole(first, b"image")
    dataset_module._link(first, second)
    aside_of(second).hardlink_to(first)
    dataset_module._link(first, second)
    assert all_bytes(tmp_path) == {"a/0.jpg": b"image", "b/0.jpg": b"image"}


def test_values_that_json_changes_do_not_unfinish_a_dataset(make_dataset):
    dataset = make_dataset("coco", info={"sizes": (1, 2)})
    assert is_finished(dataset, replace(SPEC, info={"sizes": (1, 2)}))


def test_finishing_counts_and_reports(tmp_path):
    samples, done = make_samples(), []
    for shard in SPEC.shards:
        members = [samples[index] for index in shard.indices]
        images = [encode_image(make_image(s.index), SPEC.encoding) for s in members]
        write_shard(tmp_path, shard, members, images, {"placed": 4, "hidden": shard.first}, SPEC)
    assert finish(tmp_path, SPEC, done.append) == {"images": 5, "annotations": 9, "placed": 8, "hidden": 3}
    assert done == [3, 2]


def test_each_fragment_is_read_once_for_all_formats(make_dataset, monkeypatch):
    dataset, read = make_dataset(), []
    original = dataset_module.read_fragment
    monkeypatch.setattr(
        dataset_module, "read_fragment", lambda *args: read.append(args[1]) or original(*args)
    )
    finish(dataset, replace(SPEC, formats=FORMAT_NAMES))
    assert read == [Shard(0, 2), Shard(3, 4)]


def test_only_missing_shards_are_asked_for(make_dataset):
    dataset = make_dataset("coco")
    assert missing_shards(dataset, SPEC) == [] and is_finished(dataset, SPEC)
    assert not is_finished(dataset, replace(SPEC, recipe="other"))
    fragment_path(dataset, Shard(3, 4)).unlink()
    assert missing_shards(dataset, SPEC) == [Shard(3, 4)] and not is_finished(dataset, SPEC)
    assert not is_finished(dataset / "nowhere", SPEC)


@pytest.mark.parametrize(
    "lost",
    [
        "coco/images/000003.jpg",
        "voc/JPEGImages/000004.jpg",
        "webdataset/*3-*.tar",
        "parquet/data/*3-*.parquet",
    ],
)
def test_shard_with_a_lost_image_is_asked_for(make_dataset, lost):
    dataset, spec = make_dataset(), replace(SPEC, formats=FORMAT_NAMES)
    (path,) = dataset.glob(lost)
    path.unlink()
    assert missing_shards(dataset, spec) == [Shard(3, 4)] and not is_finished(dataset, spec)


@pytest.mark.parametrize("name", FORMAT_NAMES)
@pytest.mark.parametrize(
    "encoding", [ImageEncoding(), ImageEncoding(format="webp"), ImageEncoding(format="png")]
)
def test_every_format_gives_its_images_back_byte_by_byte(make_dataset, name, encoding):
    dataset = make_dataset(name, encoding=encoding)
    images = list(read_images(dataset, Shard(3, 4), replace(SPEC, formats=(name,), encoding=encoding)))
    assert images == [encode_image(make_image(index), encoding) for index in (3, 4)]


def test_a_shard_of_another_recipe_is_not_finished(make_dataset):
    dataset = make_dataset("coco")
    before = all_bytes(dataset)
    write_fragment(dataset, Shard(3, 4), "other", {}, make_samples()[3:])
    with pytest.raises(ConfigError, match="made with other settings"):
        finish(dataset, SPEC)
    assert all_bytes(dataset)["annotations.json"] == before["annotations.json"]


def test_an_error_while_finishing_leaves_nothing_half_written(make_dataset):
    dataset = make_dataset()
    names = set(all_bytes(dataset)) - {"dataset.json"}
    for name in ("coco/annotations.json", "lvis/annotations.json", "yolo/data.yaml", "dataset.json"):
        (dataset / name).unlink()
        names.discard(name)
    fragment_path(dataset, Shard(3, 4)).write_text("{")
    with pytest.raises(ConfigError, match="is damaged"):
        finish(dataset, replace(SPEC, formats=FORMAT_NAMES))
    assert set(all_bytes(dataset)) == names


def test_samples_must_be_the_shards_with_an_image_each(tmp_path):
    samples = make_samples()
    for members, images in ((samples[1:4], [b""] * 3), (samples[:3], [b""] * 2)):
        with pytest.raises(ValueError, match="shard 00000000-00000002"):
            write_shard(tmp_path, Shard(0, 2), members, images, {}, SPEC)
    other = [make_sample(0, [make_annotation(rectangle(0, 0, 2, 2), category_id=4)])]
    with pytest.raises(ValueError, match=r"categories \[4\], which the dataset does not"):
        write_shard(tmp_path, Shard(0, 0), other, [b""], {}, SPEC)
    assert not any(tmp_path.iterdir())


def test_folder_of_a_format_follows_from_the_number_of_formats(tmp_path):
    assert format_folder(tmp_path, "coco", SPEC) == tmp_path
    assert format_folder(tmp_path, "coco", ALL) == tmp_path / "coco"
