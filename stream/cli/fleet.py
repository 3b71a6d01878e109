"""`farcast up`, `gateway` and `drain`: a fleet of servers on Ray."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from platformdirs import user_state_path

from stream.config import ApiKey, ServerConfig
from stream.errors import ConfigError
from stream.fleet.gateway import DirectoryClient, create_gateway
from stream.fleet.options import FleetOptions
from stream.server import listen

from . import logs
from .serve import read_keys

up = typer.Typer(add_completion=False)
gateway = typer.Typer(add_completion=False)
drain = typer.Typer(add_completion=False)

Host = Annotated[str, typer.Option(help="Address that the gateway listens on.")]
Port = Annotated[int, typer.Option(help="TCP port of the gateway; 0 = any free one.")]
KeyFile = Annotated[
    Path | None, typer.Option(help="File with the fleet's keys; the first one operates. Or FARCAST_API_KEY.")
]
PublicUrl = Annotated[list[str] | None, typer.Option(help="Address of the gateway behind a proxy, https://NAME.")]
Cluster = Annotated[str, typer.Option("--ray", help="Address of the Ray cluster; auto = this machine's.")]


def keys(file: Path | None) -> tuple[ApiKey, ...]:
    """The fleet's keys. Raises ConfigError without one that operates."""
    found = read_keys(os.environ.get("FARCAST_API_KEY", "").split(), file)
    if not any("operate" in key.scopes for key in found):
        raise ConfigError(
            "A fleet needs a key that operates its workers, the same everywhere: FARCAST_API_KEY, or --api-key-file."
        )
    return found


@up.command()
def start(
    workers: Annotated[int, typer.Option(help="Servers, one for each device.", min=1)] = 1,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    state: Annotated[str | None, typer.Option(help="Folder or fsspec URL that all workers share.")] = None,
    cluster: Annotated[
        str | None, typer.Option("--ray", help="Start the workers in this Ray cluster; left out = a new local one.")
    ] = None,
    worker_host: Annotated[str, typer.Option(help="Address that workers listen on.")] = "127.0.0.1",
    gpus: Annotated[float, typer.Option(help="GPUs of a worker; 0 = it runs on the CPU.")] = 0.0,
    cpus: Annotated[float, typer.Option(help="CPUs of a worker, for Ray's bookkeeping.")] = 1.0,
    api_key_file: KeyFile = None,
    public_url: PublicUrl = None,
    serve: Annotated[
        list[str] | None, typer.Option(help="Option of `farcast serve` for every worker, --serve=--model=DIR.")
    ] = None,
) -> None:
    """Start a fleet on this machine, or in a Ray cluster, and its gateway; until Ctrl-C."""
    from stream.fleet import cluster as actors

    found = keys(api_key_file)
    config = ServerConfig(host=host, port=port, api_keys=found, public_urls=tuple(public_url or ()))
    logs.set_up(logging.INFO)
    options = FleetOptions(
        state=state or str(user_state_path("farcast") / "fleet"),
        key=next(key.key for key in found if "operate" in key.scopes),
        host=worker_host,
        serve=tuple(serve or ()),
        gpus=gpus,
        cpus=cpus,
    )
    if cluster is None:
        actors.start_local(cpus=max(workers, round(workers * cpus)))
    else:
        actors.connect(cluster)
    try:
        directory = actors.start_directory(options)
        handles = [actors.start_worker(str(number), options, directory) for number in range(workers)]
        _run(actors.RayDirectory(directory), config)
        del handles
    finally:
        actors.stop()


@gateway.command()
def answer(
    cluster: Cluster = "auto",
    host: Host = "127.0.0.1",
    port: Port = 8000,
    api_key_file: KeyFile = None,
    public_url: PublicUrl = None,
) -> None:
    """Answer for the fleet that runs in a Ray cluster; any number of gateways may."""
    from stream.fleet import cluster as actors

    config = ServerConfig(host=host, port=port, api_keys=keys(api_key_file), public_urls=tuple(public_url or ()))
    logs.set_up(logging.INFO)
    actors.connect(cluster)
    try:
        _run(actors.RayDirectory(actors.find_directory()), config)
    finally:
        actors.stop()


@drain.command()
def move(
    worker: Annotated[str, typer.Argument(help="Its id, as GET /v1/fleet names it.")], cluster: Cluster = "auto"
) -> None:
    """Move the sessions of one worker to the others, then end it."""
    from stream.fleet import cluster as actors

    actors.connect(cluster)
    try:
        typer.echo(f"worker {worker}: {actors.drain(worker)} sessions handed over, ended")
    finally:
        actors.stop()


def _run(directory: DirectoryClient, config: ServerConfig) -> None:
    sock = listen(config.host, config.port)
    app = create_gateway(directory, config)
    print(f"Farcast fleet: http://{config.host}:{sock.getsockname()[1]}/ (the workers are starting)", flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, server_header=False, timeout_graceful_shutdown=2))
    try:
        asyncio.run(server.serve(sockets=[sock]))
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
