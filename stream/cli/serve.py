"""`farcast serve`: the server and its page."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from platformdirs import user_state_path

from stream.config import LOOPBACK_NAMES, ApiKey, RateLimits, ServerConfig
from stream.errors import ConfigError
from stream.ice import IceServer
from stream.server import run

from . import logs
from .options import Decoder, Execution, Lora, Model
from .settings import masked, settings

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with any of these options; left out = farcast.toml, if it is here.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port of the page and the API; 0 = any free one.")] = 8000,
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[SCOPE:]KEY",
            help="Key that lets start sessions (create:) or list and end all (operate:); both without a scope. Better "
            "in FARCAST_API_KEY, or:",
        ),
    ] = None,
    api_key_file: Annotated[Path | None, typer.Option(help="File with one such key a line.")] = None,
    open_: Annotated[
        bool, typer.Option("--open", help="Let everybody in who reaches the server, without a key.")
    ] = False,
    public_url: Annotated[
        list[str] | None, typer.Option(help="Address of the page behind a proxy, https://NAME; may be repeated.")
    ] = None,
    root_path: Annotated[
        str, typer.Option(help="Path prefix under which a proxy serves this server, such as /farcast.")
    ] = "",
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="Other page that may use this server, https://NAME; may be repeated.")
    ] = None,
    user_sessions: Annotated[
        int, typer.Option(help="Sessions of one user (key or address) at once; 0 = no limits of one user.")
    ] = -1,
    max_minutes: Annotated[float, typer.Option(help="How long a session may last; 0 = for ever.")] = 0.0,
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
    state_shared: Annotated[
        bool, typer.Option(help="Other servers use the same --state-dir: the workers of a fleet do.")
    ] = False,
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
    values = settings(serve, context, config)
    level = logging.getLevelNamesMapping().get(values["log_level"].upper())
    if level is None:
        raise ConfigError(f"--log-level must be debug, info, warning or error, not {values['log_level']!r}.")
    logs.set_up(level)
    logging.getLogger("farcast").info("options: %s", masked(values))
    asyncio.run(run(server_config(values), level))


def server_config(values: Mapping[str, Any]) -> ServerConfig:
    """The server's configuration of the command's options. Raises ConfigError."""
    if values["device"] not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"--device must be auto, cpu or cuda, not {values['device']!r}.")
    same = ("host", "port", "model", "device", "execution", "engine", "renderer", "max_sessions", "renders", "decoder",
        "public_address", "relay", "record", "record_dir", "root_path", "state_shared")  # fmt: skip
    return ServerConfig(
        **{name: values[name] for name in same},
        api_keys=read_keys(values["api_key"] or (), values["api_key_file"]),
        open=values["open"],
        public_urls=tuple(values["public_url"] or ()),
        allow_origins=tuple(values["allow_origin"] or ()),
        rates=rates(values["user_sessions"], values["host"], values["max_sessions"]),
        lifetime=values["max_minutes"] * 60,
        lora=tuple(values["lora"] or ()),
        engine_threads=values["threads"],
        render_seconds=values["render_minutes"] * 60,
        ice_addresses=tuple(values["ice_address"] or ()),
        ice_ports=port_range(values["ice_ports"]),
        ice_servers=tuple(IceServer(url) for url in values["ice_server"] or ()),
        turn_secret=values["turn_secret"] or None,
        record_seconds=values["record_minutes"] * 60,
        record_bytes=values["record_size"] * 2**20,
        record_space=values["record_space"] * 2**20,
        record_keep=values["record_keep"] * 60,
        filters=tuple(values["content_filter"] or ()),
        state_dir=state_folder(values["state_dir"], values["port"]) if values["state"] else None,
        state_bytes=values["state_size"] * 2**20,
        state_keep=values["state_hours"] * 3600,
    )


def read_keys(given: Sequence[str], file: Path | None) -> tuple[ApiKey, ...]:
    """Keys of the command line, the environment and a file. Raises ConfigError."""
    lines = list(given)
    if file is not None:
        try:
            lines += file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file} cannot be read: {error}. Give another with --api-key-file.") from None
    return tuple(ApiKey.parse(line) for line in lines if line.strip() and not line.startswith("#"))


def rates(sessions: int, host: str, places: int) -> RateLimits | None:
    """Limits of one user. Left out (-1): none where only this machine reaches the server, else half of the places."""
    if sessions == 0 or (sessions < 0 and host in LOOPBACK_NAMES):
        return None
    return RateLimits(sessions=sessions if sessions > 0 else max(1, places // 2))


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
