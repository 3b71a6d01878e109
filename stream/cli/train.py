"""`farcast train`: the stages of training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream.errors import user_errors

app = typer.Typer(add_completion=False)


@app.command()
@user_errors()
def train(
    stage: Annotated[
        str,
        typer.Argument(
            help="vae, decoder, finer, encode[:images|:clips], project, export:STAGE, or a flow stage of the config."
        ),
    ],
    config: Annotated[
        Path | None, typer.Option(help="TOML file; left out = the embedded model on two CPU cores.")
    ] = None,
) -> None:
    """Run one stage of training; it goes on from where it was stopped."""
    from models.training.commands import TINY_CPU, run

    run(stage, config or TINY_CPU)
