"""F11: a slow consumer holds the others back; neither the object store nor a process grows."""

import time
from contextlib import suppress

import psutil
import pytest
from ray._private.internal_api import get_memory_info_reply, get_state_from_address

from tests.pipelines.faults.driver import SMALL, Job
from tests.pipelines.faults.harness import candidates, driving, processes

pytestmark = pytest.mark.faults


def _store(state):
    """Bytes in use, bytes ever written to disk for want of room, and the bound."""
    stats = get_memory_info_reply(state).store_stats
    return stats.object_store_bytes_used, stats.spilled_bytes_total, stats.object_store_bytes_avail


@pytest.mark.timeout(400)
def test_slow_consumer_holds_the_source_back(ray, tmp_path, notes):
    """40 units of 4 images of 512 x 512 are 126 MB, 168 MB with their masks: more than the share of
    the 200 MiB store that a pipeline may take. The source could make them all at once."""
    large = (*SMALL, "prompts.per_category=40", "sources.diffusion.unit_size=4")
    out = tmp_path / "run"
    stages = {"source": {"side_px": 512, "notes": notes}, "score": {"seconds": 0.2, "notes": notes}}
    state = get_state_from_address(ray)
    spilled_before, used, resident = _store(state)[1], [], []
    with driving(Job(out, large, stages), ray) as driver:
        while driver.process.poll() is None:
            used.append(_store(state)[0])
            with suppress(psutil.NoSuchProcess):  # it has just ended
                resident += [psutil.Process(pid).memory_info().rss for pid in processes(notes, "source")]
            time.sleep(0.2)
        assert driver.end(1) == 0, driver.shown
    _, spilled, bound = _store(state)
    assert max(used) <= bound and spilled == spilled_before
    assert max(resident) < 1024**3
    assert len(candidates(out)) == 160
