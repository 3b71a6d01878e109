"""A reverse proxy as operators put one before Farcast: strips a path prefix, asks for a password, refuses methods.

HTTP/1.1, one request a connection; an upgraded connection is passed through. Runs in a thread of its own.
"""

from __future__ import annotations

import asyncio
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Proxy:
    """upgrade=False: drops the headers Upgrade and Connection, as a proxy does that was not told to pass WebSockets.
    password: (user, password) of HTTP basic authentication. refused: methods answered with 405. seen: request lines."""

    target: str
    prefix: str = ""
    upgrade: bool = True
    password: tuple[str, str] | None = None
    refused: tuple[str, ...] = ()
    url: str = ""
    seen: list[str] = field(default_factory=list)
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._pass_on(reader, writer)
        writer.close()
        self._open.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1")
        line, *headers = head.rstrip("\r\n").split("\r\n")
        method, path, _ = line.split(" ")
        self.seen.append(f"{method} {path}")
        if refusal := self._refusal(method, path, headers):
            writer.write(f"HTTP/1.1 {refusal}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            return
        upgrade = self.upgrade and any(header.lower().startswith("upgrade:") for header in headers)
        if not upgrade:
            dropped = ("connection:", "upgrade:")
            headers = [header for header in headers if not header.lower().startswith(dropped)] + ["Connection: close"]
        lines = [f"{method} {path.removeprefix(self.prefix)} HTTP/1.1", *headers, "", ""]
        place = urlsplit(self.target)
        from_server, to_server = await asyncio.open_connection(place.hostname, place.port)
        to_server.write("\r\n".join(lines).encode("latin1"))
        client = asyncio.create_task(_pump(reader, to_server))
        try:
            await _pump(from_server, writer)
        finally:
            client.cancel()
            to_server.close()

    def _refusal(self, method: str, path: str, headers: list[str]) -> str:
        if self.password is not None:
            expected = "authorization: basic " + b64encode(":".join(self.password).encode()).decode().lower()
            if expected not in [header.lower() for header in headers]:
                return '401 Unauthorized\r\nWWW-Authenticate: Basic realm="proxy"'
        if method in self.refused:
            return "405 Method Not Allowed"
        return "" if path.startswith(f"{self.prefix}/") else "404 Not Found"

    def stop(self) -> None:
        for task in self._open:
            task.cancel()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


@contextmanager
def proxy(
    target: str,
    *,
    prefix: str = "",
    upgrade: bool = True,
    password: tuple[str, str] | None = None,
    refused: tuple[str, ...] = (),
) -> Iterator[Proxy]:
    """A proxy before `target` for the length of the block; its `url` ends with the prefix and a slash."""
    made = Proxy(target, prefix, upgrade, password, refused)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="proxy", daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(made.serve, "127.0.0.1", 0), loop).result(10)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{prefix}/"
    try:
        yield made
    finally:

        async def close() -> None:
            server.close()
            made.stop()
            await asyncio.sleep(0.05)

        asyncio.run_coroutine_threadsafe(close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()
