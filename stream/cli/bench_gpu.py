"""`farcast bench gpu`: a published size with random weights on a card, in under nine minutes."""

from __future__ import annotations

from typing import Annotated

import typer

from stream.cli.report import Bar, show

app = typer.Typer(add_completion=False)


@app.command("gpu")
def gpu(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object, last.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="1 and 4 steps only.")] = False,
    size: Annotated[str, typer.Option("--random-weights", help="tiny, 1.3b or 14b.")] = "1.3b",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Milliseconds a step, an append, a decode and a chunk; fps and memory; the same for diffusers."""
    from models.bench.gpu import bench_gpu, table_lines
    from models.bundle import random_bundle

    bundle = random_bundle(size, device=device)
    steps = (1, 4) if quick else (1, 2, 4, 8)
    result = bench_gpu(bundle, steps=steps, tell=lambda line: typer.echo(line, err=True))
    for line in table_lines(result["figures"]):
        typer.echo(line, err=json)
    bars = [Bar(entry["name"], entry["value"], entry["op"], entry["bound"]) for entry in result["bars"]]
    show("gpu", result["figures"], bars, as_json=json)
