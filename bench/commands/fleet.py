"""`farcast bench fleet`: a fleet of three workers on this machine: balance, a killed worker, drains; or simulated."""

from __future__ import annotations

import asyncio
import importlib.util
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from models.evaluation.report import Bar, show
from stream.errors import ConfigError

app = typer.Typer(add_completion=False)


@app.command("fleet")
def fleet(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer sessions; a smaller fleet in simulation.")] = False,
    simulate: Annotated[bool, typer.Option("--simulate", help="Only placement, of 10,000 workers, simulated.")] = False,
    plots: Annotated[Path | None, typer.Option(help="Folder for the simulation's plot.")] = None,
) -> None:
    """Measure placement and hand-over."""
    figures, bars = _simulated(quick, plots) if simulate else _measured(quick)
    show("fleet", figures, bars, as_json=json)


def _simulated(quick: bool, plots: Path | None) -> tuple[dict[str, Any], list[Bar]]:
    from bench.fleet.simulation import even, study

    workers, sessions = (500, 50_000) if quick else (10_000, 1_000_000)
    found = study(workers, sessions)
    if plots is not None:
        from bench.fleet.plots import draw

        if plots.exists() and not plots.is_dir():
            raise ConfigError(f"--plots must be a folder, and {plots} is a file.")
        plots.mkdir(parents=True, exist_ok=True)
        draw(found, plots / "fleet-placement.png")
    rows = {one.policy: {key: value for key, value in asdict(one).items() if key != "loads"} for one in found}
    ours = found[0]
    bars = [
        Bar("first worker refuses, share", ours.refusals, "<=", 0.01),
        Bar("spread of load / random's", even(found), "<=", 0.5),
        Bar("sessions lost in hand-over", ours.lost, "<=", 0),
    ]
    return {"workers": workers, "sessions": sessions, "policies": rows}, bars


def _measured(quick: bool) -> tuple[dict[str, Any], list[Bar]]:
    if importlib.util.find_spec("ray") is None:
        raise ConfigError("This needs Ray: pip install 'farcast-server[fleet]'. --simulate works without.")
    from bench.fleet.measure import run

    figures = asyncio.run(run(15 if quick else 30))
    bars = [
        Bar("imbalance", figures["imbalance"], "<=", 0.05),
        Bar("sessions lost", figures["lost"], "<=", 0),
    ]
    return figures, bars
