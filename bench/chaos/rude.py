"""Clients that misbehave on the control socket of a session they have the token of."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

PINGS = 20_000  # 2 MB of answers, more than the sockets' buffers and the server's outbox hold
MESSAGES = 300
FLOOD_S = 8.0
# No "stop": a session that obeys one is not lost.
TYPES = ("prompt", "dial", "pause", "resume", "rewind", "ping", "auth", "", "__proto__", None, 7)
JUNK: tuple[Any, ...] = (
    None, "", " ", "\x00", "\u202e", "\ud800", "x" * 3000, -1, 2**80, 1e308, float("nan"), [], {}, [[]], True,
    {"a": {"b": []}}, ["a", 1.0],
)  # fmt: skip


def address(url: str, session: str) -> str:
    return f"ws{url.removeprefix('http')}/v1/sessions/{session}/control"


def _connect(url: str, session: str, token: str, **options: Any) -> connect:
    headers = {"Authorization": f"Bearer {token}"}
    return connect(address(url, session), additional_headers=headers, close_timeout=1, ping_interval=None, **options)


async def stop_reading(url: str, session: str, token: str) -> None:
    """Ask `PINGS` times and read nothing, until the server has had enough or `FLOOD_S` have passed."""
    with contextlib.suppress(WebSocketException, OSError, TimeoutError):
        async with asyncio.timeout(FLOOD_S), _connect(url, session, token, max_queue=1) as socket:
            for number in range(PINGS):
                if number % 50 == 0:
                    await asyncio.sleep(0.005)  # the other clients run in this process
                await socket.send(json.dumps({"type": "ping", "id": f"{number:064}", "t": 0.0}))


async def fuzz(url: str, session: str, token: str, chance: random.Random) -> None:
    """Send `MESSAGES` malformed messages; a socket that the server closes is opened again."""
    left = MESSAGES
    for _ in range(20):
        with contextlib.suppress(WebSocketException, OSError, TimeoutError):
            async with asyncio.timeout(FLOOD_S), _connect(url, session, token) as socket:
                reader = asyncio.create_task(_drain(socket))
                try:
                    while left:
                        left -= 1
                        await socket.send(message(chance))
                finally:
                    reader.cancel()
        if not left:
            return


async def _drain(socket: ClientConnection) -> None:
    with contextlib.suppress(WebSocketException):
        async for _ in socket:
            pass


def message(chance: random.Random) -> str | bytes:
    """One that is no valid command: bytes, cut or nested JSON, or fields of the wrong kind."""
    match chance.randrange(5):
        case 0:
            return chance.randbytes(chance.randrange(200))
        case 1:
            return json.dumps({"type": "prompt", "id": "x", "text": "a red circle"})[: chance.randrange(20)]
        case 2:
            return "[" * chance.randrange(1, 2000)
        case 3:
            return "".join(chr(chance.randrange(32, 0x2FF)) for _ in range(chance.randrange(100)))
    fields = ("text", "mix", "transition", "latency_ms", "floor", "steps", "chunk", "t")
    body = {name: chance.choice(JUNK) for name in chance.sample(fields, 3)}
    # An unknown field: whatever else is right by chance, the message is refused.
    return json.dumps({"type": chance.choice(TYPES), "id": chance.choice(JUNK), **body, "unknown": 1})
