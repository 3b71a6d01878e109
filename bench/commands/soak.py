"""`farcast bench soak`: viewers or sessions that come and go: memory, threads and files."""

from __future__ import annotations

import asyncio
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
    sessions: Annotated[
        int, typer.Option(help="Instead: so many sessions that come and go, of every kind, with the model.")
    ] = 0,
    model: Annotated[str | None, typer.Option(help="For --sessions; left out = the embedded model.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="20 cycles and half a minute: says little.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    plots: Annotated[Path | None, typer.Option(help="Write its section of the page into this folder.")] = None,
) -> None:
    """One server, recording, with a test pattern in place of the model."""
    if sessions:
        from bench.live.churn import measure as churn

        figures = asyncio.run(churn(sessions, model, lambda line: typer.echo(line, err=True)))
        shown = {"sessions": sessions, "first": figures["first"], "last": figures["last"]}
        return show("soak", shown, churn_bars(figures), as_json=as_json)
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


def churn_bars(figures: dict[str, Any]) -> list[Bar]:
    first, last = figures["first"], figures["last"]
    server, engine = (last[name] / first[name] for name in ("server_mb", "engine_mb"))
    return [
        Bar("server memory at the end, times that after the first 50", server, "<=", 1.1),
        Bar("engine memory at the end, times that after the first 50", engine, "<=", 1.1),
        Bar("threads left behind", last["threads"] - first["threads"], "<=", 2.0),
        Bar("open files left behind", last["files"] - first["files"], "<=", 4.0),
        Bar("tasks left behind", last["tasks"] - first["tasks"], "<=", 2.0),
        Bar("temporary files left behind", last["temporary_files"] - first["temporary_files"], "<=", 8.0),
    ]


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
