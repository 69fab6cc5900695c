"""A Ray for several drivers, and the undisturbed run that all others are held against."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from tests.pipelines.faults.driver import Job
from tests.pipelines.faults.harness import ROOT, run


@pytest.fixture(scope="package")
def ray() -> Iterator[str]:
    """The address of a Ray that drivers share: to start one takes longer than a small run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # its workers import the stand-ins
        cluster = Cluster(True, head_node_args={"num_cpus": 8, "object_store_memory": 200 * 1024**2})
        yield cluster.address
        cluster.shutdown()


@pytest.fixture(scope="package")
def reference(ray: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of `driver.SMALL`, undisturbed."""
    out = tmp_path_factory.mktemp("faults") / "reference"
    run(Job(out), ray)
    return out


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder for the stand-ins' notes."""
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder
