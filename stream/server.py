"""The ASGI app on uvicorn: a listening socket, the line that says where, and the wait for the model."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Awaitable, Callable

import uvicorn

from stream.access.connections import LimitedWebSocket, connection_limit, http_protocol, raise_descriptor_limit
from stream.api.control import MAX_MESSAGE
from stream.app import create_app
from stream.config import ServerConfig
from stream.errors import ConfigError, EngineFailed
from stream.session.manager import Manager


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ConfigError when the address is taken or not ours."""
    sock: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(128)
    except OSError as error:
        if sock is not None:
            sock.close()
        raise ConfigError(f"Cannot listen on {host}:{port}: {error.strerror}. Choose another with --port.") from None
    return sock


async def run(config: ServerConfig, level: int) -> None:
    """Until a signal ends it. Raises EngineFailed when the model cannot be opened."""
    sock = listen(config.host, config.port)
    api = create_app(config)
    settings = uvicorn.Config(
        api,
        log_config=None,
        log_level=logging.WARNING if level > logging.DEBUG else level,
        access_log=level <= logging.DEBUG,
        http=http_protocol(connection_limit(config.max_connections, raise_descriptor_limit())),
        ws=LimitedWebSocket,
        backlog=128,
        server_header=False,
        ws_max_size=MAX_MESSAGE,
        ws_ping_interval=5.0,
        ws_ping_timeout=10.0,
        timeout_graceful_shutdown=2,
    )
    server = Server(settings, drain=api.state.manager.drain)
    name = config.host if config.host not in ("0.0.0.0", "::") else "127.0.0.1"
    url = f"http://{name}:{sock.getsockname()[1]}/"
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    manager: Manager = api.state.manager
    failure = await announce(server, manager, url)
    if failure is None:  # serve until a signal, or until the engine cannot be kept running: for a supervisor to restart
        failed = asyncio.create_task(manager.engine.failed.wait())
        await asyncio.wait({serving, failed}, return_when=asyncio.FIRST_COMPLETED)
        failed.cancel()
        failure = manager.engine.failure
        server.should_exit = True
    await serving
    if failure is not None:
        raise failure


class Server(uvicorn.Server):
    """`answering` is set once it answers. `drain` is awaited before connections are closed: uvicorn closes them
    before the lifespan ends, when clients can no longer be told why. SIGTERM ends the process with status 0."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], Awaitable[None]] | None = None) -> None:
        super().__init__(config)
        self.answering = asyncio.Event()
        self._drain = drain

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.answering.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._drain is not None:
            await self._drain()
        await super().shutdown(sockets)
        # uvicorn raises what it captured once more when it is done, which would end the process by the signal.
        self._captured_signals[:] = [one for one in self._captured_signals if one != signal.SIGTERM]


async def announce(server: Server, manager: Manager, url: str) -> EngineFailed | None:
    """Say where the page is, at once, and when the model is ready; a model that cannot be opened ends the server."""
    await server.answering.wait()
    print(f"Farcast: {url} (the model is loading)", flush=True)
    try:
        facts = await manager.engine.ready()
    except EngineFailed as failure:
        server.should_exit = True
        return failure
    print(f"Farcast: ready with {facts.name} on {facts.device}, {facts.width}x{facts.height}. Open {url}", flush=True)
    return None
