"""`farcast bench gpu`: a published size with random weights on a card, in under nine minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.evaluation.report import machine, show

app = typer.Typer(add_completion=False)


@app.command("gpu")
def gpu(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object, last.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="1 and 4 steps only.")] = False,
    size: Annotated[str, typer.Option("--random-weights", help="tiny, medium, 1.3b or 14b.")] = "1.3b",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    way: Annotated[
        list[str] | None, typer.Option(help="How passes run: eager, compile, graphs, compile+graphs; may be repeated.")
    ] = None,
    width: Annotated[int | None, typer.Option(help="Pixels; the size's own by default (832).")] = None,
    height: Annotated[int | None, typer.Option(help="Likewise (480).")] = None,
    budget: Annotated[float, typer.Option(help="Seconds in all; what does not fit is left out and named.")] = 500,
    output: Annotated[Path | None, typer.Option(help="File to write the table to, as a page.")] = None,
    predict: Annotated[
        bool, typer.Option("--predict", help="Count 1.3b and 14b on the meta device instead; needs no card.")
    ] = False,
) -> None:
    """Milliseconds a step, an append, a decode and a chunk; fps and memory; the same for diffusers."""
    if predict:
        from bench.engine.predict_page import predicted_page

        page = predicted_page()
        if output is None:
            typer.echo(page)
        else:
            output.write_text(page)
        return
    import torch

    from bench.engine.gpu import bench_gpu, table_lines
    from models.checkpoint.random_weights import random_bundle

    bundle = random_bundle(size, device=device, width=width, height=height)
    steps = (1, 4) if quick else (1, 2, 4, 8)
    ways = way or (["eager", "compile+graphs"] if bundle.device.type == "cuda" else ["eager"])
    result = bench_gpu(
        bundle, steps=steps, ways=ways, budget_s=budget, tell=lambda line: typer.echo(line, err=True)
    )  # fmt: skip
    lines = table_lines(result["figures"])
    if output is not None:
        where = torch.cuda.get_device_name(bundle.device) if bundle.device.type == "cuda" else machine()["cpu"]
        title = f"# {bundle.name} at {bundle.width}x{bundle.height} on {where}, PyTorch {torch.__version__}"
        rate = f"matrix rate {result['figures']['matmul_tflops']:.3g} TFLOP/s in {bundle.dtype}"
        output.write_text("\n".join([title, "", f"`farcast bench gpu`; {rate}.", "", "```", *lines, "```", ""]))
    bars = result["bars"]
    if not json:
        show("gpu", {key: value for key, value in result["figures"].items() if key != "ours"}, bars, as_json=False)
    for line in lines:
        typer.echo(line, err=json)
    if json:
        show("gpu", result["figures"], bars, as_json=True)
