"""`farcast bench transport`: glass to glass through a browser, what a viewer costs, how soon a late one sees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.transport.subprocesses import run
from models.evaluation.report import Bar, machine, show
from stream.errors import ConfigError

app = typer.Typer(add_completion=False)


@app.command("transport")
def transport(
    size: Annotated[str, typer.Option(help="Of the picture, as WIDTHxHEIGHT, multiples of 16.")] = "256x256",
    chromium: Annotated[str | None, typer.Option(help="The browser; left out = an installed Chromium.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A rough answer in a minute, with up to 5 viewers.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    plots: Annotated[Path | None, typer.Option(help="Write the page and its plots into this folder.")] = None,
) -> None:
    """From the playout clock to the viewer's eye, with a test pattern in place of the model."""
    from bench.transport.latency import QUICK, Plan, measure

    plan = replace(QUICK if quick else Plan(), size=parse_size(size))
    figures = run(measure(plan, chromium, lambda line: typer.echo(line, err=True)))
    if plots is not None:
        from bench.transport.plots import draw_transport, transport_page

        draw_transport(figures, plots)
        transport_page(figures, machine(), plots)
    show("transport", {k: v for k, v in figures.items() if k != "latencies_ms"}, bars(figures), as_json=as_json)


def parse_size(text: str) -> tuple[int, int]:
    """Raises ConfigError."""
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise ConfigError(f"--size must be WIDTHxHEIGHT like 832x480, not {text!r}.")
    return int(width), int(height)


def bars(figures: dict[str, Any]) -> list[Bar]:
    return [
        Bar(
            "encodings a frame, however many viewers (one, and a low one for who lags)",
            figures["encodings_a_frame_most"],
            "<=",
            2.0,
        ),
        Bar("cost of one more viewer: encoded for each / encoded once", figures["each_over_once"], ">=", 5.0),
        Bar("a late joiner's first picture, ms (median)", figures["join_ms_median"], "<=", 500.0),
        Bar("frames whose number the browser could not read", float(figures["frames_unreadable"]), "<=", 0.0),
    ]
