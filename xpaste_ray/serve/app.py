"""The service as a FastAPI app. It knows nothing of Ray: `deployment` puts it on a cluster."""

import asyncio
import json
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Annotated, TypeVar

from fastapi import FastAPI, Header, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from xpaste_ray import __version__
from xpaste_ray.compose.compositor import Composed
from xpaste_ray.compose.plan import plan_to_row
from xpaste_ray.formats.images import ImageEncoding, encode_image
from xpaste_ray.masks import encode_png
from xpaste_ray.serve import openapi, schemas
from xpaste_ray.serve.bodies import ARROW, FORMAT_OF, MULTIPART, NPZ, ZIP, body_for
from xpaste_ray.serve.guard import Exchange, Guard, Listener
from xpaste_ray.serve.looks import add_looks
from xpaste_ray.serve.negotiation import best_of
from xpaste_ray.serve.problems import Problem, problem_response
from xpaste_ray.serve.requests import ComposeRequest, Number, RenderRequest, Seed
from xpaste_ray.serve.served import Served
from xpaste_ray.serve.service import Order, Service, render_plan

T = TypeVar("T")

_BATCHES = (ZIP, ARROW, NPZ, MULTIPART)
_IMAGES = ("image/png", "image/jpeg", "image/webp")
_SAMPLES = (*_BATCHES, *_IMAGES)
_RENDERINGS = (*_IMAGES, *_BATCHES)

Accept = Annotated[str | None, Header(description="The form of the answer.")]
PoolVersion = Annotated[
    str | None, Query(max_length=100, description="Answer by this version of the pool, or with 409.")
]
InstanceId = Annotated[str, Path(max_length=1024)]


