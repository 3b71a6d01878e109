"""The API as one plain page, made from its OpenAPI and AsyncAPI documents. No script, nothing from elsewhere."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from typing import Any

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1c1c1e;background:#fff}
h2{margin:2.5rem 0 .5rem;border-bottom:1px solid #ccc}h3{font:600 1rem ui-monospace,monospace;margin:1.75rem 0 .25rem}
nav a{margin-right:1rem}.m{display:inline-block;min-width:4.2em;color:#05527a}
code,pre{font:.875rem ui-monospace,monospace}
pre{background:#f5f5f7;padding:.75rem;overflow:auto;border-radius:6px}table{border-collapse:collapse;width:100%}
td,th{padding:.2rem .9rem .2rem 0;vertical-align:top;text-align:left;border-bottom:1px solid #eee;font-weight:400}
th{font-weight:600}td:first-child{white-space:nowrap}.w{overflow-x:auto}a{color:#05527a}
@media(prefers-color-scheme:dark){body{color:#eee;background:#16161a}pre{background:#232329}h2{border-color:#555}
td,th{border-color:#333}.m,a{color:#7cc7f2}}
"""
FLOW = """client                                        server
  | POST /v1/sessions {"prompt": ...}            |
  |---------------------------------------------&gt;|  201: id, token, urls
  | POST urls.whep   application/sdp offer       |
  |---------------------------------------------&gt;|  201: SDP answer, Location of this viewer
  |&lt;================ video (SRTP) ==============&gt;|
  | WebSocket urls.control, Authorization header |
  |&lt;--------------------------------------------&gt;|  session, chunk, chunk, ...
  | {"type":"prompt","id":"p1","text":...}       |
  |---------------------------------------------&gt;|  prompt_pending, then prompt_applied at frame N
  | POST urls.renders {"steps": 32}              |
  |---------------------------------------------&gt;|  202: Location of the render
  | DELETE urls.session                          |
  |---------------------------------------------&gt;|  204"""
e = html.escape


def render(schema: Mapping[str, Any], control: Mapping[str, Any]) -> str:
    """The whole page."""
    return "".join(_page(schema, control))


def _page(schema: Mapping[str, Any], control: Mapping[str, Any]) -> Iterator[str]:
    info = schema["info"]
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>{e(info['title'])}: API</title>"
    yield f"<meta name=viewport content='width=device-width'><style>{STYLE}</style>"
    yield f"<main><h1>{e(info['title'])}: the API</h1><p>{e(info.get('description', ''))}"
    yield "<nav><p><a href=#flow>A session</a><a href=#requests>Requests</a><a href=#control>Control socket</a>"
    yield "<a href=#types>Bodies and messages</a></nav><p>The same for machines: <a href=/openapi.json>OpenAPI</a>, "
    yield "<a href=/asyncapi.json>AsyncAPI</a>."
    yield f"<h2 id=flow>A session, start to end</h2><pre>{FLOW}</pre>"
    yield "<p>The token of the first answer goes with everything after it: <code>Authorization: Bearer TOKEN</code>, "
    yield "on the WebSocket of a browser, which sets no headers, as the subprotocols "
    yield "<code>farcast.v1, token.TOKEN</code>. "
    yield "Errors are <code>application/problem+json</code>; "
    yield "<code>detail</code> says what to do, <code>code</code> is for programs."
    yield "<h2 id=requests>Requests</h2>"
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield from _operation(path, method, operation)
    yield f"<h2 id=control>Control: WebSocket {e(control['channels']['control']['address'])}</h2>"
    yield f"<p>{e(control['info']['description'])}"
    for way, heading in (("steer", "What a client sends"), ("report", "What the server sends")):
        yield f"<h3>{heading}</h3><div class=w><table>"
        for ref in control["operations"][way]["messages"]:
            message = control["components"]["messages"][ref["$ref"].rsplit("/", 1)[1]]
            title = e(message["title"])
            yield f"<tr><td><a href=#{title}>{e(message['name'])}</a><td>{_text(message['summary'])}"
        yield "</table></div>"
    yield "<h2 id=types>Bodies and messages</h2>"
    bodies = schema.get("components", {}).get("schemas", {}) | control["components"]["schemas"]
    for name, model in bodies.items():
        yield from _model(name, model)
    yield "</main>"


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h3><span class=m>{e(method.upper())}</span> {e(path)}</h3>"
    yield f"<p>{_text(operation.get('description') or operation.get('summary', ''))}<div class=w><table>"
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<tr><td>body<td><code>{e(kind)}</code> {_type(body.get('schema', {}))}"
    refused = []
    for status, answer in operation.get("responses", {}).items():
        if int(status) >= 400:
            refused.append(f"{e(status)}: {_text(answer.get('description', ''))}")
            continue
        kinds = [_type(body["schema"]) for body in answer.get("content", {}).values() if body.get("schema")]
        yield f"<tr><td>{e(status)}<td>{_text(answer.get('description', ''))} {' '.join(kinds)}"
    if refused:
        yield f"<tr><td>refused<td>{' '.join(refused)}"
    yield "</table></div>"


def _model(name: str, model: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h3 id={e(name)}>{e(name)}</h3><p>{_text(model.get('description', ''))}"
    fields = model.get("properties")
    if not fields:
        return
    required = model.get("required", [])
    yield "<div class=w><table><tr><th scope=col>field<th scope=col>type<th scope=col>"
    for field, about in fields.items():
        need = "required" if field in required else f"default {_value(about['default'])}" if "default" in about else ""
        notes = [part for part in (need, _text(about.get("description", ""))) if part]
        yield f"<tr><td><code>{e(field)}</code><td>{_type(about)}<td>{'. '.join(notes)}"
    yield "</table></div>"


def _text(words: str) -> str:
    """Plain text with `code` in it."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", e(" ".join(words.split())))


def _value(value: Any) -> str:
    text = {None: "null", True: "true", False: "false"}.get(value, str(value)) if not isinstance(value, list) else "[]"
    return f"<code>{e(text)}</code>"


def _type(about: Mapping[str, Any]) -> str:
    """A JSON Schema in a few words."""
    if "$ref" in about:
        name = e(about["$ref"].rsplit("/", 1)[1])
        return f"<a href=#{name}>{name}</a>"
    if "anyOf" in about:
        return " or ".join(dict.fromkeys(_type(part) for part in about["anyOf"]))
    if "const" in about:
        return _value(about["const"])
    if "enum" in about:
        return ", ".join(_value(value) for value in about["enum"])
    kind = str(about.get("type", "any"))
    if kind == "array":
        inner = _type(about["items"]) if isinstance(about.get("items"), dict) else "values"
        return f"list of {inner}"
    low, high = about.get("minimum"), about.get("maximum")
    if low is not None and high is not None:
        return f"{kind} {low:g}..{high:g}"
    if "maxLength" in about:
        return f"{kind}, up to {about['maxLength']} characters"
    return e(kind)
