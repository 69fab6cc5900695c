"""What the service answers in JSON, and what its OpenAPI document says of the rest."""

from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from xpaste_ray.categories import did_you_mean
from xpaste_ray.config.serve import ServeLimits
from xpaste_ray.serve.guard import OPEN
from xpaste_ray.serve.problems import MEDIA_TYPE, Problem
from xpaste_ray.serve.requests import PlanModel
from xpaste_ray.serve.served import Served
from xpaste_ray.serve.service import Service, Update


class Health(BaseModel):
    status: Literal["alive", "ready"]


class PoolAnswer(BaseModel):
    """update: of a version that is to come next: `none`, `loading`, or `failed`, which the log explains.
    needs_token: whether requests are answered only with one."""

    pool_version: str
    backgrounds_version: str
    package_version: str
    update: Update
    instances: int
    categories: int
    backgrounds: int
    presets: list[str]
    recipes: list[str]
    allow: list[str]
    limits: ServeLimits
    needs_token: bool


class CategoryAnswer(BaseModel):
    id: int
    name: str
    frequency: str | None
    instances: int


class CategoriesAnswer(BaseModel):
    pool_version: str
    categories: list[CategoryAnswer]


class InstanceEntry(BaseModel):
    instance_id: str
    category_id: int
    category: str
    height: int
    width: int


class InstancesAnswer(BaseModel):
    """total: of the filter's. next_offset: of the next page, if there is one."""

    pool_version: str
    total: int
    next_offset: int | None
    instances: list[InstanceEntry]


class InstanceAnswer(BaseModel):
    """provenance: everything that is known of it but its pixels; of places only public addresses."""

    pool_version: str
    instance_id: str
    category_id: int
    category: str
    height: int
    width: int
    provenance: dict[str, Any]


class PlansAnswer(BaseModel):
    pool_version: str
    plans: list[PlanModel]


class FieldProblem(BaseModel):
    field: str
    message: str


class ProblemAnswer(BaseModel):
    """Problem details (RFC 9457). errors: of a refused request. pool_version: with 409, the served one."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[FieldProblem] | None = None
    pool_version: str | None = None


def pool_answer(service: Service) -> PoolAnswer:
    served = service.served
    settings, versions = served.settings, served.versions
    return PoolAnswer(
        pool_version=versions.pool,
        backgrounds_version=versions.backgrounds,
        package_version=versions.package,
        update=service.update_state,
        instances=len(served.pool),
        categories=len(served.pool.rows_by_category),
        backgrounds=len(served.backgrounds),
        presets=served.presets,
        recipes=list(served.recipes),
        allow=list(settings.allow),
        limits=settings.limits,
        needs_token=not service.tokens.open_to_all,
    )


def categories_answer(served: Served) -> CategoriesAnswer:
    rows = served.pool.rows_by_category
    told = [
        CategoryAnswer(id=one.id, name=one.name, frequency=one.frequency, instances=len(rows.get(one.id, ())))
        for one in served.categories
    ]
    return CategoriesAnswer(pool_version=served.versions.pool, categories=told)


def instances_answer(served: Served, category: str | None, offset: int, limit: int) -> InstancesAnswer:
    rows = _rows(served, category)
    page = rows[offset : offset + limit]
    more = offset + limit < len(rows)
    return InstancesAnswer(
        pool_version=served.versions.pool,
        total=len(rows),
        next_offset=offset + limit if more else None,
        instances=[InstanceEntry(**_entry(served, row)) for row in page],
    )


def instance_answer(served: Served, row: int) -> InstanceAnswer:
    told = served.pool.provenance(row)
    known = set(InstanceAnswer.model_fields)
    provenance = {name: _public(name, value) for name, value in told.items() if name not in known}
    return InstanceAnswer(pool_version=served.versions.pool, provenance=provenance, **_entry(served, row))


def row_of(served: Served, instance_id: str) -> int:
    row = served.pool.row_of_id.get(instance_id)
    if row is None:
        raise Problem(404, "the pool has no such instance")
    return row


def _rows(served: Served, category: str | None) -> Sequence[int]:
    if category is None:
        return range(len(served.pool))
    ids = {one.name: one.id for one in served.categories}
    if category not in ids:
        raise Problem(404, f"there is no category {category[:200]!r}{did_you_mean(category, ids)}")
    found: list[int] = served.pool.rows_by_category.get(ids[category], np.empty(0, np.int64)).tolist()
    return found


def _entry(served: Served, row: int) -> dict[str, Any]:
    height, width = served.pool.size_hw(row)
    category_id = served.pool.category_id(row)
    return {
        "instance_id": served.pool.instance_ids[row],
        "category_id": category_id,
        "category": served.name_of[category_id],
        "height": height,
        "width": width,
    }


def _public(name: str, value: Any) -> Any:
    """An address that anyone may know; of a file's, its name. What is not JSON is text."""
    if (
        name in ("uri", "model")
        and isinstance(value, str)
        and urlsplit(value).scheme not in ("http", "https")
    ):
        return value.replace("\\", "/").rpartition("/")[2]
    if name == "scores":
        return dict(value or ())
    return value


# --- OpenAPI -------------------------------------------------------------------------------------

NOT_MODIFIED = {"description": "What If-None-Match names is what there is."}

_ERRORS = {
    400: "The body is no JSON.",
    401: "There is no token, or a wrong one.",
    404: "There is no such thing.",
    406: "No form of the answer is one that Accept allows.",
    408: "The body took too long to arrive.",
    409: "Another version of the pool is served than `pool_version`.",
    413: "The body is too large.",
    415: "The body is packed, or no JSON.",
    421: "The service is called by a name that is not its own.",
    422: "The request cannot be answered: `errors` says which field, and why.",
    429: "Too many requests wait: come again after Retry-After.",
    500: "This failed; the log says why.",
    503: "No replica is free, or this took too long: come again after Retry-After.",
}
_ALWAYS = (400, 401, 408, 413, 415, 421, 422, 500)


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemAnswer"}}}
    return {status: {"description": _ERRORS[status], "content": content} for status in statuses}


def binary(*media_types: str) -> dict[str, Any]:
    content = {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in media_types}
    return {"description": "The bytes.", "content": content}


def batch(media_types: Sequence[str]) -> dict[str, Any]:
    told = binary(*media_types)
    told["description"] = (
        "zip and multipart: images, annotations.json (COCO), plans.jsonl. Arrow: a row a sample. npz: arrays "
        "for `numpy.load`."
    )
    told["headers"] = {
        name: {"schema": {"type": "string"}, "description": what}
        for name, what in {
            "ETag": "The same for the same bytes.",
            "X-Pool-Version": "Of the pool that they come from.",
            "X-Backgrounds-Version": "Of the backgrounds.",
            "X-Package-Version": "Of the code.",
        }.items()
    }
    return told


def complete(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document: FastAPI's, with the errors that any request may meet, and the token."""
    if app.openapi_schema is None:
        told = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes,
            license_info=app.license_info,
        )  # fmt: skip
        schemas = told["components"]["schemas"]
        schemas["ProblemAnswer"] = ProblemAnswer.model_json_schema(
            ref_template="#/components/schemas/{model}"
        )
        schemas |= schemas["ProblemAnswer"].pop("$defs")
        told["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path, operations in told["paths"].items():
            for operation in operations.values():
                operation["responses"] |= {str(status): one for status, one in errors(*_ALWAYS).items()}
                if path not in OPEN:
                    operation["security"] = [{"token": []}]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        app.openapi_schema = told
    return app.openapi_schema
