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
Decoder = Annotated[
    str | None, typer.Option(metavar="FILE", help="Decode with this TAEHV file: much quicker, a little less sharp.")
]
Lora = Annotated[
    list[str] | None,
    typer.Option(metavar="FILE[:SCALE]", help="LoRA to add to the model, SCALE 1 where left out; may be repeated."),
]
