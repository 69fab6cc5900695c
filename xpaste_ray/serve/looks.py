"""What a person sees in a browser: the page at `/`, and the API's at `/docs`. Nothing of it is fetched from
elsewhere, and the browser is told to fetch, send and run nothing else."""

import base64
import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse

_SWAGGER = ("swagger-ui.css", "swagger-ui-bundle.js")


def add_looks(app: FastAPI) -> None:
    page = files("xpaste_ray.serve").joinpath("page.html").read_text(encoding="utf-8")
    _add_page(app, "/", page, style=_hashes("style", page))
    _add_docs(app)


def _add_docs(app: FastAPI) -> None:
    """Swagger UI, whose files are those of the package `fastapi_offline`."""
    folder = Path(str(files("fastapi_offline"))) / "static"
    css, script = (f"docs/{name}" for name in _SWAGGER)
    told = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=f"{app.title}: API",
        swagger_css_url=css,
        swagger_js_url=script,
        swagger_favicon_url="data:,",
        swagger_ui_parameters={"validatorUrl": None},  # else a service elsewhere is asked for its opinion
    )
    _add_page(
        app, "/docs", bytes(told.body).decode(), script=("'self'",), style=("'self'", "'unsafe-inline'")
    )

    @app.get("/docs/{name}", include_in_schema=False)
    async def swagger(name: str) -> FileResponse:
        if name not in _SWAGGER:
            raise HTTPException(404)
        return FileResponse(folder / name, headers={"X-Content-Type-Options": "nosniff"})


def _add_page(
    app: FastAPI, path: str, page: str, *, script: Sequence[str] = (), style: Sequence[str] = ()
) -> None:
    """script, style: sources that the page may have them from, beside its own inline scripts."""
    headers = {
        "Content-Security-Policy": "; ".join(
            (
                "default-src 'none'",
                f"script-src {' '.join([*script, *_hashes('script', page)])}",
                f"style-src {' '.join(style)}",
                "img-src 'self' blob: data:",
                "connect-src 'self'",
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
            )
        ),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }

    @app.get(path, response_class=HTMLResponse, include_in_schema=False)
    async def look() -> HTMLResponse:
        return HTMLResponse(page, headers=headers)


def _hashes(tag: str, page: str) -> list[str]:
    """Sources that allow what the page itself holds in such tags, and nothing that someone adds."""
    inside = re.findall(rf"<{tag}(?:\s[^>]*)?>(.*?)</{tag}>", page, re.DOTALL)
    digests = (hashlib.sha256(text.encode()).digest() for text in inside if text)
    return [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
