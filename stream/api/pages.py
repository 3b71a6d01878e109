"""The page at `/` and the description of the API at `/docs`. Everything comes from this server, nothing from
elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from farcast import protocol
from fastapi import FastAPI
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from .docs_page import render

HERE = Path(__file__).resolve().parent.parent
PLACES = (HERE.parent / "client" / "web", HERE / "web")  # in a checkout; in an installed wheel
HIDDEN = ("node_modules", "package.json", "package-lock.json", "tsconfig.json")  # tools' files beside the page's


def page_folder() -> Path | None:
    """Where the page's files are."""
    return next((place for place in PLACES if (place / "index.html").is_file()), None)


class PageFiles(StaticFiles):
    """The page's files, always checked for a newer version, and nothing beside them."""

    async def get_response(self, path: str, scope: Any) -> Response:
        parts = [part for part in Path(path).parts if part != "."]
        if any(part.startswith(".") or part in HIDDEN for part in parts):
            path = "no-such-file"
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def install(app: FastAPI) -> None:
    """To be called last: the page takes every path that nothing else has."""

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        text = render(app.openapi(), protocol.asyncapi(app.version))
        return HTMLResponse(text)

    @app.get("/asyncapi.json", include_in_schema=False)
    async def asyncapi() -> JSONResponse:
        return JSONResponse(protocol.asyncapi(app.version))

    folder = page_folder()
    if folder is not None:
        app.mount("/", PageFiles(directory=folder, html=True), name="page")
    else:

        @app.get("/", include_in_schema=False)
        async def nothing() -> HTMLResponse:
            text = "<h1>Farcast</h1><p>The page is not installed here. The API is described at <a href=/docs>/docs</a>."
            return HTMLResponse(text)
