"""`farcast bench soak`: hundreds of viewers that come and go, then one that stays; memory, threads and files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bench.transport.subprocesses import run
from models.evaluation.report import Bar, machine, show

from .transport import parse_size

app = typer.Typer(add_completion=False)


@app.command("soak")
def soak(
    minutes: Annotated[float, typer.Option(help="How long the one viewer stays.")] = 60.0,
    cycles: Annotated[int, typer.Option(help="How many viewers come and go before.")] = 500,
    size: Annotated[str, typer.Option(help="Of the picture, as WIDTHxHEIGHT.")] = "128x128",
    quick: Annotated[bool, typer.Option("--quick", help="20 cycles and half a minute: says little.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    plots: Annotated[Path | None, typer.Option(help="Write its section of the page into this folder.")] = None,
) -> None:
    """One server, recording, with a test pattern in place of the model."""
    from bench.transport.soak import measure

    if quick:
        minutes, cycles = 0.5, 20
    figures = run(measure(minutes, cycles, parse_size(size), lambda line: typer.echo(line, err=True)))
    if plots is not None:
        from bench.transport.plots import draw_soak, soak_page

        draw_soak(figures, plots)
        soak_page(figures, machine(), plots)
    shown = {name: value for name, value in figures.items() if name not in ("coming", "staying")}
    show("soak", shown, bars(figures), as_json=as_json)


def bars(figures: dict[str, Any]) -> list[Bar]:
    def more(what: str) -> float:
        first, last = figures[what]
        return float(last - first)

    return [
        Bar("memory a viewer leaves behind, KB", figures["cycles_growth_kb_a_cycle"], "<=", 10.0),
        Bar("threads left behind by all that came and went", more("cycles_threads"), "<=", 6.0),  # the pools fill up
        Bar("open files left behind", more("cycles_files"), "<=", 4.0),
        Bar("tasks left behind", more("cycles_tasks"), "<=", 2.0),
        Bar("growth with one viewer, MB an hour", figures["stay_growth_mb_an_hour"], "<=", 10.0),
        Bar("threads more at one time than at another", more("stay_threads"), "<=", 6.0),  # likewise
        Bar("open files more at one time than at another", more("stay_files"), "<=", 4.0),
    ]
