"""`farcast bench impairments`: loss, delay, a bottleneck, an outage, for one viewer of two; what each sees."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bench.transport.subprocesses import run
from models.evaluation.report import Bar, machine, show

from .transport import parse_size

app = typer.Typer(add_completion=False)


@app.command("impairments")
def trouble(
    size: Annotated[str, typer.Option(help="Of the picture, as WIDTHxHEIGHT.")] = "512x320",
    seconds: Annotated[float, typer.Option(help="How long each trouble lasts (the outage: three seconds).")] = 10.0,
    only: Annotated[list[str] | None, typer.Option(help="Only troubles with this in their name; repeatable.")] = None,
    chromium: Annotated[str | None, typer.Option(help="The browser; left out = an installed Chromium.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Five seconds each: a rough answer in two minutes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    plots: Annotated[Path | None, typer.Option(help="Write its section of the page into this folder.")] = None,
) -> None:
    """Two browsers' tabs watch one session, one of them through a network in bad shape."""
    from bench.transport.impairments import measure

    tell = lambda line: typer.echo(line, err=True)  # noqa: E731
    figures = run(measure(parse_size(size), 5.0 if quick else seconds, only or [], chromium, tell))
    if plots is not None:
        from bench.transport.plots import trouble_page

        trouble_page(figures, machine(), plots)
    show("impairments", figures, bars(figures["scenarios"]), as_json=as_json)


def bars(scenarios: dict[str, Any]) -> list[Bar]:
    found = []
    others = [one["other"] for one in scenarios.values()]
    calm = scenarios.get("none", {}).get("other", {}).get("frames_percent", 100.0)
    found.append(Bar("the other viewer's frames, %, worst", min(o["frames_percent"] for o in others), ">=", calm - 3))
    for name, one in scenarios.items():
        viewer = one["viewer"]
        if "outage" in name:
            found.append(Bar(f"{name}: seconds until up to date again", viewer["recovery_s"], "<=", 2.0))
        elif "500" in name:
            found.append(Bar(f"{name}: kbit/s received", float(viewer["kbit_s"]), "<=", 500.0))
            found.append(Bar(f"{name}: longest gap, ms", viewer["longest_gap_ms"], "<=", 1000.0))
        elif "loss" in name:
            found.append(Bar(f"{name}: longest gap, ms", viewer["longest_gap_ms"], "<=", 1000.0))
    return found
