"""Checks and headers that every request passes, whatever it asks for.

- `Host` must be an IP address, a loopback name, or a name that the operator gave (`--public-url`): otherwise a page of
  another site could point its own name here and speak to the server as its own (DNS rebinding).
- `Origin`, which browsers add, must be the server's own or one that the operator allows (`--allow-origin`).
- Every answer carries the security headers.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream.config import LOOPBACK_NAMES, ServerConfig
from stream.metrics import Metrics

PROBES = ("/healthz", "/readyz", "/metrics")  # of machines that know the server by another name
POLICY_VIOLATION = 1008
CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self' ws: wss:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
}


# Status, code, detail and headers to an answer.
Problem = Callable[[int, str, str, dict[str, str] | None], ASGIApp]


class Guard:
    """ASGI middleware, outside of all others."""

    def __init__(self, app: ASGIApp, config: ServerConfig, metrics: Metrics, problem: Problem) -> None:
        self.app, self._metrics, self._problem = app, metrics, problem
        self._root_path = config.root_path
        self._hosts = {*LOOPBACK_NAMES, config.host.lower()}
        self._hosts |= {urlsplit(url).hostname or "" for url in (*config.public_urls, *config.allow_origins)}
        self._origins = {origin_of(url) for url in (*config.public_urls, *config.allow_origins)}
        self._any_origin = "*" in config.allow_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        # Starlette takes the prefix off the path where the proxy has left it there.
        scope["root_path"] = self._root_path
        headers = Headers(scope=scope)
        refusal = self._refusal(scope["path"], headers)
        if refusal is not None:
            self._metrics.refused.labels(refusal[1]).inc()
        if scope["type"] == "websocket":
            if refusal is None:
                return await self.app(scope, receive, send)
            await receive()
            return await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": refusal[1]})

        begun = False

        async def with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                found = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    found.setdefault(name, value)
            await send(message)

        if refusal is not None:
            return await self._problem(*refusal, None)(scope, receive, with_headers)
        try:
            await self.app(scope, receive, with_headers)
        except asyncio.CancelledError:  # uvicorn cancels what is under way when the server ends
            if not begun:
                detail = "The server is ending. Send the request again when it is back."
                await self._problem(503, "shutdown", detail, {"Retry-After": "2"})(scope, receive, with_headers)

    def _refusal(self, path: str, headers: Headers) -> tuple[int, str, str] | None:
        """Status, code and detail; None where nothing is wrong."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if path not in PROBES and not self._known(host):
            detail = "This server does not answer to that name. The operator can add it with --public-url."
            return 421, "wrong_host", detail
        if origin is not None and not self._allowed(origin, host):
            detail = f"Pages of {origin[:80]} may not use this server. The operator can allow it with --allow-origin."
            return 403, "foreign_origin", detail
        return None

    def _known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True  # no name was looked up, so none was rebound

    def _allowed(self, origin: str, host: str) -> bool:
        if self._any_origin or origin.lower() in self._origins:
            return True
        scheme, _, rest = origin.partition("://")
        return scheme in ("http", "https") and bool(host) and rest.lower() == host.lower()


def origin_of(url: str) -> str:
    """`https://Host:443/path` -> `https://host:443`."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()
