"""What the service answers in JSON."""

from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
from pydantic import BaseModel

from xpaste_ray.categories import did_you_mean
from xpaste_ray.config.serve import ServeLimits
from xpaste_ray.serve.problems import Problem
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
