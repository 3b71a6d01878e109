"""`farcast serve`: the server and its page."""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated

import typer
from platformdirs import user_state_path

from stream.config import ServerConfig
from stream.errors import ConfigError
from stream.ice import IceServer
from stream.server import run

from .log_format import OneLine
from .options import Decoder, Execution, Lora, Model

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port of the page and the API; 0 = any free one.")] = 8000,
    model: Model = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    execution: Execution = "eager",
    decoder: Decoder = None,
    lora: Lora = None,
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
    state_dir: Annotated[
        str | None,
        typer.Option(
            envvar="FARCAST_STATE_DIR",
            help="Folder or fsspec URL where sessions are kept, so that they outlive the server; left out = a folder "
            "of the user's, one for each port.",
        ),
    ] = None,
    state: Annotated[bool, typer.Option("--state/--no-state", help="Keep sessions, or let them end here.")] = True,
    state_size: Annotated[int, typer.Option(help="MiB for all sessions together; the oldest make room.")] = 4096,
    state_hours: Annotated[float, typer.Option(help="Hours that a session is kept after it was last written.")] = 168,
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
    content_filter: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", metavar="MODULE:FUNCTION",
            help="Content filter for prompts, pictures and sampled frames (docs/filters.md); may be repeated.",
        ),
    ] = None,
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
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    for noisy in ("aioice", "aiortc", "httpx", "libav"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))
    logging.getLogger("python_multipart").setLevel(max(level, logging.ERROR))  # it warns of every odd byte of a form
    config = ServerConfig(
        host=host,
        port=port,
        model=model,
        device=device,
        execution=execution,
        decoder=decoder,
        lora=tuple(lora or ()),
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
        filters=tuple(content_filter or ()),
        record=record,
        record_dir=record_dir,
        record_seconds=record_minutes * 60,
        record_bytes=record_size * 2**20,
        record_space=record_space * 2**20,
        record_keep=record_keep * 60,
        state_dir=state_folder(state_dir, port) if state else None,
        state_bytes=state_size * 2**20,
        state_keep=state_hours * 3600,
    )
    asyncio.run(run(config, level))


def state_folder(named: str | None, port: int) -> str | None:
    """Where sessions are kept. None when nothing is named and nobody could find this server's port again."""
    if named is not None:
        return named
    return str(user_state_path("farcast") / str(port)) if port else None


def port_range(text: str | None) -> tuple[int, int] | None:
    """ "LOW-HIGH" to numbers. Raises ConfigError."""
    if text is None:
        return None
    low, dash, high = text.partition("-")
    if not (dash and low.strip().isdigit() and high.strip().isdigit()):
        raise ConfigError(f"--ice-ports must be LOW-HIGH like 50000-50100, not {text!r}.")
    return int(low), int(high)


