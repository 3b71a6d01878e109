"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Model = Annotated[str | None, typer.Option(help="Checkpoint folder or hub id; left out = the embedded model.")]
Execution = Annotated[
    str,
    typer.Option(
        help="How the network runs: eager; compile (a minute to start, then quicker); graphs or compile+graphs (CUDA)."
    ),
]
