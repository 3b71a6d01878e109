"""`farcast bench engine`: ours against diffusers' own pipeline, cost against age, parity beside speed."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from models.evaluation.report import machine, show

app = typer.Typer(add_completion=False)


@app.command("engine")
def engine(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="A short video and short streams: a rough answer.")] = False,
    model: Annotated[str | None, typer.Option(help="Folder or hub id; the embedded model by default.")] = None,
    random_weights: Annotated[
        str | None, typer.Option(help="Random weights instead: tiny, medium, 1.3b or 14b.")
    ] = None,
    larger: Annotated[
        str, typer.Option(help="Random weights that the comparison is repeated with; none leaves it out.")
    ] = "medium",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    steps: Annotated[int, typer.Option(help="Steps a chunk.")] = 4,
    threads: Annotated[int, typer.Option(help="Threads of PyTorch; 0 = its own choice.")] = 1,
    minutes: Annotated[float, typer.Option(min=0, help="Video of the long stream whose picture is looked at.")] = 10,
    chunks: Annotated[int, typer.Option(min=10, help="Chunks of the endless stream at a small size.")] = 2000,
    plots: Annotated[Path | None, typer.Option(help="Folder to write engine.md and its plots into.")] = None,
) -> None:
    """Time whole videos with both, then long streams of ours. About ten minutes on one core; --quick takes one."""
    import torch

    from bench.engine.against_diffusers import bench_engine
    from models.checkpoint.bundle import open_bundle
    from models.checkpoint.random_weights import random_bundle

    if threads:
        torch.set_num_threads(threads)
    bundle = random_bundle(random_weights, device=device) if random_weights else open_bundle(model, device=device)
    options: dict[str, Any] = {"early": 9, "late": 20, "chunks": 30, "partition": bundle.partition[:3]}
    if not quick:
        chunk_seconds = bundle.chunk_frames * bundle.frames_per_latent / bundle.fps
        options = {
            "chunks": round(minutes * 60 / chunk_seconds) + 1,
            "endless": random_bundle("tiny", device=device, width=64, height=64),
            "endless_chunks": chunks,
            "larger": None if larger == "none" else random_bundle(larger, device=device),
        }
    result = bench_engine(bundle, steps=steps, tell=lambda line: typer.echo(line, err=True), **options)
    if plots is not None:
        from bench.engine.page import write_page
        from bench.engine.plots import draw

        draw(result["figures"], plots)
        place = machine()
        where = f"{place['cpu']}, {place['cores']} core(s), PyTorch {torch.__version__.partition('+')[0]}"
        command = shlex.join(["farcast", *sys.argv[1:]])
        (plots / "engine.md").write_text(write_page(result["figures"], result["bars"], where, command))
    show("engine", result["figures"], result["bars"], as_json=json)
