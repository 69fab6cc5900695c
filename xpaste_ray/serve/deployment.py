"""The service on Ray Serve: one deployment, whose replicas compose.

import_path: xpaste_ray.serve.deployment:compositor, with `config.serve.ServeSettings` as its `user_config`.
"""

import asyncio
import logging
from typing import Any

from ray import serve
from ray.util.metrics import Counter, Gauge, Histogram
from starlette.types import Receive, Scope, Send

from xpaste_ray.config import parse_settings
from xpaste_ray.config.serve import ServeSettings
from xpaste_ray.serve.app import make_app
from xpaste_ray.serve.guard import Exchange
from xpaste_ray.serve.problems import Problem, problem_response
from xpaste_ray.serve.service import Service
from xpaste_ray.worker import prepare_worker

NAME = "compositor"

_ANSWERED_S = 0.001
_SECONDS = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60]


class _ToReplica:
    """The ASGI app that Serve is given before there is a replica: passes on to the replica's own."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for answer in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{answer}.complete"})
            return
        replica: Any = serve.get_replica_context().servable_object
        await replica.answer(scope, receive, send)


@serve.deployment(
    name=NAME,
    max_ongoing_requests=64,  # those beyond `limits.waiting` are told at once to come again
    max_queued_requests=64,
    graceful_shutdown_timeout_s=90,  # longer than `limits.seconds`
    health_check_period_s=5,
    health_check_timeout_s=30,
)
@serve.ingress(_ToReplica())
class Compositor:
    """A replica. `reconfigure` with the first user_config opens everything, so Ray sends nothing before that;
    a later one is opened beside it, while requests go on."""

    def __init__(self) -> None:
        self._service: Service | None = None
        self._log = logging.getLogger("ray.serve")
        self._tasks: set[asyncio.Task[None]] = set()
        self._meters = _Meters()

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """ConfigError if the first one cannot work. If a later one cannot, the log says why, and what was
        served is served on: an error here would make Ray end a replica that works."""
        try:
            settings = parse_settings(ServeSettings, user_config, "user_config: ")
            if self._service is None:
                self._service = await asyncio.to_thread(Service, settings, self._log)
                self._app = make_app(self._service, self._hear_later, self._log)
                prepare_worker()
                return
        except Exception:
            if self._service is None:
                raise
            self._log.exception("the new user_config is not served")
            return
        task = asyncio.create_task(self._service.update(settings))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def check_health(self) -> None:
        if self._service is None:
            raise RuntimeError(
                "the deployment has no user_config: give one, such as {pool: ..., insecure: true}"
            )

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._service is None:
            await problem_response(Problem(503, "there is no user_config yet"), "")(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _hear_later(self, exchange: Exchange) -> None:
        """The answer, which Ray takes from this loop when it next turns, goes first."""
        asyncio.get_running_loop().call_later(_ANSWERED_S, self._hear, exchange)

    def _hear(self, exchange: Exchange) -> None:
        assert self._service is not None
        self._meters.hear(exchange, self._service)
        self._log.info(
            "%s %s %d", exchange.method, exchange.path, exchange.status,
            extra={
                "xpaste_request_id": exchange.request_id, "status": exchange.status,
                "seconds": round(exchange.seconds, 6), "bytes": exchange.sent_bytes, **exchange.told,
            },
        )  # fmt: skip


compositor = Compositor.bind()  # type: ignore[attr-defined]


class _Meters:
    """Counts and times, through Ray's metrics."""

    def __init__(self) -> None:
        self._requests = Counter("xpaste_serve_requests", "Requests that were answered.", ("status",))
        self._images = Counter("xpaste_serve_images", "Images that were sent.")
        self._waiting = Gauge("xpaste_serve_waiting", "Requests that wait for a core.")
        self._seconds = Histogram(
            "xpaste_serve_compose_seconds", "From a request to the end of its answer.", _SECONDS
        )
        self._pool = Gauge("xpaste_serve_pool", "1 for the version that is served.", ("pool_version",))
        self._updates = Gauge("xpaste_serve_update_failed", "1 if the newest user_config cannot be served.")
        self._version = ""

    def hear(self, exchange: Exchange, service: Service) -> None:
        self._requests.inc(tags={"status": str(exchange.status)})
        self._waiting.set(service.cores.waiting)
        self._updates.set(float(service.update_state == "failed"))
        if count := exchange.told.get("count"):
            self._seconds.observe(exchange.seconds)
            if exchange.status == 200 and exchange.finished:
                self._images.inc(count)
        version = service.served.versions.pool
        if version != self._version:
            if self._version:
                self._pool.set(0, {"pool_version": self._version})
            self._pool.set(1, {"pool_version": version})
            self._version = version
