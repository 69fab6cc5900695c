"""The OpenAPI document: what FastAPI cannot know of errors, of binary answers, and of the token."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from xpaste_ray.serve.guard import OPEN
from xpaste_ray.serve.problems import MEDIA_TYPE
from xpaste_ray.serve.schemas import ProblemAnswer

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