def make_app(service: Service, listener: Listener, log: logging.Logger) -> Guard:
    """The whole app, behind its guard. listener: is told of every exchange."""
    app = FastAPI(
        title="xpaste_ray",
        version=__version__,
        description="Composed images with exact masks: instances of a pool, pasted on backgrounds. The same "
        "request to the same versions gives the same bytes.",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        docs_url=None,  # FastAPI's own pages fetch their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    add_looks(app)
    _add_health(app)
    _add_pool(app, service)
    _add_composing(app, service)
    _add_errors(app, log)
    app.openapi = lambda: openapi.complete(app)  # type: ignore[method-assign]
    return Guard(app, service, listener)


def _add_health(app: FastAPI) -> None:
    @app.get("/healthz", tags=["health"], summary="Whether this process answers; no token is needed.")
    async def healthz() -> schemas.Health:
        return schemas.Health(status="alive")

    @app.get("/readyz", tags=["health"], summary="Whether the pool is open; no token is needed.")
    async def readyz() -> schemas.Health:
        return schemas.Health(status="ready")


def _add_pool(app: FastAPI, service: Service) -> None:
    @app.get("/v1/pool", tags=["pool"], summary="What is served: versions, presets, recipes, ceilings.")
    async def pool(request: Request) -> schemas.PoolAnswer:
        return schemas.pool_answer(service)

    @app.get("/v1/categories", tags=["pool"], summary="Categories, and how many instances each has.")
    async def categories() -> schemas.CategoriesAnswer:
        return schemas.categories_answer(service.served)

    @app.get(
        "/v1/instances",
        tags=["pool"],
        summary="Instances in the pool's order, some at a time.",
        responses=openapi.errors(404),
    )
    async def instances(
        category: Annotated[str | None, Query(max_length=200, description="Only of this one.")] = None,
        offset: Annotated[int, Query(ge=0, lt=2**53)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> schemas.InstancesAnswer:
        return schemas.instances_answer(service.served, category, offset, limit)

    @app.get(
        "/v1/instances/{instance_id}.png",
        tags=["pool"],
        summary="A cut-out, with its alpha.",
        response_class=Response,
        responses={
            200: openapi.binary("image/png"), 304: openapi.NOT_MODIFIED, **openapi.errors(404, 429, 503)
        },
    )  # fmt: skip
    async def instance_png(
        instance_id: InstanceId, if_none_match: Annotated[str | None, Header()] = None
    ) -> Response:
        served = service.served
        row = schemas.row_of(served, instance_id)
        headers = _version_headers(served) | {"ETag": f'"{served.versions.pool}-{row}"'}
        if _matches(if_none_match, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        service.cores.admit()
        data = await _work(service, lambda: encode_png(served.pool.instance(row).rgba))
        return Response(data, 200, headers, "image/png")

    @app.get(
        "/v1/instances/{instance_id}",
        tags=["pool"],
        summary="Where an instance comes from.",
        responses=openapi.errors(404),
    )
    async def instance(instance_id: InstanceId) -> schemas.InstanceAnswer:
        return schemas.instance_answer(service.served, schemas.row_of(service.served, instance_id))


def _add_composing(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v1/compose",
        tags=["compose"],
        summary="Composed images with their annotations, as one binary body.",
        response_class=Response,
        responses={200: openapi.batch(_BATCHES), **openapi.errors(406, 409, 429, 503)},
    )
    async def compose(told: ComposeRequest, request: Request, accept: Accept = None) -> Response:
        order = _order(service, told)
        return await _composed(service, request, order, _form(accept, _BATCHES))

    @app.get(
        "/v1/samples/{recipe}/{seed}/{index}",
        tags=["compose"],
        summary="One sample of a recipe of the operator's; for caches.",
        response_class=Response,
        responses={
            200: openapi.batch(_SAMPLES), 304: openapi.NOT_MODIFIED, **openapi.errors(404, 406, 409, 429, 503)
        },
    )  # fmt: skip
    async def sample(
        recipe: Annotated[str, Path(max_length=100)],
        seed: Annotated[Seed, Path()],
        index: Annotated[Number, Path()],
        request: Request,
        pool_version: PoolVersion = None,
        accept: Accept = None,
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        served = service.served
        if recipe not in served.recipes:
            raise Problem(404, f"there is no such recipe; these are: {', '.join(served.recipes) or 'none'}")
        _check_version(service, pool_version)
        order = Order(served, served.recipes[recipe], seed, index, 1)
        order.check()
        return await _composed(service, request, order, _form(accept, _SAMPLES), if_none_match)

    @app.post(
        "/v1/plans",
        tags=["compose"],
        summary="What would be composed, without a pixel.",
        response_model=schemas.PlansAnswer,
        responses=openapi.errors(409, 429, 503),
    )
    async def plans(told: ComposeRequest, request: Request) -> Response:
        order = _order(service, told)
        service.cores.admit()
        _tell(request, order.served, count=told.count)
        pieces = order.plans()
        found = await _work(service, lambda: next(pieces), lambda plans: len(plans) == order.count)
        rows = [plan_to_row(plan) for plan in found]
        text = json.dumps({"pool_version": order.served.versions.pool, "plans": rows})
        headers = _version_headers(order.served)
        return Response(text, 200, headers, "application/json")  # as it is: it may be long

    @app.post(
        "/v1/render",
        tags=["compose"],
        summary="An image of a plan, as /v1/plans gives it.",
        response_class=Response,
        responses={200: openapi.batch(_RENDERINGS), **openapi.errors(406, 409, 429, 503)},
    )
    async def render(told: RenderRequest, request: Request, accept: Accept = None) -> Response:
        form = _form(accept, _RENDERINGS)
        _check_version(service, told.pool_version)
        served = service.served
        rules = served.rules(None, {}, None, ())
        service.cores.admit()
        _tell(request, served, count=1)

        def work() -> tuple[bytes, str]:
            composed = render_plan(served, rules, told.plan.plan())
            if form in FORMAT_OF:
                return _image(composed, form, rules.settings.output.quality), form
            body = body_for(form, served, rules.settings.output, "render")
            return body.add([composed]) + body.end(), body.media_type

        data, media_type = await _work(service, work)
        return Response(data, 200, _version_headers(served) | {"Vary": "Accept"}, media_type)


def _order(service: Service, told: ComposeRequest) -> Order:
    _check_version(service, told.pool_version)
    served = service.served
    rules = served.rules(told.preset, told.options, told.size_hw, told.categories)
    order = Order(served, rules, told.seed, told.first, told.count)
    order.check()
    return order


async def _composed(
    service: Service, request: Request, order: Order, form: str, if_none_match: str | None = None
) -> Response:
    """The answer: whole if it is composed at once, else in parts as they come."""
    etag = f'"{order.name(form)}"'
    headers = _version_headers(order.served) | {"ETag": etag, "Vary": "Accept", "Cache-Control": "no-cache"}
    if _matches(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    service.cores.admit()
    _tell(request, order.served, count=order.count)
    if form in FORMAT_OF:
        quality = order.rules.settings.output.quality
        data = await _work(service, lambda: _image(_only(order), form, quality))
        return Response(data, 200, headers, form)
    body = order.body(form)
    parts = order.parts(body)
    ends_at = asyncio.get_running_loop().time() + service.limits.seconds
    first, is_last = await _work(service, lambda: next(parts), lambda part: bool(part[0]))
    name = f"xpaste-{order.seed}-{order.first}-{order.count}{body.suffix}"
    headers["Content-Disposition"] = f'attachment; filename="{name}"'
    if is_last:
        return Response(first, 200, headers, body.media_type)
    response = _Streamed(_all(service, first, parts), 200, headers, body.media_type)
    response.ends_at = ends_at
    return response


async def _all(service: Service, first: bytes, parts: Iterator[tuple[bytes, bool]]) -> AsyncIterator[bytes]:
    yield first
    is_last = False
    while not is_last:
        part, is_last = await service.cores.run(lambda: next(parts), begun=True)
        yield part


class _Streamed(StreamingResponse):
    """Whoever reads too slowly, or not at all, is left: an error, which ends the connection."""

    ends_at = math.inf

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with asyncio.timeout_at(self.ends_at):
            await super().__call__(scope, receive, send)


async def _work(
    service: Service, work: Callable[[], T], is_enough: Callable[[T], bool] = lambda found: True
) -> T:
    """What the work gives, done again until that is enough; or Problem 503 if that takes longer than the
    operator allows. Half of the time is for waiting: an answer that is begun late would be cut off, and its
    work lost."""
    seconds = service.limits.seconds
    try:
        async with asyncio.timeout(seconds):
            found = await service.cores.run(work, patience_s=seconds / 2)
            while not is_enough(found):
                found = await service.cores.run(work, begun=True)
            return found
    except TimeoutError:
        raise Problem(
            503,
            f"this cannot be answered within {seconds:g} s: ask for less, or again later",
            headers={"Retry-After": "5"},
        ) from None


def _only(order: Order) -> Composed:
    (plan,) = next(order.plans())
    return order.compositor.render(plan)


def _image(composed: Composed, media_type: str, quality: int) -> bytes:
    return encode_image(composed.image, ImageEncoding(format=FORMAT_OF[media_type], quality=quality))


def _form(accept: str | None, offered: Sequence[str]) -> str:
    form = best_of(accept, offered)
    if form is None:
        raise Problem(406, f"Accept must allow one of {', '.join(offered)}")
    return form


def _matches(if_none_match: str | None, etag: str) -> bool:
    told = [one.strip().removeprefix("W/") for one in (if_none_match or "").split(",")]
    return etag in told or told == ["*"]


def _check_version(service: Service, wanted: str | None) -> None:
    loaded = service.served.versions.pool
    if wanted is not None and wanted != loaded:
        raise Problem(409, "another version of the pool is served", pool_version=loaded)


def _version_headers(served: Served) -> dict[str, str]:
    versions = served.versions
    return {
        "X-Pool-Version": versions.pool,
        "X-Backgrounds-Version": versions.backgrounds,
        "X-Package-Version": versions.package,
    }


def _tell(request: Request, served: Served, count: int) -> None:
    """What the listener hears of the answer."""
    exchange: Exchange = request.scope["state"]["exchange"]
    exchange.told |= {"count": count, "pool_version": served.versions.pool}


def _add_errors(app: FastAPI, log: logging.Logger) -> None:
    """Whatever goes wrong, the client gets problem details, and the log the rest."""

    def answer(request: Request, problem: Problem) -> Response:
        return problem_response(problem, request.scope["state"]["exchange"].request_id)

    @app.exception_handler(Problem)
    async def told(request: Request, problem: Problem) -> Response:
        return answer(request, problem)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        fields = [(".".join(map(str, one["loc"][1:])) or "body", one["msg"]) for one in error.errors()]
        return answer(request, Problem(422, "; ".join(f"{name}: {what}" for name, what in fields), fields))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return answer(request, Problem(error.status_code, str(error.detail), headers=error.headers))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        exchange: Exchange = request.scope["state"]["exchange"]
        if isinstance(error, TimeoutError | ClientDisconnect):  # the answer had begun
            log.info("request %s: its client went, or read too slowly", exchange.request_id)
        else:
            log.error("request %s failed", exchange.request_id, exc_info=error)
        return answer(
            request, Problem(500, "this failed: the operator finds why in the log, under this request_id")
        )
