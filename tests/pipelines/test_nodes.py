"""On two real nodes: a folder that all see, one that only this process sees, and a kind of GPU that only
one node has."""

import pyarrow as pa
import pytest
import ray
from ray.cluster_utils import Cluster

from xpaste_ray.cache import CACHE_DIR_VARIABLE, default_cache_dir
from xpaste_ray.config import StageResources
from xpaste_ray.errors import ConfigError
from xpaste_ray.pipelines import nodes
from xpaste_ray.pipelines.ray_profile import (
    actor_stage,
    cluster_nodes,
    configure_data,
    dataset_of,
    start_ray,
)
from xpaste_ray.pipelines.resources import Node
from xpaste_ray.storage import locate

CACHE_DIR = "/cache/of/this/job"


@pytest.fixture(scope="module")
def two_nodes():
    """The id of the second, which says that it has an A100. They were there before the job."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    worker = cluster.add_node(num_cpus=1, resources={"accelerator_type:A100": 1})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", cluster.address)
        patch.setenv(CACHE_DIR_VARIABLE, CACHE_DIR)
        start_ray(1.0)
    yield worker.node_id
    ray.shutdown()
    cluster.shutdown()


def test_shared_folder_is_fine_and_left_as_it_was(two_nodes, tmp_path):
    nodes.check_shared(locate(tmp_path), "--out")
    assert list(tmp_path.iterdir()) == []


def test_folder_that_a_node_does_not_see_is_refused(two_nodes, tmp_path, monkeypatch):
    """The node looks elsewhere, as where a disk is not mounted."""

    def elsewhere(probe, read=nodes._read):
        return read(locate(f"/not/mounted/{probe.name}"))

    monkeypatch.setattr(nodes, "_read", elsewhere)
    with pytest.raises(ConfigError, match=r"--out .*2 of 2 nodes do not see .*no such file.*s3://"):
        nodes.check_shared(locate(tmp_path), "--out")
    assert list(tmp_path.iterdir()) == []


def test_every_node_answers_by_itself(two_nodes):
    answers = nodes.on_every_node(lambda: ray.get_runtime_context().get_node_id())
    assert len(set(answers.values())) == 2


def test_cache_dir_is_told_to_every_node(two_nodes):
    """A cluster's processes do not have it from our environment, as those of a local Ray would."""
    answers = nodes.on_every_node(lambda: str(default_cache_dir()))
    assert list(answers.values()) == [CACHE_DIR] * 2


class Where:
    """Tells of each row which node it was on."""

    def __call__(self, batch):
        yield pa.table({"node": [ray.get_runtime_context().get_node_id()] * batch.num_rows})


def test_stage_that_asks_for_a_kind_of_gpu_runs_where_it_is(two_nodes):
    assert set(cluster_nodes()) == {Node(1.0), Node(1.0, accelerator_type="A100")}
    configure_data()
    rows = dataset_of([pa.table({"row": [number]}) for number in range(8)])
    on_a100 = StageResources(actors=3, accelerator_type="A100")
    told = actor_stage(rows, "where", Where, on_a100, {}).take_all()
    assert [row["node"] for row in told] == [two_nodes] * 8
