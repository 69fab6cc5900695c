"""Backgrounds in an object store: copied once a node. A node is a process with a cache of its own."""

import pickle
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.backgrounds.material import encoded, picture, small_dataset, write_dataset
from xpaste_ray.backgrounds import open_or_index, resolve_source
from xpaste_ray.errors import ConfigError
from xpaste_ray.storage import locate

OTHER_NODE = """
import hashlib, pickle, sys
found = pickle.load(sys.stdin.buffer)
print(hashlib.sha256(b"".join(found.load(row).tobytes() for row in range(len(found)))).hexdigest())
print(found.fingerprint, found.source.copy.root)
"""


@pytest.fixture(autouse=True)
def node(tmp_path, monkeypatch):
    """A cache that no other test uses."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "node-1"))
    return tmp_path / "node-1"


@pytest.fixture
def bucket(s3):
    return locate(s3())


def upload(folder, place):
    for path in folder.rglob("*"):
        if path.is_file():
            (place / path.relative_to(folder).as_posix()).upload(path)
    return place


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(("a.png", "more/b.jpg")):
        (folder / name).write_bytes(encoded(picture(seed=number), name[-3:].replace("jpg", "jpeg")))
    return folder


def test_a_folder_of_images_is_the_same_as_on_a_disk(bucket, photos, node):
    remote = open_or_index(resolve_source(str(upload(photos, bucket / "photos"))))
    local = open_or_index(resolve_source(photos))
    assert remote.fingerprint == local.fingerprint and len(remote) == 2
    assert all(np.array_equal(remote.load(row), local.load(row)) for row in range(2))
    assert remote.source.copy.root.is_relative_to(node)


def test_a_dataset_folder_is_the_same_as_on_a_disk(bucket, tmp_path):
    small_dataset(folder := tmp_path / "dataset")
    remote = open_or_index(resolve_source(str(upload(folder, bucket / "dataset"))))
    local = open_or_index(resolve_source(folder))
    assert remote.fingerprint == local.fingerprint
    assert remote.annotations(0) == local.annotations(0) != ()


@pytest.mark.parametrize("images", ["annotations/images", "train2017"])
def test_images_of_an_annotation_file_are_found_and_nothing_else_is_copied(bucket, tmp_path, node, images):
    """Beside the file, or where COCO has them: above it, in a folder called as the file is."""
    folder, file = tmp_path / "coco", "annotations/instances_train2017.json"
    one = {"id": 1, "file_name": "1.jpg", "height": 48, "width": 64}
    write_dataset(folder, [one], [], name=file, images_in=images)
    upload(folder, bucket / "coco")
    (bucket / "coco/val2017/2.jpg").write_whole(b"not wanted")
    remote = open_or_index(resolve_source(f"{bucket}/coco/{file}"))
    assert remote.fingerprint == open_or_index(resolve_source(folder / file)).fingerprint
    copies = (node / "xpaste_ray" / "copies").glob("*/*/**/*")
    assert {path.name for path in copies if path.is_file()} == {"instances_train2017.json", "1.jpg"}


def test_images_may_be_elsewhere_than_their_annotations(bucket, tmp_path):
    small_dataset(folder := tmp_path / "dataset")
    upload(folder / "images", bucket / "pictures")
    file = folder / "annotations.json"
    remote = open_or_index(resolve_source(file, images=f"{bucket}/pictures"))
    assert remote.fingerprint == open_or_index(resolve_source(file)).fingerprint


def test_a_parquet_file_is_the_same_as_on_a_disk(bucket, tmp_path):
    file = tmp_path / "photos.parquet"
    pq.write_table(pa.table({"image": [encoded(picture(seed=k), "png") for k in range(3)]}), file)
    (bucket / "data/photos.parquet").upload(file)
    remote = open_or_index(resolve_source(f"{bucket}/data/photos.parquet"))
    assert remote.fingerprint == open_or_index(resolve_source(file)).fingerprint


def test_another_node_copies_and_indexes_what_it_gets(bucket, photos, tmp_path, node, monkeypatch):
    given = pickle.dumps(open_or_index(resolve_source(str(upload(photos, bucket / "photos")))))
    told = []
    for name in ("node-1", "node-2"):
        if name == "node-2":  # what lies on the first node is not on the second
            node.rename(tmp_path / "elsewhere")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        process = subprocess.run(
            [sys.executable, "-c", OTHER_NODE], input=given, capture_output=True, timeout=120
        )
        assert process.returncode == 0, process.stderr
        told.append(process.stdout.decode().split())
    assert told[0][:2] == told[1][:2]
    assert told[0][2].startswith(str(node)) and told[1][2].startswith(str(tmp_path / "node-2"))


def test_processes_of_a_node_ask_the_store_for_nothing(bucket, photos):
    """Each Ray actor unpickles its source: a listing for each would be slow, and could differ."""
    source = resolve_source(str(upload(photos, bucket / "photos")))
    for name in (bucket / "photos").files():
        (bucket / "photos" / name).remove()
    assert pickle.loads(pickle.dumps(source)).copy == source.copy


def test_images_that_changed_since_the_work_began_are_refused(bucket, photos, node):
    found = open_or_index(resolve_source(str(upload(photos, bucket / "photos"))))
    given = pickle.dumps(found)
    shutil.rmtree(node)
    (bucket / "photos/a.png").write_whole(encoded(picture(seed=9), "png"))
    with pytest.raises(Exception, match="has changed since the work began: run the same command again"):
        pickle.loads(given)


def test_a_place_that_is_not_there_is_an_error(bucket):
    with pytest.raises(ConfigError, match=rf"backgrounds: {bucket}/none does not exist"):
        resolve_source(f"{bucket}/none")
    with pytest.raises(ConfigError, match=rf"backgrounds: {bucket}/none.json does not exist"):
        resolve_source(f"{bucket}/none.json")


def test_annotations_without_their_images_are_an_error(bucket, tmp_path):
    small_dataset(tmp_path)
    (bucket / "a/annotations.json").upload(tmp_path / "annotations.json")
    with pytest.raises(ConfigError, match=rf"{bucket}/a/images.*say where they are \(--images DIR\)"):
        resolve_source(f"{bucket}/a/annotations.json")
