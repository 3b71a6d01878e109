"""`farcast sessions`: what an operator can see and end on a server, with a key of the scope `operate`."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any
from urllib.parse import quote

import typer

from ..api import Api

app = typer.Typer(add_completion=False)


@app.command()
def sessions(
    url: Annotated[str, typer.Argument(help="Address of the server.")] = "http://127.0.0.1:8000",
    end: Annotated[list[str] | None, typer.Option(help="End this session; may be repeated.")] = None,
    end_all: Annotated[bool, typer.Option("--end-all", help="End all sessions.")] = False,
    key: Annotated[
        str | None, typer.Option(envvar="FARCAST_API_KEY", help="Key with the scope `operate`.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the sessions of a server, or end some."""
    found = asyncio.run(ask(url, key, list(end or ()), end_all))
    if as_json:
        print(json.dumps(found))
        return
    for session in found["sessions"]:
        age, viewers = f"{session['age_seconds'] / 60:.1f} min", f"{session['viewers']} viewers"
        print(f"{session['id']}  {session['state']:<10} {age:>10} {viewers:>12}  {session['reason'] or ''}".rstrip())
    if not found["sessions"]:
        print("No sessions.")


async def ask(url: str, key: str | None, end: list[str], end_all: bool) -> dict[str, Any]:
    """End what is to end, and return the list. Raises RequestRefused, ConnectionFailed."""
    async with Api(url, key=key) as api:
        if end_all:
            await api.request("DELETE", "v1/sessions")
        for session in end:
            await api.request("DELETE", f"v1/sessions/{quote(session, safe='')}")
        found: dict[str, Any] = (await api.request("GET", "v1/sessions")).json()
        return found
