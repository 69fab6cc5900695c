"""The stream gives what the local dataset gives, each sample once, whoever asks and however often it ends."""

import pickle
import threading
import time

import pytest
import torch
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from tests.client.servers import status, wait_until
from tests.compose.options import options
from xpaste_ray.client import RequestRefused, VersionChanged, Versions
from xpaste_ray.client.torch import ComposedStream
from xpaste_ray.errors import ConfigError
from xpaste_ray.torch import ComposedDataset, detection_collate

PNG = {"output": {"image": "png"}}


def stream_of(live, count, **more):
    return ComposedStream(live.url, count, **{"seed": 7, "request_size": 2, "options": PNG, **more})


def numbers(items):
    return [target["image_id"] for _, target in items]


def loaded(stream, workers, batch_size=2, **more):
    loader = DataLoader(stream, batch_size, num_workers=workers, collate_fn=detection_collate, **more)
    return [item for images, targets in loader for item in zip(images, targets, strict=True)]


def same(first, second):
    (image, target), (other_image, other) = first, second
    return torch.equal(image, other_image) and all(
        torch.equal(torch.as_tensor(target[name]), torch.as_tensor(other[name])) for name in target | other
    )


@pytest.fixture(scope="module")
def local(live):
    """The same samples, composed here."""
    served = live.service.served
    settings = options("count=7", "output.image=png")
    return ComposedDataset(served.pool, served.backgrounds, settings, seed=7)


def test_item_is_that_of_the_local_dataset(live, local):
    items = list(stream_of(live, 7))
    assert len(items) == 7 and all(same(items[n], local[n]) for n in range(7))
    assert type(items[0][0]) is type(local[0][0]) and items[0][1].keys() == local[0][1].keys()
    assert type(items[0][1]["boxes"]) is type(local[0][1]["boxes"])


def test_categories_are_those_of_the_local_dataset(live, local):
    assert [(c.id, c.name, c.frequency) for c in stream_of(live, 7).categories] == [
        (c.id, c.name, c.frequency) for c in local.categories
    ]


def test_transforms_are_applied(live):
    flip = v2.RandomHorizontalFlip(1.0)
    (plain,), (flipped,) = stream_of(live, 1), stream_of(live, 1, transforms=flip)
    assert torch.equal(plain[0].flip(2), flipped[0])
    assert torch.equal(plain[1]["masks"].flip(2), flipped[1]["masks"])


def test_two_workers_give_every_sample_once(live, local):
    items = loaded(stream_of(live, 7), workers=2)
    assert sorted(numbers(items)) == list(range(7))
    assert all(same(item, local[item[1]["image_id"]]) for item in items)
    assert numbers(loaded(stream_of(live, 7), workers=2)) == numbers(items)  # in the same order


def test_spawned_workers_give_the_same(live):
    forked = loaded(stream_of(live, 5), workers=1)
    spawned = loaded(stream_of(live, 5), workers=1, multiprocessing_context="spawn")
    assert numbers(spawned) == list(range(5)) and all(map(same, forked, spawned))


def test_ranks_and_their_workers_share_the_samples(live):
    ranks = [stream_of(live, 11, rank=rank, world_size=2) for rank in range(2)]
    each = [numbers(loaded(stream, workers)) for stream, workers in zip(ranks, (2, 2), strict=True)]
    assert sorted(each[0] + each[1]) == list(range(11))
    assert [len(one) for one in each] == [len(stream) for stream in ranks] == [5, 6]
    assert [numbers(stream) for stream in ranks] == [[0, 1, 4, 5, 8], [2, 3, 6, 7, 9, 10]]  # without workers


def test_rank_is_that_of_torch_distributed(live, monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="init_process_group"):
        stream_of(live, 4)
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        assert numbers(stream_of(live, 4)) == [0, 1, 2, 3]
    finally:
        torch.distributed.destroy_process_group()


def test_each_epoch_goes_on_in_the_row_also_where_workers_persist(live):
    stream = stream_of(live, 4)
    loader = DataLoader(stream, 2, num_workers=1, collate_fn=detection_collate, persistent_workers=True)
    found = []
    for epoch in (0, 1, 5):
        stream.set_epoch(epoch)
        found.append([target["image_id"] for _, targets in loader for target in targets])
    assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [20, 21, 22, 23]]


