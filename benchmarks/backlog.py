"""How full the object store gets when the last stage is much slower than the others."""

import threading
from pathlib import Path
from typing import Any

from prompt_runs import stand_in_run

from tests import standins
from xpaste_ray.config import StageResources
from xpaste_ray.pipelines.unit_work import run_units
from xpaste_ray.pipelines.units import OpenPrompts

BOUND_BYTES = 512 * 1024**2
UNITS = 80  # of 16 images of 512 px and their masks: 16.8 MB each, 1.3 GB in all
SCORE_SECONDS = 0.5 / 16  # an image; generation and masks take none
_SAMPLE_EVERY_S = 0.2


def measure_backlog(root: Path) -> dict[str, Any]:
    """Peak bytes of the object store, and bytes that were spilled to disk."""
    import ray

    from xpaste_ray.pipelines.ray_profile import configure_data

    run = stand_in_run(root, UNITS * 16)
    ray.init(
        address="local",
        num_cpus=4,
        object_store_memory=BOUND_BYTES,
        include_dashboard=False,
        log_to_driver=False,
    )
    over = threading.Event()
    samples: list[tuple[int, int]] = []

    def watch() -> None:
        while not over.wait(_SAMPLE_EVERY_S):
            samples.append(_store_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        configure_data()
        plan = {stage: StageResources(actors=1) for stage in ("source", "segment", "score")}
        code = standins.code(source={"side_px": 512}, score={"seconds": SCORE_SECONDS})
        run_units(run, range(UNITS), plan, code, OpenPrompts(run), "benchmark", 1)
    finally:
        over.set()
        watcher.join()
        ray.shutdown()
    return {
        "bound_bytes": BOUND_BYTES,
        "made_bytes": UNITS * 16 * 512 * 512 * 4,
        "peak_bytes": max(used for used, _ in samples),
        "spilled_bytes": max(spilled for _, spilled in samples),
    }


def _store_bytes() -> tuple[int, int]:
    """Used now, and spilled so far, on the one node."""
    import ray
    from ray._private.internal_api import node_stats

    (node,) = ray.nodes()
    stats = node_stats(
        node["NodeManagerAddress"], node["NodeManagerPort"], include_memory_info=False
    ).store_stats
    return stats.object_store_bytes_used, stats.spilled_bytes_total
