"""`farcast doctor`: what of this machine Farcast needs, whether it is there, and what to do where it is not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from stream.errors import ConfigError

from .doctor_checks import Check, machine_checks, model_check, ports_checks, space_check, udp_check
from .options import Model
from .serve import port_range, state_folder

app = typer.Typer(add_completion=False)


@app.command()
def doctor(
    model: Model = None,
    host: Annotated[str, typer.Option(help="Address that the server is to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port that it is to listen on.")] = 8000,
    ice_ports: Annotated[str | None, typer.Option(help="UDP ports for media, as LOW-HIGH.")] = None,
    state_dir: Annotated[str | None, typer.Option(help="Folder of sessions.")] = None,
    record_dir: Annotated[str | None, typer.Option(help="Folder of recordings.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check this machine for `farcast serve`. Ends with status 1 when a check fails; a warning is no failure."""
    if not 0 <= port <= 65535:
        raise ConfigError(f"The port must be from 0 to 65535, not {port}.")
    checks = asyncio.run(examine(model, host, port, port_range(ice_ports), state_dir, record_dir))
    failed = any(check.state == "fail" for check in checks)
    if as_json:
        typer.echo(json.dumps({"ok": not failed, "checks": [check.document() for check in checks]}))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            typer.echo(f"{check.state:<4}  {check.name:<{width}}  {check.found}")
            if check.action:
                typer.echo(f"{'':<{width + 8}}-> {check.action}")
    raise typer.Exit(1 if failed else 0)


async def examine(
    model: str | None, host: str, port: int, media: tuple[int, int] | None, state: str | None, record: str | None
) -> list[Check]:
    """Every check, in the order in which it is printed."""
    import tempfile

    folder = state_folder(state, port)
    return [
        *machine_checks(),
        model_check(model),
        *ports_checks(host, port, media),
        await udp_check(host, media),
        space_check("space for sessions", Path(folder) if folder and "://" not in folder else None),
        space_check("space for recordings", Path(record or tempfile.gettempdir())),
    ]
