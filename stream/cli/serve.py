"""`farcast serve`: the server and its page."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Annotated

import typer
import uvicorn

from stream.app import create_app
from stream.cli.options import Fast, Model
from stream.config import ServerConfig
from stream.control import MAX_MESSAGE
from stream.errors import ConfigError, EngineFailed
from stream.ice import IceServer
from stream.manager import Manager

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port of the page and the API; 0 = any free one.")] = 8000,
    model: Model = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    fast: Fast = "plain",
    threads: Annotated[int, typer.Option(help="CPU threads of the model; 0 = chosen from the number of cores.")] = 0,
    max_sessions: Annotated[
        int, typer.Option(help="Sessions at the same time; the measured load may allow fewer.")
    ] = 4,
    renders: Annotated[
        bool, typer.Option("--renders/--no-renders", help="Make takes again, at other steps, for those who ask.")
    ] = True,
    render_minutes: Annotated[float, typer.Option(help="The longest take that is rendered here.")] = 10.0,
    ice_address: Annotated[
        list[str] | None, typer.Option(help="Local address to offer for media; may be repeated.")
    ] = None,
    ice_ports: Annotated[str | None, typer.Option(help="UDP ports for media, as LOW-HIGH.")] = None,
    public_address: Annotated[str | None, typer.Option(help="Address to announce for media behind NAT.")] = None,
    record: Annotated[
        bool, typer.Option("--record/--no-record", help="Keep what every session shows, to be downloaded as MP4.")
    ] = True,
    record_dir: Annotated[
        str | None, typer.Option(help="Folder for recordings; left out = a temporary one, gone with the server.")
    ] = None,
    record_minutes: Annotated[float, typer.Option(help="The most that is recorded of one session.")] = 60.0,
    record_size: Annotated[int, typer.Option(help="The same in MiB.")] = 512,
    record_space: Annotated[
        int, typer.Option(help="MiB for all recordings together; the oldest finished ones make room.")
    ] = 4096,
    record_keep: Annotated[float, typer.Option(help="Minutes that a recording stays after its session.")] = 60.0,
    ice_server: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            envvar="FARCAST_ICE_SERVERS",
            help="STUN or TURN server that viewers are told of, stun:HOST:PORT or turn:HOST:PORT; may be repeated.",
        ),
    ] = None,
    turn_secret: Annotated[
        str | None,
        typer.Option(
            envvar="FARCAST_TURN_SECRET", help="Secret shared with the TURN servers (coturn: static-auth-secret)."
        ),
    ] = None,
    relay: Annotated[
        bool, typer.Option("--relay", help="Also send through the TURN server: for a host that viewers cannot reach.")
    ] = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    engine: Annotated[str, typer.Option(hidden=True)] = ServerConfig.engine,
    renderer: Annotated[str, typer.Option(hidden=True)] = ServerConfig.renderer,
) -> None:
    """Serve the page and the API until Ctrl-C."""
    level = logging.getLevelNamesMapping().get(log_level.upper())
    if level is None:
        raise ConfigError(f"--log-level must be debug, info, warning or error, not {log_level!r}.")
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"--device must be auto, cpu or cuda, not {device!r}.")
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    for noisy in ("aioice", "aiortc", "httpx", "libav"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))
    config = ServerConfig(
        host=host,
        port=port,
        model=model,
        device=device,
        fast=fast,
        engine=engine,
        renderer=renderer,
        engine_threads=threads,
        max_sessions=max_sessions,
        renders=renders,
        render_seconds=render_minutes * 60,
        ice_addresses=tuple(ice_address or ()),
        ice_ports=port_range(ice_ports),
        public_address=public_address,
        ice_servers=tuple(IceServer(url) for url in ice_server or ()),
        turn_secret=turn_secret or None,
        relay=relay,
        record=record,
        record_dir=record_dir,
        record_seconds=record_minutes * 60,
        record_bytes=record_size * 2**20,
        record_space=record_space * 2**20,
        record_keep=record_keep * 60,
    )
    asyncio.run(run(config, level))


def port_range(text: str | None) -> tuple[int, int] | None:
    """ "LOW-HIGH" to numbers. Raises ConfigError."""
    if text is None:
        return None
    low, dash, high = text.partition("-")
    if not (dash and low.strip().isdigit() and high.strip().isdigit()):
        raise ConfigError(f"--ice-ports must be LOW-HIGH like 50000-50100, not {text!r}.")
    return int(low), int(high)


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
    """Until told to stop. Raises EngineFailed when the model cannot be opened."""
    sock = listen(config.host, config.port)
    api = create_app(config)
    settings = uvicorn.Config(
        api,
        log_config=None,
        log_level=logging.WARNING if level > logging.DEBUG else level,
        access_log=level <= logging.DEBUG,
        ws="websockets-sansio",
        ws_max_size=MAX_MESSAGE,
        ws_ping_interval=5.0,
        ws_ping_timeout=10.0,
        timeout_graceful_shutdown=2,
    )
    server = Announcing(settings)
    name = config.host if config.host not in ("0.0.0.0", "::") else "127.0.0.1"
    url = f"http://{name}:{sock.getsockname()[1]}/"
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    failure = await announce(server, api.state.manager, url)
    await serving
    if failure is not None:
        raise failure


class Announcing(uvicorn.Server):
    """Tells when it has begun to answer."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answering = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.answering.set()


async def announce(server: Announcing, manager: Manager, url: str) -> EngineFailed | None:
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
