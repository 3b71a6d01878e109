"""Print the documents of the wire: `farcast schema asyncapi` or `farcast schema json`."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from .. import protocol

app = typer.Typer(add_completion=False)


class Kind(StrEnum):
    asyncapi = "asyncapi"
    json = "json"


@app.command()
def schema(kind: Annotated[Kind, typer.Argument(help="Which document.")] = Kind.asyncapi) -> None:
    """Print the AsyncAPI document of the control socket, or the JSON Schema of every message."""
    document = protocol.asyncapi() if kind is Kind.asyncapi else protocol.json_schema()
    typer.echo(json.dumps(document, indent=2))
