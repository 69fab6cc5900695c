"""How often a host is asked, by all actors together."""

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from xpaste_ray.web.pace import HostQueue


class RemotePace:
    """A `HostQueue` in a process of its own, on the driver's machine; actors ask it from anywhere.

    Should its process die, it starts again without a memory of who is next. Ray must be running.
    """

    def __init__(self, requests_per_s: float) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here}
        self._queue = ray.remote(HostQueue).options(**options).remote(requests_per_s)

    async def reserve(self, host: str) -> float:
        return await self._queue.reserve.remote(host)

    async def hold(self, host: str, seconds: float) -> None:
        await self._queue.hold.remote(host, seconds)
