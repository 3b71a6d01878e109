"""What the tests of keys, guards and limits share: two keys, and requests that carry one."""

from __future__ import annotations

import json
from typing import Any

import httpx
from websockets.sync.client import connect

from stream.config import ApiKey
from tests.support.running_server import Running

CREATE, OPERATE = "create-key-0123456789", "operate-key-0123456789"
KEYS = (ApiKey.parse(f"create:{CREATE}"), ApiKey.parse(f"operate:{OPERATE}"))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def create(server: Running, key: str = CREATE, **headers: str) -> httpx.Response:
    return httpx.post(
        f"{server.url}/v1/sessions", json={"prompt": "a red circle"}, headers={**bearer(key), **headers}, timeout=20
    )


def first(url: str, **options: Any) -> dict[str, Any]:
    """The first message of a control socket."""
    with connect(url, **options) as ws:
        message: dict[str, Any] = json.loads(ws.recv(10))
        return message
