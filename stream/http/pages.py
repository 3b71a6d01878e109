"""The page at `/` and the description of the API at `/docs`. Everything comes from this server, nothing from
elsewhere."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

from farcast import protocol
from fastapi import FastAPI
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

HERE = Path(__file__).resolve().parent.parent
PLACES = (HERE.parent / "client" / "web", HERE / "web")  # in a checkout; in an installed wheel
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self' ws: wss:; frame-ancestors 'self'"
)


def page_folder() -> Path | None:
    """Where the page's files are."""
    return next((place for place in PLACES if (place / "index.html").is_file()), None)


class PageFiles(StaticFiles):
    """The page's files, always checked for a newer version, and nothing beside them."""

    async def get_response(self, path: str, scope: Any) -> Response:
        if any(part.startswith(".") or part == "node_modules" for part in Path(path).parts if part != "."):
            path = "no-such-file"
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def install(app: FastAPI) -> None:
    """To be called last: the page takes every path that nothing else has."""

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        text = render(app.openapi(), protocol.asyncapi(app.version))
        return HTMLResponse(text, headers={"Content-Security-Policy": POLICY})

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


STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c1c1e;background:#fff}
h2{margin:2.5rem 0 .5rem;border-bottom:1px solid #ddd}h3{font:600 1rem ui-monospace,monospace;margin:1.5rem 0 .25rem}
.m{display:inline-block;min-width:4.2em;color:#05527a}code,pre{font:.875rem ui-monospace,monospace}
pre{background:#f5f5f7;padding:.75rem;overflow:auto;border-radius:6px}td{padding:.1rem 1rem .1rem 0;vertical-align:top}
@media(prefers-color-scheme:dark){body{color:#eee;background:#16161a}pre{background:#232329}h2{border-color:#444}
.m,a{color:#7cc7f2}}
"""


def render(schema: dict[str, Any], control: dict[str, Any]) -> str:
    """An OpenAPI document for HTTP and an AsyncAPI one for the control socket, as one plain page."""
    e = html.escape
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{e(schema['info']['title'])}: API</title>",
        "<meta name=viewport content='width=device-width'>",
        f"<style>{STYLE}</style><h1>{e(schema['info']['title'])}</h1><p>{e(schema['info'].get('description', ''))}",
        "<p>The same for machines: <a href=/openapi.json>/openapi.json</a>, "
        "<a href=/asyncapi.json>/asyncapi.json</a>.<h2>Requests</h2>",
    ]
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            parts.append(f"<h3><span class=m>{e(method.upper())}</span> {e(path)}</h3>")
            parts.append(f"<p>{e(operation.get('description') or operation.get('summary', ''))}<table>")
            for kind in operation.get("requestBody", {}).get("content", {}):
                parts.append(f"<tr><td>body<td><code>{e(kind)}</code>")
            for status, answer in operation.get("responses", {}).items():
                parts.append(f"<tr><td>{e(status)}<td>{e(answer.get('description', ''))}")
            parts.append("</table>")
    parts += [f"<h2>Control: WebSocket {e(control['channels']['control']['address'])}</h2>"]
    parts += [f"<p>{e(control['info']['description'])}"]
    for way, heading in (("steer", "What a client sends"), ("report", "What the server sends")):
        parts.append(f"<h3>{heading}</h3><table>")
        for ref in control["operations"][way]["messages"]:
            message = control["components"]["messages"][ref["$ref"].rsplit("/", 1)[1]]
            title = e(message["title"])
            parts.append(f"<tr><td><a href=#{title}>{e(message['name'])}</a><td>{e(message['summary'])}")
        parts.append("</table>")
    parts.append("<h2>Bodies and messages</h2>")
    bodies = schema.get("components", {}).get("schemas", {}) | control["components"]["schemas"]
    for name, model in bodies.items():
        parts.append(f"<h3 id={e(name)}>{e(name)}</h3><p>{e(model.get('description', ''))}")
        parts.append(f"<pre>{e(json.dumps(model.get('properties', model), indent=1))}</pre>")
    return "".join(parts)
