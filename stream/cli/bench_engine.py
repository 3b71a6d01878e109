"""`farcast bench engine`: ours against diffusers' own pipeline, cost against age, parity beside speed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from stream.cli.report import Bar, show

app = typer.Typer(add_completion=False)


@app.command("engine")
def engine(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="A short video and a short stream: a rough answer.")] = False,
    model: Annotated[str | None, typer.Option(help="Folder or hub id; the embedded model by default.")] = None,
    random_weights: Annotated[str | None, typer.Option(help="Random weights instead: tiny, 1.3b or 14b.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    steps: Annotated[int, typer.Option(help="Steps a chunk.")] = 4,
    threads: Annotated[int, typer.Option(help="Threads of PyTorch; 0 = its own choice.")] = 0,
    plots: Annotated[Path | None, typer.Option(help="Folder to draw the plots into.")] = None,
) -> None:
    """Time whole videos with both, then a long stream of ours."""
    import torch

    from models.bench.engine import bench_engine
    from models.bundle import open_bundle, random_bundle

    if threads:
        torch.set_num_threads(threads)
    bundle = random_bundle(random_weights, device=device) if random_weights else open_bundle(model, device=device)
    ages: dict[str, Any] = {"early": 9, "late": 20, "partition": bundle.partition[:3]} if quick else {}
    result = bench_engine(bundle, steps=steps, tell=lambda line: typer.echo(line, err=True), **ages)
    if plots is not None:
        from models.bench.plots import draw

        draw(result["figures"], plots)
    bars = [Bar(entry["name"], entry["value"], entry["op"], entry["bound"]) for entry in result["bars"]]
    show("engine", result["figures"], bars, as_json=json)
