"""Composed samples as a Ray dataset: pasting for many trainers at once.

ds = composed_samples(open_job(settings, Path("runs/lvis")), actors=8)
for images, targets in ds.iter_torch_batches(batch_size=4, collate_fn=DetectionBatch()):
"""

import json
from typing import Any

import numpy as np
import pyarrow as pa
from ray.data import Dataset
from ray.data.collate_fn import NumpyBatchCollateFn

from xpaste_ray.formats.shards import Shard, plan_shards
from xpaste_ray.pipelines.compose import ComposeJob, shard_blocks, shards_of
from xpaste_ray.pipelines.ray_profile import actor_stage, configure_data, dataset_of, start_ray
from xpaste_ray.pipelines.resources import compose_resources
from xpaste_ray.samples import sample_from_json, sample_to_json
from xpaste_ray.worker import prepare_worker

_SAMPLES_PER_BLOCK = 16
SAMPLES = pa.schema(
    [
        pa.field("index", pa.int64(), nullable=False),
        pa.field("rgb", pa.large_binary(), nullable=False),  # (height, width, 3) uint8, row-major
        pa.field("sample", pa.string(), nullable=False),  # JSON of samples.Sample
    ]
)


def composed_samples(job: ComposeJob, actors: int, first: int = 0) -> Dataset:
    """`job.settings.count` samples from number `first` on, rows of `SAMPLES`, in any order.

    A local Ray is started unless this process is connected to one.
    """
    resources = compose_resources(actors)
    start_ray(actors * resources.cpus)
    configure_data()
    ranges = plan_shards(job.settings.count, _SAMPLES_PER_BLOCK)
    blocks = shard_blocks([Shard(first + part.first, first + part.last) for part in ranges], 1)
    return actor_stage(dataset_of(blocks), "compose", StreamActor, resources, {"job": job})


class StreamActor:
    """Composes ranges of samples."""

    def __init__(self, job: ComposeJob) -> None:
        self._compositor = job.compositor()
        prepare_worker()

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows = []
        for shard in shards_of(batch):
            plans = map(self._compositor.plan, shard.indices)
            for composed in self._compositor.render_all(plans):
                text = json.dumps(sample_to_json(composed.sample))
                rows.append({"index": composed.plan.sample, "rgb": composed.image.tobytes(), "sample": text})
        return pa.Table.from_pylist(rows, schema=SAMPLES)


class DetectionBatch(NumpyBatchCollateFn):
    """`collate_fn` of `iter_torch_batches`: images and targets as `xpaste_ray.torch` gives them."""

    def __call__(self, batch: dict[str, np.ndarray]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        from xpaste_ray.torch import detection_collate, detection_target, image_tensor

        items = []
        for data, text in zip(batch["rgb"], batch["sample"], strict=True):
            sample = sample_from_json(json.loads(text))
            rgb = np.frombuffer(data, np.uint8).reshape(sample.height, sample.width, 3)
            items.append((image_tensor(rgb), detection_target(sample)))
        return detection_collate(items)
