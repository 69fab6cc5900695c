"""A whole LVIS pool in small: every category twice, on three nodes, in an object store, then a dataset."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from tests.standins import code
from xpaste_ray.categories import lvis_categories
from xpaste_ray.config import DatasetSettings, PoolSettings, load
from xpaste_ray.embedded import DIFFUSION_DIR, PHOTOS_DIR
from xpaste_ray.pipelines.build import BuildOptions, build_pool
from xpaste_ray.pipelines.dataset import compose_dataset, open_job
from xpaste_ray.pool import open_pool
from xpaste_ray.report import ConsoleProgress
from xpaste_ray.runs import RunDir, open_parquet, read_json

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

XPASTE = Path(sys.executable).with_name("xpaste")


@pytest.fixture
def three_nodes():
    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 200 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        cluster.add_node(num_cpus=4, num_gpus=2, object_store_memory=200 * 2**20)
    ray.init(address=cluster.address, log_to_driver=False)
    yield
    ray.shutdown()
    cluster.shutdown()


def test_every_category_of_lvis_becomes_a_pool_and_a_dataset(three_nodes, s3, tmp_path):
    model = tmp_path / "model"  # one that is not known to draw some categories only
    shutil.copytree(DIFFUSION_DIR, model)
    options = [
        f"sources.diffusion.model={model}", "sources.diffusion.unit_size=16", "prompts.per_category=2",
        *(f"resources.{stage}=auto" for stage in ("source", "segment", "score")),
    ]  # fmt: skip
    out = f"{s3()}/lvis"
    stand_ins = code(source={"seconds": 0.01, "side_px": 64})
    with ConsoleProgress() as progress:
        settings = load(PoolSettings, "demo", options)
        summary = build_pool(settings, out, progress, BuildOptions(code=stand_ins))
    assert summary.counts["candidates"]["made"] == 2 * 1203
    run = RunDir(out)
    asked = [prompt["candidate_id"] for unit in _column(run.units, "prompts") for prompt in unit]
    made = [name for unit in run.unit_sizes() for name in _column(run.unit_file(unit), "candidate_id")]
    assert sorted(made) == sorted(asked) and len(set(made)) == 2 * 1203
    pool = open_pool(out)
    assert {category.id for category in pool.categories} == {category.id for category in lvis_categories()}
    assert len(pool) == summary.counts["proposals"]["kept"] > 2000 and len(pool.manifest["shards"]) > 1

    overrides = [f"compose.backgrounds={PHOTOS_DIR}", "compose.count=1000", "compose.canvas.size_hw=[96, 96]"]
    composing = load(DatasetSettings, "xpaste", overrides)
    with ConsoleProgress() as progress:
        compose_dataset(open_job(composing, out), composing, tmp_path / "dataset", progress)
    assert read_json(tmp_path / "dataset" / "run.json")["counts"]["dataset"]["images"] == 1000
    done = subprocess.run(
        [XPASTE, "validate", tmp_path / "dataset"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and "1000 images" in done.stdout, done.stdout + done.stderr


def _column(file, name):
    return open_parquet(file).read(columns=[name])[name].to_pylist()
