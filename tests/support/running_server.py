"""A real server over a mock model, for the tests of the service's outer rooms."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from stream.access.connections import HEAD_SECONDS, LimitedWebSocket, http_protocol
from stream.api.control import MAX_MESSAGE
from stream.app import create_app
from stream.config import ServerConfig
from stream.server import Server

FAKE = "tests.support.fake_backend:open_model"
FAKE_RENDERER = "tests.support.fake_backend:open_renderer"


@dataclass
class Running:
    """A server on a thread of its own."""

    url: str
    app: FastAPI
    loop: asyncio.AbstractEventLoop
    server: uvicorn.Server | None = None

    @property
    def manager(self) -> Any:
        return self.app.state.manager

    def create(self, prompt: str = "a red circle", **more: Any) -> dict[str, Any]:
        """A new session, as the server describes it."""
        answer = httpx.post(f"{self.url}/v1/sessions", json={"prompt": prompt, **more}, timeout=20)
        assert answer.status_code == 201, answer.text
        created: dict[str, Any] = answer.json()
        return created

    def headers(self, created: dict[str, Any]) -> dict[str, str]:
        return {"Authorization": f"Bearer {created['token']}"}

    def delete(self, created: dict[str, Any]) -> None:
        httpx.delete(self.url + created["urls"]["session"], headers=self.headers(created), timeout=20)

    def stop(self) -> None:
        """Begin to shut down, as on SIGTERM."""
        assert self.server is not None
        self.server.should_exit = True

    def socket(self, created: dict[str, Any]) -> str:
        """Its address; the token goes in `headers`."""
        return f"ws{self.url[4:]}{created['urls']['control']}"


@contextmanager
def running(
    model: str = "fake?step=0.002",
    at: int = 0,
    wrap: Callable[[Any], Any] = lambda app: app,
    *,
    connections: int = 512,
    head_seconds: float = HEAD_SECONDS,
    **options: Any,
) -> Iterator[Running]:
    """A server with the fake backend, ready, and gone afterwards. `at`: its port, 0 = any. `wrap`: puts ASGI layers
    around the app. `connections`: at once."""
    settings = {"start_grace": 0.1, "max_sessions": 8, "engine": FAKE, "renderer": FAKE_RENDERER, **options}
    config = ServerConfig(port=0, model=model, **settings)
    app = create_app(config)
    sock = socket.create_server(("127.0.0.1", at))
    server = Server(
        uvicorn.Config(
            wrap(app),
            log_config=None,
            http=http_protocol(connections, head_seconds),
            ws=LimitedWebSocket,
            ws_max_size=MAX_MESSAGE,
            timeout_graceful_shutdown=1,
        ),
        drain=app.state.manager.drain,
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=lambda: loop.run_until_complete(server.serve(sockets=[sock])), daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    try:
        wait_for(lambda: server.started, 20)
        yield Running(url, app, loop, server)
    finally:
        server.should_exit = True
        thread.join(20)
        loop.close()
        sock.close()
        assert not thread.is_alive(), "the server does not end"


def wait_for(condition: Callable[[], object], seconds: float = 10.0, what: str = "") -> None:
    """Poll until `condition`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what or condition}"
        time.sleep(0.02)
