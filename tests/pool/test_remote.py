"""Pools in an object store: copied once a node. A node is a process with a cache of its own."""

import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import seal_discs
from xpaste_ray.categories import Category
from xpaste_ray.errors import ConfigError, StorageError
from xpaste_ray.fingerprints import hash_bytes
from xpaste_ray.pool import open_pool
from xpaste_ray.pool.layout import MANIFEST
from xpaste_ray.runs import RunDir, write_json
from xpaste_ray.storage import locate

OTHER_NODE = """
import hashlib, pickle, sys
pool = pickle.load(sys.stdin.buffer)
print(hashlib.sha256(b"".join(pool.instance(row).rgba.tobytes() for row in range(len(pool)))).hexdigest())
print(pool.folder, *pool.category_ids)
"""


@pytest.fixture
def run(s3):
    """A run in an object store that points at a pool of two bananas and a lion."""
    run = RunDir(f"{s3()}/runs/lvis")
    seal_discs(run.root, {"banana": 2, "lion": 1})
    manifest = (run.pools / "pool" / MANIFEST).read_bytes()
    write_json(run.pool_json, {"current": "pools/pool", "manifest_checksum": hash_bytes(manifest)})
    return run


def test_a_pool_has_the_same_bytes_wherever_it_was_sealed(run, make_pool):
    here, there = make_pool({"banana": 2, "lion": 1}), open_pool(str(run.root))
    assert locate(here.folder).files() == (run.pools / "pool").files()
    for name in ("index.arrow", "manifest.json", "shard-00000.arrow"):
        assert (here.folder / name).read_bytes() == (there.folder / name).read_bytes()
        assert (here.folder / name).read_bytes() == (run.pools / "pool" / name).read_bytes()


def test_a_run_or_a_pool_folder_will_do(run, tmp_path):
    assert (
        open_pool(str(run.root), tmp_path).instance_ids
        == open_pool(run.pools / "pool", tmp_path).instance_ids
    )


def test_a_second_opening_reads_no_instances_from_the_store(run, tmp_path):
    first = open_pool(run.root, tmp_path)
    (run.pools / "pool" / "shard-00000.arrow").remove()
    assert np.array_equal(open_pool(run.root, tmp_path).instance(2).rgba, first.instance(2).rgba)


def test_another_node_copies_the_pool_that_it_gets(run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "node-1"))
    pool = open_pool(run.root).in_vocabulary([Category(1, "Lion")])
    assert pool.folder.is_relative_to(tmp_path / "node-1")
    told = []
    for node in ("node-1", "node-2"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / node))
        process = subprocess.run(
            [sys.executable, "-c", OTHER_NODE], input=pickle.dumps(pool), capture_output=True, timeout=120
        )
        assert process.returncode == 0, process.stderr
        told.append(process.stdout.decode().split())
    assert told[0][0] == told[1][0] and told[0][2:] == told[1][2:] == ["45", "45", "1"]
    assert told[0][1] == str(pool.folder) and told[1][1].startswith(str(tmp_path / "node-2"))
    shutil.rmtree(tmp_path / "node-1")
    assert pickle.loads(pickle.dumps(pool)).category_ids.tolist() == [45, 45, 1]


def test_a_damaged_pool_is_not_opened(run, tmp_path):
    shard = run.pools / "pool" / "shard-00000.arrow"
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_whole(bytes(data))
    with pytest.raises(StorageError, match="s3://.*shard-00000.arrow is damaged: checksum"):
        open_pool(run.root, tmp_path)


def test_another_manifest_than_the_runs_is_not_opened(run, tmp_path):
    (run.pools / "pool" / MANIFEST).write_whole(b"{}")
    with pytest.raises(StorageError, match="manifest.json is damaged: checksum"):
        open_pool(run.root, tmp_path)


def test_a_place_without_a_pool_is_an_error(s3, tmp_path):
    with pytest.raises(ConfigError, match=r"s3://bucket-\d+/none does not exist, so it holds no sealed pool"):
        open_pool(f"{s3()}/none", tmp_path)
