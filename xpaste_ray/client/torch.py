"""Samples of the compositing service as a PyTorch dataset.

stream = ComposedStream("http://host:8000", count=100_000, seed=0, size=640)
loader = DataLoader(stream, batch_size=8, num_workers=4, collate_fn=detection_collate)
"""

import os
from collections.abc import Iterator
from contextlib import closing
from typing import Unpack

import torch
import torch.distributed
from torch.utils.data import IterableDataset, get_worker_info

from xpaste_ray.categories import Category
from xpaste_ray.client.ahead import batches_ahead
from xpaste_ray.client.asynchronous import AsyncComposeClient
from xpaste_ray.client.blocking import ComposeClient
from xpaste_ray.client.calls import Asked, How
from xpaste_ray.client.errors import VersionChanged
from xpaste_ray.client.retries import Retries
from xpaste_ray.client.shares import length_of, requests_of
from xpaste_ray.client.versions import Versions
from xpaste_ray.errors import ConfigError
from xpaste_ray.torch import Target, Transforms, detection_target, image_tensor

_PATIENT = Retries(tries=60, seconds=900.0)  # a service that is full is no reason to end a training


class ComposedStream(IterableDataset[tuple[torch.Tensor, Target]]):
    """`count` samples an epoch, each exactly once over all workers of a DataLoader and all ranks, in an order
    that follows from the arguments alone. Yields what `xpaste_ray.torch.ComposedDataset` gives: an image,
    (3, H, W) uint8 RGB, and its target, see `detection_target`. Its pixels are the very same with
    options={"output": {"image": "png"}}; else they went through a JPEG.

    Every worker asks for `request_size` samples at a time and keeps `in_flight` requests on their way. One
    reader, and each worker of several, yields in sample order. Ranks have the same number of samples, give or
    take one: let `count` be a multiple of world_size x batch_size where all must take the same steps.

    All answers are by the versions that were served when the stream was made; once the service has others, it
    ends with VersionChanged.
    """

    def __init__(
        self,
        url: str,
        count: int,
        *,
        seed: int = 0,
        token: str | None = None,
        transforms: Transforms | None = None,
        request_size: int = 8,
        in_flight: int = 2,
        rank: int | None = None,
        world_size: int | None = None,
        versions: Versions | None = None,
        retries: Retries = _PATIENT,
        **how: Unpack[How],
    ) -> None:
        """url, token: as of `ComposeClient`. transforms: called with (image, target), as those of
        torchvision.transforms.v2. rank, world_size: those of torch.distributed if not given, 0 and 1 without
        it. versions: only by these, such as the `versions` of another rank's stream or an earlier run's.
        how: size, options, categories, preset, pool_version, see `How`.

        ConfigError; ClientError if the service does not answer; VersionChanged if it has other versions.
        """
        if min(count, request_size, in_flight) < 1:
            raise ConfigError("count, request_size and in_flight must be 1 at least")
        self._url, self._count, self._seed, self._token = url, count, seed, token
        self._transforms, self._how, self._retries = transforms, how, retries
        self._request_size, self._in_flight = request_size, in_flight
        self._rank, self._world_size = _rank_and_world_size(rank, world_size)
        self.versions, self.categories = self._ask(versions)
        self._place = torch.zeros(2, dtype=torch.int64)  # epoch and start
        self._place.share_memory_()  # type: ignore[no-untyped-call]  # with workers that live on

    def _ask(self, versions: Versions | None) -> tuple[Versions, tuple[Category, ...]]:
        with ComposeClient(self._url, self._token, pin=versions or True) as client:
            told = client.pool()
            categories = client.categories()
        served = Versions(told["pool_version"], told["backgrounds_version"], told["package_version"])
        wanted = self._how.get("pool_version", served.pool)
        if wanted != served.pool:
            raise VersionChanged(f"the service has pool {served.pool}, not {wanted}", served=served.pool)
        most = told["limits"]["count"]
        if self._request_size > most:
            raise ConfigError(f"request_size: the service gives {most} samples a request at most")
        return served, tuple(
            Category(one["id"], one["name"], frequency=one["frequency"]) for one in categories
        )

    def __len__(self) -> int:
        """Samples of this rank in this epoch."""
        _, start = self._place.tolist()
        return length_of(self._rank, self._world_size, start, self._count)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Go on with the next `count` samples of the endless row, as `ComposedDataset.set_epoch`; before an
        iterator is made, also where workers persist.

        start: leave out that many samples, to resume. With batch_size = request_size, `steps x batch_size x
        world_size` is where all ranks were after that many steps, if `steps` is a multiple of num_workers.
        """
        if epoch < 0 or not 0 <= start <= self._count:
            raise ConfigError(f"epoch must not be below 0, start must be within 0 and {self._count}")
        self._place.copy_(torch.tensor([epoch, start]))

    def __iter__(self) -> Iterator[tuple[torch.Tensor, Target]]:
        worker = get_worker_info()
        workers, worker_id = (worker.num_workers, worker.id) if worker else (1, 0)
        epoch, start = self._place.tolist()
        requests = requests_of(
            self._rank * workers + worker_id, self._world_size * workers, start, self._count,
            self._request_size,
        )  # fmt: skip
        asked = (self._asked(epoch * self._count + one.start, len(one)) for one in requests)
        return self._samples(asked)

    def _asked(self, first: int, count: int) -> Asked:
        return {**self._how, "seed": self._seed, "first": first, "count": count}

    def _samples(self, asked: Iterator[Asked]) -> Iterator[tuple[torch.Tensor, Target]]:
        client = AsyncComposeClient(self._url, self._token, retries=self._retries, pin=self.versions)
        with closing(batches_ahead(client, asked, self._in_flight)) as batches:
            for batch in batches:
                for received in batch.samples:
                    item = image_tensor(received.image), detection_target(received.sample)
                    yield self._transforms(*item) if self._transforms else item


def _rank_and_world_size(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """ConfigError if they do not fit together, or would be wrong without anybody noticing."""
    if (rank is None) != (world_size is None):
        raise ConfigError("give both rank and world_size, or none")
    if rank is None or world_size is None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        elif int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigError(
                "WORLD_SIZE is set, but torch.distributed is not initialised, and every rank would get all "
                "samples: call init_process_group before, or give rank and world_size"
            )
        else:
            rank, world_size = 0, 1
    if not 0 <= rank < world_size:
        raise ConfigError(f"rank must be from 0 to world_size - 1, got {rank} of {world_size}")
    return rank, world_size