def test_resumed_stream_goes_on_where_it_was(live):
    """After two steps of two ranks, with batches of two."""
    ranks = [stream_of(live, 12, rank=rank, world_size=2) for rank in range(2)]
    before = [number for stream in ranks for number in numbers(loaded(stream, 0))[:4]]
    resumed = [stream_of(live, 12, rank=rank, world_size=2, versions=ranks[0].versions) for rank in range(2)]
    for stream in resumed:
        stream.set_epoch(0, start=2 * 2 * 2)
        assert len(stream) == 2
    after = [number for stream in resumed for number in numbers(loaded(stream, 0))]
    assert sorted(before) == list(range(8)) and sorted(before + after) == list(range(12))
    resumed[0].set_epoch(1)
    assert len(resumed[0]) == 6


def test_no_more_is_asked_for_than_is_in_flight(live):
    before = len(live.composed())
    items = iter(stream_of(live, 100, in_flight=3))
    next(items)
    wait_until(lambda: len(live.composed()) - before == 4, 20)  # the first, and three ahead
    time.sleep(0.2)
    assert len(live.composed()) - before == 4
    next(items), next(items)  # the second of the first batch, the first of the next
    wait_until(lambda: len(live.composed()) - before == 5, 20)
    items.close()


def test_requests_are_on_their_way_at_the_same_time(front):
    """Six requests that take 0.3 s each, three at a time."""

    def slowly(reply):
        reply.wait_s = 0.3
        return reply

    stream = stream_of(front, 12, in_flight=3)
    front.faults.extend([slowly] * 6)
    began = time.monotonic()
    assert numbers(stream) == list(range(12))
    assert 0.6 <= time.monotonic() - began < 1.5


def test_abandoned_iteration_ends_its_thread_and_its_requests(front):
    def never_but_the_first(reply):
        reply.wait_s = 0.0 if b"images/000000" in reply.body else 8.0
        return reply

    before = set(threading.enumerate())
    stream = stream_of(front, 100, in_flight=4)
    front.faults.extend([never_but_the_first] * 5)
    began = time.monotonic()
    for _ in stream:
        assert "xpaste-client" in {one.name for one in threading.enumerate()}
        break
    assert time.monotonic() - began < 4
    ours = (one.name for one in threading.enumerate() if one not in before)
    assert [name for name in ours if name.startswith(("xpaste-client", "asyncio"))] == []


def test_abandoned_loader_ends_its_workers(live):
    loader = DataLoader(stream_of(live, 1000), 2, num_workers=1, collate_fn=detection_collate)
    iterator = iter(loader)
    next(iterator)
    (worker,) = iterator._workers
    began = time.monotonic()
    del iterator
    worker.join(10)
    assert worker.exitcode == 0 and time.monotonic() - began < 5


def test_passing_failures_do_not_end_the_stream(front):
    stream = stream_of(front, 6)
    front.faults.extend([status(503), status(429), lambda reply: None, status(500)])
    assert numbers(stream) == list(range(6))


def test_failure_in_a_worker_is_told_as_what_it_is(live):
    stream = stream_of(live, 6, options={"no_such": 1})
    with pytest.raises(RequestRefused, match=r"options\.no_such"):
        loaded(stream, workers=1)
    with pytest.raises(RequestRefused):
        list(stream)


def test_other_versions_are_refused_when_it_is_made(live):
    served = stream_of(live, 1).versions
    with pytest.raises(VersionChanged, match="pool version"):
        stream_of(live, 1, versions=Versions("0" * 16, served.backgrounds, served.package))
    with pytest.raises(VersionChanged):
        stream_of(live, 1, pool_version="0" * 16)
    assert numbers(stream_of(live, 1, versions=served, pool_version=served.pool)) == [0]


def test_what_cannot_work_is_refused_when_it_is_made(live):
    for wrong, words in (
        ({"count": 0}, "at least"), ({"in_flight": 0}, "at least"), ({"request_size": 65}, "64 samples"),
        ({"rank": 1}, "both"), ({"rank": 2, "world_size": 2}, "rank must be"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            stream_of(live, **{"count": 4, **wrong})
    with pytest.raises(ConfigError, match="start"):
        stream_of(live, 4).set_epoch(0, start=5)


def test_it_survives_pickling(live):
    stream = stream_of(live, 3)
    stream.set_epoch(2)
    assert numbers(pickle.loads(pickle.dumps(stream))) == [6, 7, 8]
